"""Showing nothing: the control that tells what recommendations are worth."""

from __future__ import annotations

from typing import Any

from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy


def _select(state: State, context: ScalarContext, random: Any) -> int:
    return int(state.params[0])


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    pass


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    for k in range(out.shape[0]):
        out[k] = 1.0 if k == int(state.params[0]) else 0.0


class NoRecommendation(KernelPolicy):
    """Never shows anything: visitors click, or buy, or stay, at the rate that they have anyway.

    The environment must have an arm for that (`Problem.null_arm`; in a config, `world.no_recommendation`).
    """

    adaptive = False
    kernel = Kernel(select=_select, update=_update, propensities=_propensities)
    adaptive = False

    def layout(self, problem: Problem) -> Layout:
        if problem.null_arm is None:
            raise ValueError(
                "NoRecommendation needs an environment with an arm for showing nothing (`world.no_recommendation` in a "
                "config, `null_arm` of SimulatedUsers). Got one without."
            )
        return Layout(params=(float(problem.null_arm),))
