"""Statistics against hand-computed arrays, scipy, statsmodels and published numbers."""

import math
import subprocess
import sys
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from scipy import stats as reference
from statsmodels.stats.proportion import proportions_ztest, samplesize_proportions_2indep_onetail

from bandits.statistics import (
    kendall_tau_b,
    mean_interval,
    minimum_detectable_effect,
    paired_difference,
    proportion_interval,
    ranking_agreement,
    replications_needed,
    sample_size_two_proportions,
    two_proportion_test,
)


def test_mean_interval_by_hand():
    # mean 5, sd sqrt(42/3); t_{3, .975} = 3.182446 from the tables
    interval = mean_interval([1.0, 4.0, 5.0, 10.0])
    half = 3.182446305284263 * math.sqrt(42 / 3) / 2
    assert interval.estimate == 5.0
    np.testing.assert_allclose([interval.low, interval.high], [5 - half, 5 + half], rtol=1e-10)


def test_mean_interval_of_a_curve_is_the_interval_of_each_row():
    values = np.random.default_rng(1).normal(size=(6, 17)) * np.arange(1, 7)[:, None]
    interval = mean_interval(values, confidence=0.9)
    assert interval.low.shape == (6,)
    for row, values_of_row in enumerate(values):
        expected = reference.ttest_1samp(values_of_row, 0).confidence_interval(0.9)
        np.testing.assert_allclose([interval.low[row], interval.high[row]], expected, rtol=1e-12)


def test_one_replication_has_no_interval():
    interval = mean_interval([[3.0], [4.0]])
    np.testing.assert_array_equal(interval.estimate, [3.0, 4.0])
    assert np.isnan(interval.low).all()
    assert np.isnan(interval.high).all()


def test_worlds_are_the_unit_and_weigh_the_same():
    values, world = [1.0, 3.0, 10.0, 20.0, 30.0, 7.0], ["a", "a", "b", "b", "b", "c"]
    by_hand = mean_interval([2.0, 20.0, 7.0])
    interval = mean_interval(values, world)
    np.testing.assert_allclose(interval, by_hand, rtol=1e-12)
    np.testing.assert_allclose(mean_interval([values, values], world).high, [by_hand.high] * 2, rtol=1e-12)


def test_one_world_leaves_the_replications_as_units():
    np.testing.assert_array_equal(mean_interval([1.0, 2.0, 4.0], [7, 7, 7]), mean_interval([1.0, 2.0, 4.0]))


def test_paired_difference_is_the_paired_t_test():
    random = np.random.default_rng(2)
    luck = random.normal(size=40)
    a, b = luck + random.normal(scale=0.1, size=40), luck
    interval = paired_difference(a, b)
    expected = reference.ttest_rel(a, b).confidence_interval()
    np.testing.assert_allclose([interval.low, interval.high], expected, rtol=1e-12)
    assert interval.high - interval.low < 0.2  # unpaired it would be about 0.9
    np.testing.assert_allclose(paired_difference(b, a).estimate, -interval.estimate)


def test_replications_needed():
    assert replications_needed(1.0, 10.0) == math.ceil((1.959963984540054 * 10) ** 2)
    assert replications_needed(5.0, 0.0) == 2
    with pytest.raises(ValueError, match=r"`half_width` must be positive. Got 0"):
        replications_needed(0, 1.0)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: mean_interval([]), r"`values` must have at least one replication.*\(0,\)"),
        (lambda: mean_interval(3.0), r"`values` must have at least one replication"),
        (lambda: mean_interval([1.0, 2.0], [0]), r"`world` must have shape \(2,\).*Got \(1,\)"),
        (lambda: mean_interval([1.0, 2.0], confidence=95), r"`confidence` must lie strictly between 0 and 1. Got 95"),
        (lambda: paired_difference([1.0], [1.0, 2.0]), r"same shape.*\(1,\) and \(2,\)"),
        (lambda: proportion_interval(3, 2), r"`successes` must lie between 0 and `trials`. Got 3 of 2"),
        (lambda: proportion_interval(3, math.inf), r"`trials` must be finite. Got inf"),
        (lambda: proportion_interval(1, 2, confidence=95), r"`confidence` must lie strictly between 0 and 1. Got 95"),
        (lambda: two_proportion_test(1, 2, 5, 4), r"`successes_b` must lie between 0 and `trials_b`. Got 5 of 4"),
        (lambda: two_proportion_test(0, 0, 1, 2), r"`trials_b` must be at least 1"),
        (lambda: sample_size_two_proportions(0.1, 0.0), r"`minimum_effect` must not be 0"),
        (lambda: sample_size_two_proportions(0.1, 0.9), r"must lie in \(0, 1\). Got 0.9 with baseline 0.1"),
        (lambda: sample_size_two_proportions(0.1, 0.1, power=0.01), r"`power` must lie between `alpha` \(0.05\) and 1"),
        (lambda: minimum_detectable_effect(1.2, 10), r"`baseline` must lie strictly between 0 and 1. Got 1.2"),
        (lambda: minimum_detectable_effect(0.2, 0), r"`n` must be positive. Got 0"),
        (lambda: ranking_agreement({"A": [1.0]}, {"B": [1.0]}), r"`model_results` must name the policies.*\['A'\]"),
        (lambda: ranking_agreement({"A": [1.0]}, {"A": [1.0]}), r"at least two policies. Got \['A'\]"),
        (lambda: kendall_tau_b([1, 2], [1]), r"vectors of one length"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_wilson_against_published_numbers():
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, score method
    low, high = proportion_interval([81, 15, 0, 1], [263, 148, 20, 29])[1:]
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0.0, 0.0061], atol=5e-5)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=5e-5)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.9999])
def test_wilson_ends_are_where_the_score_test_just_rejects(confidence):
    """`|p_hat - p| = z sqrt(p (1 - p) / n)`, in 40 digits."""
    mpmath.mp.dps = 40
    z = mpmath.sqrt(2) * mpmath.erfinv(mpmath.mpf(confidence))
    for count, total in [(1, 29), (15, 148), (0, 20), (20, 20), (77_000, 200_000)]:
        _, *ends = proportion_interval(count, total, confidence=confidence)
        rate, n = mpmath.mpf(count) / total, mpmath.mpf(total)
        root = z * mpmath.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
        for end, sign in zip(ends, (-1, 1), strict=True):
            expected = (rate + z**2 / (2 * n) + sign * root) / (1 + z**2 / n)
            assert float(end) == pytest.approx(float(expected), abs=1e-12)


def test_no_trials_no_proportion():
    interval = proportion_interval([0, 5], [0, 10])
    assert np.isnan([values[0] for values in interval]).all()
    assert interval.estimate[1] == 0.5


def test_two_proportion_test_against_statsmodels():
    counts = [(30, 400, 55, 410), (9, 20, 3, 25), (5, 5, 1, 9)]
    ours = two_proportion_test(*np.array(counts).T)
    for row, (a, n_a, b, n_b) in enumerate(counts):
        z, p_value = proportions_ztest([a, b], [n_a, n_b])
        np.testing.assert_allclose([ours.statistic[row], ours.p_value[row]], [z, p_value], rtol=1e-12)
        np.testing.assert_allclose(ours.difference[row], a / n_a - b / n_b)


@pytest.mark.parametrize("count", [0, 50])
def test_no_variance_is_no_evidence(count):
    result = two_proportion_test(count, 50, count * 2, 100)
    assert (result.statistic, result.p_value) == (0.0, 1.0)


@pytest.mark.parametrize(("baseline", "effect"), [(0.10, 0.02), (0.043, 0.01), (0.5, -0.1), (0.01, 0.002)])
@pytest.mark.parametrize("power", [0.8, 0.95])
def test_sample_size_against_statsmodels(baseline, effect, power):
    expected = samplesize_proportions_2indep_onetail(effect, baseline, power, alpha=0.05, alternative="two-sided")
    assert sample_size_two_proportions(baseline, effect, power=power) == math.ceil(expected)


def test_published_sample_size():
    assert sample_size_two_proportions(0.10, 0.02) == 3841


@pytest.mark.parametrize("baseline", [0.01, 0.045, 0.3, 0.9])
def test_detectable_effect_inverts_the_sample_size(baseline):
    sizes = [300, 3_000, 50_000, 2_000_000]
    effects = [minimum_detectable_effect(baseline, n) for n in sizes]
    assert all(a > b for a, b in pairwise(effects))
    assert [sample_size_two_proportions(baseline, effect * (1 + 1e-9)) for effect in effects] == sizes


def test_nothing_is_detectable_with_two_visitors():
    assert math.isnan(minimum_detectable_effect(0.5, 2))


def test_kendall_tau_b_with_ties_by_enumeration():
    a, b = np.array([1, 2, 2, 4, 5]), np.array([3, 1, 4, 4, 9])
    i, j = np.triu_indices(5, 1)
    signs_a, signs_b = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    expected = (signs_a * signs_b).sum() / math.sqrt((signs_a**2).sum() * (signs_b**2).sum())
    assert kendall_tau_b(a, b) == pytest.approx(expected)
    assert math.isnan(kendall_tau_b([1, 1], [1, 2]))


def test_ranking_agreement_by_hand():
    luck = np.array([-1.0, 0.0, 1.0])
    true = {
        "A": luck,
        "B": luck + np.array([1.0, 1.1, 0.9]),
        "C": luck + np.array([5.0, 5.1, 5.2]),
        "D": [9.0, -9.0, 0.5],
    }
    model = {"A": [0.0], "B": [2.0], "C": [1.0], "D": [3.0]}
    # Certain pairs: A < B, A < C, B < C (D is all over the place); the model has B and C the wrong way round.
    result = ranking_agreement(true, model)
    assert (result.num_pairs, result.num_same) == (3, 2)
    assert result.share == pytest.approx(2 / 3)
    # True means 0, 1, 5.1, 1/6 order A D B C; the model says A C B D: of six pairs, three agree.
    assert result.tau_b == pytest.approx(0.0)


def test_ranking_agreement_without_certain_pairs_is_nan_and_ties_do_not_agree():
    noise = {"A": [1.0, -1.0], "B": [-1.0, 1.0]}
    assert math.isnan(ranking_agreement(noise, noise).share)
    true = {"A": [1.0, 1.1, 1.2], "B": [2.0, 2.0, 2.0]}
    assert ranking_agreement(true, {"A": [1.0], "B": [1.0]}).num_same == 0


def test_model_worlds_weigh_the_same():
    true = {"A": [0.0, 0.1, 0.2], "B": [1.0, 1.1, 1.3]}
    model = {"A": [0.0, 0.0, 0.0, 9.0], "B": [1.0, 1.0, 1.0, 2.0]}
    assert ranking_agreement(true, model).num_same == 0
    assert ranking_agreement(true, model, model_world=[0, 0, 0, 1]).num_same == 0
    model["A"][3] = 3.5
    assert ranking_agreement(true, model).num_same == 1  # 0.875 < 1.25, but 1.75 > 1.5 world by world
    assert ranking_agreement(true, model, model_world=[0, 0, 0, 1]).num_same == 0


@pytest.mark.statistics
@pytest.mark.parametrize("worlds", [None, 8])
def test_paired_interval_covers_the_truth(worlds):
    """1,000 experiments at 95 percent: 931 to 967 is the central 99 percent of the binomial."""
    random = np.random.default_rng(3)
    experiments, replications = 1000, 24
    luck = random.gamma(2.0, size=(experiments, replications))
    a = luck + random.normal(0.3, 1.0, size=luck.shape)
    world = None
    if worlds:
        world = np.arange(replications) % worlds
        a += random.normal(0.0, 2.0, size=(experiments, worlds))[:, world]
    interval = paired_difference(a, luck, world)
    assert 931 <= np.sum((interval.low < 0.3) & (interval.high > 0.3)) <= 967


@pytest.mark.statistics
def test_replications_alone_would_miss_the_spread_of_worlds():
    random = np.random.default_rng(4)
    world = np.arange(40) % 4
    values = random.normal(0.0, 1.0, size=(500, 40)) + random.normal(0.0, 2.0, size=(500, 4))[:, world]
    naive = mean_interval(values)
    assert np.mean((naive.low < 0) & (naive.high > 0)) < 0.7


@pytest.mark.statistics
def test_sample_size_gives_its_power():
    n = sample_size_two_proportions(0.045, 0.01)
    random = np.random.default_rng(5)
    result = two_proportion_test(random.binomial(n, 0.045, 4000), n, random.binomial(n, 0.055, 4000), n)
    assert np.mean(result.p_value < 0.05) == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 4000))


def test_import_is_cheap():
    script = "import sys, bandits.statistics as s; s.sample_size_two_proportions(.1, .02); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"statsmodels", "pandas", "scipy.stats", "matplotlib"} & set(loaded)
