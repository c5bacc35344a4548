"""How likely Thompson sampling is to show each of two arms: exact, and quick enough for every visitor."""

from __future__ import annotations

from math import exp, log

from bandits.core import FloatArray
from bandits.kernel import ScalarContext, State
from bandits.machine_code import jit
from bandits.special import gammaln
from policies.thompson import BetaThompson

_A, _B = 0, 1  # rows of the policy's `arm`: the parameters of each posterior
_LARGE = 1e200
_SMALL_ENOUGH = 0.999


@jit
def chance_above(a: float, b: float, c: float, d: float) -> float:
    """P(X > Y) for independent X of Beta(a, b) and Y of Beta(c, d), with a whole number `a`.

    A sum of `a` positive terms, t_0 = B(c, b + d) / B(c, d) and t_{i+1} / t_i = (c + i) (b + i) / ((c + d + b + i)
    (1 + i)): no digits cancel. Logarithms of gamma functions leave a relative error of some 1e-11.

    References:
        Miller (2015), "Formulas for Bayesian A/B testing", equation 6; the terms' ratio follows from it.
    """
    scale = gammaln(b + d) - gammaln(c + b + d) - gammaln(d) + gammaln(c + d)
    term = total = 1.0
    for i in range(int(a) - 1):
        term *= (c + i) * (b + i) / ((c + d + b + i) * (1.0 + i))
        total += term
        if total > _LARGE:
            total /= _LARGE
            term /= _LARGE
            scale += log(_LARGE)
    return exp(scale + log(total))


def two_arm_propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    """Hook `propensities` of `BetaThompson` with two arms, both available, and whole numbers of clicks.

    The policy's own integrates, for any number of arms, and takes some forty times as long.
    """
    fewer = 0 if state.arm[_A, 0] <= state.arm[_A, 1] else 1
    other = 1 - fewer
    a, b, c, d = state.arm[_A, fewer], state.arm[_B, fewer], state.arm[_A, other], state.arm[_B, other]
    chance = chance_above(a, b, c, d)
    # The small probability of the two is summed up itself, not left over from 1, so that it keeps its digits.
    out[other] = 1.0 - chance if chance < _SMALL_ENOUGH else chance_above(c, d, a, b)
    out[fewer] = chance if chance < _SMALL_ENOUGH else 1.0 - out[other]


def knows_two_arms(policy: object, arms: int) -> bool:
    """Whether `two_arm_propensities` are those of the policy."""
    return isinstance(policy, BetaThompson) and arms == 2 and float(policy.clicks).is_integer()
