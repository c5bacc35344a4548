"""Epsilon-greedy."""

from __future__ import annotations

from math import exp, log
from typing import Any

import numpy as np

from bandits.choice import argmax, choose_uniformly, greedy_probabilities
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from bandits.random import uniform
from policies.checks import require_number

# Fields: pulls, rewards and mean of each arm; the number of the coming visit.
_PULLS, _REWARD, _MEAN = range(3)


@jit
def _epsilon(state: State) -> float:
    epsilon: float = state.params[0]
    if state.params[1] > 0.0:
        epsilon *= exp(-state.params[1] * log(state.shared[0] + 1.0))
    return min(1.0, epsilon)


def _start(state: State, random: Any) -> None:
    state.arm[_MEAN] = np.inf


def _select(state: State, context: ScalarContext, random: Any) -> int:
    explore = uniform(random) < _epsilon(state)
    state.shared[0] += 1.0
    if explore:
        return choose_uniformly(context.available, random)
    return argmax(state.arm[_MEAN], context.available, random)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    arm = feedback.chosen
    state.arm[_PULLS, arm] += 1.0
    state.arm[_REWARD, arm] += feedback.reward
    state.arm[_MEAN, arm] = state.arm[_REWARD, arm] / state.arm[_PULLS, arm]


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    epsilon = _epsilon(state)
    greedy_probabilities(state.arm[_MEAN], context.available, out)
    count = 0
    for k in range(out.shape[0]):
        count += 1 if context.available[k] else 0
    for k in range(out.shape[0]):
        uniform_share = 1.0 / count if context.available[k] else 0.0
        out[k] = (1.0 - epsilon) * out[k] + epsilon * uniform_share


def _parts(state: State, context: ScalarContext, random: Any, out: FloatArray) -> None:
    for k in range(out.shape[1]):
        out[0, k] = state.arm[_MEAN, k]


class EpsilonGreedy(KernelPolicy):
    """Shows a random arm with a small probability, otherwise the arm with the best mean so far.

    At visit t (from 1) the probability is min(1, epsilon t**-decay). An arm that was never shown counts as the best.

    Args:
        epsilon: Probability of exploring at the first visit. At most 1 unless it decays.
        decay: How fast it falls: 0 for constant, 1 for the epsilon_n-greedy of Auer et al., whose `epsilon` is cK/d**2.

    References:
        Auer, Cesa-Bianchi and Fischer (2002), "Finite-time analysis of the multiarmed bandit problem", figure 3.
    """

    kernel = Kernel(select=_select, update=_update, start=_start, propensities=_propensities, parts=_parts)
    part_names = ("estimate",)

    def __init__(self, epsilon: float = 0.1, decay: float = 0.0) -> None:
        require_number("decay", decay, 0.0)
        require_number("epsilon", epsilon, 0.0, 1.0 if decay == 0 else float("inf"))
        self.epsilon, self.decay = epsilon, decay

    def layout(self, problem: Problem) -> Layout:
        return Layout(arm=3, shared=1, params=(self.epsilon, self.decay))
