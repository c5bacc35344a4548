"""Each policy against its formula in plain NumPy, step by step, on asymmetric data."""

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportions_ztest, samplesize_proportions_2indep_onetail

from bandits import Context, Feedback, Problem, PropensityTable, RandomStreams, simulate
from bandits.environment import context_of
from envs import BernoulliBandit, SimulatedUsers
from policies import UCB1, ABTest, BetaThompson, EpsilonGreedy, Exp3, FixedSplit, LinearThompson, LinUCB

K, D, E = 4, 3, 2


class Log:
    """Plays a policy in one replication, with rewards that differ by arm and round, and keeps everything."""

    def __init__(self, policy, seed=0, rounds=120, gone=()):
        rng = np.random.default_rng(seed)
        self.policy = policy
        problem = Problem(1, K, user_dim=D, arm_dim=E, horizon=rounds)
        policy.reset(problem, RandomStreams(seed, 1))
        self.users, self.arm_features = rng.normal(size=(rounds, D)), rng.normal(size=(K, E))
        self.rewards = rng.uniform(0, [0.4, 1.0, 0.7, 0.2], size=(rounds, K)) ** 2
        self.available = np.ones((rounds, K), dtype=bool)
        for arm, first in gone:
            self.available[first:, arm] = False
        self.chosen = []

    def context(self, t):
        return Context(
            round=np.array([t]),
            user_id=np.array([t % 7]),
            time=np.array([t / 10]),
            user=self.users[t : t + 1],
            arms=self.arm_features[np.newaxis],
            available=self.available[t : t + 1],
        )

    def play(self):
        """Yield (round, arm chosen) before the policy learns of it."""
        for t in range(len(self.users)):
            context = self.context(t)
            arm = self.policy.select(context)
            yield t, int(arm[0])
            reward = self.rewards[t, arm]
            self.policy.update(Feedback(np.array([0]), context, arm, reward[:, np.newaxis], reward))
            self.chosen.append(int(arm[0]))

    def history(self, t, arm):
        """Rewards that an arm earned before round t."""
        return np.array([self.rewards[i, arm] for i in range(t) if self.chosen[i] == arm])


@pytest.mark.parametrize("width", [2.0, 0.3])
def test_ucb1(width):
    log = Log(UCB1(width), gone=[(1, 60)])
    for t, arm in log.play():
        index = np.full(K, -np.inf)
        for k in np.flatnonzero(log.available[t]):
            rewards = log.history(t, k)
            index[k] = rewards.mean() + np.sqrt(width * np.log(t + 1) / len(rewards)) if len(rewards) else np.inf
        assert index[arm] == pytest.approx(index.max(), abs=1e-12)


def test_epsilon_greedy_exploits_the_best_mean_and_explores_as_often_as_it_says():
    log = Log(EpsilonGreedy(0.25), rounds=3000)
    pulls, sums, explored = np.zeros(K), np.zeros(K), 0
    for t, arm in log.play():
        means = [sums[k] / pulls[k] if pulls[k] else np.inf for k in range(K)]
        explored += means[arm] < max(means)
        pulls[arm] += 1
        sums[arm] += log.rewards[t, arm]
    low, high = scipy.stats.binom.interval(0.999, 3000, 0.25 * (K - 1) / K)
    assert low <= explored <= high


def test_epsilon_decays_as_documented():
    log = Log(EpsilonGreedy(2.0, decay=0.5), rounds=40)
    for t, _ in log.play():
        chances = log.policy.propensities(log.context(t))[0]
    # At the 41st visit epsilon is 2 / sqrt(41); the arms that are not best share it equally.
    assert np.sort(chances)[0] == pytest.approx(2 / np.sqrt(41) / K)


def test_thompson_draws_from_the_posterior():
    """One posterior, many replications: how often each arm is chosen, against integrals of the others."""
    size = 40_000
    problem = Problem(size, 3)
    policy = BetaThompson(clicks=1.5, misses=2.0)
    policy.reset(problem, RandomStreams(3, size))
    rewards = {0: [1.0, 0.0, 0.0], 1: [0.5, 1.0], 2: [0.0]}
    context = Context(
        np.zeros(size, np.int64), np.full(size, -1), np.zeros(size), np.zeros((size, 0)), np.zeros((size, 3, 0)),
        np.ones((size, 3), dtype=bool),
    )  # fmt: skip
    for arm, values in rewards.items():
        for value in values:
            reward = np.full(size, value)
            policy.update(Feedback(np.arange(size), context, np.full(size, arm), reward[:, None], reward))
    share = np.bincount(policy.select(context), minlength=3) / size
    posterior = [scipy.stats.beta(1.5 + sum(v), 2.0 + len(v) - sum(v)) for v in rewards.values()]
    grid = (np.arange(20_000) + 0.5) / 20_000
    for k in range(3):
        others = np.prod([posterior[j].cdf(grid) for j in range(3) if j != k], axis=0)
        exact = np.mean(posterior[k].pdf(grid) * others)
        assert share[k] == pytest.approx(exact, abs=4.5 * np.sqrt(exact * (1 - exact) / size))


def test_disjoint_linucb():
    log = Log(LinUCB(alpha=0.7, ridge=2.0), gone=[(0, 80)])
    gram, moment = np.array([np.eye(D + 1) * 2.0] * K), np.zeros((K, D + 1))
    for t, arm in log.play():
        x = np.append(1.0, log.users[t])
        score = np.full(K, -np.inf)
        for k in np.flatnonzero(log.available[t]):
            score[k] = np.linalg.solve(gram[k], moment[k]) @ x + 0.7 * np.sqrt(x @ np.linalg.solve(gram[k], x))
        assert score[arm] == pytest.approx(score.max(), abs=1e-9)
        gram[arm] += np.outer(x, x)
        moment[arm] += log.rewards[t, arm] * x


def test_product_linucb():
    log = Log(LinUCB(alpha=0.4, ridge=1.5, features="product", user_components=2, arm_components=2))
    size = 9
    gram, moment = np.eye(size) * 1.5, np.zeros(size)
    for t, arm in log.play():
        user = np.append(1.0, log.users[t, :2])
        rows = [np.outer(user, np.append(1.0, log.arm_features[k])).ravel() for k in range(K)]
        inverse = np.linalg.inv(gram)
        score = [x @ inverse @ moment + 0.4 * np.sqrt(x @ inverse @ x) for x in rows]
        assert score[arm] == pytest.approx(max(score), abs=1e-9)
        gram += np.outer(rows[arm], rows[arm])
        moment += log.rewards[t, arm] * rows[arm]


@pytest.mark.parametrize("features", ["disjoint", "product"])
def test_linear_thompson_draws_from_the_posterior(features):
    """One history, many replications: how often each arm is chosen, against NumPy's draws of whole coefficients."""
    size, scale, ridge = 40_000, 0.6, 2.0
    rng = np.random.default_rng(4)
    users, arm_features = rng.normal(size=(30, D)), rng.normal(size=(3, E))
    chosen, rewards = rng.integers(0, 3, 30), rng.uniform(0, 1, 30)
    policy = LinearThompson(scale, ridge, features, user_components=2, arm_components=2)
    policy.reset(Problem(size, 3, user_dim=D, arm_dim=E), RandomStreams(3, size))

    def context(user):
        return Context(
            np.zeros(size, np.int64), np.full(size, -1), np.zeros(size), np.tile(user, (size, 1)),
            np.broadcast_to(arm_features, (size, 3, E)), np.ones((size, 3), dtype=bool),
        )  # fmt: skip

    for user, arm, reward in zip(users, chosen, rewards, strict=True):
        all_rewards = np.full(size, reward)
        policy.update(Feedback(np.arange(size), context(user), np.full(size, arm), all_rewards[:, None], all_rewards))
    visitor = rng.normal(size=D)
    share = np.bincount(policy.select(context(visitor)), minlength=3) / size

    def row(user, arm):
        if features == "disjoint":
            return np.kron(np.eye(3)[arm], np.append(1.0, user))
        return np.kron(np.append(1.0, user[:2]), np.append(1.0, arm_features[arm]))

    design = np.array([row(user, arm) for user, arm in zip(users, chosen, strict=True)])
    covariance = np.linalg.inv(ridge * np.eye(design.shape[1]) + design.T @ design)
    draws = rng.multivariate_normal(covariance @ design.T @ rewards, scale**2 * covariance, 200_000)
    exact = np.bincount(np.argmax(draws @ np.array([row(visitor, k) for k in range(3)]).T, axis=1), minlength=3) / 2e5
    assert np.all((exact > 0.01) & (np.abs(share - exact) < 4.5 * np.sqrt(exact * (1 - exact) * (1 / size + 1 / 2e5))))


def test_exp3():
    log = Log(Exp3(0.2), rounds=400, gone=[(2, 200)])
    weights = np.ones(K)
    for t, arm in log.play():
        free = log.available[t]
        probabilities = np.where(free, 0.8 * weights / weights[free].sum() + 0.2 / free.sum(), 0.0)
        assert log.policy.propensities(log.context(t))[0] == pytest.approx(probabilities)  # of the last round's state
        weights[arm] *= np.exp(0.2 * log.rewards[t, arm] / probabilities[arm] / K)


def test_exp3_survives_weights_beyond_what_floats_can_hold():
    trace = simulate(BernoulliBandit([0.0, 1.0], num_envs=2), Exp3(0.5), horizon=5000, seed=1)
    assert trace.pulls[:, 1].mean() == pytest.approx(0.75 * 5000, rel=0.02)  # the weight grows to exp(1700) or so
    assert np.isfinite(trace.regret).all()


def test_exp3_takes_its_exploration_from_the_horizon():
    """Corollary 3.2: with T at least K log K / (e - 1), sqrt(K log K / ((e - 1) T))."""
    assert Exp3().layout(Problem(1, 5, horizon=1000)).params == pytest.approx(
        (np.sqrt(5 * np.log(5) / (np.e - 1) / 1000),)
    )
    with pytest.raises(ValueError, match="`exploration` of Exp3 must be given"):
        Exp3().layout(Problem(1, 5))


def test_fixed_split_keeps_its_weights_and_gives_those_of_missing_arms_to_the_others():
    env = BernoulliBandit([0.5] * 3, num_envs=50)
    pulls = simulate(env, FixedSplit([0.2, 0.5, 0.3]), horizon=400, seed=1).pulls.sum(axis=0)
    assert scipy.stats.chisquare(pulls, np.array([0.2, 0.5, 0.3]) * 20_000).pvalue > 1e-3
    log = Log(FixedSplit([0.1, 0.2, 0.3, 0.4]), gone=[(3, 0)])
    log.policy.select(log.context(0))
    np.testing.assert_allclose(log.policy.propensities(log.context(0))[0], [1 / 6, 2 / 6, 3 / 6, 0])


def decided_by_statsmodels(pulls, clicks, control, alpha):
    """The documented rule with statsmodels' tests."""
    others = [k for k in range(len(pulls)) if k != control]
    p_values = [proportions_ztest([clicks[k], clicks[control]], [pulls[k], pulls[control]])[1] for k in others]
    rejected = multipletests(p_values, alpha, method="holm")[0]
    rates = np.array(clicks) / pulls
    better = [k for k, reject in zip(others, rejected, strict=True) if reject and rates[k] > rates[control]]
    return max(better, key=lambda k: rates[k]) if better else control


@pytest.mark.parametrize("control", [0, 2])
def test_ab_test_decides_as_statsmodels_does(control, monkeypatch):
    """60 replications with small and large differences: every decision by z tests and Holm."""
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels collects garbage at every call: half a second each here
    length, size = 400, 60
    policy = ABTest(visitors=length, control=control, weights=[0.4, 0.2, 0.2, 0.2], alpha=0.1)
    env = BernoulliBandit([0.30, 0.42, 0.33, 0.20], num_envs=size)
    pulls, clicks = play_and_count(policy, env, length)
    expected = [decided_by_statsmodels(pulls[n], clicks[n], control, 0.1) for n in range(size)]
    assert len(set(expected)) >= 2  # the example has winners and kept controls
    trace = simulate(env, policy, horizon=length + 50, seed=2)
    np.testing.assert_array_equal(trace.recommended, expected)
    np.testing.assert_array_equal((trace.pulls - pulls)[np.arange(size), expected], np.full(size, 50))
    np.testing.assert_array_equal(trace.records["shipped"][-1], expected)
    assert np.all(trace.records["testing"][trace.rounds < length] == 1)
    assert np.all(trace.records["testing"][trace.rounds >= length] == 0)


def play_and_count(policy, env, rounds):
    """Pulls and clicks per arm, shape (N, K), of a policy that is played through Gymnasium's interface."""
    size = env.num_envs
    observation, _ = env.reset(seed=2)
    problem = env.problem(rounds)
    policy.reset(problem, RandomStreams(2, size))
    pulls, clicks = np.zeros((size, problem.num_arms), dtype=int), np.zeros((size, problem.num_arms))
    rows = np.arange(size)
    for t in range(rounds):
        context = context_of(observation, problem, t)
        arms = policy.select(context)
        observation, reward, *_ = env.step(arms)
        policy.update(Feedback(rows, context, arms, reward[:, None], reward))
        pulls[rows, arms] += 1
        clicks[rows, arms] += reward
    return pulls, clicks


def test_ab_test_length_from_effect_and_power():
    exact = samplesize_proportions_2indep_onetail(0.02, 0.10, power=0.8, ratio=1, alpha=0.05)
    assert ABTest(minimum_effect=0.02, baseline=0.10).length(2) == 2 * int(np.ceil(exact))
    exact = samplesize_proportions_2indep_onetail(0.02, 0.10, power=0.8, ratio=1, alpha=0.05 / 3)
    assert ABTest(minimum_effect=0.02, baseline=0.10).length(4) == 4 * int(np.ceil(exact))


def test_ab_test_leaves_out_arms_that_come_later():
    log = Log(ABTest(visitors=60))
    log.available[:30, 2] = False
    for t, arm in log.play():
        assert arm != 2 or t >= 60
    assert log.chosen.count(2) in (0, 60)
    assert 2 not in log.chosen[:60]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedSplit([0.5, 0.6]), r"`weights` must sum to 1. Got \[0.5, 0.6\], which sum to 1.1."),
        (lambda: FixedSplit([-0.5, 1.5]), "`weights` must be at least 0."),
        (lambda: EpsilonGreedy(1.5), r"`epsilon` must lie in \[0.0, 1.0\]. Got 1.5."),
        (lambda: EpsilonGreedy(0.1, decay=-1), r"`decay` must lie in \[0.0, inf\). Got -1."),
        (lambda: UCB1(float("nan")), "`width` must lie in"),
        (lambda: BetaThompson(clicks=0.0), r"`clicks` must lie in \(0.0, inf\). Got 0.0."),
        (lambda: LinUCB(features="deep"), "`features` must be disjoint or product. Got 'deep'."),
        (lambda: LinearThompson(scale=-1.0), r"`scale` must lie in \[0.0, inf\). Got -1.0."),
        (lambda: Exp3(0.0), r"`exploration` must lie in \(0.0, inf\). Got 0.0."),
        (lambda: Exp3(1.5), r"`exploration` must lie in \[0.0, 1.0\]. Got 1.5."),
        (lambda: LinUCB(ridge=0.0), r"`ridge` must lie in \(0.0, inf\)"),
        (lambda: ABTest(), "Exactly one of `visitors` and `minimum_effect` must be given."),
        (lambda: ABTest(minimum_effect=0.1), "`baseline` and `minimum_effect` must be given together."),
        (lambda: ABTest(visitors=1), "`visitors` must be at least 2. Got 1."),
    ],
)
def test_bad_hyperparameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.faults
def test_wrong_types_and_problems():
    with pytest.raises(TypeError, match=r"`epsilon` must be a number\. Got '0\.1'"):
        EpsilonGreedy("0.1")
    with pytest.raises(TypeError, match=r"`visitors` must be an integer\. Got 10\.5"):
        ABTest(visitors=10.5)
    with pytest.raises(ValueError, match=r"`weights` must have one entry for each of 3 arms\. Got 2"):
        FixedSplit([0.5, 0.5]).layout(Problem(1, 3))
    with pytest.raises(ValueError, match=r"`control` must be an arm 0..2. Got 5."):
        ABTest(visitors=10, control=5).layout(Problem(1, 3))
    with pytest.raises(ValueError, match=r"BetaThompson needs rewards in \[0, 1\]"):
        BetaThompson().layout(Problem(1, 3, reward_range=(-1.0, 1.0)))


def test_ab_test_length_follows_the_arms_that_take_part():
    """Where worlds have different numbers of arms, each test is as long as its own arms need."""
    policy = ABTest(minimum_effect=0.2, baseline=0.3)
    log = Log(policy, rounds=2 * policy.length(4))
    log.available[:, 3] = False
    shipped = [t for t, _ in log.play() if policy.record()["shipped"][0] >= 0]
    assert shipped[0] == policy.length(3) != policy.length(4)


def test_product_linucb_knows_an_arm_that_it_has_never_seen():
    """Two kinds of arms, told by one feature: a late arm of the better kind is shown at once."""
    policy = LinUCB(alpha=0.01, features="product", user_components=0, arm_components=1)
    rates, kind = np.array([[0.1, 0.1, 0.5, 0.5]]), np.array([[0.0], [0.0], [1.0], [1.0]])
    env = SimulatedUsers(
        PropensityTable.single_world(rates), num_envs=100, arm_features=kind, available_from=[0, 0, 0, 300]
    )
    trace = simulate(env, policy, horizon=400, seed=1, snapshots=[300, 320, 400])
    late = trace.traffic[:, 3] / (100 * np.array([1, 20, 100]))
    assert late[0] == 0
    assert late[1] > 0.4  # the tie of the two good arms is broken at random until they differ
    disjoint = simulate(env, LinUCB(alpha=0.01), horizon=320, seed=1, snapshots=[300, 320])
    assert disjoint.traffic[-1, 3] < trace.traffic[1, 3] / 2  # a model of its own has to begin with no clicks at all
