"""The engine: `simulate` and the ways in which it plays."""

from bandits.engine.simulation import simulate

__all__ = ["simulate"]
