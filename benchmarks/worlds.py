"""The worlds that are played in the benchmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bandits import PropensityTable, simulate
from envs import BernoulliBandit, SimulatedUsers
from policies import BetaThompson

FloatArray = NDArray[np.float64]


def click_rates(arms: int) -> FloatArray:
    """Click rates 0.05 .. 0.5 of `K` arms in a mixed order, so that arg-max over ties favors neither good nor bad arms.

    Returns:
        Shape (K,).
    """
    return np.random.default_rng(0).permutation(np.linspace(0.05, 0.5, arms))


def bernoulli(arms: int, num_envs: int) -> BernoulliBandit:
    """Anonymous visitors and `K` arms."""
    return BernoulliBandit(click_rates(arms), num_envs=num_envs)


def posterior(arms: int) -> tuple[FloatArray, FloatArray]:
    """The parameters a and b of `K` Beta posteriors, each (K,), that Thompson sampling arrives at in 10,000 rounds."""
    trace = simulate(bernoulli(arms, 1), BetaThompson(), horizon=10_000, seed=1, threads=1, snapshots=2)
    clicks = np.round(trace.pulls[0] * click_rates(arms))
    return 1.0 + clicks, 1.0 + trace.pulls[0] - clicks


class Audience:
    """Users with features, and arms that they like differently.

    Args:
        users: Number of users `U`.
        arms: Number of arms `K`.
        dimensions: Number of features of a user `D`.

    Attributes:
        p: Click probabilities, shape (U, K).
        features: A constant 1 and the features of each user, shape (U, D + 1): what linear models see.
    """

    def __init__(self, users: int, arms: int, dimensions: int) -> None:
        rng = np.random.default_rng(0)
        self._user = rng.normal(size=(users, dimensions))
        self._arm = rng.normal(size=(arms, 5))
        taste = self._user @ rng.normal(size=(dimensions, arms)) / np.sqrt(dimensions)
        self._table = PropensityTable.single_world(0.3 / (1.0 + np.exp(-taste)))
        self.p = self._table.p[0].astype(np.float64)
        self.features = np.hstack([np.ones((users, 1)), self._user])

    def world(self, num_envs: int) -> SimulatedUsers:
        """The environment in which `N` replications of this audience come."""
        return SimulatedUsers(self._table, num_envs=num_envs, user_features=self._user, arm_features=self._arm)
