"""The folder of a study: everything it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel

from experiments.cells import CellStore
from experiments.config import differences
from experiments.run_folder import write_text
from experiments.yaml_file import parse


@dataclass(frozen=True)
class StudyFolder:
    """A study on disk: `config.yaml`, `cells/`, `results.csv`, `results.parquet`, `figures/`, `report.html`.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def start(cls, path: Path, config: BaseModel) -> StudyFolder:
        """Create the folder, or come back to one of the same study.

        Raises:
            FileExistsError: When it holds another study, naming what differs, or something else.
        """
        file = path / "config.yaml"
        resolved = config.model_dump(mode="json")
        if file.exists():
            changed = differences(parse(file.read_text(encoding="utf-8")), resolved)
            if changed:
                lines = "".join(f"  {line}\n" for line in changed)
                raise FileExistsError(
                    f"{path} holds a study with another config:\n{lines}Choose another folder with --out, or "
                    "remove that one."
                )
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise FileExistsError(f"{path} exists and is not a study. Choose another folder with --out.")
        else:
            path.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(resolved, allow_unicode=True, sort_keys=False)
            write_text(file, "# The complete config of this study, with every default filled in.\n" + text)
        return cls(path)

    @property
    def cells(self) -> CellStore:
        """What has been computed so far."""
        return CellStore(self.path / "cells")

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"
