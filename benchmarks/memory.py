"""Peak memory against the number of rounds."""

from __future__ import annotations

import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from bandits.engine.simulation import available_cores
from benchmarks.measure import Settings, say, settings_of
from benchmarks.report import Target, conditions, table, targets_table

_HORIZONS = (1_000, 10_000, 100_000, 1_000_000)
_ALLOWED = 0.02
# A process of its own for each number: the peak never falls. `ru_maxrss` begins with what the process that started it
# holds, which is less here than what importing Numba takes. It counts in KiB, on macOS in bytes.
_CHILD = """
import resource, sys
from benchmarks.worlds import Audience, bernoulli
from bandits import simulate
from policies import UCB1, LinUCB
if sys.argv[1] == "UCB1":
    world, policy = bernoulli(10, 1), UCB1()
else:
    world, policy = Audience(users=200, arms=10, dimensions=32).world(1), LinUCB()
simulate(world, policy, horizon=int(sys.argv[2]), seed=1, threads=1)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak / 2**20 if sys.platform == "darwin" else peak / 2**10)
"""


def peak_mebibytes(policy: str, horizon: int) -> float:
    """Peak memory in MiB of a process that simulates `UCB1` or `LinUCB` for so many rounds."""
    command = [sys.executable, "-c", _CHILD, policy, str(horizon)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def report(settings: Settings) -> str:
    """Measure everything here, and write it in Markdown."""
    rows, targets = [], []
    for policy in ("UCB1", "LinUCB"):
        say(f"  {policy}")
        peak_mebibytes(policy, 10)  # compiles, which takes memory of its own
        with ThreadPoolExecutor(available_cores()) as pool:
            jobs = {t: [pool.submit(peak_mebibytes, policy, t) for _ in range(settings.runs)] for t in _HORIZONS}
        peaks = {horizon: [job.result() for job in several] for horizon, several in jobs.items()}
        medians = {horizon: statistics.median(values) for horizon, values in peaks.items()}
        rows.append(
            [policy, *(f"{medians[t]:.0f} ({min(values):.0f} to {max(values):.0f})" for t, values in peaks.items())]
        )
        first, last = _HORIZONS[0], _HORIZONS[-1]
        growth = medians[last] / medians[first] - 1.0
        what = f"{policy}: peak memory at T = {last:,}, over that at T = {first:,}"
        asked = f"flat: at most {_ALLOWED:.0%} more"
        targets.append(Target(what, asked, f"{growth:+.1%}", growth <= _ALLOWED))
    parts = [
        f"{conditions(settings)} A process of its own for every number; one replication, ten arms, 32 user features "
        "for LinUCB.",
        "Peak resident memory in MiB by the number of rounds; nearly all of it is Python with NumPy, SciPy and Numba.",
        table(("policy", *(f"T = {horizon:,}" for horizon in _HORIZONS)), rows),
        targets_table(targets),
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(report(settings_of(__doc__)))
