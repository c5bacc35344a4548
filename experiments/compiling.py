"""Compiles the loops of many policies side by side, each process its share, before they are needed.

Numba compiles one function at a time in a process. The first run of an experiment would spend most of its time before
the first round on that; with several cores, other processes fill the cache on disk that this one then reads from.
"""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bandits import KernelPolicy, simulate
from bandits.compiled.specialize import awaits_compilation
from bandits.environment import CompiledEnvironment
from experiments.policy_specs import Resolved, build_policy
from experiments.progress import Reporter

_LOG = logging.getLogger(__name__)
_START = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from experiments import compiling
compiling.main()
"""


def compile_missing(specs: Sequence[Resolved], folder: Path, env: Any, cores: int, reporter: Reporter) -> None:
    """Fill the cache with the loops that it does not hold yet.

    A policy that does not compile is left to be found, and explained, when it is played.

    Args:
        specs: Complete specifications of the policies.
        folder: Where modules of the user's own policies are looked for.
        env: The environment that they will play in.
        cores: Number of processes to use; with one, nothing is done ahead.
        reporter: Who tells the progress.
    """
    if not isinstance(env, CompiledEnvironment):
        return
    missing: dict[int, Resolved] = {}
    for spec in specs:
        policy = build_policy(spec, folder)
        if isinstance(policy, KernelPolicy) and awaits_compilation(policy.kernel, env.kernel):
            missing.setdefault(id(policy.kernel), spec)
    workers = min(cores, len(missing))
    if missing:
        beside = f", in {workers} processes" if workers > 1 else ""
        what = f"{len(missing)} kinds of policies" if len(missing) > 1 else "one kind of policy"
        reporter.say(f"  compiling {what} for the first time{beside}")
    if workers < 2:
        return
    todo = list(missing.values())
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda n: _work(todo[n::workers], folder, env), range(workers)))


def _work(specs: Sequence[Resolved], folder: Path, env: Any) -> None:
    job = pickle.dumps(sys.path) + pickle.dumps((list(specs), folder, env))
    done = subprocess.run([sys.executable, "-c", _START], input=job, capture_output=True, check=False)
    if done.returncode:
        _LOG.debug("Compiling ahead failed: %s", done.stderr.decode(errors="replace"))


def main() -> None:
    """What a worker does: play one round of each policy that it is given on its standard input."""
    specs, folder, env = pickle.load(sys.stdin.buffer)
    for spec in specs:
        try:
            simulate(env, build_policy(spec, folder), horizon=1, seed=0, threads=1, snapshots=2)
        except (TypeError, ValueError) as error:  # the process that plays it will say so
            _LOG.debug("%s: %s", spec, error)
