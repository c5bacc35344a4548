"""Paired comparison against scipy, enumeration of signs and a bootstrap written as in the book."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from bandits.statistics import paired_comparison, paired_difference

A = np.array([12.1, 15.3, 9.9, 20.4, 14.3, 30.8, 11.7, 13.3])
B = np.array([11.0, 13.1, 10.2, 17.0, 13.9, 19.8, 11.1, 14.8])


def compare(a, b, seed=1, **options):
    return paired_comparison(a, b, random=np.random.default_rng(seed), **{"resamples": 300} | options)


def test_t_interval_and_p_value_against_scipy():
    result = compare(A, B, confidence=0.9)
    expected = stats.ttest_rel(A, B)
    np.testing.assert_allclose([result.low, result.high], expected.confidence_interval(0.9), rtol=1e-12)
    assert result.p_value == pytest.approx(expected.pvalue, rel=1e-12)
    np.testing.assert_allclose(result[:3], paired_difference(A, B, confidence=0.9), rtol=1e-12)
    assert (result.replications, result.resamples, result.confidence) == (8, 300, 0.9)


def test_wilcoxon_by_enumeration_of_signs():
    difference = A - B
    ranks = np.argsort(np.argsort(np.abs(difference))) + 1
    observed = ranks[difference > 0].sum()
    sums = np.array([np.dot(ranks, signs) for signs in itertools.product([0, 1], repeat=8)])
    as_extreme = np.abs(sums - 18) >= abs(observed - 18)
    assert compare(A, B).p_wilcoxon == pytest.approx(as_extreme.mean(), rel=1e-12)


def test_bca_against_the_book():
    """Efron & Tibshirani (1993), equations 14.10 to 14.15, written out, with other draws."""
    difference = A - B
    random = np.random.default_rng(7)
    means = np.sort(difference[random.integers(8, size=(100_000, 8))].mean(axis=1))
    bias = stats.norm.ppf(np.mean(means < difference.mean()))
    without = (difference.sum() - difference) / 7
    inner = without.mean() - without
    acceleration = (inner**3).sum() / (6 * (inner**2).sum() ** 1.5)
    ends = []
    for z in (-1.959963984540054, 1.959963984540054):
        level = stats.norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
        ends.append(means[int(level * 100_000)])
    result = compare(A, B, resamples=50_000)
    # four Monte Carlo errors of quantiles from 50,000 draws
    np.testing.assert_allclose([result.bca_low, result.bca_high], ends, atol=0.03 * (ends[1] - ends[0]))
    assert result.bca_high - result.estimate > result.estimate - result.bca_low  # skewed to the right, as the data are


def test_the_generator_is_the_only_randomness():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = compare(A, B, seed=3), compare(A, B, seed=3), compare(A, B, seed=4)
    assert (one.bca_low, one.bca_high) == (same.bca_low, same.bca_high)
    assert one.bca_low != other.bca_low
    assert one.p_value == other.p_value
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_data_sets_lie_in_the_leading_axes():
    random = np.random.default_rng(5)
    a, b = random.normal(size=(2, 3, 12)), random.normal(size=(2, 3, 12))
    together, alone = compare(a, b, seed=2), compare(a[1, 2], b[1, 2], seed=2)
    assert together.bca_low.shape == (2, 3)
    for one, all_of_them in zip(alone[:7], together[:7], strict=True):
        assert all_of_them[1, 2] == pytest.approx(float(one), rel=1e-12)


def test_degenerate_pairs():
    same = compare([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.estimate, same.low, same.high, same.p_value, same.p_wilcoxon) == (0.0, 0.0, 0.0, 1.0, 1.0)
    assert math.isnan(same.bca_low)
    shifted = compare([2.0, 3.0, 4.0], [1.0, 2.0, 3.0])
    assert math.isnan(shifted.p_value)
    assert math.isnan(shifted.bca_high)
    assert shifted.p_wilcoxon == pytest.approx(0.25)
    single = compare([2.0], [1.0])
    assert single.estimate == 1.0
    assert np.isnan(single[1:7]).all()
    mixed = compare([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]], [[0.0, 0.5, 5.0], [1.0, 1.0, 1.0]])
    assert np.isfinite(mixed.bca_low[0])
    assert math.isnan(mixed.bca_low[1])


def test_ties_do_not_count_for_wilcoxon():
    difference = np.array([0.0, 0.0, 1.0, 2.0, -3.0, 4.0, 5.0, 6.0])
    zero = np.zeros(8)
    kept = compare(difference[2:], zero[2:]).p_wilcoxon
    assert compare(difference, zero).p_wilcoxon == pytest.approx(float(kept), abs=0.05)


@settings(max_examples=25)
@given(hnp.arrays(np.float64, st.integers(4, 9), elements=st.integers(-50, 50).map(float)), st.floats(0.1, 100))
def test_swap_and_scale(difference, scale):
    zero = np.zeros_like(difference)
    one, swapped, scaled = compare(difference, zero), compare(zero, difference), compare(scale * difference, zero)
    np.testing.assert_allclose(swapped[:3], [-one.estimate, -one.high, -one.low], atol=1e-12)
    np.testing.assert_allclose(
        scaled[:3], [scale * one.estimate, scale * one.low, scale * one.high], rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(swapped.p_wilcoxon, one.p_wilcoxon, rtol=1e-9)
    wider = compare(difference, zero, confidence=0.99)
    assert wider.low <= one.low <= one.high <= wider.high
    assert math.isnan(one.bca_low) or wider.bca_low <= one.bca_low <= one.bca_high <= wider.bca_high


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: compare([1.0], [1.0, 2.0]), r"`a` and `b` must have the same shape.*\(1,\) and \(2,\)"),
        (lambda: compare([], []), r"`a` must have at least 1 axes"),
        (lambda: compare([1.0, math.inf], [1.0, 2.0]), r"`a` must be finite"),
        (lambda: compare(A, B, resamples=99), r"`resamples` must be at least 100. Got 99"),
        (lambda: compare(A, B, confidence=1.5), r"`confidence` must lie strictly between 0 and 1. Got 1.5"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
