"""The whole evaluation: which interval for which log, what is refused, and what a policy is."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits import Policy
from bandits.ope import (
    LoggedFeedback,
    cross_fitted_predictions,
    epsilon_greedy,
    evaluate_policy,
    intervals,
    target_probabilities,
    uniform,
)
from bandits.ope import estimators as formulas
from policies import UCB1, FixedSplit

WITH_LIMITS = ("clipped IPS", "sub-Gaussian IPS", "SWITCH-DR", "DR with shrinkage")
TARGET = np.array([0.2, 0.3, 0.5])


def test_values_are_those_of_the_formulas(make_log):
    log = make_log()
    q = cross_fitted_predictions(log, seed=3)
    found = evaluate_policy(log, TARGET, seed=3, clip=1.2, shrinkage=3.0).values
    rows = np.arange(len(log))
    weights = TARGET[log.chosen] / log.propensity
    v, own = q @ TARGET, q[rows, log.chosen]
    expected = {
        "IPS": np.mean(weights * log.reward),
        "clipped IPS": np.mean(np.minimum(weights, 1.2) * log.reward),
        "SNIPS": np.sum(weights * log.reward) / np.sum(weights),
        "DM": np.mean(v),
        "DR": np.mean(v + weights * (log.reward - own)),
        "self-normalized DR": np.mean(v) + np.sum(weights * (log.reward - own)) / np.sum(weights),
        "SWITCH-DR": np.mean(v + weights * (weights <= 1.2) * (log.reward - own)),
        "DR with shrinkage": np.mean(v + 3 * weights / (weights**2 + 3) * (log.reward - own)),
    }
    for name, value in expected.items():
        assert found[name].estimate == pytest.approx(value, abs=1e-12), name
        assert found[name].confidence == 0.95
    scores = v + weights * (log.reward - own)
    half = 1.959963984540054 * scores.std(ddof=1) / math.sqrt(len(log))
    assert found["DR"].interval == "normal over rounds"
    assert (found["DR"].low, found["DR"].high) == pytest.approx((scores.mean() - half, scores.mean() + half))
    assert found["IPS"].effective_sample_size == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert found["IPS"].max_weight == weights.max()
    assert found["clipped IPS"].share_clipped == np.mean(weights > 1.2)
    assert found["clipped IPS"].max_weight == 1.2
    assert math.isnan(found["IPS"].share_clipped)
    assert math.isnan(found["replay"].estimate)  # the logging policy was not uniform
    assert "one propensity" in found["replay"].note


def test_evaluating_the_logging_policy_gives_what_it_earned(make_log):
    log = make_log()
    found = evaluate_policy(log, log.propensities)
    assert found.logged.estimate == log.reward.mean()
    for name in ("IPS", "clipped IPS", "SNIPS", "sub-Gaussian IPS"):
        assert found.values[name].estimate == pytest.approx(log.reward.mean(), abs=1e-12)
        assert found.values[name].high == pytest.approx(found.logged.high, abs=1e-12)
    assert float(found.weights.effective_sample_size) == pytest.approx(len(log))
    assert math.isnan(found.weights.mean_weight_z)
    assert found.warnings == ()


def test_units_follow_the_log(make_log):
    users = np.arange(600) // 3
    by_round = evaluate_policy(make_log(user_id=users), TARGET)
    assert any("more than once" in warning for warning in by_round.warnings)
    by_user = evaluate_policy(make_log(user_id=users), TARGET, unit="user")
    assert by_user.values["IPS"].interval == "t over 200 users"
    assert by_user.warnings == ()
    alone = np.where(users == 0, -1, users)  # visitors without a name are each their own
    assert evaluate_policy(make_log(user_id=alone), TARGET, unit="user").values["IPS"].interval == "t over 202 users"
    log = make_log(adaptive=True, replications=6)
    runs = evaluate_policy(log, TARGET).values
    assert runs["SNIPS"].interval == "t over 6 replications"
    weights = TARGET[log.chosen] / log.propensity
    expected = intervals.cluster_interval(formulas.snips(weights, log.reward), log.replication)
    assert (runs["SNIPS"].low, runs["SNIPS"].high) == (float(expected.low), float(expected.high))


def test_one_adaptive_run_has_the_martingale_interval_only(make_log):
    log = make_log(adaptive=True)
    found = evaluate_policy(log, TARGET)
    for name, value in found.values.items():
        assert math.isfinite(value.low) == (name == "adaptively weighted DR")
    q = cross_fitted_predictions(log)
    weights = TARGET[log.chosen] / log.propensity
    scores = q @ TARGET + weights * (log.reward - q[np.arange(600), log.chosen])
    phi = (TARGET**2 / log.propensities).sum(axis=1)
    h = np.array([1.0] + [max(1, np.mean(phi[max(0, t - 100) : t])) ** -0.5 for t in range(1, 600)])
    value = found.values["adaptively weighted DR"]
    assert value.estimate == pytest.approx((h * scores).sum() / h.sum(), abs=1e-12)
    assert value.interval == "martingale normal"
    with pytest.raises(ValueError, match="`interval` must be normal for one adaptive run"):
        evaluate_policy(log, TARGET, interval="bootstrap")
    # Without a context the weights of the round itself are known beforehand; without all propensities w^2 stands in.
    bare = make_log(adaptive=True, features=None)
    exact = evaluate_policy(bare, TARGET, predictions=np.zeros((600, 3))).values["adaptively weighted DR"]
    assert exact.estimate == pytest.approx(np.sum(phi**-0.5 * weights * log.reward) / np.sum(phi**-0.5), abs=1e-12)
    unknown = make_log(adaptive=True, features=None, propensities=None)
    kept = evaluate_policy(unknown, TARGET, predictions=np.zeros((600, 3))).values["adaptively weighted DR"]
    h = intervals.trailing_weights(weights**2)
    assert kept.estimate == pytest.approx(np.sum(h * weights * log.reward) / np.sum(h), abs=1e-12)


def test_bootstrap_is_asked_for_by_name(make_log):
    found = evaluate_policy(make_log(), TARGET, interval="bootstrap", num_resamples=400, seed=2)
    again = evaluate_policy(make_log(), TARGET, interval="bootstrap", num_resamples=400, seed=2)
    normal = evaluate_policy(make_log(), TARGET, seed=2)
    for name in ("IPS", "SNIPS", "DR"):
        assert found.values[name] == again.values[name]
        assert found.values[name].interval == "percentile bootstrap over rounds"
        assert found.values[name].low == pytest.approx(normal.values[name].low, abs=0.02)


def test_what_changed_weights_leave_out_is_in_the_interval(make_log):
    found = evaluate_policy(make_log(), TARGET, clip=0.9, shrinkage=1.0)
    for name in WITH_LIMITS:
        value = found.values[name]
        assert value.interval.endswith("of bounds")
        assert value.low < found.values["SNIPS"].estimate < value.high
        assert "biased" in value.note
    loose = evaluate_policy(make_log(), TARGET, clip=1e6).values
    assert loose["clipped IPS"].low == loose["IPS"].low
    assert loose["clipped IPS"].note == ""
    # Rewards outside [0, 1] have no known range until it is given.
    log = make_log(reward=3 * make_log().reward)
    for name, value in evaluate_policy(log, TARGET, clip=0.9).values.items():
        if name in WITH_LIMITS:
            assert math.isnan(value.low)
            assert "`reward_range`" in value.note
    scaled = evaluate_policy(log, TARGET, clip=0.9, shrinkage=1.0, reward_range=(0.0, 3.0)).values
    plain = evaluate_policy(make_log(), TARGET, clip=0.9, shrinkage=1.0, reward_range=(0.0, 1.0)).values
    assert scaled["clipped IPS"].low == pytest.approx(3 * plain["clipped IPS"].low)
    assert scaled["clipped IPS"].high == pytest.approx(3 * plain["clipped IPS"].high)


def uniform_log(n=400, **changes):
    random = np.random.default_rng(9)
    chosen = random.integers(0, 3, n)
    fields = {
        "chosen": chosen,
        "reward": (random.random(n) < 0.2 + 0.2 * chosen).astype(float),
        "propensity": np.full(n, 1 / 3),
        "num_arms": 3,
        "adaptive": False,
        "propensities": np.full((n, 3), 1 / 3),
    }
    return LoggedFeedback(**(fields | changes))


def test_replay_of_a_deterministic_and_of_a_stochastic_policy():
    log = uniform_log()
    found = evaluate_policy(log, [0.0, 0.0, 1.0])
    kept = log.reward[log.chosen == 2]
    assert found.values["replay"].estimate == pytest.approx(kept.mean())
    assert found.values["replay"].num_matches == len(kept)
    assert found.values["SNIPS"].estimate == pytest.approx(kept.mean())
    mixed = evaluate_policy(log, [0.0, 0.5, 0.5], seed=4).values["replay"]
    assert mixed == evaluate_policy(log, [0.0, 0.5, 0.5], seed=4).values["replay"]
    assert mixed != evaluate_policy(log, [0.0, 0.5, 0.5], seed=5).values["replay"]
    assert mixed.num_matches == pytest.approx(400 / 3, abs=4 * math.sqrt(400 * 2 / 9))


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_policy_that_never_agrees_with_the_log_has_no_value(adaptive):
    log = uniform_log(30, chosen=np.arange(30) % 2, adaptive=adaptive)
    found = evaluate_policy(log, [0.0, 0.0, 1.0])
    for name in ("replay", "IPS", "clipped IPS", "sub-Gaussian IPS", "SNIPS", "self-normalized DR"):
        assert math.isnan(found.values[name].estimate), name
        assert "never agrees" in found.values[name].note
    assert math.isnan(found.values["DR"].low)
    assert "model speaks alone" in found.values["DR"].note
    assert "adaptively weighted DR" not in found.values
    assert any("worth 0 of its 30 rounds" in warning for warning in found.warnings)


def test_no_click_at_all_is_no_interval_of_width_zero():
    found = evaluate_policy(uniform_log(reward=np.zeros(400)), [0.0, 0.0, 1.0])
    for name in ("replay", "IPS", "SNIPS", "DR"):
        assert found.values[name].estimate == 0.0
        assert math.isnan(found.values[name].high)
        assert "do not vary" in found.values[name].note
    assert any("Only 0 rounds" in warning for warning in found.warnings)


def test_missing_support_is_refused_or_suspected(make_log):
    propensities = np.tile([0.5, 0.5, 0.0], (100, 1))
    fields = {"chosen": np.arange(100) % 2, "propensity": np.full(100, 0.5), "reward": np.arange(100) % 3 / 2.0}
    log = uniform_log(100, propensities=propensities, arm_names=("a", "b", "c"), **fields)
    with pytest.raises(ValueError, match=r"propensity is 0 in 100 of 100 rounds \(arms c\)"):
        evaluate_policy(log, uniform(log))
    evaluate_policy(log, [0.5, 0.5, 0.0])
    hidden = uniform_log(100, propensities=None, **fields)
    found = evaluate_policy(hidden, [0.3, 0.1, 0.6])
    assert any("1 arms of the policy were never shown" in warning for warning in found.warnings)
    assert any("standard errors from 1" in warning for warning in found.warnings)


class ByFeature(Policy):
    """Shows arm 2 where the first feature is positive, else arm 0."""

    def reset(self, problem, random):
        self.problem = problem

    def select(self, context):
        raise NotImplementedError

    def update(self, feedback):
        raise NotImplementedError

    def propensities(self, context):
        return np.eye(self.problem.num_arms)[np.where(context.user[:, 0] > 0, 2, 0)]


def test_targets(make_log):
    log = make_log(1500)
    available = np.ones((1500, 3), dtype=bool)
    available[log.chosen != 1, 1] = False
    np.testing.assert_array_equal(target_probabilities(log, ByFeature())[:, 2], log.features[:, 0] > 0)
    np.testing.assert_allclose(target_probabilities(log, FixedSplit(list(TARGET))), np.tile(TARGET, (1500, 1)))
    limited = make_log(1500, available=available, propensities=None)
    np.testing.assert_allclose(target_probabilities(limited, FixedSplit()), uniform(limited))
    assert set(uniform(limited).ravel()) == {0.0, 0.5, 1 / 3}

    class Rule:
        def propensities(self, context):
            return np.tile([0.0, 1.0, 0.0], (len(context.round), 1))

    np.testing.assert_array_equal(target_probabilities(log, Rule())[:, 1], 1.0)
    predictions = np.tile([1.0, 3.0, 3.0], (1500, 1))
    greedy = epsilon_greedy(limited, predictions, 0.3)
    full = available.all(axis=1)
    np.testing.assert_allclose(greedy[full], np.tile([0.1, 0.45, 0.45], (full.sum(), 1)))
    np.testing.assert_allclose(greedy[~full], np.tile([0.15, 0.0, 0.85], ((~full).sum(), 1)))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"target": [0.5, 0.5]}, r"`target` must have shape \(60, 3\). Got \(2,\)"),
        ({"target": [0.5, 0.6, -0.1]}, "`target` must be at least 0"),
        ({"target": [0.5, 0.6, 0.1]}, "`target` must sum to 1"),
        ({"target": [0.5, 0.5, np.nan]}, "`target` must be finite"),
        (
            {"target": object.__new__(type("Silent", (ByFeature,), {"propensities": Policy.propensities}))},
            "propensities",
        ),
        ({"confidence": 1.0}, "`confidence` must lie strictly"),
        ({"interval": "exact"}, "`interval` must be normal or bootstrap"),
        ({"unit": "user"}, "does not name its visitors"),
        ({"unit": "session"}, "`unit` must be round or user"),
        ({"clip": 0.0}, "`clip` must be positive"),
        ({"shrinkage": -1.0}, "`shrinkage` must be positive"),
        ({"predictions": np.zeros((60, 2))}, "`predictions` must be finite, of shape"),
        ({"reward_range": (0.0, 0.5)}, "`reward_range` must hold all rewards"),
    ],
)
def test_bad_input_is_named(make_log, arguments, text):
    with pytest.raises(ValueError, match=text):
        evaluate_policy(make_log(60), **({"target": TARGET} | arguments))


@pytest.mark.faults
def test_arms_that_are_not_available_are_refused(make_log):
    available = np.ones((60, 3), dtype=bool)
    log = make_log(60, propensities=None)
    available[5, (log.chosen[5] + 1) % 3] = False
    with pytest.raises(ValueError, match=r"arms that are not available. Got a positive one in row 5"):
        evaluate_policy(make_log(60, available=available, propensities=None), TARGET)
    with pytest.raises(ValueError, match="`epsilon` must lie in"):
        epsilon_greedy(log, np.zeros((60, 3)), 1.5)
    with pytest.raises(ValueError, match="`predictions` must be finite"):
        epsilon_greedy(log, np.zeros((60, 2)), 0.5)


def test_a_policy_is_copied_before_it_is_asked(make_log):
    policy = UCB1()
    target_probabilities(make_log(20), policy)
    assert not hasattr(policy, "_state")


SKEWED = np.random.default_rng(2).dirichlet([2.0, 3.0, 4.0], 80)
UNIFORM_CHOSEN = uniform_log(80).chosen


@given(order=st.permutations(range(3)), scale=st.floats(0.1, 1.0), rows=st.integers(0, 2**32))
def test_labels_order_and_units_do_not_matter(order, scale, rows):
    """Other numbers for the arms, another order of independent rounds, rewards in other units: the same policy."""
    log = uniform_log(80, propensities=SKEWED, propensity=SKEWED[np.arange(80), UNIFORM_CHOSEN])
    q = np.random.default_rng(1).random((80, 3))
    plain = evaluate_policy(log, TARGET, predictions=q, clip=1.0).values
    shuffle, position = np.random.default_rng(rows).permutation(80), np.argsort(order)
    other = LoggedFeedback(
        chosen=position[log.chosen][shuffle],
        reward=scale * log.reward[shuffle],
        propensity=log.propensity[shuffle],
        num_arms=3,
        adaptive=False,
        propensities=log.propensities[shuffle][:, order],
    )
    predictions = scale * q[shuffle][:, order]
    found = evaluate_policy(other, TARGET[order], predictions=predictions, clip=1.0, reward_range=(0.0, scale)).values
    for name in ("IPS", "clipped IPS", "sub-Gaussian IPS", "SNIPS", "DM", "DR", "self-normalized DR"):
        for field in ("estimate", "low", "high"):
            expected = scale * getattr(plain[name], field)
            assert getattr(found[name], field) == pytest.approx(expected, abs=1e-12, nan_ok=True), name
        assert found[name].effective_sample_size == pytest.approx(plain[name].effective_sample_size, nan_ok=True)


def test_adaptive_logs_come_with_a_warning(make_log):
    one, several, none = (
        evaluate_policy(make_log(adaptive=adaptive, replications=count), np.full(3, 1 / 3)).warnings
        for adaptive, count in ((True, 1), (True, 6), (False, 1))
    )
    assert any("only adaptively weighted DR has an interval that is made for that" in text for text in one)
    assert any("intervals are over replications, which are independent" in text for text in several)
    assert not any("learned from these rounds" in text for text in none)
