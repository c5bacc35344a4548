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
# (A,), B (A, A), a (A,), another such vector, and products of u with the inverse (A, P); to learn, a, x (P,) and a
# product (P,).
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
        work=3 * arm + arm * arm + max(arm, 2) * size,
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
    rows = state.work[3 * length + length * length :]  # (A, P): u' times the rows of the inverse that belong to a_e
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
def bound(state: State, context: ScalarContext) -> None:
    """Scores: upper confidence bounds."""
    _project(state, context.user)
    length = int(state.params[_ARM])
    mean, covariance = state.work[:length], state.work[length : length + length * length]
    a, product = state.work[length + length * length :][:length], state.work[2 * length + length * length :][:length]
    for k in range(state.arm.shape[1]):
        if context.available[k]:
            _arm_features(context, k, a)
            multiply(covariance, a, product)
            deviation = sqrt(max(dot(product, a), 0.0))
            state.arm[SCORE, k] = dot(mean, a) + state.params[_MULTIPLE] * deviation


@jit
def sample(state: State, context: ScalarContext, random: Any) -> None:
    """Scores: one draw of b, and what each arm is worth if it is true."""
    _project(state, context.user)
    length = int(state.params[_ARM])
    mean, covariance = state.work[:length], state.work[length : length + length * length]
    a, draw = state.work[length + length * length :][:length], state.work[2 * length + length * length :][:length]
    normals(draw, random)
    cholesky(covariance, length)
    for e in range(length):
        for i in range(e + 1):
            mean[e] += state.params[_MULTIPLE] * covariance[e * length + i] * draw[i]
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
    inverse, coefficients = state.shared[: size * size], state.shared[size * size :]
    _arm_features(context, arm, a)
    for d in range(int(state.params[_USER])):
        weight = context.user[d - 1] if d > 0 else 1.0
        for e in range(length):
            x[d * length + e] = weight * a[e]
    multiply(inverse, x, product)
    scale = 1.0 / (1.0 + dot(product, x))
    step = scale * (reward - dot(coefficients, x))
    for i in range(size):
        factor = scale * product[i]
        row = inverse[i * size : (i + 1) * size]
        for j in range(size):
            row[j] -= factor * product[j]
        coefficients[i] += step * product[i]


@jit
def _arm_features(context: ScalarContext, arm: int, a: FloatArray) -> None:
    """The vector (1, arm)."""
    for e in range(a.shape[0]):
        a[e] = context.arms[arm, e - 1] if e > 0 else 1.0
