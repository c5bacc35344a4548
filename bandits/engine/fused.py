"""One replication at a time, all its rounds in machine code; replications spread over the cores."""

from __future__ import annotations

import logging
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
from bandits.kernel import Layout
from bandits.kernel_policy import KernelPolicy
from bandits.random import NUM_ROLES
from bandits.results import empty_results, trace_of, wrong_arm
from bandits.trace import Trace

_LOG = logging.getLogger(__name__)

# Compiled code hears no Ctrl-C, so even a single thread is not the main one; and several pieces per thread let a
# thread that had short replications take over from one that had long ones.
_PIECES_PER_THREAD = 4


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
    results = empty_results(problem, len(rounds), len(names))
    cancelled = np.zeros(1, dtype=np.int64)
    settings = Settings(seed, policy.stream, env.num_worlds, env.days_per_round, rounds, cancelled)
    count = min(size, max(threads * _PIECES_PER_THREAD, 1))
    edges = np.linspace(0, size, count + 1).astype(int)

    def piece(start: int, end: int) -> tuple[Any, Results]:
        # Traffic is summed over replications, so every piece has its own; the rest is written in place.
        own = results._replace(traffic=np.zeros_like(results.traffic))
        buffers = _buffers(env, problem, layout)
        failure = loop.run(first + start, first + end, first, settings, env.tables, buffers, own)
        if failure[0] != OK:
            cancelled[0] = 1
        return failure, own

    started = perf_counter()
    if threads == 0:
        done = [piece(0, size)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            try:
                done = list(pool.map(piece, edges[:-1], edges[1:]))
            except BaseException:
                cancelled[0] = 1  # Ctrl-C: threads stop after the replication that they are in
                pool.shutdown(cancel_futures=True)
                raise
    _LOG.debug("%r: %d rounds in %.3f s", policy, size * rounds[-1], perf_counter() - started)
    for failure, _ in done:
        _raise_failure(failure, policy, problem)
    traffic = np.sum([own.traffic for _, own in done], axis=0)
    world = (first + np.arange(size)) % env.num_worlds
    return trace_of(results._replace(traffic=traffic), rounds, world, first, problem, names)


def _buffers(env: CompiledEnvironment, problem: Problem, layout: Layout) -> Buffers:
    arms = problem.num_arms
    return Buffers(
        params=np.array(layout.params, dtype=np.float64),
        arm=np.empty((layout.arm, arms)),
        shared=np.empty(layout.shared),
        work=np.empty(layout.work),
        random=np.empty(2, dtype=np.uint64),
        keys=np.empty(NUM_ROLES, dtype=np.uint64),
        world_state=np.empty(env.state_size),
        user=np.empty(problem.user_dim),
        arms=np.empty((arms, problem.arm_dim)),
        available=np.empty(arms, dtype=np.bool_),
        prior=np.empty(arms if env.has_prior else 0),
        outcomes=np.empty(len(problem.outcome_names)),
        totals=np.empty(len(problem.outcome_names)),
    )


def _raise_failure(failure: tuple[int, int, int, int], policy: KernelPolicy, problem: Problem) -> None:
    code, replication, round, arm = failure
    if code not in (OK, CANCELLED):
        raise wrong_arm(repr(policy), arm, problem.num_arms, replication, round, exists=code != ARM_OUT_OF_RANGE)
    assert code != ARM_UNAVAILABLE
