"""A fixed split of the traffic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bandits.choice import choose, normalized
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from policies.checks import checked_weights


def _select(state: State, context: ScalarContext, random: Any) -> int:
    return choose(state.params, context.available, random)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    pass


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    normalized(state.params, context.available, out)


class FixedSplit(KernelPolicy):
    """Sends a fixed share of the visitors to each arm, forever.

    Shares of arms that are not available go to the others in proportion.

    Args:
        weights: Share of each arm, at least 0, summing to 1; equal shares by default.
    """

    kernel = Kernel(select=_select, update=_update, propensities=_propensities)
    adaptive = False

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        self.weights = None if weights is None else checked_weights(weights)

    def layout(self, problem: Problem) -> Layout:
        weights = self.weights or (1.0 / problem.num_arms,) * problem.num_arms
        if len(weights) != problem.num_arms:
            raise ValueError(f"`weights` must have one entry for each of {problem.num_arms} arms. Got {len(weights)}.")
        return Layout(params=weights)
