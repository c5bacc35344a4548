"""Policies that take predictions for evidence: against plain NumPy, exact identities, and in good and bad company."""

import numpy as np
import pytest
import scipy.stats
from scipy.special import betaln, logsumexp

from bandits import Context, Feedback, Problem, PropensityTable, RandomStreams, simulate
from envs import BernoulliBandit, SimulatedUsers
from policies import UCB1, ABTest, BetaThompson, BranchTest, PriorGreedy, PriorThompson, PriorUCB

K, ROUNDS = 4, 80
RNG = np.random.default_rng(11)
WEIGHTS = (2.0, 10.0, 300.0)
# What four kinds of visitors are predicted to do; some predictions are 0 or 1, as calibrators may say.
KINDS = np.array([[0.1, 0.6, 0.3, 0.2], [0.4, 0.05, 0.3, 0.7], [0.2, 0.9, 0.0, 0.25], [0.15, 0.35, 1.0, 0.1]])


def context_for(prior, available=None, round=0):
    prior = np.atleast_2d(prior)
    size, arms = prior.shape
    return Context(
        np.full(size, round), np.full(size, -1), np.zeros(size), np.zeros((size, 0)), np.zeros((size, arms, 0)),
        np.ones((size, arms), dtype=bool) if available is None else np.broadcast_to(available, (size, arms)), prior,
    )  # fmt: skip


class Memory:
    """Everything that happened, and the documented formulas computed from it anew each time."""

    def __init__(self, weights):
        self.weights = np.array(weights)
        self.visits = []

    def parameters(self, q, arm, visits):
        """Both Beta parameters of an arm under every weight, for a visitor with prediction q."""
        clip = np.clip(q, 1e-6, 1 - 1e-6)
        mine = [(np.clip(p, 1e-6, 1 - 1e-6), r) for k, p, r in visits if k == arm]
        if not mine:
            return clip * self.weights, (1 - clip) * self.weights
        n, s, expected = len(mine), sum(r for _, r in mine), sum(p for p, _ in mine)
        return clip * (self.weights + n * s / expected), (1 - clip) * (self.weights + n * (n - s) / (n - expected))

    def chances(self):
        log_likelihood = np.zeros(len(self.weights))
        for t, (arm, q, reward) in enumerate(self.visits):
            a, b = self.parameters(q, arm, self.visits[:t])
            log_likelihood += reward * np.log(a / (a + b)) + (1 - reward) * np.log(b / (a + b))
        return np.exp(log_likelihood - logsumexp(log_likelihood))


def play(policy, weights, fractional=True):
    """Yield (round, memory, prediction, available, context, arm chosen) in one replication."""
    memory = Memory(weights)
    policy.reset(Problem(1, K, has_prior=True), RandomStreams(5, 1))
    rng = np.random.default_rng(8)
    for t in range(ROUNDS):
        q = KINDS[rng.integers(4)]
        available = np.array([True, True, True, t >= 20])
        context = context_for(q, available, t)
        arm = policy.select(context)
        yield t, memory, q, available, context, int(arm[0])
        reward = np.atleast_1d(rng.random() ** 2 if fractional else float(rng.random() < 0.4))
        policy.update(Feedback(np.array([0]), context, arm, reward[:, None], reward))
        memory.visits.append((int(arm[0]), q[arm[0]], reward[0]))


@pytest.mark.parametrize("weight", [25.0, WEIGHTS])
def test_ucb_is_its_formula(weight):
    policy, weights = PriorUCB(weight, width=0.3), np.atleast_1d(weight)
    for t, memory, q, available, context, arm in play(policy, weights):
        chances = memory.chances()
        index = np.full(K, -np.inf)
        for k in np.flatnonzero(available):
            a, b = memory.parameters(q[k], k, memory.visits)
            index[k] = chances @ (a / (a + b) + np.sqrt(0.3 * np.log(t + 1) / (a + b)))
        assert index[arm] == pytest.approx(index.max(), abs=1e-12)
        assert policy.propensities(context)[0, arm] == 1
        assert policy.record()["prior weight"][0] == pytest.approx(np.exp(chances @ np.log(weights)))


@pytest.mark.parametrize("weight", [25.0, WEIGHTS])
def test_thompson_propensities_are_integrals_over_the_posterior(weight):
    policy = PriorThompson(weight)
    grid = (np.arange(4000) + 0.5) / 4000
    checked = 0
    for t, memory, q, available, context, _ in play(policy, np.atleast_1d(weight)):
        if t % 9 != 8 or q.min() == 0 or q.max() == 1:  # densities without the peaks that this simple rule would miss
            continue
        checked += 1
        expected = np.zeros(K)
        arms = np.flatnonzero(available)
        for g, chance in enumerate(memory.chances()):
            posterior = {k: [x[g] for x in memory.parameters(q[k], k, memory.visits)] for k in arms}
            edges = {k: scipy.stats.beta.cdf(np.arange(4001) / 4000, *posterior[k]) for k in arms}
            for k in arms:
                others = np.prod([scipy.stats.beta.cdf(grid, *posterior[j]) for j in arms if j != k], axis=0)
                expected[k] += chance * np.sum(np.diff(edges[k]) * others)
        np.testing.assert_allclose(policy.propensities(context)[0], expected, atol=2e-4)
    assert checked >= 3


def test_thompson_chooses_as_often_as_it_says():
    """One history in many replications, weights undecided."""
    history = [(0, 0.3, 1.0), (0, 0.1, 0.0), (1, 0.5, 0.0), (1, 0.4, 1.0), (2, 0.3, 0.5)]

    def after_history(size):
        policy = PriorThompson(WEIGHTS)
        policy.reset(Problem(size, 3, has_prior=True), RandomStreams(3, size))
        for arm, q, reward in history:
            rewards = np.full(size, reward)
            context = context_for(np.full((size, 3), q))
            policy.update(Feedback(np.arange(size), context, np.full(size, arm), rewards[:, None], rewards))
        return policy, context_for(np.tile([0.3, 0.35, 0.25], (size, 1)))

    one, visitor = after_history(1)
    exact = one.propensities(visitor)[0]
    many, visitors = after_history(40_000)
    share = np.bincount(many.select(visitors), minlength=3) / 40_000
    assert np.all(np.abs(share - exact) < 4.5 * np.sqrt(exact * (1 - exact) / 40_000))


def test_with_one_prediction_per_arm_the_chances_are_beta_binomial():
    """Counts and SciPy's beta function alone, whatever the order of arrival."""
    policy = PriorUCB(WEIGHTS)
    policy.reset(Problem(1, K, has_prior=True), RandomStreams(1, 1))
    visits, clicks = np.array([30, 3, 0, 12]), np.array([9, 3, 0, 1])
    arms = np.repeat(np.arange(K), visits)
    rewards = np.concatenate([np.arange(n) < s for n, s in zip(visits, clicks, strict=True)]).astype(float)
    order = RNG.permutation(len(arms))
    context = context_for(np.tile(KINDS[0], (len(arms), 1)))
    policy.update(Feedback(np.zeros(len(arms), int), context, arms[order], rewards[order][:, None], rewards[order]))
    m = np.array(WEIGHTS)[:, None]
    a, b = m * KINDS[0], m * (1 - KINDS[0])
    evidence = (betaln(a + clicks, b + visits - clicks) - betaln(a, b)).sum(axis=1)
    chances = np.exp(evidence - logsumexp(evidence))
    assert np.sort(chances)[-2] > 0.01
    assert policy.record()["prior weight"][0] == pytest.approx(np.exp(chances @ np.log(WEIGHTS)))


def one_kind(rates, predictions, size):
    """Worlds with one kind of visitor each; `rates` and `predictions` are (W, K)."""
    rates = np.asarray(rates)
    worlds, arms = rates.shape
    table = PropensityTable(
        p=rates[:, None, :].astype(np.float32),
        user_ids=("all",),
        user_texts=("",),
        item_ids=np.tile([str(k) for k in range(arms)], (worlds, 1)),
        item_texts=np.tile([str(k) for k in range(arms)], (worlds, 1)),
        num_items=np.full(worlds, arms),
        world_ids=tuple(map(str, range(worlds))),
    )
    return SimulatedUsers(table, num_envs=size, prior=np.asarray(predictions)[:, None, :])


@pytest.mark.parametrize(("weight", "prediction"), [(2e-5, 0.5), (2.0, 0.5), (40.0, 0.05)])
def test_where_all_predictions_are_alike_thompson_is_beta_thompson(weight, prediction):
    """Draw for draw; the first case is the limit of a weight of 0."""
    rates = [[0.2, 0.5, 0.35]]
    env = one_kind(rates, [[prediction] * 3], 40)
    informed = simulate(env, PriorThompson(weight), horizon=500, seed=1)
    plain = simulate(env, BetaThompson(weight * prediction, weight * (1 - prediction)), horizon=500, seed=1)
    np.testing.assert_array_equal(informed.traffic, plain.traffic)
    np.testing.assert_array_equal(informed.regret, plain.regret)


def test_ucb_with_a_weight_near_0_is_ucb1_and_with_a_large_one_the_models_pick():
    """UCB1 shows every arm once, in an order of its own: alike from then on, in what they do to given rewards."""
    rates, predictions = [[0.2, 0.5, 0.35]], [[0.3, 0.2, 0.4]]
    first = {}
    for policy in (PriorUCB(1e-7), UCB1()):
        policy.reset(Problem(1, 3, has_prior=True), RandomStreams(1, 1))
        context, rng, chosen = context_for(predictions[0]), np.random.default_rng(2), []
        for t in range(300):
            reward = (rng.random((1, 3)) < rates)[:, [2, 0, 1][t]] if t < 3 else None
            arm = np.array([[2, 0, 1][t]]) if t < 3 else policy.select(context)
            reward = rng.random(1) ** 2 if reward is None else reward.astype(float)
            policy.update(Feedback(np.array([0]), context, arm, reward[:, None], reward))
            chosen.append(int(arm[0]))
        first[type(policy)] = chosen
    assert first[PriorUCB] == first[UCB1]
    assert len(set(first[UCB1])) == 3
    env = one_kind(rates, predictions, 10)
    early = simulate(env, PriorUCB(1e-7), horizon=3, seed=1)
    np.testing.assert_array_equal(early.pulls, 1)
    sure = PriorUCB(1e12)
    inside = BranchTest({"sure": sure, "learning": PriorUCB((1e11, 1e12))}, ABTest(100))
    expected = simulate(env, PriorGreedy(), horizon=200, seed=1).pulls
    np.testing.assert_array_equal(simulate(env, sure, horizon=200, seed=1).pulls, expected)
    np.testing.assert_array_equal(simulate(env, inside, horizon=200, seed=1, engine="python").pulls, expected)


def test_a_model_that_is_off_by_one_factor_is_set_right():
    """Two kinds of visitors who click twice as often as predicted. What arm 1 is predicted to earn, which was never
    shown, tells where the mean of arm 0 has gone: to within 3 percent of each kind's own rate.
    """
    predicted, visits = np.array([0.01, 0.03]), 10_000
    policy = PriorUCB(50.0, width=0.0)
    policy.reset(Problem(1, 2, has_prior=True), RandomStreams(1, 1))
    for q in predicted:
        rewards = (np.arange(visits) < 2 * q * visits).astype(float)
        context = context_for(np.full((visits, 2), q))
        policy.update(Feedback(np.zeros(visits, int), context, np.zeros(visits, int), rewards[:, None], rewards))
    for q in predicted:
        assert policy.select(context_for([q, 2 * q * 0.97]))[0] == 0
        assert policy.select(context_for([q, 2 * q * 1.03]))[0] == 1


@pytest.mark.statistics
@pytest.mark.parametrize("make", [PriorThompson, PriorUCB])
def test_the_chances_of_the_weights_are_calibrated(make):
    """Rates drawn as the model says, under one of two weights: the average chance of the heavier one is its share.

    Exact by Bayes' rule, whatever the policy showed; the chance is read off the reported geometric mean.
    """
    rng = np.random.default_rng(6)
    worlds, arms, weights = 2000, 6, (3.0, 60.0)
    heavy = rng.random(worlds) < 0.5
    predictions = rng.uniform(0.05, 0.5, (worlds, arms))
    m = np.where(heavy, weights[1], weights[0])[:, None]
    rates = rng.beta(m * predictions, m * (1 - predictions))
    trace = simulate(one_kind(rates, predictions, worlds), make(weights), horizon=120, seed=2, snapshots=2)
    chance = np.log(trace.records["prior weight"][-1] / weights[0]) / np.log(weights[1] / weights[0])
    difference = chance - heavy
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(worlds)
    assert chance[heavy].mean() - chance[~heavy].mean() > 0.3
    half = chance > 0.5  # and among those that it thinks heavy
    assert abs(difference[half].mean()) < 4 * difference[half].std() / np.sqrt(half.sum())


def paired(first, second, round):
    """Regret saved by the second up to a round, in standard errors over replications."""
    at = int(np.searchsorted(first.rounds, round))
    saved = first.regret[at] - second.regret[at]
    return saved.mean() / (saved.std(ddof=1) / np.sqrt(saved.size))


@pytest.mark.statistics
@pytest.mark.parametrize(
    ("plain", "informed"),
    [
        (BetaThompson(), lambda weight: PriorThompson(weight)),
        (UCB1(0.2), lambda weight: PriorUCB(weight, 0.2)),
    ],
    ids=["Thompson", "UCB"],
)
def test_good_predictions_help_and_bad_ones_are_seen_through(plain, informed):
    rng = np.random.default_rng(4)
    rates = np.sort(rng.uniform(0.05, 0.4, (50, 5)), axis=1)
    horizon, size = 3000, 400
    learned = (1.0, 16.0, 256.0, 4096.0)

    def played(policy, predictions):
        env = one_kind(rates, predictions, size)
        return simulate(env, policy, horizon=horizon, seed=3, snapshots=[100, 2000, horizon])

    without = played(plain, rates)
    for weight in (200.0, learned):
        assert paired(without, played(informed(weight), rates), 100) > 8  # the truth itself as prediction
    adverse = rates[:, ::-1]
    fooled, learning = played(informed(4096.0), adverse), played(informed(learned), adverse)
    assert paired(fooled, learning, horizon) > 8
    assert learning.records["prior weight"][-1].mean() < 16
    late = [(trace.regret[-1] - trace.regret[1]).mean() / 1000 for trace in (without, learning, fooled)]
    assert late[1] < 1.5 * late[0] + 0.002  # in the last third it does about as well as without a prior
    assert late[2] > 5 * late[1]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PriorThompson(0.0), ValueError, "`weight` must be a number above 0, or several in increasing order."),
        (lambda: PriorThompson([]), ValueError, r"`weight` must be a number above 0.* Got \[\]."),
        (lambda: PriorUCB([4.0, 4.0]), ValueError, r"in increasing order. Got \[4.0, 4.0\]."),
        (lambda: PriorUCB(float("nan")), ValueError, "`weight` must lie in"),
        (lambda: PriorUCB("learned"), TypeError, "`weight` must be a list of numbers. Got 'learned'."),
        (lambda: PriorUCB(width=-1.0), ValueError, r"`width` must lie in \[0.0, inf\). Got -1.0."),
        (lambda: PriorUCB().layout(Problem(1, 3)), ValueError, "PriorUCB needs an environment that hands out"),
        (lambda: PriorThompson().layout(Problem(1, 3)), ValueError, "PriorThompson needs an environment that hands"),
        (
            lambda: PriorUCB().layout(Problem(1, 3, has_prior=True, reward_range=(0.0, 2.0))),
            ValueError,
            r"PriorUCB needs rewards in \[0, 1\].",
        ),
        (
            lambda: simulate(one_kind([[0.1, 0.2]], [[0.1, 1.2]], 1), PriorThompson(3.0), horizon=5, seed=1),
            ValueError,
            r"PriorThompson\(weight=3.0\) must choose an available arm of 0..1. Got -1 .*round 0",
        ),
        (
            lambda: simulate(BernoulliBandit([0.1, 0.2]), PriorUCB(), horizon=5, seed=1),
            ValueError,
            "PriorUCB needs an environment that hands out predictions",
        ),
    ],
)
def test_what_is_not_defined_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
