"""Timing several things side by side, and what every part of the benchmarks is told."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_FIRST_SIZE = 10
_FASTEST_GROWTH = 10.0
_CACHE_LINE = 64  # bytes


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        runs: Number of times that everything is timed.
        seconds: How long a timed run takes at least.
        images: Folder for plots; None for none.
    """

    runs: int
    seconds: float
    images: Path | None


def settings_of(description: str, arguments: Sequence[str] | None = None) -> Settings:
    """The settings from the command line of a part."""
    parser = argparse.ArgumentParser(description=description)
    add_settings(parser)
    parser.add_argument("--images", type=Path, default=None, help="folder for plots")
    return Settings(**vars(parser.parse_args(arguments)))


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The two options that say how long to measure."""
    parser.add_argument("--runs", type=_at_least_one, default=5, help="timed runs of everything (default: 5)")
    parser.add_argument("--seconds", type=_positive, default=0.2, help="least length of a timed run (default: 0.2)")


def _at_least_one(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1. Got {value}.")
    return value


def _positive(text: str) -> float:
    if not (value := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"must be above 0. Got {value}.")
    return value


@dataclass(frozen=True)
class Times:
    """Seconds that one unit of work took in each run."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds per unit, the median over the runs."""
        return statistics.median(self.seconds)

    def per(self, units: float) -> Times:
        """The same, where what was timed as one unit counts for `units`."""
        return Times(tuple(value / units for value in self.seconds))

    def millions_a_second(self) -> str:
        """Units a second with the range over the runs."""
        slow, middle, fast = (1e-6 / value for value in (max(self.seconds), self.median, min(self.seconds)))
        return f"{middle:.3g} ({slow:.3g} to {fast:.3g})"

    def __str__(self) -> str:
        return f"{self.median:.3g} ({min(self.seconds):.3g} to {max(self.seconds):.3g})"

    def nanoseconds(self) -> str:
        """Time per unit with the range over the runs."""
        return str(self.per(1e-9))


def race(contestants: Mapping[str, Callable[[int], object]], settings: Settings) -> dict[str, Times]:
    """Time contestants in turn, so that all of them meet the same moods of the machine.

    Args:
        contestants: Functions that do so many units of work, by name.
        settings: How often, and how long at least.

    Returns:
        Seconds per unit of each.
    """
    sizes = {name: size_for(run, settings.seconds) for name, run in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(settings.runs):
        for name, run in contestants.items():
            times[name].append(elapsed(run, sizes[name]) / sizes[name])
    return {name: Times(tuple(values)) for name, values in times.items()}


def size_for(run: Callable[[int], object], seconds: float) -> int:
    """How many units of work take at least so many seconds. A first small run compiles what must be compiled."""
    size = _FIRST_SIZE
    run(size)
    while (time := elapsed(run, size)) < seconds:
        size = math.ceil(size * min(_FASTEST_GROWTH, 1.1 * seconds / time))
    return size


def elapsed(run: Callable[[int], object], size: int) -> float:
    """Seconds that so many units of work take."""
    started = perf_counter()
    run(size)
    return perf_counter() - started


def aligned(values: FloatArray) -> FloatArray:
    """A copy that begins with a cache line, as the engine's memory does: speed depends on where numbers lie."""
    memory = np.empty(values.nbytes + _CACHE_LINE, dtype=np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    copy: FloatArray = memory[start : start + values.nbytes].view(np.float64).reshape(values.shape)
    copy[...] = values
    return copy


def say(text: str) -> None:
    """Progress, for whoever watches; the report goes to standard output."""
    print(text, file=sys.stderr, flush=True)
