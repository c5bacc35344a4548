"""Columns of a click log that say more of its items than their text: numbers, and embeddings of images or sounds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.reward_models.log_problems import Problems

FloatArray = NDArray[np.float64]

COLUMNS_FILE = "item_columns.npz"


@dataclass(frozen=True, eq=False)
class ItemColumns:
    """Numbers and embeddings of items.

    Attributes:
        items: Distinct item texts, length K.
        values: All columns side by side, the numbers first, shape (K, F + E); finite.
        numbers: Names of the F numbers.
        embeddings: Name of each embedding to its length; the lengths add up to E.
    """

    items: tuple[str, ...]
    values: FloatArray
    numbers: tuple[str, ...]
    embeddings: Mapping[str, int]

    @classmethod
    def read(
        cls,
        frame: pd.DataFrame,
        item_texts: pd.Series[str],
        numbers: Sequence[str],
        embeddings: Sequence[str],
        problems: Problems,
    ) -> ItemColumns | None:
        """The columns of a log by item; None when there are problems, which are put down in `problems`.

        Args:
            frame: The log.
            item_texts: Item of each row.
            numbers: Names of columns with one number per row.
            embeddings: Names of columns with a list of numbers per row, all of one length.
            problems: Of the log.
        """
        before = len(problems.found)
        item, items = pd.factorize(item_texts)
        first = np.unique(item, return_index=True)[1]
        found: dict[str, FloatArray] = {}
        for name in [*numbers, *embeddings]:
            if name not in frame.columns:
                problems.found.append(f"column `{name}` is missing. Got {', '.join(map(str, frame.columns))}.")
                continue
            given = frame[name]
            if name in numbers:
                values = pd.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64)[:, np.newaxis]
                wanted = "must be a finite number"
            else:
                values = _vectors(given)
                wanted = "must be a list of finite numbers, as long as that of the first row"
            good = pd.Series(np.isfinite(values).all(axis=1), index=frame.index)
            problems.require(good, f"`{name}` {wanted}", given)
            if good.all():
                same = pd.Series((values == values[first[item]]).all(axis=1), index=frame.index)
                problems.require(same, f"`{name}` must be the same in all rows of an `item_text`", item_texts)
            found[name] = values
        if len(problems.found) > before:
            return None
        widths = {name: found[name].shape[1] for name in embeddings}
        return cls(tuple(items), np.hstack([found[name] for name in found])[first], tuple(numbers), widths)

    def standardised(self, items: Sequence[str]) -> ItemColumns:
        """Numbers with mean 0 and variance 1 over the given rows; embeddings with mean 0 and one scale for all of each.

        Args:
            items: Item of each training row.

        Raises:
            ValueError: When a column does not vary over the rows.
        """
        rows = self.of(items)
        variance = rows.var(axis=0)
        ends = np.cumsum([len(self.numbers), *self.embeddings.values()])
        for start, end in pairwise(ends.tolist()):
            variance[start:end] = variance[start:end].mean()
        names = [*self.numbers, *(name for name, width in self.embeddings.items() for _ in range(width))]
        constant = list(dict.fromkeys(name for name, v in zip(names, variance, strict=True) if v <= 0))
        if constant:
            raise ValueError(f"Columns beside the text must vary over the training rows. Got constant {constant}.")
        return replace(self, values=(self.values - rows.mean(axis=0)) / np.sqrt(variance))

    def rows(self, items: Sequence[str]) -> NDArray[np.int64]:
        """Row of `values` of each item, shape (n,).

        Raises:
            ValueError: When an item is unknown.
        """
        rows: NDArray[np.int64] = pd.Index(self.items).get_indexer(pd.Index(items)).astype(np.int64)
        if (rows < 0).any():
            columns = ", ".join(f"`{name}`" for name in (*self.numbers, *self.embeddings))
            raise ValueError(
                f"`item_texts` must be items of the log that the model was fitted on: it needs their {columns}. "
                f"Got {items[int(np.argmin(rows))]!r}."
            )
        return rows

    def of(self, items: Sequence[str]) -> FloatArray:
        """The columns of items, shape (n, F + E)."""
        return self.values[self.rows(items)]

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of items, names and values, as 64 hexadecimal digits."""
        digest = hashlib.sha256(self._header().encode())
        digest.update(self.values.astype("<f8").tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write `item_columns.npz` into `folder`."""
        np.savez(folder / COLUMNS_FILE, header=np.array(self._header()), values=self.values)

    @classmethod
    def load(cls, folder: Path) -> ItemColumns | None:
        """What `save` wrote into `folder`; None when there is nothing."""
        if not (folder / COLUMNS_FILE).is_file():
            return None
        with np.load(folder / COLUMNS_FILE) as arrays:
            header: dict[str, Any] = json.loads(str(arrays["header"]))
            return cls(tuple(header["items"]), arrays["values"], tuple(header["numbers"]), header["embeddings"])

    def _header(self) -> str:
        return json.dumps({"items": self.items, "numbers": self.numbers, "embeddings": dict(self.embeddings)})


def _vectors(cells: pd.Series[Any]) -> FloatArray:
    """Lists as rows, shape (n, width of the first one); NaN in the place of all that is no such list."""
    read = [_vector(cell) for cell in cells]
    width = max(len(read[0]), 1)
    return np.array([vector if len(vector) == width else np.full(width, np.nan) for vector in read])


def _vector(cell: object) -> FloatArray:
    try:
        vector = np.asarray(cell, dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty(0)
    return vector if vector.ndim == 1 else np.empty(0)
