"""The estimators, as functions of arrays: importance weights `w`, rewards and predicted rewards of `n` rounds.

Every array may have leading axes of data sets, written (...,). An estimator gives back `Terms`: three numbers per round
of which the estimate is `mean(base) + mean(numerator) / mean(denominator)`. From them follow standard errors and
bootstraps, the same way for all estimators.

With `w = pi_e(a|x) / e(a|x)`, reward `r`, prediction `q` of the shown arm and `v = sum_a pi_e(a|x) q(x, a)`:

| | estimate |
|---|---|
| `ips` | mean(w r) |
| `ips` with weights of `clipped` | mean(min(w, l) r) |
| `ips` with weights of `subgaussian` | mean(w / (1 - c + c w) r) |
| `snips` | sum(w r) / sum(w) |
| `replay` | mean of r over matching rounds |
| `direct_method` | mean(v) |
| `doubly_robust` | mean(v + w (r - q)) |
| `doubly_robust` with weights of `switched` | w 1{w <= l} in place of w |
| `doubly_robust` with weights of `shrunk` | l w / (w^2 + l) in place of w |
| `self_normalized_dr` | mean(v) + sum(w (r - q)) / sum(w) |
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bandits.core import FloatArray


class Terms(NamedTuple):
    """What an estimator makes of each round; the arrays have shape (..., n).

    Attributes:
        base: Averaged as it stands.
        numerator: Its mean is divided by that of `denominator`.
        denominator: 1 in every round, unless the estimator normalizes by its own weights.
    """

    base: FloatArray
    numerator: FloatArray
    denominator: FloatArray

    @property
    def estimate(self) -> FloatArray:
        """`mean(base) + mean(numerator) / mean(denominator)`, shape (...,); nan where all denominators are 0."""
        return _combined(*(np.asarray(term.mean(axis=-1)) for term in self))

    @property
    def scores(self) -> FloatArray:
        """One number per round with the estimate as mean, and its spread as that of the estimate, shape (..., n).

        For a ratio these are its linearization `base + R + (numerator - R denominator) / mean(denominator)` with
        `R = mean(numerator) / mean(denominator)` (delta method).
        """
        scale = self.denominator.mean(axis=-1, keepdims=True)
        some = np.where(scale > 0, scale, np.nan)
        ratio = self.numerator.mean(axis=-1, keepdims=True) / some
        result: FloatArray = self.base + ratio + (self.numerator - ratio * self.denominator) / some
        return result

    @property
    def standard_error(self) -> FloatArray:
        """Standard error for independent rounds, `sd(scores) / sqrt(n)`, shape (...,); nan for a single round."""
        n = self.base.shape[-1]
        if n < 2:
            return np.full(self.base.shape[:-1], np.nan)
        error: FloatArray = self.scores.std(axis=-1, ddof=1) / np.sqrt(n)
        return error


class WeightSummary(NamedTuple):
    """How well a log supports a policy; arrays of shape (...,).

    Attributes:
        effective_sample_size: `sum(w)^2 / sum(w^2)`, 1 .. n; nan where all weights are 0.
        max_weight: Largest weight.
        mean_weight: Its expectation is 1 where the propensities are right and nothing lacks support.
        mean_weight_z: `(mean(w) - 1) / (sd(w) / sqrt(n))`, about standard normal then; nan where the weights are equal.
        num_matches: Rounds whose arm the policy might have chosen.
    """

    effective_sample_size: FloatArray
    max_weight: FloatArray
    mean_weight: FloatArray
    mean_weight_z: FloatArray
    num_matches: FloatArray


def importance_weights(probability: ArrayLike, propensity: ArrayLike) -> FloatArray:
    """`probability / propensity`: how much more often the evaluated policy shows what was shown.

    Args:
        probability: Of the evaluated policy for the shown arm, in [0, 1], shape (..., n).
        propensity: Of the logging policy for the shown arm, in (0, 1], shape (..., n).

    Raises:
        ValueError: When a propensity is not in (0, 1], or a probability not in [0, 1].
    """
    probability, propensity = np.asarray(probability, np.float64), np.asarray(propensity, np.float64)
    if not np.all((propensity > 0) & (propensity <= 1)):
        raise ValueError(f"`propensity` must lie in (0, 1]. Got values in [{propensity.min()}, {propensity.max()}].")
    if not np.all((probability >= 0) & (probability <= 1 + 1e-9)):
        raise ValueError(f"`probability` must lie in [0, 1]. Got values in [{probability.min()}, {probability.max()}].")
    weights: FloatArray = probability / propensity
    return weights


def clipped(weights: ArrayLike, limit: float) -> FloatArray:
    """`min(w, limit)`: biased downwards for rewards of at least 0.

    References:
        Ionides (2008), "Truncated importance sampling".
    """
    return np.minimum(_weights(weights), _positive("limit", limit))


def switched(weights: ArrayLike, limit: float) -> FloatArray:
    """`w 1{w <= limit}`: above it the model alone speaks.

    References:
        Wang, Agarwal and Dudik (2017), "Optimal and adaptive off-policy evaluation in contextual bandits" (SWITCH-DR).
    """
    weights = _weights(weights)
    return np.where(weights <= _positive("limit", limit), weights, 0.0)


def shrunk(weights: ArrayLike, strength: float) -> FloatArray:
    """`strength w / (w^2 + strength)`: at most `sqrt(strength) / 2`, and falling again beyond `sqrt(strength)`.

    References:
        Su, Dimakopoulou, Krishnamurthy and Dudik (2020), "Doubly robust off-policy evaluation with shrinkage".
    """
    weights = _weights(weights)
    result: FloatArray = _positive("strength", strength) * weights / (weights**2 + strength)
    return result


def subgaussian(weights: ArrayLike, correction: float | None = None, *, delta: float = 0.05) -> FloatArray:
    """`w / (1 - c + c w)`, the harmonic mean of the weight and 1: at most `1/c`, and w itself where c is 0.

    Args:
        weights: Importance weights, shape (..., n).
        correction: `c`, in [0, 1]. By default `min(1, sqrt(2 log(1/delta) / (3 n mean(w^2))))` for each data set, which
            balances the bound `c mean(w^2)` of the bias with the term `2 log(1/delta) / (3 c n)` of Bernstein's bound.
        delta: Probability with which that bound may fail, in (0, 1).

    References:
        Metelli, Russo and Restelli (2021), "Subgaussian and differentiable importance sampling for off-policy
        evaluation and learning", with exponent -1.
    """
    weights = _weights(weights)
    if correction is None:
        if not 0 < delta < 1:
            raise ValueError(f"`delta` must lie strictly between 0 and 1. Got {delta}.")
        second = np.mean(weights**2, axis=-1, keepdims=True)
        balance = 2 * np.log(1 / delta) / (3 * weights.shape[-1] * np.where(second > 0, second, 1.0))
        amount = np.minimum(1.0, np.sqrt(balance))
    elif 0 <= correction <= 1:
        amount = np.asarray(correction, dtype=np.float64)
    else:
        raise ValueError(f"`correction` must lie in [0, 1]. Got {correction}.")
    # With c = 1 and w = 0 this would be 0/0: the harmonic mean of 0 and anything is 0.
    result: FloatArray = weights / np.where(weights > 0, 1 - amount + amount * weights, 1.0)
    return result


def ips(weights: ArrayLike, reward: ArrayLike) -> Terms:
    """Inverse propensity scores, `mean(w r)`: unbiased, for adaptive logs too.

    Where no round has a positive weight the estimate is nan: the log says nothing of the policy, not that it earns 0.

    References:
        Horvitz and Thompson (1952), "A generalization of sampling without replacement from a finite universe".

    >>> ips([2.0, 0.0, 1.0], [1.0, 1.0, 0.0]).estimate
    array(0.66666667)
    """
    weights, reward = _pair(weights, reward)
    some = np.any(weights > 0, axis=-1, keepdims=True)
    return Terms(np.zeros_like(reward), weights * reward, np.broadcast_to(some.astype(np.float64), reward.shape))


def snips(weights: ArrayLike, reward: ArrayLike) -> Terms:
    """Self-normalized IPS, `sum(w r) / sum(w)`: within the range of the rewards, bias of order 1/n; nan without weight.

    References:
        Swaminathan and Joachims (2015), "The self-normalized estimator for counterfactual learning".
    """
    weights, reward = _pair(weights, reward)
    return Terms(np.zeros_like(reward), weights * reward, weights)


def replay(matches: ArrayLike, reward: ArrayLike) -> Terms:
    """Mean reward of the rounds in which the evaluated policy agrees with the log; nan where it never does.

    Unbiased where the logging policy had chosen uniformly at random (or with one propensity in all matching rounds).

    Args:
        matches: Whether the evaluated policy chooses what was shown, shape (..., n).
        reward: Shape (..., n).

    References:
        Li, Chu, Langford and Wang (2011), "Unbiased offline evaluation of contextual-bandit-based news article
        recommendation algorithms".
    """
    return snips(np.asarray(matches, dtype=np.bool_), reward)


def direct_method(probabilities: ArrayLike, predictions: ArrayLike) -> Terms:
    """The model's word alone, `mean(sum_a pi_e(a) q(a))`: as right or wrong as the model.

    Its `standard_error` is that of the average over contexts only; it knows nothing of the model's own error.

    Args:
        probabilities: Of the evaluated policy, shape (..., n, K).
        predictions: Predicted reward of each arm, shape (..., n, K), from a model that has not seen the round.
    """
    base = expected_prediction(probabilities, predictions)
    return Terms(base, np.zeros_like(base), np.ones_like(base))


def doubly_robust(weights: ArrayLike, reward: ArrayLike, predicted: ArrayLike, expected: ArrayLike) -> Terms:
    """The model, corrected by weighted residuals: `mean(v + w (r - q))`; unbiased whatever the model says.

    Args:
        weights: Importance weights, or what `switched` or `shrunk` made of them, shape (..., n).
        reward: Shape (..., n).
        predicted: Prediction `q` for the shown arm, shape (..., n), from a model that has not seen the round.
        expected: `v`, the `expected_prediction` of the evaluated policy, shape (..., n).

    References:
        Dudik, Langford and Li (2011), "Doubly robust policy evaluation and learning".
    """
    weights, reward = _pair(weights, reward)
    predicted, expected = np.asarray(predicted, np.float64), np.asarray(expected, np.float64)
    return Terms(expected, weights * (reward - predicted), np.ones_like(reward))


def self_normalized_dr(weights: ArrayLike, reward: ArrayLike, predicted: ArrayLike, expected: ArrayLike) -> Terms:
    """`doubly_robust` with the correction divided by the mean weight; nan without weight. Arguments as there."""
    weights, reward = _pair(weights, reward)
    predicted, expected = np.asarray(predicted, np.float64), np.asarray(expected, np.float64)
    return Terms(expected, weights * (reward - predicted), weights)


def expected_prediction(probabilities: ArrayLike, predictions: ArrayLike) -> FloatArray:
    """`v = sum_a pi_e(a) q(a)`, shape (..., n), from arrays of shape (..., n, K)."""
    probabilities, predictions = np.asarray(probabilities, np.float64), np.asarray(predictions, np.float64)
    value: FloatArray = np.einsum("...k,...k->...", *np.broadcast_arrays(probabilities, predictions))
    return value


def bounding_terms(
    terms: Terms, weights: ArrayLike, changed: ArrayLike, residual_range: tuple[float, float]
) -> tuple[Terms, Terms]:
    """Terms whose estimates lie below and above the value, for IPS or DR with changed weights `w'`.

    What the change leaves out is `E[(w - w') z]` with `z = r` (IPS) or `r - q` (DR), in `[low, high]`. With
    `d = max(w' - w, 0)` and `E[w] = 1` it is at most `high (1 - E[w'] + E[d]) - low E[d]`, and at least the same with
    `low` and `high` exchanged. Both need only bounded weights; they are as far apart as the log leaves open.

    Args:
        terms: Of IPS or DR with the changed weights, shape (..., n).
        weights: Importance weights `w`, shape (..., n).
        changed: Weights `w'` that were used, shape (..., n).
        residual_range: Smallest and largest possible `z`.

    Returns:
        The terms of the lower and of the upper bound.
    """
    weights, changed = _pair(weights, changed)
    added = np.maximum(changed - weights, 0.0)
    lost = 1 - changed + added
    low, high = residual_range
    if not low <= high:
        raise ValueError(f"`residual_range` must be increasing. Got {residual_range}.")
    below, above = low * lost - high * added, high * lost - low * added
    return terms._replace(base=terms.base + below), terms._replace(base=terms.base + above)


def weight_summary(weights: ArrayLike) -> WeightSummary:
    """Effective sample size and the largest and mean weight of data sets, from weights of shape (..., n).

    >>> round(float(weight_summary([1.0, 1.0, 2.0]).effective_sample_size), 3)
    2.667
    """
    weights = _weights(weights)
    n = weights.shape[-1]
    total, squares, mean = weights.sum(axis=-1), (weights**2).sum(axis=-1), weights.mean(axis=-1)
    some = squares > 0
    size = np.where(some, total**2 / np.where(some, squares, 1.0), np.nan)
    error = weights.std(axis=-1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros_like(mean)
    spread = error > 1e-12 * np.abs(mean)
    z = np.where(spread, (mean - 1) / np.where(spread, error, 1.0), np.nan)
    return WeightSummary(size, weights.max(axis=-1), mean, z, (weights > 0).sum(axis=-1).astype(np.float64))


def _combined(base: FloatArray, numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    some = denominator > 0
    return np.asarray(np.where(some, base + numerator / np.where(some, denominator, 1.0), np.nan))


def _weights(weights: ArrayLike) -> FloatArray:
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim == 0 or weights.shape[-1] == 0:
        raise ValueError(f"`weights` must have at least one round in their last axis. Got shape {weights.shape}.")
    if not np.all(np.isfinite(weights) & (weights >= 0)):
        raise ValueError(f"`weights` must be finite and at least 0. Got values in [{weights.min()}, {weights.max()}].")
    return weights


def _pair(weights: ArrayLike, reward: ArrayLike) -> tuple[FloatArray, FloatArray]:
    weights, reward = np.broadcast_arrays(_weights(weights), np.asarray(reward, dtype=np.float64))
    return weights, reward


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"`{name}` must be positive. Got {value}.")
    return value
