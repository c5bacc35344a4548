"""Columns of a click log that say more of its users and items than their texts: numbers, and embeddings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.reward_models.log_problems import Problems

FloatArray = NDArray[np.float64]
Side = Literal["user", "item"]

SIDES: tuple[Side, ...] = ("user", "item")
COLUMNS_FILE = "columns.npz"


@dataclass(frozen=True, eq=False)
class TextColumns:
    """Numbers and embeddings of users or of items.

    Attributes:
        of: Whose they are.
        texts: Distinct texts of users or items, length K.
        values: All columns side by side, the numbers first, shape (K, F + E); finite.
        numbers: Names of the F numbers.
        embeddings: Name of each embedding to its length; the lengths add up to E.
    """

    of: Side
    texts: tuple[str, ...]
    values: FloatArray
    numbers: tuple[str, ...]
    embeddings: Mapping[str, int]

    @classmethod
    def read(
        cls,
        frame: pd.DataFrame,
        of: Side,
        texts: pd.Series[str],
        numbers: Sequence[str],
        embeddings: Sequence[str],
        problems: Problems,
    ) -> TextColumns | None:
        """The columns of a log by text; None when there are problems, which are put down in `problems`.

        Args:
            frame: The log.
            of: Whose columns they are.
            texts: User or item of each row.
            numbers: Names of columns with one number per row.
            embeddings: Names of columns with a list of numbers per row, all of one length.
            problems: Of the log.
        """
        before = len(problems.found)
        text, distinct = pd.factorize(texts)
        first = np.unique(text, return_index=True)[1]
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
                same = pd.Series((values == values[first[text]]).all(axis=1), index=frame.index)
                problems.require(same, f"`{name}` must be the same in all rows of the same `{of}_text`", texts)
            found[name] = values
        problems.require(texts != "", f"`{of}_text` must not be empty where columns are known of it", texts)
        if len(problems.found) > before:
            return None
        widths = {name: found[name].shape[1] for name in embeddings}
        return cls(of, tuple(distinct), np.hstack([found[name] for name in found])[first], tuple(numbers), widths)

    def standardised(self, texts: Sequence[str]) -> TextColumns:
        """Numbers with mean 0 and variance 1 over the given rows; embeddings with mean 0 and one scale for all of each.

        Args:
            texts: User or item of each training row.

        Raises:
            ValueError: When a column does not vary over the rows.
        """
        rows = self.values[self.rows(texts)]
        variance = rows.var(axis=0)
        ends = np.cumsum([len(self.numbers), *self.embeddings.values()])
        for start, end in pairwise(ends.tolist()):
            variance[start:end] = variance[start:end].mean()
        names = [*self.numbers, *(name for name, width in self.embeddings.items() for _ in range(width))]
        constant = list(dict.fromkeys(name for name, v in zip(names, variance, strict=True) if v <= 0))
        if constant:
            raise ValueError(f"Columns beside the text must vary over the training rows. Got constant {constant}.")
        return replace(self, values=(self.values - rows.mean(axis=0)) / np.sqrt(variance))

    def rows(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Row of `values` of each text, shape (n,).

        Raises:
            ValueError: When a text is unknown.
        """
        rows: NDArray[np.int64] = pd.Index(self.texts).get_indexer(pd.Index(texts)).astype(np.int64)
        if (rows < 0).any():
            columns = ", ".join(f"`{name}`" for name in (*self.numbers, *self.embeddings))
            raise ValueError(
                f"`{self.of}_texts` must be {self.of}s of the log that the model was fitted on: it needs their "
                f"{columns}. Got {texts[int(np.argmin(rows))]!r}."
            )
        return rows

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of texts, names and values, as 64 hexadecimal digits."""
        digest = hashlib.sha256(self.header().encode())
        digest.update(self.values.astype("<f8").tobytes())
        return digest.hexdigest()

    def names(self) -> dict[str, Any]:
        """`numbers` and `embeddings` as plain values."""
        return {"numbers": list(self.numbers), "embeddings": dict(self.embeddings)}

    def header(self) -> str:
        """All but the values, as JSON."""
        return json.dumps({"of": self.of, "texts": self.texts} | self.names())


@dataclass(frozen=True, eq=False)
class PairColumns:
    """What is known beside the texts of a pair.

    A row's columns stand side by side in one order: numbers of the user, numbers of the item, embeddings of the user,
    embeddings of the item.

    Attributes:
        sides: Columns of users, of items, or of both, in this order.
    """

    sides: tuple[TextColumns, ...]

    @property
    def numbers(self) -> int:
        """How many numbers a pair has."""
        return sum(len(side.numbers) for side in self.sides)

    @property
    def embeddings(self) -> list[int]:
        """Lengths of a pair's embeddings."""
        return [width for side in self.sides for width in side.embeddings.values()]

    def standardised(self, rows: pd.DataFrame) -> PairColumns:
        """See `TextColumns.standardised`; of rows of `ClickLog.pairs`."""
        return PairColumns(tuple(side.standardised(rows[f"{side.of}_text"].tolist()) for side in self.sides))

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of all columns, as 64 hexadecimal digits."""
        return hashlib.sha256(" ".join(side.content_hash for side in self.sides).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write `columns.npz` into `folder`."""
        arrays: dict[str, Any] = {f"{side.of}_values": side.values for side in self.sides}
        arrays |= {f"{side.of}_header": np.array(side.header()) for side in self.sides}
        np.savez(folder / COLUMNS_FILE, **arrays)

    @classmethod
    def load(cls, folder: Path) -> PairColumns | None:
        """What `save` wrote into `folder`; None when there is nothing."""
        if not (folder / COLUMNS_FILE).is_file():
            return None
        sides = []
        with np.load(folder / COLUMNS_FILE) as arrays:
            for of in SIDES:
                if f"{of}_header" in arrays:
                    header: dict[str, Any] = json.loads(str(arrays[f"{of}_header"]))
                    names = tuple(header["numbers"]), header["embeddings"]
                    sides.append(TextColumns(of, tuple(header["texts"]), arrays[f"{of}_values"], *names))
        return cls(tuple(sides))


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
