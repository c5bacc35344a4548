"""What worlds of anonymous visitors have in common: each arm has one mean, given or drawn anew in each replication."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.kernel import Hook, World, WorldKernel
from bandits.random import WORLD, world_open_uniform

FloatArray = NDArray[np.float64]


def fixed_means_kernel(draw_mean: Hook, respond: Hook) -> WorldKernel:
    """A kernel whose state holds the means of the K arms, then the best of them: `state_size` is K + 1.

    Args:
        draw_mean: Compiled with `bandits.jit`: `(tables, arm, uniform) -> mean`, the quantile at a number in (0, 1),
            for worlds whose `tables.means` has no columns; others take their means from there.
        respond: The hook of that name.
    """

    def start(
        world: World, user: FloatArray, arms: FloatArray, available: NDArray[np.bool_], prior: FloatArray
    ) -> None:
        num_arms = available.shape[0]
        best = -np.inf
        for k in range(num_arms):
            if world.tables.means.shape[1] > 0:
                mean = world.tables.means[world.number, k]
            else:
                # Word k & 255 of "round" k >> 8: an address has room for 256 words.
                mean = draw_mean(world.tables, k, world_open_uniform(world.keys[WORLD], k >> 8, k & 255))
            world.state[k] = mean
            best = max(best, mean)
        world.state[num_arms] = best

    return WorldKernel(arrive=_arrive, truth=_truth, respond=respond, start=start)


def means_table(means: ArrayLike, num_arms: int | None) -> FloatArray:
    """Means of the arms of each world, shape (W, K), from shape (K,) or (W, K).

    Raises:
        ValueError: When they are not finite, have another shape, or are not `num_arms` (where that is given).
    """
    table = np.atleast_2d(np.asarray(means, dtype=np.float64))
    if table.ndim != 2 or table.size == 0 or not np.all(np.isfinite(table)):
        raise ValueError(f"`means` must be finite numbers of shape (K,) or (W, K). Got {means!r}.")
    if num_arms not in (None, table.shape[1]):
        raise ValueError(f"`num_arms` must be {table.shape[1]}, the number of `means`. Got {num_arms}.")
    return np.ascontiguousarray(table)


def require_one_of(means: object, prior: object) -> None:
    """Raise ValueError unless exactly one of the two is given."""
    if (means is None) == (prior is None):
        raise ValueError(f"Exactly one of `means` and `prior` must be given. Got means={means!r}, prior={prior!r}.")


def _arrive(
    world: World, round: int, user: FloatArray, arms: FloatArray, available: NDArray[np.bool_], prior: FloatArray
) -> int:
    return -1


def _truth(
    world: World, round: int, user_id: int, available: NDArray[np.bool_], arm: int
) -> tuple[float, float, float]:
    mean: float = world.state[arm]
    num_arms: int = available.shape[0]
    best: float = world.state[num_arms]
    return mean, best, best
