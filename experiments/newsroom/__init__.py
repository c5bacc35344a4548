"""The bundled world: readers and headlines made of a grammar, with planted click probabilities."""

from experiments.newsroom.world import Headline, Newsroom, Reader, make_newsroom

__all__ = ["Headline", "Newsroom", "Reader", "make_newsroom"]
