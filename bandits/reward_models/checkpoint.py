"""Checkpoints of a fit: written whole or not at all, read without running any code from the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

_PREFIX = "step-"


@dataclass(frozen=True)
class Stored:
    """What a checkpoint holds.

    Attributes:
        weights: Sets of weights, each by name: those being trained (`trained`), the same at the best epoch so far
            (`best`), and their mean over the running epoch (`mean`) where a fit keeps one.
        state: States of the optimizer (`optimizer`), of the random generators by kind of device (`random`), and of
            the adapter (`adapter`).
        progression: Where the fit stands.
    """

    weights: Mapping[str, Mapping[str, torch.Tensor]]
    state: Mapping[str, Any]
    progression: Mapping[str, Any]


def save(folder: Path, stored: Stored) -> None:
    """Write a checkpoint beside the last one, give it its name in one step, then remove the last one."""
    folder.mkdir(parents=True, exist_ok=True)
    older = _complete(folder)
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for kind, tensors in stored.weights.items():
        whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(whole, unfinished / f"{kind}.safetensors")
    torch.save(dict(stored.state), unfinished / "state.pt")
    (unfinished / "progression.json").write_text(json.dumps(dict(stored.progression)), encoding="utf-8")
    number = int(older[-1].name.removeprefix(_PREFIX)) + 1 if older else 1
    unfinished.rename(folder / f"{_PREFIX}{number:06d}")
    for path in older:
        shutil.rmtree(path)


def load(folder: Path, device: torch.device) -> Stored | None:
    """The latest complete checkpoint in `folder`; None when there is none."""
    complete = _complete(folder)
    if not complete:
        return None
    latest = complete[-1]
    return Stored(
        {path.stem: load_file(path, device=str(device)) for path in latest.glob("*.safetensors")},
        torch.load(latest / "state.pt", map_location=device, weights_only=True),
        json.loads((latest / "progression.json").read_text(encoding="utf-8")),
    )


def _complete(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*")) if folder.is_dir() else []
