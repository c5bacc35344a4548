"""All replications side by side through Gymnasium's interface, for any policy and any environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bandits.compiled.loop import Results
from bandits.core import BoolArray, Context, EventListener, Feedback, FloatArray, IntArray, Policy, Problem
from bandits.environment import Environment, context_of
from bandits.memory import array_bytes, require_memory
from bandits.random_streams import RandomStreams
from bandits.results import empty_results, trace_of, wrong_arm
from bandits.trace import Trace


def play_in_lockstep(
    env: Environment, policy: Policy, rounds: IntArray, seed: int, first: int, events: EventListener | None = None
) -> Trace:
    """Play `env.num_envs` replications, one Python round trip per round, and tell every round to `events`."""
    horizon = int(rounds[-1])
    problem = env.problem(horizon)
    size = problem.num_envs
    _require_memory(problem, len(rounds))
    everyone = np.arange(size)
    policy.reset(problem, RandomStreams(seed, size, first, policy.stream))
    observation, info = env.reset(seed=seed, options={"first_replication": first})
    world = np.asarray(info.get("world", np.zeros(size)), dtype=np.int64)
    reports = _Reports(policy)
    results = empty_results(problem, len(rounds), len(reports.names))
    regret, regret_fixed, total_reward = np.zeros(size), np.zeros(size), np.zeros(size)
    totals = np.zeros((size, len(problem.outcome_names)))
    playing = np.ones(size, dtype=np.bool_)
    rows: IntArray | None = None  # those that still play, once one has stopped
    snapshot = 0
    for t in range(horizon):
        context = context_of(observation, problem, t)
        chances = None if events is None else _propensities(policy, context, problem)
        chosen = _checked(policy.select(context), context, problem, policy, playing, first, t)
        observation, reward, _, _, info = env.step(chosen)
        outcomes = np.asarray(info.get("outcomes", np.asarray(reward)[:, np.newaxis]), dtype=np.float64)
        reward = np.asarray(reward, dtype=np.float64)
        mean, best, fixed = _truth(info, env)
        if rows is None:
            regret += best - mean
            regret_fixed += fixed - mean
            total_reward += reward
            totals += outcomes
            results.pulls[everyone, chosen] += 1
            feedback = Feedback(everyone, context, chosen, outcomes, reward)
        else:
            regret[rows] += best[rows] - mean[rows]
            regret_fixed[rows] += fixed[rows] - mean[rows]
            total_reward[rows] += reward[rows]
            totals[rows] += outcomes[rows]
            results.pulls[rows, chosen[rows]] += 1
            feedback = Feedback(rows, context.take(rows), chosen[rows], outcomes[rows], reward[rows])
        if events is not None and chances is not None:
            propensity = chances[feedback.rows, feedback.chosen]
            events(replace(feedback, propensity=propensity), chances if rows is None else chances[rows])
        policy.update(feedback)
        stop = policy.stop()
        if stop is not None and (playing & stop).any():
            results.stopped[playing & stop] = t + 1
            reports.read(policy, playing, results)  # of those that stop now, their last word
            playing &= ~stop
            rows = np.flatnonzero(playing)
        if t + 1 == rounds[snapshot]:
            results.regret[snapshot] = regret
            results.regret_fixed[snapshot] = regret_fixed
            results.reward[snapshot] = total_reward
            results.outcomes[snapshot] = totals
            results.traffic[snapshot] = results.pulls.sum(axis=0)
            reports.read(policy, playing, results)
            reports.keep(results, snapshot)
            snapshot += 1
    return trace_of(results, rounds, world, first, problem, reports.names)


class _Reports:
    """What a policy says of itself; a replication that stopped keeps what it said last."""

    def __init__(self, policy: Policy) -> None:
        self._now = {name: np.array(value, dtype=np.float64) for name, value in policy.record().items()}
        self.names = tuple(self._now)

    def read(self, policy: Policy, playing: BoolArray, results: Results) -> None:
        """Ask the policy, and believe it about the replications that still play."""
        for name, value in policy.record().items():
            self._now[name][playing] = np.asarray(value)[playing]
        if (recommended := policy.recommend()) is not None:
            results.recommended[playing] = np.asarray(recommended)[playing]

    def keep(self, results: Results, snapshot: int) -> None:
        """Write the last answers into a snapshot."""
        for row, value in enumerate(self._now.values()):
            results.records[row, snapshot] = value


def _checked(
    chosen: Any, context: Context, problem: Problem, policy: Policy, playing: Any, first: int, round: int
) -> IntArray:
    """The arms that a policy chose, as an integer array; an error if any of them must not be chosen."""
    arms = np.asarray(chosen)
    if arms.shape != (problem.num_envs,) or arms.dtype.kind not in "iu":
        raise ValueError(
            f"{policy!r} must choose an array of integers of shape ({problem.num_envs},). "
            f"Got {arms.dtype} of shape {arms.shape}."
        )
    arms = arms.astype(np.int64)
    exists = (arms >= 0) & (arms < problem.num_arms)
    allowed = exists & context.available[np.arange(len(arms)), arms if exists.all() else np.where(exists, arms, 0)]
    if problem.null_arm is not None:
        allowed |= arms == problem.null_arm
    if allowed.all():
        return arms
    if not (allowed | ~playing).all():
        n = int(np.flatnonzero(~allowed & playing)[0])
        raise wrong_arm(repr(policy), int(arms[n]), problem.num_arms, first + n, round, exists=bool(exists[n]))
    return np.where(allowed, arms, np.argmax(context.available, axis=1))


def _propensities(policy: Policy, context: Context, problem: Problem) -> FloatArray:
    """Probability of each arm before the policy chooses, shape (N, K)."""
    chances = policy.propensities(context)
    if chances is None:
        raise ValueError(f"`events` must be None for a policy that does not know its propensities. Got {policy!r}.")
    chances = np.asarray(chances, dtype=np.float64)
    if chances.shape != (problem.num_envs, problem.num_arms):
        raise ValueError(
            f"`propensities` of {policy!r} must have shape ({problem.num_envs}, {problem.num_arms}). "
            f"Got {chances.shape}."
        )
    return chances


def _require_memory(problem: Problem, snapshots: int) -> None:
    """Say what does not fit before anything is begun: results, one visit in every replication, the arms' features."""
    size, arms = problem.num_envs, problem.num_arms
    results = [(snapshots, size, 3 + len(problem.outcome_names)), (size, arms)]
    visit = [(size, 2 * problem.user_dim + 24), (size, arms, 1)]  # what is seen and its copy, the truth, the score
    what = f"{snapshots} snapshots of {size:,} replications of {arms:,} arms with {problem.user_dim} user features"
    require_memory(what, array_bytes([*results, *visit]))


def _truth(info: dict[str, Any], env: Environment) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The true means of the chosen, the best and the fixed arm, each of shape (N,)."""
    missing = [name for name in ("mean", "best_mean", "fixed_mean") if name not in info]
    if missing:
        raise ValueError(f"{type(env).__name__}.step must put {', '.join(missing)} into `info`: regret is exact.")
    mean, best, fixed = (np.asarray(info[name], dtype=np.float64) for name in ("mean", "best_mean", "fixed_mean"))
    return mean, best, fixed
