"""The worlds of an experiment: data becomes a propensity table and features, and these become environments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.environment import Environment
from bandits.propensity_table import PropensityTable
from envs import BernoulliBandit, SimulatedUsers
from experiments.audience import Audience, arrivals, late_rounds, segments_of, with_null_item
from experiments.config import BernoulliData, ExperimentConfig, TableData
from experiments.progress import Reporter
from experiments.run_folder import RunFolder

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A kind of world that policies play in.

    Attributes:
        kind: `model` (what the reward model believes), `planted` (the truth), `observed` (rates of the log) or `given`.
        key: Everything that determines it, as JSON values: it enters the hash of every cell.
        make: From the number of replications `N` to an environment.
        late_items: Pairs of an item's id (or text) and the round that it arrives in.
    """

    kind: str
    key: dict[str, Any]
    make: Callable[[int], Environment]
    late_items: tuple[tuple[str, int], ...] = ()


def prepare_worlds(config: ExperimentConfig, run: RunFolder, reporter: Reporter) -> list[World]:
    """Everything up to the environments; the first world is the one that the report is about.

    Args:
        config: The experiment.
        run: Where tables and the reward model's metrics are kept.
        reporter: Who tells the progress.

    Raises:
        FileNotFoundError: When the data are not there.
        ValueError: When they cannot be used.
    """
    data = config.data
    if isinstance(data, BernoulliData):
        return [_bernoulli(data)]
    if isinstance(data, TableData):
        table, audience = PropensityTable.load(Path(data.path)), Audience(late_items=late_rounds(config))
        if isinstance(config.world.no_recommendation, float):
            if len(table.world_ids) > 1:
                raise ValueError("`world.no_recommendation` must be left out for a table of several worlds.")
            table = with_null_item(table, config.world.no_recommendation)
            audience = replace(audience, null_item=table.p.shape[2] - 1)
        tables = {"given": table}
        run.save_table("given", table)
    else:
        from experiments.learned_worlds import prepare_learned_worlds

        tables, audience = prepare_learned_worlds(config, run, reporter)
    prior = tables["model"] if config.world.prior else None
    return [_table_world(config, kind, tables[kind], audience, prior) for kind in config.world.kinds or tables]


def _table_world(
    config: ExperimentConfig, kind: str, table: PropensityTable, audience: Audience, prior: PropensityTable | None
) -> World:
    arrays: dict[str, Any] = {
        "user_features": audience.user_features,
        "arm_features": _in_all_worlds(audience.arm_features, len(table.p)),
        "prior": None if prior is None else prior.p.astype(np.float64),
        "weights": audience.weights,
        "available_from": arrivals(table, audience.late_items),
    }
    plain: dict[str, Any] = {
        "visitors_per_day": config.world.visitors_per_day,
        "null_arm": audience.null_item,
        "segments": segments_of(table, config.world.segments),
    }

    def make(num_envs: int) -> Environment:
        return SimulatedUsers(table, num_envs=num_envs, **arrays, **plain)

    key = {
        "environment": "SimulatedUsers",
        "table": table.content_hash,
        **plain,
        **{name: _array_hash(value) for name, value in arrays.items()},
    }
    return World(kind, key, make, audience.late_items)


def _in_all_worlds(features: FloatArray | None, worlds: int) -> FloatArray | None:
    """Arm features where each of their worlds stands for as many as it has members: (K, E) where that is all worlds."""
    if features is None or len(features) == worlds:
        return features
    return features[0] if len(features) == 1 else np.repeat(features, worlds // len(features), axis=0)


def _bernoulli(data: BernoulliData) -> World:
    prior = (data.prior[0], data.prior[1]) if data.prior is not None else None

    def make(num_envs: int) -> Environment:
        return BernoulliBandit(data.means, prior=prior, num_arms=data.arms, num_envs=num_envs)

    make(1)
    return World("given", {"environment": "BernoulliBandit"} | data.model_dump(), make)


def _array_hash(array: NDArray[Any] | None) -> str | None:
    if array is None:
        return None
    header = f"{array.dtype.str} {array.shape}\0".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()
