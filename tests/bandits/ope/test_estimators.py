"""Every estimator against textbook loops, hand-computed numbers, identities, and worlds whose value is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bandits.ope import estimators as ope
from benchmarks import off_policy

N, K = 40, 3


@pytest.fixture(scope="module")
def log():
    """A small log with everything that an estimator needs, asymmetric on purpose."""
    random = np.random.default_rng(7)
    propensities = random.dirichlet([1.0, 2.0, 3.0], N)
    target = random.dirichlet([3.0, 1.0, 0.7], N)
    target[::4] = np.eye(K)[1]
    chosen = np.array([random.choice(K, p=p) for p in propensities])
    reward = random.normal(size=N)
    predictions = random.normal(size=(N, K))
    return propensities, target, chosen, reward, predictions


def loop(log, change=lambda w: w):
    """Weights and residual sums one round at a time, as on a blackboard."""
    propensities, target, chosen, reward, predictions = log
    total = dict.fromkeys(["w", "wr", "v", "wres", "ww"], 0.0)
    for t in range(N):
        a = chosen[t]
        w = change(target[t][a] / propensities[t][a])
        v = 0.0
        for k in range(K):
            v += target[t][k] * predictions[t][k]
        total["w"] += w
        total["ww"] += w * w
        total["wr"] += w * reward[t]
        total["v"] += v
        total["wres"] += w * (reward[t] - predictions[t][a])
    return total


def arrays(log):
    propensities, target, chosen, reward, predictions = log
    rows = np.arange(N)
    weights = ope.importance_weights(target[rows, chosen], propensities[rows, chosen])
    return weights, reward, predictions[rows, chosen], ope.expected_prediction(target, predictions)


def test_unbiased_estimators_against_loops(log):
    weights, reward, q, v = arrays(log)
    total = loop(log)
    expected = {
        "ips": total["wr"] / N,
        "snips": total["wr"] / total["w"],
        "dm": total["v"] / N,
        "dr": (total["v"] + total["wres"]) / N,
        "sndr": total["v"] / N + total["wres"] / total["w"],
    }
    found = {
        "ips": ope.ips(weights, reward),
        "snips": ope.snips(weights, reward),
        "dm": ope.direct_method(log[1], log[4]),
        "dr": ope.doubly_robust(weights, reward, q, v),
        "sndr": ope.self_normalized_dr(weights, reward, q, v),
    }
    for name, terms in found.items():
        assert float(terms.estimate) == pytest.approx(expected[name], abs=1e-12), name


@pytest.mark.parametrize(
    ("change", "formula"),
    [
        (lambda w: ope.clipped(w, 0.9), lambda w: min(w, 0.9)),
        (lambda w: ope.switched(w, 0.9), lambda w: w if w <= 0.9 else 0.0),
        (lambda w: ope.shrunk(w, 2.5), lambda w: 2.5 * w / (w * w + 2.5)),
        (lambda w: ope.subgaussian(w, 0.3), lambda w: w / (1 - 0.3 + 0.3 * w)),
    ],
)
def test_changed_weights_against_loops(log, change, formula):
    weights, reward, q, v = arrays(log)
    total = loop(log, formula)
    assert float(ope.ips(change(weights), reward).estimate) == pytest.approx(total["wr"] / N, abs=1e-12)
    robust = ope.doubly_robust(change(weights), reward, q, v)
    assert float(robust.estimate) == pytest.approx((total["v"] + total["wres"]) / N, abs=1e-12)


def test_by_hand():
    # Two rounds: w = 2 and 0.5, r = 1 and 0, q = .5 and .25, v = .4 and .2.
    weights, reward = ope.importance_weights([0.5, 0.25], [0.25, 0.5]), np.array([1.0, 0.0])
    np.testing.assert_array_equal(weights, [2.0, 0.5])
    assert float(ope.ips(weights, reward).estimate) == 1.0
    assert float(ope.snips(weights, reward).estimate) == 0.8
    assert float(ope.doubly_robust(weights, reward, [0.5, 0.25], [0.4, 0.2]).estimate) == pytest.approx(0.7375)
    assert float(ope.self_normalized_dr(weights, reward, [0.5, 0.25], [0.4, 0.2]).estimate) == pytest.approx(0.65)
    assert float(ope.ips(weights, reward).standard_error) == pytest.approx(1.0)  # scores 2 and 0: sd sqrt(2), / sqrt(2)
    assert float(ope.replay([True, False], [0.0, 1.0]).estimate) == 0.0


def test_replay_against_a_loop_and_its_textbook_error():
    random = np.random.default_rng(2)
    reward, matches = random.normal(size=60), random.random(60) < 0.3
    kept = [r for r, m in zip(reward, matches, strict=True) if m]
    terms = ope.replay(matches, reward)
    assert float(terms.estimate) == pytest.approx(sum(kept) / len(kept), abs=1e-12)
    # Delta method of a mean over a random number of rounds: sqrt(sum of squares) / matches, but for n against n - 1.
    error = math.sqrt(sum((r - np.mean(kept)) ** 2 for r in kept)) / len(kept)
    assert float(terms.standard_error) == pytest.approx(error * math.sqrt(60 / 59), rel=1e-12)


def test_ratio_scores_are_the_jackknife_to_first_order():
    random = np.random.default_rng(3)
    weights, reward = random.gamma(2.0, size=4000), random.normal(1.0, 1.0, size=4000)
    total, mass = (weights * reward).sum(), weights.sum()
    left_out = (total - weights * reward) / (mass - weights)
    jackknife = math.sqrt(3999 / 4000 * ((left_out - left_out.mean()) ** 2).sum())
    assert float(ope.snips(weights, reward).standard_error) == pytest.approx(jackknife, rel=2e-3)


def test_leading_axes_are_data_sets():
    random = np.random.default_rng(4)
    weights, reward, q, v = random.gamma(1.0, size=(4, 5, 6, 30))
    for terms in (ope.ips(weights, reward), ope.snips(weights, reward), ope.self_normalized_dr(weights, reward, q, v)):
        assert terms.estimate.shape == (5, 6)
    one = ope.self_normalized_dr(weights[2, 3], reward[2, 3], q[2, 3], v[2, 3])
    assert one.estimate == ope.self_normalized_dr(weights, reward, q, v).estimate[2, 3]
    summary = ope.weight_summary(weights)
    for whole, part in zip(summary, ope.weight_summary(weights[2, 3]), strict=True):
        assert whole[2, 3] == pytest.approx(part, rel=1e-12)


def test_effective_sample_size_and_its_companions():
    summary = ope.weight_summary([2.0, 0.0, 1.0, 1.0, 0.0])
    assert float(summary.effective_sample_size) == pytest.approx(16 / 6)
    assert (float(summary.max_weight), float(summary.mean_weight), float(summary.num_matches)) == (2.0, 0.8, 3.0)
    assert float(summary.mean_weight_z) == pytest.approx(-0.2 / (math.sqrt(0.7) / math.sqrt(5)))
    assert float(ope.weight_summary(np.full(8, 0.5)).effective_sample_size) == pytest.approx(8)
    assert math.isnan(ope.weight_summary(np.full(8, 0.5)).mean_weight_z)


def test_without_weight_there_is_no_value():
    zero, reward = np.zeros(5), np.ones(5)
    for terms in (ope.ips(zero, reward), ope.snips(zero, reward), ope.replay(zero, reward)):
        assert math.isnan(terms.estimate)
        assert math.isnan(terms.standard_error)
    assert math.isnan(ope.self_normalized_dr(zero, reward, reward, reward).estimate)
    assert float(ope.doubly_robust(zero, reward, reward, 0.3 * reward).estimate) == pytest.approx(0.3)
    summary = ope.weight_summary(zero)
    assert math.isnan(summary.effective_sample_size)
    assert (float(summary.max_weight), float(summary.num_matches)) == (0.0, 0.0)


def test_one_round_has_no_standard_error():
    assert math.isnan(ope.ips([1.0], [1.0]).standard_error)
    assert math.isnan(ope.weight_summary([2.0]).mean_weight_z)


def test_default_correction_by_hand():
    weights = np.array([4.0, 0.0, 0.0, 0.0] * 50)
    correction = math.sqrt(2 * math.log(1 / 0.05) / (3 * 200 * 4.0))
    expected = np.where(weights > 0, 4 / (1 - correction + correction * 4), 0.0)
    np.testing.assert_allclose(ope.subgaussian(weights), expected, rtol=1e-12)


weight_lists = hnp.arrays(np.float64, st.integers(2, 30), elements=st.floats(0.01, 50))
amounts = st.floats(0.05, 40)


@given(weights=weight_lists, data=st.data())
def test_on_policy_all_are_the_sample_mean(weights, data):
    reward = data.draw(hnp.arrays(np.float64, weights.shape, elements=st.floats(-5, 5)))
    ones = np.ones_like(weights)
    for changed in (ones, ope.clipped(ones, 1.0), ope.switched(ones, 1.0), ope.subgaussian(ones, 0.4)):
        assert float(ope.ips(changed, reward).estimate) == pytest.approx(reward.mean(), abs=1e-12)
    assert float(ope.snips(ones, reward).estimate) == pytest.approx(reward.mean(), abs=1e-12)


@given(weights=weight_lists, shift=st.floats(-9, 9), scale=st.floats(0.1, 9), data=st.data())
def test_self_normalized_estimators_move_with_the_rewards(weights, shift, scale, data):
    reward = data.draw(hnp.arrays(np.float64, weights.shape, elements=st.floats(-5, 5)))
    plain = float(ope.snips(weights, reward).estimate)
    assert float(ope.snips(scale * weights, reward).estimate) == pytest.approx(plain, abs=1e-9)
    assert float(ope.snips(weights, scale * reward + shift).estimate) == pytest.approx(scale * plain + shift, abs=1e-9)
    assert reward.min() - 1e-9 <= plain <= reward.max() + 1e-9


@given(weights=weight_lists, data=st.data())
def test_dr_without_a_model_is_ips_and_with_a_perfect_one_dm(weights, data):
    reward = data.draw(hnp.arrays(np.float64, weights.shape, elements=st.floats(-5, 5)))
    zero = np.zeros_like(weights)
    robust = float(ope.doubly_robust(weights, reward, zero, zero).estimate)
    assert robust == pytest.approx(float(ope.ips(weights, reward).estimate), abs=1e-9)
    v = data.draw(hnp.arrays(np.float64, weights.shape, elements=st.floats(-5, 5)))
    assert float(ope.doubly_robust(weights, reward, reward, v).estimate) == pytest.approx(v.mean(), abs=1e-9)


@given(weights=weight_lists, limit=amounts)
def test_changed_weights_are_bounded_and_meet_the_plain_ones_in_the_limit(weights, limit):
    assert np.all(ope.clipped(weights, limit) <= np.minimum(weights, limit))
    assert np.all(np.isin(ope.switched(weights, limit), [0.0, *weights]))
    assert np.all(ope.shrunk(weights, limit) <= np.minimum(weights, math.sqrt(limit) / 2) * (1 + 1e-12))
    np.testing.assert_array_equal(ope.clipped(weights, 1e3), weights)
    np.testing.assert_array_equal(ope.switched(weights, 1e3), weights)
    np.testing.assert_allclose(ope.shrunk(weights, 1e15), weights, rtol=1e-9)
    np.testing.assert_array_equal(ope.subgaussian(weights, 0.0), weights)
    np.testing.assert_allclose(ope.subgaussian(weights, 1.0), 1.0, rtol=1e-12)
    assert np.all(ope.subgaussian(weights, 0.25) <= 4)


@given(weights=weight_lists, limit=amounts, data=st.data())
def test_bounds_hold_the_value_of_the_unchanged_weights(weights, limit, data):
    """With weights of mean 1, as over all data sets, the bounds enclose IPS and DR whatever the rewards are."""
    weights = weights / weights.mean()
    reward = data.draw(hnp.arrays(np.float64, weights.shape, elements=st.floats(0, 1)))
    q = data.draw(hnp.arrays(np.float64, weights.shape, elements=st.floats(0, 1)))
    zero = np.zeros_like(weights)
    for change in (ope.clipped, ope.switched, ope.shrunk, lambda w, _: ope.subgaussian(w, 0.3)):
        changed = change(weights, limit)
        for residual, span in ((reward, (0.0, 1.0)), (reward - q, (-1.0, 1.0))):
            below, above = ope.bounding_terms(ope.doubly_robust(changed, residual, zero, zero), weights, changed, span)
            truth = float(ope.ips(weights, residual).estimate)
            assert float(below.estimate) - 1e-9 <= truth <= float(above.estimate) + 1e-9


@pytest.mark.faults
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ope.importance_weights([0.5], [0.0]), r"`propensity` must lie in \(0, 1\]"),
        (lambda: ope.importance_weights([0.5], [1.5]), r"`propensity` must lie in \(0, 1\]"),
        (lambda: ope.importance_weights([-0.5], [0.5]), r"`probability` must lie in \[0, 1\]"),
        (lambda: ope.importance_weights([np.nan], [0.5]), r"`probability` must lie in \[0, 1\]"),
        (lambda: ope.ips([], []), "at least one round"),
        (lambda: ope.ips([np.inf], [1.0]), "`weights` must be finite"),
        (lambda: ope.ips([-1.0], [1.0]), "`weights` must be finite and at least 0"),
        (lambda: ope.clipped([1.0], 0.0), "`limit` must be positive. Got 0.0"),
        (lambda: ope.shrunk([1.0], -1.0), "`strength` must be positive"),
        (lambda: ope.subgaussian([1.0], 1.5), r"`correction` must lie in \[0, 1\]"),
        (lambda: ope.subgaussian([1.0], delta=1.0), "`delta` must lie strictly"),
        (lambda: ope.bounding_terms(ope.ips([1.0], [1.0]), [1.0], [1.0], (1.0, 0.0)), "must be increasing"),
    ],
)
def test_bad_input_is_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.statistics
@pytest.mark.parametrize("name", off_policy.WORLDS)
def test_bias_error_and_coverage_over_2000_logs(name):
    """Unbiased ones within 4 Monte Carlo errors of the truth; 1874 to 1924 is the central 99 percent of 2,000 at 95."""
    world = off_policy.WORLDS[name]
    found = off_policy.evaluated(world, off_policy.simulated_logs(world, 2000, seed=11), seed=11)
    rmse = {}
    for method, value in found.items():
        error = value.estimate - world.value
        rmse[method] = math.sqrt(np.mean(error**2))
        covered = np.sum((value.low <= world.value) & (world.value <= value.high))
        if method.startswith(("replay", "IPS", "SNIPS", "DR, ", "self-normalized")):
            assert abs(error.mean()) < 4 * error.std() / math.sqrt(2000) + 1e-3 * (method != "IPS"), method
            assert 1874 <= covered <= 1924, method
        elif not method.startswith("DM"):
            assert covered >= 1874, method  # bounds are conservative
    assert rmse["SNIPS"] < rmse["IPS"]
    assert rmse["DR, model of segment and arm"] < rmse["DR, model of arm"] < rmse["IPS"]
    assert rmse["DM, model of segment and arm"] < 0.5 * rmse["DM, model of arm"]
