"""Logs as Parquet files: one row per round, one plain column per number, readable by any tool.

| column | type | |
|---|---|---|
| `replication` | int64 | independent run; may be missing: a single one |
| `round` | int64 | number of the visit within the replication; rows are sorted by it |
| `arm` | int64 | the chosen arm, 0 .. K-1 |
| `reward` | float64 | |
| `propensity` | float64 | probability of the chosen arm at the time of choosing |
| `propensity_0` .. `propensity_{K-1}` | float64 | probability of every arm; all or none |
| `available_0` .. `available_{K-1}` | bool | all or none; as if missing where every arm was, always |
| `feature_0` .. `feature_{D-1}` | float64 | what was known of the visitor; may be missing |
| `time` | float64 | days since the start; may be missing |
| `user_id`, `position` | int64 | may be missing; a `user_id` of -1 is nobody known, as if missing where all are |

Other columns are left alone. The schema's metadata has one key, `bandits.log`, with JSON: `version` (1), `num_arms`,
`adaptive` (whether the policy learned from the log's own rounds), `arm_names` and `name`. A file without it can be read
when `adaptive` is said by the caller. `LogWriter` streams what a simulation tells; another writer that streams takes
the columns and metadata from `log_schema`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandits.core import FloatArray
from bandits.ope.log import LoggedFeedback

METADATA_KEY = b"bandits.log"
VERSION = 1
_OPTIONAL = {"time": "float64", "user_id": "int64", "position": "int64"}


def log_schema(
    num_arms: int,
    *,
    adaptive: bool,
    num_features: int = 0,
    all_propensities: bool = True,
    available: bool = False,
    optional: Sequence[str] = (),
    arm_names: Sequence[str] = (),
    name: str = "log",
) -> Any:
    """The `pyarrow.Schema` of a log file; see the module.

    Args:
        num_arms: Number of arms `K`.
        adaptive: Whether the logging policy learns from the log's own rounds.
        num_features: Number of features `D`.
        all_propensities: Whether the probability of every arm is kept, not of the chosen one alone.
        available: Whether the availability of every arm is kept.
        optional: Those of `time`, `user_id` and `position` that are kept.
        arm_names: Names of the arms, or none.
        name: Where the log came from.
    """
    import pyarrow

    unknown = sorted(set(optional) - set(_OPTIONAL))
    if unknown:
        raise ValueError(f"`optional` must name some of {sorted(_OPTIONAL)}. Got {unknown}.")
    columns = [("replication", "int64"), ("round", "int64"), ("arm", "int64")]
    columns += [("reward", "float64"), ("propensity", "float64")]
    columns += [(column, kind) for column, kind in _OPTIONAL.items() if column in optional]
    columns += [(f"propensity_{k}", "float64") for k in range(num_arms if all_propensities else 0)]
    columns += [(f"available_{k}", "bool") for k in range(num_arms if available else 0)]
    columns += [(f"feature_{d}", "float64") for d in range(num_features)]
    facts = {"version": VERSION, "num_arms": num_arms, "adaptive": adaptive, "arm_names": list(arm_names), "name": name}
    return pyarrow.schema(
        [(column, pyarrow.type_for_alias(kind)) for column, kind in columns],
        metadata={METADATA_KEY: json.dumps(facts).encode()},
    )


def write_log(log: LoggedFeedback, path: Path | str) -> None:
    """Write a log as a Parquet file; `read_log` gives it back as it was."""
    import pyarrow
    from pyarrow import parquet

    optional = [name for name in _OPTIONAL if getattr(log, name) is not None]
    schema = log_schema(
        log.num_arms,
        adaptive=log.adaptive,
        num_features=0 if log.features is None else log.features.shape[1],
        all_propensities=log.propensities is not None,
        available=log.available is not None,
        optional=optional,
        arm_names=log.arm_names,
        name=log.name,
    )
    columns: dict[str, Any] = {
        "replication": np.zeros(len(log), dtype=np.int64) if log.replication is None else log.replication,
        "round": log.round,
        "arm": log.chosen,
        "reward": log.reward,
        "propensity": log.propensity,
    }
    columns |= {name: getattr(log, name) for name in optional}
    for prefix, values in (
        ("propensity", log.propensities),
        ("available", log.available),
        ("feature", log.features),
    ):
        columns |= {} if values is None else {f"{prefix}_{i}": values[:, i] for i in range(values.shape[1])}
    table = pyarrow.table([pyarrow.array(columns[name]) for name in schema.names], schema=schema)
    parquet.write_table(table, Path(path))


def read_log(path: Path | str, *, adaptive: bool | None = None) -> LoggedFeedback:
    """Read a log; rows come sorted by replication and round.

    Args:
        path: A Parquet file with the columns of the module's table.
        adaptive: Whether the logging policy learned from this log's rounds; None: as the file's metadata says.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is not such a log, has missing values, or nobody says whether it is adaptive.
    """
    table = _sorted_table(Path(path))
    facts = _facts(table, Path(path))
    if adaptive is None:
        adaptive = facts.get("adaptive")
    if adaptive is None:
        raise ValueError(
            "`adaptive` must be given: the file does not say whether the logging policy learned from its own rounds. "
            f"Got {Path(path).name} without metadata."
        )
    propensities = _matrix(table, "propensity_")
    available = _matrix(table, "available_")
    wide = next((m.shape[1] for m in (propensities, available) if m is not None), 0)
    arms = _column(table, "arm")
    num_arms = int(facts.get("num_arms") or wide or arms.max() + 1)
    optional = {name: _column(table, name) for name in _OPTIONAL if name in table.column_names}
    if "user_id" in optional and np.all(optional["user_id"] < 0):
        del optional["user_id"]
    replication = _column(table, "replication") if "replication" in table.column_names else None
    return LoggedFeedback(
        chosen=arms,
        reward=_column(table, "reward"),
        propensity=_column(table, "propensity"),
        num_arms=num_arms,
        adaptive=bool(adaptive),
        propensities=propensities,
        features=_matrix(table, "feature_"),
        available=None if available is None or available.all() else available,
        replication=None if replication is None or len(np.unique(replication)) == 1 else replication,
        arm_names=tuple(facts.get("arm_names", ())),
        name=str(facts.get("name", Path(path).stem)),
        **optional,
    )


def read_probabilities(path: Path | str, prefix: str) -> FloatArray:
    """The columns `{prefix}0` .. `{prefix}{K-1}` of a log's file, in the order of `read_log`, shape (n, K).

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When there are no such columns, or some are missing.
    """
    table = _sorted_table(Path(path))
    found = _matrix(table, prefix)
    if found is None:
        raise ValueError(
            f"`probabilities` must be the prefix of columns such as {prefix}0, {prefix}1. "
            f"Got {prefix!r}; the columns are {_listed(table.column_names)}."
        )
    return np.asarray(found, dtype=np.float64)


def _sorted_table(path: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a log (.parquet). Got {path}, which is no file.")
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"`{path.name}` must be a Parquet file. Got a file that cannot be read: {str(error).splitlines()[0]}"
        ) from error
    missing = [name for name in ("arm", "reward", "propensity") if name not in table.column_names]
    if missing:
        raise ValueError(
            f"`{path.name}` must have the columns arm, reward and propensity. "
            f"Got no {', '.join(missing)} among {_listed(table.column_names)}."
        )
    keys = [(name, "ascending") for name in ("replication", "round") if name in table.column_names]
    return table.sort_by(keys) if keys else table


def _facts(table: Any, path: Path) -> dict[str, Any]:
    metadata = (table.schema.metadata or {}).get(METADATA_KEY)
    if metadata is None:
        return {}
    facts: dict[str, Any] = json.loads(metadata)
    if facts.get("version") != VERSION:
        raise ValueError(f"`{path.name}` must be a log of version {VERSION}. Got version {facts.get('version')}.")
    return facts


def _column(table: Any, name: str) -> Any:
    column = table.column(name)
    if column.null_count:
        raise ValueError(f"column `{name}` must have a value in every row. Got {column.null_count} missing ones.")
    return column.to_numpy()


def _matrix(table: Any, prefix: str) -> Any:
    """Columns `{prefix}0`, `{prefix}1`, ... as a matrix; None when there are none."""
    numbers = sorted(int(n.removeprefix(prefix)) for n in table.column_names if _is_numbered(n, prefix))
    if not numbers:
        return None
    if numbers != list(range(len(numbers))):
        raise ValueError(f"columns `{prefix}0`, `{prefix}1`, ... must leave out no number. Got {numbers}.")
    return np.column_stack([_column(table, f"{prefix}{number}") for number in numbers])


def _is_numbered(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name.removeprefix(prefix).isdecimal()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
