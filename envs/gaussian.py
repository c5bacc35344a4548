"""Arms that pay a normally distributed reward."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.core import Problem
from bandits.kernel import World, WorldKernel
from bandits.random import CLICKS, WORLD, world_open_uniform
from bandits.special import ndtri
from envs.base import KernelEnv

FloatArray = NDArray[np.float64]


class GaussianTables(NamedTuple):
    """What the kernel reads.

    Attributes:
        means: Mean rewards, shape (W, K); empty rows (W, 0) when they are drawn anew in each replication.
        prior: Mean and standard deviation of the prior of the means, shape (2,).
        scale: Standard deviation of a reward, shape (1,).
    """

    means: FloatArray
    prior: FloatArray
    scale: FloatArray


def _start(world: World, user: FloatArray, arms: FloatArray, available: NDArray[np.bool_], prior: FloatArray) -> None:
    # State: means of the K arms, then the best of them.
    num_arms = available.shape[0]
    best = -np.inf
    for k in range(num_arms):
        if world.tables.means.shape[1] > 0:
            mean = world.tables.means[world.number, k]
        else:
            draw = world_open_uniform(world.keys[WORLD], k >> 8, k & 255)
            mean = world.tables.prior[0] + world.tables.prior[1] * ndtri(draw)
        world.state[k] = mean
        best = max(best, mean)
    world.state[num_arms] = best


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


def _respond(world: World, round: int, user_id: int, arm: int, outcomes: FloatArray) -> float:
    noise = ndtri(world_open_uniform(world.keys[CLICKS], round, 0))
    reward: float = world.state[arm] + world.tables.scale[0] * noise
    outcomes[0] = reward
    return reward


class GaussianBandit(KernelEnv):
    """Anonymous visitors; arm k pays `means[k]` plus normal noise. The outcome is called `value`.

    Args:
        means: Mean rewards, shape (K,), or (W, K) for several worlds. Exactly one of `means` and `prior` must be given.
        prior: Mean and standard deviation of a normal distribution from which every replication draws its own means.
        num_arms: Number of arms `K`; needed only with a prior.
        scale: Standard deviation of a reward, at least 0.
        num_envs: Number of replications `N`.

    Raises:
        ValueError: When an argument is out of range, or the arguments do not determine the arms.
    """

    kernel = WorldKernel(arrive=_arrive, truth=_truth, respond=_respond, start=_start)

    def __init__(
        self,
        means: ArrayLike | None = None,
        *,
        prior: tuple[float, float] | None = None,
        num_arms: int | None = None,
        scale: float = 1.0,
        num_envs: int = 1,
    ) -> None:
        if (means is None) == (prior is None):
            raise ValueError(f"Exactly one of `means` and `prior` must be given. Got means={means!r}, prior={prior}.")
        if not 0 <= scale < np.inf:
            raise ValueError(f"`scale` must be a finite number of at least 0. Got {scale}.")
        self.means, self.prior, self.num_arms, self.scale = means, prior, num_arms, scale
        if means is not None:
            table = np.atleast_2d(np.asarray(means, dtype=np.float64))
            if table.ndim != 2 or table.size == 0 or not np.all(np.isfinite(table)):
                raise ValueError(f"`means` must be finite numbers of shape (K,) or (W, K). Got {means!r}.")
            if num_arms not in (None, table.shape[1]):
                raise ValueError(f"`num_arms` must be {table.shape[1]}, the number of `means`. Got {num_arms}.")
            arms, normal = table.shape[1], np.zeros(2)
        else:
            if num_arms is None or num_arms < 1:
                raise ValueError(f"`num_arms` must be at least 1 when the means have a prior. Got {num_arms}.")
            normal = np.asarray(prior, dtype=np.float64)
            if normal.shape != (2,) or not np.all(np.isfinite(normal)) or normal[1] < 0:
                raise ValueError(f"`prior` must be a mean and a standard deviation of at least 0. Got {prior}.")
            arms, table = num_arms, np.empty((1, 0))
        self.tables = GaussianTables(np.ascontiguousarray(table), normal, np.array([scale], dtype=np.float64))
        self.num_worlds = len(table)
        self.state_size = arms + 1
        super().__init__(num_envs, Problem(num_envs, arms, reward_range=(-np.inf, np.inf), outcome_names=("value",)))
