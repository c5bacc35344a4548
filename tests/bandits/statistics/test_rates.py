"""Intervals of rates against Newcombe's published tables, the binomial itself and statsmodels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from bandits.statistics import exact_proportion_interval, proportion_difference, proportion_interval


@st.composite
def counts(draw):
    trials = draw(st.integers(1, 10_000))
    return draw(st.integers(0, trials)), trials


def test_clopper_pearson_against_published_numbers():
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 5
    low, high = exact_proportion_interval([81, 15, 0, 1], [263, 148, 20, 29])[1:]
    np.testing.assert_allclose(low, [0.2527, 0.0578, 0.0, 0.0009], atol=5e-5)
    np.testing.assert_allclose(high, [0.3676, 0.1617, 0.1684, 0.1776], atol=5e-5)


@pytest.mark.parametrize(("count", "total"), [(1, 29), (15, 148), (399, 20_000), (7, 8)])
@pytest.mark.parametrize("confidence", [0.8, 0.99])
def test_clopper_pearson_ends_have_the_tails_of_the_binomial(count, total, confidence):
    interval = exact_proportion_interval(count, total, confidence=confidence)
    tail = (1 - confidence) / 2
    assert stats.binom.sf(count - 1, total, interval.low) == pytest.approx(tail, rel=1e-9)
    assert stats.binom.cdf(count, total, interval.high) == pytest.approx(tail, rel=1e-9)


def test_clopper_pearson_never_covers_less_than_it_says():
    total = 30
    outcomes = np.arange(total + 1)
    interval = exact_proportion_interval(outcomes, total)
    rates = np.linspace(0.001, 0.999, 333)
    inside = (interval.low[:, None] <= rates) & (rates <= interval.high[:, None])
    coverage = (stats.binom.pmf(outcomes[:, None], total, rates) * inside).sum(axis=0)
    assert coverage.min() >= 0.95


def test_extremes_and_no_trials():
    interval = exact_proportion_interval([0, 5, 0], [5, 5, 0])
    np.testing.assert_allclose(interval.high[0], 1 - 0.025**0.2, rtol=1e-12)
    np.testing.assert_allclose(interval.low[1], 0.025**0.2, rtol=1e-12)
    assert (interval.low[0], interval.high[1]) == (0.0, 1.0)
    assert np.isnan([part[2] for part in interval]).all()


def test_newcombe_against_published_numbers():
    # Newcombe, "Interval estimation for the difference between independent proportions" (1998), table II, method 10
    rows = [(56, 70, 48, 80), (9, 10, 3, 10), (6, 7, 2, 7), (5, 56, 0, 29), (0, 10, 0, 20), (0, 10, 0, 10)]
    rows += [(10, 10, 0, 20), (10, 10, 0, 10)]
    effect = proportion_difference(*np.array(rows).T)
    np.testing.assert_allclose(
        effect.low, [0.0524, 0.1705, 0.0582, -0.0381, -0.1611, -0.2775, 0.6791, 0.6075], atol=5e-5
    )
    np.testing.assert_allclose(effect.high, [0.3339, 0.8090, 0.8062, 0.1926, 0.2775, 0.2775, 1.0, 1.0], atol=5e-5)


@pytest.mark.parametrize("row", [(56, 70, 48, 80), (9, 10, 3, 10), (0, 10, 3, 20), (400, 20_000, 431, 19_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_newcombe_against_statsmodels(row, confidence):
    effect = proportion_difference(*row, confidence=confidence)
    expected = confint_proportions_2indep(*row, method="newcomb", compare="diff", alpha=1 - confidence)
    np.testing.assert_allclose([effect.low, effect.high], expected, rtol=1e-10)
    assert effect.p_value == pytest.approx(proportions_ztest(row[::2], row[1::2])[1], rel=1e-10)
    assert effect.confidence == confidence
    assert "Newcombe" in effect.method


def test_an_arm_without_visitors_has_no_difference():
    effect = proportion_difference([0, 3], [0, 9], [1, 2], [5, 7])
    assert np.isnan([part[0] for part in effect[:4]]).all()
    assert np.isfinite([part[1] for part in effect[:4]]).all()


@given(counts(), counts())
def test_swapping_the_arms_flips_the_sign(a, b):
    one, other = proportion_difference(*a, *b), proportion_difference(*b, *a)
    np.testing.assert_allclose(
        [one.estimate, one.low, one.high], [-other.estimate, -other.high, -other.low], atol=1e-14
    )
    assert one.p_value == other.p_value


@given(counts(), counts(), st.floats(0.5, 0.98))
def test_a_higher_level_contains_a_lower_one(a, b, confidence):
    for inner, outer in (
        (exact_proportion_interval(*a, confidence=confidence), exact_proportion_interval(*a, confidence=0.99)),
        (proportion_difference(*a, *b, confidence=confidence), proportion_difference(*a, *b, confidence=0.99)),
    ):
        assert outer.low <= inner.low <= inner.estimate <= inner.high <= outer.high


@given(counts())
def test_the_exact_interval_contains_wilsons_middle_and_moves_with_the_count(a):
    count, total = a
    interval = exact_proportion_interval(count, total)
    assert interval.low <= proportion_interval(count, total).estimate <= interval.high
    if count < total:
        more = exact_proportion_interval(count + 1, total)
        assert more.low > interval.low
        assert more.high > interval.high or math.isclose(interval.high, 1.0)


@given(counts())
def test_swapping_success_and_failure_mirrors_the_interval(a):
    count, total = a
    one, other = exact_proportion_interval(count, total), exact_proportion_interval(total - count, total)
    np.testing.assert_allclose([one.low, one.high], [1 - other.high, 1 - other.low], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: exact_proportion_interval(3, 2), r"`successes` must lie between 0 and `trials`. Got 3 of 2"),
        (lambda: exact_proportion_interval(1, 2, confidence=95), r"`confidence` must lie strictly.*Got 95"),
        (lambda: proportion_difference(3, 2, 1, 2), r"`successes` must lie between 0 and `trials`"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
