"""Exponential weights."""

from __future__ import annotations

from math import e, exp, log, sqrt
from typing import Any

from bandits.choice import choose, choose_uniformly
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from bandits.random import uniform
from policies.checks import require_number

# `params`: the share of uniform exploration. `arm`: weight, and probability of the arm's latest choice. Weights may
# grow until one passes _LARGE; then all are divided by it, which changes no probability.
_EXPLORE = 0
_WEIGHT, _PROBABILITY = 0, 1
_LARGE = 1e100


def _start(state: State, random: Any) -> None:
    state.arm[_WEIGHT] = 1.0


def _select(state: State, context: ScalarContext, random: Any) -> int:
    explore = state.params[_EXPLORE]
    if uniform(random) < explore:
        arm = choose_uniformly(context.available, random)
    else:
        arm = choose(state.arm[_WEIGHT], context.available, random)
    total, count = _total(state, context)
    state.arm[_PROBABILITY, arm] = (1.0 - explore) * state.arm[_WEIGHT, arm] / total + explore / count
    return arm


@jit
def _total(state: State, context: ScalarContext) -> tuple[float, int]:
    """The weights of the available arms in all, and how many these are."""
    total, count = 0.0, 0
    for k in range(state.arm.shape[1]):
        total += state.arm[_WEIGHT, k] if context.available[k] else 0.0
        count += 1 if context.available[k] else 0
    return total, count


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    arm = feedback.chosen
    # Feedback that comes late must say how likely the choice was; otherwise it is about the latest choice of the arm.
    probability = feedback.propensity if feedback.propensity > 0.0 else state.arm[_PROBABILITY, arm]
    rate = state.params[_EXPLORE] / state.arm.shape[1]
    weight = state.arm[_WEIGHT, arm] * exp(rate * feedback.reward / probability)
    state.arm[_WEIGHT, arm] = weight
    if weight > _LARGE:
        for k in range(state.arm.shape[1]):
            state.arm[_WEIGHT, k] /= weight


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    explore = state.params[_EXPLORE]
    total, count = _total(state, context)
    for k in range(out.shape[0]):
        mixed = (1.0 - explore) * state.arm[_WEIGHT, k] / total + explore / count
        out[k] = mixed if context.available[k] else 0.0


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
