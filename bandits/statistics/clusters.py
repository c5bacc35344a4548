"""Shares and ratios where what is counted comes in clusters: comparisons that share a control, tests of one story."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.statistics.checks import counts_of, require_fraction
from bandits.statistics.effect import Effect, finite_array, wald_effect
from bandits.statistics.intervals import Interval, mean_with_error
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


def share_between(values: ArrayLike, cluster: ArrayLike, block: ArrayLike | None = None) -> float:
    """How much of the variance of a mean is there because clusters differ: 0 where they differ by chance alone.

    The mean is that of `mean_with_error` with clusters for worlds, or crossed with blocks. The variance between the
    clusters' own means, less what their members' spread explains of it (a method-of-moments estimate of a random
    effect, not below 0), is put in relation to the mean's squared standard error.

    Args:
        values: One number per member, shape (N,), finite.
        cluster: Cluster of each member, shape (N,), at least two.
        block: Block of each member, shape (N,), where the same blocks (A/B tests, say) appear in every cluster: what a
            block has in common then counts for no cluster. None without blocks; a single block counts as none.

    Returns:
        In [0, 1]; nan where a cluster has a single member (or block), or no cluster differs from another at all.

    References:
        Searle, Casella & McCulloch, "Variance components" (1992), chapter 4.

    >>> round(share_between([1.0, 1.2, 3.0, 3.2], [0, 0, 1, 1]), 3)
    0.995
    """
    array, names = finite_array("values", values), np.asarray(cluster)
    blocks = np.zeros(array.shape, dtype=np.int64) if block is None else np.asarray(block)
    if array.ndim != 1 or names.shape != array.shape or blocks.shape != array.shape:
        raise ValueError(
            "`values`, `cluster` and `block` must be vectors of one length. "
            f"Got shapes {array.shape}, {names.shape} and {blocks.shape}."
        )
    clusters, blocks = (np.unique(given, return_inverse=True)[1] for given in (names, blocks))
    count = int(clusters.max()) + 1
    if count < 2:
        raise ValueError("`cluster` must name at least two clusters. Got one.")
    square = float(mean_with_error(array, np.column_stack([blocks, clusters])).error) ** 2
    if len(np.unique(blocks)) > 1:
        cells, cell = np.unique(np.stack([blocks, clusters]), axis=1, return_inverse=True)
        array = np.bincount(cell.ravel(), weights=array) / np.bincount(cell.ravel())
        means = np.bincount(cells[0], weights=array)[cells[0]] / np.bincount(cells[0])[cells[0]]
        # Taking a block's mean out takes out a count-th of what its cells have of their own.
        spread, clusters = (array - means) * np.sqrt(count / (count - 1)), cells[1]
    else:
        spread = array
    groups = [clusters == number for number in range(count)]
    if square == 0 or min(group.sum() for group in groups) < 2:
        return float("nan")
    between = np.var([array[group].mean() for group in groups], ddof=1) / count
    within = sum(spread[group].var(ddof=1) / group.sum() for group in groups) / count**2
    return float(max(0.0, between - within) / square)


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
