"""Arms that pay 1 with a fixed probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.core import Problem
from bandits.kernel import World
from bandits.machine_code import jit
from bandits.memory import array_bytes, require_memory
from bandits.random import CLICKS, world_uniform
from bandits.special import betaincinv
from bandits.table_world import TableWorld
from envs.base import KernelEnv
from envs.fixed_means import fixed_means_kernel, means_table, require_one_of

FloatArray = NDArray[np.float64]
_COPIES = 8  # of one number per arm while the parameters are put in order


class BernoulliTables(NamedTuple):
    """What the kernel reads.

    Attributes:
        means: Click probabilities, shape (W, K); empty rows (W, 0) when they are drawn anew in each replication.
        prior: Parameters a and b of the Beta prior of each arm, shape (2, K).
    """

    means: FloatArray
    prior: FloatArray


@jit
def _draw_mean(tables: BernoulliTables, arm: int, uniform: float) -> float:
    return betaincinv(tables.prior[0, arm], tables.prior[1, arm], uniform)


def _respond(world: World, round: int, user_id: int, arm: int, outcomes: FloatArray) -> float:
    reward = 1.0 if world_uniform(world.keys[CLICKS], round, 0) < world.state[arm] else 0.0
    outcomes[0] = reward
    return reward


class BernoulliBandit(KernelEnv):
    """Anonymous visitors who click on arm k with probability `means[k]`.

    Args:
        means: Click probabilities, shape (K,), or (W, K) for several worlds; replication n lives in world n % W.
            Exactly one of `means` and `prior` must be given.
        prior: Parameters a and b of a Beta distribution, from which every replication draws its own means. Each is one
            number, with `num_arms`, or one number for each arm.
        num_arms: Number of arms `K`; needed only with a prior of two plain numbers.
        num_envs: Number of replications `N`.

    Raises:
        ValueError: When probabilities lie outside [0, 1], or the arguments do not determine the arms.
    """

    kernel = fixed_means_kernel(_draw_mean, _respond)

    def __init__(
        self,
        means: ArrayLike | None = None,
        *,
        prior: tuple[float | Sequence[float], float | Sequence[float]] | None = None,
        num_arms: int | None = None,
        num_envs: int = 1,
    ) -> None:
        require_one_of(means, prior)
        self.means, self.prior, self.num_arms = means, prior, num_arms
        if means is not None:
            table = means_table(means, num_arms)
            if not np.all((table >= 0) & (table <= 1)):
                raise ValueError(f"`means` must lie in [0, 1]. Got values in [{table.min()}, {table.max()}].")
            beta = np.ones((2, table.shape[1]))
        else:
            beta = beta_parameters(prior, num_arms)
            table = np.empty((1, 0))
        arms = beta.shape[1]
        self.tables = BernoulliTables(table, np.ascontiguousarray(beta))
        self.num_worlds = len(table)
        self.state_size = arms + 1
        super().__init__(num_envs, Problem(num_envs, arms))

    def table_world(self) -> TableWorld | None:
        """The whole world as arrays; None when every replication draws its own means."""
        means: FloatArray = self.tables.means
        worlds, arms = means.shape
        if arms == 0:
            return None
        return TableWorld(
            p=means[:, np.newaxis],
            arrivals=np.ones(1),
            guide=np.zeros(1, dtype=np.int64),
            available_from=np.zeros((worlds, arms), dtype=np.int64),
            settled=np.zeros(worlds, dtype=np.int64),
            best=means.max(axis=1, keepdims=True),
            fixed=np.argmax(means, axis=1).astype(np.int64),
            user=np.zeros((1, 0)),
            arms=np.zeros((1, arms, 0)),
            prior=np.zeros((0, 0, 0)),
            anonymous=True,
            days_per_round=self.days_per_round,
        )


def beta_parameters(prior: Any, num_arms: int | None) -> FloatArray:
    """The parameters (2, K) of the Beta priors of `K` arms, from a pair of numbers or sequences.

    Raises:
        ValueError: When they are not two positive numbers or sequences that determine the number of arms, or there is
            no room for so many.
    """
    if num_arms:
        require_memory(f"The priors of {num_arms:,} arms", array_bytes([(_COPIES, num_arms)]))
    try:
        a, b = (np.asarray(part, dtype=np.float64) for part in prior)
        pair = np.array(np.broadcast_arrays(a, b, np.empty(num_arms) if num_arms else np.empty(())))[:2]
    except (TypeError, ValueError):
        raise ValueError(
            f"`prior` must be a pair (a, b) of numbers or of {num_arms or 'K'} each. Got {prior}."
        ) from None
    if pair.ndim != 2:
        raise ValueError(f"`num_arms` must be given with a prior of two plain numbers. Got prior={prior}.")
    if not np.all(pair > 0):
        raise ValueError(f"`prior` must hold positive numbers. Got {prior}.")
    return pair
