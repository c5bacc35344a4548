"""A click log: who was shown what how often, and how often it was clicked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_list_like

from bandits.reward_models import log_files, upworthy
from bandits.reward_models.grouping import joined_groups
from bandits.reward_models.log_format import LOG_FORMATS, SOURCE_FORMATS, FaultyWeeks, LogFormat
from bandits.reward_models.log_problems import Problems
from bandits.reward_models.sources import catalog
from bandits.reward_models.text_columns import PairColumns, Side, TextColumns

PAIR_COLUMNS = ["user_text", "item_text", "world", "contrast", "group", "impressions", "clicks", "time"]
_OPTIONAL = ("user_text", "group", "time", "test", "user_id", "item_id")


@dataclass(frozen=True, eq=False)
class ClickLog:
    """Impressions and clicks of texts, validated.

    A log of kind `pairs` says how often users (by their text, if any) clicked on items. A log of kind `tests` holds
    randomized tests: only differences between the items of one contrast (same test, and same image where images vary)
    are causal.

    Attributes:
        rows: One row per row of the log: `user_text` ("" if none), `item_text`, `world` and `contrast` (the test, and
            the part of it that is comparable; "" for kind `pairs`), `group` ("" if none), `impressions`, `clicks`,
            `time` (UTC or NaT).
        kind: `pairs` or `tests`.
        name: Where the log came from.
        facts: What reading it found: counts of duplicates, of missing values, of rows set aside and why.
        confounded: Further rows of tests whose randomization was faulty: fit to learn from, not to judge by. None if
            there are none.
        columns: Numbers and embeddings of users and items, where the log was read with any.
        outcomes: Further columns of `rows`, if the log has them: `conversions` of the clicks, and the `value` of these.
    """

    rows: pd.DataFrame
    kind: Literal["pairs", "tests"]
    name: str
    facts: Mapping[str, int] = field(default_factory=dict)
    confounded: pd.DataFrame | None = None
    columns: PairColumns | None = None
    outcomes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        total = self.rows[["impressions", "clicks"]].sum()
        size = f"{len(self.rows):,} rows, {total['impressions']:,} impressions, {total['clicks']:,} clicks"
        return f"ClickLog({self.name!r}, kind={self.kind!r}, {size})"

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """The rows with those of the same pair added up, and without pairs that were never shown.

        Columns as in `rows`; `time` is the earliest. Groups that share a pair (or, in tests, an item) are joined, so
        that a split by group cannot leak. In tests, contrasts with a single item are left out: nothing can be compared
        in them.
        """
        return self._all_pairs[0]

    @cached_property
    def confounded_pairs(self) -> pd.DataFrame:
        """The same of `confounded`, with groups that know those of `pairs`."""
        return self._all_pairs[1]

    @cached_property
    def _all_pairs(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        rows = self.rows.assign(confounded=False)
        if self.confounded is not None:
            rows = pd.concat([rows, self.confounded.assign(confounded=True)], ignore_index=True)
        rows = rows[rows["impressions"] > 0]
        if self.kind == "tests":
            rows["group"] = joined_groups(rows["group"], [rows["item_text"]])
            key = ["world", "contrast", "user_text", "item_text"]
        else:
            if self.has_groups:
                pair = rows["user_text"].str.cat(rows["item_text"], sep="\x1f")
                rows["group"] = joined_groups(rows["group"], [pair])
            key = ["user_text", "item_text"]
        how = {"impressions": "sum", "clicks": "sum", "time": "min"}
        how |= dict.fromkeys(self.outcomes, "sum")
        how |= {column: "first" for column in ("world", "contrast", "group") if column not in key}
        parts = []
        for part in (rows[~rows["confounded"]], rows[rows["confounded"]]):
            pairs = part.groupby(key, sort=False, as_index=False).agg(how)[[*PAIR_COLUMNS, *self.outcomes]]
            if self.kind == "tests":
                pairs = pairs[pairs.groupby("contrast")["item_text"].transform("size") > 1]
            parts.append(pairs.reset_index(drop=True))
        return parts[0], parts[1]

    @property
    def has_groups(self) -> bool:
        """Whether the log names groups."""
        return bool((self.rows["group"] != "").any())

    @property
    def users(self) -> tuple[str, ...]:
        """Distinct user texts in order of appearance; empty when the log has no users."""
        return tuple(text for text in self.rows["user_text"].unique() if text)

    @property
    def items(self) -> tuple[str, ...]:
        """Distinct item texts in order of appearance."""
        return tuple(self.rows["item_text"].unique())

    @property
    def base_rate(self) -> float:
        """Clicks per impression over the whole log."""
        return float(self.rows["clicks"].sum() / self.rows["impressions"].sum())

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the aggregated pairs and the columns beside their texts, as 64 hexadecimal digits."""
        digest = hashlib.sha256(f"{self.kind}\n".encode())
        for pairs in self._all_pairs:
            digest.update(pairs.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%S.%fZ").encode())
        if self.columns is not None:
            digest.update(self.columns.content_hash.encode())
        return digest.hexdigest()


def read_click_log(
    path: Path | str,
    *,
    format: LogFormat = "auto",
    faulty_weeks: FaultyWeeks = "exclude",
    watch_ratio: float | None = None,
    tabs: Sequence[int] | None = None,
    rating: float | None = None,
    numbers: Sequence[str] = (),
    embeddings: Sequence[str] = (),
    user_numbers: Sequence[str] = (),
    user_embeddings: Sequence[str] = (),
    conversions: str | None = None,
    value: str | None = None,
) -> ClickLog:
    """Read and validate a click log: a CSV or Parquet file of your own, or a public data set as it was published.

    Args:
        path: A `.csv` (UTF-8) or `.parquet` file. A log has the columns `item_text`, `impressions`, `clicks`; optional
            are `user_text`, `group`, `time` (ISO 8601), `test` (id of a randomized test: makes it a log of tests),
            `user_id` and `item_id`. For a public data set: its folder, its archive, or one of its files of impressions;
            `upworthy` and the modules in `sources` describe each.
        format: `log`, `upworthy`, or one of the data sets in `sources`; `auto` tells by the files' names and columns.
        faulty_weeks: What becomes of Upworthy tests from the weeks in which randomization was faulty: they are set
            aside, kept as `ClickLog.confounded` (models learn from them, nothing is judged by them), or taken as sound.
        watch_ratio: KuaiRec: a video counts as clicked when a larger share of its length was watched; by default 2.
        tabs: KuaiRand: tabs of the app whose rows are read; by default all.
        rating: Jester: a joke counts as clicked when it was rated at least so, -10 to 10; by default 5.
        numbers: A log of pairs of your own: further columns, each with a finite number that is a property of the item.
        embeddings: The same: further columns of a Parquet file, each with a list of finite numbers, all of one length.
        user_numbers: As `numbers`, of users.
        user_embeddings: As `embeddings`, of users.
        conversions: A log of pairs of your own: the column that says how many of the clicks a conversion followed.
        value: With `conversions`: the column with the conversions' total value, 0 or more.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When a file or its rows are not valid, with file, column and row; when `path` holds several logs of
            which one must be chosen; when an argument does not belong to the format.
    """
    path = Path(path)
    format = _known_format(path, format)
    further: dict[str, Any] = {
        "numbers": numbers,
        "embeddings": embeddings,
        "user_numbers": user_numbers,
        "user_embeddings": user_embeddings,
        "conversions": conversions,
        "value": value,
    }
    if format in SOURCE_FORMATS:
        _refuse_columns("a public data set", further)
        return _from_source(catalog.read_source(path, format, watch_ratio=watch_ratio, tabs=tabs, rating=rating))
    for argument, given in (("watch_ratio", watch_ratio), ("tabs", tabs), ("rating", rating)):
        if given is not None:
            raise ValueError(f"`{argument}` must be left out for a log of this format. Got {given}.")
    if faulty_weeks not in get_args(FaultyWeeks):
        raise ValueError(f"`faulty_weeks` must be one of {', '.join(get_args(FaultyWeeks))}. Got {faulty_weeks!r}.")
    frames = {file.name: log_files.read_frame(file) for file in _tables(path, format)}
    first = next(iter(frames.values()))
    if format == "upworthy" or (format == "auto" and upworthy.looks_like(first)):
        _refuse_columns("a log of tests", further)
        return _from_tests(upworthy.read_tests(frames), path.name, faulty_weeks)
    return click_log_from_frame(first, name=path.name, **further)


def log_source_files(path: Path | str, format: LogFormat = "auto") -> list[Path]:
    """The files on disk that `read_click_log` reads; their content decides what it returns.

    Raises:
        FileNotFoundError: When a file of a public data set is missing.
        ValueError: When it is not clear which log to read.
    """
    path = Path(path)
    format = _known_format(path, format)
    return catalog.source_files(path, format) if format in SOURCE_FORMATS else _tables(path, format)


def _known_format(path: Path, format: LogFormat) -> LogFormat:
    """The format; `auto` only for a file whose columns must tell."""
    if format not in LOG_FORMATS:
        raise ValueError(f"`format` must be one of {', '.join(LOG_FORMATS)}. Got {format!r}.")
    if format != "auto":
        return format
    if path.is_dir() and upworthy.archive_files(path):
        return "upworthy"
    return catalog.detect(path) or "auto"


def _tables(path: Path, format: LogFormat) -> list[Path]:
    """The tables of a log that is no data set of `sources`: all of the archive's, or one."""
    if format == "upworthy" and path.is_dir():
        if not (files := upworthy.archive_files(path)):
            raise FileNotFoundError(f"`path` must be a file, or a folder with {upworthy.FILES}. Got {path}.")
        return files
    return [path]


def _from_source(source: catalog.SourceLog) -> ClickLog:
    rows = source.rows
    if rows.empty:
        found = ", ".join(f"{count:,} {name}" for name, count in source.facts.items())
        raise ValueError(f"`{source.name}` must hold impressions of items with a text. Got none ({found}).")
    problems = Problems(source.name)
    problems.check_arms(rows["item_text"])
    problems.raise_if_any()
    rows = rows.assign(**dict.fromkeys(("world", "contrast", "group"), ""))
    return ClickLog(rows[PAIR_COLUMNS], "pairs", source.name, source.facts)


def click_log_from_frame(
    frame: pd.DataFrame,
    *,
    name: str = "frame",
    numbers: Sequence[str] = (),
    embeddings: Sequence[str] = (),
    user_numbers: Sequence[str] = (),
    user_embeddings: Sequence[str] = (),
    conversions: str | None = None,
    value: str | None = None,
) -> ClickLog:
    """Validate a frame with the columns of a log (see `read_click_log`).

    >>> log = click_log_from_frame(pd.DataFrame({"item_text": ["a", "b"], "impressions": [9, 9], "clicks": [1, 2]}))
    >>> log.kind, round(log.base_rate, 3)
    ('pairs', 0.167)
    """
    problems = Problems(name)
    required, optional = ("item_text", "impressions", "clicks"), _OPTIONAL
    problems.check_columns(frame, required=required, optional=optional)
    if value is not None and conversions is None:
        problems.found.append(f"`value` must come with `conversions`. Got {value!r} alone.")
    beside: dict[Side, tuple[Sequence[str], Sequence[str]]] = {
        "user": (user_numbers, user_embeddings),
        "item": (numbers, embeddings),
    }
    names = [name for columns in beside.values() for kind in columns for name in kind]
    names += [column for column in (conversions, value) if column is not None]
    if len({*names, *required, *optional}) < len(names) + len(required) + len(optional):
        problems.found.append(
            "Columns of numbers, embeddings, conversions and value must be different columns of their own. "
            f"Got {names}."
        )
    problems.raise_if_any()
    if "test" in frame.columns:
        further = {"numbers": numbers, "embeddings": embeddings}
        further |= {"user_numbers": user_numbers, "user_embeddings": user_embeddings}
        _refuse_columns("a log of tests", further | {"conversions": conversions, "value": value})
    rows = pd.DataFrame(index=frame.index)
    facts = {"rows": len(frame)}
    for column in ("user_text", "item_text", "test", "group", "user_id", "item_id"):
        rows[column] = problems.texts(frame, column, required=column in ("item_text", "test", "group"))
    rows["impressions"], rows["clicks"] = problems.counts(frame)
    rows["time"] = problems.times(frame, "time")
    for id_column, text_column in (("user_id", "user_text"), ("item_id", "item_text")):
        problems.check_ids(rows, id_column, text_column)
    problems.check_arms(rows["item_text"])
    read = [
        TextColumns.read(frame, side, rows[f"{side}_text"], *columns, problems)
        for side, columns in beside.items()
        if any(columns)
    ]
    outcomes = {} if conversions is None else problems.outcomes(frame, rows["clicks"], conversions, value)
    problems.raise_if_any()

    rows["world"] = rows["contrast"] = rows["test"]
    kind: Literal["pairs", "tests"] = "tests" if "test" in frame.columns else "pairs"
    if kind == "tests" and "group" not in frame.columns:
        rows["group"] = rows["test"]
    for column in ("user_text", "time"):
        if column in frame.columns:
            facts[f"missing {column}"] = int(((rows[column] == "") | rows[column].isna()).sum())
    facts["never shown"] = int((rows["impressions"] == 0).sum())
    facts["repeated pairs"] = int(rows.duplicated(["world", "user_text", "item_text"]).sum())
    facts["identical rows"] = int(frame.loc[:, ~_of_lists(frame)].duplicated().sum())
    rows = rows[PAIR_COLUMNS].assign(**outcomes).reset_index(drop=True)
    sides = tuple(side for side in read if side is not None)
    log = ClickLog(rows, kind, name, facts, columns=PairColumns(sides) if sides else None, outcomes=tuple(outcomes))
    return _require_contrasts(log)


def _of_lists(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which columns hold lists, which have no hash."""
    given = (frame[column] for column in frame.columns)
    return np.array([column.dtype == object and bool(column.map(is_list_like).any()) for column in given])


def _refuse_columns(of: str, further: Mapping[str, Sequence[str] | str | None]) -> None:
    for argument, names in further.items():
        if names:
            raise ValueError(f"`{argument}` must be left out for {of}: it needs a log of pairs. Got {names!r}.")


def _from_tests(tests: upworthy.Tests, name: str, faulty_weeks: FaultyWeeks) -> ClickLog:
    rows, confounded = tests.rows[PAIR_COLUMNS], tests.faulty[PAIR_COLUMNS]
    if faulty_weeks == "include":
        rows = pd.concat([rows, confounded]).sort_index()
    kept = confounded.reset_index(drop=True) if faulty_weeks == "train" else None
    return _require_contrasts(ClickLog(rows.reset_index(drop=True), "tests", name, tests.facts, kept))


def _require_contrasts(log: ClickLog) -> ClickLog:
    """Refuse a log of tests in which nothing can be compared."""
    if log.kind == "tests" and log.pairs.empty:
        raise ValueError(f"`{log.name}` must hold a test with two different items that were shown. Got none.")
    if not np.any(log.rows["impressions"].to_numpy() > 0):
        raise ValueError(f"`{log.name}` must have impressions. Got 0 in every row.")
    return log
