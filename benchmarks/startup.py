"""What a user waits for before the first round: imports, compilation, and `bandits run` as a whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from benchmarks.measure import Settings, Times, say, settings_of
from benchmarks.report import at_most, conditions, table, targets_table

# `bandits run` as the console script starts it, until the engine logs the first simulation that it has done.
_PLAYED = "the first rounds are played"
_RUN = f"""
import logging, os, sys

class Stop(logging.Handler):
    def emit(self, record):
        if " rounds in " in record.getMessage():
            print("{_PLAYED}", flush=True)
            os._exit(0)

engine = logging.getLogger("bandits.engine")
engine.setLevel(logging.DEBUG)
engine.addHandler(Stop())
from experiments.cli import main
main()
"""
# Every policy of the newsroom in a small world of its kind: as many arms and features, few users.
_COMPILE = """
import json, resource, time
from pathlib import Path
import numpy as np
from bandits import PropensityTable, simulate
from envs import SimulatedUsers
from bandits.engine.simulation import available_cores
from experiments.compiling import compile_missing
from experiments.config import load_config
from experiments.policy_specs import build_policy
from experiments.progress import Reporter

def cpu_seconds():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)

loaded = load_config("newsroom", ())
config = loaded.config
rng = np.random.default_rng(0)
arms, features = config.data.headlines, config.world.features
table = PropensityTable.single_world(rng.uniform(0, 0.1, (20, arms)))
user, arm = rng.normal(size=(20, features)), rng.normal(size=(arms, features))
world = SimulatedUsers(table, num_envs=1, user_features=user, arm_features=arm)
specs = list(config.policies.values())
policies = [build_policy(spec, loaded.folder) for spec in specs]
started, used = time.perf_counter(), cpu_seconds()
compile_missing(specs, loaded.folder, world, available_cores(), Reporter())  # as a run does
for policy in policies:
    simulate(world, policy, horizon=100, seed=0, threads=1)
print(json.dumps({"wall": time.perf_counter() - started, "cpu": cpu_seconds() - used, "policies": len(policies)}))
"""


def seconds_to_import_numba() -> float:
    """Seconds from starting Python until Numba is imported."""
    started = perf_counter()
    subprocess.run([sys.executable, "-c", "import numba"], check=True)
    return perf_counter() - started


def seconds_to_first_round(experiment: str, cache: Path) -> float:
    """Seconds from starting `bandits run` until the first simulation is done, which takes milliseconds itself.

    Args:
        experiment: Name of a bundled experiment.
        cache: Folder of compiled loops; empty for a cold start.

    Raises:
        RuntimeError: When the run ends without a simulation.
    """
    with tempfile.TemporaryDirectory() as folder:
        started = perf_counter()
        done = _python(_RUN, cache, ["run", experiment, "--out", str(Path(folder) / "run")])
        seconds = perf_counter() - started
    if _PLAYED not in done:
        raise RuntimeError(f"`bandits run {experiment}` ended without a word of a simulation. It said: {done!r}")
    return seconds


def _compile_newsroom(cache: Path) -> dict[str, float]:
    """Wall and CPU seconds of compiling, or reading, the kernels of all policies of the newsroom; and their number."""
    result: dict[str, float] = json.loads(_python(_COMPILE, cache))
    return result


def _python(code: str, cache: Path, arguments: Sequence[str] = ()) -> str:
    """The standard output of a new Python process, which may say what it likes to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "CLICK_BANDITS_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"A process ended with status {done.returncode}. It said: {done.stderr}")
    return done.stdout


def report(settings: Settings) -> str:
    """Measure everything here, and write it in Markdown."""
    numba, cold, warm = [], [], []
    kernels: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for run in range(settings.runs):
        say(f"  run {run + 1} of {settings.runs}")
        numba.append(seconds_to_import_numba())
        with tempfile.TemporaryDirectory() as folder:
            cold.append(seconds_to_first_round("bernoulli", Path(folder)))
            warm.append(seconds_to_first_round("bernoulli", Path(folder)))
        with tempfile.TemporaryDirectory() as folder:
            for state in ("cold", "warm"):
                kernels[state].append(_compile_newsroom(Path(folder)))
    wall, cpu = ({s: Times(tuple(k[what] for k in kernels[s])) for s in kernels} for what in ("wall", "cpu"))
    count = int(kernels["cold"][0]["policies"])
    rows = [
        ("`import numba`", "", str(Times(tuple(numba)))),
        ("`bandits run bernoulli` to its first round", str(Times(tuple(cold))), str(Times(tuple(warm)))),
        (f"kernels of the newsroom's {count} policies", str(wall["cold"]), str(wall["warm"])),
        ("the same in CPU seconds", str(cpu["cold"]), str(cpu["warm"])),
    ]
    what = "kernels of the newsroom, seconds"
    return "\n\n".join(
        [
            conditions(settings),
            "Seconds, each in a new process; cold: with an empty cache of compiled loops. The kernels are those of the "
            "bundled newsroom, in a small world of its kind, after all imports.",
            table(("", "cold", "warm"), rows),
            targets_table(
                [
                    at_most(f"{what}, cold", 15.0, wall["cold"].median),
                    at_most(f"{what}, warm", 1.0, wall["warm"].median),
                ]
            ),
        ]
    )


if __name__ == "__main__":
    print(report(settings_of(__doc__)))
