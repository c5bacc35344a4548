"""Arms that pay a normally distributed reward."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.core import Problem
from bandits.kernel import World
from bandits.machine_code import jit
from bandits.random import CLICKS, world_open_uniform
from bandits.special import ndtri
from envs.base import KernelEnv
from envs.fixed_means import fixed_means_kernel, means_table, require_one_of

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


@jit
def _draw_mean(tables: GaussianTables, arm: int, uniform: float) -> float:
    mean: float = tables.prior[0] + tables.prior[1] * ndtri(uniform)
    return mean


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

    kernel = fixed_means_kernel(_draw_mean, _respond)

    def __init__(
        self,
        means: ArrayLike | None = None,
        *,
        prior: tuple[float, float] | None = None,
        num_arms: int | None = None,
        scale: float = 1.0,
        num_envs: int = 1,
    ) -> None:
        require_one_of(means, prior)
        if not 0 <= scale < np.inf:
            raise ValueError(f"`scale` must be a finite number of at least 0. Got {scale}.")
        self.means, self.prior, self.num_arms, self.scale = means, prior, num_arms, scale
        if means is not None:
            table = means_table(means, num_arms)
            arms, normal = table.shape[1], np.zeros(2)
        else:
            if num_arms is None or num_arms < 1:
                raise ValueError(f"`num_arms` must be at least 1 when the means have a prior. Got {num_arms}.")
            normal = np.asarray(prior, dtype=np.float64)
            if normal.shape != (2,) or not np.all(np.isfinite(normal)) or normal[1] < 0:
                raise ValueError(f"`prior` must be a mean and a standard deviation of at least 0. Got {prior}.")
            arms, table = num_arms, np.empty((1, 0))
        self.tables = GaussianTables(table, normal, np.array([scale], dtype=np.float64))
        self.num_worlds = len(table)
        self.state_size = arms + 1
        super().__init__(num_envs, Problem(num_envs, arms, reward_range=(-np.inf, np.inf), outcome_names=("value",)))
