"""Which member of an ensemble the world of a replication is from, and what is independent between replications."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.config import ExperimentConfig

IntArray = NDArray[np.int64]


def members_of(config: ExperimentConfig, kind: str) -> int:
    """Number of members whose worlds a kind of world consists of; 1 where no ensemble is played by its members."""
    fit = config.reward_model
    return fit.members if config.world.members and kind == "model" and fit is not None else 1


def clusters_of(world: IntArray, members: int) -> IntArray:
    """What replications have in common, as `bandits.statistics.mean_with_error` takes it.

    World `test * members + member` belongs to that test and that member (`PropensityTable.interleaved`).

    Args:
        world: World of each replication, shape (N,).
        members: Number of members.

    Returns:
        The worlds, shape (N,), where there are no members; otherwise test and member of each replication, shape (N, 2).

    >>> clusters_of(np.array([0, 1, 5]), 3).tolist()
    [[0, 0], [0, 1], [1, 2]]
    """
    return world if members == 1 else np.stack([world // members, world % members], axis=1)
