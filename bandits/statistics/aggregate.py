"""Results over several environments at once: robust means, chance of improvement, profiles, and their intervals.

Scores have shape (..., M, N): N replications in each of M environments, on a scale that makes environments comparable,
such as regret as a share of the uniform split's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bandits.statistics.checks import require_fraction
from bandits.statistics.effect import finite_array
from bandits.statistics.intervals import FloatArray

BATCH = 2**21  # resampled scores held at a time


class BootstrapInterval(NamedTuple):
    """Result of `stratified_bootstrap`; the three arrays have the shape of the statistic.

    Attributes:
        estimate: The statistic of the scores themselves.
        low: Lower end; nan with one replication per environment.
        high: Upper end; nan with one replication per environment.
        confidence: Coverage, pointwise where the statistic is a curve.
        resamples: Number of bootstrap samples.
        method: Name of the method in words.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    confidence: float
    resamples: int
    method: str


def interquartile_mean(scores: ArrayLike) -> FloatArray:
    """Mean of the middle half of all M N scores: between mean and median in robustness, more efficient than the latter.

    Args:
        scores: Shape (..., M, N), finite.

    Returns:
        Shape (...). A quarter of the scores, rounded down, is left out at either end: of fewer than four, none.

    References:
        Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (2021), section 4.3.

    >>> interquartile_mean([[0.0, 1.0, 2.0, 90.0], [1.0, 2.0, 3.0, 4.0]])
    array(2.)
    """
    from scipy import stats

    array = finite_array("scores", scores, ndim=2)
    middle = stats.trim_mean(array.reshape(*array.shape[:-2], -1), 0.25, axis=-1)
    return np.asarray(middle)


def probability_of_improvement(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Chance that a run of `a` scores higher than a run of `b` in the same environment, averaged over environments.

    A tie counts one half, so two equal arrays give exactly 0.5. It says how often, not how much. Runs are compared each
    with each, as if independent; common random numbers do not enter.

    Args:
        a: Scores, shape (..., M, N), finite; higher is better.
        b: Scores in the same environments, shape (..., M, N'), with its own number of replications.

    Returns:
        Shape (...): mean over environments of the Mann-Whitney statistic divided by N N'.

    References:
        Mann & Whitney, "On a test of whether one of two random variables is stochastically larger than the other"
        (1947). Agarwal et al. (2021), section 4.3.

    >>> probability_of_improvement([[1.0, 3.0]], [[2.0, 3.0]])
    np.float64(0.375)
    """
    from scipy import stats

    first, second = finite_array("a", a, ndim=2), finite_array("b", b, ndim=2)
    if first.shape[:-1] != second.shape[:-1]:
        raise ValueError(
            f"`a` and `b` must have the same environments, all axes but the last. Got {first.shape} and {second.shape}."
        )
    runs, others = first.shape[-1], second.shape[-1]
    ranks = stats.rankdata(np.concatenate([first, second], axis=-1), axis=-1)[..., :runs]
    wins = ranks.sum(axis=-1) - runs * (runs + 1) / 2
    share: FloatArray = (wins / (runs * others)).mean(axis=-1)
    return share


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> FloatArray:
    """Share of runs with a score above each threshold, averaged over environments: one minus a distribution function.

    Args:
        scores: Shape (..., M, N), finite.
        thresholds: Shape (C,).

    Returns:
        Shape (..., C), not increasing where the thresholds increase. Where one policy's profile lies above another's
        everywhere, it is better in every quantile.

    References:
        Agarwal et al. (2021), section 4.2; Dolan & More, "Benchmarking optimization software with performance profiles"
        (2002).

    >>> performance_profile([[1.0, 2.0], [3.0, 4.0]], [0.0, 1.0, 3.5])
    array([1.  , 0.75, 0.25])
    """
    array, levels = finite_array("scores", scores, ndim=2), finite_array("thresholds", thresholds)
    if levels.ndim != 1:
        raise ValueError(f"`thresholds` must be a vector. Got shape {levels.shape}.")
    shares = [np.mean(array > level, axis=(-2, -1)) for level in levels]
    return np.stack(shares, axis=-1)


def stratified_bootstrap(
    statistic: Callable[..., FloatArray],
    *scores: ArrayLike,
    random: np.random.Generator,
    resamples: int = 2_000,
    confidence: float = 0.95,
    paired: bool = False,
) -> BootstrapInterval:
    """Percentile interval of a statistic of scores, from replications resampled within each environment.

    Environments are the strata and stay as they are: the interval says how far other *seeds* would move the result, not
    other environments. With few replications (N below 20, say) it is too narrow, by a factor of about
    `sqrt((N - 1) / N)` and more.

    Args:
        statistic: Function of arrays (..., M, N), one per entry of `scores`, to an array of shape (...) or (..., C),
            for instance `interquartile_mean`, `probability_of_improvement`, or a difference of interquartile means.
        scores: One array for each policy that enters, shape (..., M, N) with its own N, finite; the leading axes, which
            must agree, are data sets (which share their bootstrap samples).
        random: Source of the bootstrap samples; the only randomness.
        resamples: Number of bootstrap samples, at least 1.
        confidence: Coverage, in (0, 1).
        paired: Whether replication n of all arrays shares its luck: they are then resampled together. Right for
            differences under common random numbers.

    Returns:
        Arrays of the shape of `statistic(*scores)`.

    References:
        Agarwal et al. (2021), section 4.1. Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.

    >>> result = stratified_bootstrap(interquartile_mean, [[1.0, 2.0, 3.0, 4.0]], random=np.random.default_rng(1))
    >>> result.estimate, result.low <= 2.5 <= result.high
    (array(2.5), np.True_)
    """
    require_fraction("confidence", confidence)
    if not scores:
        raise ValueError("`scores` must hold at least one array. Got none.")
    if resamples < 1:
        raise ValueError(f"`resamples` must be at least 1. Got {resamples}.")
    arrays = [finite_array("scores", values, ndim=2) for values in scores]
    shapes = [array.shape for array in arrays]
    if len({shape[:-1] for shape in shapes}) > 1 or (paired and len(set(shapes)) > 1):
        raise ValueError(f"`scores` must have matching axes (all but the last, unless paired). Got shapes {shapes}.")
    estimate = np.asarray(statistic(*arrays))
    method = "stratified percentile bootstrap over replications" + (", paired" if paired else "")
    if min(shape[-1] for shape in shapes) == 1:
        missing = np.full(estimate.shape, np.nan)
        return BootstrapInterval(estimate, missing, missing.copy(), confidence, resamples, method)
    lead = arrays[0].ndim - 2
    batch = max(1, BATCH // max(array.size for array in arrays))
    parts = []
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        drawn: list[FloatArray] = []
        index = None
        for array in arrays:
            if index is None or not paired:
                index = random.integers(array.shape[-1], size=(size, *array.shape[-2:]))
            drawn.append(_resampled(array, index))
        parts.append(statistic(*drawn))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(parts, axis=lead), [tail, 1 - tail], axis=lead)
    return BootstrapInterval(estimate, low, high, confidence, resamples, method)


def _resampled(array: FloatArray, index: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatArray:
    """Entries `index` (S, M, N) of the last axis of `array` (..., M, N): shape (..., S, M, N)."""
    environment = np.arange(array.shape[-2])[:, None]
    picked: FloatArray = array[..., environment, index]
    return picked
