"""What a round must cost: drawing the random numbers that a policy and its world need, and touching their state.

No policy is played here: there are no ties, no masks, no regret, no divisions, roots or logarithms, and not even an
arg-max: the best score is found, and some arm is touched. Each function says what it draws and touches in a round. What
is touched is changed by a hair, so that the compiler leaves it in. Sums and comparisons are in the order in which they
are written, as everywhere here: "fast mathematics" would also change the functions that these call, for good.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bandits.linear_algebra import dot
from bandits.machine_code import jit
from bandits.random import RandomState, stream_key, world_uniform
from bandits.variates import betas, normals
from benchmarks.measure import aligned
from benchmarks.worlds import posterior

FloatArray = NDArray[np.float64]
_HAIR = 1e-12
_CLICK_RATE, _EPSILON = 0.3, 0.1


@jit
def _ucb1(rounds: int, key: int, mean: FloatArray, width: FloatArray, pulls: FloatArray, rewards: FloatArray) -> None:
    arms = mean.shape[0]
    for t in range(rounds):
        best = 0.0
        for k in range(arms):
            best = max(best, mean[k] + 2.0 * width[k])
        draw = world_uniform(key, t, 0)
        arm = int(draw * arms)
        pulls[arm] += 1.0
        rewards[arm] += 1.0 if draw < _CLICK_RATE else 0.0
        mean[arm] -= _HAIR * best
        width[arm] -= _HAIR


def ucb1(arms: int) -> Callable[[int], object]:
    """A uniform number for the click, K multiply-adds and comparisons, four numbers of one arm read and written."""
    mean, width, pulls, rewards = (aligned(np.ones(arms)) for _ in range(4))
    return lambda rounds: _ucb1(rounds, _key(), mean, width, pulls, rewards)


@jit
def _epsilon_greedy(rounds: int, key: int, rewards: FloatArray, inverse_pulls: FloatArray) -> None:
    arms = rewards.shape[0]
    for t in range(rounds):
        draw, best = world_uniform(key, t, 0), 0.0
        if world_uniform(key, t, 1) >= _EPSILON:
            for k in range(arms):
                best = max(best, rewards[k] * inverse_pulls[k])
        arm = int(draw * arms)
        rewards[arm] += _HAIR if draw < _CLICK_RATE else 0.0
        inverse_pulls[arm] -= _HAIR * best


def epsilon_greedy(arms: int) -> Callable[[int], object]:
    """Uniform numbers for exploring and for the click; K products and comparisons where it does not explore.

    Two numbers of one arm are read and written.
    """
    rewards, inverse_pulls = (aligned(np.ones(arms)) for _ in range(2))
    return lambda rounds: _epsilon_greedy(rounds, _key(), rewards, inverse_pulls)


@jit
def _beta_thompson(rounds: int, key: int, a: FloatArray, b: FloatArray, draws: FloatArray, random: RandomState) -> None:
    arms = a.shape[0]
    for t in range(rounds):
        betas(a, b, draws, random)
        best = 0.0
        for k in range(arms):
            best = max(best, draws[k])
        draw = world_uniform(key, t, 0)
        arm = int(draw * arms)
        a[arm] += _HAIR if draw < _CLICK_RATE else 0.0
        b[arm] += _HAIR * best


def beta_thompson(arms: int) -> Callable[[int], object]:
    """A uniform number for the click, K Beta numbers by `betas`, K comparisons, two numbers read and written.

    The parameters are those that Thompson sampling arrives at: the cost of a number depends on them.
    """
    a, b, draws = map(aligned, (*posterior(arms), np.zeros(arms)))
    return lambda rounds: _beta_thompson(rounds, _key(), a, b, draws, _random())


@jit
def _exp3(rounds: int, key: int, weights: FloatArray, probabilities: FloatArray) -> None:
    arms = weights.shape[0]
    for t in range(rounds):
        for k in range(arms):
            probabilities[k] = 0.9 * weights[k] + 0.1 / arms
        left, arm = world_uniform(key, t, 1), 0
        while arm < arms - 1 and left >= probabilities[arm]:
            left -= probabilities[arm]
            arm += 1
        weights[arm] -= _HAIR if world_uniform(key, t, 0) < _CLICK_RATE else 0.0


def exp3(arms: int) -> Callable[[int], object]:
    """Uniform numbers for the arm and for the click, K multiply-adds, a walk to the arm; one weight is changed."""
    weights, probabilities = (aligned(np.full(arms, 1.0 / arms)) for _ in range(2))
    return lambda rounds: _exp3(rounds, _key(), weights, probabilities)


@jit
def _fixed_split(rounds: int, key: int, cumulative: FloatArray, rewards: FloatArray) -> None:
    for t in range(rounds):
        draw, arm = world_uniform(key, t, 1), 0
        for k in range(cumulative.shape[0] - 1):
            arm += 1 if cumulative[k] <= draw else 0
        rewards[arm] += 1.0 if world_uniform(key, t, 0) < _CLICK_RATE else 0.0


def fixed_split(arms: int) -> Callable[[int], object]:
    """Uniform numbers for the arm and for the click; K - 1 comparisons; one number read and written."""
    cumulative, rewards = map(aligned, (np.cumsum(np.full(arms, 1.0 / arms)), np.zeros(arms)))
    return lambda rounds: _fixed_split(rounds, _key(), cumulative, rewards)


@jit
def _linear(
    rounds: int,
    key: int,
    users: FloatArray,
    user: FloatArray,
    products: FloatArray,
    inverse: FloatArray,
    coefficients: FloatArray,
    draws: FloatArray,
    random: RandomState,
) -> None:
    arms = coefficients.shape[0]
    for t in range(rounds):
        row = int(world_uniform(key, t, 1) * users.shape[0])
        for d in range(user.shape[0]):
            user[d] = users[row, d]
        if draws.shape[0] > 0:
            normals(draws, random)
        best = 0.0
        for k in range(arms):
            score = dot(coefficients[k], user) + dot(inverse[k], products)
            best = max(best, score * draws[k] if draws.shape[0] > 0 else score)
        draw = world_uniform(key, t, 0)
        arm, step = int(draw * arms), _HAIR if draw < _CLICK_RATE else -_HAIR
        for i in range(products.shape[0]):
            inverse[arm, i] += step * products[i]
        for d in range(user.shape[0]):
            coefficients[arm, d] += step * best * user[d]


def linucb(arms: int, features: FloatArray) -> Callable[[int], object]:
    """What `linear_thompson` needs, without the normal numbers."""
    return _linear_models(arms, features, 0)


def linear_thompson(arms: int, features: FloatArray) -> Callable[[int], object]:
    """Uniform numbers for the user and for the click, and a normal number for each arm.

    The user's features are copied. Half of each arm's symmetric matrix and its coefficients are read once, with one
    multiply-add for each number; those of one arm are then read and written once more.
    """
    return _linear_models(arms, features, arms)


def _linear_models(arms: int, features: FloatArray, draws: int) -> Callable[[int], object]:
    size = features.shape[1]
    half = -(-size * (size + 1) // 16) * 8  # whole cache lines for each arm
    shapes: tuple[tuple[int, ...], ...] = ((size,), (half,), (arms, half), (arms, size), (draws,))
    user, products, inverse, coefficients, numbers = (aligned(np.ones(shape)) for shape in shapes)
    return lambda rounds: _linear(rounds, _key(), features, user, products, inverse, coefficients, numbers, _random())


def _key() -> int:
    key: int = stream_key(1, 0, 0)
    return key


def _random() -> RandomState:
    return np.array([_key(), 0], dtype=np.uint64)
