"""Tests between policies: who is sent where, what branches learn, and what pooled learning does to the estimate."""

import numpy as np
import pytest
from scipy import stats

from bandits import Context, Feedback, Problem, PropensityTable, RandomStreams, simulate
from envs import BernoulliBandit, SimulatedUsers
from policies import (
    UCB1,
    ABTest,
    BranchTest,
    EpsilonGreedy,
    FixedSplit,
    GroupSequentialABTest,
    LinUCB,
    MatrixFactorization,
    NoRecommendation,
    PriorGreedy,
)

RATES = np.random.default_rng(3).uniform(0.1, 0.6, (30, 4))


def constant(arm, arms=4):
    return FixedSplit(np.eye(arms)[arm].tolist())


def users(size, **settings):
    return SimulatedUsers(PropensityTable.single_world(RATES), num_envs=size, **settings)


def test_branches_are_the_arms_of_the_design(play):
    """Each branch plays an arm of its own: the test is the design over those arms, decision and all."""
    size, length = 60, 300
    design = GroupSequentialABTest(length, looks=3, weights=[0.5, 0.3, 0.2], alpha=0.2, control=1)
    policy = BranchTest({"a": constant(2), "b": constant(0), "c": constant(3)}, design)
    means = np.array([0.4, 0.9, 0.2, 0.5])
    visits = play(policy, BernoulliBandit(means, num_envs=size), length + 60)
    alone = GroupSequentialABTest(length, looks=3, weights=[0.5, 0.3, 0.2], alpha=0.2, control=1)
    reference = play(alone, BernoulliBandit(means[[2, 0, 3]], num_envs=size), length + 60)
    np.testing.assert_array_equal(visits.arms, np.array([2, 0, 3])[reference.arms])
    for here, there in (("visitors[b]", "visitors[1]"), ("clicks[c]", "clicks[2]"), ("shipped", "shipped")):
        np.testing.assert_array_equal(policy.record()[here], alone.record()[there])
    assert len(set(policy.record()["shipped"])) > 1
    np.testing.assert_allclose(visits.propensities[..., [2, 0, 3]], reference.propensities)
    np.testing.assert_array_equal(visits.propensities[..., 1], 0)


def test_propensities_mix_those_of_the_branches(play):
    policy = BranchTest({"explores": EpsilonGreedy(0.4), "splits": FixedSplit([0.7, 0.1, 0.1, 0.1])}, ABTest(10**6))
    visits = play(policy, BernoulliBandit([0.2, 0.4, 0.6, 0.1], num_envs=300), 60)
    np.testing.assert_allclose(visits.propensities.sum(axis=2), 1)
    later = visits.propensities[20:].reshape(-1, 4)
    chosen = np.eye(4)[visits.arms[20:].ravel()]
    z = (chosen - later).sum(axis=0) / np.sqrt((later * (1 - later)).sum(axis=0))
    assert np.abs(z).max() < 3.5


def test_a_branch_learns_from_its_own_visitors_or_from_all():
    """Two copies of one policy. Pooled, both know the same; own, each knows its half."""
    size, rounds = 4, 120
    for learn in ("own", "pooled"):
        policy = BranchTest({"a": UCB1(0.1), "b": UCB1(0.1)}, ABTest(10**6), learn=learn)
        env = BernoulliBandit([0.2, 0.7, 0.5], num_envs=size)
        trace = simulate(env, policy, horizon=rounds, seed=1, engine="lockstep")
        layout = policy.layout(env.problem(rounds))
        half = layout.arm // 2  # the two branches' fields per arm; UCB1 keeps pulls first
        pulls = policy._state[1][:, [0, half], :].sum(axis=2)
        visitors = np.stack([trace.records["visitors[a]"][-1], trace.records["visitors[b]"][-1]], axis=1)
        np.testing.assert_array_equal(pulls, visitors if learn == "own" else np.full((size, 2), rounds))


def test_one_branch_alone_plays_like_the_policy_itself():
    """There is nothing to divide: the same law, in other draws, since the salt takes the first."""
    env = BernoulliBandit([0.1, 0.4], num_envs=1000)
    test = BranchTest({"only": UCB1(0.3)}, ABTest(10**6))
    inside, alone = (simulate(env, policy, horizon=200, seed=2).regret[-1] for policy in (test, UCB1(0.3)))
    assert stats.ttest_rel(inside, alone).pvalue > 1e-3
    assert np.corrcoef(inside, alone)[0, 1] > 0.5


def test_segments_add_up_and_are_the_users_own():
    segments = {"few": range(5), "many": range(5, 30)}
    policy = BranchTest({"a": constant(0), "b": constant(1)}, ABTest(400, by="user"))
    env = users(40, segments=segments)
    assert env.problem().user_segments == (0,) * 5 + (1,) * 25
    trace = simulate(env, policy, horizon=500, seed=3, snapshots=2)
    final = {name: values[-1] for name, values in trace.records.items()}
    for branch in "ab":
        for what in ("visitors", "clicks"):
            parts = [final[f"{what}[{branch} | {name}]"] for name in segments]
            np.testing.assert_array_equal(sum(parts), final[f"{what}[{branch}]"])
    seen = sum(final[f"visitors[{branch} | few]"].sum() for branch in "ab")
    assert stats.binomtest(int(seen), 40 * 400, 5 / 30).pvalue > 1e-3
    rate = final["clicks[a | few]"].sum() / final["visitors[a | few]"].sum()
    assert rate == pytest.approx(RATES[:5, 0].mean(), abs=0.05)
    assert rate != pytest.approx(RATES[5:, 0].mean(), abs=0.02)


@pytest.mark.statistics
def test_a_pooled_log_biases_the_test_towards_nothing():
    """Greedy learning against random choice as a policy that shows what the other learns from.

    The truth comes from two worlds of their own. With its own tenth of the visitors the learner is slow, so the test
    sees too little of it; fed with everybody's clicks it learns faster than it would alone at first, but only from what
    is shown: in either case the estimate is not the truth, and the two designs differ.
    """
    size, rounds = 2000, 1500
    env = BernoulliBandit([0.1, 0.12, 0.14, 0.16, 0.3], num_envs=size)
    learner, control = EpsilonGreedy(0.02), FixedSplit()
    truth = [
        simulate(env, policy, horizon=rounds, seed=5, snapshots=2).reward[-1] / rounds for policy in (learner, control)
    ]
    estimates = {}
    for learn in ("own", "pooled"):
        policy = BranchTest({"control": control, "learner": learner}, ABTest(10**6, weights=[0.9, 0.1]), learn=learn)
        records = simulate(env, policy, horizon=rounds, seed=5, snapshots=2).records
        rates = [records[f"clicks[{name}]"][-1] / records[f"visitors[{name}]"][-1] for name in ("learner", "control")]
        estimates[learn] = rates[0] - rates[1]
    effect = (truth[0] - truth[1]).mean()
    errors = {learn: values.std() / np.sqrt(size) for learn, values in estimates.items()}
    assert estimates["own"].mean() < effect - 5 * errors["own"]
    assert estimates["pooled"].mean() > effect + 5 * errors["pooled"]


def test_showing_nothing_is_an_arm_that_only_those_choose_who_mean_it():
    env = users(20, null_arm=3)
    assert env.problem().null_arm == 3
    for engine in ("fused", "lockstep", "python"):
        trace = simulate(env, NoRecommendation(), horizon=200, seed=1, engine=engine)
        assert (trace.pulls[:, 3] == 200).all()
        np.testing.assert_allclose(
            trace.regret[-1].mean() / 200, RATES[:, :3].max(axis=1).mean() - RATES[:, 3].mean(), rtol=0.1
        )
    for policy in (UCB1(), FixedSplit(), LinUCB(), EpsilonGreedy()):
        assert simulate(env, policy, horizon=200, seed=1).pulls[:, 3].sum() == 0
    # Regret is against arms that can be shown, even where showing nothing is best.
    best_nothing = SimulatedUsers(PropensityTable.single_world(np.array([[0.1, 0.2, 0.9]])), null_arm=2, num_envs=2)
    assert (simulate(best_nothing, NoRecommendation(), horizon=50, seed=1).regret[-1] < 0).all()


def test_the_best_prediction_is_shown():
    prior = np.random.default_rng(1).uniform(size=(1, 30, 4))
    trace = simulate(users(10, prior=prior), PriorGreedy(), horizon=300, seed=1)
    expected = np.take_along_axis(RATES, prior[0].argmax(axis=1)[:, None], axis=1).mean()
    assert trace.reward[-1].sum() / 3000 == pytest.approx(expected, abs=0.03)
    explored = simulate(users(10, prior=prior), PriorGreedy(1.0), horizon=300, seed=1)
    assert stats.chisquare(explored.pulls.sum(axis=0)).pvalue > 1e-3


def test_matrix_factorization_is_stochastic_gradient_descent():
    """Step by step against the gradient of the penalized log loss, taken by finite differences."""
    rank, rate, shrink, arms, people = 2, 0.3, 0.1, 3, 5
    policy = MatrixFactorization(rank, rate, shrink, epsilon=0.0, spread=0.5)
    policy.reset(Problem(1, arms, num_users=people), RandomStreams(4, 1))
    rng = np.random.default_rng(0)

    def parts():
        per_user = policy._state[2][0][1:].reshape(people, 1 + rank)
        return policy._state[2][0][0], per_user.copy(), policy._state[1][0].copy()

    def score(common, user, item):
        return common + user[0] + item[0] + user[1:] @ item[1:]

    for t in range(60):
        common, per_user, per_arm = parts()
        user = int(rng.integers(people))
        empty = np.zeros((1, 0)), np.zeros((1, arms, 0))
        context = Context(np.array([t]), np.array([user]), np.zeros(1), *empty, np.ones((1, arms), dtype=bool))
        scores = [score(common, per_user[user], per_arm[:, k]) for k in range(arms)]
        chosen = policy.select(context)
        assert chosen[0] == np.argmax(scores)
        k, y = int(chosen[0]), float(rng.random() < 0.4)

        def loss(theta, k=k, y=y, start=(common, per_user[user], per_arm[:, k])):
            s = score(theta[0], theta[1 : 2 + rank], theta[2 + rank :])
            penalty = shrink / 2 * (theta[1:] ** 2).sum()
            return np.log1p(np.exp(s)) - y * s + penalty

        theta = np.concatenate([[common], per_user[user], per_arm[:, k]])
        gradient = [(loss(theta + h) - loss(theta - h)) / 2e-6 for h in 1e-6 * np.eye(len(theta))]
        policy.update(Feedback(np.array([0]), context, chosen, np.array([[y]]), np.array([y])))
        common, per_user, per_arm = parts()
        after = np.concatenate([[common], per_user[user], per_arm[:, k]])
        np.testing.assert_allclose(after, theta - rate * np.array(gradient), atol=1e-7)


def test_matrix_factorization_learns_who_likes_what():
    taste = np.where((np.arange(30)[:, None] % 4) == np.arange(4), 0.7, 0.1)
    env = SimulatedUsers(PropensityTable.single_world(taste), num_envs=10)
    late = simulate(env, MatrixFactorization(epsilon=0.1), horizon=20_000, seed=2, snapshots=[10_000, 20_000])
    assert ((late.reward[1] - late.reward[0]).mean()) / 10_000 > 0.5  # everybody's favourite alone earns 0.25


@pytest.mark.faults
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BranchTest({}, ABTest(9)), ValueError, "`branches` must hold at least one policy. Got none."),
        (lambda: BranchTest({"a": 3}, ABTest(9)), TypeError, r"`branches\['a'\]` must be a kernel policy. Got 3."),
        (lambda: BranchTest({"a": UCB1()}, UCB1()), TypeError, "`design` must be an A/B test. Got UCB1"),
        (lambda: BranchTest({"a": UCB1()}, ABTest(9), learn="all"), ValueError, "`learn` must be own or pooled."),
        (lambda: MatrixFactorization(0), ValueError, "`factors` must be at least 1. Got 0."),
        (lambda: PriorGreedy(2.0), ValueError, r"`epsilon` must lie in \[0.0, 1.0\]. Got 2.0."),
        (lambda: PriorGreedy().layout(Problem(1, 3)), ValueError, "PriorGreedy needs an environment that hands out"),
        (lambda: NoRecommendation().layout(Problem(1, 3)), ValueError, "NoRecommendation needs an environment"),
        (lambda: users(1, null_arm=4), ValueError, "`null_arm` must be an item 0..3, there in every world. Got 4."),
        (lambda: users(1, segments={"a": [0, 0]}), ValueError, "`segments` must hold every user. Got none for user 1."),
        (lambda: users(1, segments={"a": [30]}), ValueError, r"`segments` must hold users 0..29, each once."),
        (
            lambda: BranchTest({"a": UCB1()}, ABTest(9, weights=[0.5, 0.5])).layout(Problem(1, 3)),
            ValueError,
            "`weights` must have one entry for each of 1 arms. Got 2.",
        ),
    ],
)
def test_bad_tests_between_policies_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
