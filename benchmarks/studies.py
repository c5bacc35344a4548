"""A study of five A/B designs at eight effects, ten thousand replications of twenty thousand visitors each.

`python -m benchmarks.studies [--replications N]` plays it on all cores, everything compiled before, and measures it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from bandits import simulate
from bandits.engine.simulation import available_cores
from benchmarks.measure import Settings
from benchmarks.report import at_most, conditions, table, targets_table
from envs import BernoulliBandit
from experiments.progress import Reporter
from experiments.studies.config import EffectsStudy, LoadedStudy, load_study
from experiments.studies.effects import measure, policies_of
from experiments.studies.folder import StudyFolder
from experiments.studies.observed import observe
from experiments.studies.results import look_up

VISITORS, REPLICATIONS = 20_000, 10_000
STUDY = f"""
study: effects
name: benchmark
world:
  base_rate: 0.02
  visitors: {VISITORS}
  effects: [-0.004, 0, 0.002, 0.004, 0.006, 0.008, 0.010, 0.012]
simulation: {{replications: {REPLICATIONS}}}
baseline: fixed
policies:    # every test may take all visitors
  fixed: {{policy: ABTest, visitors: {VISITORS}}}
  O'Brien-Fleming: {{policy: GroupSequentialABTest, visitors: {VISITORS}}}
  Pocock: {{policy: GroupSequentialABTest, visitors: {VISITORS}, spending: pocock}}
  mSPRT, every tenth: {{policy: AlwaysValidABTest, method: msprt, visitors: {VISITORS}, tau: 0.005, look_every: 10}}
  predictive: {{policy: AlwaysValidABTest, visitors: {VISITORS}, prior: [8, 400]}}
"""
ASKED = 300  # seconds on two cores


def seconds_per_design(loaded: LoadedStudy, effect: float, replications: int) -> dict[str, float]:
    """Seconds that each design plays at one effect, on all cores."""
    config: EffectsStudy = loaded.config
    env = BernoulliBandit(config.world.rates(effect), num_envs=replications)
    found = {}
    for label, policy in policies_of(loaded).items():
        played = observe(policy, config.world.arms).policy
        simulate(env, played, horizon=2, seed=0, snapshots=(2,))
        began = perf_counter()
        simulate(env, played, horizon=VISITORS, seed=1, snapshots=(VISITORS,))
        found[label] = perf_counter() - began
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=REPLICATIONS)
    replications = parser.parse_args(arguments).replications
    cores = available_cores()
    print(conditions(Settings(runs=1, seconds=0.0, images=None)).partition(" Medians")[0] + "\n")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "benchmark.yaml"
        file.write_text(STUDY, encoding="utf-8")
        loaded = load_study(file, [f"simulation.replications={replications}"])
        alone = seconds_per_design(loaded, 0.0, max(replications // 10, 2))
        reporter = Reporter()
        _, results = measure(loaded, StudyFolder.start(Path(folder) / "out", loaded.config), cores, reporter)
    rows = []
    for label, seconds in alone.items():
        visitors = look_up(results, label, 0.0, "visitors_mean").value
        played = visitors * max(replications // 10, 2)
        rows.append([label, f"{played / seconds / 1e6:.1f}", f"{visitors:,.0f}"])
    print(table(["design", "million visitors a second", "visitors to the decision, no effect"], rows) + "\n")
    steps = [[name, f"{seconds:.1f}"] for name, seconds in reporter.seconds.items()]
    total = sum(reporter.seconds.values())
    print(table(["step", "seconds"], [*steps, ["in all", f"{total:.1f}"]]) + "\n")
    if replications == REPLICATIONS:
        bound = "a visitor costs what the table above says; designs that stop early cost less"
        what = (
            f"5 designs x 8 effects x {replications:,} replications x {VISITORS:,} visitors on {cores} cores, seconds"
        )
        print(targets_table([at_most(what, ASKED, total, bound)]))


if __name__ == "__main__":
    main()
