"""A model's recommendation, taken as it is."""

from __future__ import annotations

from typing import Any

from bandits.choice import argmax, choose_uniformly, greedy_probabilities
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from bandits.random import uniform
from policies.checks import require_number, require_predictions


def _select(state: State, context: ScalarContext, random: Any) -> int:
    if uniform(random) < state.params[0]:
        return choose_uniformly(context.available, random)
    return argmax(context.prior, context.available, random)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    pass


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    greedy_probabilities(context.prior, context.available, out)
    count = 0
    for k in range(out.shape[0]):
        count += 1 if context.available[k] else 0
    for k in range(out.shape[0]):
        if context.available[k]:
            out[k] = (1.0 - state.params[0]) * out[k] + state.params[0] / count


def _parts(state: State, context: ScalarContext, random: Any, out: FloatArray) -> None:
    for k in range(out.shape[1]):
        out[0, k] = context.prior[k]


class PriorGreedy(KernelPolicy):
    """Shows the arm with the highest predicted reward for this user (`Context.prior`), and learns nothing.

    What a recommender does whose model was trained beforehand, a fine-tuned BERT for instance. The experiment hands the
    prediction out (in a config, `world.prior`).

    Args:
        epsilon: Probability of a uniformly random arm instead, in [0, 1].
    """

    adaptive = False
    kernel = Kernel(select=_select, update=_update, propensities=_propensities, parts=_parts)
    part_names = ("prior",)

    def __init__(self, epsilon: float = 0.0) -> None:
        require_number("epsilon", epsilon, 0.0, 1.0)
        self.epsilon = epsilon

    def layout(self, problem: Problem) -> Layout:
        require_predictions("PriorGreedy", problem)
        return Layout(params=(self.epsilon,))
