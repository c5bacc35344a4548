"""Power and sample sizes against published tables, statsmodels and the exact binomial."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import NormalIndPower, TTestIndPower
from statsmodels.stats.proportion import proportion_effectsize

from bandits.statistics import (
    minimum_detectable_difference,
    power_two_means,
    power_two_proportions,
    sample_size_two_means,
    sample_size_two_proportions,
    sample_sizes_two_proportions,
    two_proportion_test,
)


def test_published_sample_sizes_of_proportions():
    sizes = sample_sizes_two_proportions(0.10, 0.02)
    assert (sizes.pooled, sizes.arcsine, sizes.unpooled) == (3841, 3835, 3839)
    assert (sizes.power, sizes.alpha) == (0.8, 0.05)


@pytest.mark.parametrize(("baseline", "effect"), [(0.043, 0.01), (0.5, -0.1), (0.01, 0.002)])
@pytest.mark.parametrize("power", [0.8, 0.95])
def test_sample_sizes_against_the_other_function_and_statsmodels(baseline, effect, power):
    sizes = sample_sizes_two_proportions(baseline, effect, power=power)
    assert sizes.pooled == sample_size_two_proportions(baseline, effect, power=power)
    h = proportion_effectsize(baseline + effect, baseline)
    assert sizes.arcsine == math.ceil(NormalIndPower().solve_power(h, alpha=0.05, power=power))


@pytest.mark.parametrize("ratio", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("n", [50, 4000])
def test_arcsine_power_against_statsmodels(ratio, n):
    h = proportion_effectsize(0.13, 0.10)
    expected = NormalIndPower().power(h, n, 0.05, ratio=ratio)
    actual = power_two_proportions(0.10, 0.03, n, ratio=ratio, formula="arcsine")
    assert actual == pytest.approx(expected, rel=1e-10)


def test_pooled_power_by_hand():
    # 300 of the control at 10 percent, 600 of the treatment at 15 percent, level 0.1
    pooled = (300 * 0.10 + 600 * 0.15) / 900
    null = math.sqrt(pooled * (1 - pooled) * (1 / 300 + 1 / 600))
    separate = math.sqrt(0.10 * 0.90 / 300 + 0.15 * 0.85 / 600)
    critical = 1.6448536269514722 * null
    expected = stats.norm.sf((critical - 0.05) / separate) + stats.norm.cdf((-critical - 0.05) / separate)
    actual = power_two_proportions(0.10, 0.05, 300, alpha=0.1, ratio=2.0)
    assert actual == pytest.approx(expected, rel=1e-10)
    unpooled = power_two_proportions(0.10, 0.05, 300, alpha=0.1, ratio=2.0, formula="unpooled")
    critical = 1.6448536269514722 * separate
    expected = stats.norm.sf((critical - 0.05) / separate) + stats.norm.cdf((-critical - 0.05) / separate)
    assert unpooled == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("baseline", "effect", "n", "ratio"), [(0.1, 0.05, 500, 1), (0.3, -0.1, 300, 1), (0.2, 0.1, 200, 2)]
)
def test_pooled_power_is_near_that_of_the_test_by_enumeration(baseline, effect, n, ratio):
    a, b = np.arange(n * ratio + 1)[:, None], np.arange(n + 1)
    rejected = two_proportion_test(a, n * ratio, b, n).p_value < 0.05
    weight = stats.binom.pmf(a, n * ratio, baseline + effect) * stats.binom.pmf(b, n, baseline)
    exact = (weight * rejected).sum()
    assert power_two_proportions(baseline, effect, n, ratio=ratio) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("formula", ["pooled", "unpooled", "arcsine"])
def test_no_effect_is_found_at_the_level(formula):
    assert power_two_proportions(0.2, 0.0, [10, 1000], alpha=0.03, formula=formula) == pytest.approx(0.03)
    assert power_two_means(0.0, 3.0, [10, 1000], alpha=0.03) == pytest.approx(0.03)


def test_published_sample_sizes_of_means():
    # Cohen, "Statistical Power Analysis" (1988), table 2.4.1: power .80, two-sided .05, d = .2, .5, .8
    assert [sample_size_two_means(d, 1.0) for d in (0.2, 0.5, 0.8)] == [394, 64, 26]


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("n", [3, 64, 5000])
def test_power_of_means_against_statsmodels(n, ratio):
    expected = TTestIndPower().power(1.2 / math.sqrt(n), n, 0.05, ratio=ratio)
    assert power_two_means(2.4 / math.sqrt(n), 2.0, n, ratio=ratio) == pytest.approx(expected, rel=1e-8)


def test_a_huge_effect_is_certain_to_be_found():
    # scipy 1.17's noncentral t gives nan for the tail on the wrong side here
    assert power_two_means([0.3, 1.0, 5.0], 1.0, 5000) == pytest.approx(1.0, abs=1e-12)
    # by hand: over the other arm's spread W ~ chi2(2) / 2, P(T > q) = E Phi(shift - q sqrt(W))
    w = np.linspace(0, 60, 2_000_001)
    critical = stats.t.ppf(0.975, 2)
    tail = np.trapezoid(np.exp(-w) * stats.norm.cdf(9.0 - critical * np.sqrt(w)), w)
    assert power_two_means(9.0, 1.0, 2) == pytest.approx(tail, rel=1e-9)


@pytest.mark.parametrize("n", [8, 400, 90_000])
def test_detectable_difference_inverts_the_power(n):
    difference = minimum_detectable_difference(2.5, n, power=0.9, ratio=1.5)
    assert power_two_means(difference, 2.5, n, ratio=1.5) == pytest.approx(0.9, rel=1e-9)
    assert sample_size_two_means(difference * (1 + 1e-9), 2.5, power=0.9, ratio=1.5) == n


@given(
    st.floats(0.05, 0.4),
    st.floats(0.02, 0.4),
    st.integers(20, 5000),
    st.sampled_from(["pooled", "unpooled", "arcsine"]),
)
def test_power_grows_with_effect_size_and_level(baseline, effect, n, formula):
    power = power_two_proportions(baseline, effect, n, formula=formula)
    assert 0 < power <= 1
    assert power <= power_two_proportions(baseline, effect, 2 * n, formula=formula)
    assert power <= power_two_proportions(baseline, effect * 1.2, n, formula=formula)
    assert power <= power_two_proportions(baseline, effect, n, alpha=0.1, formula=formula)


@given(st.floats(0.05, 0.9), st.floats(0.02, 0.05), st.sampled_from(["pooled", "unpooled", "arcsine"]))
def test_power_does_not_know_which_outcome_is_the_success(baseline, effect, formula):
    one = power_two_proportions(baseline, effect, 500, ratio=2.0, formula=formula)
    other = power_two_proportions(1 - baseline, -effect, 500, ratio=2.0, formula=formula)
    assert one == pytest.approx(other, rel=1e-9)


@given(st.floats(0.1, 5), st.floats(0.1, 100), st.integers(2, 500))
def test_power_of_means_has_no_unit_and_no_sign(effect, scale, n):
    one = power_two_means(effect, 1.0, n)
    assert power_two_means(-effect * scale, scale, n) == pytest.approx(one, rel=1e-7)
    assert one <= power_two_means(effect, 1.0, n + 1) + 1e-12


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: sample_sizes_two_proportions(0.1, 0.0), r"`minimum_effect` must not be 0"),
        (lambda: sample_sizes_two_proportions(0.1, 0.9), r"must lie in \(0, 1\). Got effect 0.9, baseline 0.1"),
        (lambda: sample_sizes_two_proportions(0.1, 0.1, power=0.01), r"`power` must lie between `alpha` \(0.05\)"),
        (lambda: power_two_proportions(1.1, 0.1, 10), r"`baseline` must lie strictly between 0 and 1. Got 1.1"),
        (lambda: power_two_proportions(0.1, 0.1, 0), r"`n` must be positive. Got 0"),
        (lambda: power_two_proportions(0.1, 0.1, 9, formula="exact"), r"`formula` must be pooled, unpooled or arcsine"),
        (lambda: power_two_proportions(0.1, 0.1, 9, ratio=0), r"`ratio` must be positive and finite. Got 0"),
        (lambda: power_two_means(0.1, 0.0, 9), r"`sd` must be positive and finite. Got 0.0"),
        (lambda: power_two_means(0.1, 1.0, 1), r"`n` must be at least 2. Got 1"),
        (lambda: sample_size_two_means(0.0, 1.0), r"`effect` must not be 0"),
        (lambda: minimum_detectable_difference(-1.0, 9), r"`sd` must be positive and finite. Got -1.0"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
