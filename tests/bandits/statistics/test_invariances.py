"""What no choice of labels, units or levels may change, for the functions whose own tests do not say it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bandits.statistics import (
    alpha_spent,
    batched_ols,
    beta_mixture_difference,
    group_sequential_design,
    mean_interval,
    minimum_detectable_effect,
    moments,
    normal_mixture_sequence,
    paired_difference,
    proportion_interval,
    rate_moments,
    relative_lift,
    replications_needed,
    sample_size_two_proportions,
    sequential_power,
    two_proportion_test,
    welch_test,
)

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
LEVELS = st.tuples(st.floats(0.05, 0.97), st.floats(0.98, 0.9999))
VALUES = hnp.arrays(np.float64, 9, elements=st.integers(-60, 60).map(float))


def assert_nested(inner, outer):
    assert not np.any(outer.low > inner.low + 1e-12)
    assert not np.any(outer.high < inner.high - 1e-12)


@given(COUNTS, COUNTS)
def test_rates_are_compared_alike_whichever_arm_and_outcome_is_named_first(a, b):
    here = two_proportion_test(*a, *b)
    swapped = two_proportion_test(*b, *a)
    inverted = two_proportion_test(a[1] - a[0], a[1], b[1] - b[0], b[1])
    for other in (swapped, inverted):
        assert other.statistic == pytest.approx(-here.statistic, abs=1e-9)
        assert other.p_value == pytest.approx(float(here.p_value), abs=1e-12)


@given(COUNTS, COUNTS)
def test_one_more_click_moves_the_difference_up(a, b):
    if a[0] < a[1]:
        here, more = two_proportion_test(*a, *b), two_proportion_test(a[0] + 1, a[1], *b)
        assert more.statistic >= here.statistic - 1e-12


@given(COUNTS, st.integers(2, 50))
def test_more_of_the_same_is_more_evidence(a, factor):
    here, more = (two_proportion_test(k * a[0], k * a[1], k * 20, k * 100) for k in (1, factor))
    assert more.statistic == pytest.approx(here.statistic * math.sqrt(factor), abs=1e-9)


@given(COUNTS, LEVELS)
def test_wilson_mirrors_nests_and_rises(a, levels):
    count, total = a
    inner, outer = (proportion_interval(count, total, confidence=level) for level in levels)
    assert_nested(inner, outer)
    mirrored = proportion_interval(total - count, total, confidence=levels[0])
    assert mirrored.low == pytest.approx(1 - inner.high, abs=1e-12)
    if count < total:
        more = proportion_interval(count + 1, total, confidence=levels[0])
        assert more.low > inner.low
        assert more.high >= inner.high


@given(VALUES, st.floats(0.01, 100), st.floats(-50, 50), LEVELS)
def test_means_have_no_unit_and_no_origin(values, scale, shift, levels):
    inner, outer = (mean_interval(values, confidence=level) for level in levels)
    assert_nested(inner, outer)
    moved = mean_interval(scale * values + shift, confidence=levels[0])
    np.testing.assert_allclose(moved, scale * np.array(inner) + shift, rtol=1e-9, atol=1e-7)
    back = mean_interval(-values, confidence=levels[0])
    np.testing.assert_allclose([back.low, back.high], [-inner.high, -inner.low], atol=1e-9)


@given(VALUES, VALUES)
def test_paired_differences_swap(a, b):
    forth, back = paired_difference(a, b), paired_difference(b, a)
    np.testing.assert_allclose([forth.low, forth.high], [-back.high, -back.low], atol=1e-9)


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(1.01, 5))
def test_narrower_intervals_need_more_replications(half_width, sd, factor):
    here = replications_needed(half_width, sd)
    assert replications_needed(half_width / factor, sd) >= here
    assert replications_needed(half_width * factor, sd * factor) == pytest.approx(here, abs=1)  # rounding


@given(st.floats(0.01, 0.5), st.integers(100, 100_000), st.floats(1.1, 10))
def test_more_visitors_find_smaller_effects(baseline, n, factor):
    here, more = (minimum_detectable_effect(baseline, k) for k in (n, n * factor))
    assert math.isnan(here) or more < here


@given(st.floats(0.05, 0.5), st.floats(0.005, 0.04), st.floats(0.5, 0.9), st.floats(0.001, 0.2))
def test_sample_sizes_grow_with_what_is_asked(baseline, effect, power, alpha):
    here = sample_size_two_proportions(baseline, effect, power=power, alpha=alpha)
    assert sample_size_two_proportions(baseline, effect, power=power + 0.05, alpha=alpha) >= here
    assert sample_size_two_proportions(baseline, effect, power=power, alpha=alpha / 2) >= here
    assert sample_size_two_proportions(baseline, effect / 2, power=power, alpha=alpha) >= here


@given(VALUES, VALUES, LEVELS, st.sampled_from(["delta", "log", "fieller"]))
def test_comparisons_of_means_nest(a, b, levels, method):
    arms = moments(a), moments(b + 100)
    assert_nested(*(welch_test(*arms, confidence=level) for level in levels))
    assert_nested(*(relative_lift(*arms, confidence=level, method=method) for level in levels))


@given(COUNTS, COUNTS, st.sampled_from(["delta", "log", "fieller"]))
def test_lifts_of_rates_depend_on_the_counts_only(a, b, method):
    together = relative_lift(rate_moments([a[0]] * 2, a[1]), rate_moments([b[0]] * 2, b[1]), method=method)
    alone = relative_lift(rate_moments(*a), rate_moments(*b), method=method)
    for column in ("estimate", "low", "high", "p_value"):
        np.testing.assert_array_equal(getattr(together, column), [getattr(alone, column)] * 2)


@given(COUNTS, COUNTS, LEVELS)
def test_differences_of_beta_mixtures_nest(a, b, levels):
    inner, outer = (beta_mixture_difference(*a, *b, confidence=level) for level in levels)
    assert outer.low <= inner.low + 1e-12
    assert inner.high <= outer.high + 1e-12


@given(st.floats(-5, 5), st.floats(0.01, 3), st.integers(1, 10_000), st.floats(0.01, 1), st.floats(0.1, 10), LEVELS)
def test_normal_mixtures_scale_and_nest(estimate, error, count, rho, scale, levels):
    inner, outer = (normal_mixture_sequence(estimate, error, count, rho=rho, confidence=level) for level in levels)
    assert_nested(inner, outer)
    scaled = normal_mixture_sequence(scale * estimate, scale * error, count, rho=rho, confidence=levels[0])
    np.testing.assert_allclose([scaled.low, scaled.high], [scale * inner.low, scale * inner.high], rtol=1e-9, atol=1e-9)


@given(st.integers(0, 1000), st.floats(0.1, 50), st.floats(-5, 5), LEVELS)
def test_batched_ols_swaps_scales_and_nests(seed, scale, shift, levels):
    random = np.random.default_rng(seed)
    chosen, rewards, batch = random.integers(0, 2, 60), random.normal(size=60), np.repeat(np.arange(4), 15)
    inner, outer = (batched_ols(chosen, rewards, batch, (1, 0), confidence=level) for level in levels)
    assert_nested(inner, outer)
    swapped = batched_ols(1 - chosen, rewards, batch, (0, 1), confidence=levels[0])
    moved = batched_ols(chosen, scale * rewards + shift, batch, (1, 0), confidence=levels[0])
    np.testing.assert_allclose(swapped.low, inner.low, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(moved.statistic, inner.statistic, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(moved.low, scale * inner.low, rtol=1e-6, atol=1e-9)


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["obrien-fleming", "pocock"]), st.floats(0.001, 0.4))
def test_error_is_spent_never_got_back(one, other, spending, alpha):
    first, second = alpha_spent(sorted((one, other)), spending=spending, alpha=alpha)
    assert 0 <= first <= second <= alpha * (1 + 1e-12)
    larger = alpha_spent(one, spending=spending, alpha=min(2 * alpha, 0.9))
    assert larger >= alpha_spent(one, spending=spending, alpha=alpha)


@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock"])
def test_power_does_not_know_the_sign_and_grows_with_the_level(spending):
    drifts = np.array([0.0, 0.7, 2.0, 3.5])
    powers = [
        sequential_power(group_sequential_design([0.3, 0.7, 1.0], spending=spending, alpha=a), drifts)
        for a in (0.01, 0.05, 0.1)
    ]
    assert np.all(np.diff(powers, axis=0) > 0)
    assert np.all(np.diff(powers, axis=1) > 0)
    design = group_sequential_design([0.3, 0.7, 1.0], spending=spending)
    np.testing.assert_allclose(sequential_power(design, -drifts), sequential_power(design, drifts), atol=1e-12)
