"""Runs an experiment: prepares its worlds, computes the cells that are missing, sums up, draws and reports."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from bandits import Policy, Problem, ScalarPolicy, simulate
from bandits.engine import Engine, choose_engine
from bandits.engine.simulation import available_cores
from bandits.results import require_room
from experiments import provenance
from experiments.cells import CellState, CellStore, hash_of
from experiments.compiling import compile_missing
from experiments.config import LoadedConfig, SimulationConfig
from experiments.event_logs import plan_event_logs, record_events
from experiments.plan import plan_cells
from experiments.policy_specs import Resolved, build_policy, torch_twin, user_sources
from experiments.progress import Reporter
from experiments.report import write_report
from experiments.run_folder import PlannedCell, RunFolder
from experiments.summary import summarize_run
from experiments.why import explain_run, named_pair
from experiments.worlds import World, prepare_worlds

_TIMED_FOR_AT_LEAST = 0.1
_MOST_TIMED_ROUNDS = 1_000_000


def run_experiment(
    loaded: LoadedConfig, out: Path | None = None, *, threads: int | None = None, reporter: Reporter | None = None
) -> Path:
    """Run an experiment from data to report, or go on with one that was interrupted.

    Whatever is already there is verified by hashing its bytes, and kept; only what is missing or damaged is computed.

    Args:
        loaded: The config.
        out: The run folder; `runs/NAME` when None.
        threads: Threads that simulate; all cores when None. They do not change any number.
        reporter: Who tells the progress.

    Returns:
        The run folder.

    Raises:
        FileExistsError: When `out` holds something else.
        ValueError: When data, reward model or policies cannot be used; nothing already computed is lost.
    """
    config, reporter = loaded.config, reporter or Reporter()
    size = min(config.simulation.chunk, config.simulation.replications)
    # Before hours are spent; the least that any world takes now, and exactly once there is one.
    require_room(Problem(size, num_arms=2), config.simulation.snapshots)
    run = RunFolder.start(out or Path("runs") / config.name, config)
    began = datetime.now(UTC)
    worlds = {world.kind: world for world in prepare_worlds(config, run, reporter)}

    def device(policy: Resolved) -> str | None:
        world = next(iter(worlds.values()))
        return engine_and_device(world, build_policy(policy, loaded.folder), config.simulation)[1]

    with reporter.stage("Trying every policy"):
        world = next(iter(worlds.values()))
        problem = world.make(size).problem(config.simulation.horizon)
        require_room(problem, config.simulation.snapshots)
        if config.report.explain is not None:
            named_pair(config.report.explain, run.table(world.kind), problem.null_arm)
        specs = list(config.policies.values())
        compile_missing(specs, loaded.folder, world.make(1), threads or available_cores(), reporter)
        _time_policies(loaded, run, world)
        event_logs = plan_event_logs(loaded, run, world, device, reporter)

    @cache
    def sources_of(files: frozenset[Path]) -> str:
        return provenance.sources_hash(files)

    def sources(policy: Resolved) -> str:
        return sources_of(frozenset(user_sources(policy, loaded.folder)))

    arrivals = [start for _, start in next(iter(worlds.values())).late_items]
    plan = plan_cells(config, {kind: world.key for kind, world in worlds.items()}, sources, arrivals, device)
    with reporter.stage("Simulating"):
        todo, distinct = missing_cells(plan, run.cells, reporter), len({planned.cell.key for planned in plan})
        if len(todo) < distinct:
            reporter.say(f"  {distinct - len(todo)} of {distinct} cells are there and intact, {len(todo)} to compute")
        compute_cells(todo, loaded.folder, run.cells, worlds, threads, reporter)
    with reporter.stage("Summing up"):
        run.gather(plan)
        summarize_run(run)
    with reporter.stage("Explaining a click and a choice"):
        explain_run(loaded, run, world, device)
    run.write_json(
        "manifest",
        provenance.describe()
        | {
            "seed": config.seed,
            "config_hash": hash_of(config.model_dump(mode="json")),
            "sources_hash": sources({}),
            "worlds": {kind: world.key for kind, world in worlds.items()},
            "adaptive": {label: build_policy(spec, loaded.folder).adaptive for label, spec in config.policies.items()},
            "late_items": [list(late) for late in next(iter(worlds.values())).late_items],
            "cells": [planned.cell.key for planned in plan],
            "cells_computed": len(todo),
            "began": began.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": reporter.seconds,
        },
    )
    with reporter.stage("Drawing and reporting"):
        write_report(run)
    if event_logs:
        with reporter.stage("Recording events"):
            record_events(event_logs, plan, loaded, run, world, reporter)
    return run.path


def missing_cells(plan: Sequence[PlannedCell], cells: CellStore, reporter: Reporter) -> list[PlannedCell]:
    """Those cells of a plan that are not stored, or damaged, which the reporter is told; each once."""
    states = {planned.cell.key: cells.state(planned.cell) for planned in plan}
    todo = list({p.cell.key: p for p in plan if states[p.cell.key] is not CellState.GOOD}.values())
    for planned in todo:
        if states[planned.cell.key] is CellState.DAMAGED:
            reporter.warn(f"the stored cell {planned.cell.key} of {planned.label} is damaged; it is computed again.")
    return todo


def compute_cells(
    todo: Sequence[PlannedCell],
    folder: Path,
    cells: CellStore,
    worlds: Mapping[str, World],
    threads: int | None,
    reporter: Reporter,
) -> None:
    """Simulate cells and store them.

    Args:
        todo: The cells.
        folder: Where modules of the user's own policies are looked for first.
        cells: Where they are stored.
        worlds: The worlds by kind.
        threads: Threads that simulate; all cores when None.
        reporter: Who tells the progress.
    """
    with reporter.bar("Simulating", len(todo)) as advance:
        for planned in todo:
            cell = planned.cell
            trace = simulate(
                worlds[planned.kind].make(cell.replications),
                build_policy(cell.policy, folder),
                horizon=cell.horizon,
                seed=cell.seed,
                first_replication=cell.first_replication,
                threads=threads,
                snapshots=cell.snapshots,
                engine="torch" if cell.device else "auto",
                device=cell.device,
            )
            cells.write(cell, trace)
            advance(f"{planned.label} ({planned.kind} world)")


def _time_policies(loaded: LoadedConfig, run: RunFolder, world: World) -> None:
    """Let every policy play a little in the first world, so that wrong ones fail before hours are spent; keep the time.

    The time per decision is that of one replication on one thread, the simulated user's part included.
    """
    costs = run.read_json("costs")
    for label, spec in loaded.config.policies.items():
        if label in costs:
            continue
        policy = build_policy(spec, loaded.folder)
        try:
            costs[label] = _microseconds_per_decision(world, policy, loaded.config.simulation)
        except ValueError as error:
            raise ValueError(f"policies.{label}: {error}") from error
        run.write_json("costs", costs)


def _microseconds_per_decision(world: World, policy: Policy | ScalarPolicy, simulation: SimulationConfig) -> float:
    engine, device = engine_and_device(world, policy, simulation)

    def play(horizon: int) -> None:
        simulate(world.make(1), policy, horizon=horizon, seed=0, threads=1, snapshots=2, engine=engine, device=device)

    play(min(simulation.horizon, 100))
    rounds = min(simulation.horizon, 1_000)
    while True:
        began = time.perf_counter()
        play(rounds)
        seconds = time.perf_counter() - began
        if seconds >= _TIMED_FOR_AT_LEAST or rounds >= _MOST_TIMED_ROUNDS:
            return round(seconds / rounds * 1e6, 4)
        rounds *= 10


def engine_and_device(
    world: World, policy: Policy | ScalarPolicy, simulation: SimulationConfig
) -> tuple[Engine, str | None]:
    """What plays a policy, and on which type of device where that is the torch engine."""
    wanted: Engine = "torch" if simulation.engine == "torch" and torch_twin(policy) is not None else "auto"
    engine = choose_engine(world.make(1), policy, wanted)
    if engine != "torch":
        return engine, None
    from bandits.torch_device import choose_device  # here, so that other experiments do not wait for torch

    return engine, choose_device(simulation.device or "auto").type
