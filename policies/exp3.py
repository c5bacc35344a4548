"""Exponential weights."""

from __future__ import annotations

from math import e, exp, log, sqrt
from typing import Any

from bandits.choice import choose
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from policies.checks import require_number

# `params`: the share of uniform exploration. `arm`: weight, and probability in the latest round. Weights may grow until
# one passes _LARGE; then all are divided by it, which changes no probability.
_EXPLORE = 0
_WEIGHT, _PROBABILITY = 0, 1
_LARGE = 1e100


def _start(state: State, random: Any) -> None:
    state.arm[_WEIGHT] = 1.0


@jit
def _probabilities(state: State, context: ScalarContext, out: FloatArray) -> None:
    total, count = 0.0, 0
    for k in range(out.shape[0]):
        total += state.arm[_WEIGHT, k] if context.available[k] else 0.0
        count += 1 if context.available[k] else 0
    share, uniform = (1.0 - state.params[_EXPLORE]) / total, state.params[_EXPLORE] / count
    for k in range(out.shape[0]):
        out[k] = share * state.arm[_WEIGHT, k] + uniform if context.available[k] else 0.0


def _select(state: State, context: ScalarContext, random: Any) -> int:
    _probabilities(state, context, state.arm[_PROBABILITY])
    return choose(state.arm[_PROBABILITY], context.available, random)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    arm = feedback.chosen
    # Feedback that comes late must say how likely the choice was; otherwise it is of the latest round.
    probability = feedback.propensity if feedback.propensity > 0.0 else state.arm[_PROBABILITY, arm]
    rate = state.params[_EXPLORE] / state.arm.shape[1]
    weight = state.arm[_WEIGHT, arm] * exp(rate * feedback.reward / probability)
    state.arm[_WEIGHT, arm] = weight
    if weight > _LARGE:
        for k in range(state.arm.shape[1]):
            state.arm[_WEIGHT, k] /= weight


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    _probabilities(state, context, out)


class Exp3(KernelPolicy):
    """Shows arms in proportion to exponential weights of their estimated rewards, mixed with a uniform choice.

    Needs no assumption about rewards except that they lie in [0, 1]: an adversary may choose them.

    Args:
        exploration: Share of uniform exploration (the paper's gamma), in (0, 1]. By default the one that minimises the
            paper's bound for the horizon T: min(1, sqrt(K log K / ((e - 1) T))).

    References:
        Auer, Cesa-Bianchi, Freund and Schapire (2002), "The nonstochastic multiarmed bandit problem", figure 1 and
        corollary 3.2.
    """

    kernel = Kernel(select=_select, update=_update, start=_start, propensities=_propensities)

    def __init__(self, exploration: float | None = None) -> None:
        if exploration is not None:
            require_number("exploration", exploration, 0.0, strict=True)
            require_number("exploration", exploration, 0.0, 1.0)
        self.exploration = exploration

    def layout(self, problem: Problem) -> Layout:
        problem.require_rewards_in_unit_interval("Exp3")
        exploration = self.exploration
        if exploration is None:
            if problem.horizon is None:
                raise ValueError("`exploration` of Exp3 must be given where the horizon is unknown. Got None.")
            arms = problem.num_arms
            exploration = min(1.0, sqrt(arms * log(arms) / ((e - 1.0) * problem.horizon))) if arms > 1 else 1.0
        return Layout(arm=2, params=(exploration,))
