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
# precision matrix (P, P) and the coefficients (P,), where P = U A and u's index is the slow one. `work`: to choose, m
# (A,), B (A, A), draws (A,) and products of u with the inverse (A, P); to learn, x (P,) and a product (P,). `arm`: a
# score, x' A x, and the entries of a.
_MULTIPLE, _RIDGE, _USER, _ARM = range(4)
SCORE, _VARIANCE, _FEATURES = range(3)


def layout(problem: Problem, multiple: float, ridge: float, user_components: int, arm_components: int) -> Layout:
    """Room for one model on at most so many of the first components of users and arms."""
    user, arm = 1 + min(user_components, problem.user_dim), 1 + min(arm_components, problem.arm_dim)
    size = user * arm
    return Layout(
        arm=2 + arm,
        shared=(size + 1) * size,
        work=2 * arm + arm * arm + max(arm, 2) * size,
        params=(multiple, ridge, user, arm),
    )


def start(state: State, random: Any) -> None:
    """Before any data the inverse is I / ridge."""
    size = int(state.params[_USER]) * int(state.params[_ARM])
    for i in range(size):
        state.shared[i * size + i] = 1.0 / state.params[_RIDGE]


@jit
def _project(state: State, user: FloatArray) -> None:
    """Mean and covariance of b = Theta' u for the user who is there."""
    length = int(state.params[_ARM])
    size = int(state.params[_USER]) * length
    mean, covariance = state.work[:length], state.work[length : length + length * length]
    rows = state.work[2 * length + length * length :]  # (A, P): u' times the rows of the inverse that belong to a_e
    for i in range(length + length * length):
        state.work[i] = 0.0
    for i in range(length * size):
        rows[i] = 0.0
    for d in range(int(state.params[_USER])):
        weight = user[d - 1] if d > 0 else 1.0
        for e in range(length):
            mean[e] += weight * state.shared[size * size + d * length + e]
            row = state.shared[(d * length + e) * size : (d * length + e + 1) * size]
            for i in range(size):
                rows[e * size + i] += weight * row[i]
    for d in range(int(state.params[_USER])):
        weight = user[d - 1] if d > 0 else 1.0
        for e in range(length):
            for f in range(length):
                covariance[e * length + f] += weight * rows[e * size + d * length + f]


@jit
def estimate(state: State, context: ScalarContext) -> None:
    """Scores: estimates."""
    _project(state, context.user)
    _read_arms(state, context)


@jit
def bound(state: State, context: ScalarContext) -> None:
    """Scores: upper confidence bounds."""
    estimate(state, context)
    length = int(state.params[_ARM])
    for k in range(state.arm.shape[1]):
        state.arm[_VARIANCE, k] = 0.0
    for e in range(length):
        for f in range(e + 1):
            weight = state.work[length + e * length + f] * (2.0 if f < e else 1.0)
            for k in range(state.arm.shape[1]):
                state.arm[_VARIANCE, k] += weight * (state.arm[_FEATURES + e, k] * state.arm[_FEATURES + f, k])
    for k in range(state.arm.shape[1]):
        state.arm[SCORE, k] += state.params[_MULTIPLE] * sqrt(max(state.arm[_VARIANCE, k], 0.0))


@jit
def sample(state: State, context: ScalarContext, random: Any) -> None:
    """Scores: one draw of b, and what each arm is worth if it is true."""
    _project(state, context.user)
    length = int(state.params[_ARM])
    covariance = state.work[length : length + length * length]
    draw = state.work[length + length * length : 2 * length + length * length]
    normals(draw, random)
    cholesky(covariance, length)
    for e in range(length):
        for i in range(e + 1):
            state.work[e] += state.params[_MULTIPLE] * covariance[e * length + i] * draw[i]
    _read_arms(state, context)


@jit
def _read_arms(state: State, context: ScalarContext) -> None:
    """The arms' features, feature by feature, and the scores a'm."""
    for k in range(state.arm.shape[1]):
        state.arm[_FEATURES, k] = 1.0
        state.arm[SCORE, k] = state.work[0]
    for e in range(1, int(state.params[_ARM])):
        weight = state.work[e]
        for k in range(state.arm.shape[1]):
            state.arm[_FEATURES + e, k] = context.arms[k, e - 1]
            state.arm[SCORE, k] += weight * context.arms[k, e - 1]


@jit
def learn(state: State, context: ScalarContext, arm: int, reward: float) -> None:
    """One more row: the inverse by Sherman and Morrison's formula, then the coefficients."""
    length = int(state.params[_ARM])
    size = int(state.params[_USER]) * length
    x, product = state.work[:size], state.work[size : 2 * size]
    inverse, coefficients = state.shared[: size * size], state.shared[size * size :]
    for d in range(int(state.params[_USER])):
        weight = context.user[d - 1] if d > 0 else 1.0
        x[d * length] = weight
        for e in range(1, length):
            x[d * length + e] = weight * context.arms[arm, e - 1]
    multiply(inverse, x, product)
    scale = 1.0 / (1.0 + dot(product, x))
    step = scale * (reward - dot(coefficients, x))
    for i in range(size):
        factor = scale * product[i]
        row = inverse[i * size : (i + 1) * size]
        for j in range(size):
            row[j] -= factor * product[j]
        coefficients[i] += step * product[i]
