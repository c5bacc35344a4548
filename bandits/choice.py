"""Choosing an arm from scores or weights, for kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bandits.machine_code import jit
from bandits.random import integer, uniform

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@jit
def argmax(scores: FloatArray, available: BoolArray, random: NDArray[np.uint64]) -> int:
    """The available arm with the highest score, one of the best at random; -1 when no score is a number.

    A number is drawn only when there is a tie: favouring the lowest index would bias regret and traffic.

    Args:
        scores: One score per arm, shape (K,); infinity is allowed.
        available: Whether each arm may be chosen, shape (K,).
        random: The policy's stream.
    """
    best = -np.inf
    ties = 0
    arm = -1
    for k in range(scores.shape[0]):
        score = scores[k]
        if available[k] and score >= best:
            if score > best:
                best = score
                ties = 1
                arm = k
            else:
                ties += 1
                if arm < 0:
                    arm = k
    if ties > 1:
        skip = integer(ties, random)
        for k in range(scores.shape[0]):
            if available[k] and scores[k] == best:
                if skip == 0:
                    return k
                skip -= 1
    return arm


@jit
def choose(weights: FloatArray, available: BoolArray, random: NDArray[np.uint64]) -> int:
    """An available arm with probability proportional to its weight; uses one draw. -1 when all weights are 0.

    Args:
        weights: Non-negative weights, shape (K,).
        available: Whether each arm may be chosen, shape (K,).
        random: The policy's stream.
    """
    return choose_at(weights, available, uniform(random))


@jit
def choose_at(weights: FloatArray, available: BoolArray, draw: float) -> int:
    """The arm that `choose` chooses when its draw is `draw`, in [0, 1)."""
    total = 0.0
    for k in range(weights.shape[0]):
        total += weights[k] if available[k] else 0.0
    # The first arm whose cumulative weight exceeds the draw. Counting all those before it has no branch to guess.
    threshold = draw * total
    cumulative = 0.0
    before = 0
    for k in range(weights.shape[0]):
        cumulative += weights[k] if available[k] else 0.0
        before += 1 if cumulative <= threshold else 0
    if before < weights.shape[0]:
        return before
    for k in range(weights.shape[0] - 1, -1, -1):  # the product was rounded up to the total, or all weights are 0
        if available[k] and weights[k] > 0.0:
            return k
    return -1


@jit
def choose_uniformly(available: BoolArray, random: NDArray[np.uint64]) -> int:
    """One of the available arms, all equally likely; uses one draw. -1 when there is none.

    Args:
        available: Whether each arm may be chosen, shape (K,).
        random: The policy's stream.
    """
    count = 0
    for k in range(available.shape[0]):
        count += 1 if available[k] else 0
    skip = integer(count, random)
    for k in range(available.shape[0]):
        if available[k]:
            if skip == 0:
                return k
            skip -= 1
    return -1


@jit
def normalized(weights: FloatArray, available: BoolArray, out: FloatArray) -> None:
    """The probabilities of `choose`, into `out` (K,)."""
    total = 0.0
    for k in range(weights.shape[0]):
        if available[k]:
            total += weights[k]
    for k in range(weights.shape[0]):
        out[k] = weights[k] / total if available[k] else 0.0


@jit
def greedy_probabilities(scores: FloatArray, available: BoolArray, out: FloatArray) -> None:
    """The probabilities of `argmax`, into `out` (K,): the best available arms share 1 equally."""
    best = -np.inf
    ties = 0.0
    for k in range(scores.shape[0]):
        if available[k] and scores[k] > best:
            best = scores[k]
            ties = 1.0
        elif available[k] and scores[k] == best:
            ties += 1.0
    for k in range(scores.shape[0]):
        out[k] = 1.0 / ties if available[k] and scores[k] == best else 0.0
