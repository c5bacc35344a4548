"""Intervals against hand formulas, and their coverage on independent, clustered and adaptive logs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bandits.ope import intervals
from bandits.ope.estimators import Terms, ips, snips
from benchmarks import off_policy


def mean_terms(values):
    """Terms whose estimate is the plain mean."""
    return ips(np.ones_like(values), values)


def test_normal_interval_by_hand():
    values = np.array([1.0, 4.0, 5.0, 10.0])
    interval = intervals.normal_interval(mean_terms(values), confidence=0.9)
    error = math.sqrt(42 / 3) / 2
    assert float(interval.estimate) == 5.0
    assert float(interval.standard_error) == pytest.approx(error, rel=1e-12)
    assert float(interval.high) == pytest.approx(5 + 1.6448536269514722 * error, rel=1e-12)
    assert float(interval.low) == pytest.approx(5 - 1.6448536269514722 * error, rel=1e-12)


def test_units_of_equal_size_give_the_t_interval_of_their_means():
    values = np.random.default_rng(1).normal(size=(6, 10))
    unit = np.repeat([30, 10, 20, 5, 7, 1], 10)
    interval = intervals.cluster_interval(mean_terms(values.ravel()), unit)
    expected = stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    assert float(interval.low) == pytest.approx(expected.low, rel=1e-10)
    assert float(interval.high) == pytest.approx(expected.high, rel=1e-10)


def test_units_of_unequal_size_by_a_loop():
    random = np.random.default_rng(2)
    weights, reward, unit = random.gamma(2.0, size=30), random.normal(size=30), random.integers(0, 7, 30)
    terms = snips(weights, reward)
    estimate, total = float(terms.estimate), 0.0
    groups = sorted(set(unit))
    for g in groups:
        total += sum(weights[i] * (reward[i] - estimate) for i in range(30) if unit[i] == g) ** 2
    error = math.sqrt(len(groups) / (len(groups) - 1) * total) / weights.sum()
    assert float(intervals.cluster_interval(terms, unit).standard_error) == pytest.approx(error, rel=1e-10)


@given(st.floats(0.5, 0.99), st.floats(0.5, 0.99))
def test_intervals_are_nested_in_the_confidence(a, b):
    random = np.random.default_rng(3)
    terms, unit = snips(random.gamma(2.0, size=50), random.normal(size=50)), np.arange(50) % 9
    low, high = sorted((a, b))
    for make in (
        lambda c: intervals.normal_interval(terms, confidence=c),
        lambda c: intervals.cluster_interval(terms, unit, confidence=c),
        lambda c: intervals.bootstrap_interval(terms, confidence=c, num_resamples=200, seed=1),
        lambda c: intervals.adaptive_interval(terms.scores, np.ones(50), confidence=c),
    ):
        inner, outer = make(low), make(high)
        assert outer.low <= inner.low <= inner.high <= outer.high


def test_bootstrap_is_keyed_and_near_the_normal_interval():
    random = np.random.default_rng(4)
    terms = snips(random.gamma(2.0, size=3000), random.normal(size=3000))
    first, again = (intervals.bootstrap_interval(terms, seed=5) for _ in range(2))
    assert first == again
    assert intervals.bootstrap_interval(terms, seed=6).low != first.low
    normal = intervals.normal_interval(terms)
    assert float(first.standard_error) == pytest.approx(float(normal.standard_error), rel=0.06)
    assert float(first.low) == pytest.approx(float(normal.low), abs=0.15 * float(normal.high - normal.low))


def test_bootstrap_against_scipy():
    random = np.random.default_rng(14)
    weights, reward = random.gamma(2.0, size=500), random.normal(size=500)
    ours = intervals.bootstrap_interval(snips(weights, reward), num_resamples=8000)
    scipys = stats.bootstrap(
        (weights, reward),
        lambda w, r, axis: (w * r).sum(axis) / w.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=8000,
        rng=1,
    )
    # The Monte Carlo error of a 2.5 percent quantile of 8,000 is about 0.03 standard errors.
    assert float(ours.low) == pytest.approx(scipys.confidence_interval.low, abs=0.15 * scipys.standard_error)
    assert float(ours.high) == pytest.approx(scipys.confidence_interval.high, abs=0.15 * scipys.standard_error)
    assert float(ours.standard_error) == pytest.approx(scipys.standard_error, rel=0.05)


def test_bootstrap_resamples_whole_units():
    values = np.repeat(np.random.default_rng(5).normal(size=40), 25)
    unit = np.repeat(np.arange(40), 25)
    by_unit = intervals.bootstrap_interval(mean_terms(values), unit)
    by_round = intervals.bootstrap_interval(mean_terms(values))
    assert float(by_unit.standard_error / by_round.standard_error) == pytest.approx(5.0, rel=0.15)


def test_adaptive_interval_by_a_loop():
    random = np.random.default_rng(6)
    scores, weights = random.normal(size=20), random.random(20)
    estimate = sum(h * s for h, s in zip(weights, scores, strict=True)) / sum(weights)
    total = sum(h**2 * (s - estimate) ** 2 for h, s in zip(weights, scores, strict=True))
    interval = intervals.adaptive_interval(scores, weights)
    assert float(interval.estimate) == pytest.approx(estimate, rel=1e-12)
    assert float(interval.standard_error) == pytest.approx(math.sqrt(total) / sum(weights), rel=1e-12)


def test_weights_are_known_before_their_round():
    random = np.random.default_rng(7)
    target, propensities = np.array([0.5, 0.5]), random.dirichlet([1, 1], 30)
    phi = intervals.second_moment(np.broadcast_to(target, (30, 2)), propensities)
    np.testing.assert_allclose(phi, [0.25 / a + 0.25 / b for a, b in propensities], rtol=1e-12)
    stable = intervals.stabilizing_weights(np.broadcast_to(target, (30, 2)), propensities)
    np.testing.assert_allclose(stable, phi**-0.5, rtol=1e-12)
    trailing = intervals.trailing_weights(phi, window=4)
    assert trailing[0] == 1.0
    assert trailing[2] == pytest.approx(np.mean(phi[:2]) ** -0.5, rel=1e-12)
    assert trailing[9] == pytest.approx(np.mean(phi[5:9]) ** -0.5, rel=1e-12)
    later = phi.copy()
    later[9:] = 99.0
    np.testing.assert_allclose(intervals.trailing_weights(later, window=4)[:10], trailing[:10], rtol=1e-12)


def test_no_variation_is_no_interval():
    for values in (np.zeros(10), np.full(10, 0.3), np.array([1.0])):
        terms = mean_terms(values)
        for interval in (
            intervals.normal_interval(terms),
            intervals.cluster_interval(terms, np.arange(len(values))),
            intervals.bootstrap_interval(terms, num_resamples=50),
            intervals.adaptive_interval(terms.scores, np.ones(len(values))),
        ):
            assert float(interval.estimate) == pytest.approx(values[0])
            assert np.isnan([interval.standard_error, interval.low, interval.high]).all()
    assert math.isnan(intervals.cluster_interval(mean_terms(np.array([1.0, 2.0])), [4, 4]).low)


def test_bootstrap_without_enough_weight_is_nan():
    weights = np.zeros(30)
    weights[3] = 1.0  # a resampled set misses the only match more often than one time in a hundred
    assert math.isnan(intervals.bootstrap_interval(snips(weights, np.arange(30.0))).low)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda t: intervals.normal_interval(t, confidence=95), "`confidence` must lie strictly between 0 and 1"),
        (lambda t: intervals.cluster_interval(t, [1, 2]), r"`unit` must have shape \(3,\)"),
        (lambda t: intervals.bootstrap_interval(t, num_resamples=1), "`num_resamples` must be at least 2"),
        (
            lambda t: intervals.bootstrap_interval(Terms(*(np.ones((2, 3)),) * 3)),
            "`terms` must be those of one data set",
        ),
        (lambda t: intervals.adaptive_interval(t.scores, np.zeros(3)), "`weights` must be finite, at least 0"),
        (lambda t: intervals.trailing_weights([1.0], window=0), "`window` must be at least 1"),
        (lambda t: intervals.stabilizing_weights([[0.5, 0.5]], [[1.0, 0.0]]), "without support"),
    ],
)
def test_bad_input_is_named(call, text):
    with pytest.raises(ValueError, match=text):
        call(mean_terms(np.array([1.0, 2.0, 4.0])))


@pytest.mark.statistics
@pytest.mark.parametrize(
    ("rates", "target"),
    [([[0.5, 0.5]], [[1.0, 0.0]]), ([[0.4, 0.5], [0.5, 0.3]], [[1.0, 0.0], [0.0, 1.0]])],
)
def test_adaptively_weighted_intervals_cover_after_thompson_sampling(rates, target):
    """2,000 logs at 95 percent: 1874 to 1924 is the central 99 percent. By segment, the weights are trailing ones."""
    rates, target = np.array(rates), np.array(target)
    truth = (rates * target).sum(axis=1).mean()
    found = off_policy.adaptive_values(2000, 3, num_rounds=2000, rates=rates, target=target)
    plain, weighted = found["DR, as if rounds were independent"], found["adaptively weighted DR"]
    assert 1874 <= np.sum((weighted.low <= truth) & (truth <= weighted.high)) <= 1924
    assert np.mean(weighted.high - weighted.low) < np.mean(plain.high - plain.low)


@pytest.mark.statistics
def test_units_cover_where_rounds_would_not():
    random = np.random.default_rng(8)
    values = random.normal(size=(2000, 30, 1)) + random.normal(size=(2000, 30, 8))
    terms = mean_terms(values.reshape(2000, 240))
    naive = intervals.normal_interval(terms)
    assert np.mean((naive.low < 0) & (naive.high > 0)) < 0.8
    found = intervals.cluster_interval(terms, np.repeat(np.arange(30), 8))
    assert 1874 <= np.sum((found.low < 0) & (found.high > 0)) <= 1924


@pytest.mark.statistics
def test_bootstrap_covers():
    random = np.random.default_rng(9)
    weights, reward = random.gamma(2.0, 0.5, size=(2, 2000, 400))
    covered = 0
    for m in range(2000):
        found = intervals.bootstrap_interval(snips(weights[m], reward[m]), num_resamples=400, seed=m)
        covered += found.low < 1.0 < found.high
    assert 1874 <= covered <= 1924
