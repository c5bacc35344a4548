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
        trained: Weights that are being trained, by name.
        best: The same weights at the best epoch so far.
        optimizer: State of the optimizer.
        random: States of the random generators, by kind of device.
        progression: Where the fit stands.
    """

    trained: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    random: dict[str, torch.Tensor]
    progression: dict[str, Any]


def save(
    folder: Path,
    trained: Mapping[str, torch.Tensor],
    best: Mapping[str, torch.Tensor],
    optimizer: Mapping[str, Any],
    random: Mapping[str, torch.Tensor],
    progression: Mapping[str, Any],
) -> None:
    """Write a checkpoint beside the last one, give it its name in one step, then remove the last one."""
    folder.mkdir(parents=True, exist_ok=True)
    older = _complete(folder)
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in trained.items()}, unfinished / "trained.safetensors"
    )
    save_file({name: tensor.contiguous() for name, tensor in best.items()}, unfinished / "best.safetensors")
    torch.save({"optimizer": dict(optimizer), "random": dict(random)}, unfinished / "optimizer.pt")
    (unfinished / "progression.json").write_text(json.dumps(dict(progression)), encoding="utf-8")
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
    state = torch.load(latest / "optimizer.pt", map_location=device, weights_only=True)
    return Stored(
        load_file(latest / "trained.safetensors", device=str(device)),
        load_file(latest / "best.safetensors", device=str(device)),
        state["optimizer"],
        state["random"],
        json.loads((latest / "progression.json").read_text(encoding="utf-8")),
    )


def _complete(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*")) if folder.is_dir() else []
