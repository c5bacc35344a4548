"""`simulate`: one policy in one environment, many replications, one trace."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import Literal

from bandits.core import EventListener, IntArray, Policy
from bandits.engine.fused import play_compiled, play_in_python
from bandits.engine.lockstep import play_in_lockstep
from bandits.environment import CompiledEnvironment, Environment
from bandits.kernel_policy import KernelPolicy
from bandits.scalar_policy import PerReplication, ScalarPolicy
from bandits.table_world import TableEnvironment
from bandits.trace import Trace, given_rounds, snapshot_rounds

Engine = Literal["auto", "fused", "lockstep", "python", "torch"]


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
    device: str | None = None,
    events: EventListener | None = None,
) -> Trace:
    """Let a policy play an environment, and keep score.

    Replication n meets the same users with the same luck whatever the policy, the engine, the number of threads, and
    the chunk that it is simulated in: policies can be compared in pairs, and chunks joined with `Trace.concat`.

    Args:
        env: The environment; it plays `env.num_envs` replications. Only the `lockstep` engine changes its state.
        policy: The policy; only the `lockstep` and `torch` engines change its state.
        horizon: Number of rounds in each replication, at least 1.
        seed: Seed of users, clicks and the policy's own draws, 0 .. 2**63 - 1.
        first_replication: Number of the first replication.
        engine: `fused` compiles a kernel policy and the environment into one loop; `lockstep` plays all replications
            side by side through Gymnasium's interface, for any policy; `python` interprets the kernels, slowly, for
            checking; these three give the same trace for a kernel policy. `torch` keeps the whole loop on a device; it
            plays a `TorchPolicy`, or the `torch_twin` of another policy, in an environment that is a table without
            dynamics. `auto` is `torch` for a `TorchPolicy` where that works, and else the fastest of the others.
        threads: Number of threads of the `fused` engine; all available cores by default. It changes no result.
        snapshots: About how many snapshots to keep, at least 2, spaced geometrically with the last at the horizon; or
            the rounds themselves, increasing up to the horizon.
        device: Where the `torch` engine plays: `cpu` or `cuda`; by default a GPU when there is one.
        events: Whom to tell every round of every replication, with the propensities of all arms;
            `bandits.ope.LogWriter` writes them down. The lockstep engine then plays, whatever else could; the trace of
            a kernel policy is the same.

    Returns:
        The trace of `env.num_envs` replications.

    Raises:
        ValueError: When an argument is out of range, the engine cannot play this pair, the policy cannot play this
            problem, does not know its propensities although there are `events`, or it chooses an arm that does not
            exist or is not available.
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
    rounds = (
        given_rounds(snapshots, horizon) if isinstance(snapshots, Sequence) else snapshot_rounds(horizon, snapshots)
    )
    if events is not None and engine not in ("auto", "lockstep"):
        raise ValueError(f"`engine` must be auto or lockstep where events are recorded. Got {engine!r}.")
    chosen = choose_engine(env, policy, engine if events is None else "lockstep")
    if device is not None and chosen != "torch":
        raise ValueError(f"`device` must be None unless the engine is torch. Got {device!r} for engine {chosen}.")
    if chosen == "torch":
        return _play_on_device(env, policy, rounds, seed, first_replication, device)
    if isinstance(policy, KernelPolicy) and isinstance(env, CompiledEnvironment):
        if chosen == "python":
            return play_in_python(env, policy, rounds, seed, first_replication)
        if chosen == "fused":
            return play_compiled(env, policy, rounds, seed, first_replication, threads or available_cores())
    batched = PerReplication(policy) if isinstance(policy, ScalarPolicy) else policy
    return play_in_lockstep(env, batched, rounds, seed, first_replication, events)


def choose_engine(env: Environment, policy: Policy | ScalarPolicy, engine: Engine = "auto") -> Engine:
    """The engine that `simulate` plays with: `engine` itself, unless that is `auto`.

    Raises:
        ValueError: When there is no such engine, or it cannot play this pair.
    """
    if engine not in ("auto", "fused", "lockstep", "python", "torch"):
        raise ValueError(f"`engine` must be auto, fused, lockstep, python or torch. Got {engine!r}.")
    pair = f"{type(policy).__name__} in {type(env).__name__}"
    compiled = isinstance(policy, KernelPolicy) and isinstance(env, CompiledEnvironment)
    if engine in ("fused", "python") and not compiled:
        raise ValueError(
            f"`engine` must be lockstep or auto unless both the policy and the environment have kernels. "
            f"Got {engine!r} for {pair}."
        )
    if engine in ("fused", "python", "lockstep"):
        return engine
    if engine == "auto" and compiled:
        return "fused"  # without asking for a twin, which would load torch
    twin = policy.torch_twin() if isinstance(policy, Policy) else None
    table = env.table_world() if isinstance(env, TableEnvironment) else None
    if engine == "torch" and (twin is None or table is None):
        missing = "`torch_twin` of the policy" if twin is None else "`table_world` of the environment"
        raise ValueError(f"`engine` must not be torch where the {missing} is None. Got {engine!r} for {pair}.")
    if engine == "torch":
        return engine
    if twin is policy and table is not None and type(policy).stop is Policy.stop:
        return "torch"
    return "lockstep"


def _play_on_device(
    env: Environment, policy: Policy | ScalarPolicy, rounds: IntArray, seed: int, first: int, device: str | None
) -> Trace:
    from bandits.torch_device import choose_device  # here, so that nobody else waits for torch
    from bandits.torch_engine import TorchPolicy, play_on_device

    place = choose_device(device or "auto")
    assert isinstance(policy, Policy)
    assert isinstance(env, TableEnvironment)
    twin, table = policy.torch_twin(), env.table_world()
    if not isinstance(twin, TorchPolicy):
        raise TypeError(f"`torch_twin` of {policy!r} must be a TorchPolicy. Got {twin!r}.")
    assert table is not None
    problem = env.problem(int(rounds[-1]))
    return play_on_device(table, problem, twin, rounds, seed, first, policy.stream, place)


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
