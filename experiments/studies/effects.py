"""Runs a study of effects: plays every policy at every effect, measures, draws, and writes the page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

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
from experiments.studies import watched
from experiments.studies.config import EffectsStudy, LoadedStudy
from experiments.studies.decisions import Decisions, gather
from experiments.studies.folder import StudyFolder
from experiments.studies.page import write_page
from experiments.studies.results import tabulate


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
        The page, `report.html`; the same as text is in `report.txt` beside it.

    Raises:
        FileExistsError: When `out` holds something else.
        ValueError: When a policy cannot be played; nothing already computed is lost.
    """
    config: EffectsStudy = loaded.config
    reporter = reporter or Reporter()
    simulation = config.simulation
    require_room(Problem(min(simulation.chunk, simulation.replications), config.world.arms), 1)
    folder = StudyFolder.start(out, config)
    began = datetime.now(UTC)
    policies = {label: build_policy(spec, loaded.folder) for label, spec in config.policies.items()}
    observed = {label: _observed(policy, config) for label, policy in policies.items()}
    plan = list(_plan(config, loaded.folder, observed))
    with reporter.stage("Simulating"):
        computed = _compute(plan, observed, folder, threads or available_cores(), reporter)
    with reporter.stage("Measuring"):

        @lru_cache(maxsize=1)
        def decisions(label: str, effect: float) -> Decisions:
            parts = [folder.cells.read(planned.cell) for planned in plan if planned[:2] == (label, effect)]
            decides = policies[label].kernel.link(lambda hook: hook).recommend is not None
            return gather(parts, config.world.rates(effect), decides, config.seed)

        table = tabulate(config, policies, decisions)
        for name, write in (("results.csv", table.to_csv), ("results.parquet", table.to_parquet)):
            draft = folder.path / f".{name}"
            write(draft, index=False)
            os.replace(draft, folder.path / name)
    manifest = provenance.describe() | {
        "seed": config.seed,
        "config_hash": hash_of(config.model_dump(mode="json")),
        "cells": [planned.cell.key for planned in plan],
        "cells_computed": computed,
        "began": began.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": reporter.seconds,
    }
    write_text(folder.path / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))
    with reporter.stage("Drawing and reporting"):
        return write_page(config, policies, table, folder)


def _observed(policy: KernelPolicy, config: EffectsStudy) -> KernelPolicy:
    """The policy itself where it reports who saw what until its decision, else the policy under observation."""
    arms = config.world.arms
    names = policy.record_names(Problem(1, arms, horizon=config.world.visitors))
    wanted = {f"{field}[{k}]" for field in ("visitors", "clicks") for k in range(arms)}
    decides = policy.kernel.link(lambda hook: hook).recommend is not None
    return policy if decides and wanted <= set(names) else watched.Watched(policy)


def _plan(config: EffectsStudy, folder: Path, observed: dict[str, KernelPolicy]) -> Iterator[PlannedCell]:
    chunk, visitors = config.simulation.chunk, config.world.visitors
    sources = {}
    for label, spec in config.policies.items():
        own = {Path(watched.__file__)} if isinstance(observed[label], watched.Watched) else set()
        sources[label] = provenance.sources_hash(user_sources(spec, folder) | own)
    for effect in config.world.effects:
        for label, spec in config.policies.items():
            count = config.replications(label)
            is_watched = isinstance(observed[label], watched.Watched)
            for first in range(0, count, chunk):
                cell = Cell(
                    policy=spec,
                    world={"kind": "study", "rates": config.world.rates(effect).tolist(), "watched": is_watched},
                    seed=config.seed,
                    first_replication=first,
                    replications=min(chunk, count - first),
                    horizon=visitors,
                    snapshots=(visitors,),
                    sources=sources[label],
                )
                yield PlannedCell(label, effect, cell)


def _compute(
    plan: list[PlannedCell], observed: dict[str, KernelPolicy], folder: StudyFolder, threads: int, reporter: Reporter
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
                observed[label],
                horizon=cell.horizon,
                seed=cell.seed,
                first_replication=cell.first_replication,
                threads=threads,
                snapshots=cell.snapshots,
            )
            folder.cells.write(cell, trace)
            advance(f"{label} at {effect:+g}")
    return len(todo)
