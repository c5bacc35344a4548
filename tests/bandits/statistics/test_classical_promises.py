"""Coverage and type I error over thousands of simulated data sets, against the central 99 percent of the binomial."""

import math

import numpy as np
import pytest
from scipy import special, stats

from bandits.statistics import (
    Moments,
    adjust_p_values,
    bayesian_comparison,
    cuped,
    exact_proportion_interval,
    interquartile_mean,
    logged_propensity_test,
    moments,
    paired_comparison,
    performance_profile,
    power_two_means,
    power_two_proportions,
    probability_of_improvement,
    proportion_difference,
    proportion_interval,
    rate_moments,
    ratio_moments,
    relative_lift,
    sample_ratio_test,
    sample_size_two_means,
    stratified_bootstrap,
    two_proportion_test,
    welch_test,
)

pytestmark = pytest.mark.statistics
SETS = 4000


def assert_in_band(happened, chance):
    low, high = stats.binom.interval(0.99, happened.size, chance)
    assert low <= happened.sum() <= high, f"{happened.mean():.4f}, which should be {chance}"


def covers(interval, truth):
    return (interval.low <= truth) & (truth <= interval.high)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("trials", [300, 5000])
def test_proportions(trials, confidence):
    random = np.random.default_rng(1)
    # At one rate coverage jumps with the count by up to a point; it is right on average over rates.
    rate = random.uniform(0.02, 0.3, SETS)
    count = random.binomial(trials, rate)
    assert_in_band(covers(proportion_interval(count, trials, confidence=confidence), rate), confidence)
    exact = covers(exact_proportion_interval(count, trials, confidence=confidence), rate)
    assert exact.sum() >= stats.binom.ppf(0.005, SETS, confidence)


@pytest.mark.parametrize("difference", [0.0, 0.012])
def test_difference_of_proportions(difference):
    random = np.random.default_rng(2)
    a, b = random.binomial(4000, 0.05 + difference, SETS), random.binomial(3000, 0.05, SETS)
    effect = proportion_difference(a, 4000, b, 3000)
    assert_in_band(covers(effect, difference), 0.95)
    if difference == 0:
        assert_in_band(effect.p_value < 0.05, 0.05)


@pytest.mark.parametrize("difference", [0.0, 0.7])
def test_welch_with_few_and_unequal(difference):
    random = np.random.default_rng(3)
    a, b = random.normal(difference, 3.0, (SETS, 8)), random.normal(0.0, 1.0, (SETS, 20))
    effect = welch_test(moments(a), moments(b))
    assert_in_band(covers(effect, difference), 0.95)
    if difference == 0:
        assert_in_band(effect.p_value < 0.05, 0.05)


@pytest.mark.parametrize("method", ["delta", "log", "fieller"])
def test_relative_lift_of_skewed_revenue(method):
    random = np.random.default_rng(4)
    treatment, control = random.gamma(2.0, 1.1, (SETS, 500)), random.gamma(2.0, 1.0, (SETS, 400))
    effect = relative_lift(moments(treatment), moments(control), method=method)
    assert_in_band(covers(effect, 0.1), 0.95)


@pytest.mark.parametrize("method", ["delta", "log", "fieller"])
def test_relative_lift_of_equal_rates(method):
    random = np.random.default_rng(5)
    a, b = random.binomial(9000, 0.03, SETS), random.binomial(9000, 0.03, SETS)
    effect = relative_lift(rate_moments(a, 9000), rate_moments(b, 9000), method=method)
    assert_in_band(covers(effect, 0.0), 0.95)
    assert_in_band(effect.p_value < 0.05, 0.05)


def test_only_fieller_survives_a_control_near_zero():
    random = np.random.default_rng(6)
    treatment, control = random.normal(0.5, 0.2, SETS), random.normal(0.25, 0.2, SETS)
    one = np.ones(SETS)
    arms = Moments(treatment, 100 * 0.2**2 * one, 100 * one), Moments(control, 100 * 0.2**2 * one, 100 * one)
    inside = covers(relative_lift(*arms, method="fieller"), 1.0)
    # Where Fieller's set is not bounded the hull is reported, which covers more often than the set.
    assert inside.sum() >= stats.binom.ppf(0.005, SETS, 0.95)
    bounded = np.isfinite(relative_lift(*arms, method="fieller").low)
    assert 0.1 < bounded.mean() < 0.5


@pytest.mark.parametrize("effect", [0.0, 0.3])
def test_cuped_keeps_its_level_and_is_narrower(effect):
    random = np.random.default_rng(7)
    before = [random.gamma(2.0, size=(SETS, n)) for n in (120, 80)]
    after = [x + random.normal(shift, 1.0, x.shape) for x, shift in zip(before, (effect, 0.0), strict=True)]
    adjusted = welch_test(*cuped(*zip(after, before, strict=True)).arms)
    raw = welch_test(*(moments(y) for y in after))
    assert_in_band(covers(adjusted, effect), 0.95)
    if effect == 0:
        assert_in_band(adjusted.p_value < 0.05, 0.05)
    # half of the variance was known beforehand: Var x / Var y = 2 / 3
    assert np.mean(adjusted.high - adjusted.low) < 0.62 * np.mean(raw.high - raw.low)


@pytest.mark.parametrize("lift", [0.0, 0.2])
def test_ratio_metrics_with_users_as_units(lift):
    random = np.random.default_rng(8)

    def users(rate, count):
        views = 1 + random.poisson(6.0, (SETS, count))
        taste = random.beta(2.0, 2.0 / rate - 2.0, (SETS, count))  # mean `rate`, the same whatever the views
        return random.binomial(views, taste).astype(float), views.astype(float)

    treatment, control = users(0.1 * (1 + lift), 400), users(0.1, 300)
    a, b = ratio_moments(*treatment), ratio_moments(*control)
    difference = welch_test(a, b)
    assert_in_band(covers(difference, 0.1 * lift), 0.95)
    assert_in_band(covers(relative_lift(a, b, method="log"), lift), 0.95)
    if lift == 0:
        assert_in_band(difference.p_value < 0.05, 0.05)
        visits = [(clicks.sum(axis=1), views.sum(axis=1)) for clicks, views in (treatment, control)]
        naive = two_proportion_test(*visits[0], *visits[1]).p_value < 0.05
        assert naive.mean() > 0.07  # what counting visits instead of users does to the level


@pytest.mark.parametrize("weights", [[0.5, 0.5, 0.0], [0.8, 0.1, 0.1], [0.05, 0.15, 0.3, 0.5]])
def test_sample_ratio_of_a_right_split(weights):
    counts = np.random.default_rng(9).multinomial(3000, weights, size=SETS)
    assert_in_band(sample_ratio_test(counts, weights).p_value < 0.05, 0.05)


@pytest.mark.parametrize("arms", [2, 4])
def test_propensities_of_a_thompson_sampler(arms):
    """Every 10 rounds each arm's chance follows from its posterior, with a floor; chances drift apart at random."""
    random = np.random.default_rng(10)
    rates = np.linspace(0.3, 0.4, arms)
    sets, rounds, floor = 2000, 600, 0.04
    won, lost = np.ones((sets, arms)), np.ones((sets, arms))
    chosen, propensities = np.empty((sets, rounds), dtype=int), np.empty((sets, rounds, arms))
    for start in range(0, rounds, 10):
        draws = random.beta(won[:, None], lost[:, None], (sets, 50, arms)).argmax(axis=2)
        share = (draws[..., None] == np.arange(arms)).mean(axis=1)
        e = floor + (1 - arms * floor) * share
        arm = (random.random((sets, 10, 1)) > e.cumsum(axis=1)[:, None]).sum(axis=2).clip(max=arms - 1)
        click = random.random((sets, 10)) < rates[arm]
        played = arm[..., None] == np.arange(arms)
        won += (played & click[..., None]).sum(axis=1)
        lost += (played & ~click[..., None]).sum(axis=1)
        chosen[:, start : start + 10], propensities[:, start : start + 10] = arm, e[:, None]
    result = logged_propensity_test(chosen, propensities)
    assert np.all(result.degrees == arms - 1)
    assert_in_band(result.p_value < 0.05, 0.05)
    assert_in_band(np.abs(result.arm_statistic[:, -1]) > 1.959963984540054, 0.05)
    # Against the design split the same healthy logs would nearly all raise the alarm.
    counts = (chosen[..., None] == np.arange(arms)).sum(axis=1)
    assert np.mean(sample_ratio_test(counts, np.ones(arms)).p_value < 0.05) > 0.8


@pytest.mark.parametrize(
    ("method", "level"), [("holm", 1 - 0.99**5), ("bonferroni", 1 - 0.99**5), ("benjamini-hochberg", 0.05)]
)
def test_families_of_true_hypotheses(method, level):
    """Independent: Holm and Bonferroni reject when the least p is below 0.05 / 5, and Simes' chance is exactly 0.05."""
    p_values = np.random.default_rng(11).random((20_000, 5))
    assert_in_band(np.any(adjust_p_values(p_values, method).p_values <= 0.05, axis=1), level)


def test_paired_comparison_of_replications():
    random = np.random.default_rng(12)
    luck = random.gamma(2.0, size=(2000, 100))
    a = luck + random.gamma(4.0, 0.5, size=luck.shape) - 2.0 + 0.1
    result = paired_comparison(a, luck, random=random, resamples=999)
    assert_in_band(covers(result, 0.1), 0.95)
    assert_in_band((result.bca_low <= 0.1) & (result.bca_high >= 0.1), 0.95)


def test_paired_comparison_without_difference():
    random = np.random.default_rng(13)
    luck = random.gamma(2.0, size=(SETS, 30))
    result = paired_comparison(luck + random.normal(size=luck.shape), luck, random=random, resamples=100)
    assert_in_band(result.p_value < 0.05, 0.05)
    assert_in_band(result.p_wilcoxon < 0.05, 0.05)


def test_aggregates_over_environments():
    random = np.random.default_rng(14)
    centres = np.array([-1.0, 1.0])[:, None]
    a, b = centres + random.normal(0.4, 1.0, (2000, 2, 40)), centres + random.normal(0.0, 1.0, (2000, 2, 40))

    def interval(statistic, *scores):
        return stratified_bootstrap(statistic, *scores, random=random, resamples=300)

    assert_in_band(covers(interval(interquartile_mean, a), 0.4), 0.95)  # symmetric about 0.4
    improvement = special.ndtr(0.4 / math.sqrt(2))
    assert_in_band(covers(interval(probability_of_improvement, a, b), improvement), 0.95)
    profile = interval(lambda s: performance_profile(s, [0.25]), a)
    truth = special.ndtr(centres + 0.4 - 0.25).mean()
    assert_in_band(covers(profile, truth)[:, 0], 0.95)


def test_power_of_the_tests_themselves():
    random = np.random.default_rng(15)
    n = sample_size_two_means(0.6, 1.0)
    rejected = (
        welch_test(moments(random.normal(0.6, 1, (SETS, n))), moments(random.normal(0, 1, (SETS, n)))).p_value < 0.05
    )
    assert_in_band(rejected, float(power_two_means(0.6, 1.0, n)))
    a, b = random.binomial(8000, 0.055, SETS), random.binomial(4000, 0.045, SETS)
    rejected = two_proportion_test(a, 8000, b, 4000).p_value < 0.05
    assert_in_band(rejected, float(power_two_proportions(0.045, 0.01, 4000, ratio=2.0)))


def test_chances_and_losses_are_calibrated_where_the_prior_is_true():
    random = np.random.default_rng(16)
    rates = random.beta(2.0, 30.0, (8000, 3))
    trials = random.integers(20, 400, rates.shape)
    result = bayesian_comparison(random.binomial(trials, rates), trials, prior=(2.0, 30.0))
    best = rates.argmax(axis=1)[:, None] == np.arange(3)
    lost = rates.max(axis=1, keepdims=True) - rates
    for low, high in ((0.0, 0.2), (0.2, 0.6), (0.6, 0.95), (0.95, 1.0)):
        group = (result.chance_to_win > low) & (result.chance_to_win <= high)
        surprise = best[group] - result.chance_to_win[group]
        assert abs(surprise.mean()) < 4 * surprise.std() / math.sqrt(group.sum())
        surprise = lost[group] - result.expected_loss[group]
        assert abs(surprise.mean()) < 4 * surprise.std() / math.sqrt(group.sum())
