"""The folder of a study: everything it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from experiments.cells import CellStore
from experiments.run_folder import claim_folder


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
        claim_folder(path, config.model_dump(mode="json"), "study")
        return cls(path)

    @property
    def cells(self) -> CellStore:
        """What has been computed so far."""
        return CellStore(self.path / "cells")

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"
