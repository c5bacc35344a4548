"""Choosing arms from scores, on the device: `bandits.choice` for `N` replications at once."""

from __future__ import annotations

import torch
from torch import Tensor

from bandits.torch_engine.random import TorchStreams


def argmax(scores: Tensor, available: Tensor, random: TorchStreams) -> Tensor:
    """The available arm with the highest score, one of the best at random; -1 when no score is a number.

    As in `bandits.choice.argmax`, a number is drawn only where there is a tie.

    Args:
        scores: One score per arm, shape (N, K); infinity is allowed.
        available: Whether each arm may be chosen, shape (N, K).
        random: The policy's streams.

    Returns:
        Arms, int64, shape (N,).
    """
    # An arm whose score is no number is out, as it is where scores are compared one by one.
    considered = available & ~torch.isnan(scores)
    best = scores.masked_fill(~considered, -torch.inf).amax(dim=1, keepdim=True)
    return nth_true(considered & (scores == best), random)


def nth_true(allowed: Tensor, random: TorchStreams) -> Tensor:
    """One of the true entries of each row of `allowed` (N, K), all alike; -1 where there is none. int64, (N,)."""
    places = allowed.cumsum(dim=1)
    count = places[:, -1]
    wanted = random.integer_where(count > 1, count) + 1
    found = (allowed & (places == wanted[:, None])).byte().argmax(dim=1)
    return torch.where(count > 0, found, -1)
