"""What the engines have in common: room for results, the trace made of them, and the error for a wrong arm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bandits.compiled.loop import Results
from bandits.core import IntArray, Problem
from bandits.memory import array_bytes, require_memory
from bandits.trace import Trace


def require_room(problem: Problem, num_snapshots: int, num_records: int = 0) -> None:
    """Say so when the results of `problem.num_envs` replications do not fit into memory.

    Raises:
        ValueError: When there is not enough memory.
    """
    per_curve = 3 + len(problem.outcome_names) + num_records
    require_memory(
        f"Results of {problem.num_envs:,} replications with {num_snapshots} snapshots and {problem.num_arms:,} arms",
        array_bytes(
            [(per_curve, num_snapshots, problem.num_envs), (num_snapshots + problem.num_envs, problem.num_arms)]
        ),
    )


def empty_results(problem: Problem, num_snapshots: int, num_records: int) -> Results:
    """Room for the results of `problem.num_envs` replications.

    Raises:
        ValueError: When there is not enough memory.
    """
    require_room(problem, num_snapshots, num_records)
    curve = (num_snapshots, problem.num_envs)
    return Results(
        regret=np.zeros(curve),
        regret_fixed=np.zeros(curve),
        reward=np.zeros(curve),
        outcomes=np.zeros((*curve, len(problem.outcome_names))),
        traffic=np.zeros((num_snapshots, problem.num_arms), dtype=np.int64),
        pulls=np.zeros((problem.num_envs, problem.num_arms), dtype=np.int64),
        stopped=np.full(problem.num_envs, -1, dtype=np.int64),
        recommended=np.full(problem.num_envs, -1, dtype=np.int64),
        records=np.zeros((num_records, *curve)),
    )


def trace_of(
    results: Results, rounds: IntArray, world: IntArray, first: int, problem: Problem, record_names: Sequence[str]
) -> Trace:
    """The trace of replications `first`, `first + 1`, ...; `record_names` name the first axis of `results.records`."""
    return Trace(
        rounds=rounds,
        regret=results.regret,
        regret_fixed=results.regret_fixed,
        reward=results.reward,
        outcomes=results.outcomes,
        traffic=results.traffic,
        pulls=results.pulls,
        stopped=results.stopped,
        recommended=results.recommended,
        world=world,
        first_replication=first,
        outcome_names=problem.outcome_names,
        records=dict(zip(record_names, results.records, strict=True)),
    )


def wrong_arm(policy: str, arm: int, num_arms: int, replication: int, round: int, *, exists: bool) -> ValueError:
    """The error for a policy that chose an arm which it must not choose."""
    must = f"an available arm of 0..{num_arms - 1}"
    got = f"{arm}, which is not available" if exists else f"{arm}"
    return ValueError(f"{policy} must choose {must}. Got {got} (replication {replication}, round {round}).")
