"""Signatures that later features need, held by one small test each: nothing of them is built yet."""

from typing import NamedTuple

import numpy as np

from bandits import (
    Context,
    Feedback,
    KernelPolicy,
    Problem,
    RandomStreams,
    World,
    WorldKernel,
    jit,
    simulate,
)
from bandits.random import ARRIVALS, CLICKS, DELAYS, world_uniform
from envs import KernelEnv
from policies import UCB1, EpsilonGreedy, FixedSplit


def context(rounds, arms=3):
    size = len(rounds)
    return Context(
        round=np.asarray(rounds),
        user_id=np.arange(size),
        time=np.asarray(rounds) / 10,
        user=np.zeros((size, 0)),
        arms=np.zeros((size, arms, 0)),
        available=np.ones((size, arms), dtype=bool),
        prior=np.full((size, arms), 0.1),
    )


def test_a_slate_fits_into_feedback():
    """`chosen` may be (B, L), with one outcome per slot and a stated scalariser's reward."""
    clicks = np.array([[0.0, 1.0], [1.0, 1.0]])
    feedback = Feedback(
        np.arange(2), context([4, 4]), np.array([[2, 0], [1, 2]]), clicks, clicks.sum(axis=1), np.array([0.2, 0.1])
    )
    assert feedback.chosen.shape == (2, 2)
    assert feedback.rounds.tolist() == [4, 4]


def test_feedback_may_come_late_and_repeat():
    """Results of rounds 3 and 1 reach replication 2 together; the policy counts both."""
    policy = UCB1()
    policy.reset(Problem(3, 3), RandomStreams(0, 3))
    rows, reward = np.array([2, 2, 0]), np.array([1.0, 0.0, 1.0])
    policy.update(Feedback(rows, context([3, 1, 2]), np.array([1, 1, 0]), reward[:, None], reward))
    chances = policy.propensities(context([5, 5, 5]))
    np.testing.assert_array_equal(chances[0], [0, 0.5, 0.5])  # arm 0 is known: the others are infinitely interesting
    np.testing.assert_array_equal(chances[2], [0.5, 0, 0.5])
    np.testing.assert_allclose(chances[1], 1 / 3)


class FatigueTables(NamedTuple):
    base: np.ndarray


def _arrive(world, round, user, arms, available, prior):
    return int(world_uniform(world.keys[ARRIVALS], round, 0) * 4)


@jit
def _rate(world, user_id, arm):
    # `state` holds how often each of 4 users has seen each of 2 arms: every view halves the rate.
    rate = world.tables.base[arm]
    for _ in range(int(world.state[2 * user_id + arm])):
        rate *= 0.5
    return rate


def _truth(world, round, user_id, available, arm):
    first, second = _rate(world, user_id, 0), _rate(world, user_id, 1)
    return first if arm == 0 else second, max(first, second), first


def _respond(world, round, user_id, arm, outcomes):
    click = 1.0 if world_uniform(world.keys[CLICKS], round, 0) < _rate(world, user_id, arm) else 0.0
    world.state[2 * user_id + arm] += 1.0
    left = 1.0 if world_uniform(world.keys[DELAYS], round, 0) < 0.5 else 0.0
    outcomes[0], outcomes[1] = click, left
    return click - 0.1 * left


class Fatigue(KernelEnv):
    """Four users, each of whom tires of what she has seen; whether she leaves is an outcome beside the click."""

    kernel = WorldKernel(arrive=_arrive, truth=_truth, respond=_respond)

    def __init__(self, num_envs=1):
        self.tables = FatigueTables(np.array([0.8, 0.6]))
        self.state_size = 8
        problem = Problem(num_envs, 2, reward_range=(-0.1, 1.0), outcome_names=("click", "left"))
        super().__init__(num_envs, problem)


def test_users_may_have_state_and_leave():
    """State per user lives in the world's kernel, leaving is an outcome: the same in every engine."""
    traces = [
        simulate(Fatigue(num_envs=3), EpsilonGreedy(), horizon=60, seed=1, engine=engine)
        for engine in ("fused", "lockstep", "python")
    ]
    for trace in traces[1:]:
        np.testing.assert_array_equal(trace.outcomes, traces[0].outcomes)
        np.testing.assert_array_equal(trace.regret, traces[0].regret)
    assert traces[0].outcome_names == ("click", "left")
    clicks, left = traces[0].outcomes[-1].T
    np.testing.assert_allclose(traces[0].reward[-1], clicks - 0.1 * left)
    # Playing arm 0 forever: 4 users whose rates halve at every visit.
    alone = simulate(Fatigue(num_envs=200), FixedSplit([1, 0]), horizon=400, seed=1)
    assert alone.outcomes[-1, :, 0].mean() < 4 * 0.8 * 2  # the geometric series 1 + 1/2 + 1/4 + ...


def test_a_policy_may_ask_for_the_horizon():
    class NeedsHorizon(EpsilonGreedy):
        def layout(self, problem):
            if problem.horizon is None:
                raise ValueError("NeedsHorizon needs a known horizon. Got None.")
            return super().layout(problem)

    policy: KernelPolicy = NeedsHorizon()
    assert simulate(Fatigue(), policy, horizon=7, seed=0).rounds[-1] == 7


def test_a_world_may_name_itself():
    """Hooks see which world they are in, and a kernel may carry any tables."""
    world = World(FatigueTables(np.zeros(2)), 3, np.zeros(8, np.uint64), np.zeros(8))
    assert world.number == 3
