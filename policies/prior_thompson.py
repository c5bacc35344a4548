"""Thompson sampling that begins with a model's predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bandits.best_of_betas import chance_of_best, scratch_size
from bandits.choice import argmax
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from bandits.random import uniform
from bandits.variates import betas
from policies import prior_evidence
from policies.checks import require_predictions

_NEGLIGIBLE = 1e-12  # weights with a smaller chance are left out of the propensities, each of which takes an integral


@jit
def _set_parameters(state: State, context: ScalarContext, weight: float) -> None:
    """The arms' Beta parameters, into the first 2 K fields of `work`; a valid pair for arms that are not available."""
    arms = context.available.shape[0]
    for k in range(arms):
        here = context.available[k]
        state.work[k] = prior_evidence.click_parameter(state, context, k, weight) if here else 1.0
        state.work[arms + k] = prior_evidence.miss_parameter(state, context, k, weight) if here else 1.0


@jit
def _drawn_weight(state: State, random: Any) -> float:
    """One of the weights, as often as each is probable; draws nothing where there is one."""
    last = prior_evidence.num_weights(state) - 1
    left = uniform(random) if last > 0 else 0.0
    g = 0
    while g < last and left >= prior_evidence.chance(state, g):
        left -= prior_evidence.chance(state, g)
        g += 1
    return float(state.params[g])


def _start(state: State, random: Any) -> None:
    prior_evidence.begin(state)


@jit
def _draw(state: State, context: ScalarContext, random: Any) -> float:
    """One draw for each arm, into the third K fields of `work`, under the weight that is returned."""
    arms = context.available.shape[0]
    weight = _drawn_weight(state, random)
    _set_parameters(state, context, weight)
    betas(state.work[:arms], state.work[arms : 2 * arms], state.work[2 * arms : 3 * arms], random)
    return weight


def _select(state: State, context: ScalarContext, random: Any) -> int:
    if not prior_evidence.are_rates(context):
        return -1
    arms = context.available.shape[0]
    _draw(state, context, random)
    return argmax(state.work[2 * arms : 3 * arms], context.available, random)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    prior_evidence.learn(state, feedback)


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    arms = out.shape[0]
    part = state.work[2 * arms : 3 * arms]
    for k in range(arms):
        out[k] = 0.0
    for g in range(prior_evidence.num_weights(state)):
        chance = prior_evidence.chance(state, g)
        if chance > _NEGLIGIBLE:
            _set_parameters(state, context, state.params[g])
            scratch = state.work[3 * arms :]
            chance_of_best(state.work[:arms], state.work[arms : 2 * arms], context.available, scratch, part)
            for k in range(arms):
                out[k] += chance * part[k]


def _parts(state: State, context: ScalarContext, random: Any, out: FloatArray) -> None:
    arms = context.available.shape[0]
    weight = _draw(state, context, random)
    for k in range(arms):
        evidence = state.work[k] + state.work[arms + k]
        out[0, k] = prior_evidence.prior_clicks(context, k, weight) / evidence
        out[1, k] = state.work[k] / evidence - out[0, k]
        out[2, k] = state.work[2 * arms + k] - state.work[k] / evidence


class PriorThompson(KernelPolicy):
    """Thompson sampling in which a prediction of each arm's click rate counts as `weight` visits beforehand.

    Draws a rate for each arm from Beta(m q + clicks, m (1 - q) + misses), where q is the arm's prediction
    (`Context.prior`; in a config, `world.prior`) and m its weight, and shows the arm with the highest draw. Where
    predictions differ between visitors, an arm's clicks and misses count by how they differ from what was predicted;
    `policies.prior_evidence` has the formula. With several weights, m is learned from how well the predictions hold:
    every visit first draws one, with its posterior chance given all results so far (each has the same chance at first).

    A reward between 0 and 1 counts as that part of a click. Predictions must lie in [0, 1], otherwise no arm is chosen
    and the engine says so; nearer to 0 or 1 than 1e-6 they count as 1e-6 away. Propensities are exact to 1e-9 while
    every Beta parameter is at least 0.03 (draws below the smallest number that a computer can hold are ties).
    Records: `prior weight`, the geometric mean of m over its chances.

    Args:
        weight: Visits that a prediction is worth, above 0; or several such numbers in increasing order, among which the
            policy learns. By default the powers of 4 from 1 to 65,536.

    References:
        Thompson (1933), see `BetaThompson`; and those of `policies.prior_evidence`.
    """

    kernel = Kernel(
        select=_select,
        update=_update,
        start=_start,
        propensities=_propensities,
        record=prior_evidence.record,
        parts=_parts,
    )
    part_names = ("prior", "evidence", "draw")

    def __init__(self, weight: float | Sequence[float] = prior_evidence.WEIGHTS) -> None:
        prior_evidence.checked_weight(weight)
        self.weight = weight

    def layout(self, problem: Problem) -> Layout:
        require_predictions("PriorThompson", problem)
        problem.require_rewards_in_unit_interval("PriorThompson")
        weights = prior_evidence.checked_weight(self.weight)
        return Layout(
            arm=prior_evidence.ARM_FIELDS,
            shared=prior_evidence.shared_size(weights),
            work=3 * problem.num_arms + scratch_size(problem.num_arms),
            params=weights,
        )

    def record_names(self, problem: Problem) -> tuple[str, ...]:
        return prior_evidence.RECORD_NAMES
