"""Upper confidence bounds."""

from __future__ import annotations

from math import log, sqrt
from typing import Any

import numpy as np

from bandits.choice import argmax, greedy_probabilities
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from policies.checks import require_number

# Fields: pulls and rewards of each arm; pulls in all; indices.
_PULLS, _REWARD = 0, 1


@jit
def _index(state: State) -> None:
    explore = state.params[0] * log(state.shared[0] + 1.0)
    for k in range(state.work.shape[0]):
        pulls = state.arm[_PULLS, k]
        index = state.arm[_REWARD, k] / pulls + sqrt(explore / pulls)
        state.work[k] = index if pulls > 0.0 else np.inf


def _select(state: State, context: ScalarContext, random: Any) -> int:
    _index(state)
    return argmax(state.work, context.available, random)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    state.arm[_PULLS, feedback.chosen] += 1.0
    state.arm[_REWARD, feedback.chosen] += feedback.reward
    state.shared[0] += 1.0


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    _index(state)
    greedy_probabilities(state.work, context.available, out)


class UCB1(KernelPolicy):
    """Shows the arm with the highest mean plus sqrt(width log(t) / pulls), where t numbers the visit from 1.

    Every arm is shown once first. For rewards in [0, 1].

    Args:
        width: Factor under the root, at least 0; 2 in the paper, 0.5 is the choice that often does better in practice.

    References:
        Auer, Cesa-Bianchi and Fischer (2002), "Finite-time analysis of the multiarmed bandit problem", figure 1. With
        n pulls so far, t = n + 1 here where the paper's bonus uses n.
    """

    kernel = Kernel(select=_select, update=_update, propensities=_propensities)

    def __init__(self, width: float = 2.0) -> None:
        require_number("width", width, 0.0)
        self.width = width

    def layout(self, problem: Problem) -> Layout:
        return Layout(arm=2, shared=1, work=problem.num_arms, params=(self.width,))
