"""Always-valid statistics as compiled scalar functions of sufficient statistics: O(1) for each visitor.

For policies that stop a test from inside the loop. Each equals its array twin in `confidence_sequences` or
`sequential_tests`, which say what is valid and where it comes from; nothing is checked here. This module is not loaded
by `bandits.statistics`, because it needs the compiler.
"""

from __future__ import annotations

from math import exp, inf, log, log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from bandits.machine_code import jit
from bandits.special import betainc, betaincinv, gammaln

FloatArray = NDArray[np.float64]

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(20)
_NEGLIGIBLE = 1e-13  # probability beyond the range of integration


@jit
def log_beta(a: float, b: float) -> float:
    """Logarithm of the Beta function for positive `a` and `b`."""
    return gammaln(a) + gammaln(b) - gammaln(a + b)


@jit
def log_likelihood(successes: float, trials: float, rate: float) -> float:
    """`s log p + f log(1 - p)`, with 0 log 0 = 0; -inf where the rate makes the counts impossible."""
    value = 0.0
    if successes > 0.0:
        value += successes * log(rate)
    if trials > successes:
        value += (trials - successes) * log1p(-rate)
    return value


@jit
def beta_mixture_step(click: bool, successes: float, trials: float, a: float, b: float) -> float:
    """What one more visitor adds to `log B(a + s, b + f) / B(a, b)`; the counts are those before the visitor.

    Summed up it saves the logarithms of gamma functions that `beta_mixture_evidence` takes.
    """
    return log((a + successes if click else b + trials - successes) / (a + b + trials))


@jit
def beta_mixture_evidence(successes: float, trials: float, rate: float, a: float, b: float) -> float:
    """Log evidence against `rate` in (0, 1) for one arm; the scalar form of `beta_mixture_log_e_value`."""
    mixture = log_beta(a + successes, b + trials - successes) - log_beta(a, b)
    return mixture - log_likelihood(successes, trials, rate)


@jit
def beta_mixture_test_evidence(
    successes_a: float, trials_a: float, successes_b: float, trials_b: float, a: float, b: float
) -> float:
    """Log evidence against equal rates; the scalar form of `beta_mixture_test`. Reject at `>= log(1 / alpha)`."""
    apart = log_beta(a + successes_a, b + trials_a - successes_a) + log_beta(
        a + successes_b, b + trials_b - successes_b
    )
    clicks, visitors = successes_a + successes_b, trials_a + trials_b
    if visitors == 0.0:
        return 0.0
    return apart - 2.0 * log_beta(a, b) - log_likelihood(clicks, visitors, clicks / visitors)


@jit
def predictive_step(
    click: bool,
    first: bool,
    share: float,
    successes_a: float,
    trials_a: float,
    successes_b: float,
    trials_b: float,
    a: float,
    b: float,
) -> float:
    """What one more visitor adds to the log evidence of `predictive_test`; the counts are those before the visitor.

    The sum over visitors, not of sufficient statistics: keep it in the state. Reject when it reaches `log(1 / alpha)`.
    """
    rate_a, rate_b = (a + successes_a) / (a + b + trials_a), (a + successes_b) / (a + b + trials_b)
    common = share * rate_a + (1.0 - share) * rate_b
    own = rate_a if first else rate_b
    return log(own / common) if click else log((1.0 - own) / (1.0 - common))


@jit
def beta_mixture_low(successes: float, trials: float, a: float, b: float, alpha: float) -> float:
    """Lower end of `beta_mixture_sequence`.

    The upper end is `1 - beta_mixture_low(failures, trials, b, a, alpha)`. A root is searched for by Newton's method, 5
    to 20 steps: look at every tenth visitor or so.
    """
    if successes <= 0.0:
        return 0.0
    threshold = log_beta(a + successes, b + trials - successes) - log_beta(a, b) + log(alpha)
    odds = threshold / successes
    for _ in range(100):
        small = exp(-abs(odds))
        value = threshold - successes * odds + trials * (max(odds, 0.0) + log1p(small))
        slope = trials * (1.0 / (1.0 + small) if odds > 0.0 else small / (1.0 + small)) - successes
        if value <= 0.0 or slope >= 0.0:
            break
        step = -value / slope
        odds += step
        if step <= 1e-15 * (1.0 + abs(odds)):
            break
    return 1.0 / (1.0 + exp(-odds)) if odds > -700.0 else 0.0


@jit
def msprt_evidence(
    successes_a: float, trials_a: float, successes_b: float, trials_b: float, tau: float, burn_in: float
) -> float:
    """Log evidence against equal rates; the scalar form of `msprt_test`. Reject at `>= log(1 / alpha)`."""
    if min(trials_a, trials_b) < max(burn_in, 1.0):
        return 0.0
    rate_a, rate_b = successes_a / trials_a, successes_b / trials_b
    variance = rate_a * (1.0 - rate_a) / trials_a + rate_b * (1.0 - rate_b) / trials_b
    return normal_mixture_evidence(rate_a - rate_b, variance, tau)


@jit
def normal_mixture_evidence(difference: float, variance: float, tau: float) -> float:
    """Log evidence of the normal mixture with standard deviation `tau` that an estimate differs from 0.

    Args:
        difference: The estimate.
        variance: Its estimated variance; where that is 0 or infinite, nothing is evident.
        tau: Standard deviation of the mixture, above 0.
    """
    if not 0.0 < variance < inf:
        return 0.0
    ratio = tau * tau / variance
    return difference * difference * ratio / (2.0 * variance * (1.0 + ratio)) - log1p(ratio) / 2.0


@jit
def normal_mixture_half_width(standard_error: float, count: float, rho: float, alpha: float) -> float:
    """Half of the width of `normal_mixture_sequence`; inf where nothing is known yet."""
    if count <= 0.0 or not standard_error > 0.0:
        return inf
    ratio = count * rho * rho
    return standard_error * sqrt(2.0 * (1.0 + 1.0 / ratio) * (log1p(ratio) / 2.0 - log(alpha)))


@jit
def empirical_bernstein_bet(count: float, squares: float, alpha: float) -> float:
    """The bet on the next reward in `empirical_bernstein_sequence`.

    Before it, `count` rewards were seen, and `squares` is the sum over them of `(x - m)^2` with
    `m = (1/2 + sum of rewards up to and with x) / (1 + their number)`. Keep also the sums of `bet`, of `bet * x` and of
    the penalty; then `low = (sum(bet x) - log(2 / alpha) - sum(penalty)) / sum(bet)`, and `high` with plus signs.
    """
    variance = (0.25 + squares) / (1.0 + count)
    return min(sqrt(2.0 * log(2.0 / alpha) / (variance * (count + 1.0) * log1p(count + 1.0))), 0.5)


@jit
def empirical_bernstein_penalty(reward: float, mean: float, bet: float) -> float:
    """What one reward adds to the half width before division; `mean` is `(1/2 + sum) / (1 + count)` of those before."""
    deviation = reward - mean
    return deviation * deviation * (-log1p(-bet) - bet)


@jit
def expected_loss(clicks: FloatArray, visitors: FloatArray, part: FloatArray, pick: int, a: float, b: float) -> float:
    """Expected rate lost by shipping arm `pick` instead of the best; the scalar form of `bayesian_comparison`.

    The integral of `F_pick(x) (1 - prod_j F_j(x))`, with the distribution functions of the independent posteriors, by
    Gauss-Legendre quadrature in panels that begin and end with the bulk of each arm, so that a narrow posterior is seen
    beside a wide one; to about seven digits.

    Args:
        clicks: Of each arm, shape (K,).
        visitors: Of each arm, shape (K,).
        part: Above 0 for the arms that count, shape (K,).
        pick: One of them.
        a: Clicks that the prior adds to each arm, above 0.
        b: Visitors without a click that it adds, above 0.
    """
    arms = clicks.shape[0]
    pick_a, pick_b = a + clicks[pick], b + visitors[pick] - clicks[pick]
    left = betaincinv(pick_a, pick_b, _NEGLIGIBLE)
    high = left
    for k in range(arms):
        if k != pick and part[k] > 0.0:
            high = max(high, betaincinv(a + clicks[k], b + visitors[k] - clicks[k], 1.0 - _NEGLIGIBLE))
    loss = 0.0
    while left < high:
        right = high
        for k in range(arms):
            if part[k] > 0.0:
                total = a + b + visitors[k]
                mean = (a + clicks[k]) / total
                bulk = 6.0 * sqrt(mean * (1.0 - mean) / (total + 1.0))
                for side in range(-1, 2):
                    edge = mean + side * bulk
                    right = edge if left < edge < right else right
        half = (right - left) / 2.0
        for i in range(_NODES.shape[0]):
            x = left + half * (1.0 + _NODES[i])
            others = 1.0
            for k in range(arms):
                if k != pick and part[k] > 0.0:
                    others *= betainc(a + clicks[k], b + visitors[k] - clicks[k], x)
            loss += half * _NODE_WEIGHTS[i] * betainc(pick_a, pick_b, x) * (1.0 - others)
        left = right
    return loss
