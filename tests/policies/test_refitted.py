"""The refitted model against scikit-learn, statsmodels, and logs kept by hand."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from bandits import Feedback, Problem, PropensityTable, RandomStreams, Trace, simulate
from bandits.core import Context
from bandits.statistics import predictive_test
from envs import SimulatedUsers
from policies import RefittedModel
from policies.refitted.guard import Guard
from policies.refitted.logistic import fit_logistic
from policies.refitted.pairs import CONSTANT_PENALTY
from policies.refitted.visit_log import inverse_propensity_weights, remembered

RNG = np.random.default_rng(3)
USERS, ARMS = RNG.normal(size=(12, 3)), RNG.normal(size=(4, 2))
TABLE = expit(-0.5 + USERS @ RNG.normal(size=(3, 2)) @ ARMS.T)
PRODUCT = {"features": "product", "user_components": 2, "arm_components": 2}


def world(num_envs: int) -> SimulatedUsers:
    table = PropensityTable.single_world(
        TABLE,
        user_ids=tuple(map(str, range(12))),
        user_texts=("",) * 12,
        item_ids=tuple("abcd"),
        item_texts=tuple("abcd"),
    )
    return SimulatedUsers(table, num_envs=num_envs, user_features=USERS, arm_features=ARMS)


def context(users: np.ndarray, rounds: int | np.ndarray = 0) -> Context:
    size = len(users)
    return Context(
        round=np.broadcast_to(np.asarray(rounds, dtype=np.int64), size),
        user_id=users,
        time=np.zeros(size),
        user=USERS[users],
        arms=np.broadcast_to(ARMS, (size, 4, 2)),
        available=np.ones((size, 4), dtype=bool),
    )


def played(policy: RefittedModel, rounds: int, num_envs: int = 3, seed: int = 5) -> dict[str, np.ndarray]:
    """Plays by hand; returns who came, what was shown with which probability, and what came of it, each (T, N)."""
    policy.reset(Problem(num_envs, 4, user_dim=3, arm_dim=2), RandomStreams(seed, num_envs))
    random, everyone, log = np.random.default_rng(seed), np.arange(num_envs), []
    for t in range(rounds):
        users = random.integers(0, 12, num_envs)
        now = context(users, t)
        chances = policy.propensities(now)
        arms = policy.select(now)
        reward = (random.uniform(size=num_envs) < TABLE[users, arms]).astype(float)
        log.append((users, arms, chances[everyone, arms], reward))
        policy.update(Feedback(everyone, now, arms, reward[:, np.newaxis], reward))
    return dict(zip(("users", "arms", "propensity", "reward"), map(np.array, zip(*log, strict=True)), strict=True))


def pair_rows(users: np.ndarray, arms: np.ndarray, kind: str) -> np.ndarray:
    if kind == "product":
        return np.array([np.kron([1, *USERS[u, :2]], [1, *ARMS[k]]) for u, k in zip(users, arms, strict=True)])
    return np.array([[1, *np.kron(np.eye(4)[k], [1, *USERS[u]])] for u, k in zip(users, arms, strict=True)])


def sklearn_rates(rows: np.ndarray, y: np.ndarray, weight: np.ndarray, ridge: float, new: np.ndarray) -> np.ndarray:
    """scikit-learn penalises all coefficients alike: a larger constant makes the penalty of its coefficient smaller."""
    scale = np.r_[np.sqrt(ridge / CONSTANT_PENALTY), np.ones(rows.shape[1] - 1)]
    model = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    return model.fit(rows * scale, y, sample_weight=weight).predict_proba(new * scale)[:, 1]


def test_weighted_fit_is_that_of_statsmodels_and_begins_anywhere() -> None:
    x = np.column_stack([np.ones(300), RNG.normal(size=(300, 4))])
    y, weight = (RNG.uniform(size=300) < expit(x[:, 1] - 1)).astype(float), RNG.uniform(0.1, 3, 300)
    expected = sm.GLM(y, x, family=sm.families.Binomial(), freq_weights=weight).fit(tol=1e-14).params
    tiny = np.full(5, 1e-10)
    np.testing.assert_allclose(fit_logistic(x, y, weight, tiny), expected, atol=1e-6)
    np.testing.assert_allclose(fit_logistic(x, y, weight, tiny, np.full(5, 4.0)), expected, atol=1e-6)


def test_fit_stays_finite_where_nobody_clicked_or_a_feature_tells_clicks_apart() -> None:
    x = np.column_stack([np.ones(40), np.repeat([-1.0, 1.0], 20)])
    for y in (np.zeros(40), x[:, 1] > 0):
        found = fit_logistic(x, y.astype(float), np.ones(40), np.array([CONSTANT_PENALTY, 1e-3]))
        gradient = x.T @ (expit(x @ found) - y) + np.array([CONSTANT_PENALTY, 1e-3]) * found
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize("kind", ["disjoint", "product"])
@pytest.mark.parametrize("weighting", ["uniform", "ipw"])
@pytest.mark.parametrize(("memory", "first"), [("all", 0), ("window", 150)])
def test_a_refit_is_sklearns_on_the_log_that_the_policy_made(kind: str, weighting: str, memory: str, first: int):
    components = PRODUCT if kind == "product" else {}
    policy = RefittedModel(
        125, memory=memory, memory_size=100, weighting=weighting, largest_weight=6.0, epsilon=0.2, ridge=0.7,
        **components,
    )  # fmt: skip
    log = played(policy, 250)
    assert len(np.unique(log["propensity"])) > 2  # or nothing is weighted
    users, arms = (grid.ravel() for grid in np.indices((12, 4)))
    for n in range(3):
        weight = np.ones(250 - first)
        if weighting == "ipw":
            raw = np.minimum(1 / log["propensity"][first:, n], 6.0)
            weight = raw / (raw.sum() / len(raw))
        rows = pair_rows(log["users"][first:, n], log["arms"][first:, n], kind)
        expected = sklearn_rates(rows, log["reward"][first:, n], weight, 0.7, pair_rows(users, arms, kind))
        found = np.stack([policy.rates(context(np.full(3, user), 250))[n] for user in range(12)])
        np.testing.assert_allclose(found.ravel(), expected, atol=2e-5)


def test_inverse_propensity_weights_by_hand() -> None:
    # 1/0.25 = 4, 1/0.1 = 10 and 1/0.01 clipped to 10: over their mean of 8.
    np.testing.assert_allclose(inverse_propensity_weights(np.array([0.25, 0.1, 0.01]), 10.0), [0.5, 1.25, 1.25])


def test_what_is_remembered() -> None:
    rounds = np.array([0, 2, 3, 7, 8, 9])
    assert remembered(rounds, "all", 2, 8, 0.3).all()
    assert remembered(rounds, "window", 2, 8, 0.3).tolist() == [False] * 4 + [True] * 2
    assert remembered(rounds, "window", 9, 8, 0.3).all()
    kept = np.array([remembered(rounds, "replay", 2, 8, salt) for salt in RNG.uniform(size=3000)])
    assert kept[:, 4:].all()
    assert (kept[:, :4].sum(axis=1) == 2).all()
    assert np.abs(kept[:, :4].mean(axis=0) - 0.5).max() < 5 * np.sqrt(0.25 / 3000)


def test_a_sample_of_a_sample_is_the_sample_of_all() -> None:
    rounds = np.arange(60)
    first = remembered(rounds[:40], "replay", 7, 30, 0.6)  # of 0..29, and all of 30..39
    again = rounds[:40][first]
    later = np.concatenate([again, rounds[40:]])
    second = later[remembered(later, "replay", 7, 40, 0.6)]
    assert second.tolist() == rounds[remembered(rounds, "replay", 7, 40, 0.6)].tolist()


def test_replay_fits_the_fresh_visits_and_a_sample_of_those_before() -> None:
    policy = RefittedModel(40, memory="replay", memory_size=15, **PRODUCT)
    log = played(policy, 120)
    visits = policy._log.visits(1)
    assert len(visits.round) == 15 + 40
    assert visits.round[15:].tolist() == list(range(80, 120))
    np.testing.assert_array_equal(visits.reward, log["reward"][visits.round, 1])
    np.testing.assert_array_equal(visits.propensity, log["propensity"][visits.round, 1])
    rows = pair_rows(log["users"][visits.round, 1], visits.chosen, "product")
    expected = sklearn_rates(rows, visits.reward, np.ones(55), 1.0, pair_rows(np.full(4, 6), np.arange(4), "product"))
    np.testing.assert_allclose(policy.rates(context(np.full(3, 6), 120))[1], expected, atol=2e-5)


def test_an_arm_that_was_never_shown_is_predicted_at_the_common_level() -> None:
    policy = RefittedModel(50, epsilon=0.0)
    policy.reset(Problem(1, 4, user_dim=3, arm_dim=2), RandomStreams(1, 1))
    only = context(np.array([2]))
    for t in range(50):
        now = Context(np.array([t]), *[getattr(only, name) for name in ("user_id", "time", "user", "arms")],
                      available=np.array([[True, True, False, True]]))  # fmt: skip
        arm = policy.select(now)
        assert arm != 2
        policy.update(Feedback(np.zeros(1, int), now, arm, np.array([[t % 5 == 0]]), np.array([float(t % 5 == 0)])))
    level = expit(policy._deployed[0, 0, 0])
    np.testing.assert_allclose(policy.rates(only)[0, 2], level)


@pytest.mark.statistics
@pytest.mark.parametrize("settings", [{}, {"exploration": "ensemble", "ensemble": 4}, {"guard": 1e-9}])
def test_choices_have_the_stated_propensities(settings: dict[str, object]) -> None:
    """Every replication has the same model, so that frequencies over replications estimate each probability."""
    policy, size = RefittedModel(30, epsilon=0.3, **PRODUCT, **settings), 20_000
    played(policy, 60, num_envs=2)
    policy._deployed = np.repeat(policy._deployed[:1], size, axis=0)
    policy._candidate = np.repeat(policy._candidate[:1] * -1, size, axis=0)
    testing, salts = policy._guard.testing[:1].repeat(size), RNG.uniform(size=size)
    policy._guard = Guard(size, 1e-9, (1, 1), salts)
    policy._guard.testing = testing
    assert testing.all() == ("guard" in settings)
    policy._visits, policy._random, policy.refits = np.zeros(size, int), RandomStreams(8, size), 1
    policy._fits = np.ones(size, int)
    now = context(np.full(size, 3), 60)
    chances = policy.propensities(now)[0]
    shares = np.bincount(policy.select(now), minlength=4) / size
    assert (chances > 0).sum() >= 2
    np.testing.assert_array_less(np.abs(shares - chances), 5 * np.sqrt(chances * (1 - chances) / size) + 1e-12)
    if "ensemble" in settings:
        np.testing.assert_allclose(chances * 4, np.round(chances * 4))


def test_ensemble_is_fitted_on_poisson_weights() -> None:
    policy = RefittedModel(200, exploration="ensemble", ensemble=3, **PRODUCT)
    log = played(policy, 200, num_envs=1)
    random = RandomStreams(5, 1)
    random.state[:] = policy._random.state
    random.state[:, 1] -= np.uint64(1)  # back before the word that keyed the weights
    draws = random.generator(0)
    rows, y = pair_rows(log["users"][:, 0], log["arms"][:, 0], "product"), log["reward"][:, 0]
    grid = pair_rows(np.full(4, 7), np.arange(4), "product")
    expected = [sklearn_rates(rows, y, draws.poisson(1.0, 200).astype(float), 1.0, grid) for _ in range(3)]
    np.testing.assert_allclose(policy.rates(context(np.array([7]), 200))[0], np.mean(expected, axis=0), atol=2e-5)


def test_guard_is_the_predictive_test() -> None:
    salts, alpha, rounds = np.array([0.2, 0.7]), 0.2, 600
    guard = Guard(2, alpha, (1.0, 4.0), salts)
    guard.begin(0, 10)
    guard.begin(1, 0)
    ended, new, clicks = {}, [], []
    for t in range(rounds):
        served = guard.new_serves(np.full(2, t))
        reward = (RNG.uniform(size=2) < np.where(served, [0.6, 0.1], [0.1, 0.6])).astype(float)
        new.append(served)
        clicks.append(reward)
        for n, won in guard.watch(np.arange(2), np.full(2, t), reward):
            ended[n] = (t, won)
            guard.end(n)
    for n, first in ((0, 10), (1, 0)):
        test = predictive_test(np.array(new)[first:, n], np.array(clicks)[first:, n], 0.5, prior=(1.0, 4.0))
        assert ended[n] == (first + int(np.argmax(test.p_value <= alpha)), n == 0)
    assert 0.4 < np.mean(new) < 0.6


@pytest.mark.parametrize(("if_none", "shipped"), [("ship", True), ("keep", False)])
def test_a_test_without_a_result_ends_as_said(if_none: str, shipped: bool) -> None:
    policy = RefittedModel(40, refits=3, guard=1e-12, if_none=if_none, **PRODUCT)
    played(policy, 119)
    first = policy._deployed.copy()
    second = policy._candidate.copy()
    assert policy._guard.testing.all()
    assert not np.allclose(first, second)
    played_more = RefittedModel(40, refits=3, guard=1e-12, if_none=if_none, **PRODUCT)
    played(played_more, 120)
    np.testing.assert_array_equal(played_more._deployed, second if shipped else first)
    assert not np.any([*played_more.record().values()])


def test_what_wins_is_shipped_and_what_loses_is_dropped() -> None:
    """Both learn that tastes turned round after the first fit; in replication 1 they turn back after the second."""
    policy = RefittedModel(
        500, memory="window", memory_size=500, guard=0.05, guard_prior=(2.0, 2.0), if_none="keep", epsilon=0.2,
        **PRODUCT,
    )  # fmt: skip
    policy.reset(Problem(2, 4, user_dim=3, arm_dim=2), RandomStreams(5, 2))
    random, taste = np.random.default_rng(2), np.where(ARMS[:, 0] > 0, 0.8, 0.1)
    assert {0.8, 0.1} == set(taste)
    for t in range(1499):
        now = context(random.integers(0, 12, 2), t)
        arms = policy.select(now)
        turned = np.array([t >= 500, 500 <= t < 1000])
        reward = (random.uniform(size=2) < np.where(turned, 0.9 - taste[arms], taste[arms])).astype(float)
        policy.update(Feedback(np.arange(2), now, arms, reward[:, np.newaxis], reward))
        if t == 999:
            first, second = policy._deployed.copy(), policy._candidate.copy()
    assert policy.record()["won"].tolist() == [1.0, 0.0]
    assert policy.record()["lost"].tolist() == [0.0, 1.0]
    np.testing.assert_array_equal(policy._deployed, [second[0], first[1]])


def test_the_number_of_fits_can_be_limited() -> None:
    policy = RefittedModel(30, refits=1, **PRODUCT)
    played(policy, 30)
    first = policy._deployed.copy()
    once = policy._log.visits(0).round
    played(policy, 200)
    np.testing.assert_array_equal(policy._deployed, first)
    assert len(policy.refit_seconds) == 1
    assert len(policy._log.visits(0).round) == len(once) == 30


def test_late_feedback_finds_its_visit() -> None:
    policies = {"in order": RefittedModel(60, **PRODUCT), "late": RefittedModel(60, **PRODUCT)}
    for name, policy in policies.items():
        policy.reset(Problem(2, 4, user_dim=3, arm_dim=2), RandomStreams(1, 2))
        contexts = [context(np.array([t % 12, (5 * t) % 12]), t) for t in range(60)]
        arms = [policy.select(now) for now in contexts]
        for t in [*(range(59) if name == "in order" else reversed(range(59))), 59]:
            reward = np.array([t % 3 == 0, t % 4 == 0]).astype(float)
            policy.update(Feedback(np.arange(2), contexts[t], arms[t], reward[:, np.newaxis], reward))
    now = context(np.array([3, 7]), 60)
    # Both fitted at the first result, as 60 visits had passed, and the next fit would come at 120.
    for policy in policies.values():
        assert policy._log.visits(1).reward.tolist() == [float(t % 4 == 0) for t in range(60)]
        assert policy._fits.tolist() == [1, 1]
        assert np.all(policy.rates(now) < 1)


def test_recording_events_changes_nothing_and_chunks_change_little() -> None:
    policy = RefittedModel(60, epsilon=0.2, guard=0.5, **PRODUCT)
    whole = simulate(world(5), policy, horizon=200, seed=3)
    seen: list[np.ndarray] = []
    recorded = simulate(world(5), policy, horizon=200, seed=3, events=lambda f, chances: seen.append(f.propensity))
    np.testing.assert_array_equal(whole.reward, recorded.reward)
    assert len(seen) == 200
    parts = [simulate(world(s), policy, horizon=200, seed=3, first_replication=f) for f, s in ((0, 2), (2, 3))]
    np.testing.assert_array_equal(Trace.concat(parts).pulls, whole.pulls)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"every": 0}, "`every` must be at least 1. Got 0."),
        ({"refits": 0}, "`refits` must be at least 1. Got 0."),
        ({"memory": "last"}, "`memory` must be all or window or replay. Got 'last'."),
        ({"weighting": "ips"}, "`weighting` must be uniform or ipw. Got 'ips'."),
        ({"exploration": "ucb"}, "`exploration` must be epsilon or ensemble. Got 'ucb'."),
        ({"if_none": "ask"}, "`if_none` must be ship or keep. Got 'ask'."),
        ({"epsilon": 1.5}, r"`epsilon` must lie in \[0.0, 1.0\]. Got 1.5."),
        ({"ensemble": 1}, "`ensemble` must be at least 2. Got 1."),
        ({"largest_weight": 0.5}, "`largest_weight` must lie in"),
        ({"guard": 1.0}, r"`guard` must lie in \(0.0, 1.0\). Got 1.0."),
        ({"ridge": 0.0}, "`ridge` must lie in"),
        ({"guard_prior": (0.0, 1.0)}, "`guard_prior` must be two numbers above 0."),
    ],
)
def test_bad_parameters_are_named(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        RefittedModel(**settings)


@pytest.mark.faults
def test_rewards_must_lie_in_the_unit_interval() -> None:
    with pytest.raises(ValueError, match="RefittedModel needs rewards in"):
        RefittedModel().reset(Problem(1, 2, reward_range=(0.0, 5.0)), RandomStreams(1, 1))
