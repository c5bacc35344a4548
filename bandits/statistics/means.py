"""Means of two arms: Welch's test and relative lift, from raw numbers, rates, ratios or published summaries."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from bandits.statistics.checks import counts_of, require_fraction
from bandits.statistics.effect import Effect, finite_array, wald_effect
from bandits.statistics.intervals import FloatArray


class Moments(NamedTuple):
    """What a large-sample comparison needs to know of one arm; the arrays have one shape, one entry per data set.

    Attributes:
        mean: Mean of the metric.
        variance: Variance of one unit, such that `variance / units` is that of the mean; nan with a single unit.
        units: Number of units, the things that were randomised, usually users.
    """

    mean: FloatArray
    variance: FloatArray
    units: FloatArray


def moments(values: ArrayLike) -> Moments:
    """Moments over the last axis, with the unbiased variance.

    Args:
        values: One number per unit, shape (..., B), finite.

    Returns:
        Arrays of shape (...); with a single unit the variance is nan.

    >>> moments([1.0, 2.0, 4.0]).variance.round(3)
    np.float64(2.333)
    """
    array = finite_array("values", values)
    count = array.shape[-1]
    mean = np.asarray(array.mean(axis=-1))
    variance = np.asarray(array.var(axis=-1, ddof=1)) if count > 1 else np.full(mean.shape, np.nan)
    return Moments(mean, variance, np.full(mean.shape, float(count)))


def rate_moments(successes: ArrayLike, trials: ArrayLike) -> Moments:
    """Moments of a click rate `p`, with the plug-in variance `p (1 - p)`.

    Args:
        successes: Counts, any shape.
        trials: Counts of the same shape (or broadcastable), at least `successes`.

    Returns:
        Arrays of the common shape; nan where there were no trials. The variance is 0 where nobody or everybody clicked:
        what is built on it then has no interval.
    """
    count, total = counts_of(successes, trials)
    rate = np.divide(count, total, out=np.full(count.shape, np.nan), where=total > 0)
    return Moments(rate, rate * (1 - rate), total)


def ratio_moments(numerator: ArrayLike, denominator: ArrayLike) -> Moments:
    """Moments of a ratio of totals, such as clicks per view where the *user* was randomised, by the delta method.

    With `R = mean(y) / mean(x)` the ratio moves like the mean of `(y - R x) / mean(x)`, whose variance this returns.
    One entry is one unit of randomisation, with all its visits summed: several visits of one user are not independent.

    Args:
        numerator: y, total per unit, shape (..., B), finite.
        denominator: x, total per unit, same shape, not negative.

    Returns:
        Arrays of shape (...): mean `R`. `R` and variance are nan where the denominators sum to 0; the variance also
        with a single unit.

    References:
        Deng, Knoblich & Lu, "Applying the delta method in metric analytics" (2018), section 3.
    """
    y, x = _pair("numerator", numerator, "denominator", denominator)
    if np.any(x < 0):
        raise ValueError(f"`denominator` must not be negative. Got {x.min()}.")
    mean_x = x.mean(axis=-1)
    mean_x = np.where(mean_x > 0, mean_x, np.nan)
    ratio = y.mean(axis=-1) / mean_x
    residual = np.where(np.isnan(ratio)[..., None], 0.0, y - ratio[..., None] * x)
    of_residual = moments(residual)
    return Moments(ratio, of_residual.variance / mean_x**2, of_residual.units)


class CupedArms(NamedTuple):
    """Outcomes of an experiment, freed of what the pre-period explains; see `cuped`.

    Attributes:
        theta: Slope of outcome on covariate, shape (...).
        arms: Moments of the adjusted outcome by arm, in the order given.
        variance_reduction: Share of the outcome's variance within arms that the covariate explains, shape (...).
    """

    theta: FloatArray
    arms: tuple[Moments, ...]
    variance_reduction: FloatArray


def cuped(*arms: tuple[ArrayLike, ArrayLike]) -> CupedArms:
    """Take out of each outcome what a covariate from before the experiment explains: `y - theta (x - mean x)`.

    `theta` is the slope within arms, pooled over all of them (one slope per arm would let an effect on the slope pass
    for an effect on the mean), and `mean x` the mean over all units, so that the mean keeps its scale. The covariate
    must have been fixed before the assignment: one that the treatment can move takes part of the effect away.

    Args:
        arms: Outcome and covariate of each arm, both of shape (..., B) with the arm's own B; finite. Units that were
            not seen before the experiment need a value too, for example the mean of the others.

    Returns:
        Moments to hand to `welch_test` or `relative_lift`. All are nan where the covariate is constant within every
        arm, since the slope is then 0 / 0: compare the outcomes themselves. `variance_reduction` is also nan where the
        outcome is.

    Raises:
        ValueError: When there are no arms, or shapes differ.

    References:
        Deng, Xu, Kohavi & Walker, "Improving the sensitivity of online controlled experiments by utilizing
        pre-experiment data" (2013), section 3.

    >>> result = cuped(([1.0, 2.0, 3.5], [1.0, 2.0, 3.0]), ([2.0, 2.5, 4.0], [0.0, 1.0, 2.0]))
    >>> result.theta.round(3), welch_test(*result.arms).estimate.round(3)
    (np.float64(1.125), np.float64(-1.792))
    """
    if not arms:
        raise ValueError("`arms` must hold at least one arm. Got none.")
    pairs = [_pair("outcome", outcome, "covariate", covariate) for outcome, covariate in arms]
    centred = [(y - y.mean(axis=-1, keepdims=True), x - x.mean(axis=-1, keepdims=True)) for y, x in pairs]
    sum_yy = np.asarray(sum(np.sum(y * y, axis=-1) for y, _ in centred))
    sum_xy = np.asarray(sum(np.sum(x * y, axis=-1) for y, x in centred))
    sum_xx = np.asarray(sum(np.sum(x * x, axis=-1) for _, x in centred))
    moves = sum_xx > 0
    theta = np.divide(sum_xy, sum_xx, out=np.full(moves.shape, np.nan), where=moves)
    units = sum(x.shape[-1] for _, x in pairs)
    centre = np.asarray(sum(x.sum(axis=-1) for _, x in pairs)) / units
    adjusted = []
    for y, x in pairs:
        slope = np.where(moves, theta, 0.0)[..., None]
        raw = moments(y - slope * (x - centre[..., None]))
        mean, variance = (np.where(moves, part, np.nan) for part in (raw.mean, raw.variance))
        adjusted.append(Moments(mean, variance, raw.units))
    explained = np.divide(theta * sum_xy, sum_yy, out=np.full(moves.shape, np.nan), where=sum_yy > 0)
    return CupedArms(theta, tuple(adjusted), explained)


def welch_test(a: Moments, b: Moments, *, confidence: float = 0.95) -> Effect:
    """Difference of two means, `a` minus `b`, with Welch's t test and interval: the variances may differ.

    Args:
        a: `moments(values)`, a published summary as `Moments(mean, variance, units)`, `ratio_moments(...)` or an arm of
            `cuped(...)`; for a ratio or an adjusted mean the t distribution is an approximation for many units.
        b: The same of the other arm.
        confidence: Coverage, in (0, 1).

    Returns:
        Arrays of the common shape. Interval and p-value are nan with a single unit in an arm, and where no spread was
        seen in either arm (constant rewards): there is then nothing to judge the difference by.

    References:
        Welch, "The generalization of 'Student's' problem when several different population variances are involved"
        (1947).

    >>> welch_test(moments([1.0, 2.0, 3.0, 4.0]), moments([2.0, 4.0, 9.0])).p_value.round(4)
    np.float64(0.3532)
    """
    _check_moments("a", a)
    _check_moments("b", b)
    share_a, share_b = a.variance / np.asarray(a.units), b.variance / np.asarray(b.units)
    square = share_a + share_b
    below_a = np.maximum(np.asarray(a.units) - 1, 1)
    below_b = np.maximum(np.asarray(b.units) - 1, 1)
    fourth = share_a**2 / below_a + share_b**2 / below_b
    degrees = np.divide(square**2, fourth, out=np.full(np.shape(square), np.nan), where=fourth > 0)
    return wald_effect(
        np.asarray(a.mean) - b.mean, np.sqrt(square), confidence=confidence, method="Welch t", degrees=degrees
    )


def relative_lift(
    treatment: Moments,
    control: Moments,
    *,
    confidence: float = 0.95,
    method: Literal["delta", "log", "fieller"] = "delta",
) -> Effect:
    """Relative difference of two independent means, `treatment / control - 1`, with a normal interval.

    With the squared standard errors `s_t^2`, `s_c^2` of the means `t`, `c`:

    * `delta`: `lift ± z sqrt(s_t^2 / c^2 + s_c^2 t^2 / c^4)`. The usual choice, when the control's mean is many
      standard errors from 0.
    * `log`: `exp(log(t / c) ± z sqrt(s_t^2 / t^2 + s_c^2 / c^2)) - 1`. Never below -100 percent, better than `delta`
      for rare clicks; for rates it is Katz's interval.
    * `fieller`: all lifts that the z test of `t - (1 + lift) c` does not reject. The only one that is right where the
      control's mean may be 0: it is then unbounded, which is the truth.

    Args:
        treatment: Moments of the treatment; see `welch_test`.
        control: Moments of the control, independent of the treatment.
        confidence: Coverage, in (0, 1).
        method: `delta`, `log` or `fieller`.

    Returns:
        Arrays of the common shape. The estimate is nan where the control's mean is 0. `delta` then has no interval
        either, nor where no spread was seen; `log` has none where a mean is not positive. `fieller` gives -inf to inf
        where the control's mean does not differ from 0 at this level; its p-value is that of equal means.

    References:
        Katz, Baptista, Azen & Pike, "Obtaining confidence intervals for the risk ratio in cohort studies" (1978).
        Fieller, "Some problems in interval estimation" (1954).

    >>> relative_lift(rate_moments(120, 1000), rate_moments(100, 1000), method="log").high.round(4)
    np.float64(0.5416)
    """
    require_fraction("confidence", confidence)
    _check_moments("treatment", treatment)
    _check_moments("control", control)
    t, c = np.broadcast_arrays(np.asarray(treatment.mean, dtype=np.float64), np.asarray(control.mean, dtype=np.float64))
    square_t = treatment.variance / np.asarray(treatment.units, dtype=np.float64)
    square_c = control.variance / np.asarray(control.units, dtype=np.float64)
    lift = np.divide(t, c, out=np.full(t.shape, np.nan), where=c != 0) - 1
    if method == "delta":
        base = np.where(c != 0, c, np.nan)
        error = np.sqrt(square_t + square_c * (t / base) ** 2) / np.abs(base)
        return wald_effect(lift, error, confidence=confidence, method="relative lift, delta method")
    if method == "log":
        positive = (t > 0) & (c > 0)
        t, c = np.where(positive, t, np.nan), np.where(positive, c, np.nan)
        error = np.sqrt(square_t / t**2 + square_c / c**2)
        log = wald_effect(np.log(t / c), error, confidence=confidence, method="")
        return Effect(lift, np.expm1(log.low), np.expm1(log.high), log.p_value, confidence, "relative lift, log ratio")
    if method == "fieller":
        low, high = _fieller(t, square_t, c, square_c, float(special.ndtri(0.5 + confidence / 2)))
        p_value = wald_effect(t - c, np.sqrt(square_t + square_c), confidence=confidence, method="").p_value
        return Effect(lift, low - 1, high - 1, p_value, confidence, "relative lift, Fieller")
    raise ValueError(f"`method` must be delta, log or fieller. Got {method!r}.")


def _fieller(
    t: FloatArray, square_t: FloatArray, c: FloatArray, square_c: FloatArray, z: float
) -> tuple[FloatArray, FloatArray]:
    """Roots r of `(t - r c)^2 = z^2 (square_t + r^2 square_c)`."""
    lead = c**2 - z**2 * square_c
    bounded = lead > 0
    # (t c)^2 - (c^2 - z^2 s_c^2) (t^2 - z^2 s_t^2), multiplied out so that nothing cancels
    inner = z**2 * (square_t * c**2 + square_c * t**2 - z**2 * square_t * square_c)
    root = np.sqrt(np.where(bounded, np.maximum(inner, 0.0), np.nan))
    safe = np.where(bounded, lead, 1.0)
    known = np.isfinite(t) & np.isfinite(square_t + square_c) & (square_t + square_c > 0)
    low = np.where(bounded, (t * c - root) / safe, -np.inf)
    high = np.where(bounded, (t * c + root) / safe, np.inf)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _pair(name: str, values: ArrayLike, other_name: str, others: ArrayLike) -> tuple[FloatArray, FloatArray]:
    first, second = finite_array(name, values), finite_array(other_name, others)
    if first.shape != second.shape:
        raise ValueError(
            f"`{name}` and `{other_name}` must have the same shape, one entry per unit. "
            f"Got {first.shape} and {second.shape}."
        )
    return first, second


def _check_moments(name: str, arm: Moments) -> None:
    # nan is let through: it stands for a variance that a single unit does not show
    if np.any(np.asarray(arm.variance) < 0):
        raise ValueError(f"`{name}.variance` must not be negative. Got {arm.variance!r}.")
    if not np.all(np.asarray(arm.units) >= 1):
        raise ValueError(f"`{name}.units` must be at least 1. Got {arm.units!r}.")
