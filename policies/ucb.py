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

# Fields: pulls, rewards, mean and 1 / sqrt(pulls) of each arm; pulls in all; indices. Only the arm that was shown
# changes, so that a round divides and takes roots for one arm instead of all.
_PULLS, _REWARD, _MEAN, _WIDTH = range(4)


@jit
def _explore(state: State) -> float:
    return sqrt(state.params[0] * log(state.shared[0] + 1.0))


@jit
def _index(state: State) -> None:
    explore = _explore(state)
    for k in range(state.work.shape[0]):
        state.work[k] = state.arm[_MEAN, k] + explore * state.arm[_WIDTH, k]


def _start(state: State, random: Any) -> None:
    state.arm[_MEAN] = np.inf


def _select(state: State, context: ScalarContext, random: Any) -> int:
    _index(state)
    return argmax(state.work, context.available, random)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    arm = feedback.chosen
    state.arm[_PULLS, arm] += 1.0
    state.arm[_REWARD, arm] += feedback.reward
    state.arm[_MEAN, arm] = state.arm[_REWARD, arm] / state.arm[_PULLS, arm]
    state.arm[_WIDTH, arm] = 1.0 / sqrt(state.arm[_PULLS, arm])
    state.shared[0] += 1.0


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    _index(state)
    greedy_probabilities(state.work, context.available, out)


def _parts(state: State, context: ScalarContext, random: Any, out: FloatArray) -> None:
    explore = _explore(state)
    for k in range(out.shape[1]):
        out[0, k] = state.arm[_MEAN, k]
        out[1, k] = explore * state.arm[_WIDTH, k]


class UCB1(KernelPolicy):
    """Shows the arm with the highest mean plus sqrt(width log(t) / pulls), where t numbers the visit from 1.

    Every arm is shown once first. For rewards in [0, 1].

    Args:
        width: Factor under the root, at least 0; 2 in the paper, 0.5 is the choice that often does better in practice.

    References:
        Auer, Cesa-Bianchi and Fischer (2002), "Finite-time analysis of the multiarmed bandit problem", figure 1. With
        n pulls so far, t = n + 1 here where the paper's bonus uses n.
    """

    kernel = Kernel(select=_select, update=_update, start=_start, propensities=_propensities, parts=_parts)
    part_names = ("estimate", "bonus")

    def __init__(self, width: float = 2.0) -> None:
        require_number("width", width, 0.0)
        self.width = width

    def layout(self, problem: Problem) -> Layout:
        return Layout(arm=4, shared=1, work=problem.num_arms, params=(self.width,))
