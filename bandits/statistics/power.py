"""How long a test of two arms must run, by several formulas side by side, and what it then finds."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from bandits.statistics.checks import require_fraction, require_power
from bandits.statistics.intervals import FloatArray

ProportionFormula = Literal["pooled", "unpooled", "arcsine"]


class SampleSizes(NamedTuple):
    """Visitors of the control that three formulas ask for; see `sample_sizes_two_proportions`.

    Attributes:
        pooled: For the z test with the pooled variance, which is what `two_proportion_test` does: the default.
        unpooled: For the z test with separate variances.
        arcsine: For the difference of `2 arcsin(sqrt(p))` (Cohen's h), as many power tables use.
        power: Wanted power.
        alpha: Two-sided level.
    """

    pooled: int
    unpooled: int
    arcsine: int
    power: float
    alpha: float


def sample_sizes_two_proportions(
    baseline: float, minimum_effect: float, *, power: float = 0.8, alpha: float = 0.05, ratio: float = 1.0
) -> SampleSizes:
    """Visitors of the control that a two-sided test of two rates needs, by three formulas, each rounded up.

    Tools disagree by a few visitors because they use different ones of these.

    Args:
        baseline: Rate of the control, in (0, 1).
        minimum_effect: Smallest absolute difference worth finding, up or down; `baseline + minimum_effect` in (0, 1).
        power: Chance to find it, in (0, 1), above `alpha`.
        alpha: Two-sided level, in (0, 1).
        ratio: Visitors of the treatment per visitor of the control, positive.

    References:
        Fleiss, Levin & Paik, "Statistical Methods for Rates and Proportions" (2003), chapter 4, uncorrected formulas.
        Cohen, "Statistical Power Analysis for the Behavioral Sciences" (1988), chapter 6.

    >>> sample_sizes_two_proportions(0.10, 0.02)[:3]
    (3841, 3839, 3835)
    """
    require_power(power, alpha)
    _check_rates(baseline, minimum_effect, ratio)
    if minimum_effect == 0:
        raise ValueError("`minimum_effect` must not be 0. Got 0.")

    def size(formula: ProportionFormula) -> int:
        difference, null, alternative = _per_visitor(baseline, minimum_effect, ratio, formula)
        quantiles = special.ndtri(1 - alpha / 2) * null + special.ndtri(power) * alternative
        return math.ceil((quantiles / difference) ** 2)

    return SampleSizes(size("pooled"), size("unpooled"), size("arcsine"), power, alpha)


def power_two_proportions(
    baseline: float,
    effect: ArrayLike,
    n: ArrayLike,
    *,
    alpha: float = 0.05,
    ratio: float = 1.0,
    formula: ProportionFormula = "pooled",
) -> FloatArray:
    """Chance that a two-sided test of two rates rejects, in the normal approximation; both tails count.

    Args:
        baseline: Rate of the control, in (0, 1).
        effect: Rate of the treatment minus `baseline`, any shape; 0 gives `alpha`.
        n: Visitors of the control, same shape (or broadcastable), positive.
        alpha: Two-sided level, in (0, 1).
        ratio: Visitors of the treatment per visitor of the control, positive.
        formula: `pooled` (what `two_proportion_test` does), `unpooled` or `arcsine`; see `SampleSizes`.

    Returns:
        The power, of the common shape.

    >>> power_two_proportions(0.10, 0.02, 3841).round(4)
    np.float64(0.8)
    """
    require_fraction("alpha", alpha)
    _check_rates(baseline, effect, ratio)
    size = np.asarray(n, dtype=np.float64)
    if not np.all(size > 0):
        raise ValueError(f"`n` must be positive. Got {n!r}.")
    difference, null, alternative = _per_visitor(baseline, effect, ratio, formula)
    z = special.ndtri(1 - alpha / 2) * null
    shift = np.sqrt(size) * np.abs(difference)
    return np.asarray(special.ndtr((shift - z) / alternative) + special.ndtr((-shift - z) / alternative))


def power_two_means(
    effect: ArrayLike, sd: float, n: ArrayLike, *, alpha: float = 0.05, ratio: float = 1.0
) -> FloatArray:
    """Chance that a two-sided t test of two means with a common standard deviation rejects; exact for normal data.

    Args:
        effect: Difference of the means, any shape; 0 gives `alpha`.
        sd: Standard deviation of one unit, positive.
        n: Units of the control, same shape (or broadcastable), at least 2 (may be a fraction).
        alpha: Two-sided level, in (0, 1).
        ratio: Units of the treatment per unit of the control, positive.

    Returns:
        The power, from the noncentral t distribution.

    >>> power_two_means(0.5, 1.0, 64).round(4)
    np.float64(0.8015)
    """
    require_fraction("alpha", alpha)
    _check_spread(sd, ratio)
    size = np.asarray(n, dtype=np.float64)
    if not np.all(size >= 2):
        raise ValueError(f"`n` must be at least 2. Got {n!r}.")
    degrees = np.maximum(size * (1 + ratio) - 2, 1)
    shift = np.abs(np.asarray(effect, dtype=np.float64)) / sd * np.sqrt(size * ratio / (1 + ratio))
    quantile = special.stdtrit(degrees, 1 - alpha / 2)
    # P(T > q) with shift is P(T < -q) with -shift, which keeps its digits where the power is small
    right = special.nctdtr(degrees, -shift, -quantile)
    # scipy gives nan far out in the wrong tail, which is at most the normal's: below 1e-11 from a shift of 7 on
    wrong = np.where(shift < 7, special.nctdtr(degrees, np.minimum(shift, 7), -quantile), 0.0)
    return np.asarray(right + wrong)


def sample_size_two_means(
    effect: float, sd: float, *, power: float = 0.8, alpha: float = 0.05, ratio: float = 1.0
) -> int:
    """Units of the control with which the t test of two means has `power`; see `power_two_means`.

    Args:
        effect: Smallest difference of the means worth finding; not 0.
        sd: Standard deviation of one unit, positive.
        power: Chance to find it, in (0, 1), above `alpha`.
        alpha: Two-sided level, in (0, 1).
        ratio: Units of the treatment per unit of the control, positive.

    >>> sample_size_two_means(0.5, 1.0)
    64
    """
    require_power(power, alpha)
    _check_spread(sd, ratio)
    if effect == 0:
        raise ValueError("`effect` must not be 0. Got 0.")
    low, high = 1, 2
    while power_two_means(effect, sd, high, alpha=alpha, ratio=ratio) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = power_two_means(effect, sd, middle, alpha=alpha, ratio=ratio) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def minimum_detectable_difference(
    sd: float, n: float, *, power: float = 0.8, alpha: float = 0.05, ratio: float = 1.0
) -> float:
    """Smallest difference of two means that the t test finds with `power`: the inverse of `power_two_means`.

    Args:
        sd: Standard deviation of one unit, positive.
        n: Units of the control, at least 2.
        power: Chance to find it, in (0, 1), above `alpha`.
        alpha: Two-sided level, in (0, 1).
        ratio: Units of the treatment per unit of the control, positive.

    >>> round(minimum_detectable_difference(1.0, 64), 4)
    0.4991
    """
    require_power(power, alpha)
    _check_spread(sd, ratio)
    from scipy import optimize

    def surplus(effect: float) -> float:
        return float(power_two_means(effect, 1.0, n, alpha=alpha, ratio=ratio)) - power

    high = 1.0
    while surplus(high) < 0:
        high *= 2
    return sd * float(optimize.brentq(surplus, 0.0, high, xtol=1e-14))


def _per_visitor(
    baseline: float, effect: ArrayLike, ratio: float, formula: ProportionFormula
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Difference, and the standard error of its estimate times `sqrt(n)` without and with the effect."""
    other = baseline + np.asarray(effect, dtype=np.float64)
    if formula == "arcsine":
        spread = np.full(other.shape, math.sqrt(1 + 1 / ratio))
        return 2 * np.arcsin(np.sqrt(other)) - 2 * math.asin(math.sqrt(baseline)), spread, spread
    if formula not in ("pooled", "unpooled"):
        raise ValueError(f"`formula` must be pooled, unpooled or arcsine. Got {formula!r}.")
    separate = np.sqrt(baseline * (1 - baseline) + other * (1 - other) / ratio)
    mean = (baseline + ratio * other) / (1 + ratio)
    pooled = np.sqrt(mean * (1 - mean) * (1 + 1 / ratio))
    return other - baseline, pooled if formula == "pooled" else separate, separate


def _check_rates(baseline: float, effect: ArrayLike, ratio: float) -> None:
    other = baseline + np.asarray(effect, dtype=np.float64)
    require_fraction("baseline", baseline)
    if not np.all((other > 0) & (other < 1)):
        raise ValueError(f"`baseline` plus the effect must lie in (0, 1). Got effect {effect!r}, baseline {baseline}.")
    _check_ratio(ratio)


def _check_spread(sd: float, ratio: float) -> None:
    if not 0 < sd < math.inf:
        raise ValueError(f"`sd` must be positive and finite. Got {sd}.")
    _check_ratio(ratio)


def _check_ratio(ratio: float) -> None:
    if not 0 < ratio < math.inf:
        raise ValueError(f"`ratio` must be positive and finite. Got {ratio}.")
