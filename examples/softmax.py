"""A policy of one's own, in a file beside the config that names it: `bandits run examples/own_policy.yaml`."""

from math import exp

from bandits import Kernel, KernelPolicy, Layout, Problem
from bandits.choice import choose


def select(state, context, random):
    """Arm k with probability proportional to exp(mean[k] / temperature)."""
    for k in range(state.work.shape[0]):
        state.work[k] = exp(state.arm[1, k] / (state.arm[0, k] + 1.0) / state.params[0])
    return choose(state.work, context.available, random)


def update(state, feedback, random):
    """Count a pull and its reward."""
    state.arm[0, feedback.chosen] += 1.0
    state.arm[1, feedback.chosen] += feedback.reward


class Softmax(KernelPolicy):
    """Shows better arms more often, by a temperature.

    Args:
        temperature: Differences in click rate that matter; above 0.
    """

    kernel = Kernel(select=select, update=update)

    def __init__(self, temperature: float = 0.01) -> None:
        if not temperature > 0:
            raise ValueError(f"`temperature` must be above 0. Got {temperature}.")
        self.temperature = temperature

    def layout(self, problem: Problem) -> Layout:
        """Pulls and rewards of each arm, and their weights."""
        return Layout(arm=2, work=problem.num_arms, params=(self.temperature,))
