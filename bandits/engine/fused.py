"""One replication at a time, all its rounds in machine code; replications spread over the cores."""

from __future__ import annotations

import logging
import math
import types
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np

from bandits.compiled.loop import (
    ARM_OUT_OF_RANGE,
    ARM_UNAVAILABLE,
    CANCELLED,
    OK,
    Buffers,
    Results,
    Settings,
)
from bandits.compiled.specialize import as_python, specialized
from bandits.core import IntArray, Problem
from bandits.environment import CompiledEnvironment
from bandits.kernel import Layout, State
from bandits.kernel_policy import KernelPolicy
from bandits.memory import require_memory
from bandits.random import NUM_ROLES
from bandits.random_streams import RandomStreams
from bandits.results import empty_results, trace_of, wrong_arm
from bandits.trace import Trace

_LOG = logging.getLogger(__name__)

# Compiled code hears no Ctrl-C, so even a single thread is not the main one; and several pieces per thread let a
# thread that had short replications take over from one that had long ones.
_PIECES_PER_THREAD = 4
_CACHE_LINE = 64  # bytes


def play_compiled(
    env: CompiledEnvironment, policy: KernelPolicy, rounds: IntArray, seed: int, first: int, threads: int
) -> Trace:
    """Play `env.num_envs` replications with the loop compiled for this policy and world."""
    loop = specialized(policy.kernel, env.kernel)
    return _play(env, policy, rounds, seed, first, threads, loop)


def play_in_python(env: CompiledEnvironment, policy: KernelPolicy, rounds: IntArray, seed: int, first: int) -> Trace:
    """Play with the kernels as the Python interpreter runs them; only draws and special functions are compiled."""
    with np.errstate(all="ignore"):  # kernels divide by zero on purpose, and know what comes out
        return _play(env, policy, rounds, seed, first, 0, as_python(policy.kernel, env.kernel))


def replay(env: CompiledEnvironment, policy: KernelPolicy, *, horizon: int, seed: int, replication: int = 0) -> None:
    """Bring a policy to where one replication of `simulate` leaves it: as if it had been reset and had played there.

    `policy.select`, `score_parts` and the like then speak of the visit after the last. It costs what the fused engine
    takes for one replication.

    Args:
        env: An environment of one replication; its state does not change.
        policy: The policy.
        horizon: Number of rounds, at least 1; for a policy that asks for it, that of the simulation.
        seed: Seed of the simulation.
        replication: Number of the replication.

    Raises:
        ValueError: When `env` plays several replications, or the policy cannot play this problem.
    """
    if env.num_envs != 1:
        raise ValueError(f"`env` must have 1 replication. Got {env.num_envs}.")
    problem = env.problem(horizon)
    loop, layout = specialized(policy.kernel, env.kernel), policy.layout(problem)
    results = empty_results(problem, 1, len(policy.record_names(problem)))
    buffers = _buffers(env, problem, layout)
    settings = _settings(env, policy, problem, np.array([horizon]), seed)
    failure = loop.run(replication, replication + 1, replication, settings, env.tables, buffers, results)
    _raise_failure(failure, policy, problem)
    random = RandomStreams(seed, 1, replication, policy.stream)
    random.state[0] = buffers.random
    policy.resume(problem, State(buffers.params, buffers.arm, buffers.shared, buffers.work), random)


def _play(
    env: CompiledEnvironment,
    policy: KernelPolicy,
    rounds: IntArray,
    seed: int,
    first: int,
    threads: int,
    loop: types.ModuleType,
) -> Trace:
    """Play pieces of the replications in `threads` threads; in this one when `threads` is 0."""
    size = env.num_envs
    problem = env.problem(int(rounds[-1]))
    layout = policy.layout(problem)
    names = policy.record_names(problem)
    require_memory(
        f"The state of {policy!r} with {problem.num_arms:,} arms in {max(threads, 1)} threads",
        max(threads, 1) * layout.bytes(problem.num_arms),
    )
    results = empty_results(problem, len(rounds), len(names))
    settings = _settings(env, policy, problem, rounds, seed)
    count = min(size, max(threads * _PIECES_PER_THREAD, 1))
    edges = np.linspace(0, size, count + 1).astype(int)

    def piece(start: int, end: int) -> tuple[Any, Results]:
        # Traffic is summed over replications, so every piece has its own; the rest is written in place.
        own = results._replace(traffic=np.zeros_like(results.traffic))
        buffers = _buffers(env, problem, layout)
        failure = loop.run(first + start, first + end, first, settings, env.tables, buffers, own)
        if failure[0] != OK:
            settings.cancelled[0] = 1
        return failure, own

    started = perf_counter()
    if threads == 0:
        done = [piece(0, size)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            try:
                done = list(pool.map(piece, edges[:-1], edges[1:]))
            except BaseException:
                settings.cancelled[0] = 1  # Ctrl-C: threads stop after the replication that they are in
                pool.shutdown(cancel_futures=True)
                raise
    _LOG.debug("%r: %d rounds in %.3f s", policy, size * rounds[-1], perf_counter() - started)
    for failure, _ in done:
        _raise_failure(failure, policy, problem)
    traffic = np.sum([own.traffic for _, own in done], axis=0)
    world = (first + np.arange(size)) % env.num_worlds
    return trace_of(results._replace(traffic=traffic), rounds, world, first, problem, names)


def _settings(
    env: CompiledEnvironment, policy: KernelPolicy, problem: Problem, rounds: IntArray, seed: int
) -> Settings:
    null_arm = -1 if problem.null_arm is None else problem.null_arm
    cancelled = np.zeros(1, dtype=np.int64)
    return Settings(seed, policy.stream, env.num_worlds, env.days_per_round, null_arm, rounds, cancelled)


def _buffers(env: CompiledEnvironment, problem: Problem, layout: Layout) -> Buffers:
    arms, outcomes = problem.num_arms, len(problem.outcome_names)
    buffers = Buffers(
        params=_aligned(len(layout.params)),
        arm=_aligned(layout.arm, arms),
        shared=_aligned(layout.shared),
        work=_aligned(layout.work),
        random=_aligned(2, dtype=np.uint64),
        keys=_aligned(NUM_ROLES, dtype=np.uint64),
        world_state=_aligned(env.state_size),
        user=_aligned(problem.user_dim),
        arms=_aligned(arms, problem.arm_dim),
        available=_aligned(arms, dtype=np.bool_),
        prior=_aligned(arms if env.has_prior else 0),
        outcomes=_aligned(outcomes),
        totals=_aligned(outcomes),
        pulls=_aligned(arms, dtype=np.int64),
    )
    buffers.params[:] = layout.params
    return buffers


def _aligned(*shape: int, dtype: Any = np.float64) -> Any:
    """An empty array that begins with a cache line and has its last one to itself.

    Threads never write into each other's lines, and speed does not depend on where memory happens to lie.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + 2 * _CACHE_LINE, dtype=np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(shape)


def _raise_failure(failure: tuple[int, int, int, int], policy: KernelPolicy, problem: Problem) -> None:
    code, replication, round, arm = failure
    if code not in (OK, CANCELLED):
        raise wrong_arm(repr(policy), arm, problem.num_arms, replication, round, exists=code != ARM_OUT_OF_RANGE)
    assert code != ARM_UNAVAILABLE
