"""Metrics on aggregated rows against scikit-learn and statsmodels on rows expanded into single impressions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, precision_recall_fscore_support, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss
from statsmodels.stats.proportion import proportion_confint, proportions_ztest

from bandits.reward_models import metrics

Arrays = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@pytest.fixture
def rows() -> Arrays:
    random = np.random.default_rng(0)
    p = np.round(random.beta(1, 9, 50), 2) + 0.005  # rounding makes ties
    impressions = random.integers(1, 60, 50)
    clicks = random.binomial(impressions, np.clip(1.3 * p, 0, 1))
    return p, impressions.astype(float), clicks.astype(float)


def expanded(rows: Arrays) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """One entry per impression: whether it was clicked, and its prediction."""
    p, impressions, clicks = rows
    outcomes = [[1] * int(c) + [0] * int(n - c) for n, c in zip(impressions, clicks, strict=True)]
    return np.concatenate(outcomes).astype(np.int64), np.repeat(p, impressions.astype(int))


def test_scores_equal_those_of_expanded_rows(rows: Arrays) -> None:
    outcome, p = expanded(rows)
    assert metrics.log_loss(*rows) == pytest.approx(sklearn_log_loss(outcome, p), rel=1e-12)
    assert metrics.auc(*rows) == pytest.approx(roc_auc_score(outcome, p), rel=1e-12)
    assert metrics.brier(*rows) == pytest.approx(brier_score_loss(outcome, p), rel=1e-12)
    constant = sklearn_log_loss(outcome, np.full(len(p), outcome.mean()))
    assert metrics.normalized_entropy(*rows) == pytest.approx(sklearn_log_loss(outcome, p) / constant, rel=1e-12)
    assert metrics.observed_over_predicted(*rows) == pytest.approx(outcome.sum() / p.sum(), rel=1e-12)


def test_reliability_bins_hold_all_impressions_and_wilson_intervals(rows: Arrays) -> None:
    bins = metrics.reliability(*rows, bins=6)
    assert sum(b.impressions for b in bins) == rows[1].sum()
    assert sum(b.observed * b.impressions for b in bins) == pytest.approx(rows[2].sum())
    assert np.all(np.diff([b.predicted for b in bins]) > 0)
    share = rows[1].sum() / 6
    assert max(b.impressions for b in bins) < 2 * share
    for b in bins:
        low, high = proportion_confint(round(b.observed * b.impressions), b.impressions, method="wilson")
        assert (b.low, b.high) == pytest.approx((low, high))


def test_calibration_error_of_two_known_bins() -> None:
    p, impressions, clicks = np.array([0.1, 0.3]), np.array([100.0, 100.0]), np.array([14.0, 28.0])
    assert metrics.expected_calibration_error(p, impressions, clicks, bins=2) == pytest.approx((0.04 + 0.02) / 2)


def test_rows_predicted_alike_share_a_bin() -> None:
    p, ones = np.full(7, 0.2), np.ones(7)
    assert len(metrics.reliability(p, ones, np.zeros(7), bins=5)) == 1


def test_top_pick_is_each_owners_best() -> None:
    p = np.array([0.1, 0.5, 0.3, 0.3, 0.2])
    assert metrics.top_pick(p, np.array([0, 0, 1, 1, 1])).tolist() == [1, 2]


def test_pairwise_accuracy_equals_a_loop_over_pairs() -> None:
    random = np.random.default_rng(1)
    contrast = random.integers(0, 12, 60)
    scores = random.integers(0, 4, 60).astype(float)  # few values, so that scores tie
    impressions = random.integers(200, 3000, 60).astype(float)
    clicks = random.binomial(impressions.astype(int), random.uniform(0.01, 0.05, 60)).astype(float)
    clicks[1], impressions[1], contrast[1] = clicks[0], impressions[0], contrast[0]  # a pair without a difference
    right, right_significant = [], []
    for a, b in combinations(range(60), 2):
        difference = clicks[a] / impressions[a] - clicks[b] / impressions[b]
        if contrast[a] != contrast[b] or difference == 0:
            continue
        agrees = 0.5 if scores[a] == scores[b] else float((scores[a] > scores[b]) == (difference > 0))
        right.append(agrees)
        if proportions_ztest(clicks[[a, b]], impressions[[a, b]])[1] < 0.05:
            right_significant.append(agrees)
    found = metrics.pairwise_accuracy(scores, impressions, clicks, contrast)
    assert (found.pairs, found.pairs_significant) == (len(right), len(right_significant))
    assert found.accuracy == pytest.approx(np.mean(right))
    assert found.accuracy_significant == pytest.approx(np.mean(right_significant))
    assert 0 < len(right_significant) < len(right)


def test_pairwise_accuracy_without_pairs_is_none() -> None:
    one = np.ones(1)
    found = metrics.pairwise_accuracy(one, one, one, np.zeros(1, dtype=np.int64))
    assert (found.accuracy, found.pairs, found.accuracy_significant) == (None, 0, None)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.25])
def test_classification_equals_that_of_expanded_rows(rows: Arrays, threshold: float) -> None:
    outcome, p = expanded(rows)
    precision, recall, f1, _ = precision_recall_fscore_support(outcome, p >= threshold, average="binary")
    found = metrics.classification(*rows, threshold=threshold)
    assert (found.precision, found.recall, found.f1) == pytest.approx((precision, recall, f1), rel=1e-12)
    assert found.flagged == pytest.approx(np.mean(p >= threshold))


def test_classification_without_clicks_or_calls_has_none() -> None:
    p, n, c = np.array([0.1, 0.2]), np.array([10.0, 10.0]), np.array([1.0, 3.0])
    above = metrics.classification(p, n, c, threshold=0.5)
    assert (above.flagged, above.precision, above.recall, above.f1) == (0.0, None, 0.0, 0.0)
    unclicked = metrics.classification(p, n, np.zeros(2), threshold=0.15)
    assert (unclicked.precision, unclicked.recall, unclicked.f1) == (0.0, None, 0.0)
    assert metrics.classification(p, n, np.zeros(2), threshold=0.5).f1 is None
    with pytest.raises(ValueError, match=r"`threshold` must lie in \[0, 1\]. Got 1.5"):
        metrics.classification(p, n, c, threshold=1.5)
