"""Thompson sampling."""

from __future__ import annotations

from typing import Any

from bandits.best_of_betas import chance_of_best, scratch_size
from bandits.choice import argmax
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from bandits.variates import betas
from policies.checks import require_number

# Fields: the parameters a and b of each arm's posterior. `work`: draws, or the scratch of the propensities.
_A, _B = 0, 1


def _start(state: State, random: Any) -> None:
    state.arm[_A] = state.params[0]
    state.arm[_B] = state.params[1]


def _select(state: State, context: ScalarContext, random: Any) -> int:
    draws = state.work[: state.arm.shape[1]]
    betas(state.arm[_A], state.arm[_B], draws, random)
    return argmax(draws, context.available, random)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    state.arm[_A, feedback.chosen] += feedback.reward
    state.arm[_B, feedback.chosen] += 1.0 - feedback.reward


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    chance_of_best(state.arm[_A], state.arm[_B], context.available, state.work, out)


def _parts(state: State, context: ScalarContext, random: Any, out: FloatArray) -> None:
    draws = state.work[: state.arm.shape[1]]
    betas(state.arm[_A], state.arm[_B], draws, random)
    for k in range(out.shape[1]):
        out[0, k] = state.arm[_A, k] / (state.arm[_A, k] + state.arm[_B, k])
        out[1, k] = draws[k] - out[0, k]


class BetaThompson(KernelPolicy):
    """Draws a click rate for each arm from its Beta posterior, and shows the arm with the highest draw.

    A reward between 0 and 1 counts as that part of a click. Propensities are computed by quadrature, exact to 1e-9.

    Args:
        clicks: Clicks that each arm is thought to have had before the first visit, above 0.
        misses: Visits without a click that each arm is thought to have had, above 0.

    References:
        Thompson (1933), "On the likelihood that one unknown probability exceeds another in view of the evidence of two
        samples"; Chapelle and Li (2011), "An empirical evaluation of Thompson sampling", algorithm 2.
    """

    kernel = Kernel(select=_select, update=_update, start=_start, propensities=_propensities, parts=_parts)
    part_names = ("posterior mean", "draw")

    def __init__(self, clicks: float = 1.0, misses: float = 1.0) -> None:
        require_number("clicks", clicks, 0.0, strict=True)
        require_number("misses", misses, 0.0, strict=True)
        self.clicks, self.misses = clicks, misses

    def layout(self, problem: Problem) -> Layout:
        problem.require_rewards_in_unit_interval("BetaThompson")
        return Layout(arm=2, work=scratch_size(problem.num_arms), params=(self.clicks, self.misses))
