"""The folder of a replay, with its finished parts, so that an interrupted one goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import yaml

from experiments.config import differences
from experiments.provenance import sources_hash
from experiments.run_folder import write_text
from experiments.studies.replay_config import ReplayStudy
from experiments.yaml_file import parse


def start_folder(out: Path, config: ReplayStudy) -> None:
    """Create the folder of a replay with its resolved config, or come back to one with the same config.

    Raises:
        FileExistsError: When the folder holds a replay with another config, naming what differs, or something else.
    """
    file, resolved = out / "config.yaml", config.model_dump(mode="json")
    if file.exists():
        changed = differences(parse(file.read_text(encoding="utf-8")), resolved)
        if changed:
            lines = "".join(f"  {line}\n" for line in changed)
            advice = "Choose another folder with --out, or remove that one."
            raise FileExistsError(f"{out} holds a study with another config:\n{lines}{advice}")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not a study. Choose another folder with --out.")
    out.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(resolved, allow_unicode=True, sort_keys=False)
    write_text(file, "# The complete config of this study, with every default filled in.\n" + text)


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
