"""Bias, RMSE and coverage of the off-policy estimators over logs from worlds whose truth is known.

`python -m benchmarks.off_policy` prints the tables of docs/off-policy.md. All logs of a world are simulated and
evaluated at once, as arrays of shape (M, n).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bandits.ope import estimators, intervals
from bandits.ope.intervals import ValueInterval
from bandits.ope.predictions import cross_fitted_means, forward_folds

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Click rates of four segments of visitors (rows) on five arms.
SHARES = np.array([0.4, 0.3, 0.2, 0.1])
RATES = np.array(
    [
        [0.10, 0.14, 0.18, 0.22, 0.30],
        [0.30, 0.12, 0.10, 0.20, 0.16],
        [0.15, 0.35, 0.20, 0.10, 0.12],
        [0.08, 0.10, 0.40, 0.12, 0.20],
    ]
)
BEST = np.eye(5)[RATES.argmax(axis=1)]
UNIFORM = np.full((4, 5), 0.2)
# Mostly shows what the evaluated policy does not: weights reach 0.8 / 0.1 = 8.
SKEWED = np.array([[0.3, 0.25, 0.2, 0.15, 0.1], [0.1, 0.3, 0.25, 0.2, 0.15], [0.15, 0.1, 0.3, 0.25, 0.2], UNIFORM[0]])


@dataclass(frozen=True)
class World:
    """A logging policy and an evaluated policy, both by segment, shape (S, K)."""

    logging: FloatArray
    target: FloatArray
    num_rounds: int = 2000

    @property
    def value(self) -> float:
        """Exact mean reward of the evaluated policy."""
        return float(SHARES @ (self.target * RATES).sum(axis=1))


WORLDS = {
    "uniform logging, deterministic policy": World(UNIFORM, BEST),
    "skewed logging, stochastic policy": World(SKEWED, 0.75 * BEST + 0.25 * UNIFORM),
}


class Logs(NamedTuple):
    """Simulated logs: segment, shown arm and click of each round, shape (M, n)."""

    segment: IntArray
    chosen: IntArray
    reward: FloatArray


def simulated_logs(world: World, num_logs: int, seed: int) -> Logs:
    """Logs of independent rounds."""
    random = np.random.default_rng(seed)
    shape = (num_logs, world.num_rounds)
    segment = _drawn(np.broadcast_to(SHARES, (*shape, len(SHARES))), random)
    chosen = _drawn(world.logging[segment], random)
    return Logs(segment, chosen, (random.random(shape) < RATES[segment, chosen]).astype(np.float64))


def evaluated(world: World, logs: Logs, seed: int, *, clip: float = 5.0) -> dict[str, ValueInterval]:
    """Every estimator with its normal interval; DR and DM with a model of the arms, and one of segment and arm."""
    segment, chosen, reward = logs
    probabilities = world.target[segment]
    weights = estimators.importance_weights(
        np.take_along_axis(probabilities, chosen[..., None], -1)[..., 0], world.logging[segment, chosen]
    )
    clipped, switched = estimators.clipped(weights, clip), estimators.switched(weights, clip)
    bounded, shrunk = estimators.subgaussian(weights), estimators.shrunk(weights, 4 * clip**2)
    folds = np.random.default_rng(seed).permutation(world.num_rounds) % 5
    found = {
        "IPS": intervals.normal_interval(estimators.ips(weights, reward)),
        "clipped IPS": _of_bounds(estimators.ips(clipped, reward), weights, clipped, (0.0, 1.0)),
        "sub-Gaussian IPS": _of_bounds(estimators.ips(bounded, reward), weights, bounded, (0.0, 1.0)),
        "SNIPS": intervals.normal_interval(estimators.snips(weights, reward)),
    }
    if np.ptp(world.logging) == 0 and np.isin(world.target, (0, 1)).all():
        found = {"replay": intervals.normal_interval(estimators.replay(weights > 0, reward)), **found}
    num_arms = RATES.shape[1]
    cells = cross_fitted_means(segment * num_arms + chosen, reward, RATES.size, folds)
    for model, predictions in {
        "arm": cross_fitted_means(chosen, reward, num_arms, folds),
        "segment and arm": np.take_along_axis(
            cells.reshape(*segment.shape, *RATES.shape), segment[..., None, None], -2
        )[..., 0, :],
    }.items():
        q = np.take_along_axis(predictions, chosen[..., None], -1)[..., 0]
        v = estimators.expected_prediction(probabilities, predictions)
        residuals = (-float(q.max()), 1 - float(q.min()))
        values = {
            "DM": intervals.normal_interval(estimators.direct_method(probabilities, predictions)),
            "DR": intervals.normal_interval(estimators.doubly_robust(weights, reward, q, v)),
            "self-normalized DR": intervals.normal_interval(estimators.self_normalized_dr(weights, reward, q, v)),
            "SWITCH-DR": _of_bounds(estimators.doubly_robust(switched, reward, q, v), weights, switched, residuals),
            "DR with shrinkage": _of_bounds(estimators.doubly_robust(shrunk, reward, q, v), weights, shrunk, residuals),
        }
        found |= {f"{name}, model of {model}": value for name, value in values.items()}
    return found


def adaptive_values(
    num_logs: int, seed: int, *, num_rounds: int = 1000, floor: float = 0.05, rates: FloatArray, target: FloatArray
) -> dict[str, ValueInterval]:
    """IPS and DR on logs of a policy that learns, with plain and adaptive weights.

    The policy is Thompson sampling of two arms with the normal approximation of their Beta posteriors, whose
    propensity is known exactly, kept above a floor; separately for each segment of visitors.

    Args:
        num_logs: Number of logs `M`.
        seed: Seed of all of them.
        num_rounds: Rounds of each.
        floor: Smallest propensity.
        rates: Click rates of equally frequent segments, shape (S, 2).
        target: The evaluated policy by segment, shape (S, K).
    """
    random = np.random.default_rng(seed)
    num_segments, num_arms = rates.shape
    every = np.arange(num_logs)
    clicks, pulls = np.zeros((2, num_logs, *rates.shape))
    segment = random.integers(num_segments, size=(num_logs, num_rounds))
    chosen, reward = np.zeros_like(segment), np.zeros(segment.shape)
    propensities = np.zeros((*segment.shape, num_arms))
    for t in range(num_rounds):
        visitor = segment[:, t]
        count = pulls[every, visitor] + 2
        mean = (clicks[every, visitor] + 1) / count
        spread = np.sqrt((mean * (1 - mean) / (count + 1)).sum(axis=1))
        propensities[:, t, 1] = np.clip(special.ndtr((mean[:, 1] - mean[:, 0]) / spread), floor, 1 - floor)
        propensities[:, t, 0] = 1 - propensities[:, t, 1]
        chosen[:, t] = _drawn(propensities[:, t], random)
        reward[:, t] = random.random(num_logs) < rates[visitor, chosen[:, t]]
        pulls[every, visitor, chosen[:, t]] += 1
        clicks[every, visitor, chosen[:, t]] += reward[:, t]
    probabilities = target[segment]
    shown = chosen[..., None]
    weights = estimators.importance_weights(
        np.take_along_axis(probabilities, shown, -1)[..., 0], np.take_along_axis(propensities, shown, -1)[..., 0]
    )
    if num_segments == 1:
        stable = intervals.stabilizing_weights(probabilities, propensities)
    else:
        stable = intervals.trailing_weights(intervals.second_moment(probabilities, propensities))
    predictions = cross_fitted_means(chosen, reward, num_arms, forward_folds(num_rounds, 10), forward=True)
    q = np.take_along_axis(predictions, shown, -1)[..., 0]
    scores_of = {
        "IPS": estimators.ips(weights, reward),
        "DR": estimators.doubly_robust(weights, reward, q, estimators.expected_prediction(probabilities, predictions)),
    }
    found = {f"{name}, as if rounds were independent": intervals.normal_interval(s) for name, s in scores_of.items()}
    found |= {
        f"adaptively weighted {name}": intervals.adaptive_interval(s.scores, stable) for name, s in scores_of.items()
    }
    found |= {"SNIPS, as if rounds were independent": intervals.normal_interval(estimators.snips(weights, reward))}
    return found


def table(found: dict[str, ValueInterval], truth: float) -> str:
    """A Markdown table: bias with its Monte Carlo error, RMSE, coverage and half-width."""
    lines = [
        "| estimator | bias | ± MC error | RMSE | coverage of 95% | half-width |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, value in found.items():
        error = value.estimate - truth
        spread = error.std(ddof=1) / np.sqrt(len(error))
        covered = np.mean((value.low <= truth) & (truth <= value.high))
        rest = "| |" if name.startswith("DM") else f"{covered:.3f} | {np.mean(value.high - value.low) / 2:.4f} |"
        lines.append(f"| {name} | {error.mean():+.4f} | {spread:.4f} | {np.sqrt(np.mean(error**2)):.4f} | {rest}")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    for name, world in WORLDS.items():
        print(f"**{name}** (1,000 logs of {world.num_rounds:,} rounds, true value {world.value:.4f})\n")
        print(table(evaluated(world, simulated_logs(world, 1000, seed=1), seed=1), world.value) + "\n")
    rates = np.array([[0.5, 0.5]])
    print("**adaptive logging, equal arms** (1,000 logs of 1,000 rounds, the policy that always shows arm 0)\n")
    print(table(adaptive_values(1000, 1, rates=rates, target=np.array([[1.0, 0.0]])), 0.5))


def _of_bounds(
    terms: estimators.Terms, weights: FloatArray, changed: FloatArray, residuals: tuple[float, float]
) -> ValueInterval:
    """The estimate with changed weights; interval from the lower end of its lower to the upper of its upper bound."""
    below, above = estimators.bounding_terms(terms, weights, changed, residuals)
    return intervals.normal_interval(terms)._replace(
        low=intervals.normal_interval(below).low, high=intervals.normal_interval(above).high
    )


def _drawn(probabilities: FloatArray, random: np.random.Generator) -> IntArray:
    edges = np.cumsum(probabilities, axis=-1)
    drawn: IntArray = (edges[..., :-1] <= random.random(edges.shape[:-1])[..., None] * edges[..., -1:]).sum(axis=-1)
    return drawn


if __name__ == "__main__":
    main()
