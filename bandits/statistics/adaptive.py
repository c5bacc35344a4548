"""Inference after a bandit: estimates and intervals that stay right although the policy chose who saw what.

The sample mean of an arm is biased down and its usual interval too short where a bandit collected the data. The
estimators here use the logged probabilities of all arms, and need them strictly between 0 and 1.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bandits.statistics.checks import require_fraction

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Weights = Literal["uniform", "sqrt", "two-point"]


class AdaptiveEstimate(NamedTuple):
    """Estimates from adaptively collected data with intervals for a fixed length of the log.

    Attributes:
        estimate: One for each data set (and arm).
        standard_error: Same shape; nan where the data allow none, with the reason in the function's docstring.
        low: Lower end; nan where there is no standard error.
        high: Upper end; nan where there is no standard error.
        confidence: Coverage of one interval, asymptotic, at a length fixed beforehand (not for peeking).
        method: The method in words.
    """

    estimate: FloatArray
    standard_error: FloatArray
    low: FloatArray
    high: FloatArray
    confidence: float
    method: str


class BatchedTest(NamedTuple):
    """Result of `batched_ols`; arrays have the leading shape of the data sets.

    Attributes:
        difference: Weighted mean over batches of the first arm's mean minus the second's; nan without a usable batch.
        standard_error: Of the difference; nan as above.
        low: Lower end of the interval; nan as above.
        high: Upper end; nan as above.
        statistic: z, asymptotically standard normal where the arms are equal; nan as above.
        p_value: Two-sided.
        batches_used: Number of batches that had visitors in both arms.
        confidence: Coverage, asymptotic.
        method: The method in words.
    """

    difference: FloatArray
    standard_error: FloatArray
    low: FloatArray
    high: FloatArray
    statistic: FloatArray
    p_value: FloatArray
    batches_used: IntArray
    confidence: float
    method: str


def aipw_values(
    chosen: ArrayLike,
    rewards: ArrayLike,
    propensities: ArrayLike,
    *,
    weights: Weights = "sqrt",
    floor_decay: float = 0.0,
    predictions: ArrayLike | None = None,
    confidence: float = 0.95,
) -> AdaptiveEstimate:
    """Mean reward of every arm from a bandit's log, by (adaptively weighted) augmented inverse propensity weighting.

    The score of arm k in round t, `G_t = m_{t-1}(k) + 1{A_t = k} / e_t(k) (Y_t - m_{t-1}(k))`, is unbiased given the
    past; the estimate Q is the mean of the scores weighted by `h_t(k)`, its standard error
    `sqrt(sum h^2 (G - Q)^2) / sum h`. Uniform weights leave no bias, but the scores' variance moves with e, so that
    their intervals may fail; the others keep it steady, at the price of a small bias.

    Args:
        chosen: Arm of each round, integers in 0..K-1, shape (..., T); leading axes are data sets.
        rewards: Shape (..., T), finite.
        propensities: Probability of every arm at the time of the choice, shape (..., T, K), strictly between 0 and 1,
            summing to 1 over the arms. They must be the policy's own, not estimates.
        weights: `"uniform"` (h = 1, plain AIPW), `"sqrt"` (h = sqrt(e)), or `"two-point"` (`two_point_weights`).
        floor_decay: The exponent d in [0, 1) where the policy's floor on propensities falls as t^-d; for the two-point
            weights only. 0 for a constant floor.
        predictions: m_{t-1}(k), shape (..., T, K), made of the past only; by default the mean of the arm's earlier
            rewards, 0 before there are any.
        confidence: In (0, 1).

    Returns:
        Arrays of shape (..., K). All are nan for an arm that was never chosen: its scores are mere predictions. The
        standard error and the interval are nan where the scores do not vary (one round; an arm whose rewards were all
        0), which is no sign of certainty: `beta_mixture_sequence` gives such arms an interval.

    Raises:
        ValueError: When shapes disagree, a number is out of range, or the policy was deterministic in some round.

    References:
        Hadad, Hirshberg, Zhan, Wager & Athey, "Confidence intervals for policy evaluation in adaptive experiments"
        (2021).
    """
    scores, h, pulled = _scores(chosen, rewards, propensities, weights, floor_decay, predictions)
    estimate, influence = weighted_mean(scores, h)
    error = np.sqrt(np.sum(influence**2, axis=-1))
    return _interval(np.where(pulled, estimate, np.nan), np.where(pulled, error, np.nan), weights, "value", confidence)


def aipw_contrast(
    chosen: ArrayLike,
    rewards: ArrayLike,
    propensities: ArrayLike,
    arms: tuple[int, int],
    *,
    weights: Weights = "sqrt",
    floor_decay: float = 0.0,
    predictions: ArrayLike | None = None,
    confidence: float = 0.95,
) -> AdaptiveEstimate:
    """Mean reward of one arm minus another's from a bandit's log; the difference of `aipw_values`.

    The standard error is `sqrt(sum_t (h_1 (G_1 - Q_1) / sum h_1 - h_0 (G_0 - Q_0) / sum h_0)^2)`, which knows that both
    arms' scores come from the same rounds.

    Args:
        chosen: As in `aipw_values`.
        rewards: As in `aipw_values`.
        propensities: As in `aipw_values`.
        arms: The arm whose value counts, then the arm whose value is subtracted; two different numbers in 0..K-1.
        weights: As in `aipw_values`.
        floor_decay: As in `aipw_values`.
        predictions: As in `aipw_values`.
        confidence: In (0, 1).

    Returns:
        Arrays of the leading shape; nan where either arm was never chosen, and no standard error where neither arm's
        scores vary.
    """
    scores, h, pulled = _scores(chosen, rewards, propensities, weights, floor_decay, predictions)
    first, second = _pair(arms, scores.shape[-2])
    estimate, influence = weighted_mean(scores, h)
    error = np.sqrt(np.sum((influence[..., first, :] - influence[..., second, :]) ** 2, axis=-1))
    both = pulled[..., first] & pulled[..., second]
    difference = np.where(both, estimate[..., first] - estimate[..., second], np.nan)
    return _interval(difference, np.where(both, error, np.nan), weights, f"arm {first} - arm {second}", confidence)


def batched_ols(
    chosen: ArrayLike,
    rewards: ArrayLike,
    batch: ArrayLike,
    arms: tuple[int, int],
    *,
    equal_variances: bool = False,
    confidence: float = 0.95,
) -> BatchedTest:
    """Difference of two arms of a bandit that changes its probabilities between batches only.

    Within a batch the arms are compared as in an A/B test; each batch's z has variance 1 whatever the bandit did
    before, and the z of B batches are added up: `B^(-1/2) sum_b (mean_1b - mean_0b) / sqrt(v_1 / n_1b + v_0 / n_0b)`.
    Batches in which an arm had no visitors are left out. It needs no propensities, but they must stay away from 0 and
    1, and the difference must be the same in all batches.

    Args:
        chosen: Arm of each round, integers from 0, shape (..., T). Other arms' rounds are ignored.
        rewards: Shape (..., T), finite.
        batch: Number of each round's batch, integers that never fall, shape (T,); shared by all data sets.
        arms: The arm that counts, then the arm that is subtracted.
        equal_variances: One variance for both arms, as published (`sqrt(n_0 n_1 / (n s^2))` as weights); else one for
            each, which click rates that differ need. Either is estimated from all batches around the arms' means.
        confidence: In (0, 1).

    Returns:
        Arrays of the leading shape; nan where no batch had both arms, or no reward varied.

    References:
        Zhang, Janson & Murphy, "Inference for batched bandits" (2020).
    """
    actions, values = _log(chosen, rewards)
    numbers = np.asarray(batch)
    if numbers.shape != actions.shape[-1:] or numbers.dtype.kind not in "iu" or np.any(np.diff(numbers) < 0):
        raise ValueError(f"`batch` must be integers that never fall, shape {actions.shape[-1:]}. Got {batch!r}.")
    require_fraction("confidence", confidence)
    first, second = _pair(arms, None)
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    counts, sums, squares = [], [], []
    for arm in (first, second):
        mine = actions == arm
        counts.append(np.add.reduceat(mine.astype(np.float64), starts, axis=-1))
        sums.append(np.add.reduceat(np.where(mine, values, 0.0), starts, axis=-1))
        visitors = mine.sum(axis=-1)
        mean = np.where(mine, values, 0.0).sum(axis=-1) / np.maximum(visitors, 1)
        squares.append((np.where(mine, values - mean[..., None], 0.0) ** 2).sum(axis=-1))
    totals = [count.sum(axis=-1) for count in counts]
    if equal_variances:
        pooled = sum(squares) / np.maximum(sum(totals) - 2, 1)
        variances = [pooled, pooled]
    else:
        variances = [square / np.maximum(total - 1, 1) for square, total in zip(squares, totals, strict=True)]
    used = (counts[0] > 0) & (counts[1] > 0)
    n_1, n_0 = np.where(used, counts[0], 1.0), np.where(used, counts[1], 1.0)
    variance = variances[0][..., None] / n_1 + variances[1][..., None] / n_0
    used &= variance > 0
    precision = np.where(used, 1 / np.sqrt(np.where(used, variance, 1.0)), 0.0)
    batches = used.sum(axis=-1)
    total_precision = precision.sum(axis=-1)
    some = batches > 0
    divisor = np.where(some, total_precision, 1.0)
    difference = (precision * (sums[0] / n_1 - sums[1] / n_0)).sum(axis=-1) / divisor
    difference = np.where(some, difference, np.nan)
    error = np.where(some, np.sqrt(batches) / divisor, np.nan)
    half_width = special.ndtri(0.5 + confidence / 2) * error
    statistic = difference / error
    method = f"batched OLS, {'one variance' if equal_variances else 'a variance per arm'}, arm {first} - arm {second}"
    return BatchedTest(
        difference=difference,
        standard_error=error,
        low=difference - half_width,
        high=difference + half_width,
        statistic=statistic,
        p_value=2 * special.ndtr(-np.abs(statistic)),
        batches_used=batches,
        confidence=confidence,
        method=method,
    )


def two_point_weights(propensities: ArrayLike, *, floor_decay: float = 0.0) -> FloatArray:
    """The two-point stick-breaking weights `h_t = sqrt(v_t e_t)`, not normalised.

    `v_t` is the share `e_t / (T - t + 1) + (1 - e_t) t^-d / (t^-d + (T^(1-d) - t^(1-d)) / (1 - d))` of what the rounds
    before have left of 1: it holds back less where the arm's propensity is small and will shrink with the floor.

    Args:
        propensities: Shape (..., T, K), in (0, 1).
        floor_decay: d in [0, 1). With 0 these are the `"sqrt"` weights, as `v_t = 1 / T`.

    Returns:
        Shape (..., T, K).
    """
    e = np.asarray(propensities, dtype=np.float64)
    if not 0 <= floor_decay < 1:
        raise ValueError(f"`floor_decay` must lie in [0, 1). Got {floor_decay}.")
    rounds = e.shape[-2]
    t = np.arange(1, rounds + 1, dtype=np.float64)[:, None]
    rest = 1 - floor_decay
    fading = rest / (rest + rounds**rest * t**floor_decay - t)
    share = e / (rounds - t + 1) + (1 - e) * fading
    left = np.cumprod(1 - share[..., :-1, :], axis=-2)
    left = np.concatenate([np.ones_like(e[..., :1, :]), np.maximum(left, 0.0)], axis=-2)
    return np.asarray(np.sqrt(left * share * e))


def weighted_mean(scores: ArrayLike, weights: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """`Q = sum(h s) / sum(h)` over rounds, and each round's share `h (s - Q) / sum(h)` in its error.

    Where the scores have the mean in question given the past, and each weight is known before its round, the standard
    error is the root of the sum of the squared shares, and that of a difference of two Q the root of the sum of the
    squared differences of theirs.

    Args:
        scores: Shape (..., T).
        weights: h, not all 0, same shape.

    Returns:
        Shapes (...) and (..., T).
    """
    s, h = np.asarray(scores, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    total = h.sum(axis=-1)
    estimate = np.asarray((h * s).sum(axis=-1) / total)
    return estimate, h * (s - estimate[..., None]) / total[..., None]


def _scores(
    chosen: ArrayLike,
    rewards: ArrayLike,
    propensities: ArrayLike,
    weights: Weights,
    floor_decay: float,
    predictions: ArrayLike | None,
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """AIPW scores (..., K, T), their weights (..., K, T), and which arms were ever chosen (..., K)."""
    actions, values = _log(chosen, rewards)
    e = np.asarray(propensities, dtype=np.float64)
    if e.ndim != actions.ndim + 1 or e.shape[:-1] != actions.shape:
        raise ValueError(f"`propensities` must have shape {(*actions.shape, 'K')}. Got {e.shape}.")
    if np.any(actions >= e.shape[-1]):
        raise ValueError(f"`chosen` must be arms 0..{e.shape[-1] - 1}. Got {actions.max()}.")
    if not np.all((e > 0) & (e < 1)):
        raise ValueError(
            "`propensities` must lie strictly between 0 and 1 for every arm and round. Got a deterministic choice "
            "(0 or 1) or a number outside: propensity weighting can estimate nothing there. Most likely the policy has "
            "no floor, or is UCB or greedy; confidence sequences (`beta_mixture_sequence`) are valid for any policy."
        )
    if not np.allclose(e.sum(axis=-1), 1.0, rtol=0, atol=1e-6):
        raise ValueError("`propensities` must sum to 1 over the arms of each round. Got sums that differ.")
    mine = actions[..., None] == np.arange(e.shape[-1])
    if predictions is None:
        rewards_of = np.where(mine, values[..., None], 0.0)
        earlier = np.cumsum(mine, axis=-2) - mine
        model = (np.cumsum(rewards_of, axis=-2) - rewards_of) / np.maximum(earlier, 1)
    else:
        model = np.asarray(predictions, dtype=np.float64)
        if model.shape != e.shape or not np.isfinite(model).all():
            raise ValueError(f"`predictions` must be finite and have shape {e.shape}. Got shape {model.shape}.")
    scores = model + np.where(mine, (values[..., None] - model) / e, 0.0)
    if weights == "uniform":
        h = np.ones_like(e)
    elif weights == "sqrt":
        h = np.sqrt(e)
    elif weights == "two-point":
        h = two_point_weights(e, floor_decay=floor_decay)
    else:
        raise ValueError(f"`weights` must be one of {', '.join(get_args(Weights))}. Got {weights!r}.")
    return np.swapaxes(scores, -1, -2), np.swapaxes(h, -1, -2), mine.any(axis=-2)


def _interval(
    estimate: FloatArray, error: FloatArray, weights: Weights, target: str, confidence: float
) -> AdaptiveEstimate:
    require_fraction("confidence", confidence)
    # A spread of rounding errors only is no spread.
    error = np.where(error > 1e-12 * (1 + np.abs(estimate)), error, np.nan)
    half_width = special.ndtri(0.5 + confidence / 2) * error
    method = f"AIPW with {weights} weights, {target}, asymptotic normal"
    return AdaptiveEstimate(estimate, error, estimate - half_width, estimate + half_width, confidence, method)


def _log(chosen: ArrayLike, rewards: ArrayLike) -> tuple[IntArray, FloatArray]:
    actions, values = np.asarray(chosen), np.asarray(rewards, dtype=np.float64)
    if actions.ndim == 0 or actions.shape[-1] == 0 or actions.dtype.kind not in "iu" or np.any(actions < 0):
        raise ValueError(f"`chosen` must be arms from 0, one for each round. Got {chosen!r}.")
    if values.shape != actions.shape or not np.isfinite(values).all():
        raise ValueError(f"`rewards` must be finite and have shape {actions.shape}. Got shape {values.shape}.")
    return actions.astype(np.int64), values


def _pair(arms: tuple[int, int], num_arms: int | None) -> tuple[int, int]:
    first, second = arms
    if first == second or min(arms) < 0 or (num_arms is not None and max(arms) >= num_arms):
        known = "" if num_arms is None else f" below {num_arms}"
        raise ValueError(f"`arms` must be two different arms{known}. Got {arms!r}.")
    return first, second
