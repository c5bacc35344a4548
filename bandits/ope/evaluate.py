"""All estimators of a policy's value on one log, each with the interval that the log allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bandits.core import BoolArray, FloatArray, IntArray
from bandits.ope import estimators, intervals
from bandits.ope.estimators import Terms, WeightSummary
from bandits.ope.intervals import ValueInterval
from bandits.ope.log import LoggedFeedback
from bandits.ope.predictions import cross_fitted_predictions
from bandits.ope.targets import Target, target_probabilities

_FEW_REWARDS = 20
_FAR = 3.0
_ADAPTIVE = "adaptively weighted DR"

Residuals = tuple[float, float] | None


@dataclass(frozen=True)
class PolicyValue:
    """What one estimator says about a policy.

    Attributes:
        method: The estimator.
        estimate: Mean reward per round that the policy would earn; nan where the log cannot say, with the reason in
            `note`.
        standard_error: Its standard error; nan where there is none.
        low: Lower end of the interval; nan where there is none.
        high: Upper end of the interval; nan where there is none.
        confidence: Nominal coverage.
        interval: Kind of interval and its unit; "none" where there is none.
        effective_sample_size: `sum(w)^2 / sum(w^2)` of the weights that the method used; nan for one without.
        max_weight: Largest of these weights; nan for a method without.
        mean_weight: Their mean; nan for a method without.
        share_clipped: Share of rounds whose weight was above the limit; nan for a method without a limit.
        num_matches: Rounds with a positive weight; nan for a method without weights.
        note: What the numbers do not cover, or why they are missing; "" for nothing.
    """

    method: str
    estimate: float
    standard_error: float
    low: float
    high: float
    confidence: float
    interval: str
    effective_sample_size: float
    max_weight: float
    mean_weight: float
    share_clipped: float
    num_matches: float
    note: str = ""


@dataclass(frozen=True)
class Evaluation:
    """All estimators on one log.

    Attributes:
        logged: What the logging policy itself earned.
        values: The estimators, by name.
        weights: Of the plain importance weights; `mean_weight_z` far from 0 means wrong propensities or no support.
        num_rounds: Rounds `n` of the log.
        warnings: What to know before believing any of it.
    """

    logged: PolicyValue
    values: dict[str, PolicyValue]
    weights: WeightSummary
    num_rounds: int
    warnings: tuple[str, ...]


class _Method(NamedTuple):
    name: str
    terms: Terms
    weights: FloatArray | None = None
    share_clipped: float = float("nan")
    note: str = ""
    has_interval: bool = True
    bounds: tuple[Terms, Terms] | None = None


def evaluate_policy(
    log: LoggedFeedback,
    target: Target,
    *,
    confidence: float = 0.95,
    interval: Literal["normal", "bootstrap"] = "normal",
    unit: Literal["round", "user"] = "round",
    reward_range: tuple[float, float] | None = None,
    clip: float = 10.0,
    shrinkage: float = 100.0,
    predictions: ArrayLike | None = None,
    num_folds: int = 5,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Evaluation:
    """What a policy would have earned, by every estimator, from a log that another policy collected.

    Intervals follow the log. Several replications: the replication is the unit (t). Rounds that do not depend on
    earlier ones: normal, by round or by user. One adaptive run: DR with adaptive weights only ("adaptively weighted
    DR"); the others have an estimate but no interval, since none is known to be right. Where weights are clipped or
    shrunk, the interval reaches as far as what they leave out could be, which takes the range of the rewards
    (`estimators.bounding_terms`). DM has no interval: the log cannot tell how wrong the model is.

    Args:
        log: The rounds.
        target: The evaluated policy; see `target_probabilities`.
        confidence: Coverage of each interval by itself, in (0, 1).
        interval: `normal` (t where the unit is a user or a replication), or `bootstrap` (percentile, over units).
        unit: What is independent in a log of one run: `round`, or `user` where visitors come more than once.
        reward_range: Smallest and largest possible reward; None: 0 and 1 where all rewards lie there, else unknown.
        clip: Largest weight of clipped IPS and SWITCH-DR, positive.
        shrinkage: Strength of DR with optimistic shrinkage, positive: weights are at most half its root.
        predictions: Predicted reward of each arm, shape (n, K), from a model that has not seen the round (for one
            adaptive run: nor any later one); None: `cross_fitted_predictions`.
        num_folds: Folds of that.
        num_resamples: Resampled data sets of the bootstrap.
        seed: Key of folds, bootstrap, and the draws of a stochastic policy for replay.

    Raises:
        ValueError: When the evaluated policy may choose an arm that the logging policy could not (no support), when an
            argument is out of range, or a bootstrap is asked of a single adaptive run.
    """
    if interval not in ("normal", "bootstrap"):
        raise ValueError(f"`interval` must be normal or bootstrap. Got {interval!r}.")
    for name, number in (("clip", clip), ("shrinkage", shrinkage)):
        if not number > 0:
            raise ValueError(f"`{name}` must be positive. Got {number}.")
    units, unit_name = _units(log, unit)
    martingale = log.adaptive and log.num_replications == 1
    if martingale and interval == "bootstrap":
        raise ValueError(
            "`interval` must be normal for one adaptive run: its rounds depend on one another, so they cannot be "
            "resampled. Got bootstrap."
        )
    probabilities = target_probabilities(log, target)
    _require_support(log, probabilities)
    rows = np.arange(len(log))
    weights = estimators.importance_weights(probabilities[rows, log.chosen], log.propensity)
    if predictions is None:
        predictions = cross_fitted_predictions(log, units, num_folds=num_folds, seed=seed)
    predicted = np.asarray(predictions, dtype=np.float64)
    if predicted.shape != probabilities.shape or not np.isfinite(predicted).all():
        raise ValueError(f"`predictions` must be finite, of shape {probabilities.shape}. Got shape {predicted.shape}.")
    q, v = predicted[rows, log.chosen], estimators.expected_prediction(probabilities, predicted)

    def interval_of(terms: Terms) -> ValueInterval:
        if interval == "bootstrap":
            return intervals.bootstrap_interval(
                terms, units, confidence=confidence, num_resamples=num_resamples, seed=seed
            )
        if units is None:
            return intervals.normal_interval(terms, confidence=confidence)
        return intervals.cluster_interval(terms, units, confidence=confidence)

    kind = "percentile bootstrap" if interval == "bootstrap" else "normal" if units is None else "t"

    def value(method: _Method) -> PolicyValue:
        if martingale or not method.has_interval:
            note = method.note if not method.has_interval else _joined(method.note, "no interval: one adaptive run")
            return _policy_value(method, _without_interval(method.terms), "none", note, confidence)
        found = interval_of(method.terms)
        if method.bounds is None:
            return _policy_value(method, found, f"{kind} over {unit_name}", method.note, confidence)
        low, high = (interval_of(terms) for terms in method.bounds)
        found = found._replace(low=low.low, high=high.high)
        return _policy_value(method, found, f"{kind} over {unit_name}, of bounds", method.note, confidence)

    values = [
        value(method)
        for method in _methods(
            log,
            probabilities,
            weights,
            q,
            v,
            reward_range=_reward_range(log, reward_range),
            clip=clip,
            shrinkage=shrinkage,
            seed=seed,
        )
    ]
    if martingale and weights.any():
        stable = _stable_weights(log, probabilities, weights)
        terms = estimators.doubly_robust(weights, log.reward, q, v)
        found = intervals.adaptive_interval(terms.scores, stable, confidence=confidence)
        values.append(_policy_value(_Method(_ADAPTIVE, terms, weights), found, "martingale normal", "", confidence))
    return Evaluation(
        logged=value(_Method("logged policy", estimators.ips(np.ones(len(log)), log.reward))),
        values={found.method: found for found in values},
        weights=estimators.weight_summary(weights),
        num_rounds=len(log),
        warnings=tuple(_warnings(log, probabilities, weights, unit)),
    )


def _methods(
    log: LoggedFeedback,
    probabilities: FloatArray,
    weights: FloatArray,
    q: FloatArray,
    v: FloatArray,
    *,
    reward_range: Residuals,
    clip: float,
    shrinkage: float,
    seed: int,
) -> Iterator[_Method]:
    reward = log.reward
    matches, problem = _replay_matches(log, probabilities, seed)
    replayed = estimators.replay(matches if problem == "" else np.zeros(len(log)), reward)
    yield _Method("replay", replayed, matches.astype(np.float64), note=problem)
    low, switched = estimators.clipped(weights, clip), estimators.switched(weights, clip)
    shrunk, bounded = estimators.shrunk(weights, shrinkage), estimators.subgaussian(weights)
    share = float(np.mean(weights > clip))
    nothing = float("nan")

    def with_bounds(name: str, terms: Terms, changed: FloatArray, residual: Residuals, share: float) -> _Method:
        if np.array_equal(changed, weights):
            return _Method(name, terms, changed, share)
        if residual is None:
            return _Method(name, terms, changed, share, "no interval: `reward_range` is not known", False)
        bounds = estimators.bounding_terms(terms, weights, changed, residual)
        return _Method(name, terms, changed, share, "biased by what its weights leave out", bounds=bounds)

    residuals = None if reward_range is None else (reward_range[0] - float(q.max()), reward_range[1] - float(q.min()))
    yield _Method("IPS", estimators.ips(weights, reward), weights)
    yield with_bounds("clipped IPS", estimators.ips(low, reward), low, reward_range, share)
    yield with_bounds("sub-Gaussian IPS", estimators.ips(bounded, reward), bounded, reward_range, nothing)
    yield _Method("SNIPS", estimators.snips(weights, reward), weights)
    unknown = "no interval: the log cannot tell how wrong the model is"
    yield _Method("DM", _model_terms(v), note=unknown, has_interval=False)
    alone = "" if weights.any() else "no interval: the policy never agrees with the log, so the model speaks alone"
    yield _Method("DR", estimators.doubly_robust(weights, reward, q, v), weights, note=alone, has_interval=not alone)
    yield _Method("self-normalized DR", estimators.self_normalized_dr(weights, reward, q, v), weights)
    yield with_bounds("SWITCH-DR", estimators.doubly_robust(switched, reward, q, v), switched, residuals, share)
    yield with_bounds("DR with shrinkage", estimators.doubly_robust(shrunk, reward, q, v), shrunk, residuals, nothing)


def _model_terms(v: FloatArray) -> Terms:
    return Terms(v, np.zeros_like(v), np.ones_like(v))


def _policy_value(method: _Method, found: ValueInterval, kind: str, note: str, confidence: float) -> PolicyValue:
    estimate, error, low, high = (float(number) for number in found)
    nothing = float("nan")
    unusable = method.note if method.name == "replay" else ""
    used = None if method.weights is None else estimators.weight_summary(method.weights)
    if np.isnan(estimate):
        note = unusable or "the evaluated policy never agrees with the log"
    elif np.isnan(low) and kind != "none":
        note = _joined(note, "no interval: the scores do not vary")
    kind = "none" if np.isnan(low) else kind
    return PolicyValue(
        method=method.name,
        estimate=estimate,
        standard_error=error,
        low=low,
        high=high,
        confidence=confidence,
        interval=kind,
        effective_sample_size=nothing if used is None else float(used.effective_sample_size),
        max_weight=nothing if used is None else float(used.max_weight),
        mean_weight=nothing if used is None else float(used.mean_weight),
        share_clipped=method.share_clipped,
        num_matches=nothing if used is None else float(used.num_matches),
        note=note,
    )


def _without_interval(terms: Terms) -> ValueInterval:
    missing = np.asarray(np.nan)
    return ValueInterval(terms.estimate, missing, missing, missing)


def _units(log: LoggedFeedback, unit: str) -> tuple[IntArray | None, str]:
    """Independent unit of each round, None for the round itself, and its name in the plural with its number."""
    if unit not in ("round", "user"):
        raise ValueError(f"`unit` must be round or user. Got {unit!r}.")
    if log.num_replications > 1:
        return log.replication, f"{log.num_replications} replications"
    if unit == "round":
        return None, "rounds"
    if log.user_id is None:
        raise ValueError("`unit` must be round for a log that does not name its visitors. Got user.")
    # Visitors without a name (-1) are each their own.
    anonymous = log.user_id < 0
    units = np.where(anonymous, log.user_id.max() + 1 + np.arange(len(log)), log.user_id)
    return units, f"{len(np.unique(units)):,} users"


def _reward_range(log: LoggedFeedback, given: tuple[float, float] | None) -> Residuals:
    low, high = float(log.reward.min()), float(log.reward.max())
    if given is None:
        return (0.0, 1.0) if low >= 0 and high <= 1 else None
    if not (given[0] <= low and high <= given[1]):
        raise ValueError(f"`reward_range` must hold all rewards, [{low}, {high}]. Got {given}.")
    return given


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _require_support(log: LoggedFeedback, probabilities: FloatArray) -> None:
    if log.propensities is None:
        return
    missing = (probabilities > 0) & ~(log.propensities > 0)
    if not missing.any():
        return
    arms = np.flatnonzero(missing.any(axis=0))
    names = ", ".join(log.arm_names[k] if log.arm_names else str(k) for k in arms[:5]) + (
        "..." if len(arms) > 5 else ""
    )
    raise ValueError(
        "`target` must choose only what the logging policy might have chosen: nothing can be known of the rest. "
        f"Got a positive probability where the propensity is 0 in {missing.any(axis=1).sum():,} of {len(log):,} rounds "
        f"(arms {names})."
    )


def _replay_matches(log: LoggedFeedback, probabilities: FloatArray, seed: int) -> tuple[BoolArray, str]:
    """Rounds in which the evaluated policy (one draw of it, where it is stochastic) chose what was shown; a problem."""
    random = np.random.Generator(np.random.Philox(key=[seed, 3]))
    edges = np.cumsum(probabilities, axis=1)
    draws = (edges <= random.random(len(log))[:, None] * edges[:, -1:]).sum(axis=1)
    matches: BoolArray = draws == log.chosen
    known = log.propensities
    needed = log.propensity[matches] if known is None else known[np.arange(len(log)), draws]
    if needed.size and np.ptp(needed) > 1e-6 * needed.max():
        return matches, "replay needs one propensity throughout, as of a uniform logging policy"
    return matches, ""


def _stable_weights(log: LoggedFeedback, probabilities: FloatArray, weights: FloatArray) -> FloatArray:
    if log.propensities is None:
        return intervals.trailing_weights(weights**2)
    contextual = log.features is not None or log.position is not None or log.available is not None
    if contextual or np.any(probabilities != probabilities[0]):
        return intervals.trailing_weights(intervals.second_moment(probabilities, log.propensities))
    return intervals.stabilizing_weights(probabilities, log.propensities)


def _warnings(log: LoggedFeedback, probabilities: FloatArray, weights: FloatArray, unit: str) -> Iterator[str]:
    if log.adaptive:
        intervals_words = (
            "intervals are over replications, which are independent."
            if log.num_replications > 1
            else f"only {_ADAPTIVE} has an interval that is made for that."
        )
        yield (
            "The logging policy learned from these rounds, so they are not independent: observed rates of single arms "
            f"are biased downwards, tests for independent visitors do not apply, and {intervals_words}"
        )
    summary = estimators.weight_summary(weights)
    z = float(summary.mean_weight_z)
    if abs(z) > _FAR:
        yield (
            f"The mean weight is {float(summary.mean_weight):.3f}, {abs(z):.1f} standard errors from 1: the "
            "propensities are wrong, or the policy chooses what the log could not show."
        )
    size = float(summary.effective_sample_size)
    if np.isnan(size) or size < max(100.0, len(log) / 100):
        yield f"The log is worth {0 if np.isnan(size) else size:.0f} of its {len(log):,} rounds for this policy."
    rewarded = int(np.sum((weights > 0) & (log.reward != 0)))
    if rewarded < _FEW_REWARDS:
        yield f"Only {rewarded} rounds with a weight have a reward: normal and bootstrap intervals are too narrow."
    if log.propensities is None:
        absent = np.setdiff1d(np.flatnonzero(probabilities.any(axis=0)), log.chosen)
        if len(absent):
            yield (
                f"{len(absent)} arms of the policy were never shown, and the log does not keep the propensities that "
                "would tell whether they could have been."
            )
    if unit == "round" and log.num_replications == 1 and log.user_id is not None:
        users = log.user_id[log.user_id >= 0]
        if len(np.unique(users)) < len(users):
            yield "Some visitors came more than once: their rounds may depend on one another. Use the user as the unit."
