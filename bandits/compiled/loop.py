"""The simulation loop and its row-by-row parts: the one source of all engines.

The fused engine compiles a copy of this file for each pair of policy and world (`bandits.compiled.specialize`); the
Python engine runs it as it stands; the lockstep engine and the Gymnasium environments call the functions that end in
`_rows`. The hooks below are what a policy or world without that hook does; specialization puts others in their place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandits.kernel import ScalarContext, ScalarFeedback, State, World
from bandits.random import NUM_ROLES, policy_key, stream_key

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
KeyArray = NDArray[np.uint64]

OK = 0
CANCELLED = 1
ARM_OUT_OF_RANGE = 2
ARM_UNAVAILABLE = 3


class Settings(NamedTuple):
    """What the loop must know besides policy and world.

    Attributes:
        seed: Seed of the simulation.
        stream: Number of the policy's random stream.
        num_worlds: Number of worlds `W`; replication n lives in world n % W.
        days_per_round: Calendar time between two visits, in days.
        null_arm: The arm that may be chosen although it is never available; -1 without one.
        rounds: Rounds after which a snapshot is taken, shape (C,); the last is the horizon.
        cancelled: Shape (1,); anything but 0 makes the loop give up before its next replication.
    """

    seed: int
    stream: int
    num_worlds: int
    days_per_round: float
    null_arm: int
    rounds: IntArray
    cancelled: IntArray


class Buffers(NamedTuple):
    """Memory for one replication, used again for the next; fields are those of `State`, `World` and `ScalarContext`.

    What a replication counts lies here too, and is copied into the results now and then: threads that write into
    neighbouring rows of one array slow each other down.
    """

    params: FloatArray
    arm: FloatArray
    shared: FloatArray
    work: FloatArray
    random: KeyArray
    keys: KeyArray
    world_state: FloatArray
    user: FloatArray
    arms: FloatArray
    available: BoolArray
    prior: FloatArray
    outcomes: FloatArray
    totals: FloatArray
    pulls: IntArray


class Results(NamedTuple):
    """What a chunk of replications leaves behind; fields are those of `Trace`, `records` has shape (M, C, N)."""

    regret: FloatArray
    regret_fixed: FloatArray
    reward: FloatArray
    outcomes: FloatArray
    traffic: IntArray
    pulls: IntArray
    stopped: IntArray
    recommended: IntArray
    records: FloatArray


def policy_start(state: State, random: KeyArray) -> None:
    """A policy that begins with zeros."""


def policy_select(state: State, context: ScalarContext, random: KeyArray) -> int:
    """Every policy has its own."""
    return -1


def policy_update(state: State, feedback: ScalarFeedback, random: KeyArray) -> None:
    """Every policy has its own."""


def policy_propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    """A policy that does not know its propensities: the caller does not ask."""


def policy_stop(state: State) -> bool:
    """A policy that never has enough."""
    return False


def policy_recommend(state: State) -> int:
    """A policy that recommends nothing."""
    return -1


def policy_record(state: State, out: FloatArray) -> None:
    """A policy with nothing to report: `out` is empty."""


def policy_parts(state: State, context: ScalarContext, random: KeyArray, out: FloatArray) -> None:
    """A policy that compares no sums: the caller does not ask."""


def world_start(world: World, user: FloatArray, arms: FloatArray, available: BoolArray, prior: FloatArray) -> None:
    """A world that begins with zeros."""


def world_arrive(
    world: World, round: int, user: FloatArray, arms: FloatArray, available: BoolArray, prior: FloatArray
) -> int:
    """Every world has its own."""
    return -1


def world_truth(world: World, round: int, user_id: int, available: BoolArray, arm: int) -> tuple[float, float, float]:
    """Every world has its own."""
    return 0.0, 0.0, 0.0


def world_respond(world: World, round: int, user_id: int, arm: int, outcomes: FloatArray) -> float:
    """Every world has its own."""
    return 0.0


def run(
    first: int, last: int, offset: int, settings: Settings, tables: Any, buffers: Buffers, results: Results
) -> tuple[int, int, int, int]:
    """Play replications `first` .. `last - 1` and write them into columns `first - offset` .. of `results`.

    Returns:
        A code (`OK` when all went well) and the replication, round and arm that it is about.
    """
    b = buffers
    state = State(b.params, b.arm, b.shared, b.work)
    num_arms = b.available.shape[0]
    num_snapshots = settings.rounds.shape[0]
    for replication in range(first, last):
        if settings.cancelled[0] != 0:
            return CANCELLED, replication, 0, 0
        n = replication - offset
        b.arm[:] = 0.0
        b.shared[:] = 0.0
        b.work[:] = 0.0
        b.world_state[:] = 0.0
        b.user[:] = 0.0
        b.arms[:] = 0.0
        b.prior[:] = 0.0
        b.available[:] = True
        b.totals[:] = 0.0
        b.pulls[:] = 0
        b.random[0] = policy_key(settings.seed, replication, settings.stream)
        b.random[1] = 0
        for role in range(NUM_ROLES):
            b.keys[role] = stream_key(settings.seed, role, replication)
        world = World(tables, replication % settings.num_worlds, b.keys, b.world_state)
        world_start(world, b.user, b.arms, b.available, b.prior)
        policy_start(state, b.random)
        regret = 0.0
        regret_fixed = 0.0
        total_reward = 0.0
        played = 0
        stopped = False
        for c in range(num_snapshots):
            while played < settings.rounds[c] and not stopped:
                user_id = world_arrive(world, played, b.user, b.arms, b.available, b.prior)
                context = ScalarContext(
                    played, user_id, played * settings.days_per_round, b.user, b.arms, b.available, b.prior
                )
                arm = policy_select(state, context, b.random)
                if arm < 0 or arm >= num_arms:
                    return ARM_OUT_OF_RANGE, replication, played, arm
                if not b.available[arm] and arm != settings.null_arm:
                    return ARM_UNAVAILABLE, replication, played, arm
                mean, best, fixed = world_truth(world, played, user_id, b.available, arm)
                reward = world_respond(world, played, user_id, arm, b.outcomes)
                policy_update(state, ScalarFeedback(context, arm, b.outcomes, reward, np.nan), b.random)
                regret += best - mean
                regret_fixed += fixed - mean
                total_reward += reward
                for j in range(b.outcomes.shape[0]):
                    b.totals[j] += b.outcomes[j]
                b.pulls[arm] += 1
                played += 1
                if policy_stop(state):
                    stopped = True
                    results.stopped[n] = played
            results.regret[c, n] = regret
            results.regret_fixed[c, n] = regret_fixed
            results.reward[c, n] = total_reward
            for j in range(b.outcomes.shape[0]):
                results.outcomes[c, n, j] = b.totals[j]
            for k in range(num_arms):
                results.traffic[c, k] += b.pulls[k]
            policy_record(state, results.records[:, c, n])
        for k in range(num_arms):
            results.pulls[n, k] = b.pulls[k]
        results.recommended[n] = policy_recommend(state)
    return OK, 0, 0, 0


def start_rows(params: FloatArray, arm: FloatArray, shared: FloatArray, work: FloatArray, random: KeyArray) -> None:
    """Start the policy in `N` replications; state arrays have N as their first axis."""
    for n in range(arm.shape[0]):
        policy_start(State(params, arm[n], shared[n], work[n]), random[n])


def select_rows(
    params: FloatArray,
    arm: FloatArray,
    shared: FloatArray,
    work: FloatArray,
    random: KeyArray,
    context: Any,
    out: IntArray,
) -> None:
    """Choose in `N` replications, into `out` (N,); the fields of `context` have N as their first axis."""
    for n in range(arm.shape[0]):
        out[n] = policy_select(State(params, arm[n], shared[n], work[n]), context_row(context, n), random[n])


def update_rows(
    params: FloatArray,
    arm: FloatArray,
    shared: FloatArray,
    work: FloatArray,
    random: KeyArray,
    rows: IntArray,
    feedback: Any,
) -> None:
    """Give `B` rows of feedback, in order, to the replications `rows` (B,) they belong to."""
    for i in range(rows.shape[0]):
        n = rows[i]
        one = ScalarFeedback(
            context_row(feedback.context, i),
            feedback.chosen[i],
            feedback.outcomes[i],
            feedback.reward[i],
            feedback.propensity[i],
        )
        policy_update(State(params, arm[n], shared[n], work[n]), one, random[n])


def propensities_rows(
    params: FloatArray, arm: FloatArray, shared: FloatArray, work: FloatArray, context: Any, out: FloatArray
) -> None:
    """Probabilities of every arm in `N` replications, into `out` (N, K)."""
    for n in range(arm.shape[0]):
        policy_propensities(State(params, arm[n], shared[n], work[n]), context_row(context, n), out[n])


def parts_rows(
    params: FloatArray,
    arm: FloatArray,
    shared: FloatArray,
    work: FloatArray,
    random: KeyArray,
    context: Any,
    out: FloatArray,
) -> None:
    """Parts of the score of every arm in `N` replications, into `out` (N, M, K)."""
    for n in range(arm.shape[0]):
        policy_parts(State(params, arm[n], shared[n], work[n]), context_row(context, n), random[n], out[n])


def report_rows(
    params: FloatArray,
    arm: FloatArray,
    shared: FloatArray,
    work: FloatArray,
    stop: BoolArray,
    recommended: IntArray,
    records: FloatArray,
) -> None:
    """Whether each of `N` replications stops, what it recommends, and its records, shape (N, M)."""
    for n in range(arm.shape[0]):
        state = State(params, arm[n], shared[n], work[n])
        stop[n] = policy_stop(state)
        recommended[n] = policy_recommend(state)
        policy_record(state, records[n])


def world_start_rows(
    seed: int,
    first_replication: int,
    tables: Any,
    worlds: IntArray,
    keys: KeyArray,
    world_state: FloatArray,
    context: Any,
) -> None:
    """Start the worlds of `N` replications: fill `keys` (N, NUM_ROLES) and the buffers of `context`."""
    for n in range(worlds.shape[0]):
        for role in range(NUM_ROLES):
            keys[n, role] = stream_key(seed, role, first_replication + n)
        world_start(
            World(tables, worlds[n], keys[n], world_state[n]),
            context.user[n],
            context.arms[n],
            context.available[n],
            context.prior[n],
        )


def arrive_rows(
    round: int, tables: Any, worlds: IntArray, keys: KeyArray, world_state: FloatArray, context: Any
) -> None:
    """Let the next user come in `N` replications: fill `context`, whose fields have N as their first axis."""
    for n in range(worlds.shape[0]):
        context.user_id[n] = world_arrive(
            World(tables, worlds[n], keys[n], world_state[n]),
            round,
            context.user[n],
            context.arms[n],
            context.available[n],
            context.prior[n],
        )


def respond_rows(
    round: int,
    tables: Any,
    worlds: IntArray,
    keys: KeyArray,
    world_state: FloatArray,
    context: Any,
    arms: IntArray,
    truth: FloatArray,
    outcomes: FloatArray,
    reward: FloatArray,
) -> None:
    """Play `arms` (N,): fill `truth` (3, N), the means of the arm, the best and the fixed arm, and what comes of it."""
    for n in range(worlds.shape[0]):
        world = World(tables, worlds[n], keys[n], world_state[n])
        truth[0, n], truth[1, n], truth[2, n] = world_truth(
            world, round, context.user_id[n], context.available[n], arms[n]
        )
        reward[n] = world_respond(world, round, context.user_id[n], arms[n], outcomes[n])


def context_row(context: Any, n: int) -> ScalarContext:
    """Row `n` of a context whose fields have the rows as their first axis."""
    return ScalarContext(
        context.round[n],
        context.user_id[n],
        context.time[n],
        context.user[n],
        context.arms[n],
        context.available[n],
        context.prior[n],
    )
