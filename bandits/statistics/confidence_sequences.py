"""Confidence sequences: intervals that hold at all times at once, so that a test may be watched and stopped at will.

`P(the truth lies in every interval) >= confidence`, over the whole path and under any stopping rule. The beta mixture,
empirical Bernstein and betting sequences hold exactly for every sample size; per arm they also hold when a bandit
decides who sees the arm, as long as they are indexed by the arm's own pulls. The normal mixture is asymptotic.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bandits.statistics.checks import counts_of, require_fraction, require_prior

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_BET_LIMIT = 0.5  # the `c` of Waudby-Smith & Ramdas: no bet risks more than half of the capital


class ConfidenceSequence(NamedTuple):
    """Estimates with intervals that hold at all times at once; the arrays have one shape.

    Attributes:
        estimate: Point estimate; nan before the first observation.
        low: Lower end. Before the first observation it is the least possible value.
        high: Upper end. Before the first observation it is the largest possible value.
        confidence: Probability that every interval of one sequence covers.
        method: The method in words.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    confidence: float
    method: str


def beta_mixture_sequence(
    successes: ArrayLike, trials: ArrayLike, *, confidence: float = 0.95, prior: tuple[float, float] = (1.0, 1.0)
) -> ConfidenceSequence:
    """Exact confidence sequence for a click rate: all p with `beta_mixture_log_e_value < log(1 / alpha)`.

    It needs no tuning and no propensities, and holds for an arm of a bandit at every one of the arm's own pulls. Each
    entry is computed for itself; `running_intersection` along the path makes it narrower at no cost.

    Args:
        successes: Clicks so far, any shape.
        trials: Visitors so far, a shape that goes with it, at least `successes`; 0 gives (0, 1) and the estimate nan.
        confidence: Over the whole path, in (0, 1).
        prior: Beta parameters of the mixture, both positive. Any choice made beforehand is valid; the sequence is
            narrowest near rates that the mixture finds likely.

    References:
        Robbins, "Statistical methods related to the law of the iterated logarithm" (1970); Howard, Ramdas, McAuliffe &
        Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences" (2021), beta-binomial mixture.

    >>> sequence = beta_mixture_sequence([0, 5], [10, 100])
    >>> sequence.low.round(4), sequence.high.round(4)
    (array([0.    , 0.0066]), array([0.4169, 0.1603]))
    """
    count, total = counts_of(successes, trials)
    alpha = _alpha(confidence)
    a, b = require_prior(prior)
    threshold = special.betaln(a + count, b + total - count) - special.betaln(a, b) + math.log(alpha)
    low = special.expit(_lower_log_odds(count, total, threshold))
    high = special.expit(-_lower_log_odds(total - count, total, threshold))
    rate = _ratio(count, total)
    method = f"beta mixture with prior ({a:g}, {b:g}), exact"
    return ConfidenceSequence(rate, low, high, confidence, method)


def beta_mixture_log_e_value(
    successes: ArrayLike, trials: ArrayLike, rate: ArrayLike, *, prior: tuple[float, float] = (1.0, 1.0)
) -> FloatArray:
    """Log evidence against a click rate: `log B(a + s, b + f) / B(a, b) - s log p - f log(1 - p)`.

    For the true rate its exponential is a nonnegative martingale that begins at 1, so it ever exceeds `1 / alpha` with
    probability at most `alpha` (Ville's inequality).

    Args:
        successes: Clicks so far, any shape.
        trials: Visitors so far, a shape that goes with it.
        rate: The rate p in question, in [0, 1]; inf is returned where it is impossible.
        prior: Beta parameters of the mixture, both positive.

    Returns:
        Array of the common shape; 0 where there were no trials.
    """
    count, total = counts_of(successes, trials)
    p = np.asarray(rate, dtype=np.float64)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"`rate` must lie in [0, 1]. Got {rate!r}.")
    a, b = require_prior(prior)
    mixture = special.betaln(a + count, b + total - count) - special.betaln(a, b)
    return np.asarray(mixture - special.xlogy(count, p) - special.xlog1py(total - count, -p))


def beta_mixture_difference(
    successes_a: ArrayLike,
    trials_a: ArrayLike,
    successes_b: ArrayLike,
    trials_b: ArrayLike,
    *,
    confidence: float = 0.95,
    prior: tuple[float, float] = (1.0, 1.0),
) -> ConfidenceSequence:
    """Exact confidence sequence for the difference of two click rates, `p_a - p_b`.

    The product of the two arms' evidence is a martingale at the true pair of rates, however the visitors are divided
    between the arms over time, by a bandit too. A difference d stays in the sequence while some pair of rates with that
    difference has not gathered evidence `1 / alpha`. With some tens of visitors per arm it is narrower than a union
    bound over the arms, as the evidence of both is pooled. It excludes 0 exactly where `beta_mixture_test` rejects.

    Args:
        successes_a: Clicks of the first arm, any shape.
        trials_a: Visitors of the first arm; with 0 its rate may be anything.
        successes_b: Clicks of the second arm.
        trials_b: Visitors of the second arm.
        confidence: Over the whole path, in (0, 1).
        prior: Beta parameters of either arm's mixture, both positive.

    Returns:
        Arrays of the common shape, within [-1, 1]; the estimate is nan where an arm has no visitors.
    """
    shapes = np.broadcast_arrays(successes_a, trials_a, successes_b, trials_b)
    (s_a, n_a), (s_b, n_b) = counts_of(*shapes[:2], suffix="_a"), counts_of(*shapes[2:], suffix="_b")
    alpha = _alpha(confidence)
    a, b = require_prior(prior)
    mixtures = special.betaln(a + s_a, b + n_a - s_a) + special.betaln(a + s_b, b + n_b - s_b)
    threshold = np.asarray(mixtures - 2 * special.betaln(a, b) + math.log(alpha), dtype=np.float64)
    low = _lowest_difference(s_a, n_a, s_b, n_b, threshold)
    high = -_lowest_difference(s_b, n_b, s_a, n_a, threshold)
    method = f"product of beta mixtures with prior ({a:g}, {b:g}), profiled, exact"
    return ConfidenceSequence(_ratio(s_a, n_a) - _ratio(s_b, n_b), low, high, confidence, method)


def union_difference(a: ConfidenceSequence, b: ConfidenceSequence) -> ConfidenceSequence:
    """Confidence sequence for `a - b` from one of each, by a union bound: valid however the two depend on each other.

    Args:
        a: Of the first arm, with confidence `1 - alpha / 2` for a difference at `1 - alpha`.
        b: Of the second arm, of the same shape; its method may be another.

    Returns:
        With confidence `1 - (1 - a.confidence) - (1 - b.confidence)`.

    Raises:
        ValueError: When the two errors together reach 1.
    """
    confidence = a.confidence + b.confidence - 1
    if not confidence > 0:
        raise ValueError(f"`a` and `b` must have errors below 1 together. Got {a.confidence} and {b.confidence}.")
    method = f"union bound over: {a.method}; {b.method}"
    return ConfidenceSequence(a.estimate - b.estimate, a.low - b.high, a.high - b.low, confidence, method)


def running_intersection(sequence: ConfidenceSequence) -> ConfidenceSequence:
    """The intersection of all intervals so far, which covers with the same confidence.

    Args:
        sequence: Time in the last axis. Not for the asymptotic normal mixture, whose first intervals are not valid.

    Returns:
        The same estimates; `low` and `high` are nan from the time on at which no value is left, which happens with
        probability at most `1 - confidence` when the assumptions hold.
    """
    low = np.maximum.accumulate(sequence.low, axis=-1)
    high = np.minimum.accumulate(sequence.high, axis=-1)
    empty = low > high
    low, high = np.where(empty, np.nan, low), np.where(empty, np.nan, high)
    return sequence._replace(low=low, high=high, method=f"running intersection of {sequence.method}")


def normal_mixture_rho(planned: float, *, confidence: float = 0.95) -> float:
    """The `rho` that makes the normal mixture narrowest after `planned` observations.

    `rho^2 = (-W_{-1}(-alpha^2 / e) - 1) / planned` with the lower branch of Lambert's function.

    Args:
        planned: Number of observations, positive.
        confidence: Confidence of the sequence, in (0, 1).

    References:
        Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory and asymptotic confidence
        sequences" (2024).

    >>> round(normal_mixture_rho(1000), 5)
    0.09062
    """
    if not 0 < planned < math.inf:
        raise ValueError(f"`planned` must be positive and finite. Got {planned}.")
    alpha = _alpha(confidence)
    return math.sqrt((-special.lambertw(-(alpha**2) / math.e, -1).real - 1) / planned)


def normal_mixture_sequence(
    estimate: ArrayLike, standard_error: ArrayLike, count: ArrayLike, *, rho: float, confidence: float = 0.95
) -> ConfidenceSequence:
    """Asymptotic confidence sequence around any estimate that averages `count` terms.

    `estimate ± standard_error sqrt(2 (1 + 1/r) log(sqrt(1 + r) / alpha))` with `r = count rho^2`. For a mean, the
    standard error is sd / sqrt(count); for a difference of two arms, `sqrt(v_a / n_a + v_b / n_b)` with `n_a + n_b`
    visitors; for AIPW scores, that of their mean. Its error tends to `1 - confidence` as the first look moves out:
    start after a burn-in (hundreds of observations, several successes and failures in each arm).

    Args:
        estimate: Any shape.
        standard_error: Of the estimate at that time, a shape that goes with it. Where it is 0 or nan, nothing is known
            yet and the interval is (-inf, inf).
        count: Number of terms at that time, positive.
        rho: From `normal_mixture_rho`, positive; fixed beforehand.
        confidence: Over the whole path, in (0, 1).

    References:
        Waudby-Smith et al. (2024), theorem 2.2; Robbins (1970).
    """
    alpha = _alpha(confidence)
    if not 0 < rho < math.inf:
        raise ValueError(f"`rho` must be positive and finite. Got {rho}.")
    centre, error, number = np.broadcast_arrays(
        *(np.asarray(values, dtype=np.float64) for values in (estimate, standard_error, count))
    )
    if np.any(error < 0) or not np.all(number > 0):
        raise ValueError("`standard_error` must not be negative and `count` must be positive. Got a value that is.")
    ratio = number * rho**2
    half_width = error * np.sqrt(2 * (1 + 1 / ratio) * (np.log1p(ratio) / 2 - math.log(alpha)))
    low = np.where(error > 0, centre - half_width, -np.inf)
    high = np.where(error > 0, centre + half_width, np.inf)
    method = f"normal mixture with rho {rho:.4g}, asymptotic"
    return ConfidenceSequence(centre.copy(), low, high, confidence, method)


def empirical_bernstein_sequence(
    rewards: ArrayLike, observed: ArrayLike | None = None, *, confidence: float = 0.95
) -> ConfidenceSequence:
    """Confidence sequence for a mean of rewards in [0, 1], in closed form (predictable plug-in empirical Bernstein).

    `sum(bet x) / sum(bet) ± (log(2 / alpha) + sum((x - mean)^2 (-log(1 - bet) - bet))) / sum(bet)`, where the mean and
    the bets are made of earlier rewards only; intersected over time and with [0, 1].

    Args:
        rewards: In [0, 1], shape (..., T), in order of time. Scale other bounded rewards first.
        observed: Whether each round's reward belongs to this arm, same shape; None when all do. Other rounds leave the
            sequence as it was, so that a bandit's log gives a sequence per arm.
        confidence: Over the whole path, in (0, 1).

    Returns:
        Arrays of shape (..., T); the estimate is the weighted mean that is the interval's centre. (0, 1) before the
        first observation; nan where no value is left (see `running_intersection`).

    References:
        Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (2023), theorem 2.
    """
    x, seen = _rewards(rewards, observed)
    alpha = _alpha(confidence)
    bets, before = _bets(x, seen, alpha)
    bets = np.where(seen, np.minimum(bets, _BET_LIMIT), 0.0)
    deviations = np.where(seen, (x - before) ** 2, 0.0)
    total = np.cumsum(bets, axis=-1)
    some = total > 0
    divisor = np.where(some, total, 1.0)
    centre = np.where(some, np.cumsum(bets * x, axis=-1) / divisor, np.nan)
    spread = np.cumsum(deviations * (-np.log1p(-bets) - bets), axis=-1)
    half_width = np.where(some, (math.log(2 / alpha) + spread) / divisor, np.inf)
    low = np.where(some, np.maximum(centre - half_width, 0.0), 0.0)
    high = np.where(some, np.minimum(centre + half_width, 1.0), 1.0)
    method = "predictable plug-in empirical Bernstein for rewards in [0, 1]"
    return running_intersection(ConfidenceSequence(centre, low, high, confidence, method))


def betting_log_capital(
    rewards: ArrayLike, mean: ArrayLike, observed: ArrayLike | None = None, *, confidence: float = 0.95
) -> FloatArray:
    """Log capital of a gambler who bets that the mean is not `mean`, half of it on either side.

    For the true mean the capital ever reaches `1 / alpha` with probability at most `alpha = 1 - confidence`.

    Args:
        rewards: In [0, 1], shape (..., T), in order of time.
        mean: The mean in question, in [0, 1], a shape that goes with (...).
        observed: As in `empirical_bernstein_sequence`.
        confidence: Sets the size of the bets, in (0, 1).

    Returns:
        Shape (..., T): the larger one of the two halves.
    """
    x, seen = _rewards(rewards, observed)
    m = np.asarray(mean, dtype=np.float64)
    if not np.all((m >= 0) & (m <= 1)):
        raise ValueError(f"`mean` must lie in [0, 1]. Got {mean!r}.")
    bets, _ = _bets(x, seen, _alpha(confidence))
    return np.maximum(*_log_capitals(x, np.where(seen, bets, 0.0), m[..., None]))


def hedged_betting_sequence(
    rewards: ArrayLike, observed: ArrayLike | None = None, *, confidence: float = 0.95, grid: int = 1000
) -> ConfidenceSequence:
    """Confidence sequence for a mean of rewards in [0, 1]: all means whose betting capital never reached `1 / alpha`.

    Usually the narrowest of the sequences for bounded rewards. The ends lie on a grid and are rounded outwards, so
    coverage is kept at the price of at most `1 / grid` on either side. Intersected over time.

    Args:
        rewards: In [0, 1], shape (..., T), in order of time.
        observed: As in `empirical_bernstein_sequence`.
        confidence: Over the whole path, in (0, 1).
        grid: Number of steps into which [0, 1] is cut, at least 1; time grows with it.

    Returns:
        Arrays of shape (..., T); the estimate is the mean so far. nan where no value is left.

    References:
        Waudby-Smith & Ramdas (2023), theorem 3, with equal capital on both sides.
    """
    x, seen = _rewards(rewards, observed)
    alpha = _alpha(confidence)
    if isinstance(grid, bool) or not isinstance(grid, int) or grid < 1:
        raise ValueError(f"`grid` must be an integer of at least 1. Got {grid!r}.")
    bets = np.where(seen, _bets(x, seen, alpha)[0], 0.0)
    low, high = np.zeros_like(x), np.ones_like(x)
    # The first half only falls in the mean and the second only rises, so the means left over are an interval.
    for step in range(grid + 1):
        up, down = _log_capitals(x, bets, np.asarray(step / grid))
        low = np.where(np.maximum.accumulate(up, axis=-1) >= -math.log(alpha), step / grid, low)
        above = np.maximum.accumulate(down, axis=-1) >= -math.log(alpha)
        high = np.where(above, np.minimum(high, step / grid), high)
    count = np.cumsum(seen, axis=-1)
    estimate = _ratio(np.cumsum(np.where(seen, x, 0.0), axis=-1), count.astype(np.float64))
    method = f"hedged betting for rewards in [0, 1], on a grid of {grid}"
    return running_intersection(ConfidenceSequence(estimate, low, high, confidence, method))


def _lower_log_odds(count: FloatArray, total: FloatArray, threshold: FloatArray) -> FloatArray:
    """The least log odds x with `threshold - count x + total log(1 + e^x) <= 0`; -inf where `count` is 0.

    Newton's method on a convex function from a point outside its root, hence monotone.
    """
    some = count > 0
    odds = np.where(some, threshold / np.where(some, count, 1.0), 0.0)
    for _ in range(100):
        value = threshold - count * odds + total * np.logaddexp(0.0, odds)
        slope = total * special.expit(odds) - count
        step = np.where(some & (value > 0) & (slope < 0), -value / np.where(slope < 0, slope, -1.0), 0.0)
        odds = odds + step
        if np.all(step <= 1e-15 * (1 + np.abs(odds))):
            break
    return np.where(some, odds, -np.inf)


def _lowest_difference(
    s_a: FloatArray, n_a: FloatArray, s_b: FloatArray, n_b: FloatArray, threshold: FloatArray
) -> FloatArray:
    """The least `p_a - p_b` of a pair of rates whose log likelihood is at least `threshold`.

    The likeliest pair with a given difference solves `s/p - f/(1 - p) = ±force` in either arm, a quadratic equation
    with the Lagrange multiplier `force`; the search is over its logarithm.
    """

    def pair(log_force: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        force = np.exp(log_force)
        p_a = _pulled_down(s_a, n_a, force)
        q_b = _pulled_down(n_b - s_b, n_b, force)
        return p_a, 1 - p_a, 1 - q_b, q_b

    weak, strong = np.full(threshold.shape, math.log(1e-9)), np.log(1e18 * (1 + n_a + n_b))
    for _ in range(70):
        middle = (weak + strong) / 2
        p_a, q_a, p_b, q_b = pair(middle)
        fit = special.xlogy(s_a, p_a) + special.xlogy(n_a - s_a, q_a)
        fit = fit + special.xlogy(s_b, p_b) + special.xlogy(n_b - s_b, q_b)
        inside = fit >= threshold
        weak, strong = np.where(inside, middle, weak), np.where(inside, strong, middle)
    p_a, _, p_b, _ = pair(weak)
    return np.asarray(np.where(n_a > 0, p_a, 0.0) - np.where(n_b > 0, p_b, 1.0))


def _pulled_down(count: FloatArray, total: FloatArray, force: FloatArray) -> FloatArray:
    """The p in [0, 1] with `count / p - (total - count) / (1 - p) = force` >= 0, in the form that does not cancel."""
    root = np.sqrt((total - force) ** 2 + 4 * force * (total - count))
    return np.asarray(2 * count / (total + force + root))


def _bets(x: FloatArray, seen: BoolArray, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Bets `sqrt(2 log(2/alpha) / (variance t log(1 + t)))` and the means of earlier rewards they rest on, (..., T)."""
    count = np.cumsum(seen, axis=-1)
    before: FloatArray = count - seen.astype(np.float64)
    values = np.where(seen, x, 0.0)
    total = np.cumsum(values, axis=-1)
    mean = (0.5 + total) / (1 + count)
    squares = np.cumsum(np.where(seen, (x - mean) ** 2, 0.0), axis=-1)
    earlier_squares = squares - np.where(seen, (x - mean) ** 2, 0.0)
    variance = (0.25 + earlier_squares) / (1 + before)
    time = np.maximum(count, 1)
    bets = np.sqrt(2 * math.log(2 / alpha) / (variance * time * np.log1p(time)))
    return bets, (0.5 + total - values) / (1 + before)


def _log_capitals(x: FloatArray, bets: FloatArray, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log of the capital, 1/2 at first, staked on a mean above and below `mean`, (..., T)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.where(bets > 0, np.minimum(bets, _BET_LIMIT / mean), 0.0)
        below = np.where(bets > 0, np.minimum(bets, _BET_LIMIT / (1 - mean)), 0.0)
    up = np.cumsum(np.log1p(above * (x - mean)), axis=-1)
    down = np.cumsum(np.log1p(-below * (x - mean)), axis=-1)
    return up - math.log(2), down - math.log(2)


def _rewards(rewards: ArrayLike, observed: ArrayLike | None) -> tuple[FloatArray, BoolArray]:
    x = np.asarray(rewards, dtype=np.float64)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"`rewards` must have at least one round in its last axis. Got shape {x.shape}.")
    seen = np.ones(x.shape, dtype=np.bool_) if observed is None else np.asarray(observed)
    if seen.shape != x.shape or seen.dtype != np.bool_:
        raise ValueError(f"`observed` must be booleans of shape {x.shape}. Got {seen.dtype} of shape {seen.shape}.")
    if not np.all((x[seen] >= 0) & (x[seen] <= 1)):
        raise ValueError("`rewards` must lie in [0, 1]; scale them first. Got a value outside, or nan.")
    return np.where(seen, x, 0.0), seen


def _ratio(total: FloatArray, count: FloatArray) -> FloatArray:
    return np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)


def _alpha(confidence: float) -> float:
    require_fraction("confidence", confidence)
    return 1 - confidence
