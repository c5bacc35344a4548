"""Adds up who was shown what on which day, in memory that grows with distinct pairs, not with rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bandits.memory import require_memory

NO_DAY = int(np.iinfo(np.int64).min)  # what numpy makes of NaT
_BUFFER = 4_000_000  # rows that wait before they are added up


class Codes:
    """Numbers values in order of appearance.

    >>> codes = Codes()
    >>> codes.of(["b", "a", "b"]).tolist(), codes.values
    ([0, 1, 0], ['b', 'a'])
    """

    def __init__(self) -> None:
        self._codes: dict[Hashable, int] = {}

    def of(self, values: ArrayLike) -> NDArray[np.int64]:
        """The number of each value."""
        places, distinct = pd.factorize(np.asarray(values))
        numbers = [self._codes.setdefault(value, len(self._codes)) for value in distinct.tolist()]
        return np.asarray(numbers, dtype=np.int64)[places]

    @property
    def values(self) -> list[Hashable]:
        """The values by number."""
        return list(self._codes)


class Tally:
    """Impressions and clicks by user, item and day; users and items are numbers from 0."""

    def __init__(self) -> None:
        self._parts: list[pd.DataFrame] = []
        self._waiting = 0
        self._limit = _BUFFER

    def add(self, users: ArrayLike, items: ArrayLike, day: ArrayLike, clicked: ArrayLike) -> None:
        """Count impressions, one for each item; the other arguments are as long, or one number.

        Args:
            users: Number of each user.
            items: Number of each item.
            day: Days since 1970, `NO_DAY` when unknown.
            clicked: 0 or 1.
        """
        items = np.asarray(items, dtype=np.int64)
        columns = {"user": users, "item": items, "day": day, "clicks": clicked}
        part = pd.DataFrame(
            {n: np.broadcast_to(np.asarray(c, dtype=np.int64), items.shape) for n, c in columns.items()}
        )
        self._parts.append(_added_up(part.assign(impressions=1)))
        self._waiting += len(self._parts[-1])
        if self._waiting > self._limit:
            total = self._total()
            self._parts, self._waiting, self._limit = [total], len(total), max(_BUFFER, 2 * len(total))

    def rows(self, users: Iterable[str], items: Iterable[str]) -> tuple[pd.DataFrame, int]:
        """Rows of a log, in order of appearance.

        Args:
            users: Text of each user by number; "" if nothing is known.
            items: Text of each item by number; "" if there is none: such impressions are left out.

        Returns:
            Rows with `user_text`, `item_text`, `impressions`, `clicks`, `time`; and how many impressions were left out.

        Raises:
            ValueError: When the rows do not fit into memory.
        """
        user_codes, item_codes = Codes(), Codes()
        user_of, item_of = user_codes.of(list(users)), item_codes.of(list(items))
        total = self._total()
        total["user"], total["item"] = user_of[total["user"]], item_of[total["item"]]
        user_text, item_text = (np.array(codes.values, dtype=object) for codes in (user_codes, item_codes))
        known = item_text[total["item"]] != ""
        left_out = int(total.loc[~known, "impressions"].sum())
        total = _added_up(total[known])
        lengths = [np.array([len(text.encode()) for text in texts]) for texts in (user_text, item_text)]
        size = sum(int(length[total[by]].sum()) for by, length in zip(("user", "item"), lengths, strict=True))
        require_memory(f"The {len(total):,} distinct pairs of a user and an item", 2 * (size + 100 * len(total)))
        day = total["day"].to_numpy().view("datetime64[D]").astype("datetime64[us]")
        rows = pd.DataFrame(
            {
                "user_text": pd.Series(user_text[total["user"]], dtype="str"),
                "item_text": pd.Series(item_text[total["item"]], dtype="str"),
                "impressions": total["impressions"].to_numpy(),
                "clicks": total["clicks"].to_numpy(),
                "time": pd.Series(day).dt.tz_localize("UTC"),
            }
        )
        return rows, left_out

    def _total(self) -> pd.DataFrame:
        if not self._parts:
            return pd.DataFrame(
                {name: np.empty(0, np.int64) for name in ("user", "item", "day", "clicks", "impressions")}
            )
        return _added_up(pd.concat(self._parts, ignore_index=True))


def _added_up(part: pd.DataFrame) -> pd.DataFrame:
    return part.groupby(["user", "item", "day"], sort=False, as_index=False)[["clicks", "impressions"]].sum()
