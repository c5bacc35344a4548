"""Upper confidence bounds that begin with a model's predictions."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt
from typing import Any

from bandits.choice import argmax, greedy_probabilities
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from policies import prior_evidence
from policies.checks import require_number, require_predictions


@jit
def _explore(state: State) -> float:
    return sqrt(state.params[prior_evidence.num_weights(state)] * log(prior_evidence.visits(state) + 1.0))


@jit
def _index(state: State, context: ScalarContext) -> None:
    count = prior_evidence.num_weights(state)
    explore = _explore(state)
    for k in range(state.work.shape[0]):
        state.work[k] = 0.0
        for g in range(count):
            clicks = prior_evidence.click_parameter(state, context, k, state.params[g])
            evidence = clicks + prior_evidence.miss_parameter(state, context, k, state.params[g])
            bound = clicks / evidence + explore / sqrt(evidence)
            state.work[k] += prior_evidence.chance(state, g) * bound


def _start(state: State, random: Any) -> None:
    prior_evidence.begin(state)


def _select(state: State, context: ScalarContext, random: Any) -> int:
    if not prior_evidence.are_rates(context):
        return -1
    _index(state, context)
    return argmax(state.work, context.available, random)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    prior_evidence.learn(state, feedback)


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    _index(state, context)
    greedy_probabilities(state.work, context.available, out)


def _parts(state: State, context: ScalarContext, random: Any, out: FloatArray) -> None:
    explore = _explore(state)
    for k in range(out.shape[1]):
        for g in range(prior_evidence.num_weights(state)):
            clicks = prior_evidence.click_parameter(state, context, k, state.params[g])
            evidence = clicks + prior_evidence.miss_parameter(state, context, k, state.params[g])
            predicted = prior_evidence.prior_clicks(context, k, state.params[g])
            chance = prior_evidence.chance(state, g)
            out[0, k] += chance * predicted / evidence
            out[1, k] += chance * (clicks - predicted) / evidence
            out[2, k] += chance * explore / sqrt(evidence)


class PriorUCB(KernelPolicy):
    """UCB in which a prediction of each arm's click rate counts as `weight` visits beforehand.

    Shows the arm with the highest (m q + clicks) / (m + pulls) + sqrt(width log(t) / (m + pulls)), where t numbers the
    visit from 1, q is the arm's prediction (`Context.prior`; in a config, `world.prior`) and m its weight. With m near
    0 this is `UCB1`, which shows every arm once first, but the most promising ones first. Where predictions differ
    between visitors, the two fractions' mean and denominator are those of the Beta posterior in
    `policies.prior_evidence`: a / (a + b) and a + b. With several weights, m is learned from how well the predictions
    hold: the index is the average over their chances.

    For rewards in [0, 1]. Predictions must lie in [0, 1], otherwise no arm is chosen and the engine says so; nearer to
    0 or 1 than 1e-6 they count as 1e-6 away. Records: `prior weight`, the geometric mean of m over its chances.

    Args:
        weight: Visits that a prediction is worth, above 0; or several such numbers in increasing order, among which the
            policy learns. By default the powers of 4 from 1 to 65,536.
        width: Factor under the root, at least 0; see `UCB1`. Click rates of a few percent want a small one, such as
            0.05.

    References:
        Auer, Cesa-Bianchi and Fischer (2002), see `UCB1`; Ye, Yoganarasimhan and Zheng (2025), "LOLA: LLM-assisted
        online learning algorithm for content experiments", for a language model's predictions as observations; and
        those of `policies.prior_evidence`.
    """

    kernel = Kernel(
        select=_select,
        update=_update,
        start=_start,
        propensities=_propensities,
        record=prior_evidence.record,
        parts=_parts,
    )
    part_names = ("prior", "evidence", "bonus")

    def __init__(self, weight: float | Sequence[float] = prior_evidence.WEIGHTS, width: float = 2.0) -> None:
        prior_evidence.checked_weight(weight)
        require_number("width", width, 0.0)
        self.weight, self.width = weight, width

    def layout(self, problem: Problem) -> Layout:
        require_predictions("PriorUCB", problem)
        problem.require_rewards_in_unit_interval("PriorUCB")
        weights = prior_evidence.checked_weight(self.weight)
        return Layout(
            arm=prior_evidence.ARM_FIELDS,
            shared=prior_evidence.shared_size(weights),
            work=problem.num_arms,
            params=(*weights, self.width),
        )

    def record_names(self, problem: Problem) -> tuple[str, ...]:
        return prior_evidence.RECORD_NAMES
