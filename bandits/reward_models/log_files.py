"""Reads the table of a log from CSV or Parquet, with errors that say what is wrong with the file."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pyarrow


def read_frame(path: Path) -> pd.DataFrame:
    """Read a CSV (all columns as text, "" where empty) or Parquet file; an unnamed index column is dropped.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is empty, not UTF-8, not a table, or of another type.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a click log (.csv or .parquet). Got {path}, which is no file.")
    if path.suffix.lower() in (".parquet", ".pq"):
        try:
            frame = pd.read_parquet(path)
        except pyarrow.ArrowInvalid as error:
            raise ValueError(
                f"`{path.name}` must be a Parquet file. Got a file that cannot be read: {error}"
            ) from error
    elif path.suffix.lower() == ".csv":
        frame = _read_csv(path)
    else:
        raise ValueError(f"`path` must end in .csv or .parquet. Got {path.name}.")
    unnamed = [column for column in frame.columns[:1] if str(column) in ("", "Unnamed: 0")]
    return frame.drop(columns=unnamed)


def _read_csv(path: Path) -> pd.DataFrame:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"`{path.name}` must be UTF-8 text. Got byte 0x{content[error.start]:02x} on line {line}: "
            "save the file as UTF-8 and try again."
        ) from error
    if not text.strip():
        raise ValueError(f"`{path.name}` must be a click log. Got an empty file.")
    try:
        # As text: only our own checks decide what is a number, and a headline "NA" stays a headline.
        return pd.read_csv(io.StringIO(text), dtype="str", keep_default_na=False)
    except pd.errors.ParserError as error:
        raise ValueError(f"`{path.name}` must be comma-separated values. Got: {error}") from error
