"""Click rates beyond `proportions`: the exact interval of one rate and the interval of a difference."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from bandits.statistics.checks import counts_of, require_fraction
from bandits.statistics.effect import Effect
from bandits.statistics.intervals import Interval
from bandits.statistics.proportions import proportion_interval, two_proportion_test


def exact_proportion_interval(successes: ArrayLike, trials: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Share of successes with Clopper and Pearson's interval, whose coverage is never below `confidence`.

    It is wider than Wilson's (`proportion_interval`), which keeps its level on average only: take it where a guarantee
    is asked for.

    Args:
        successes: Counts, any shape.
        trials: Counts of the same shape (or broadcastable), at least `successes`.
        confidence: Least coverage, in (0, 1).

    Returns:
        Arrays of the common shape; nan where there were no trials.

    References:
        Clopper & Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial" (1934).

    >>> exact_proportion_interval(0, 10).high.round(4)
    np.float64(0.3085)
    """
    require_fraction("confidence", confidence)
    count, total = counts_of(successes, trials)
    some, tail = total > 0, (1 - confidence) / 2
    failures = total - count
    low = np.where(count > 0, special.betaincinv(np.where(count > 0, count, 1), failures + 1, tail), 0.0)
    high = np.where(failures > 0, special.betainccinv(count + 1, np.where(failures > 0, failures, 1), tail), 1.0)
    rate = count / np.where(some, total, 1)
    return Interval(*(np.where(some, values, np.nan) for values in (rate, low, high)))


def proportion_difference(
    successes_a: ArrayLike,
    trials_a: ArrayLike,
    successes_b: ArrayLike,
    trials_b: ArrayLike,
    *,
    confidence: float = 0.95,
) -> Effect:
    """Difference of two rates, `p_a - p_b`, with Newcombe's hybrid score interval.

    With the Wilson intervals `(l, u)` of the two rates the ends are `d - sqrt((p_a - l_a)^2 + (u_b - p_b)^2)` and
    `d + sqrt((u_a - p_a)^2 + (p_b - l_b)^2)`. The p-value is that of the pooled z test (`two_proportion_test`), the
    usual companion; near the level the two may disagree.

    Args:
        successes_a: Clicks of the first arm, any shape.
        trials_a: Visitors of the first arm, same shape.
        successes_b: Clicks of the second arm, same shape.
        trials_b: Visitors of the second arm, same shape.
        confidence: Coverage, in (0, 1).

    Returns:
        Arrays of the common shape; all nan where an arm has no visitors. Where nobody or everybody clicked the interval
        keeps its width, and the p-value is 1.

    References:
        Newcombe, "Interval estimation for the difference between independent proportions" (1998), method 10.

    >>> effect = proportion_difference(56, 70, 48, 80)
    >>> effect.low.round(4), effect.high.round(4)
    (np.float64(0.0524), np.float64(0.3339))
    """
    a = proportion_interval(successes_a, trials_a, confidence=confidence)
    b = proportion_interval(successes_b, trials_b, confidence=confidence)
    difference = a.estimate - b.estimate
    low = difference - np.hypot(a.estimate - a.low, b.high - b.estimate)
    high = difference + np.hypot(a.high - a.estimate, b.estimate - b.low)
    some = np.isfinite(difference)
    counts = np.broadcast_arrays(successes_a, trials_a, successes_b, trials_b)
    p_value = two_proportion_test(*(np.where(some, count, 1) for count in counts)).p_value
    method = "difference of rates, Newcombe's score interval, pooled z test"
    return Effect(
        difference, np.maximum(low, -1), np.minimum(high, 1), np.where(some, p_value, np.nan), confidence, method
    )
