"""Curves of a fit for TensorBoard and Weights & Biases, written into the fit's folder while it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

_PACKAGES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


class Tracker(Protocol):
    """Takes numbers as a fit goes along."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by name at a step of the fit, from 1."""

    def close(self) -> None:
        """Write what is still in memory."""


class Trackers:
    """Several trackers as one; a context manager that closes them, however the fit ends.

    Args:
        names: `tensorboard` and `wandb`, either or none. Weights & Biases sends nothing anywhere unless the environment
            variable `WANDB_MODE` says so.
        folder: Each writes into a folder of its name in this one.
        settings: The fit's config, shown beside the curves by those that can.
        step: Step that the fit goes on from: what was written after it is void.

    Raises:
        ModuleNotFoundError: When a tracker's package is not installed.
    """

    def __init__(
        self, names: Sequence[str] = (), folder: Path = Path(), settings: Mapping[str, Any] | None = None, step: int = 0
    ) -> None:
        packages = {name: _package(name) for name in names}
        makers: dict[str, type[_TensorBoard] | type[_WeightsAndBiases]] = {
            "tensorboard": _TensorBoard,
            "wandb": _WeightsAndBiases,
        }
        self._trackers: list[Tracker] = [
            makers[name](package, folder / name, settings or {}, step) for name, package in packages.items()
        ]

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """As `Tracker.scalars`."""
        for tracker in self._trackers:
            tracker.scalars(values, step)

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        for tracker in self._trackers:
            tracker.close()


class _TensorBoard:
    def __init__(self, package: Any, folder: Path, settings: Mapping[str, Any], step: int) -> None:
        self._writer = package.SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        self._writer.add_text("config", "\n".join(f"    {name}: {value}" for name, value in settings.items()), step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, package: Any, folder: Path, settings: Mapping[str, Any], step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)  # wandb takes its parent and finds it there
        self._run = package.init(
            project="click-bandits",
            dir=str(folder.parent),
            config=dict(settings),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=package.Settings(silent=True, disable_git=True, save_code=False, x_disable_stats=True),
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


def _package(name: str) -> Any:
    try:
        return import_module(_PACKAGES[name])
    except ImportError as error:
        raise ModuleNotFoundError(
            f"`trackers` must name what is installed. Got {name!r}: `pip install 'click-bandits[tracking]'`."
        ) from error
