"""Click rates: intervals, the A/B test on two of them, and how long such a test must run."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bandits.statistics.checks import counts_of, require_fraction, require_power
from bandits.statistics.intervals import Interval

FloatArray = NDArray[np.float64]


class TwoProportionTest(NamedTuple):
    """Result of `two_proportion_test`; the arrays have the shape of the counts.

    Attributes:
        difference: First rate minus second.
        statistic: z, standard normal where the rates are equal.
        p_value: Two-sided, in [0, 1]; not adjusted for other tests.
    """

    difference: FloatArray
    statistic: FloatArray
    p_value: FloatArray


def proportion_interval(successes: ArrayLike, trials: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Share of successes with Wilson's score interval, which keeps its width at 0 and at `trials` successes.

    Args:
        successes: Counts, any shape.
        trials: Counts of the same shape (or broadcastable), at least `successes`.
        confidence: Coverage, in (0, 1).

    Returns:
        Arrays of the common shape; nan where there were no trials.

    References:
        Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    from statsmodels.stats.proportion import proportion_confint

    require_fraction("confidence", confidence)
    count, total = counts_of(successes, trials)
    some = total > 0
    low, high = proportion_confint(count, np.where(some, total, 1), alpha=1 - confidence, method="wilson")
    rate = count / np.where(some, total, 1)
    low, high = np.minimum(low, rate), np.maximum(high, rate)  # at 0 and n, rounding may leave the rate outside
    return Interval(*(np.where(some, values, np.nan) for values in (rate, low, high)))


def two_proportion_test(
    successes_a: ArrayLike, trials_a: ArrayLike, successes_b: ArrayLike, trials_b: ArrayLike
) -> TwoProportionTest:
    """Two-sided z test of equal rates, `z = (p_a - p_b) / sqrt(p (1 - p) (1/n_a + 1/n_b))` with the pooled rate `p`.

    For a split whose length was fixed beforehand; it says nothing valid about a log that a bandit collected. Where
    nobody or everybody clicked there is no evidence either way: z is 0 and the p-value 1.

    Args:
        successes_a: Clicks of the first arm, any shape.
        trials_a: Visitors of the first arm, same shape, at least 1.
        successes_b: Clicks of the second arm, same shape.
        trials_b: Visitors of the second arm, same shape, at least 1.
    """
    count_a, total_a = counts_of(successes_a, trials_a, suffix="_a")
    count_b, total_b = counts_of(successes_b, trials_b, suffix="_b")
    if np.any(total_a < 1) or np.any(total_b < 1):
        raise ValueError("`trials_a` and `trials_b` must be at least 1. Got an arm without visitors.")
    pooled = (count_a + count_b) / (total_a + total_b)
    variance = pooled * (1 - pooled) * (1 / total_a + 1 / total_b)
    difference = count_a / total_a - count_b / total_b
    statistic = np.where(variance > 0, difference / np.sqrt(np.where(variance > 0, variance, 1.0)), 0.0)
    return TwoProportionTest(difference, statistic, 2 * special.ndtr(-np.abs(statistic)))


def sample_size_two_proportions(
    baseline: float, minimum_effect: float, *, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Visitors per arm for a two-sided z test to find `baseline` against `baseline + minimum_effect`.

    `n = ((z_{1-alpha/2} sqrt(2 p q) + z_power sqrt(p1 q1 + p2 q2)) / effect)^2`, with `p` the mean of the two rates
    (the pooled formula, which matches `two_proportion_test`), rounded up.

    Args:
        baseline: Rate of the control, in (0, 1).
        minimum_effect: Smallest absolute difference worth finding, up or down; `baseline + minimum_effect` in (0, 1).
        power: Chance to find it, in (0, 1), above `alpha`.
        alpha: Two-sided level, in (0, 1).

    References:
        Fleiss, Levin & Paik, "Statistical Methods for Rates and Proportions" (2003), chapter 4, uncorrected formula.

    >>> sample_size_two_proportions(0.10, 0.02)
    3841
    """
    require_fraction("baseline", baseline)
    require_power(power, alpha)
    if minimum_effect == 0 or not 0 < baseline + minimum_effect < 1:
        raise ValueError(
            "`minimum_effect` must not be 0, and `baseline + minimum_effect` must lie in (0, 1). "
            f"Got {minimum_effect} with baseline {baseline}."
        )
    return math.ceil(_visitors(minimum_effect, baseline, power, alpha))


def minimum_detectable_effect(baseline: float, n: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest absolute increase over `baseline` that `n` visitors per arm find: the inverse of the sample size.

    Args:
        baseline: Rate of the control, in (0, 1).
        n: Visitors per arm, positive.
        power: Chance to find it, in (0, 1), above `alpha`.
        alpha: Two-sided level, in (0, 1).

    Returns:
        The increase, in (0, 1 - baseline); nan where even a rate of 1 would go unnoticed.

    >>> round(minimum_detectable_effect(0.10, 3841), 5)
    0.02
    """
    require_fraction("baseline", baseline)
    require_power(power, alpha)
    if not n > 0:
        raise ValueError(f"`n` must be positive. Got {n}.")
    from scipy import optimize

    smallest, largest = 1e-9, (1 - baseline) * (1 - 1e-9)

    def surplus(effect: float) -> float:
        return math.log(_visitors(effect, baseline, power, alpha)) - math.log(n)

    if surplus(largest) > 0:
        return math.nan
    return float(optimize.brentq(surplus, smallest, largest, xtol=1e-15))


def _visitors(effect: float, baseline: float, power: float, alpha: float) -> float:
    other = baseline + effect
    pooled = (baseline + other) / 2
    null = special.ndtri(1 - alpha / 2) * math.sqrt(2 * pooled * (1 - pooled))
    alternative = special.ndtri(power) * math.sqrt(baseline * (1 - baseline) + other * (1 - other))
    return float(((null + alternative) / effect) ** 2)
