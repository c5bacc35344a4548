"""Runs a study of any kind."""

from __future__ import annotations

from pathlib import Path

from experiments.progress import Reporter
from experiments.studies.config import LoadedStudy
from experiments.studies.effects import run_effects


def run_study(loaded: LoadedStudy, out: Path, *, threads: int | None = None, reporter: Reporter | None = None) -> Path:
    """Run a study, or go on with one that was interrupted, and say where its page is."""
    reporter = reporter or Reporter()
    kind = loaded.config.study
    if kind == "effects":
        return run_effects(loaded, out, threads=threads, reporter=reporter)
    raise ValueError(f"`study` must be a known kind. Got {kind!r}.")
