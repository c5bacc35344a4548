"""How good predicted click rates are, on aggregated rows.

A row counts as `impressions` coin tosses with `clicks` heads.

All functions take arrays of shape (n,): `p` predicted rates in (0, 1), `impressions` and `clicks` counts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import xlogy
from sklearn.metrics import roc_auc_score

from bandits.reward_models.within_test import FloatArray, IntArray
from bandits.statistics import proportion_interval, two_proportion_test


def log_loss(p: FloatArray, impressions: FloatArray, clicks: FloatArray) -> float:
    """Negative log-likelihood per impression, in nats.

    >>> round(log_loss(np.array([0.5]), np.array([4.0]), np.array([1.0])), 4)
    0.6931
    """
    return float(-np.sum(xlogy(clicks, p) + xlogy(impressions - clicks, 1 - p)) / np.sum(impressions))


def normalized_entropy(p: FloatArray, impressions: FloatArray, clicks: FloatArray) -> float:
    """Log loss over that of the best constant prediction for these very rows; below 1 is better than it.

    References:
        He et al. (2014), "Practical lessons from predicting clicks on ads at Facebook".
    """
    rate = np.full(len(p), np.sum(clicks) / np.sum(impressions))
    return log_loss(p, impressions, clicks) / log_loss(rate, impressions, clicks)


def auc(p: FloatArray, impressions: FloatArray, clicks: FloatArray) -> float:
    """Chance that an impression with a click was predicted higher than one without; ties count half."""
    labels = np.repeat([1, 0], len(p))
    return float(roc_auc_score(labels, np.tile(p, 2), sample_weight=np.concatenate([clicks, impressions - clicks])))


def brier(p: FloatArray, impressions: FloatArray, clicks: FloatArray) -> float:
    """Mean squared difference between prediction and outcome, per impression."""
    return float(np.sum(clicks * (1 - p) ** 2 + (impressions - clicks) * p**2) / np.sum(impressions))


@dataclass(frozen=True)
class ReliabilityBin:
    """Impressions that were predicted about alike.

    Attributes:
        predicted: Mean predicted rate.
        observed: Clicks per impression.
        low: Lower end of the 95 percent Wilson interval of `observed`.
        high: Upper end.
        impressions: Impressions in the bin.
    """

    predicted: float
    observed: float
    low: float
    high: float
    impressions: float


def equal_mass(shown: FloatArray, bins: int) -> IntArray:
    """Bin 0..bins-1 of each of the values whose impressions are `shown`, in their order, by the middle of its mass."""
    middle = (np.cumsum(shown) - shown / 2) / shown.sum()
    found: IntArray = np.minimum(np.floor(middle * bins), bins - 1).astype(np.int64)
    return found


def bins_of_rows(p: FloatArray, impressions: FloatArray, *, bins: int = 10) -> IntArray:
    """Number of each row's bin of `reliability`, from 0, shape (n,)."""
    place = np.unique(p, return_inverse=True)[1]
    shown: FloatArray = np.bincount(place, weights=impressions).astype(np.float64)
    found = equal_mass(shown, bins)[place]
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def reliability(p: FloatArray, impressions: FloatArray, clicks: FloatArray, *, bins: int = 10) -> list[ReliabilityBin]:
    """At most `bins` bins of about equal impressions, by increasing prediction; rows predicted alike stay together."""
    bin_of = bins_of_rows(p, impressions, bins=bins)
    n, c, e = (np.bincount(bin_of, weights=values) for values in (impressions, clicks, p * impressions))
    rate, low, high = proportion_interval(c, n)
    return [
        ReliabilityBin(*(float(value) for value in values)) for values in zip(e / n, rate, low, high, n, strict=True)
    ]


def expected_calibration_error(p: FloatArray, impressions: FloatArray, clicks: FloatArray, *, bins: int = 10) -> float:
    """Mean distance between predicted and observed rate over the bins of `reliability`, weighted by impressions."""
    found = reliability(p, impressions, clicks, bins=bins)
    return sum(b.impressions * abs(b.predicted - b.observed) for b in found) / float(np.sum(impressions))


@dataclass(frozen=True)
class Classification:
    """What comes of calling impressions clicks where the predicted rate reaches a threshold.

    Attributes:
        threshold: The threshold.
        flagged: Share of the impressions that are called clicks.
        precision: Clicks per impression called a click; None where none is.
        recall: Share of the clicks that are called so; None without clicks.
        f1: Harmonic mean of both, 2 TP / (2 TP + FP + FN); None without clicks where none is called one.
    """

    threshold: float
    flagged: float
    precision: float | None
    recall: float | None
    f1: float | None


def classification(p: FloatArray, impressions: FloatArray, clicks: FloatArray, *, threshold: float) -> Classification:
    """Precision, recall and F1, each impression counted once.

    They say little of a click model, which is to be right about rates of a few percent; the threshold decides them.

    >>> classification(np.array([0.3, 0.1]), np.array([10.0, 10.0]), np.array([4.0, 1.0]), threshold=0.2)
    Classification(threshold=0.2, flagged=0.5, precision=0.4, recall=0.8, f1=0.5333333333333333)

    Raises:
        ValueError: When `threshold` is not in [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"`threshold` must lie in [0, 1]. Got {threshold}.")
    called = p >= threshold
    flagged, hits, all_clicks = float(impressions[called].sum()), float(clicks[called].sum()), float(clicks.sum())

    def share(part: float, whole: float) -> float | None:
        return part / whole if whole > 0 else None

    return Classification(
        threshold,
        flagged / float(impressions.sum()),
        share(hits, flagged),
        share(hits, all_clicks),
        share(2 * hits, flagged + all_clicks),
    )


def observed_over_predicted(p: FloatArray, impressions: FloatArray, clicks: FloatArray) -> float:
    """Clicks over predicted clicks; 1 is right, above 1 the prediction is too low."""
    return float(np.sum(clicks) / np.sum(p * impressions))


def top_pick(p: FloatArray, owner: IntArray) -> IntArray:
    """Row with each owner's highest prediction (owner: a user or contrast), shape (owners,); the first among equals."""
    order = np.lexsort((-p, owner))
    _, first = np.unique(owner[order], return_index=True)
    rows: IntArray = order[first]
    return rows


@dataclass(frozen=True)
class PairwiseAccuracy:
    """How often the higher-scored of two items of a contrast had the higher click rate.

    Attributes:
        accuracy: Share of the pairs in the right order; equal scores count half; None without pairs.
        pairs: Pairs with different click rates.
        accuracy_significant: The same over pairs that differ with p < 0.05 in a two-proportion z test.
        pairs_significant: Number of these.
    """

    accuracy: float | None
    pairs: int
    accuracy_significant: float | None
    pairs_significant: int


@dataclass(frozen=True, eq=False)
class DifferingPairs:
    """Pairs of rows of one contrast whose click rates differ.

    Attributes:
        a: One row of each pair, shape (pairs,).
        b: The other.
        sign: 1 where `a` has the higher click rate, -1 where `b` has.
        significant: Whether the pair differs with p < 0.05 in a two-proportion z test.
    """

    a: IntArray
    b: IntArray
    sign: FloatArray
    significant: NDArray[np.bool_]

    def ordered_right(self, scores: FloatArray) -> FloatArray:
        """1 where scores (of all rows) order a pair as click rates do, 1/2 where they are equal, else 0."""
        right: FloatArray = 0.5 + 0.5 * np.sign(scores[self.a] - scores[self.b]) * self.sign
        return right


def differing_pairs(impressions: FloatArray, clicks: FloatArray, contrast: IntArray) -> DifferingPairs:
    """All pairs of rows of the same contrast with different click rates; arrays of shape (n,)."""
    frame = pd.DataFrame({"contrast": contrast, "row": np.arange(len(contrast))})
    both = frame.merge(frame, on="contrast", suffixes=("_a", "_b"))
    both = both[both["row_a"] < both["row_b"]]
    a, b = both["row_a"].to_numpy(), both["row_b"].to_numpy()
    rate = clicks / impressions
    differs = rate[a] != rate[b]
    a, b = a[differs], b[differs]
    significant = two_proportion_test(clicks[a], impressions[a], clicks[b], impressions[b]).p_value < 0.05
    return DifferingPairs(a, b, np.sign(rate[a] - rate[b]), significant)


def pairwise_accuracy(
    scores: FloatArray, impressions: FloatArray, clicks: FloatArray, contrast: IntArray
) -> PairwiseAccuracy:
    """Compare all pairs of rows of the same contrast; `scores` of any scale, all of shape (n,)."""
    pairs = differing_pairs(impressions, clicks, contrast)
    right = pairs.ordered_right(scores)
    chosen = pairs.significant
    return PairwiseAccuracy(_mean(right), len(right), _mean(right[chosen]), int(chosen.sum()))


def summary(
    p: FloatArray, impressions: FloatArray, clicks: FloatArray, owner: IntArray
) -> dict[str, float | int | None]:
    """All of the numbers above by name; `owner` numbers the user (or contrast) of each row, for the top pick."""
    top = top_pick(p, owner)
    rates = (p, impressions, clicks)
    return {
        "log_loss": log_loss(*rates),
        "normalized_entropy": normalized_entropy(*rates),
        "auc": auc(*rates),
        "brier": brier(*rates),
        "ece": expected_calibration_error(*rates),
        "observed_over_predicted": observed_over_predicted(*rates),
        "observed_over_predicted_top_pick": observed_over_predicted(p[top], impressions[top], clicks[top]),
    }


def bins_as_dicts(bins: list[ReliabilityBin]) -> list[dict[str, float]]:
    """Reliability bins as plain values."""
    return [asdict(b) for b in bins]


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None
