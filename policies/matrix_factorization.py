"""Matrix factorization, learned click by click."""

from __future__ import annotations

from math import exp
from typing import Any

from bandits.choice import argmax, choose_uniformly, greedy_probabilities
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from bandits.random import uniform
from bandits.variates import normal
from policies.checks import require_integer, require_number

# `params`: number of factors R, learning rate, regularization, epsilon, standard deviation of the factors at the start.
# `arm`: bias and factors (1 + R). `shared`: common bias, then bias and factors of each user (1 + R). `work`: scores.
_RANK, _RATE, _REGULARIZATION, _EPSILON, _SPREAD = range(5)
_USERS = 1


@jit
def _place(state: State, user_id: int) -> int:
    """Where a user's bias and factors begin; -1 for somebody whom nothing is kept of."""
    at = _USERS + user_id * (1 + int(state.params[_RANK]))
    return int(at) if user_id >= 0 and at < state.shared.shape[0] else -1


@jit
def _score(state: State, user_id: int, k: int) -> float:
    """Logit of the predicted click rate."""
    rank = int(state.params[_RANK])
    score = state.shared[0] + state.arm[0, k]
    at = _place(state, user_id)
    if at >= 0:
        score += state.shared[at]
        for r in range(1, rank + 1):
            score += state.shared[at + r] * state.arm[r, k]
    return float(score)


def _start(state: State, random: Any) -> None:
    rank = int(state.params[_RANK])
    for k in range(state.arm.shape[1]):
        for r in range(1, rank + 1):
            state.arm[r, k] = state.params[_SPREAD] * normal(random)
    for at in range(_USERS, state.shared.shape[0]):
        if (at - _USERS) % (1 + rank) > 0:
            state.shared[at] = state.params[_SPREAD] * normal(random)


@jit
def _fill(state: State, context: ScalarContext) -> None:
    for k in range(state.work.shape[0]):
        state.work[k] = _score(state, context.user_id, k)


def _select(state: State, context: ScalarContext, random: Any) -> int:
    if uniform(random) < state.params[_EPSILON]:
        return choose_uniformly(context.available, random)
    _fill(state, context)
    return argmax(state.work, context.available, random)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    rank, rate, shrink = int(state.params[_RANK]), state.params[_RATE], state.params[_REGULARIZATION]
    k, user_id = feedback.chosen, feedback.context.user_id
    error = feedback.reward - 1.0 / (1.0 + exp(-_score(state, user_id, k)))
    state.shared[0] += rate * error
    state.arm[0, k] += rate * (error - shrink * state.arm[0, k])
    at = _place(state, user_id)
    if at < 0:
        return
    state.shared[at] += rate * (error - shrink * state.shared[at])
    for r in range(1, rank + 1):
        mine, theirs = state.shared[at + r], state.arm[r, k]
        state.shared[at + r] += rate * (error * theirs - shrink * mine)
        state.arm[r, k] += rate * (error * mine - shrink * theirs)


def _propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    _fill(state, context)
    greedy_probabilities(state.work, context.available, out)
    count = 0
    for k in range(out.shape[0]):
        count += 1 if context.available[k] else 0
    for k in range(out.shape[0]):
        if context.available[k]:
            out[k] = (1.0 - state.params[_EPSILON]) * out[k] + state.params[_EPSILON] / count


def _parts(state: State, context: ScalarContext, random: Any, out: FloatArray) -> None:
    _fill(state, context)
    at = _place(state, context.user_id)
    user = state.shared[at] if at >= 0 else 0.0
    for k in range(out.shape[1]):
        out[0, k] = state.shared[0]
        out[1, k] = user
        out[2, k] = state.arm[0, k]
        out[3, k] = state.work[k] - state.shared[0] - user - state.arm[0, k]


class MatrixFactorization(KernelPolicy):
    """Learns a vector for every user and every arm; recommends the arm whose vector fits, and now and then another.

    The logit of a click is `m + b_user + b_arm + p_user · q_arm`. After every result, one step of stochastic gradient
    descent on the regularized log loss. It knows users by their number only and sees no features; anonymous visitors
    get what is popular.

    Args:
        factors: Length of the vectors, at least 1.
        learning_rate: Step of the descent, above 0.
        regularization: Weight of the squared norms, at least 0.
        epsilon: Probability of a uniformly random arm instead, in [0, 1].
        spread: Standard deviation of the vectors' entries at the start, above 0.

    References:
        Koren, Bell and Volinsky (2009), "Matrix factorization techniques for recommender systems"; Rendle and
        Schmidt-Thieme (2008), "Online-updating regularized kernel matrix factorization models for large-scale
        recommender systems".
    """

    kernel = Kernel(select=_select, update=_update, start=_start, propensities=_propensities, parts=_parts)
    part_names = ("log-odds of all", "of the user", "of the item", "of the match")

    def __init__(
        self,
        factors: int = 4,
        learning_rate: float = 0.1,
        regularization: float = 0.01,
        epsilon: float = 0.05,
        spread: float = 0.1,
    ) -> None:
        require_integer("factors", factors, 1)
        require_number("learning_rate", learning_rate, 0.0, strict=True)
        require_number("regularization", regularization, 0.0)
        require_number("epsilon", epsilon, 0.0, 1.0)
        require_number("spread", spread, 0.0, strict=True)
        self.factors, self.learning_rate, self.regularization = factors, learning_rate, regularization
        self.epsilon, self.spread = epsilon, spread

    def layout(self, problem: Problem) -> Layout:
        problem.require_rewards_in_unit_interval("MatrixFactorization")
        params = (float(self.factors), self.learning_rate, self.regularization, self.epsilon, self.spread)
        per_user = 1 + self.factors
        return Layout(arm=per_user, shared=_USERS + problem.num_users * per_user, work=problem.num_arms, params=params)
