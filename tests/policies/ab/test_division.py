"""Who gets which arm: shares, users who stay, results that come late, and what counts as independent."""

import numpy as np
import pytest
from scipy import stats

from bandits import Context, Feedback, Problem, PropensityTable, RandomStreams, simulate
from envs import BernoulliBandit, SimulatedUsers
from policies import ABTest, GroupSequentialABTest, RampUpABTest


def visit(round, users, arms=3):
    size = len(users)
    return Context(
        np.full(size, round),
        np.asarray(users),
        np.zeros(size),
        np.zeros((size, 0)),
        np.zeros((size, arms, 0)),
        np.ones((size, arms), dtype=bool),
    )


def assignments(policy, round, users, arms=3):
    """The arm of each of many users, as the first replication of the policy sees them."""
    chosen = []
    for user in users:
        context = visit(round, [user] * policy._problem.num_envs, arms)
        chosen.append(policy.select(context)[0])
    return np.array(chosen)


def started(policy, arms=3):
    policy.reset(Problem(2, arms), RandomStreams(3, 2))
    return policy


@pytest.mark.parametrize("by", ["visit", "user"])
def test_shares_are_kept(by):
    weights = [0.5, 0.2, 0.3]
    policy = started(ABTest(10**6, weights=weights, by=by))
    if by == "user":
        arms = assignments(policy, 0, range(8000))
        np.testing.assert_array_equal(arms, assignments(policy, 77, range(8000)))
    else:
        arms = np.array([policy.select(visit(t, [4, 4]))[0] for t in range(8000)])
    counts = np.bincount(arms, minlength=3)
    assert stats.chisquare(counts, np.array(weights) * 8000).pvalue > 1e-3
    np.testing.assert_allclose(policy.propensities(visit(5, [1, 1])), [weights, weights])


def test_users_move_only_to_growing_shares():
    policy = started(RampUpABTest(1, (0.1, 0.3, 0.6), visitors=10**6, by="user"))
    users = range(4000)
    before = assignments(policy, 0, users)
    for t in range(2):
        context = visit(t, [t, t])
        policy.update(Feedback(np.arange(2), context, policy.select(context), np.zeros((2, 1)), np.zeros(2)))
        now = assignments(policy, t + 1, users)
        moved = before != now
        assert (before[moved] == 0).all()
        assert moved.mean() == pytest.approx([0.2, 0.3][t], abs=0.03)
        before = now


def test_only_the_users_of_an_arm_that_leaves_are_divided_anew():
    """Arm 2 is so bad that the first look removes it."""
    policy = started(GroupSequentialABTest(400, looks=2, spending="pocock", by="user"))
    users = np.arange(3000)
    before = assignments(policy, 0, users)
    for t in range(200):
        context = visit(t, [t, t])
        arms = policy.select(context)
        reward = np.where(arms == 2, t % 50 == 0, t % 2 == 0).astype(float)
        policy.update(Feedback(np.arange(2), context, arms, reward[:, None], reward))
    after = assignments(policy, 200, users)
    assert (after != 2).all()
    np.testing.assert_array_equal(after[before != 2], before[before != 2])
    assert stats.binomtest(int((after[before == 2] == 0).sum()), int((before == 2).sum())).pvalue > 1e-3


def test_a_late_result_finds_the_arm_of_its_visit():
    """The rule of a visit does not change with what happens after it."""
    policy = started(ABTest(40, by="user"))
    contexts = [visit(t, [t % 9, 8 - t % 9]) for t in range(80)]
    chosen = []
    for t, context in enumerate(contexts):
        chosen.append(policy.select(context))
        if t >= 20:  # results come 20 visits late
            arms = chosen[t - 20]
            reward = (arms == 1).astype(float)
            policy.update(Feedback(np.arange(2), contexts[t - 20], arms, reward[:, None], reward))
    assert (policy.recommend() >= 0).all()  # decided at visit 59
    for t in range(80):
        asked = policy.select(contexts[t])
        np.testing.assert_array_equal(asked, chosen[t])


def users_world(size, seed, users=120):
    """No arm is better for anybody; users differ much, and come again and again."""
    rates = np.random.default_rng(seed).choice([0.02, 0.5], users)
    return SimulatedUsers(PropensityTable.single_world(np.tile(rates[:, None], 2)), num_envs=size)


def test_variance_between_users_is_that_of_the_delta_method(play):
    """The decision from sums per user and arm, in NumPy."""
    size, rounds = 60, 900
    policy = ABTest(rounds, by="user", alpha=0.4)
    visits = play(policy, users_world(size, 5), rounds)
    decisions = []
    for n in range(size):
        rate, variance = np.zeros(2), np.zeros(2)
        for k in range(2):
            mine = visits.arms[:, n] == k
            seen = np.bincount(visits.users[mine, n], minlength=120)
            hits = np.bincount(visits.users[mine, n], visits.clicks[mine, n], minlength=120)
            seen, hits = seen[seen > 0], hits[seen > 0]
            rate[k] = hits.sum() / seen.sum()
            residual = hits - rate[k] * seen
            variance[k] = len(seen) / (len(seen) - 1) * (residual**2).sum() / seen.sum() ** 2
        z = (rate[1] - rate[0]) / np.sqrt(variance.sum())
        decisions.append(int(z > stats.norm.isf(0.2)))
    np.testing.assert_array_equal(policy.recommend(), decisions)
    assert 0 < np.sum(decisions) < size


@pytest.mark.statistics
def test_dividing_users_but_counting_visits_breaks_the_level():
    """A/A tests. By users, the level holds; the same division judged by visits rejects far too often."""
    size, rounds = 4000, 3000
    rejected = {}
    for by in ("user", "visit"):
        trace = simulate(users_world(size, 7, users=400), ABTest(rounds, by=by), horizon=rounds, seed=8, snapshots=2)
        counts = np.array([[trace.records[f"{what}[{k}]"][-1] for k in range(2)] for what in ("clicks", "visitors")])
        p = counts[0] / counts[1]
        pooled = counts[0].sum(axis=0) / counts[1].sum(axis=0)
        z = (p[1] - p[0]) / np.sqrt(pooled * (1 - pooled) * (1 / counts[1]).sum(axis=0))
        rejected[by] = np.mean(trace.recommended == 1), np.mean(np.abs(z) > 1.96)
    low, high = stats.binom.ppf([0.005, 0.995], size, 0.025) / size
    assert low <= rejected["visit"][0] <= high
    assert low <= rejected["user"][0] <= high * 1.3  # 200 users an arm: nearly normal
    assert rejected["user"][1] > 0.2


def test_two_fractions_of_anonymous_visitors():
    """Without user ids, division by users is division by visits."""
    trace = simulate(BernoulliBandit([0.5, 0.5], num_envs=40), ABTest(500, by="user"), horizon=500, seed=1)
    seen = trace.records["visitors[0]"][-1]
    assert stats.kstest((seen - 250) / np.sqrt(125), "norm").pvalue > 1e-3
