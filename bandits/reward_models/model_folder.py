"""The folder of a saved model: written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bandits.reward_models.model_card import model_card


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """An empty folder to write into; it takes the place of `folder` when nothing went wrong."""
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    yield unfinished
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def write_about(folder: Path, kind: str, info: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> None:
    """Write the model card `README.md`, and `metrics.json` if there is an evaluation."""
    if evaluation is not None:
        (folder / "metrics.json").write_text(json.dumps(evaluation, indent=1), encoding="utf-8")
    (folder / "README.md").write_text(model_card(kind, info, evaluation), encoding="utf-8")
