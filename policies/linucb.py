"""Linear upper confidence bounds."""

from __future__ import annotations

from math import sqrt
from typing import Any, Literal

from bandits.choice import argmax, greedy_probabilities
from bandits.core import FloatArray, Problem
from bandits.kernel import Hook, Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from policies.checks import require_integer, require_number

# `params`: alpha, ridge, the number of models M, the length of a feature vector P, components of users and of arms.
_ALPHA, _RIDGE, _MODELS, _SIZE, _USER, _ARM = range(6)

# `shared` holds for each model the inverse of its Gram matrix (P, P) and its coefficients (P,).
# `work` holds the scores (K,), a feature vector (P,) and a product (P,).


@jit
def _user_features(state: State, context: ScalarContext, arm: int, x: FloatArray) -> None:
    """The constant 1 and the user's features: what the disjoint models see, whatever the arm."""
    x[0] = 1.0
    for d in range(context.user.shape[0]):
        x[1 + d] = context.user[d]


@jit
def _product_features(state: State, context: ScalarContext, arm: int, x: FloatArray) -> None:
    """All products of (1, user components) and (1, arm components): what the shared model sees."""
    users, arms = int(state.params[_USER]), int(state.params[_ARM])
    i = 0
    for d in range(users + 1):
        left = context.user[d - 1] if d > 0 else 1.0
        for e in range(arms + 1):
            x[i] = left * (context.arms[arm, e - 1] if e > 0 else 1.0)
            i += 1


@jit
def _multiply(matrix: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """`out` = `matrix` `x` for a symmetric matrix stored flat, row by row.

    The inner loop runs along memory, four rows at a time: entering it costs as much as several of its steps.
    """
    size = x.shape[0]
    for i in range(size):
        out[i] = 0.0
    blocks = size // 4 * 4
    for j in range(0, blocks, 4):
        first, second, third, fourth = x[j], x[j + 1], x[j + 2], x[j + 3]
        rows = matrix[j * size : (j + 4) * size]
        for i in range(size):
            pair = first * rows[i] + second * rows[i + size]
            other = third * rows[i + 2 * size] + fourth * rows[i + 3 * size]
            out[i] += pair + other
    for j in range(blocks, size):
        for i in range(size):
            out[i] += x[j] * matrix[j * size + i]


@jit
def _upper_bound(state: State, model: int, x: FloatArray, product: FloatArray) -> float:
    """Estimate plus alpha standard errors of one model at a feature vector."""
    size = x.shape[0]
    base = model * (size + 1) * size
    coefficients = state.shared[base + size * size : base + size * size + size]
    _multiply(state.shared[base : base + size * size], x, product)
    mean = 0.0
    variance = 0.0
    for i in range(size):
        mean += coefficients[i] * x[i]
        variance += product[i] * x[i]
    bonus: float = state.params[_ALPHA] * sqrt(max(variance, 0.0))
    return mean + bonus


@jit
def _learn(state: State, model: int, x: FloatArray, reward: float, product: FloatArray) -> None:
    """Ridge regression with one more row: the inverse by Sherman and Morrison's formula, then the coefficients."""
    size = x.shape[0]
    base = model * (size + 1) * size
    matrix = state.shared[base : base + size * size]
    coefficients = state.shared[base + size * size : base + size * size + size]
    _multiply(matrix, x, product)
    variance = 0.0
    error = reward
    for i in range(size):
        variance += product[i] * x[i]
        error -= coefficients[i] * x[i]
    scale = 1.0 / (1.0 + variance)
    for j in range(size):
        factor = scale * product[j]
        row = matrix[j * size : (j + 1) * size]
        for i in range(size):
            row[i] -= factor * product[i]
        coefficients[j] += factor * error


def _start(state: State, random: Any) -> None:
    size = int(state.params[_SIZE])
    for model in range(int(state.params[_MODELS])):
        base = model * (size + 1) * size
        for i in range(size):
            state.shared[base + i * size + i] = 1.0 / state.params[_RIDGE]


def _kernel(features: Hook, disjoint: bool) -> Kernel:
    """The hooks for one way to make features; arms have models of their own when `disjoint`, else they share one."""

    @jit
    def score(state: State, context: ScalarContext) -> None:
        arms, size = context.available.shape[0], int(state.params[_SIZE])
        x, product = state.work[arms : arms + size], state.work[arms + size : arms + 2 * size]
        for k in range(arms):
            if context.available[k]:
                features(state, context, k, x)
                state.work[k] = _upper_bound(state, k if disjoint else 0, x, product)

    def select(state: State, context: ScalarContext, random: Any) -> int:
        score(state, context)
        return argmax(state.work[: context.available.shape[0]], context.available, random)

    def update(state: State, feedback: ScalarFeedback, random: Any) -> None:
        arms, size = feedback.context.available.shape[0], int(state.params[_SIZE])
        x, product = state.work[arms : arms + size], state.work[arms + size : arms + 2 * size]
        features(state, feedback.context, feedback.chosen, x)
        _learn(state, feedback.chosen if disjoint else 0, x, feedback.reward, product)

    def propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
        score(state, context)
        greedy_probabilities(state.work[: context.available.shape[0]], context.available, out)

    return Kernel(select=select, update=update, start=_start, propensities=propensities)


_DISJOINT = _kernel(_user_features, disjoint=True)
_PRODUCT = _kernel(_product_features, disjoint=False)


class LinUCB(KernelPolicy):
    """Shows the arm with the highest linear estimate plus alpha standard errors.

    `disjoint` keeps one ridge regression per arm on the user's features. `product` keeps a single one, on the products
    of user and arm features, so that an arm never seen before already has an estimate. Both add a constant feature 1.
    A round costs about K P**2 multiplications, with P = D + 1, or (user_components + 1)(arm_components + 1).

    Args:
        alpha: Number of standard errors added to the estimate, at least 0. With rewards in [0, 1] the noise has a
            standard deviation of at most 1/2, and that of rare clicks is about the root of their rate.
        ridge: Weight of the penalty on the coefficients, above 0.
        features: `disjoint` or `product`.
        user_components: How many of the first user features the product uses; at most all.
        arm_components: How many of the first arm features the product uses; at most all.

    References:
        Li, Chu, Langford and Schapire (2010), "A contextual-bandit approach to personalized news article
        recommendation", algorithm 1; the product features are those of their section 3.2.
    """

    def __init__(
        self,
        alpha: float = 0.5,
        ridge: float = 1.0,
        features: Literal["disjoint", "product"] = "disjoint",
        user_components: int = 5,
        arm_components: int = 5,
    ) -> None:
        require_number("alpha", alpha, 0.0)
        require_number("ridge", ridge, 0.0, strict=True)
        if features not in ("disjoint", "product"):
            raise ValueError(f"`features` must be disjoint or product. Got {features!r}.")
        require_integer("user_components", user_components, 0)
        require_integer("arm_components", arm_components, 0)
        self.alpha, self.ridge, self.features = alpha, ridge, features
        self.user_components, self.arm_components = user_components, arm_components
        self.kernel = _DISJOINT if features == "disjoint" else _PRODUCT

    def layout(self, problem: Problem) -> Layout:
        if self.features == "disjoint":
            models, size = problem.num_arms, problem.user_dim + 1
            users = arms = 0
        else:
            users = min(self.user_components, problem.user_dim)
            arms = min(self.arm_components, problem.arm_dim)
            models, size = 1, (users + 1) * (arms + 1)
        return Layout(
            shared=models * (size + 1) * size,
            work=problem.num_arms + 2 * size,
            params=(self.alpha, self.ridge, models, size, users, arms),
        )
