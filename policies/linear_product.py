"""A shared linear model: one ridge regression on all products of (1, user components) and (1, arm components).

An arm never seen before already has an estimate. With u = (1, user), a = (1, arm) and coefficients Theta as a matrix of
users by arms, the expected reward is u' Theta a. For one user, b = Theta' u has as many numbers as an arm has features,
mean m and covariance B: computing these two once makes each arm cheap.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from bandits.core import FloatArray, Problem
from bandits.kernel import Layout, ScalarContext, State
from bandits.linear_algebra import cholesky, dot, multiply
from bandits.machine_code import jit
from bandits.variates import normals

# `params`: the multiple of the standard error, ridge, length U of u, length A of a. `shared`: the inverse of the
# precision matrix (P, P) and the coefficients (P,), where P = U A and u's index is the slow one.
_MULTIPLE, _RIDGE, _USER, _ARM = range(4)

# Field of `arm`.
SCORE = 0


def layout(problem: Problem, multiple: float, ridge: float, user_components: int, arm_components: int) -> Layout:
    """Room for one model on at most so many of the first components of users and arms."""
    user, arm = 1 + min(user_components, problem.user_dim), 1 + min(arm_components, problem.arm_dim)
    size = user * arm
    return Layout(
        arm=1,
        shared=(size + 1) * size,
        work=max(2 * size, arm * size + arm * arm + 2 * arm) + arm,
        params=(multiple, ridge, user, arm),
    )


def start(state: State, random: Any) -> None:
    """Before any data the inverse is I / ridge."""
    size = int(state.params[_USER]) * int(state.params[_ARM])
    for i in range(size):
        state.shared[i * size + i] = 1.0 / state.params[_RIDGE]


@jit
def _project(state: State, context: ScalarContext, mean: FloatArray, covariance: FloatArray, rows: FloatArray) -> None:
    """Mean (A,) and covariance (A, A) of b = Theta' u for the user who is there; `rows` (A, P) is scratch."""
    arm, size = rows.shape
    inverse, coefficients = state.shared[: size * size].reshape(size, size), state.shared[size * size :]
    mean[:] = 0.0
    covariance[:] = 0.0
    rows[:] = 0.0
    for d in range(int(state.params[_USER])):
        weight = _component(context.user, d)
        for e in range(arm):
            mean[e] += weight * coefficients[d * arm + e]
            for i in range(size):
                rows[e, i] += weight * inverse[d * arm + e, i]
    for d in range(int(state.params[_USER])):
        weight = _component(context.user, d)
        for e in range(arm):
            for f in range(arm):
                covariance[e, f] += weight * rows[e, d * arm + f]


@jit
def bound(state: State, context: ScalarContext) -> None:
    """Scores: upper confidence bounds."""
    arm = int(state.params[_ARM])
    size = int(state.params[_USER]) * arm
    a, mean, product = state.work[:arm], state.work[arm : 2 * arm], state.work[2 * arm : 3 * arm]
    covariance = state.work[3 * arm : (3 + arm) * arm].reshape(arm, arm)
    rows = state.work[(3 + arm) * arm : (3 + arm + size) * arm].reshape(arm, size)
    _project(state, context, mean, covariance, rows)
    for k in range(state.arm.shape[1]):
        if context.available[k]:
            _arm_features(context, k, a)
            multiply(covariance, a, product)
            deviation = sqrt(max(dot(product, a), 0.0))
            state.arm[SCORE, k] = dot(mean, a) + state.params[_MULTIPLE] * deviation


@jit
def sample(state: State, context: ScalarContext, random: Any) -> None:
    """Scores: one draw of b, and what each arm is worth if it is true."""
    arm = int(state.params[_ARM])
    size = int(state.params[_USER]) * arm
    a, mean, draw = state.work[:arm], state.work[arm : 2 * arm], state.work[2 * arm : 3 * arm]
    covariance = state.work[3 * arm : (3 + arm) * arm].reshape(arm, arm)
    rows = state.work[(3 + arm) * arm : (3 + arm + size) * arm].reshape(arm, size)
    _project(state, context, mean, covariance, rows)
    normals(draw, random)
    cholesky(covariance)
    for e in range(arm):
        mean[e] += state.params[_MULTIPLE] * dot(covariance[e, : e + 1], draw[: e + 1])
    for k in range(state.arm.shape[1]):
        if context.available[k]:
            _arm_features(context, k, a)
            state.arm[SCORE, k] = dot(mean, a)


@jit
def learn(state: State, context: ScalarContext, arm: int, reward: float) -> None:
    """One more row: the inverse by Sherman and Morrison's formula, then the coefficients."""
    length = int(state.params[_ARM])
    size = int(state.params[_USER]) * length
    a, x, product = state.work[:length], state.work[length : length + size], state.work[length + size :][:size]
    inverse, coefficients = state.shared[: size * size].reshape(size, size), state.shared[size * size :]
    _arm_features(context, arm, a)
    for d in range(int(state.params[_USER])):
        weight = _component(context.user, d)
        for e in range(length):
            x[d * length + e] = weight * a[e]
    multiply(inverse, x, product)
    scale = 1.0 / (1.0 + dot(product, x))
    step = scale * (reward - dot(coefficients, x))
    for i in range(size):
        factor = scale * product[i]
        for j in range(size):
            inverse[i, j] -= factor * product[j]
        coefficients[i] += step * product[i]


@jit
def _component(features: FloatArray, index: int) -> float:
    """Entry of (1, features)."""
    entry: float = features[index - 1] if index > 0 else 1.0
    return entry


@jit
def _arm_features(context: ScalarContext, arm: int, a: FloatArray) -> None:
    for e in range(a.shape[0]):
        a[e] = _component(context.arms[arm], e)
