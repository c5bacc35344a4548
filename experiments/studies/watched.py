"""A policy under observation: who saw what until its decision, and the sums that inference after a bandit needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np

from bandits.core import FloatArray, Problem
from bandits.kernel import ComposedKernel, Hook, Kernel, Layout, ScalarContext, ScalarFeedback, State, Wrap
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit

CONTROL = 0

# `params`: sizes of the child's part of `arm`, `shared` and `work`, then the child's parameters. What is kept here
# comes behind the child's part in each of the three.
_ARM, _SHARED, _WORK, _HEADER = range(4)
# `shared`: visitor with whose result the decision fell (0 before), rounds, whether a propensity was 0.
_DECIDED, _ROUNDS, _CERTAIN, _NUM_SHARED = range(4)
# `arm`: visitors and clicks until the decision; with weights also the arm's propensity and score in this round, and
# sums over the rounds of: the difference d of the arm's score to the control's and d^2 (uniform weights); with
# h = sqrt(e), g the score, and c for the control: h, h^2, h g, h^2 g, h^2 g^2, h h_c, h h_c g, h h_c g_c, h h_c g g_c.
_VISITORS, _CLICKS, _COUNTED = range(3)
_E, _G, _D, _DD, _H, _HH, _HG, _HHG, _HHGG, _C, _CG, _CGC, _CGG, _WEIGHED = range(2, 16)
_NUM_COUNTED, _NUM_WEIGHED = _COUNTED, _WEIGHED


@jit
def _child(state: State) -> State:
    """The watched policy's own state, as a view into the whole."""
    return State(
        state.params[_HEADER:],
        state.arm[: int(state.params[_ARM])],
        state.shared[: int(state.params[_SHARED])],
        state.work[: int(state.params[_WORK])],
    )


@jit
def _own(state: State) -> State:
    """What is kept here of every arm and of the whole replication, as a view into the whole."""
    return State(
        state.params[:_HEADER],
        state.arm[int(state.params[_ARM]) :],
        state.shared[int(state.params[_SHARED]) :],
        state.work[int(state.params[_WORK]) :],
    )


@jit
def _count(kept: FloatArray, arm: int, reward: float) -> None:
    kept[_VISITORS, arm] += 1.0
    kept[_CLICKS, arm] += reward


@jit
def _weigh(kept: FloatArray, facts: FloatArray, arm: int, reward: float) -> None:
    """Add a round's scores to the sums; the counts are those before the visitor."""
    for k in range(kept.shape[1]):
        e = kept[_E, k]
        if e <= 0.0:
            facts[_CERTAIN] = 1.0
            return
        mean = kept[_CLICKS, k] / kept[_VISITORS, k] if kept[_VISITORS, k] > 0.0 else 0.0
        kept[_G, k] = mean + (reward - mean) / e if k == arm else mean
    control_score, control_weight = kept[_G, CONTROL], sqrt(kept[_E, CONTROL])
    for k in range(kept.shape[1]):
        score, weight = kept[_G, k], sqrt(kept[_E, k])
        difference = score - control_score
        kept[_D, k] += difference
        kept[_DD, k] += difference * difference
        kept[_H, k] += weight
        kept[_HH, k] += kept[_E, k]
        kept[_HG, k] += weight * score
        kept[_HHG, k] += kept[_E, k] * score
        kept[_HHGG, k] += kept[_E, k] * score * score
        both = weight * control_weight
        kept[_C, k] += both
        kept[_CG, k] += both * score
        kept[_CGC, k] += both * control_score
        kept[_CGG, k] += both * score * control_score


@jit
def _record_counts(kept: FloatArray, facts: FloatArray, out: FloatArray) -> None:
    arms = kept.shape[1]
    out[0] = facts[_DECIDED]
    for k in range(arms):
        out[1 + k] = kept[_VISITORS, k]
        out[1 + arms + k] = kept[_CLICKS, k]


@jit
def _spread(kept: FloatArray, k: int, mean: float) -> float:
    """Sum of (h (g - mean))^2 of an arm."""
    spread: float = kept[_HHGG, k] - 2.0 * mean * kept[_HHG, k] + mean * mean * kept[_HH, k]
    return spread


@jit
def _record_contrasts(kept: FloatArray, facts: FloatArray, out: FloatArray) -> None:
    """Estimate and standard error of every arm's difference to the control, with uniform weights, then with sqrt(e)."""
    arms = kept.shape[1]
    rounds = facts[_ROUNDS]
    for k in range(arms):
        for i in range(4):
            out[i * arms + k] = np.nan
        if k == CONTROL or facts[_CERTAIN] > 0.0 or kept[_VISITORS, k] == 0.0 or kept[_VISITORS, CONTROL] == 0.0:
            continue
        plain = kept[_D, k] / rounds
        out[k] = plain
        out[arms + k] = sqrt(max(kept[_DD, k] - rounds * plain * plain, 0.0)) / rounds
        total, total_c = kept[_H, k], kept[_H, CONTROL]
        mean, mean_c = kept[_HG, k] / total, kept[_HG, CONTROL] / total_c
        common = kept[_CGG, k] - mean * kept[_CGC, k] - mean_c * kept[_CG, k] + mean * mean_c * kept[_C, k]
        variance = (
            _spread(kept, k, mean) / (total * total)
            + _spread(kept, CONTROL, mean_c) / (total_c * total_c)
            - 2.0 * common / (total * total_c)
        )
        out[2 * arms + k] = mean - mean_c
        out[3 * arms + k] = sqrt(max(variance, 0.0))


def _never(state: State) -> int:
    return -1


def _nothing_to_start(state: State, random: Any) -> None:
    pass


def _compose_counting(children: Sequence[Kernel], wrap: Wrap) -> Kernel:
    """Hooks that call the child's and count."""
    child = children[0]
    child_select, child_update = child.select, child.update
    child_start = child.start or wrap(_nothing_to_start)
    child_recommend = child.recommend or wrap(_never)

    def start(state: State, random: Any) -> None:
        child_start(_child(state), random)

    def select(state: State, context: ScalarContext, random: Any) -> int:
        return int(child_select(_child(state), context, random))

    def update(state: State, feedback: ScalarFeedback, random: Any) -> None:
        child_update(_child(state), feedback, random)
        own = _own(state)
        own.shared[_ROUNDS] += 1.0
        if own.shared[_DECIDED] == 0.0:
            _count(own.arm, feedback.chosen, feedback.reward)
            if child_recommend(_child(state)) >= 0:
                own.shared[_DECIDED] = own.shared[_ROUNDS]

    def recommend(state: State) -> int:
        return int(child_recommend(_child(state)))

    def record(state: State, out: FloatArray) -> None:
        own = _own(state)
        _record_counts(own.arm, own.shared, out)

    return Kernel(
        select=wrap(select), update=wrap(update), start=wrap(start), recommend=wrap(recommend), record=wrap(record)
    )


def _compose_weighing(children: Sequence[Kernel], wrap: Wrap) -> Kernel:
    """Hooks that call the child's, count, and add up its scores."""
    child = children[0]
    child_select, child_update, child_propensities = child.select, child.update, child.propensities
    child_start = child.start or wrap(_nothing_to_start)
    assert child_propensities is not None

    def start(state: State, random: Any) -> None:
        child_start(_child(state), random)

    def select(state: State, context: ScalarContext, random: Any) -> int:
        own = _own(state)
        if own.shared[_CERTAIN] == 0.0:
            child_propensities(_child(state), context, own.arm[_E])
        return int(child_select(_child(state), context, random))

    def update(state: State, feedback: ScalarFeedback, random: Any) -> None:
        own = _own(state)
        own.shared[_ROUNDS] += 1.0
        if own.shared[_CERTAIN] == 0.0:
            _weigh(own.arm, own.shared, feedback.chosen, feedback.reward)
        _count(own.arm, feedback.chosen, feedback.reward)
        child_update(_child(state), feedback, random)

    def propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
        child_propensities(_child(state), context, out)

    def record(state: State, out: FloatArray) -> None:
        own = _own(state)
        counts = 1 + 2 * own.arm.shape[1]
        _record_counts(own.arm, own.shared, out[:counts])
        _record_contrasts(own.arm, own.shared, out[counts:])

    return Kernel(
        select=wrap(select),
        update=wrap(update),
        start=wrap(start),
        propensities=wrap(propensities),
        record=wrap(record),
    )


class Watched(KernelPolicy):
    """Plays exactly as another kernel policy does, and keeps what an analyst would know when that policy decides.

    A policy that recommends an arm has decided from the first recommendation on; what comes later is not counted. One
    that never recommends is counted to the end, and if it knows its propensities, the sums behind `aipw_contrast` with
    uniform and with square-root weights are kept as well, in O(K) a round: all differences are to arm 0. The scores use
    the propensities of the moment of the choice, so results must come at once, as in worlds without delay.

    Args:
        policy: The policy to watch, a kernel policy.
        weigh: Whether to keep the sums behind `aipw_contrast`, for a policy that knows its propensities.
        weigh_by: Hook that computes the propensities in place of the policy's own.

    Records:
        decided: number of the visitor with whose result the decision fell; 0 without one. visitors[k], clicks[k]: of
        each arm until then. With propensities also uniform[k], uniform_error[k], sqrt[k] and sqrt_error[k]: estimate
        and standard error of arm k minus arm 0; nan where an arm was never shown, or when any propensity was 0.
    """

    def __init__(self, policy: KernelPolicy, *, weigh: bool = True, weigh_by: Hook | None = None) -> None:
        if not isinstance(policy, KernelPolicy):
            raise TypeError(f"`policy` must be a kernel policy. Got {policy!r}.")
        self.policy, self.weigh, self.weigh_by = policy, weigh, weigh_by
        self.stream = policy.stream
        child = policy.kernel
        if weigh_by is not None:
            child = replace(child.link(lambda hook: hook), propensities=weigh_by)
        hooks = child.link(lambda hook: hook)
        self.decides = hooks.recommend is not None
        self.weighs = weigh and hooks.propensities is not None and not self.decides
        self.kernel = ComposedKernel((child,), _compose_weighing if self.weighs else _compose_counting)

    def layout(self, problem: Problem) -> Layout:
        """The child's, and what is kept beside it."""
        child = self.policy.layout(problem)
        return Layout(
            arm=child.arm + (_NUM_WEIGHED if self.weighs else _NUM_COUNTED),
            shared=child.shared + _NUM_SHARED,
            work=child.work,
            params=(float(child.arm), float(child.shared), float(child.work), *child.params),
        )

    def record_names(self, problem: Problem) -> tuple[str, ...]:
        """What the class's docstring lists."""
        fields = ["visitors", "clicks"]
        if self.weighs:
            fields += ["uniform", "uniform_error", "sqrt", "sqrt_error"]
        return ("decided", *(f"{field}[{k}]" for field in fields for k in range(problem.num_arms)))
