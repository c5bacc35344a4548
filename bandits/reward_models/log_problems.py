"""Collects everything that is wrong with a log, so that all of it is reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_SHOWN_ROWS = 5
_LARGEST_COUNT = 2**53  # beyond this float64 cannot tell neighbouring integers apart


class Problems:
    """A list of problems of one log. Rows are counted from 1, the first below the header.

    Args:
        name: Name of the log, for the message.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[str] = []

    def raise_if_any(self) -> None:
        """Raise one `ValueError` that lists all problems found so far."""
        if self.found:
            raise ValueError("\n".join([f"`{self.name}` is not a valid click log:", *(f"- {p}" for p in self.found)]))

    def check_columns(self, frame: pd.DataFrame, *, required: Sequence[str], optional: Sequence[str]) -> None:
        """Find missing columns, columns that look misspelt, repeated columns, and an empty log."""
        present = [str(column) for column in frame.columns]
        known = [*required, *optional]
        unknown = [column for column in present if column not in known]
        for column in sorted({column for column in present if present.count(column) > 1}):
            self.found.append(f"column `{column}` must be there once. Got it {present.count(column)} times.")
        for column in known:
            if column in present:
                continue
            near = difflib.get_close_matches(column, unknown, n=1, cutoff=0.8)
            if near:
                self.found.append(f"column `{near[0]}` is unknown: did you mean `{column}`?")
            elif column in required:
                self.found.append(f"column `{column}` is missing. Got {', '.join(present) or 'no columns'}.")
        if frame.empty:
            self.found.append("it must have rows. Got none.")

    def texts(self, frame: pd.DataFrame, column: str, *, required: bool) -> pd.Series[str]:
        """The column as stripped text, "" where missing; "" throughout when there is no such column."""
        if column not in frame.columns:
            return pd.Series("", index=frame.index, dtype="str")
        text = frame[column].astype("string").fillna("").str.strip().astype("str")
        if required:
            self._rows(text == "", f"`{column}` must not be empty")
        return text

    def counts(self, frame: pd.DataFrame) -> tuple[pd.Series[int], pd.Series[int]]:
        """Impressions and clicks as integers; clicks must not exceed impressions."""
        (impressions, shown), (clicks, clicked) = (self._count(frame, column) for column in ("impressions", "clicks"))
        above = (clicks > impressions) & shown & clicked
        self._rows(
            above, "`clicks` must not exceed `impressions`", clicks.astype("str") + " of " + impressions.astype("str")
        )
        return impressions, clicks

    def outcomes(
        self, frame: pd.DataFrame, clicks: pd.Series[int], conversions: str, value: str | None
    ) -> dict[str, pd.Series[Any]]:
        """`conversions` as integers that do not exceed the clicks, and `value` as numbers from 0, if there are any."""
        for column in (conversions, value):
            if column is not None and column not in frame.columns:
                self.found.append(f"column `{column}` is missing. Got {', '.join(map(str, frame.columns))}.")
                return {}
        count, counted = self._count(frame, conversions)
        above = (count > clicks) & counted
        self._rows(
            above, f"`{conversions}` must not exceed `clicks`", count.astype("str") + " of " + clicks.astype("str")
        )
        if value is None:
            return {"conversions": count}
        numbers = pd.to_numeric(frame[value], errors="coerce").astype(np.float64)
        good = (numbers >= 0) & np.isfinite(numbers)
        self._rows(~good, f"`{value}` must be a finite number, 0 or more", frame[value])
        self._rows(
            good & counted & (count == 0) & (numbers > 0), f"`{value}` must be 0 without `{conversions}`", numbers
        )
        return {"conversions": count, "value": numbers}

    def times(self, frame: pd.DataFrame, column: str) -> pd.Series[pd.Timestamp]:
        """The column as UTC times, NaT where missing; NaT throughout when there is no such column."""
        if column not in frame.columns:
            return pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us, UTC]")
        given = frame[column]
        if not pd.api.types.is_datetime64_any_dtype(given.dtype):
            given = given.astype("string").str.strip()
            given = given.mask(given == "")
        times = pd.to_datetime(given, format="ISO8601", utc=True, errors="coerce")
        self._rows(times.isna() & given.notna(), f"`{column}` must be a date and time as in ISO 8601", given)
        return times.astype("datetime64[us, UTC]")

    def check_ids(self, rows: pd.DataFrame, id_column: str, text_column: str) -> None:
        """One id must not carry two texts."""
        named = rows[rows[id_column] != ""]
        texts = named.groupby(id_column)[text_column].unique()
        for identifier, variants in texts[texts.map(len) > 1].head(_SHOWN_ROWS).items():
            self.found.append(
                f"`{id_column}` {identifier!r} must carry one `{text_column}`. Got {variants[0]!r} and {variants[1]!r}."
            )

    def check_arms(self, item_texts: pd.Series[str]) -> None:
        """A log with a single item leaves nothing to choose from."""
        distinct = item_texts[item_texts != ""].unique()
        if len(distinct) == 1:
            self.found.append(f"`item_text` must hold at least two different texts (arms). Got only {distinct[0]!r}.")

    def _count(self, frame: pd.DataFrame, column: str) -> tuple[pd.Series[int], pd.Series[bool]]:
        """The column as integers, 0 where it holds none, and where it holds one."""
        given = frame[column]
        numbers = pd.to_numeric(given, errors="coerce").astype(np.float64)
        bad = ~numbers.between(0, _LARGEST_COUNT) | (numbers != np.floor(numbers))
        self._rows(bad, f"`{column}` must be a whole number, 0 or more", given)
        return numbers.where(~bad, 0).astype(np.int64), ~bad

    def require(self, good: pd.Series[bool], requirement: str, values: pd.Series[str]) -> None:
        """Every row must satisfy the requirement."""
        self._rows(~good.astype(bool), requirement, values)

    def _rows(self, bad: pd.Series[bool], requirement: str, values: pd.Series[Any] | None = None) -> None:
        positions: NDArray[np.int64] = np.flatnonzero(bad.to_numpy(dtype=bool))
        if not len(positions):
            return
        shown = positions[:_SHOWN_ROWS]
        which = ", ".join(
            f"row {position + 1}" + ("" if values is None else f" ({values.iloc[position]})") for position in shown
        )
        more = len(positions) - len(shown)
        self.found.append(f"{requirement}. Got: {which}" + (f" and {more} more rows." if more else "."))
