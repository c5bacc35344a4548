"""Shares and ratios of clustered members: against the unclustered formulas, by hand, and over many data sets."""

import numpy as np
import pytest
from scipy import stats as reference

from bandits.statistics import clustered_proportion, clustered_ratio, moments, proportion_interval


def test_ratio_with_one_member_per_cluster_is_the_t_interval_of_a_mean():
    values = np.array([0.3, -1.2, 2.5, 0.9, 0.1])
    got = clustered_ratio(values, np.ones(5), np.arange(5))
    expected = reference.t.interval(0.95, 4, values.mean(), values.std(ddof=1) / np.sqrt(5))
    np.testing.assert_allclose((got.low, got.high), expected, atol=1e-12)
    np.testing.assert_allclose(got.p_value, reference.ttest_1samp(values, 0).pvalue, atol=1e-12)


def test_ratio_of_totals_by_hand():
    y, x, cluster = [1.0, 0.0, 3.0, 2.0], [1.0, 1.0, 2.0, 1.0], ["a", "a", "b", "c"]
    ratio = 6 / 5
    residual = np.array([1 - ratio * 2, 3 - ratio * 2, 2 - ratio * 1])  # sums of a, b, c
    error = np.sqrt(residual.var(ddof=1) / 3) / (5 / 3)
    got = clustered_ratio(y, x, cluster)
    np.testing.assert_allclose((got.high - got.estimate) / reference.t.ppf(0.975, 2), error, atol=1e-12)


def test_members_that_agree_count_once():
    """Doubling every member leaves the interval as it was: there are no more clusters than before."""
    random = np.random.default_rng(1)
    wins = random.random(60) < 0.3
    once = clustered_proportion(wins, np.ones(60), np.arange(60))
    twice = clustered_proportion(np.repeat(wins, 2), np.ones(120), np.repeat(np.arange(60), 2))
    np.testing.assert_allclose(np.array(once), np.array(twice), atol=1e-12)
    variance = moments(wins).variance / 60  # with n - 1, so worth one trial less than there are
    worth = wins.mean() * (1 - wins.mean()) / variance
    assert worth == pytest.approx(59)
    np.testing.assert_allclose(np.array(once), np.array(proportion_interval(wins.mean() * 59, 59)), atol=1e-12)


def test_members_that_disagree_never_count_for_more_than_there_are():
    got = clustered_proportion([1, 0, 1, 0, 1, 1], np.ones(6), [0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(np.array(got), np.array(proportion_interval(4, 6)), atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_clusters_without_any_difference_count_as_one_trial_each(share):
    trials = np.array([1, 1, 0, 1, 0])
    got = clustered_proportion(share * trials, trials, ["a", "a", "a", "b", "c"])
    np.testing.assert_allclose(np.array(got), np.array(proportion_interval(2 * share, 2)), atol=1e-12)


def test_nothing_asked_gives_nan():
    assert np.isnan(clustered_proportion([0, 0], [0, 0], [1, 2])).all()
    assert np.isnan(clustered_ratio([0.0, 0.0], [0.0, 0.0], [1, 2])[:4]).all()


def test_one_cluster_has_a_ratio_but_no_interval():
    got = clustered_ratio([1.0, 2.0], [1.0, 1.0], [0, 0])
    assert got.estimate == 1.5
    assert np.isnan(got.low)


@pytest.mark.statistics
@pytest.mark.parametrize(("rate", "clusters"), [(0.4, 60), (0.12, 150)])
def test_coverage_where_members_of_a_cluster_depend(rate, clusters):
    """Three members share their luck half of the time; an unclustered interval would cover far less."""
    random, covered, naive = np.random.default_rng(7), 0, 0
    for _ in range(2000):
        common = random.random((clusters, 1)) < rate
        own = random.random((clusters, 3)) < rate
        wins = np.where(random.random((clusters, 1)) < 0.5, common, own).ravel()
        names = np.repeat(np.arange(clusters), 3)
        _, low, high = clustered_proportion(wins, np.ones(wins.size), names)
        covered += low <= rate <= high
        _, low, high = proportion_interval(wins.sum(), wins.size)
        naive += low <= rate <= high
    # Wilson's own coverage wobbles by half a point at these sizes; the band allows for that and for 2,000 draws.
    assert 0.935 <= covered / 2000 <= 0.967
    assert naive / 2000 < 0.90


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: clustered_proportion([2], [1], [0]), "`successes` must lie between"),
        (lambda: clustered_proportion([1, 0], [1, 1], [0]), "vectors of one length"),
        (lambda: clustered_proportion([1], [1], [0], confidence=95), "`confidence` must lie strictly"),
        (lambda: clustered_ratio([1.0], [1.0, 1.0], [0, 0]), "vectors of one length"),
        (lambda: clustered_ratio([1.0, 1.0], [1.0, 1.0], [0]), "vectors of one length"),
        (lambda: clustered_ratio([1.0], [-1.0], [0]), "`denominator` must not be negative"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
