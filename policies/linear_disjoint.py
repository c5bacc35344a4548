"""Disjoint linear models: one ridge regression per arm, on the constant 1 and the user's features.

With precision `ridge` I + sum x x', `shared` holds for each arm the inverse of that matrix, packed as in
`bandits.linear_algebra`, and the coefficients. All arms see the same x, so the products of its entries are made once a
round, and each arm's x' A x is one dot product over about half a matrix.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from bandits.core import FloatArray, Problem
from bandits.kernel import Layout, ScalarContext, State
from bandits.linear_algebra import (
    dot,
    packed_add_square,
    packed_multiply,
    packed_size,
    packed_squares,
    packed_start,
    padded,
)
from bandits.machine_code import jit
from bandits.variates import normals

# `params`: the multiple of the standard error, ridge, length P of a feature vector, and the lengths of a packed matrix
# and of a vector with its zeros. `work`: products of x's entries, x, a vector of the same length. `arm`: a score, and
# the multiple of the standard error that is in it.
_MULTIPLE, _RIDGE, _SIZE, _PACKED, _VECTOR = range(5)
SCORE, _FACTOR = 0, 1


def layout(problem: Problem, multiple: float, ridge: float) -> Layout:
    """Room for one model per arm."""
    size = problem.user_dim + 1
    packed, vector = packed_size(size), padded(size)
    return Layout(
        arm=2,
        shared=problem.num_arms * (packed + vector),
        work=packed + 2 * vector,
        params=(multiple, ridge, size, packed, vector),
    )


def start(state: State, random: Any) -> None:
    """Before any data the inverse is I / ridge."""
    stride = int(state.params[_PACKED]) + int(state.params[_VECTOR])
    for arm in range(state.arm.shape[1]):
        for i in range(int(state.params[_SIZE])):
            state.shared[arm * stride + packed_start(i) + i] = 1.0 / state.params[_RIDGE]


@jit
def estimate(state: State, context: ScalarContext) -> None:
    """Scores: estimates."""
    state.arm[_FACTOR] = 0.0
    _score(state, context)


@jit
def bound(state: State, context: ScalarContext) -> None:
    """Scores: upper confidence bounds."""
    state.arm[_FACTOR] = state.params[_MULTIPLE]
    _score(state, context)


@jit
def sample(state: State, context: ScalarContext, random: Any) -> None:
    """Scores: one draw of x' theta for each arm. Its law is normal, so theta itself need not be drawn."""
    normals(state.arm[_FACTOR], random)
    for k in range(state.arm.shape[1]):
        state.arm[_FACTOR, k] *= state.params[_MULTIPLE]
    _score(state, context)


@jit
def _score(state: State, context: ScalarContext) -> None:
    """Estimate plus a multiple of the standard error for each available arm."""
    packed, vector = int(state.params[_PACKED]), int(state.params[_VECTOR])
    products, x = state.work[:packed], state.work[packed : packed + vector]
    _features(context, x)
    packed_squares(x, products)
    for k in range(state.arm.shape[1]):
        if context.available[k]:
            model = state.shared[k * (packed + vector) : (k + 1) * (packed + vector)]
            variance = dot(model[:packed], products)
            state.arm[SCORE, k] = dot(model[packed:], x) + state.arm[_FACTOR, k] * sqrt(max(variance, 0.0))


@jit
def learn(state: State, context: ScalarContext, arm: int, reward: float) -> None:
    """One more row: the inverse by Sherman and Morrison's formula, then the coefficients."""
    packed, vector = int(state.params[_PACKED]), int(state.params[_VECTOR])
    x, product = state.work[packed : packed + vector], state.work[packed + vector : packed + 2 * vector]
    model = state.shared[arm * (packed + vector) : (arm + 1) * (packed + vector)]
    inverse, coefficients = model[:packed], model[packed:]
    _features(context, x)
    packed_multiply(inverse, x, product)
    scale = 1.0 / (1.0 + dot(product, x))
    step = scale * (reward - dot(coefficients, x))
    packed_add_square(inverse, -scale, product)
    for i in range(vector):
        coefficients[i] += step * product[i]


@jit
def _features(context: ScalarContext, x: FloatArray) -> None:
    x[0] = 1.0
    for d in range(context.user.shape[0]):
        x[1 + d] = context.user[d]
