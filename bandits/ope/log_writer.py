"""Writing the events of a simulation as a log file, while it runs and without holding it in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.core import Feedback, FloatArray
from bandits.ope.log import require_probabilities
from bandits.ope.log_file import log_schema

_BUFFER = 2**26  # bytes
_MOST_ROWS = 2**16  # of a row group
_OPTIONAL = ("time", "user_id")


class LogWriter:
    """Takes down every round that a simulation tells, as a Parquet file that `read_log` reads.

    Hand it to `simulate` as `events`. Rows are written in groups of up to 65,536 as they come (by round, then by
    replication), so memory does not grow with the length of the run. The file appears under its name when all of it is
    written; after an error nothing is left.

    Args:
        path: The file; one that exists is replaced.
        adaptive: Whether the policy learns from the rounds of the log: `policy.adaptive`.
        first_replication: Number of the first replication, as given to `simulate`.
        null_arm: The arm that stands for showing nothing (`Problem.null_arm`). A policy may choose it although it is
            not offered; the log calls it available where it had a chance.
        arm_names: Names of the arms, or none.
        name: Where the log comes from.
        progress: Called with the number of rows of each group when it is written.

    Raises:
        OSError: When the file cannot be written.
        ValueError: When a propensity is not a probability, or nothing was recorded.

    >>> import tempfile
    >>> from bandits import simulate
    >>> from bandits.ope import evaluate_policy, read_log
    >>> from envs import BernoulliBandit
    >>> from policies import EpsilonGreedy
    >>> path, policy = Path(tempfile.mkdtemp()) / "log.parquet", EpsilonGreedy(0.5)
    >>> with LogWriter(path, adaptive=policy.adaptive) as events:
    ...     env = BernoulliBandit([0.1, 0.3], num_envs=200)
    ...     _ = simulate(env, policy, horizon=50, seed=1, events=events)
    >>> read_log(path)
    LoggedFeedback('log', 10,000 rounds, 2 arms, 200 replications, adaptive=True)
    >>> never = evaluate_policy(read_log(path), [0.9, 0.1]).values["DR"]    # truly 0.12
    >>> bool(never.low < 0.12 < never.high)
    True
    """

    def __init__(
        self,
        path: Path | str,
        *,
        adaptive: bool,
        first_replication: int = 0,
        null_arm: int | None = None,
        arm_names: Sequence[str] = (),
        name: str = "log",
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self.path = Path(path)
        self._adaptive, self._first, self._arm_names, self._name = adaptive, first_replication, tuple(arm_names), name
        self._null_arm, self._progress = null_arm, progress
        self._file: _LogFile | None = None
        self._columns: dict[str, NDArray[Any]] = {}
        self._schema: Any = None
        self._count = self._room = 0

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            if self._file is not None:
                self._file.discard()
            return
        if self._schema is None:
            raise ValueError(f"`events` must be handed to `simulate` before {self.path.name} is closed. Got no event.")
        try:
            self._flush()
        except BaseException:
            if self._file is not None:
                self._file.discard()
            raise
        assert self._file is not None
        self._file.keep()

    def __call__(self, feedback: Feedback, propensities: FloatArray) -> None:
        """Take down one round of some replications; see `bandits.core.EventListener`."""
        count = len(feedback.rows)
        if self._schema is None:
            self._start(feedback, propensities)
        if self._count + count > self._room:
            self._flush()
        if count > self._room:
            self._make_room(count)
        place = slice(self._count, self._count + count)
        for name, values in self._values(feedback, propensities).items():
            self._columns[name][place] = values
        self._count += count

    def _values(self, feedback: Feedback, propensities: FloatArray) -> dict[str, Any]:
        context = feedback.context
        return {
            "replication": self._first + feedback.rows,
            "round": context.round,
            "arm": feedback.chosen,
            "reward": feedback.reward,
            "propensity": feedback.propensity,
            "time": context.time,
            "user_id": context.user_id,
            "propensity_": propensities,
            "available_": context.available,
            "feature_": context.user,
        }

    def _start(self, feedback: Feedback, propensities: FloatArray) -> None:
        num_arms, num_features = propensities.shape[1], feedback.context.user.shape[1]
        self._schema = log_schema(
            num_arms,
            adaptive=self._adaptive,
            num_features=num_features,
            available=True,
            optional=_OPTIONAL,
            arm_names=self._arm_names,
            name=self._name,
        )
        self._columns = {name: np.asarray(value)[:0] for name, value in self._values(feedback, propensities).items()}
        self._make_room(min(_MOST_ROWS, max(1, int(_BUFFER / row_bytes(num_arms, num_features)))))

    def _make_room(self, rows: int) -> None:
        self._room = rows
        self._columns = {name: np.empty((rows, *old.shape[1:]), old.dtype) for name, old in self._columns.items()}

    def _flush(self) -> None:
        """Write what has been taken down, as one row group."""
        if self._count == 0:
            return
        import pyarrow

        rows = {name: values[: self._count] for name, values in self._columns.items()}
        propensities, available = rows["propensity_"], rows["available_"]
        require_probabilities("propensities", propensities)
        if not np.all(rows["propensity"] > 0):
            raise ValueError("`propensities` must be positive for what was chosen. Got 0.")
        if self._null_arm is not None:
            available[:, self._null_arm] |= propensities[:, self._null_arm] > 0
        if np.any(propensities[~available] > 0):
            raise ValueError("`propensities` must be 0 where an arm is not available. Got a positive one.")
        columns = [_column(rows, name) for name in self._schema.names]
        if self._file is None:
            self._file = _LogFile(self.path, self._schema)
        self._file.write(pyarrow.table(columns, schema=self._schema))
        written, self._count = self._count, 0
        if self._progress is not None:
            self._progress(written)


def row_bytes(num_arms: int, num_features: int) -> float:
    """Bytes of one row of what `LogWriter` writes, before compression, which makes a file smaller than that."""
    schema = log_schema(num_arms, adaptive=True, num_features=num_features, available=True, optional=_OPTIONAL)
    return float(sum(column.type.bit_width for column in schema)) / 8


def join_logs(parts: Iterable[Path], path: Path) -> int:
    """Write the rows of several log files with the same columns into one, a row group at a time.

    Args:
        parts: The files, at least one; the first one's metadata are kept.
        path: The file to write; it appears when all of it is written.

    Returns:
        Number of rows.
    """
    from pyarrow import parquet

    whole: _LogFile | None = None
    count = 0
    try:
        for part in parts:
            with parquet.ParquetFile(part) as source:
                whole = whole or _LogFile(path, source.schema_arrow)
                for group in range(source.num_row_groups):
                    table = source.read_row_group(group)
                    whole.write(table)
                    count += table.num_rows
    except BaseException:
        if whole is not None:
            whole.discard()
        raise
    if whole is None:
        raise ValueError("`parts` must name at least one file. Got none.")
    whole.keep()
    return count


class _LogFile:
    """A Parquet file that grows under another name until it is whole."""

    def __init__(self, path: Path, schema: Any) -> None:
        from pyarrow import parquet

        self._path, self._draft = path, path.with_name(f".{path.name}.draft")
        with self._named_errors():
            self._sink = self._draft.open("wb")  # Python's own file, because its errors say what went wrong
            self._writer = parquet.ParquetWriter(self._sink, schema, compression="zstd")

    def write(self, table: Any) -> None:
        with self._named_errors():
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def keep(self) -> None:
        with self._named_errors():
            self._writer.close()
            self._sink.close()
            os.replace(self._draft, self._path)

    def discard(self) -> None:
        with suppress(OSError):  # where it cannot be finished either, that does not matter any more
            self._writer.close()
        with suppress(OSError):
            self._sink.close()
        self._draft.unlink(missing_ok=True)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._draft.unlink(missing_ok=True)
            raise OSError(f"The log {self._path} cannot be written: {error.strerror or error}.") from error


def _column(rows: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """A column of the file: an array of that name, or a column of the matrix of that prefix."""
    if name in rows:
        return rows[name]
    prefix, _, number = name.rpartition("_")
    return np.ascontiguousarray(rows[f"{prefix}_"][:, int(number)])
