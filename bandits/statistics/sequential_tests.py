"""Always-valid tests of two click rates: p-values that may be watched at every visitor."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bandits.statistics.checks import counts_of, require_prior

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class AlwaysValidTest(NamedTuple):
    """A test watched over time; the arrays have the shape of the counts, time in the last axis.

    Attributes:
        difference: First rate minus second so far; nan where an arm has no visitors.
        log_e_value: Log of the evidence against equal rates at that time.
        p_value: `min(1, 1 / largest evidence so far)`. Rejecting when it first reaches alpha, whenever that is, has
            type I error at most alpha. Not adjusted for other tests.
        method: The method in words.
    """

    difference: FloatArray
    log_e_value: FloatArray
    p_value: FloatArray
    method: str


def beta_mixture_test(
    successes_a: ArrayLike,
    trials_a: ArrayLike,
    successes_b: ArrayLike,
    trials_b: ArrayLike,
    *,
    prior: tuple[float, float] = (1.0, 1.0),
) -> AlwaysValidTest:
    """Exact always-valid test of equal click rates, for every sample size and every way to divide the visitors.

    The evidence is the likelihood of the clicks with an independent Beta-distributed rate for either arm, over their
    likelihood with the one common rate that explains them best. At the true common rate the ratio would be a martingale
    that begins at 1, and the best rate only makes it smaller. It needs no propensities, and any policy may have divided
    the visitors; where the split is known, `predictive_test` finds differences much sooner.

    Args:
        successes_a: Clicks of the first arm so far, shape (..., T).
        trials_a: Visitors of the first arm so far, a shape that goes with it; may be 0.
        successes_b: Clicks of the second arm so far.
        trials_b: Visitors of the second arm so far.
        prior: Beta parameters of either arm, both positive, fixed beforehand. A mean near the true rates finds
            differences sooner.

    References:
        Robbins (1970), on mixtures; Ville (1939). The profile over the common rate is that of universal inference:
        Wasserman, Ramdas & Balakrishnan (2020).

    >>> beta_mixture_test([5, 30], [50, 100], [5, 10], [50, 100]).p_value.round(4)
    array([1.   , 0.178])
    """
    s_a, n_a, s_b, n_b = _two_arms(successes_a, trials_a, successes_b, trials_b)
    a, b = require_prior(prior)
    arms = special.betaln(a + s_a, b + n_a - s_a) + special.betaln(a + s_b, b + n_b - s_b)
    apart = np.asarray(arms - 2 * special.betaln(a, b), dtype=np.float64)
    clicks, visitors = s_a + s_b, n_a + n_b
    rate = clicks / np.maximum(visitors, 1)
    together = np.asarray(special.xlogy(clicks, rate) + special.xlog1py(visitors - clicks, -rate))
    method = f"beta mixtures with prior ({a:g}, {b:g}) against the best common rate, exact, always valid"
    return _tested(s_a, n_a, s_b, n_b, apart - together, method)


def predictive_test(
    first: ArrayLike,
    clicks: ArrayLike,
    share: ArrayLike,
    observed: ArrayLike | None = None,
    *,
    prior: tuple[float, float] = (1.0, 1.0),
) -> AlwaysValidTest:
    """Exact always-valid test of equal click rates for a known split: bets on each click with the rates learnt so far.

    Before a visitor, `rate_a` and `rate_b` are the posterior means of either arm, and
    `rate_0 = share rate_a + (1 - share) rate_b`. The evidence is multiplied by `rate_k / rate_0` when arm k's visitor
    clicks and by `(1 - rate_k) / (1 - rate_0)` when not. Where the arm makes no difference to this visitor the expected
    factor is exactly 1, whatever his click rate: the test stays valid when the common rate drifts or differs between
    visitors, which `beta_mixture_test` does not promise, and it finds differences much sooner. The price is that the
    chance of either arm must be known.

    Args:
        first: Whether each visitor got the first arm, booleans of shape (..., T), in the order in which results came
            in. How late a result comes must not depend on the arm or on the click.
        clicks: 0 or 1, same shape.
        share: Probability, when it was decided, that this visitor would get the first of the two arms, in [0, 1], a
            shape that goes with it; a number for a constant split. With more arms, `e_a / (e_a + e_b)`. Certain choices
            (0 or 1) add nothing, so a log of a deterministic policy never rejects.
        observed: Whether each round belongs to either of the two arms, same shape; None when all do.
        prior: Beta parameters of either arm, both positive, fixed beforehand. Effects of size d around a rate p are
            found soonest with a mean near p and a sum near `p (1 - p) / d^2`.

    References:
        Turner, Ly & Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
        stopping" (2024), with one visitor as a block and the known split as its design.

    >>> predictive_test([True, False, True], [1, 0, 1], 0.5).log_e_value.round(4)
    array([0.    , 0.1823, 0.47  ])
    """
    is_first, y, seen, chance = _visits(first, clicks, share, observed)
    a, b = require_prior(prior)
    learnt, counts = [], []
    for mine in (is_first & seen, ~is_first & seen):
        visitors, successes = mine.astype(np.float64), np.where(mine, y, 0.0)
        n, s = np.cumsum(visitors, axis=-1), np.cumsum(successes, axis=-1)
        learnt.append((a + s - successes) / (a + b + n - visitors))
        counts += [s, n]
    common = chance * learnt[0] + (1 - chance) * learnt[1]
    own = np.where(is_first, learnt[0], learnt[1])
    factor = np.where(y > 0, own / common, (1 - own) / (1 - common))
    evidence = np.cumsum(np.where(seen, np.log(factor), 0.0), axis=-1)
    method = f"predictive bets with prior ({a:g}, {b:g}) and known split, exact, always valid"
    return _tested(counts[0], counts[1], counts[2], counts[3], evidence, method)


def msprt_test(
    successes_a: ArrayLike,
    trials_a: ArrayLike,
    successes_b: ArrayLike,
    trials_b: ArrayLike,
    *,
    tau: float,
    burn_in: int = 100,
) -> AlwaysValidTest:
    """Mixture sequential probability ratio test of equal click rates: `sqrt(V/(V + n tau^2)) exp(...)`, asymptotic.

    With `v = p_a q_a / n_a + p_b q_b / n_b`, the observed variance of the difference d, and `r = tau^2 / v`, the
    evidence is `exp(d^2 r / (2 v (1 + r))) / sqrt(1 + r)`; for n visitors in either arm this is the published
    `sqrt(V / (V + n tau^2)) exp(n^2 tau^2 d^2 / (2 V (V + n tau^2)))`, V = n v. It is the test that belongs to
    `normal_mixture_sequence` with `count rho^2 = r`. The variance is estimated, so early evidence is not counted.

    Args:
        successes_a: Clicks of the first arm so far, shape (..., T).
        trials_a: Visitors of the first arm so far, a shape that goes with it.
        successes_b: Clicks of the second arm so far.
        trials_b: Visitors of the second arm so far.
        tau: Standard deviation of the differences that the mixture expects, positive, fixed beforehand: about the
            smallest difference worth finding.
        burn_in: The evidence is held at 1 while an arm has fewer visitors than this, or the variance is 0 (nobody or
            everybody clicked); at least 1.

    References:
        Johari, Koomen, Pekelis & Walsh, "Always valid inference: continuous monitoring of A/B tests" (2022).
    """
    s_a, n_a, s_b, n_b = _two_arms(successes_a, trials_a, successes_b, trials_b)
    if not 0 < tau < math.inf:
        raise ValueError(f"`tau` must be positive and finite. Got {tau}.")
    if not burn_in >= 1:
        raise ValueError(f"`burn_in` must be at least 1. Got {burn_in}.")
    many_a, many_b = np.maximum(n_a, 1), np.maximum(n_b, 1)
    rate_a, rate_b = s_a / many_a, s_b / many_b
    variance = rate_a * (1 - rate_a) / many_a + rate_b * (1 - rate_b) / many_b
    ready = (np.minimum(n_a, n_b) >= burn_in) & (variance > 0)
    variance = np.where(ready, variance, 1.0)
    ratio = tau**2 / variance
    evidence = (rate_a - rate_b) ** 2 * ratio / (2 * variance * (1 + ratio)) - np.log1p(ratio) / 2
    method = f"mSPRT with tau {tau:g} after {burn_in} visitors per arm, asymptotic, always valid"
    return _tested(s_a, n_a, s_b, n_b, np.where(ready, evidence, 0.0), method)


def always_valid_p_value(log_e_value: ArrayLike) -> FloatArray:
    """Running minimum of `min(1, 1 / evidence)` over the last axis.

    Args:
        log_e_value: Log of a nonnegative martingale that begins at 1 (or of what stays below one), shape (..., T).

    >>> always_valid_p_value([0.0, 2.0, 1.0, 3.0]).round(4)
    array([1.    , 0.1353, 0.1353, 0.0498])
    """
    evidence = np.asarray(log_e_value, dtype=np.float64)
    if np.isnan(evidence).any():
        raise ValueError("`log_e_value` must be numbers. Got nan.")
    return np.exp(-np.maximum.accumulate(np.maximum(np.atleast_1d(evidence), 0.0), axis=-1)).reshape(evidence.shape)


def _tested(
    s_a: FloatArray, n_a: FloatArray, s_b: FloatArray, n_b: FloatArray, evidence: FloatArray, method: str
) -> AlwaysValidTest:
    rates = [np.where(n > 0, s / np.maximum(n, 1), np.nan) for s, n in ((s_a, n_a), (s_b, n_b))]
    return AlwaysValidTest(rates[0] - rates[1], evidence, always_valid_p_value(evidence), method)


def _two_arms(
    successes_a: ArrayLike, trials_a: ArrayLike, successes_b: ArrayLike, trials_b: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    shapes = np.broadcast_arrays(successes_a, trials_a, successes_b, trials_b)
    return *counts_of(*shapes[:2], suffix="_a"), *counts_of(*shapes[2:], suffix="_b")


def _visits(
    first: ArrayLike, clicks: ArrayLike, share: ArrayLike, observed: ArrayLike | None
) -> tuple[BoolArray, FloatArray, BoolArray, FloatArray]:
    is_first, y = np.asarray(first), np.asarray(clicks, dtype=np.float64)
    if is_first.ndim == 0 or is_first.dtype != np.bool_:
        raise ValueError(f"`first` must be booleans, one for each visitor. Got {first!r}.")
    seen = np.ones(is_first.shape, dtype=np.bool_) if observed is None else np.asarray(observed)
    if seen.shape != is_first.shape or seen.dtype != np.bool_:
        raise ValueError(f"`observed` must be booleans of shape {is_first.shape}. Got {seen.dtype} {seen.shape}.")
    if y.shape != is_first.shape or not np.isin(y[seen], (0, 1)).all():
        raise ValueError(f"`clicks` must be 0 or 1 and have shape {is_first.shape}. Got shape {y.shape}.")
    chance = np.broadcast_to(np.asarray(share, dtype=np.float64), is_first.shape)
    possible = np.where(is_first, (chance > 0) & (chance <= 1), (chance >= 0) & (chance < 1))
    if not np.all(possible | ~seen):
        raise ValueError("`share` must lie in [0, 1] and allow what was chosen. Got a number outside, or an arm at 0.")
    return is_first, np.where(seen, y, 0.0), seen, np.where(seen, chance, 0.5)
