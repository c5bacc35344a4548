"""A world without dynamics as plain arrays: what an engine needs that plays it by itself, on another device say."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bandits.environment import Environment

FloatArray = NDArray[np.float64]


class TableWorld(NamedTuple):
    """Users arrive independently, see arms, and click with a probability that depends on user and arm alone.

    The reward is the click. Replication n lives in world n % W. Word 0 of the role `ARRIVALS` in each round decides who
    comes (the first user whose cumulative probability exceeds it), word 0 of `CLICKS` whether she clicks.

    Attributes:
        p: Click probabilities, float32 or float64, compared as float64, shape (W, U, K).
        arrivals: Cumulative arrival probabilities of the users, shape (U,); the last is 1.
        guide: Where to begin the search for who comes (see `guide_table`), shape (U,).
        available_from: Round from which each arm is available, shape (W, K); the largest integer for padding.
        settled: Round from which all arms are available that ever are, shape (W,).
        best: Click probability of each user's best arm among those, shape (W, U).
        fixed: Best single arm of each world among those available throughout, shape (W,).
        user: User features, shape (U, D).
        arms: Arm features, shape (W, K, E), or (1, K, E) when they are the same in all worlds.
        prior: Predicted click probabilities, shape (W, U, K); (0, 0, 0) when there is no prior.
        anonymous: Whether policies see -1 in place of the user's index.
        days_per_round: Calendar time between two visits, in days.
    """

    p: NDArray[np.floating]
    arrivals: FloatArray
    guide: NDArray[np.int64]
    available_from: NDArray[np.int64]
    settled: NDArray[np.int64]
    best: FloatArray
    fixed: NDArray[np.int64]
    user: FloatArray
    arms: FloatArray
    prior: FloatArray
    anonymous: bool
    days_per_round: float


def guide_table(cumulative: FloatArray) -> NDArray[np.int64]:
    """For each of U equal parts of [0, 1) the first index whose cumulative probability exceeds the part's beginning.

    A search for a uniform number that begins there ends after less than two steps on average, whatever the
    distribution. Chen and Asau (1974), "On generating random variates from an empirical distribution".

    Args:
        cumulative: Cumulative probabilities, shape (U,).

    >>> guide_table(np.array([0.1, 0.3, 0.9, 1.0]))
    array([0, 1, 2, 2])
    """
    size = len(cumulative)
    guide: NDArray[np.int64] = np.searchsorted(cumulative, np.arange(size) / size, side="right").astype(np.int64)
    return guide


@runtime_checkable
class TableEnvironment(Environment, Protocol):
    """An environment that may be a table without dynamics."""

    def table_world(self) -> TableWorld | None:
        """The whole world as arrays; None when it is more than a table."""
