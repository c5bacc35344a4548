"""The A/B test as it is really run: split, wait, test, ship."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

from bandits.choice import choose, normalized
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from bandits.special import ndtr
from bandits.statistics import sample_size_two_proportions
from policies.checks import checked_weights, require_integer, require_number

# `params`: control, alpha, the weights of the K arms, then the length of a test of 0 .. K arms.
_CONTROL, _ALPHA, _WEIGHTS = range(3)
# `arm`: visitors and clicks in the test, whether the arm takes part, p value; `shared` below; `work`: shares (K,).
_SEEN, _CLICKS, _IN_TEST, _P_VALUE = range(4)
_SHIPPED, _LENGTH, _OBSERVED = range(3)
_TESTING = -1.0


@jit
def two_sided_p_value(clicks: float, seen: float, control_clicks: float, control_seen: float) -> float:
    """P value of the two-proportion z test with pooled variance; 1 when there is nothing to compare."""
    if seen == 0.0 or control_seen == 0.0:
        return 1.0
    pooled = (clicks + control_clicks) / (seen + control_seen)
    variance = pooled * (1.0 - pooled) * (1.0 / seen + 1.0 / control_seen)
    if variance <= 0.0:
        return 1.0
    z = (clicks / seen - control_clicks / control_seen) / sqrt(variance)
    return 2.0 * ndtr(-abs(z))


@jit
def _decide(state: State) -> int:
    """The winner by Holm's step-down procedure over the arms against the control; the control if there is none."""
    control = int(state.params[_CONTROL])
    arms = state.arm.shape[1]
    left = 0
    for k in range(arms):
        taking_part = state.arm[_IN_TEST, k] > 0.0 and k != control
        state.arm[_P_VALUE, k] = 2.0
        if taking_part:
            left += 1
            state.arm[_P_VALUE, k] = two_sided_p_value(
                state.arm[_CLICKS, k],
                state.arm[_SEEN, k],
                state.arm[_CLICKS, control],
                state.arm[_SEEN, control],
            )
    winner = control
    while left > 0:
        smallest = -1
        for k in range(arms):
            if state.arm[_P_VALUE, k] <= 1.0 and (
                smallest < 0 or state.arm[_P_VALUE, k] < state.arm[_P_VALUE, smallest]
            ):
                smallest = k
        if state.arm[_P_VALUE, smallest] > state.params[_ALPHA] / left:
            break
        state.arm[_P_VALUE, smallest] = 2.0  # rejected; not looked at again
        if state.arm[_CLICKS, smallest] / state.arm[_SEEN, smallest] > (
            state.arm[_CLICKS, winner] / state.arm[_SEEN, winner]
        ):
            winner = smallest
        left -= 1
    return winner


def _start(state: State, random: Any) -> None:
    state.shared[_SHIPPED] = _TESTING


@jit
def _shares(state: State, context: ScalarContext) -> None:
    """Traffic shares while the test runs: arms that were not there at its start take no part in it."""
    arms = state.work.shape[0]
    if state.shared[_LENGTH] == 0.0:
        taking_part = 0
        for k in range(arms):
            if context.available[k] and state.params[_WEIGHTS + k] > 0.0:
                state.arm[_IN_TEST, k] = 1.0
                taking_part += 1
        state.shared[_LENGTH] = state.params[_WEIGHTS + arms + taking_part]
    for k in range(arms):
        state.work[k] = state.params[_WEIGHTS + k] * state.arm[_IN_TEST, k]


def _select(state: State, context: ScalarContext, random: Any) -> int:
    if state.shared[_SHIPPED] >= 0.0:
        return int(state.shared[_SHIPPED])
    _shares(state, context)
    return choose(state.work, context.available, random)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    if state.shared[_SHIPPED] >= 0.0:  # a result that comes after the decision no longer counts
        return
    state.shared[_OBSERVED] += 1.0
    state.arm[_SEEN, feedback.chosen] += 1.0
    state.arm[_CLICKS, feedback.chosen] += feedback.reward
    if state.shared[_OBSERVED] >= state.shared[_LENGTH]:
        state.shared[_SHIPPED] = _decide(state)


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    if state.shared[_SHIPPED] >= 0.0:
        for k in range(out.shape[0]):
            out[k] = 1.0 if k == int(state.shared[_SHIPPED]) else 0.0
    else:
        _shares(state, context)
        normalized(state.work, context.available, out)


def _recommend(state: State) -> int:
    return int(state.shared[_SHIPPED])


def _record(state: State, out: FloatArray) -> None:
    out[0] = 1.0 if state.shared[_SHIPPED] < 0.0 else 0.0
    out[1] = state.shared[_SHIPPED]


class ABTest(KernelPolicy):
    """Splits the first visitors among the arms, tests once, and then ships the winner or keeps the control.

    When the results of `visitors` visitors are in, each arm is compared with the control in a two-sided two-proportion
    z test, with Holm's correction over the arms. Of the arms that are significantly better than the control, the one
    with the highest observed rate gets all the traffic from then on; if there is none, the control does. Arms that
    were not available at the first visit take no part.

    The length is either given, or computed so that a comparison of two equal groups finds a difference of
    `minimum_effect` with probability `power` at level `alpha` / (m - 1), with m arms in the test.

    Args:
        visitors: Length of the test in visitors, at least 2.
        minimum_effect: Smallest difference in click rate worth finding, absolute, above 0; instead of `visitors`.
        baseline: Click rate of the control that the computation assumes; with `minimum_effect`.
        power: Probability of finding that difference.
        alpha: Familywise error rate.
        control: Index of the control.
        weights: Share of each arm during the test, at least 0, summing to 1; equal shares by default.

    Records:
        testing: 1 while the test runs, else 0. shipped: the arm that gets all traffic; -1 during the test.

    References:
        Fleiss, Levin and Paik (2003), "Statistical methods for rates and proportions", equation 4.14 (length); Holm
        (1979), "A simple sequentially rejective multiple test procedure".
    """

    kernel = Kernel(
        select=_select,
        update=_update,
        start=_start,
        propensities=_propensities,
        recommend=_recommend,
        record=_record,
    )

    def __init__(
        self,
        visitors: int | None = None,
        minimum_effect: float | None = None,
        baseline: float | None = None,
        power: float = 0.8,
        alpha: float = 0.05,
        control: int = 0,
        weights: Sequence[float] | None = None,
    ) -> None:
        if (visitors is None) == (minimum_effect is None):
            raise ValueError(
                "Exactly one of `visitors` and `minimum_effect` must be given. "
                f"Got visitors={visitors}, minimum_effect={minimum_effect}."
            )
        if (baseline is None) != (minimum_effect is None):
            raise ValueError(
                "`baseline` and `minimum_effect` must be given together. "
                f"Got baseline={baseline}, minimum_effect={minimum_effect}."
            )
        if visitors is not None:
            require_integer("visitors", visitors, 2)
        if baseline is not None and minimum_effect is not None:
            require_number("baseline", baseline, 0.0, 1.0, strict=True)
            require_number("minimum_effect", minimum_effect, 0.0, 1.0 - baseline, strict=True)
        require_number("power", power, 0.0, 1.0, strict=True)
        require_number("alpha", alpha, 0.0, 1.0, strict=True)
        require_integer("control", control, 0)
        self.visitors, self.minimum_effect, self.baseline = visitors, minimum_effect, baseline
        self.power, self.alpha, self.control = power, alpha, control
        self.weights = None if weights is None else checked_weights(tuple(weights))

    def length(self, num_arms: int) -> int:
        """Length of the test in visitors when `num_arms` arms take part."""
        if self.visitors is not None:
            return self.visitors
        assert self.baseline is not None
        assert self.minimum_effect is not None
        level = self.alpha / max(num_arms - 1, 1)
        return num_arms * sample_size_two_proportions(self.baseline, self.minimum_effect, power=self.power, alpha=level)

    def layout(self, problem: Problem) -> Layout:
        arms = problem.num_arms
        problem.require_rewards_in_unit_interval("ABTest")
        weights = self.weights or (1.0 / arms,) * arms
        if len(weights) != arms:
            raise ValueError(f"`weights` must have one entry for each of {arms} arms. Got {len(weights)}.")
        if self.control >= arms:
            raise ValueError(f"`control` must be an arm 0..{arms - 1}. Got {self.control}.")
        if weights[self.control] <= 0:
            raise ValueError(f"`weights` must give the control (arm {self.control}) a share. Got {list(weights)}.")
        lengths = (float(self.length(max(count, 1))) for count in range(arms + 1))
        params = (float(self.control), self.alpha, *weights, *lengths)
        return Layout(arm=4, shared=3, work=arms, params=params)

    def record_names(self, problem: Problem) -> tuple[str, ...]:
        return ("testing", "shipped")
