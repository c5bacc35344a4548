"""Intervals of off-policy estimates: which one is right depends on how the log was collected.

| log | interval |
|---|---|
| rounds independent (a policy that did not learn from the log) | `normal_interval`, or `bootstrap_interval` |
| several visits of a user, or several replications | `cluster_interval`: the user or replication is the unit |
| one adaptive run | `adaptive_interval`: weighted so that a martingale central limit theorem holds |
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from bandits.core import FloatArray, IntArray
from bandits.ope.estimators import Terms
from bandits.statistics.adaptive import weighted_mean
from bandits.statistics.checks import require_fraction


class ValueInterval(NamedTuple):
    """A policy's value with its standard error and two-sided interval; arrays of one shape.

    Attributes:
        estimate: The point estimate.
        standard_error: Its standard error; nan where the data allow none.
        low: Lower end; nan where there is no interval.
        high: Upper end; nan where there is no interval.
    """

    estimate: FloatArray
    standard_error: FloatArray
    low: FloatArray
    high: FloatArray


def normal_interval(terms: Terms, *, confidence: float = 0.95) -> ValueInterval:
    """`estimate ± z sd(scores) / sqrt(n)`, for independent rounds.

    Where all scores are equal (a single round, or no reward at all) there is no interval, nan: without variation the
    log does not say how uncertain the estimate is, and a width of 0 would be wrong.

    Args:
        terms: What an estimator made of the rounds, shape (..., n).
        confidence: Coverage, in (0, 1).
    """
    require_fraction("confidence", confidence)
    z = float(special.ndtri(0.5 + confidence / 2))
    return _interval(terms.estimate, terms.standard_error, z)


def cluster_interval(terms: Terms, unit: ArrayLike, *, confidence: float = 0.95) -> ValueInterval:
    """Interval with the user or replication as the independent unit: t with `G - 1` degrees of freedom for G units.

    `se^2 = G / (G - 1) sum_g (sum_{t in g} (score_t - estimate))^2 / n^2`, the sandwich for means of clusters. With
    units of equal size this is the t interval of the units' means. Inside a unit rounds may depend on one another in
    any way, so an adaptive log of several replications is covered.

    Args:
        terms: What an estimator made of the rounds, shape (..., n).
        unit: Unit of each round, integers of shape (n,).
        confidence: Coverage, in (0, 1).
    """
    index = np.unique(np.asarray(unit), return_inverse=True)[1]
    estimate, n = terms.estimate, terms.base.shape[-1]
    if index.shape != (n,):
        raise ValueError(f"`unit` must have shape ({n},) to match the rounds. Got {index.shape}.")
    num_units = int(index.max()) + 1
    require_fraction("confidence", confidence)
    if num_units < 2:
        missing = np.full_like(estimate, np.nan)
        return ValueInterval(estimate, missing, missing, missing)
    sums = _unit_sums(terms.scores - estimate[..., None], index)
    error = np.sqrt(num_units / (num_units - 1) * (sums**2).sum(axis=-1)) / n
    return _interval(estimate, error, float(special.stdtrit(num_units - 1, 0.5 + confidence / 2)))


def bootstrap_interval(
    terms: Terms,
    unit: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> ValueInterval:
    """Percentile bootstrap over independent units; for one data set.

    Resampled sets in which a ratio has no weight are left out; where that is more than one in a hundred, the interval
    is nan. It is nan as well for a single unit, or scores that do not vary.

    Args:
        terms: What an estimator made of the rounds, shape (n,).
        unit: Unit of each round, integers of shape (n,); None: the round.
        confidence: Coverage, in (0, 1).
        num_resamples: Number of resampled data sets.
        seed: Key of the resampling; the same seed gives the same interval.
    """
    if terms.base.ndim != 1:
        raise ValueError(f"`terms` must be those of one data set. Got shape {terms.base.shape}.")
    if num_resamples < 2:
        raise ValueError(f"`num_resamples` must be at least 2. Got {num_resamples}.")
    require_fraction("confidence", confidence)
    tail = (1 - confidence) / 2
    n = len(terms.base)
    index = np.arange(n) if unit is None else np.unique(np.asarray(unit), return_inverse=True)[1]
    columns = np.stack([*terms, np.ones(n)])
    sums = _unit_sums(columns, index).T
    num_units = len(sums)
    estimate = terms.estimate
    missing = ValueInterval(estimate, *(np.full_like(estimate, np.nan) for _ in range(3)))
    if num_units < 2 or not _varies(terms.scores):
        return missing
    random = np.random.Generator(np.random.Philox(key=[seed, 1]))
    draws = (random.integers(num_units, size=num_units) for _ in range(num_resamples))
    totals = np.stack([np.bincount(draw, minlength=num_units) @ sums for draw in draws])
    base, numerator, denominator, size = totals[totals[:, 2] > 0].T
    resampled = base / size + numerator / denominator
    if len(resampled) < 0.99 * num_resamples:
        return missing
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return ValueInterval(estimate, np.asarray(resampled.std(ddof=1)), np.asarray(low), np.asarray(high))


def adaptive_interval(scores: ArrayLike, weights: ArrayLike, *, confidence: float = 0.95) -> ValueInterval:
    """Weighted mean `Q = sum(h s) / sum(h)` of martingale scores, `se^2 = sum(h^2 (s - Q)^2) / sum(h)^2`.

    For one adaptive run with known propensities: the scores of IPS, or of DR whose model saw earlier rounds only, have
    the policy's value as their mean given the past. Weights `h` near `1 / sd(s given the past)` make the conditional
    variances alike, without which the plain mean need not be normal (Hadad et al. 2021). The weights below do so for DR
    with a fair model; IPS scores vary by `E[w^2 r^2] - V^2`, to which they are in proportion only nearly.

    Args:
        scores: IPS or DR scores in order of time, shape (..., n).
        weights: `h`, at least 0, each known before its round, shape (..., n); from `stabilizing_weights` or
            `trailing_weights`.
        confidence: Coverage, in (0, 1).

    References:
        Hadad, Hirshberg, Zhan, Wager and Athey (2021), "Confidence intervals for policy evaluation in adaptive
        experiments"; Zhan, Hadad, Hirshberg and Athey (2021), "Off-policy evaluation via adaptive weighting with data
        from contextual bandits".
    """
    scores, weights = np.broadcast_arrays(np.asarray(scores, np.float64), np.asarray(weights, np.float64))
    if not np.all(np.isfinite(weights) & (weights >= 0)) or not np.all(weights.sum(axis=-1) > 0):
        raise ValueError("`weights` must be finite, at least 0, and not all 0. Got others.")
    require_fraction("confidence", confidence)
    estimate, influence = weighted_mean(scores, weights)
    error = np.sqrt((influence**2).sum(axis=-1))
    return _interval(estimate, error, float(special.ndtri(0.5 + confidence / 2)))


def stabilizing_weights(probabilities: ArrayLike, propensities: ArrayLike) -> FloatArray:
    """`h_t = phi_t^{-1/2}` with `phi_t = sum_a pi_e(a)^2 / e_t(a)`, which is in proportion to the scores' variance.

    These are known before the round where neither policy looks at the visitor. Where one does, they would favour some
    visitors over others: take `trailing_weights` of `phi`, which `second_moment` gives.

    Args:
        probabilities: Of the evaluated policy, shape (..., n, K).
        propensities: Of the logging policy for all arms, shape (..., n, K).

    Returns:
        Shape (..., n), in (0, 1].
    """
    return np.asarray(second_moment(probabilities, propensities) ** -0.5)


def second_moment(probabilities: ArrayLike, propensities: ArrayLike) -> FloatArray:
    """`phi = sum_a pi_e(a)^2 / e(a) = E[w^2]` of each round, at least 1, from arrays (..., n, K) to (..., n).

    Raises:
        ValueError: When a propensity is 0 where the evaluated policy has a positive probability.
    """
    probabilities, propensities = np.asarray(probabilities, np.float64), np.asarray(propensities, np.float64)
    used = probabilities > 0
    if np.any(used & ~(propensities > 0)):
        raise ValueError("`propensities` must be positive where `probabilities` are. Got a policy without support.")
    phi: FloatArray = np.where(used, probabilities**2 / np.where(used, propensities, 1.0), 0.0).sum(axis=-1)
    return phi


def trailing_weights(second_moments: ArrayLike, *, window: int = 100) -> FloatArray:
    """`h_t = max(1, mean of the last `window` second moments before round t)^{-1/2}`: known before the round.

    Args:
        second_moments: `phi` of each round, or its unbiased estimate `w^2` where only the shown arm's propensity was
            kept, in order of time, shape (..., n).
        window: Number of earlier rounds that are averaged, at least 1; fewer where there are fewer.

    Returns:
        Shape (..., n), in (0, 1]; 1 in the first round. (`phi` is at least 1, so the bound cuts off noise only.)
    """
    moments = np.asarray(second_moments, dtype=np.float64)
    if window < 1:
        raise ValueError(f"`window` must be at least 1. Got {window}.")
    total = np.concatenate([np.zeros((*moments.shape[:-1], 1)), np.cumsum(moments, axis=-1)], axis=-1)
    end = np.arange(moments.shape[-1])
    start = np.maximum(end - window, 0)
    mean = (total[..., end] - total[..., start]) / np.maximum(end - start, 1)
    return np.asarray(np.maximum(mean, 1.0) ** -0.5)


def _interval(estimate: FloatArray, error: FloatArray, quantile: float) -> ValueInterval:
    # Equal scores differ by rounding only; what is left of them is no standard error.
    error = np.asarray(np.where(error > 1e-12 * np.abs(estimate), error, np.nan))
    return ValueInterval(estimate, error, estimate - quantile * error, estimate + quantile * error)


def _varies(scores: FloatArray) -> bool:
    return bool(scores.std() > 1e-12 * abs(scores.mean()))


def _unit_sums(values: FloatArray, index: IntArray) -> FloatArray:
    """Sums over the rounds of each unit: (..., n) to (..., G)."""
    order = np.argsort(index, kind="stable")
    starts = np.unique(index[order], return_index=True)[1]
    sums: FloatArray = np.add.reduceat(values[..., order], starts, axis=-1)
    return sums
