"""Runs a study of any kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from experiments.progress import Reporter
from experiments.studies.asos import run_asos
from experiments.studies.closed_loop import run_closed_loop
from experiments.studies.config import LoadedStudy
from experiments.studies.effects import run_effects
from experiments.studies.headlines.run import run_headlines
from experiments.studies.upworthy import run_upworthy

# By the value of the key `study`: gets the study, its folder, the number of threads (None: all cores) and the reporter,
# and returns the page.
RUNNERS: dict[str, Callable[[LoadedStudy, Path, int | None, Reporter], Path]] = {
    "effects": lambda loaded, out, threads, reporter: run_effects(loaded, out, threads=threads, reporter=reporter),
    "asos": lambda loaded, out, threads, reporter: run_asos(loaded.config, out, reporter),
    "upworthy": lambda loaded, out, threads, reporter: run_upworthy(loaded.config, out, reporter),
    "headlines": lambda loaded, out, threads, reporter: run_headlines(
        loaded.config, out, threads=threads, reporter=reporter
    ),
    "closed_loop": lambda loaded, out, threads, reporter: run_closed_loop(loaded.config, out, reporter),
}


def run_study(loaded: LoadedStudy, out: Path, *, threads: int | None = None, reporter: Reporter | None = None) -> Path:
    """Run a study, or go on with one that was interrupted, and say where its page is."""
    return RUNNERS[loaded.config.study](loaded, out, threads, reporter or Reporter())
