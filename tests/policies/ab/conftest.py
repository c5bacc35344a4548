"""Plays a design through Gymnasium's interface and keeps every visit, for whoever decides again from the log."""

from typing import NamedTuple

import numpy as np
import pytest

from bandits import Feedback, RandomStreams
from bandits.environment import context_of


class Visits(NamedTuple):
    """Rounds first: users, arms and clicks (T, N), propensities (T, N, K)."""

    users: np.ndarray
    arms: np.ndarray
    clicks: np.ndarray
    propensities: np.ndarray

    def counts(self, arms):
        """Visitors and clicks of each arm after each round, shape (T, N, K)."""
        mine = self.arms[:, :, None] == np.arange(arms)
        return np.cumsum(mine, axis=0), np.cumsum(mine * self.clicks[:, :, None], axis=0)


@pytest.fixture
def play():
    def played(policy, env, rounds, seed=2):
        size = env.num_envs
        observation, _ = env.reset(seed=seed)
        problem = env.problem(rounds)
        policy.reset(problem, RandomStreams(seed, size))
        rows, kept = np.arange(size), []
        for t in range(rounds):
            context = context_of(observation, problem, t)
            propensities = policy.propensities(context)
            arms = policy.select(context)
            observation, reward, *_ = env.step(arms)
            policy.update(Feedback(rows, context, arms, reward[:, None], reward))
            kept.append((context.user_id.copy(), arms, reward, propensities))
        return Visits(*(np.array(column) for column in zip(*kept, strict=True)))

    return played
