"""A policy that a user writes as a kernel, with nothing but what is public, plays like the bundled one.

`python -m benchmarks policies` times it beside the bundled one.
"""

from math import inf, log, sqrt

import numpy as np

from bandits import Kernel, KernelPolicy, Layout, simulate
from bandits.choice import argmax
from envs import BernoulliBandit
from policies import UCB1


def select(state, context, random):
    bonus = sqrt(2.0 * log(state.shared[0] + 1.0))
    for k in range(state.work.shape[0]):
        state.work[k] = state.arm[2, k] + bonus * state.arm[3, k]
    return argmax(state.work, context.available, random)


def update(state, feedback, random):
    arm = feedback.chosen
    state.shared[0] += 1.0
    state.arm[0, arm] += 1.0
    state.arm[1, arm] += feedback.reward
    state.arm[2, arm] = state.arm[1, arm] / state.arm[0, arm]
    state.arm[3, arm] = 1.0 / sqrt(state.arm[0, arm])


def start(state, random):
    for k in range(state.arm.shape[1]):
        state.arm[2, k] = inf


class UsersUCB1(KernelPolicy):
    """UCB1. Fields: pulls, rewards, mean and 1 / sqrt(pulls); visits."""

    kernel = Kernel(select=select, update=update, start=start)

    def layout(self, problem):
        return Layout(arm=4, shared=1, work=problem.num_arms)


def test_a_users_ucb1_plays_like_the_bundled_one():
    env = BernoulliBandit([0.3, 0.5, 0.1, 0.45], num_envs=20)
    theirs, ours = (simulate(env, policy, horizon=2000, seed=3) for policy in (UsersUCB1(), UCB1()))
    np.testing.assert_array_equal(theirs.pulls, ours.pulls)
    np.testing.assert_array_equal(theirs.regret, ours.regret)
    assert len(np.unique(theirs.pulls, axis=0)) > 1  # the luck of replications differs, so equality says something
