"""Event logs of a run: every round of chosen policies with all propensities, as files that `bandits ope` reads."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from bandits import Policy, RandomStreams, ScalarPolicy, Trace, simulate
from bandits.environment import Environment, context_of
from bandits.ope import LogWriter, join_logs
from bandits.ope.log_writer import row_bytes
from experiments.cells import Cell, CellTables, file_hash
from experiments.config import LoadedConfig
from experiments.policy_specs import Resolved, build_policy
from experiments.problems import ConfigError, Problem
from experiments.progress import Reporter
from experiments.run_data import WORLDS
from experiments.run_folder import PlannedCell, RunFolder, write_text
from experiments.worlds import World

FORMAT = 1
_WHERE = "simulation.log_events"
_TRIED_ROUNDS = 50
_ROWS_PER_STEP = 2**16  # of the progress bar
_GIB = 2**30


@dataclass(frozen=True)
class EventLog:
    """A log that a run is to write.

    Attributes:
        label: Label of the policy.
        file: The Parquet file; a card beside it says what it was recorded from.
        adaptive: Whether the policy learns from the rounds of the log.
        seconds: About how long recording takes.
        bytes: About how large the file becomes.
    """

    label: str
    file: Path
    adaptive: bool
    seconds: float
    bytes: float


def plan_event_logs(
    loaded: LoadedConfig,
    run: RunFolder,
    world: World,
    device: Callable[[Resolved], str | None],
    reporter: Reporter,
) -> list[EventLog]:
    """Which logs a run will write, in `events/LABEL.parquet`; what cannot be recorded is refused before it begins.

    Args:
        loaded: The config. `all` leaves out the policies that do not know their propensities, and says so.
        run: The run.
        world: The world that events are recorded in.
        device: Type of the device that the torch engine plays a policy on; None where another engine plays it.
        reporter: Who tells sizes and times.

    Raises:
        ConfigError: When a policy that was asked for cannot be recorded, none can, two logs would have the same name,
            or all of them do not fit on the disk.
        ValueError: When the propensities of a policy are wrong.
    """
    config = loaded.config
    wanted = config.simulation.log_events
    if not wanted:
        return []
    labels = list(config.policies) if wanted == "all" else list(dict.fromkeys(wanted))
    policies = {label: build_policy(config.policies[label], loaded.folder) for label in labels}
    mute = [label for label in labels if not _knows_propensities(world.make(1), policies[label])]
    far = [label for label in labels if label not in mute and device(config.policies[label]) is not None]
    reasons = ((mute, "the probabilities of its choices are not known"), (far, "the torch engine plays it"))
    reported = [f"{label} ({why})" for which, why in reasons for label in which]
    if reported and wanted != "all":
        _refuse(loaded, f"must name policies whose events can be recorded. Got {', '.join(reported)}.")
    if reported:
        reporter.warn(f"no events are recorded of {', '.join(reported)}.")
    labels = [label for label in labels if label not in {*mute, *far}]
    if not labels:
        _refuse(loaded, "must be left out where no policy knows the probabilities of its choices. Got all.")
    files = {label: run.path / "events" / f"{_file_name(label)}.parquet" for label in labels}
    for label, file in files.items():
        if twin := next((other for other in labels if other != label and files[other] == file), None):
            _refuse(loaded, f"must give every log a file of its own. Got {label} and {twin}, both {file.name}.")
    logs = [
        EventLog(label, files[label], policies[label].adaptive, *_try(loaded, world, label, policies[label]))
        for label in labels
    ]
    rounds = config.simulation.replications * config.simulation.horizon
    problem = world.make(1).problem(1)
    most = len(logs) * rounds * row_bytes(problem.num_arms, problem.user_dim)
    size = f"about {sum(log.bytes for log in logs) / _GIB:,.2f} GiB on disk (at most {most / _GIB:,.2f})"
    _require_disk(loaded, run, logs, f"{rounds:,} rounds of each of {len(logs)} policies")
    reporter.say(
        f"  events of {', '.join(labels)}: {rounds:,} rounds each in {WORLDS[world.kind]}, {size}, "
        f"about {_duration(sum(log.seconds for log in logs))}"
    )
    return logs


def record_events(
    logs: Sequence[EventLog],
    plan: Iterable[PlannedCell],
    loaded: LoadedConfig,
    run: RunFolder,
    world: World,
    reporter: Reporter,
) -> None:
    """Write the logs that are missing or damaged, cell by cell, so that an interrupted run goes on where it stopped.

    Events are recorded by playing a cell once more, round by round; that this gives the very trace that the run has
    stored is checked.

    Args:
        logs: What `plan_event_logs` gave.
        plan: The run's cells, whose traces are there.
        loaded: The config.
        run: The run.
        world: The world that events are recorded in.
        reporter: Who tells the progress.

    Raises:
        OSError: When a file cannot be written.
        ValueError: When a policy plays otherwise than before.
    """
    here = [p for p in plan if p.kind == world.kind and p.test_length is None]
    cells = {log.label: [p.cell for p in here if p.label == log.label] for log in logs}
    todo = []
    for log in logs:
        if _intact(log.file, _facts(log, cells[log.label])):
            reporter.say(f"  {log.file.name} is there and intact")
            continue
        if _intact(log.file, {}, bytes_too=False) and not _intact(log.file, {}):
            reporter.warn(f"{log.file.name} is damaged; it is recorded again.")
        todo.append(log)
    drafts = run.path / "events" / ".parts"
    rows = sum(cell.replications * cell.horizon for log in todo for cell in cells[log.label])
    with reporter.bar("Recording events", -(-rows // _ROWS_PER_STEP)) as advance:
        steps = _Steps(advance)
        for index, log in enumerate(todo):
            drafts.mkdir(parents=True, exist_ok=True)
            parts = []
            for cell in cells[log.label]:
                part = drafts / f"{cell.key}.parquet"
                if not _intact(part, _part_facts(cell)):
                    _record(log, cell, part, loaded, run, world, steps)
                    _seal(part, _part_facts(cell))
                else:
                    steps.count(log.label, cell.replications * cell.horizon)
                parts.append(part)
            rounds = join_logs(parts, log.file)
            certain = _share_of_certain(log.file)
            _seal(log.file, _facts(log, cells[log.label]) | {"rounds": rounds, "certain": certain})
            later = {cell.key for other in todo[index + 1 :] for cell in cells[other.label]}
            for part in parts:
                if part.stem not in later:
                    part.unlink(missing_ok=True)
                    _card(part).unlink(missing_ok=True)
            reporter.say(
                f"  {log.file.name}: {rounds:,} rounds, {log.file.stat().st_size / 2**20:,.1f} MiB; "
                f"{certain:.1%} of the choices were certain (propensity 1)"
            )
    shutil.rmtree(drafts, ignore_errors=True)


def _record(
    log: EventLog, cell: Cell, part: Path, loaded: LoadedConfig, run: RunFolder, world: World, steps: _Steps
) -> None:
    """Play a cell round by round into a file."""
    try:
        with LogWriter(
            part,
            adaptive=log.adaptive,
            first_replication=cell.first_replication,
            null_arm=world.make(1).problem(cell.horizon).null_arm,
            arm_names=_arm_names(run, world),
            name=f"{loaded.config.name}: {log.label}",
            progress=lambda rows: steps.count(log.label, rows),
        ) as events:
            trace = simulate(
                world.make(cell.replications),
                build_policy(cell.policy, loaded.folder),
                horizon=cell.horizon,
                seed=cell.seed,
                first_replication=cell.first_replication,
                snapshots=[cell.horizon],
                events=events,
            )
            if not _same(trace, run.cells.read(cell)):
                raise ValueError(
                    "must choose the same when it plays again, so draw from `random` alone. Got events that differ "
                    f"from the trace in cells/{cell.key}. If that cell was computed on another machine, remove it."
                )
    except ValueError as error:
        raise ValueError(f"policies.{log.label}: {error}") from error


def _same(trace: Trace, stored: CellTables) -> bool:
    """Whether a simulation ended as the stored one did."""
    last = stored.curves[stored.curves["round"] == stored.curves["round"].max()].sort_values("replication")
    rows = stored.replications.sort_values("replication")
    return (
        np.array_equal(trace.reward[-1], last["reward"])
        and np.array_equal(trace.pulls, np.stack(rows["pulls"].to_list()))
        and np.array_equal(trace.stopped, rows["stopped"])
    )


def _knows_propensities(env: Environment, policy: Policy | ScalarPolicy) -> bool:
    if isinstance(policy, ScalarPolicy):
        return False
    problem = env.problem(1)
    policy.reset(problem, RandomStreams(0, env.num_envs, 0, policy.stream))
    observation, _ = env.reset(seed=0)
    return policy.propensities(context_of(observation, problem, 0)) is not None


def _try(loaded: LoadedConfig, world: World, label: str, policy: Policy) -> tuple[float, float]:
    """Record a few rounds of one cell, so that wrong propensities fail at once.

    Returns:
        About how many seconds recording will take, and about how many bytes the log will have.
    """
    from pyarrow import parquet

    simulation = loaded.config.simulation
    size = min(simulation.chunk, simulation.replications)
    rounds = min(_TRIED_ROUNDS, simulation.horizon)
    problem = world.make(1).problem(rounds)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trial.parquet"
        for _ in range(2):  # the first time, hooks may have to be compiled
            began = time.perf_counter()
            try:
                with LogWriter(file, adaptive=policy.adaptive, null_arm=problem.null_arm) as events:
                    simulate(world.make(size), policy, horizon=rounds, seed=0, events=events)
            except ValueError as error:
                raise ValueError(f"policies.{label}: {error}") from error
            seconds = time.perf_counter() - began
        metadata = parquet.read_metadata(file)
        packed = sum(
            metadata.row_group(group).column(column).total_compressed_size
            for group in range(metadata.num_row_groups)
            for column in range(metadata.num_columns)
        )
    times = simulation.horizon / rounds * simulation.replications / size
    return seconds * times, packed * times


def _require_disk(loaded: LoadedConfig, run: RunFolder, logs: Sequence[EventLog], what: str) -> None:
    """Refuse logs that do not fit: all of them, and the pieces of the largest."""
    needed = sum(log.bytes for log in logs) + max(log.bytes for log in logs)
    free = shutil.disk_usage(run.path).free
    if needed > free:
        _refuse(
            loaded,
            f"must fit on the disk, {free / _GIB:,.1f} GiB free. Got about {needed / _GIB:,.1f} GiB for {what}, with "
            "the pieces of the largest. Name fewer policies, or lower replications or horizon.",
        )


def _arm_names(run: RunFolder, world: World) -> tuple[str, ...]:
    """Ids of the items; none where the arms of several worlds are different items, or have no names."""
    table = run.table(world.kind)
    return () if table is None or len(table.world_ids) > 1 else tuple(map(str, table.item_ids[0]))


def _file_name(label: str) -> str:
    """A label as a file name.

    >>> _file_name("EpsilonGreedy 0.1"), _file_name("A/B <test>")
    ('EpsilonGreedy 0.1', 'A_B _test_')
    """
    return re.sub(r"[^\w .,+=()-]", "_", label).strip(". ") or "_"


def _facts(log: EventLog, cells: Sequence[Cell]) -> dict[str, Any]:
    """What a log must have been recorded from to be kept."""
    return {"format": FORMAT, "policy": log.label, "adaptive": log.adaptive, "cells": [cell.key for cell in cells]}


def _part_facts(cell: Cell) -> dict[str, Any]:
    return {"format": FORMAT, "cell": cell.key}


def _card(file: Path) -> Path:
    return file.with_suffix(".json")


def _seal(file: Path, facts: Mapping[str, Any]) -> None:
    """Write the card of a file that is whole."""
    card = dict(facts) | {"sha256": file_hash(file)}
    write_text(_card(file), json.dumps(card, indent=1, ensure_ascii=False))


def _intact(file: Path, facts: Mapping[str, Any], *, bytes_too: bool = True) -> bool:
    """Whether a file has a card that says all of `facts`, and the bytes that the card was written for."""
    try:
        card = json.loads(_card(file).read_text(encoding="utf-8"))
        said = all(card[key] == value for key, value in facts.items())
        return said and file.is_file() and (not bytes_too or card["sha256"] == file_hash(file))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _share_of_certain(file: Path) -> float:
    """Share of the rounds in which nothing was left to chance."""
    certain = rounds = 0
    for propensity in _column(file, "propensity"):
        certain += int(np.count_nonzero(propensity >= 1))
        rounds += len(propensity)
    return certain / rounds


def _column(file: Path, name: str) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
    from pyarrow import parquet

    with parquet.ParquetFile(file) as source:
        for batch in source.iter_batches(columns=[name]):
            yield batch.column(0).to_numpy()


def _duration(seconds: float) -> str:
    """A time as people say it.

    >>> _duration(0.2), _duration(90), _duration(9000)
    ('1 second', '90 seconds', '150 minutes')
    """
    seconds = max(1, round(seconds))
    return "1 second" if seconds == 1 else f"{seconds} seconds" if seconds < 120 else f"{round(seconds / 60)} minutes"


def _refuse(loaded: LoadedConfig, text: str) -> NoReturn:
    raise ConfigError(loaded.config.name, [Problem(_WHERE, text)])


class _Steps:
    """Turns rows into steps of a progress bar."""

    def __init__(self, advance: Callable[[str], None]) -> None:
        self._advance, self._rows, self._shown = advance, 0, 0

    def count(self, text: str, rows: int) -> None:
        """Count some rows."""
        self._rows += rows
        while (self._shown + 1) * _ROWS_PER_STEP <= self._rows:
            self._shown += 1
            self._advance(text)
