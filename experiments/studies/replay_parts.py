"""The finished parts of a replay, so that an interrupted one goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from experiments.provenance import sources_hash


def sources() -> str:
    """Hash of the source code that a replayed number can depend on."""
    return sources_hash(sorted(Path(__file__).parent.glob("*.py")))


def stored_part(folder: Path, key: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The part under `key`, made and stored where it is missing; a file appears whole or not at all.

    Args:
        folder: Where parts lie; created when the first is written.
        key: Hash of everything that determines the part.
        make: Computes it.
    """
    file = folder / f"{key}.parquet"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".draft-{key}-{os.getpid()}"
        make().to_parquet(draft, index=False)
        os.replace(draft, file)
    return pd.read_parquet(file)
