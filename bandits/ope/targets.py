"""The evaluated policy as probabilities of every arm in every round of a log."""

from __future__ import annotations

import copy
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from bandits.core import BoolArray, Context, FloatArray, Policy, Problem
from bandits.ope.log import LoggedFeedback, require_probabilities
from bandits.random_streams import RandomStreams

_ROWS_AT_ONCE = 1000


class HasPropensities(Protocol):
    """Anything that says how it would choose: a trained model with a rule, for example."""

    def propensities(self, context: Context) -> FloatArray | None:
        """Probability of each arm in each row of the context, shape (B, K)."""


Target = ArrayLike | HasPropensities


def target_probabilities(log: LoggedFeedback, target: Target) -> FloatArray:
    """Probabilities with which the evaluated policy would choose each arm, shape (n, K).

    Args:
        log: The rounds.
        target: Probabilities of shape (n, K), or (K,) for all rounds alike; or an object with `propensities(context)`,
            which is asked as it stands. A `bandits.Policy` is copied and reset first: it is evaluated as it is before
            it has learned anything, so it should be one that does not learn.

    Raises:
        ValueError: When they do not have that shape, are negative, do not sum to 1, are positive for an arm that was
            not available, or when the policy does not know its propensities.
    """
    if isinstance(target, Policy):
        found = _policy_probabilities(log, target)
    elif hasattr(target, "propensities"):
        answer = target.propensities(log.context(np.arange(len(log))))
        found = _answered(target, answer)
    else:
        found = np.asarray(target, dtype=np.float64)
        if found.shape == (log.num_arms,):
            found = np.broadcast_to(found, (len(log), log.num_arms))
    if found.shape != (len(log), log.num_arms):
        raise ValueError(f"`target` must have shape ({len(log)}, {log.num_arms}). Got {found.shape}.")
    if not np.isfinite(found).all():
        raise ValueError("`target` must be finite. Got nan or infinity.")
    require_probabilities("target", found)
    if log.available is not None and np.any(found[~log.available] > 0):
        row = int(np.argmax(np.any((found > 0) & ~log.available, axis=1)))
        raise ValueError(f"`target` must be 0 for arms that are not available. Got a positive one in row {row}.")
    return found


def uniform(log: LoggedFeedback) -> FloatArray:
    """Equal probabilities for the available arms, shape (n, K)."""
    available = _available(log)
    shares: FloatArray = available / available.sum(axis=1, keepdims=True)
    return shares


def epsilon_greedy(log: LoggedFeedback, predictions: ArrayLike, epsilon: float) -> FloatArray:
    """The available arm with the best prediction with probability `1 - epsilon`, else any available one, shape (n, K).

    Args:
        log: The rounds.
        predictions: Predicted reward of each arm, shape (n, K); ties share. From a model that has not seen the round
            (`cross_fitted_predictions`), or the value of the policy will be too good.
        epsilon: In [0, 1].
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"`epsilon` must lie in [0, 1]. Got {epsilon}.")
    predictions, available = np.asarray(predictions, dtype=np.float64), _available(log)
    if predictions.shape != available.shape or not np.isfinite(predictions).all():
        raise ValueError(f"`predictions` must be finite, of shape {available.shape}. Got shape {predictions.shape}.")
    possible = np.where(available, predictions, -np.inf)
    best = possible == possible.max(axis=1, keepdims=True)
    greedy: FloatArray = best / best.sum(axis=1, keepdims=True)
    return (1 - epsilon) * greedy + epsilon * uniform(log)


def _available(log: LoggedFeedback) -> BoolArray:
    return np.ones((len(log), log.num_arms), dtype=np.bool_) if log.available is None else log.available


def _policy_probabilities(log: LoggedFeedback, policy: Policy) -> FloatArray:
    policy = copy.deepcopy(policy)
    low, high = min(0.0, float(log.reward.min())), max(1.0, float(log.reward.max()))
    dim = 0 if log.features is None else log.features.shape[1]
    parts = []
    for start in range(0, len(log), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(log)))
        problem = Problem(num_envs=len(rows), num_arms=log.num_arms, user_dim=dim, reward_range=(low, high))
        policy.reset(problem, RandomStreams(0, len(rows)))
        parts.append(_answered(policy, policy.propensities(log.context(rows))))
    return np.concatenate(parts)


def _answered(target: object, answer: FloatArray | None) -> FloatArray:
    if answer is None:
        raise ValueError(f"`target` must know its propensities. Got {target!r}, which does not.")
    return np.asarray(answer, dtype=np.float64)
