"""The run folder: everything a run leaves behind, and all that a report is made from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bandits.propensity_table import PropensityTable
from experiments.cells import Cell, CellStore
from experiments.config import ExperimentConfig, differences
from experiments.yaml_file import parse

TABLES = ("traces", "traffic", "replications", "test_lengths")


@dataclass(frozen=True)
class RunFolder:
    """A run on disk.

    `config.yaml` (resolved), `manifest.json`, `tables/KIND/`, `reward_model/`, `model.json` (its metrics),
    `costs.json` (microseconds per decision), `cells/` (what resuming needs), `events/` (logs of every round, where they
    were asked for), the tidy tables `traces.parquet`, `traffic.parquet`, `replications.parquet` and
    `test_lengths.parquet`, `summary.csv`, `agreement.json`, `why.json` (one click and one choice taken apart),
    `figures/` and `report.html`.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def start(cls, path: Path, config: ExperimentConfig) -> RunFolder:
        """Create a run, or come back to one with the same config; what is logged of it may change.

        Raises:
            FileExistsError: When the folder holds a run with another config, naming what differs, or something else.
        """
        run = cls(path)
        if run._config_file.exists():
            old, new = _without_logs(run.config()), _without_logs(config)
            changed = differences(old.model_dump(mode="json"), new.model_dump(mode="json"))
            if changed:
                raise FileExistsError(
                    f"{path} holds a run with another config:\n"
                    + "".join(f"  {line}\n" for line in changed)
                    + "Choose another folder with --out, or remove that one."
                )
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise FileExistsError(f"{path} exists and is not a run. Choose another folder with --out.")
        else:
            path.mkdir(parents=True, exist_ok=True)
        if not run._config_file.exists() or run.config() != config:
            text = yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True, sort_keys=False)
            write_text(run._config_file, "# The complete config of this run, with every default filled in.\n" + text)
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A run that has been simulated.

        Raises:
            FileNotFoundError: When the folder holds no run, or one that has not got that far.
        """
        run = cls(path)
        if not run._config_file.is_file():
            raise FileNotFoundError(f"{path} must be a run folder. It has no {run._config_file.name}.")
        for name in TABLES:
            if not (path / f"{name}.parquet").is_file():
                raise FileNotFoundError(f"The run in {path} is not finished: it has no {name}.parquet. Run it again.")
        return run

    @property
    def cells(self) -> CellStore:
        """What has been computed so far."""
        return CellStore(self.path / "cells")

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"

    @property
    def report_file(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def config(self) -> ExperimentConfig:
        """The resolved config."""
        return ExperimentConfig.model_validate(parse(self._config_file.read_text(encoding="utf-8")))

    @property
    def features_file(self) -> Path:
        """What policies see of users and items."""
        return self.path / "tables" / "features.npz"

    def table_folder(self, kind: str) -> Path:
        """Where the propensity table of a kind of world lies."""
        return self.path / "tables" / kind

    def table(self, kind: str) -> PropensityTable | None:
        """The propensity table of a kind of world; None where that world has none."""
        folder = self.table_folder(kind)
        return PropensityTable.load(folder) if folder.exists() else None

    def save_table(self, kind: str, table: PropensityTable) -> None:
        """Keep the table of a kind of world."""
        table.save(self.table_folder(kind))

    def read_json(self, name: str) -> dict[str, Any]:
        """The content of `NAME.json`; empty where there is none."""
        file = self.path / f"{name}.json"
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return content

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write `NAME.json`, whole or not at all."""
        write_text(self.path / f"{name}.json", json.dumps(content, indent=1, ensure_ascii=False))

    def read(self, name: str) -> pd.DataFrame:
        """One of the tidy tables, `TABLES`."""
        return pd.read_parquet(self.path / f"{name}.parquet")

    def gather(self, plan: Iterable[PlannedCell]) -> None:
        """Join the cells of a plan into the tidy tables, with the columns `policy` and `kind` (of world) in front."""
        curves, traffic, replications, lengths = [], [], [], []
        for planned in plan:
            tables = self.cells.read(planned.cell)
            labels = {"policy": planned.label, "kind": planned.kind}
            if planned.test_length is None:
                curves.append(_labelled(tables.curves, labels))
                traffic.append(_labelled(tables.traffic, labels))
                replications.append(_labelled(tables.replications, labels))
            else:
                last = tables.curves[tables.curves["round"] == tables.curves["round"].max()]
                final = last.merge(tables.replications[["replication", "world"]], on="replication")
                columns = ["replication", "world", "reward", "regret", "regret_fixed"]
                lengths.append(_labelled(final[columns], labels | {"length": planned.test_length}))
        summed = ["policy", "kind", "round", "arm"]
        joined = {
            "traces": _joined(curves),
            "traffic": _joined(traffic).groupby(summed, sort=False)["pulls"].sum().reset_index(),
            "replications": _joined(replications),
            "test_lengths": _joined(lengths),
        }
        for name, frame in joined.items():
            draft = self.path / f".{name}.parquet"
            frame.to_parquet(draft, index=False, compression="zstd")
            os.replace(draft, self.path / f"{name}.parquet")

    @property
    def _config_file(self) -> Path:
        return self.path / "config.yaml"


@dataclass(frozen=True)
class PlannedCell:
    """A cell and what it is for.

    Attributes:
        label: Label of the policy in the config.
        kind: Kind of world it runs in.
        cell: The work.
        test_length: Visitors of the A/B test, where the cell belongs to the comparison of test lengths.
    """

    label: str
    kind: str
    cell: Cell
    test_length: int | None = None


def claim_folder(path: Path, resolved: Mapping[str, Any], what: str, free: Sequence[str] = ()) -> None:
    """Create the folder of a study or tuning with its `config.yaml`, or come back to one of the same config.

    Args:
        path: The folder.
        resolved: The complete config.
        what: What it configures, in the singular, for messages.
        free: Sections' keys, as `section.key`, that may differ from last time.

    Raises:
        FileExistsError: When the folder holds one of another config, naming what differs, or something else.
    """
    file = path / "config.yaml"
    if file.exists():
        changed = differences(parse(file.read_text(encoding="utf-8")), resolved)
        if refused := [line for line in changed if line.partition(":")[0] not in free]:
            lines = "".join(f"  {line}\n" for line in refused)
            raise FileExistsError(
                f"{path} holds a {what} with another config:\n{lines}Choose another folder with --out, or "
                "remove that one."
            )
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists and is not a {what}. Choose another folder with --out.")
    path.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(dict(resolved), allow_unicode=True, sort_keys=False)
    write_text(file, f"# The complete config of this {what}, with every default filled in.\n" + text)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def _without_logs(config: ExperimentConfig) -> ExperimentConfig:
    simulation = config.simulation.model_copy(update={"log_events": None})
    return config.model_copy(update={"simulation": simulation})


def _labelled(frame: pd.DataFrame, labels: dict[str, Any]) -> pd.DataFrame:
    return pd.concat([pd.DataFrame(labels, index=frame.index), frame], axis=1)


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    columns = ["policy", "kind", "length", "replication", "world", "reward", "regret", "regret_fixed"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({name: [] for name in columns})
