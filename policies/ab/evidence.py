"""How an arm of a test compares with the control, from the counts so far."""

from __future__ import annotations

from math import inf, sqrt

from bandits.kernel import State
from bandits.machine_code import jit
from bandits.special import ndtr
from policies.ab.state import (
    BUCKETS,
    CLICKS,
    CLICKS_SQUARED,
    CONTROL,
    SCORE,
    UNITS,
    VISITORS,
    VISITS_CLICKS,
    VISITS_SQUARED,
    competes,
    rate,
)


@jit
def variance_of_rate(state: State, k: int) -> float:
    """Estimated variance of an arm's observed rate; inf where nothing can be said.

    Where visits are divided, every visit is a unit and the variance is binomial. Where users are, a user is (a bucket
    of users where there are more users than buckets): clicks per visit is a ratio of two sums over units, with the
    variance of the delta method (Deng, Knoblich and Lu 2018, "Applying the delta method in metric analytics", section
    3).
    """
    visitors = state.arm[VISITORS, k]
    if visitors == 0.0:
        return inf
    r = state.arm[CLICKS, k] / visitors
    if state.params[BUCKETS] == 0.0:
        return float(r * (1.0 - r) / visitors)
    units = state.arm[UNITS, k]
    if units < 2.0:
        return inf
    squares = (
        state.arm[CLICKS_SQUARED, k] - 2.0 * r * state.arm[VISITS_CLICKS, k] + r * r * state.arm[VISITS_SQUARED, k]
    )
    return float(max(squares, 0.0) / (visitors * visitors) * units / (units - 1.0))


@jit
def variance_of_difference(state: State, k: int) -> float:
    """Estimated variance of an arm's rate minus the control's; inf where nothing can be said."""
    return variance_of_rate(state, k) + variance_of_rate(state, int(state.params[CONTROL]))


@jit
def z_statistic(state: State, k: int) -> float:
    """The arm's rate minus the control's in standard errors; 0 where there is nothing to compare.

    Under division by visits, the two-proportion z test with pooled variance; by users, with separate variances.
    """
    control = int(state.params[CONTROL])
    seen, control_seen = state.arm[VISITORS, k], state.arm[VISITORS, control]
    if seen == 0.0 or control_seen == 0.0:
        return 0.0
    if state.params[BUCKETS] > 0.0:
        variance = variance_of_difference(state, k)
    else:
        pooled = (state.arm[CLICKS, k] + state.arm[CLICKS, control]) / (seen + control_seen)
        variance = pooled * (1.0 - pooled) * (1.0 / seen + 1.0 / control_seen)
    return (rate(state, k) - rate(state, control)) / sqrt(variance) if variance > 0.0 else 0.0


@jit
def holm_winner(state: State, alpha: float) -> int:
    """The arm with the highest rate among those significantly above the control by Holm's procedure; -1 without one.

    Holm (1979), "A simple sequentially rejective multiple test procedure", over all arms in the test but the control,
    two-sided at the familywise level `alpha`.
    """
    left = 0
    for k in range(state.arm.shape[1]):
        state.arm[SCORE, k] = 2.0  # above every p-value: not looked at
        if competes(state, k):
            left += 1
            state.arm[SCORE, k] = 2.0 * ndtr(-abs(z_statistic(state, k)))
    winner = -1
    while left > 0:
        smallest = -1
        for k in range(state.arm.shape[1]):
            if state.arm[SCORE, k] <= 1.0 and (smallest < 0 or state.arm[SCORE, k] < state.arm[SCORE, smallest]):
                smallest = k
        if state.arm[SCORE, smallest] > alpha / left:
            break
        state.arm[SCORE, smallest] = 2.0
        better = rate(state, smallest) > rate(state, int(state.params[CONTROL]))
        if better and (winner < 0 or rate(state, smallest) > rate(state, winner)):
            winner = smallest
        left -= 1
    return winner
