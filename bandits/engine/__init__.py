"""The engine: `simulate` and the ways in which it plays."""

from bandits.engine.fused import replay
from bandits.engine.simulation import Engine, choose_engine, simulate

__all__ = ["Engine", "choose_engine", "replay", "simulate"]
