"""`simulate`: one policy in one environment, many replications, one trace."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import Literal

from bandits.core import Policy
from bandits.engine.fused import play_compiled, play_in_python
from bandits.engine.lockstep import play_in_lockstep
from bandits.environment import CompiledEnvironment, Environment
from bandits.kernel_policy import KernelPolicy
from bandits.scalar_policy import PerReplication, ScalarPolicy
from bandits.trace import Trace, given_rounds, snapshot_rounds

Engine = Literal["auto", "fused", "lockstep", "python"]


def simulate(
    env: Environment,
    policy: Policy | ScalarPolicy,
    *,
    horizon: int,
    seed: int,
    first_replication: int = 0,
    engine: Engine = "auto",
    threads: int | None = None,
    snapshots: int | Sequence[int] = 200,
) -> Trace:
    """Let a policy play an environment, and keep score.

    Replication n meets the same users with the same luck whatever the policy, the number of threads, and the chunk
    that it
    is simulated in: policies can be compared in pairs, and chunks joined with `Trace.concat`.

    Args:
        env: The environment; it plays `env.num_envs` replications. Only the `lockstep` engine changes its state.
        policy: The policy; only the `lockstep` engine changes its state.
        horizon: Number of rounds in each replication, at least 1.
        seed: Seed of users, clicks and the policy's own draws, 0 .. 2**63 - 1.
        first_replication: Number of the first replication.
        engine: `fused` compiles a kernel policy and the environment into one loop; `lockstep` plays all replications
            side by side through Gymnasium's interface, for any policy; `python` interprets the kernels, slowly, for
            checking; `auto` is the fastest that works. All give the same trace for a kernel policy.
        threads: Number of threads of the `fused` engine; all available cores by default. It changes no result.
        snapshots: About how many snapshots to keep, at least 2, spaced geometrically with the last at the horizon; or
            the rounds themselves, increasing up to the horizon.

    Returns:
        The trace of `env.num_envs` replications.

    Raises:
        ValueError: When an argument is out of range, the engine cannot play this pair, the policy cannot play this
            problem, or it chooses an arm that does not exist or is not available.
    """
    for name, value, low in (
        ("horizon", horizon, 1),
        ("seed", seed, 0),
        ("first_replication", first_replication, 0),
        ("threads", 1 if threads is None else threads, 1),
        ("snapshots", 2 if isinstance(snapshots, Sequence) else snapshots, 2),
    ):
        if operator.index(value) < low:
            raise ValueError(f"`{name}` must be at least {low}. Got {value}.")
    if seed >= 2**63:
        raise ValueError(f"`seed` must be below 2**63. Got {seed}.")
    if engine not in ("auto", "fused", "lockstep", "python"):
        raise ValueError(f"`engine` must be auto, fused, lockstep or python. Got {engine!r}.")
    rounds = (
        given_rounds(snapshots, horizon) if isinstance(snapshots, Sequence) else snapshot_rounds(horizon, snapshots)
    )
    if isinstance(policy, KernelPolicy) and isinstance(env, CompiledEnvironment):
        if engine == "python":
            return play_in_python(env, policy, rounds, seed, first_replication)
        if engine != "lockstep":
            return play_compiled(env, policy, rounds, seed, first_replication, threads or available_cores())
    elif engine in ("fused", "python"):
        raise ValueError(
            f"`engine` must be lockstep or auto unless both the policy and the environment have kernels. "
            f"Got {engine!r} for {type(policy).__name__} in {type(env).__name__}."
        )
    batched = PerReplication(policy) if isinstance(policy, ScalarPolicy) else policy
    return play_in_lockstep(env, batched, rounds, seed, first_replication)


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
