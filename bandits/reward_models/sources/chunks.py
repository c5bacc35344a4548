"""Tables of any length, a chunk at a time, with errors that name file, column and row."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from bandits.reward_models.sources.files import DataFile

_BLOCK = 2**24  # bytes of text that are taken apart at once
_NO_CAST = (pa.ArrowInvalid, pa.ArrowNotImplementedError)
_BATCH = 100_000  # rows of a Parquet file that are read at once


@dataclass(frozen=True)
class Chunk:
    """Some rows of a table.

    Attributes:
        file: Where they come from.
        before: How many rows come before them.
        batch: The columns.
    """

    file: DataFile
    before: int
    batch: Any

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def column(self, name: str) -> Any:
        """A column as it is stored, a pyarrow array."""
        return self.batch.column(name)

    def texts(self, name: str) -> NDArray[np.object_]:
        """A column as text, "" where missing, without spaces around it."""
        try:
            column = pc.cast(self.column(name), pa.string())
        except pa.ArrowNotImplementedError:
            self.refuse(name, "text", np.ones(len(self), dtype=bool))
        text = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
        return np.asarray(text.to_numpy(zero_copy_only=False), dtype=object)

    def integers(self, name: str, allowed: Sequence[int] | None = None) -> NDArray[np.int64]:
        """A column of whole numbers, none of them missing; if given, only `allowed` ones."""
        values: NDArray[np.int64] = self._numbers(name, pa.int64(), "a whole number")
        if allowed is not None and not (good := np.isin(values, allowed)).all():
            self.refuse(name, f"one of {', '.join(map(str, allowed))}", ~good)
        return values

    def floats(self, name: str, *, may_miss: bool = False) -> NDArray[np.float64]:
        """A column of finite numbers; nan where missing, if they may be."""
        values: NDArray[np.float64]
        if may_miss:
            column = self.column(name)
            if pa.types.is_string(column.type):
                column = pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)
            given = ~column.is_null().to_numpy(zero_copy_only=False)
            present = Chunk(self.file, self.before, pa.record_batch([pc.fill_null(column, "0")], [name]))
            values = np.where(given, present._numbers(name, pa.float64(), "a number"), np.nan)
            bad = given & ~np.isfinite(values)
        else:
            values = self._numbers(name, pa.float64(), "a number")
            bad = ~np.isfinite(values)
        if bad.any():
            self.refuse(name, "a finite number", bad)
        return values

    def days(self, name: str, format: str | None = None) -> NDArray[np.int64]:
        """A column of times as days since 1970 (UTC).

        Args:
            name: The column.
            format: How text is to be read, as in `strptime`, or `ISO8601`; None for a column that holds times.
        """
        column = self.column(name)
        if format is not None:
            column = pa.array(pd.to_datetime(pd.Series(self.texts(name)), format=format, utc=True, errors="coerce"))
        elif not pa.types.is_timestamp(column.type):
            self.refuse(name, "a date and time", np.ones(len(self), dtype=bool))
        if column.null_count:
            how = f" like {format}" if format else ""
            self.refuse(name, f"a date and time{how}", column.is_null().to_numpy(zero_copy_only=False))
        seconds = pc.cast(pc.cast(column, pa.timestamp("s", column.type.tz), safe=False), pa.int64())
        return np.asarray(seconds.to_numpy(zero_copy_only=False) // 86_400, dtype=np.int64)

    def refuse(self, name: str, requirement: str, bad: NDArray[np.bool_]) -> NoReturn:
        """Raise a `ValueError` that names the first of the bad rows and what it holds."""
        row = int(np.flatnonzero(bad)[0])
        value = str(self.column(name)[row].as_py())
        raise ValueError(
            f"`{self.file.place}`: column `{name}` must be {requirement}. "
            f"Got {value[:80]!r} in row {self.before + row + 1}."
        )

    def _numbers(self, name: str, kind: Any, requirement: str) -> Any:
        column = self.column(name)
        if pa.types.is_string(column.type):
            column = pc.utf8_trim_whitespace(column)
        try:
            values = pc.cast(column, kind)
        except _NO_CAST:
            self.refuse(name, requirement, np.array([not _casts(value, kind) for value in column]))
        if values.null_count:
            self.refuse(name, requirement, values.is_null().to_numpy(zero_copy_only=False))
        return values.to_numpy(zero_copy_only=False)


def read_delimited(
    file: DataFile,
    columns: Sequence[str],
    *,
    delimiter: str = ",",
    header: bool = True,
    quoted: bool = True,
    skipped: Callable[[], None] | None = None,
) -> Iterator[Chunk]:
    """The named columns of a text table as text.

    Args:
        file: The table; UTF-8, `.gz` or inside an archive if need be.
        columns: Their names; without a header, those of all columns in order.
        delimiter: What separates them.
        header: Whether the first line names the columns.
        quoted: Whether quotation marks enclose texts, which may then hold delimiters and line ends.
        skipped: Called for each row with a wrong number of fields; by default such a row is an error.

    Raises:
        ValueError: When columns are missing, a row has another number of fields, or the file is not UTF-8 or empty.
    """
    if header:
        _check_header(file, columns, delimiter)

    def wrong_row(row: Any) -> str:
        if skipped is None:
            return "error"
        skipped()
        return "skip"

    parse = pyarrow.csv.ParseOptions(
        delimiter=delimiter,
        quote_char='"' if quoted else False,
        newlines_in_values=quoted,
        invalid_row_handler=wrong_row,
    )
    read = pyarrow.csv.ReadOptions(block_size=_BLOCK, use_threads=False, column_names=None if header else list(columns))
    convert = pyarrow.csv.ConvertOptions(
        include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
    )
    before = 0
    with file.open() as stream:
        try:
            for batch in pyarrow.csv.open_csv(stream, read_options=read, parse_options=parse, convert_options=convert):
                yield Chunk(file, before, batch)
                before += batch.num_rows
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"`{file.place}` must be a table of {'columns' if header else f'{len(columns)} columns'} separated by "
                f"{delimiter!r}, in UTF-8. Got, after {before} rows: {error}"
            ) from error


def read_parquet(file: DataFile, columns: Sequence[str]) -> Iterator[Chunk]:
    """The named columns of a Parquet file.

    Raises:
        ValueError: When columns are missing, or it is no Parquet file.
    """
    before = 0
    with file.open(seekable=True) as stream:
        try:
            table = pyarrow.parquet.ParquetFile(stream)
            _require_columns(file, columns, table.schema_arrow.names)
            for batch in table.iter_batches(batch_size=_BATCH, columns=list(columns)):
                yield Chunk(file, before, batch)
                before += batch.num_rows
        except pa.ArrowInvalid as error:
            raise ValueError(f"`{file.place}` must be a Parquet file. Got: {error}") from error


def _check_header(file: DataFile, columns: Sequence[str], delimiter: str) -> None:
    with file.open() as stream:
        line = stream.readline(2**20)
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"`{file.place}` must be UTF-8 text. Got byte 0x{line[error.start]:02x} in its header."
        ) from error
    present = next(csv.reader(io.StringIO(text), delimiter=delimiter), [])
    _require_columns(file, columns, present, f" separated by {delimiter!r}")


def _require_columns(file: DataFile, columns: Sequence[str], present: Sequence[str], how: str = "") -> None:
    if missing := [column for column in columns if column not in present]:
        got = ", ".join(present)[:300] or "an empty file"
        raise ValueError(f"`{file.place}` must have the columns {', '.join(missing)}{how}. Got {got}.")
    if twice := [column for column in columns if list(present).count(column) > 1]:
        raise ValueError(
            f"`{file.place}` must have the column {twice[0]} once. Got it {list(present).count(twice[0])} times."
        )


def _casts(value: Any, kind: Any) -> bool:
    try:
        value.cast(kind)
    except _NO_CAST:
        return False
    return True
