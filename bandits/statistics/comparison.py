"""Two policies over the same replications, by three methods side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bandits.statistics.checks import require_fraction
from bandits.statistics.effect import finite_array
from bandits.statistics.intervals import FloatArray, mean_interval

BATCH = 2**22  # numbers that a bootstrap holds at a time


class PairedComparison(NamedTuple):
    """Result of `paired_comparison`; the arrays have one shape, one entry per pair of policies.

    Attributes:
        estimate: Mean of `a - b`.
        low: Lower end of the paired t interval.
        high: Upper end of the paired t interval.
        bca_low: Lower end of the bias-corrected and accelerated bootstrap interval.
        bca_high: Upper end of the same.
        p_value: Two-sided, of the paired t test; not adjusted for other pairs.
        p_wilcoxon: Two-sided, of Wilcoxon's signed-rank test, as a check that a few odd replications do not decide.
        replications: Number of pairs.
        resamples: Number of bootstrap samples.
        confidence: Coverage of both intervals, of one pair of policies.
        method: Name of the method in words.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    bca_low: FloatArray
    bca_high: FloatArray
    p_value: FloatArray
    p_wilcoxon: FloatArray
    replications: int
    resamples: int
    confidence: float
    method: str


def paired_comparison(
    a: ArrayLike, b: ArrayLike, *, random: np.random.Generator, resamples: int = 9_999, confidence: float = 0.95
) -> PairedComparison:
    """Compare two policies over replications that share their luck: paired t, BCa bootstrap and Wilcoxon.

    Where results are skewed (a policy that now and then locks on a bad arm) the t interval may miss on one side; the
    bootstrap over replications, never over rounds, adapts. If t and Wilcoxon disagree, look at the single replications.

    Args:
        a: One number per replication, shape (..., N), finite. Where the replications live in several worlds, hand in
            one mean per world: the world is then the unit.
        b: The same replications under another policy, same shape.
        random: Source of the bootstrap samples; the only randomness.
        resamples: Number of bootstrap samples, at least 100; thousands for a result that is shown.
        confidence: Coverage, in (0, 1).

    Returns:
        Arrays of shape (...). With one replication, intervals and p-values are nan. Where all differences are equal the
        bootstrap interval is nan (there is no spread to resample); both p-values are 1 where all are 0, and that of the
        t test is nan where all equal another number. Wilcoxon leaves out differences of 0.

    References:
        Efron, "Better bootstrap confidence intervals" (1987). Wilcoxon, "Individual comparisons by ranking methods"
        (1945).

    >>> result = paired_comparison([3.0, 5.0, 4.0, 6.0], [2.0, 2.0, 3.0, 4.5], random=np.random.default_rng(1))
    >>> result.estimate, result.p_wilcoxon
    (array(1.625), array(0.125))
    """
    from scipy import special, stats

    require_fraction("confidence", confidence)
    first, second = finite_array("a", a), finite_array("b", b)
    if first.shape != second.shape:
        raise ValueError(
            f"`a` and `b` must have the same shape, one column per replication. Got {first.shape} and {second.shape}."
        )
    if resamples < 100:  # fewer may all lie on one side of the estimate, where the bias correction is infinite
        raise ValueError(f"`resamples` must be at least 100. Got {resamples}.")
    difference = first - second
    count = difference.shape[-1]
    estimate, low, high = mean_interval(difference, confidence=confidence)
    rows = difference.reshape(-1, count)
    bca = np.full((2, len(rows)), np.nan)
    p_value, p_wilcoxon = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    if count > 1:
        varied, zero = np.ptp(rows, axis=-1) > 0, ~rows.any(axis=-1)
        error = rows[varied].std(axis=-1, ddof=1) / np.sqrt(count)
        p_value[varied] = 2 * special.stdtr(count - 1, -np.abs(rows[varied].mean(axis=-1)) / error)
        p_wilcoxon[~zero] = stats.wilcoxon(rows[~zero], axis=-1).pvalue
        p_value[zero] = p_wilcoxon[zero] = 1.0
        if varied.any():
            bca[:, varied] = stats.bootstrap(
                (rows[varied],),
                np.mean,
                axis=-1,
                n_resamples=resamples,
                batch=max(1, BATCH // rows.size),
                confidence_level=confidence,
                method="BCa",
                rng=random,
            ).confidence_interval
    bca_low, bca_high, p_value, p_wilcoxon = (values.reshape(estimate.shape) for values in (*bca, p_value, p_wilcoxon))
    return PairedComparison(
        estimate,
        low,
        high,
        bca_low,
        bca_high,
        p_value,
        p_wilcoxon,
        count,
        resamples,
        confidence,
        "paired t; BCa bootstrap over replications; Wilcoxon signed-rank",
    )
