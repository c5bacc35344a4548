"""What a model was fitted on, as hashes: so that nobody takes for new what it has seen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from bandits.core import BoolArray
from bandits.reward_models.split import Split

_DIGITS = 12  # two of 100,000 texts and 100,000 others share a hash of 48 bits in about 1 of 30,000 cases


def seen_rows(split: Split, kind: Literal["pairs", "tests"]) -> dict[str, Any]:
    """Hashes of what the rows for training, early stopping and calibration have in common with no new row.

    For a log of tests these are stories (groups) and texts; for pairs what the split kept together: users, items, or
    groups and pairs of texts.

    Returns:
        Plain values: `by` (the split's column), `keys` (name of a key to the hashes of its values, joined), `until`
        (the latest time of those rows, ISO 8601; None without times).
    """
    rows = pd.concat([split.train, split.validation, split.calibration], ignore_index=True)
    keys = {
        name: "".join(sorted(_hash(value) for value in values.unique())) for name, values in _keys(rows, kind, split.by)
    }
    last = rows["time"].max()
    return {"by": split.by, "keys": keys, "until": None if pd.isna(last) else last.isoformat()}


def unseen(pairs: pd.DataFrame, seen: Mapping[str, Any], kind: Literal["pairs", "tests"]) -> BoolArray:
    """Which rows of another log (or of the same) share nothing with those a model was fitted on, shape (n,).

    Where the log has groups, a group goes as a whole.

    Args:
        pairs: `ClickLog.pairs`.
        seen: What `seen_rows` said when the model was fitted.
        kind: Kind of both logs.
    """
    known = np.zeros(len(pairs), dtype=np.bool_)
    for name, values in _keys(pairs, kind, seen["by"]):
        joined = seen["keys"][name]
        hashes = {joined[start : start + _DIGITS] for start in range(0, len(joined), _DIGITS)}
        new = {value: _hash(value) in hashes for value in values.unique()}
        known |= values.map(new).to_numpy(dtype=np.bool_)
    if kind == "tests" or seen["by"] == "group":
        known = pd.Series(known).groupby(pairs["group"].to_numpy()).transform("any").to_numpy(dtype=np.bool_)
    return ~known


def _keys(rows: pd.DataFrame, kind: str, by: str) -> list[tuple[str, pd.Series[str]]]:
    if kind == "tests":
        return [("group", rows["group"]), ("item_text", rows["item_text"])]
    if by == "group":
        return [("group", rows["group"]), ("pair", rows["user_text"].str.cat(rows["item_text"], sep="\x1f"))]
    return [(by, rows[by])]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
