"""Means, lifts, ratios and CUPED against scipy, statsmodels, least squares and formulas written out."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from bandits.statistics import Moments, cuped, moments, rate_moments, ratio_moments, relative_lift, welch_test

A = np.array([27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4])
B = np.array([27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5])
WHOLE = st.integers(-1000, 1000).map(float)
SAMPLES = hnp.arrays(np.float64, st.integers(3, 12), elements=WHOLE).filter(lambda values: np.ptp(values) > 0)


@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_welch_against_scipy(confidence):
    expected = stats.ttest_ind(A, B, equal_var=False)
    effect = welch_test(moments(A), moments(B), confidence=confidence)
    assert effect.p_value == pytest.approx(expected.pvalue, rel=1e-12)
    np.testing.assert_allclose([effect.low, effect.high], expected.confidence_interval(confidence), rtol=1e-12)
    assert (effect.confidence, effect.method) == (confidence, "Welch t")


def test_welch_from_a_published_summary():
    # means, standard deviations and sizes alone, against scipy's test on such summaries
    a, b = Moments(20.6, 2.1**2, 10), Moments(22.1, 1.5**2, 20)
    expected = stats.ttest_ind_from_stats(20.6, 2.1, 10, 22.1, 1.5, 20, equal_var=False)
    assert welch_test(a, b).p_value == pytest.approx(expected.pvalue, rel=1e-12)


def test_data_sets_lie_in_the_leading_axes():
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, 3, 9)), random.gamma(1.0, size=(2, 3, 7))
    effect = welch_test(moments(a), moments(b))
    np.testing.assert_allclose(effect.p_value, stats.ttest_ind(a, b, axis=-1, equal_var=False).pvalue, rtol=1e-12)


def test_no_spread_and_single_units_have_no_interval():
    constant, single = moments([1.0, 1.0, 1.0]), moments([4.0])
    for effect in (welch_test(constant, moments([2.0, 2.0])), welch_test(single, moments([1.0, 2.0]))):
        assert np.isfinite(effect.estimate)
        assert np.isnan(effect[1:4]).all()
    assert welch_test(constant, moments([2.0, 3.0])).p_value == pytest.approx(stats.ttest_1samp([2, 3], 1.0).pvalue)


@given(SAMPLES, SAMPLES)
def test_welch_swaps_shifts_and_scales(a, b):
    effect = welch_test(moments(a), moments(b))
    swapped = welch_test(moments(b), moments(a))
    np.testing.assert_allclose(swapped[:3], [-effect.estimate, -effect.high, -effect.low], rtol=1e-9, atol=1e-9)
    moved = welch_test(moments(5 - 3 * a), moments(5 - 3 * b))
    np.testing.assert_allclose(
        moved[:3], [-3 * effect.estimate, -3 * effect.high, -3 * effect.low], rtol=1e-6, atol=1e-6
    )
    assert moved.p_value == pytest.approx(effect.p_value, rel=1e-6)
    wider = welch_test(moments(a), moments(b), confidence=0.99)
    assert wider.low < effect.low < effect.high < wider.high
    assert (effect.low <= 0 <= effect.high) == (effect.p_value >= 0.05) or abs(effect.p_value - 0.05) < 1e-9


def test_delta_lift_by_hand():
    effect = relative_lift(Moments(2.2, 9.0, 400), Moments(2.0, 4.0, 100))
    error = math.sqrt(9.0 / (400 * 2.0**2) + 4.0 * 2.2**2 / (100 * 2.0**4))
    z = 1.959963984540054
    np.testing.assert_allclose(effect[:3], [0.1, 0.1 - z * error, 0.1 + z * error], rtol=1e-12)
    assert effect.p_value == pytest.approx(math.erfc(0.1 / error / math.sqrt(2)), rel=1e-12)


@pytest.mark.parametrize("row", [(120, 1000, 100, 1000), (9, 70, 48, 80), (400, 20_000, 431, 19_000)])
def test_log_lift_of_rates_is_katz_against_statsmodels(row):
    effect = relative_lift(rate_moments(*row[:2]), rate_moments(*row[2:]), method="log")
    low, high = confint_proportions_2indep(*row, method="log", compare="ratio")
    np.testing.assert_allclose([effect.low, effect.high], [low - 1, high - 1], rtol=1e-9)


@pytest.mark.parametrize("control", [2.0, -2.0, 0.5])
@pytest.mark.parametrize("treatment", [2.2, -1.0])
def test_fieller_ends_are_just_rejected_by_the_z_test(treatment, control):
    t, c = Moments(treatment, 9.0, 400), Moments(control, 4.0, 100)
    effect = relative_lift(t, c, method="fieller", confidence=0.9)
    for lift in (effect.low, effect.high):
        ratio = 1 + lift
        z = (treatment - ratio * control) / math.sqrt(9.0 / 400 + ratio**2 * 4.0 / 100)
        assert abs(z) == pytest.approx(1.6448536269514722, rel=1e-9)
    assert effect.low < effect.estimate < effect.high
    z = (treatment - control) / math.sqrt(9.0 / 400 + 4.0 / 100)
    assert effect.p_value == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), rel=1e-9)


def test_fieller_is_unbounded_where_the_control_may_be_zero():
    effect = relative_lift(Moments(2.2, 9.0, 400), Moments(0.3, 4.0, 100), method="fieller")
    assert (effect.low, effect.high) == (-math.inf, math.inf)


def test_three_lifts_agree_on_large_samples():
    t, c = rate_moments(2_100_000, 20_000_000), rate_moments(2_000_000, 20_000_000)
    ends = [relative_lift(t, c, method=method)[1:3] for method in ("delta", "log", "fieller")]
    np.testing.assert_allclose(ends, [ends[0]] * 3, atol=3e-6)


def test_lift_without_a_basis_is_nan():
    zero, some = rate_moments(0, 100), rate_moments(5, 100)
    for method in ("delta", "log"):
        over_zero = relative_lift(some, zero, method=method)
        assert np.isnan(over_zero[:4]).all()
        assert np.isnan(relative_lift(zero, zero, method=method)[:4]).all()
    assert np.isnan(relative_lift(some, zero, method="fieller").estimate)
    assert np.isnan(relative_lift(zero, zero, method="fieller")[:3]).all()
    no_clicks = relative_lift(zero, some, method="log")
    assert no_clicks.estimate == -1
    assert np.isnan(no_clicks[1:4]).all()
    assert np.isnan(relative_lift(rate_moments(7, 7), rate_moments(9, 9))[1:4]).all()


@given(st.floats(0.5, 50), st.floats(0.5, 50), st.floats(1e-3, 1e3), st.sampled_from(["delta", "log", "fieller"]))
def test_lift_has_no_unit(treatment, control, scale, method):
    def lift(factor):
        t = Moments(treatment * factor, 3.0 * factor**2, 5000)
        return relative_lift(t, Moments(control * factor, 2.0 * factor**2, 4000), method=method)

    np.testing.assert_allclose(lift(scale)[:4], lift(1.0)[:4], rtol=1e-6, atol=1e-9)
    wider = relative_lift(Moments(treatment, 3.0, 5000), Moments(control, 2.0, 4000), method=method, confidence=0.99)
    assert wider.low < lift(1.0).low < lift(1.0).high < wider.high


@given(st.floats(0.5, 50), st.floats(0.5, 50))
def test_log_lift_of_swapped_arms_is_the_inverse_ratio(treatment, control):
    t, c = Moments(treatment, 3.0, 5000), Moments(control, 2.0, 4000)
    one, other = relative_lift(t, c, method="log"), relative_lift(c, t, method="log")
    np.testing.assert_allclose((1 + one.low) * (1 + other.high), 1.0, rtol=1e-12)


def test_ratio_moments_by_the_gradient():
    random = np.random.default_rng(3)
    views = random.poisson(4.0, size=60).astype(float)
    clicks = random.binomial(views.astype(int), 0.3).astype(float)
    arm = ratio_moments(clicks, views)
    gradient = np.array([1 / views.mean(), -clicks.mean() / views.mean() ** 2])
    assert arm.mean == pytest.approx(clicks.sum() / views.sum(), rel=1e-14)
    assert arm.variance == pytest.approx(gradient @ np.cov(clicks, views) @ gradient, rel=1e-12)
    assert arm.units == 60


def test_a_ratio_to_one_is_the_mean():
    np.testing.assert_allclose(ratio_moments(A, np.ones_like(A)), moments(A), rtol=1e-14)


def test_repeated_visits_widen_the_interval():
    # Each user ten times: the naive variance per visit would be that of ten times as many users.
    clicks = np.repeat([[0.0], [10.0]], 50, axis=0).ravel()
    views = np.full(100, 10.0)
    arm = ratio_moments(clicks, views)
    assert arm.variance / arm.units == pytest.approx(0.25 / 99, rel=1e-12)


def test_ratio_of_nothing_is_nan():
    arm = ratio_moments([[0.0, 0.0], [1.0, 2.0]], [[0.0, 0.0], [2.0, 2.0]])
    assert np.isnan([arm.mean[0], arm.variance[0]]).all()
    assert arm.mean[1] == 0.75
    assert np.isnan(ratio_moments([1.0], [2.0]).variance)


@given(SAMPLES, st.floats(0.1, 10))
def test_ratio_scales(values, scale):
    views = np.arange(1.0, len(values) + 1)
    one, other = ratio_moments(values, views), ratio_moments(values * scale, views)
    np.testing.assert_allclose(
        [other.mean, other.variance], [one.mean * scale, one.variance * scale**2], rtol=1e-7, atol=1e-9
    )


def test_rate_moments_are_those_of_zeros_and_ones():
    raw = moments([1.0] * 3 + [0.0] * 9)
    rate = rate_moments(3, 12)
    np.testing.assert_allclose([rate.mean, rate.variance, rate.units], [raw.mean, raw.variance * 11 / 12, 12])
    assert np.isnan(rate_moments(0, 0).mean)


def cuped_data():
    random = np.random.default_rng(4)
    x = [random.gamma(2.0, size=40), random.gamma(2.0, size=30) + 0.1, random.gamma(2.0, size=20)]
    y = [0.7 * x[0] + random.normal(size=40), 0.7 * x[1] + 0.5 + random.normal(size=30), x[2] + random.normal(size=20)]
    return list(zip(y, x, strict=True))


def test_cuped_is_the_analysis_of_covariance():
    arms = cuped_data()
    result = cuped(*arms)
    outcome, covariate = (np.concatenate(part) for part in zip(*arms, strict=True))
    arm = np.repeat([0, 1, 2], [40, 30, 20])
    fit = sm.OLS(outcome, np.column_stack([np.eye(3)[arm], covariate])).fit()
    assert result.theta == pytest.approx(fit.params[3], rel=1e-10)
    for one, other in ((0, 1), (1, 2)):
        effect = welch_test(result.arms[one], result.arms[other])
        assert effect.estimate == pytest.approx(fit.params[one] - fit.params[other], rel=1e-9)
    for part, (y, x) in zip(result.arms, arms, strict=True):
        assert part.variance == pytest.approx(np.var(y - fit.params[3] * x, ddof=1), rel=1e-10)
    explained = 1 - np.sum(fit.resid**2) / np.sum(sm.OLS(outcome, np.eye(3)[arm]).fit().resid ** 2)
    assert result.variance_reduction == pytest.approx(explained, rel=1e-9)


def test_cuped_keeps_the_scale_of_the_mean():
    arms = cuped_data()
    total = sum(float(arm.mean * arm.units) for arm in cuped(*arms).arms)
    assert total == pytest.approx(sum(y.sum() for y, _ in arms), rel=1e-12)


def test_cuped_of_data_sets_in_leading_axes():
    random = np.random.default_rng(5)
    arms = [
        (random.normal(size=(4, 10)), random.normal(size=(4, 10))),
        (random.normal(size=(4, 8)), random.normal(size=(4, 8))),
    ]
    together = cuped(*arms)
    for row in range(4):
        alone = cuped(*((y[row], x[row]) for y, x in arms))
        np.testing.assert_allclose(together.arms[1].mean[row], alone.arms[1].mean)
        np.testing.assert_allclose(together.theta[row], alone.theta)


@given(SAMPLES, st.floats(-5, 5), st.floats(0.1, 10))
def test_cuped_ignores_origin_and_unit_of_the_covariate(x, shift, scale):
    y = np.cos(np.arange(len(x)))
    raw, changed = cuped((y, x), (y[::-1] + 1, x)), cuped((y, x * scale + shift), (y[::-1] + 1, x * scale + shift))
    for one, other in zip(raw.arms, changed.arms, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_a_covariate_that_explains_nothing_can_be_told():
    constant = cuped(([1.0, 2.0, 4.0], [3.0, 3.0, 3.0]), ([1.0, 5.0], [2.0, 2.0]))
    assert np.isnan([constant.theta, constant.arms[0].mean, constant.variance_reduction]).all()
    everything = cuped(([1.0, 2.0, 4.0], [1.0, 2.0, 4.0]), ([1.0, 5.0], [1.0, 5.0]))
    assert everything.variance_reduction == 1.0
    assert np.isnan(cuped(([1.0, 1.0], [1.0, 2.0])).variance_reduction)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: moments([]), r"`values` must have at least 1 axes.*Got shape \(0,\)"),
        (lambda: moments([1.0, math.nan]), r"`values` must be finite. Got 1 numbers"),
        (lambda: rate_moments(3, 2), r"`successes` must lie between 0 and `trials`"),
        (lambda: ratio_moments([1.0], [1.0, 2.0]), r"`numerator` and `denominator` must have the same shape"),
        (lambda: ratio_moments([1.0, 2.0], [-1.0, 2.0]), r"`denominator` must not be negative. Got -1.0"),
        (lambda: cuped(), r"`arms` must hold at least one arm"),
        (lambda: cuped(([1.0, 2.0], [1.0])), r"`outcome` and `covariate` must have the same shape"),
        (lambda: cuped(([1.0, 2.0], [1.0, math.nan])), r"`covariate` must be finite"),
        (lambda: welch_test(Moments(1, -1, 5), Moments(1, 1, 5)), r"`a.variance` must not be negative. Got -1"),
        (lambda: welch_test(Moments(1, 1, 5), Moments(1, 1, 0)), r"`b.units` must be at least 1. Got 0"),
        (lambda: welch_test(moments(A), moments(B), confidence=0), r"`confidence` must lie strictly.*Got 0"),
        (lambda: relative_lift(moments(A), moments(B), method="wald"), r"`method` must be delta, log or fieller"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
