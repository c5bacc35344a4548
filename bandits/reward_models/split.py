"""Splits a log into training, validation, calibration and test rows without leakage."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.reward_models.click_log import ClickLog

PARTS = ("train", "validation", "calibration", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of `log.pairs`, each in exactly one of four parts.

    Attributes:
        train: Rows that weights are fitted on; behind those of `log.pairs` come `log.confounded_pairs` of its groups.
        validation: Rows for early stopping and for choosing a baseline's regularization.
        calibration: Rows for the calibrator only.
        test: Rows for reported numbers only.
        by: The column whose values stay together: `group`, `user_text` or `item_text`.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    calibration: pd.DataFrame
    test: pd.DataFrame
    by: str

    @property
    def parts(self) -> dict[str, pd.DataFrame]:
        """The four parts by name."""
        return {name: getattr(self, name) for name in PARTS}

    @property
    def content_hash(self) -> str:
        """SHA-256 of the parts, as 64 hexadecimal digits."""
        text = "\n".join(f"{name}\n{part.to_csv(index=False)}" for name, part in self.parts.items())
        return hashlib.sha256(text.encode()).hexdigest()


def split_log(log: ClickLog, *, fractions: Sequence[float] = (0.7, 0.1, 0.1, 0.1), seed: int = 0) -> Split:
    """Assign whole groups to the four parts by a keyed hash of the group's name.

    The groups are the log's own (tests: stories); without groups, the user texts; without users, the item texts. Where
    a group goes depends on `seed` and its name only, so new rows never move old ones.

    Args:
        log: The click log.
        fractions: Expected shares of train, validation, calibration and test; positive, summing to one.
        seed: Another seed gives another split.

    Raises:
        ValueError: When `fractions` are not four positive numbers that sum to one, or when a part gets no clicks or, in
            a log with fewer groups than it takes, no rows.
    """
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.shape != (4,) or not np.all(shares > 0) or abs(shares.sum() - 1) > 1e-9:
        raise ValueError(f"`fractions` must be four positive numbers that sum to 1. Got {list(fractions)}.")
    pairs = log.pairs
    by = "group" if log.has_groups else "user_text" if log.users else "item_text"
    part, learned = (_parts(rows[by], shares, seed) for rows in (pairs, log.confounded_pairs))
    train, validation, calibration, test = (pairs[part == index].reset_index(drop=True) for index in range(4))
    if len(learned):
        train = pd.concat([train, log.confounded_pairs[learned == 0]], ignore_index=True)
    split = Split(train, validation, calibration, test, by)
    for name, rows in split.parts.items():
        if rows["clicks"].sum() == 0 or rows["clicks"].sum() == rows["impressions"].sum():
            found = (
                "no rows" if rows.empty else f"{rows['clicks'].sum()} clicks in {rows['impressions'].sum()} impressions"
            )
            raise ValueError(
                f"`log` must have enough groups (here: distinct `{by}`) for four parts with clicks and non-clicks in "
                f"each. Got {pairs[by].nunique()} groups, and {found} for {name}."
            )
    return split


def seen_rate(log: ClickLog, split: Split) -> float:
    """Clicks per impression of all rows of `log.pairs` that a model may see, without those of `confounded_pairs`."""
    seen = pd.concat([split.train, split.validation, split.calibration])
    seen = seen[~seen["contrast"].isin(log.confounded_pairs["contrast"])] if len(log.confounded_pairs) else seen
    return float(seen["clicks"].sum() / seen["impressions"].sum())


def _parts(names: pd.Series[str], shares: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Number of the part that each row goes to, by the name of its group, shape (n,)."""
    places = names.map({group: keyed_place(group, seed) for group in names.unique()}).to_numpy(dtype=np.float64)
    return np.searchsorted(np.cumsum(shares)[:-1], places, side="right").astype(np.int64)


def whole_groups(rows: pd.DataFrame, by: str, limit: int | None, seed: int = 0) -> pd.DataFrame:
    """Rows of whole groups, in a random order of groups, until `limit` rows are reached.

    Args:
        rows: Rows of a part.
        by: The split's column whose values stay together.
        limit: Largest number of rows, but at least one group is taken; None takes all rows.
        seed: Of the order of groups.
    """
    if limit is None or len(rows) <= limit:
        return rows
    groups = np.random.default_rng(seed).permutation(np.sort(rows[by].unique()))
    rank = rows[by].map({group: place for place, group in enumerate(groups)})
    sizes = rank.value_counts().sort_index().cumsum()
    return rows[rank < max(1, int((sizes <= limit).sum()))].reset_index(drop=True)


def keyed_place(group: str, seed: int) -> float:
    """A number in [0, 1) that depends on the group's name and the seed only."""
    digest = hashlib.sha256(f"{seed}\x1f{group}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
