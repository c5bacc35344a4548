"""Shares and ratios where what is counted comes in clusters: comparisons that share a control, tests of one story."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.statistics.checks import counts_of, require_fraction
from bandits.statistics.effect import Effect, finite_array, wald_effect
from bandits.statistics.intervals import Interval
from bandits.statistics.means import Moments, ratio_moments
from bandits.statistics.proportions import proportion_interval


def clustered_ratio(
    numerator: ArrayLike, denominator: ArrayLike, cluster: ArrayLike, *, confidence: float = 0.95
) -> Effect:
    """Ratio of two totals, `sum y / sum x`, with a t interval whose unit is the cluster.

    Members of a cluster may depend on one another in any way, clusters may not. With `x = 1` it is a mean over members.
    The p-value is that of a ratio of 0.

    Args:
        numerator: y of each member, shape (B,), finite.
        denominator: x of each member, shape (B,), not negative.
        cluster: Cluster of each member, shape (B,).
        confidence: Coverage, in (0, 1); asymptotic in the number of clusters.

    Returns:
        Scalars. All are nan where the denominators sum to 0; interval and p-value also with a single cluster, and where
        every cluster has the same ratio: no spread was seen.

    References:
        Deng, Knoblich & Lu, "Applying the delta method in metric analytics" (2018).

    >>> clustered_ratio([1.0, 0.0, 3.0, 2.0], [1, 1, 2, 1], ["a", "a", "b", "c"]).estimate
    array(1.2)
    """
    ratio = _by_cluster(numerator, denominator, cluster)
    error = np.sqrt(ratio.variance / ratio.units)
    degrees = np.maximum(ratio.units - 1, 1)
    return wald_effect(
        ratio.mean, error, confidence=confidence, method="ratio of totals, t over clusters", degrees=degrees
    )


def clustered_proportion(
    successes: ArrayLike, trials: ArrayLike, cluster: ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """A share with Wilson's interval at the number of independent trials that is worth as much as the clusters are.

    With the variance `v` of the share over clusters that number is `p (1 - p) / v`, at most the trials there are. Where
    all clusters have the same share (0, 1 or another) there is nothing to estimate `v` from, and each cluster with
    trials counts as one trial, as if its members always agreed.

    Args:
        successes: Of each member, shape (B,), between 0 and `trials`; may be fractions, such as averages over random
            repetitions.
        trials: Of each member, shape (B,), not negative.
        cluster: Cluster of each member, shape (B,).
        confidence: Coverage, in (0, 1); asymptotic in the number of clusters.

    Returns:
        Scalars; all nan without any trial.

    References:
        Kish, "Survey sampling" (1965), on design effects; Korn & Graubard, "Confidence intervals for proportions with
        small expected number of positive counts estimated from survey data" (1998).

    >>> interval = clustered_proportion([1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1])
    >>> interval.low.round(3), interval.high.round(3)
    (np.float64(0.055), np.float64(0.945))
    """
    require_fraction("confidence", confidence)
    count, total = counts_of(successes, trials)
    ratio = _by_cluster(count, total, cluster)
    share = float(ratio.mean)
    if np.isnan(share):
        return Interval(*(np.asarray(np.nan) for _ in range(3)))
    binomial, variance = share * (1 - share), float(ratio.variance / ratio.units)
    if variance > 0:
        worth = min(binomial / variance, total.sum())
    else:
        worth = float(len(np.unique(np.asarray(cluster)[total > 0])))
    return proportion_interval(share * worth, worth, confidence=confidence)


def _by_cluster(numerator: ArrayLike, denominator: ArrayLike, cluster: ArrayLike) -> Moments:
    y, x = finite_array("numerator", numerator), finite_array("denominator", denominator)
    names = np.asarray(cluster)
    if y.ndim != 1 or y.shape != x.shape or names.shape != y.shape:
        raise ValueError(
            "`numerator`, `denominator` and `cluster` must be vectors of one length. "
            f"Got shapes {y.shape}, {x.shape} and {names.shape}."
        )
    index: NDArray[np.int64] = np.unique(names, return_inverse=True)[1]
    return ratio_moments(np.bincount(index, weights=y), np.bincount(index, weights=x))
