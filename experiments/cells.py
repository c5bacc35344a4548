"""Cells, the units of work: some replications of one policy, stored under the hash of all that determines them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bandits.trace import Trace
from experiments.policy_specs import Resolved

FORMAT = 1
_CURVES, _TRAFFIC, _REPLICATIONS, _CARD = "curves.parquet", "traffic.parquet", "replications.parquet", "cell.json"


@dataclass(frozen=True)
class Cell:
    """Everything that determines a piece of a simulation; what does not (threads, hardware, labels) is left out.

    Attributes:
        policy: Complete specification of the policy.
        world: What determines the environment: its kind, the hashes of table and features, its settings.
        seed: Seed of the run.
        first_replication: Number of the first replication.
        replications: How many there are.
        horizon: Rounds.
        snapshots: Rounds after which curves have a point.
        sources: Hash of the source code that takes part.
        device: Type of the device that the torch engine plays on, `cpu` or `cuda`; None where another engine plays,
            whose numbers depend on no device.
    """

    policy: Resolved
    world: Mapping[str, Any]
    seed: int
    first_replication: int
    replications: int
    horizon: int
    snapshots: tuple[int, ...]
    sources: str
    device: str | None = None

    @property
    def description(self) -> dict[str, Any]:
        """All of it as JSON values."""
        described: dict[str, Any] = json.loads(json.dumps(asdict(self) | {"format": FORMAT}, sort_keys=True))
        return described

    @property
    def key(self) -> str:
        """Hash of the description, 32 hexadecimal digits."""
        return hash_of(self.description)


class CellState(Enum):
    """What a look at the disk finds."""

    MISSING = "missing"
    GOOD = "good"
    DAMAGED = "damaged"


class CellStore:
    """A folder of cells, each a folder of Parquet files that appears whole or not at all.

    Args:
        folder: Where the cells lie; created when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def state(self, cell: Cell) -> CellState:
        """Whether `cell` is stored, by hashing its bytes."""
        home = self.folder / cell.key
        if not home.exists():
            return CellState.MISSING
        try:
            card = json.loads((home / _CARD).read_text(encoding="utf-8"))
            intact = card["cell"] == cell.description and all(
                file_hash(home / name) == expected for name, expected in card["files"].items()
            )
            complete = card["files"].keys() == {_CURVES, _TRAFFIC, _REPLICATIONS}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return CellState.DAMAGED
        return CellState.GOOD if intact and complete else CellState.DAMAGED

    def write(self, cell: Cell, trace: Trace) -> None:
        """Store what `cell` came to, in place of whatever was there."""
        draft = self.folder / f".draft-{cell.key}-{os.getpid()}"
        draft.mkdir(parents=True)
        try:
            for name, frame in _tables(trace).items():
                frame.to_parquet(draft / name, index=False, compression="zstd")
            files = {file.name: file_hash(file) for file in sorted(draft.iterdir())}
            card = {"cell": cell.description, "files": files}
            (draft / _CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
            shutil.rmtree(self.folder / cell.key, ignore_errors=True)
            os.replace(draft, self.folder / cell.key)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def read(self, cell: Cell) -> CellTables:
        """The tables of a stored cell."""
        home = self.folder / cell.key
        return CellTables(*(pd.read_parquet(home / name) for name in (_CURVES, _TRAFFIC, _REPLICATIONS)))


@dataclass(frozen=True, eq=False)
class CellTables:
    """A cell as tidy tables.

    Attributes:
        curves: One row per replication and snapshot: `replication, round, regret, regret_fixed, reward`, a column
            `outcome.NAME` per outcome and `record.NAME` per record of the policy.
        traffic: One row per snapshot and arm: `round, arm, pulls`, cumulative over the cell's replications.
        replications: One row per replication: `replication, world, stopped, recommended, pulls` (a list over the arms).
    """

    curves: pd.DataFrame
    traffic: pd.DataFrame
    replications: pd.DataFrame


def _tables(trace: Trace) -> dict[str, pd.DataFrame]:
    snapshots, count = trace.regret.shape
    numbers = np.arange(trace.first_replication, trace.first_replication + count)
    columns = {
        "replication": np.tile(numbers, snapshots),
        "round": np.repeat(trace.rounds, count),
        "regret": trace.regret.ravel(),
        "regret_fixed": trace.regret_fixed.ravel(),
        "reward": trace.reward.ravel(),
    }
    columns |= {f"outcome.{name}": trace.outcomes[:, :, j].ravel() for j, name in enumerate(trace.outcome_names)}
    columns |= {f"record.{name}": values.ravel() for name, values in trace.records.items()}
    arms = trace.traffic.shape[1]
    traffic = {
        "round": np.repeat(trace.rounds, arms),
        "arm": np.tile(np.arange(arms), snapshots),
        "pulls": trace.traffic.ravel(),
    }
    replications = {
        "replication": numbers,
        "world": trace.world,
        "stopped": trace.stopped,
        "recommended": trace.recommended,
        "pulls": list(trace.pulls),
    }
    frames: dict[str, dict[str, Any]] = {_CURVES: columns, _TRAFFIC: traffic, _REPLICATIONS: replications}
    return {name: pd.DataFrame(table) for name, table in frames.items()}


def hash_of(value: object) -> str:
    """Hash of a JSON value, 32 hexadecimal digits; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
