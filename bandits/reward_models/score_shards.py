"""Scores kept on disk in shards, so that scoring can be interrupted."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class ScoreShards:
    """Shards of one scoring, numbered from 0; a shard's file is named by its number and the hash of its content.

    Args:
        folder: Where they lie; it holds nothing else, and its name says what is scored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {int(path.stem.split("-")[0]): path for path in sorted(folder.glob("*-*.f64"))}

    def read(self, shard: int, rows: int) -> FloatArray | None:
        """Scores of a shard, shape (rows,); None when it is not there, or damaged, which is reported."""
        path = self._files.pop(shard, None)
        if path is None:
            return None
        content = path.read_bytes()
        if _hash(content) == path.stem.split("-")[1] and len(content) == 8 * rows:
            return np.frombuffer(content, dtype="<f8").astype(np.float64)
        warnings.warn(f"Cached scores {path} are damaged and will be computed again.", stacklevel=4)
        path.unlink()
        return None

    def write(self, shard: int, scores: FloatArray) -> None:
        """Keep a shard: its file gets its name only when it is complete."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = scores.astype("<f8").tobytes()
        unfinished = self._folder / f"{shard:06d}-{os.getpid()}.unfinished"  # others may score the same
        unfinished.write_bytes(content)
        unfinished.replace(self._folder / f"{shard:06d}-{_hash(content)}.f64")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
