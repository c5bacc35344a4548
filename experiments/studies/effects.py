"""Runs a study of effects: plays every policy at every effect, measures, draws, and writes the page."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bandits import KernelPolicy, simulate
from bandits.core import Problem
from bandits.engine.simulation import available_cores
from bandits.results import require_room
from envs import BernoulliBandit
from experiments import provenance
from experiments.cells import Cell, CellState, hash_of
from experiments.policy_specs import build_policy, user_sources
from experiments.progress import Reporter
from experiments.run_folder import write_text
from experiments.studies import observed as observation
from experiments.studies import thompson, watched
from experiments.studies.config import EffectsStudy, LoadedStudy
from experiments.studies.decisions import Decisions, gather
from experiments.studies.folder import StudyFolder
from experiments.studies.observed import Observed, observe
from experiments.studies.page import write_page
from experiments.studies.results import tabulate

_TRIED_VISITORS, _TRIED = 2_000, 5
_OVERHEAD = 0.002  # seconds that a simulation takes however short it is
_LONG = 120  # seconds


class PlannedCell(NamedTuple):
    """A cell and what it is for."""

    label: str
    effect: float
    cell: Cell


def run_effects(
    loaded: LoadedStudy, out: Path, *, threads: int | None = None, reporter: Reporter | None = None
) -> Path:
    """Run a study of effects, or go on with one that was interrupted.

    Args:
        loaded: The study.
        out: Its folder.
        threads: Threads that simulate; all cores when None. They do not change any number.
        reporter: Who tells the progress.

    Returns:
        The page, `report.html`; the same as text is in `summary.txt` beside it.

    Raises:
        FileExistsError: When `out` holds something else.
        ValueError: When a policy cannot be played; nothing already computed is lost.
    """
    config: EffectsStudy = loaded.config
    reporter = reporter or Reporter()
    folder = StudyFolder.start(out, config)
    began = datetime.now(UTC)
    computed, table = measure(loaded, folder, threads or available_cores(), reporter)
    manifest = provenance.describe() | {
        "seed": config.seed,
        "config_hash": hash_of(config.model_dump(mode="json")),
        "cells_computed": computed,
        "began": began.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": reporter.seconds,
    }
    write_text(folder.path / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))
    with reporter.stage("Drawing and reporting"):
        return write_page(config, policies_of(loaded), table, folder, reporter)


def policies_of(loaded: LoadedStudy) -> dict[str, KernelPolicy]:
    """The policies of a study by label."""
    return {label: build_policy(spec, loaded.folder) for label, spec in loaded.config.policies.items()}


def measure(loaded: LoadedStudy, folder: StudyFolder, threads: int, reporter: Reporter) -> tuple[int, pd.DataFrame]:
    """Play what is missing, and write `results.csv` and `results.parquet`.

    Returns:
        How many cells were computed, and the results.
    """
    config: EffectsStudy = loaded.config
    require_room(Problem(min(config.simulation.chunk, config.simulation.replications), config.world.arms), 1)
    policies = policies_of(loaded)
    observed = {
        label: observe(policy, config.world.arms, weigh=label not in config.simulation.unweighted)
        for label, policy in policies.items()
    }
    with reporter.stage("Trying every policy"):
        _try(config, observed, threads, reporter)
    plan = list(_plan(config, loaded.folder, observed))
    with reporter.stage("Simulating"):
        computed = _compute(plan, observed, folder, threads, reporter)

    def decisions(label: str, effect: float) -> Decisions:
        parts = [folder.cells.read(planned.cell) for planned in plan if planned[:2] == (label, effect)]
        return gather(parts, config.world.rates(effect), config.world.visitors, observed[label], config.seed)

    with reporter.stage("Measuring"), reporter.bar("Measuring", len(policies) * len(config.world.effects)) as advance:
        table = tabulate(config, policies, decisions, advance)
    for name, write in (("results.csv", table.to_csv), ("results.parquet", table.to_parquet)):
        draft = folder.path / f".{name}"
        write(draft, index=False)
        os.replace(draft, folder.path / name)
    return computed, table


def _try(config: EffectsStudy, observed: Mapping[str, Observed], threads: int, reporter: Reporter) -> None:
    """Let every policy play a little, so that wrong ones fail before minutes are spent, and say how long all may take.

    The first time compiles it. Designs that stop early take less.
    """
    world = config.world
    horizon = min(world.visitors, _TRIED_VISITORS)
    seconds = {}
    with reporter.bar("Trying", len(observed)) as advance:
        for label, way in observed.items():
            env = BernoulliBandit(world.rates(world.effects[0]), num_envs=_TRIED)
            try:
                rate = min(_seconds_per_visitor(way.policy, env, horizon, config.seed) for _ in range(2))
            except (ValueError, TypeError) as error:
                raise ValueError(f"policies.{label}: {error}") from error
            seconds[label] = rate * world.visitors * len(world.effects) * config.replications(label) / threads
            advance(label)
    slowest = max(seconds, key=lambda label: seconds[label])
    total = sum(seconds.values())
    words = f"  all of it takes at most about {total / 60:,.1f} minutes on {threads} threads"
    if total > _LONG and seconds[slowest] > total / 2:
        words += f", {seconds[slowest] / 60:,.1f} of them for {slowest} (see simulation.fewer and unweighted)"
    reporter.say(words)


def _seconds_per_visitor(policy: KernelPolicy, env: BernoulliBandit, horizon: int, seed: int) -> float:
    """Time on one thread; of more replications where a few take no time."""
    for size in (_TRIED, 40 * _TRIED):
        many = BernoulliBandit(env.means, num_envs=size)
        began = time.perf_counter()
        simulate(many, policy, horizon=horizon, seed=seed, threads=1, snapshots=(horizon,))
        took = time.perf_counter() - began
        if took > 10 * _OVERHEAD:
            break
    return took / (size * horizon)


def _plan(config: EffectsStudy, folder: Path, observed: Mapping[str, Observed]) -> Iterator[PlannedCell]:
    chunk, visitors = config.simulation.chunk, config.world.visitors
    ours = {Path(str(module.__file__)) for module in (observation, thompson, watched)}
    sources = {
        label: provenance.sources_hash(user_sources(spec, folder) | ours) for label, spec in config.policies.items()
    }
    for effect in config.world.effects:
        for label, spec in config.policies.items():
            count = config.replications(label)
            for first in range(0, count, chunk):
                cell = Cell(
                    policy=spec,
                    world={
                        "kind": "study",
                        "rates": config.world.rates(effect).tolist(),
                        "observed": observed[label].way,
                        "weighed": label not in config.simulation.unweighted,
                    },
                    seed=config.seed,
                    first_replication=first,
                    replications=min(chunk, count - first),
                    horizon=visitors,
                    snapshots=(visitors,),
                    sources=sources[label],
                )
                yield PlannedCell(label, effect, cell)


def _compute(
    plan: list[PlannedCell], observed: Mapping[str, Observed], folder: StudyFolder, threads: int, reporter: Reporter
) -> int:
    """Compute the cells that are missing or damaged; returns how many that were."""
    states = {planned.cell.key: folder.cells.state(planned.cell) for planned in plan}
    todo = list({p.cell.key: p for p in plan if states[p.cell.key] is not CellState.GOOD}.values())
    for planned in todo:
        if states[planned.cell.key] is CellState.DAMAGED:
            reporter.warn(f"the stored cell {planned.cell.key} of {planned.label} is damaged; it is computed again.")
    if len(todo) < len(states):
        reporter.say(f"  {len(states) - len(todo)} of {len(states)} cells are there and intact, {len(todo)} to compute")
    with reporter.bar("Simulating", len(todo)) as advance:
        for label, effect, cell in todo:
            trace = simulate(
                BernoulliBandit(cell.world["rates"], num_envs=cell.replications),
                observed[label].policy,
                horizon=cell.horizon,
                seed=cell.seed,
                first_replication=cell.first_replication,
                threads=threads,
                snapshots=cell.snapshots,
            )
            folder.cells.write(cell, trace)
            advance(f"{label} at {effect:+g}")
    return len(todo)
