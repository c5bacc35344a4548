from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bandits import Trace, simulate
from envs import BernoulliBandit
from experiments.cells import Cell, CellState, CellStore
from policies import UCB1

CELL = Cell(
    policy={"policy": "UCB1", "stream": 0, "width": 2.0},
    world={"environment": "BernoulliBandit", "means": [0.5, 0.3]},
    seed=1,
    first_replication=4,
    replications=3,
    horizon=50,
    snapshots=(1, 10, 50),
    sources="abc",
)


@pytest.fixture(scope="module")
def trace() -> Trace:
    env = BernoulliBandit([0.5, 0.3], num_envs=3)
    return simulate(env, UCB1(), horizon=50, seed=1, first_replication=4, snapshots=CELL.snapshots)


@pytest.mark.parametrize(
    "change",
    [
        {"policy": {"policy": "UCB1", "stream": 1, "width": 2.0}},
        {"world": {"environment": "BernoulliBandit", "means": [0.5, 0.31]}},
        {"seed": 2},
        {"first_replication": 7},
        {"replications": 4},
        {"horizon": 51},
        {"snapshots": (1, 20, 50)},
        {"sources": "abd"},
    ],
)
def test_everything_that_matters_is_in_the_key(change: dict[str, object]) -> None:
    assert replace(CELL, **change).key != CELL.key  # type: ignore[arg-type]


def test_the_order_of_parameters_does_not_matter() -> None:
    assert replace(CELL, policy={"width": 2.0, "stream": 0, "policy": "UCB1"}).key == CELL.key


def test_a_cell_holds_the_trace_as_tidy_tables(tmp_path: Path, trace: Trace) -> None:
    store = CellStore(tmp_path / "cells")
    assert store.state(CELL) is CellState.MISSING
    store.write(CELL, trace)
    assert store.state(CELL) is CellState.GOOD
    tables = store.read(CELL)
    curves = tables.curves.set_index(["round", "replication"])
    for c, n in [(0, 0), (1, 2), (len(trace.rounds) - 1, 1)]:
        row = curves.loc[(int(trace.rounds[c]), 4 + n)]
        assert row["regret"] == trace.regret[c, n]
        assert row["regret_fixed"] == trace.regret_fixed[c, n]
        assert row["outcome.click"] == trace.outcomes[c, n, 0]
    traffic = tables.traffic.pivot(index="round", columns="arm", values="pulls").to_numpy()
    assert np.array_equal(traffic, trace.traffic)
    assert np.array_equal(np.stack(tables.replications["pulls"].to_list()), trace.pulls)
    assert tables.replications["replication"].tolist() == [4, 5, 6]
    assert [path.name for path in (tmp_path / "cells").iterdir()] == [CELL.key]


@pytest.mark.faults
@pytest.mark.parametrize("name", ["curves.parquet", "traffic.parquet", "replications.parquet", "cell.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_noticed(tmp_path: Path, trace: Trace, name: str, damage: str) -> None:
    store = CellStore(tmp_path)
    store.write(CELL, trace)
    file = tmp_path / CELL.key / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flip" else content[:-10])
    assert store.state(CELL) is CellState.DAMAGED
    store.write(CELL, trace)
    assert store.state(CELL) is CellState.GOOD


@pytest.mark.faults
def test_a_card_of_another_cell_is_noticed(tmp_path: Path, trace: Trace) -> None:
    store = CellStore(tmp_path)
    other = replace(CELL, seed=2)
    store.write(CELL, trace)
    (tmp_path / CELL.key).rename(tmp_path / other.key)
    assert store.state(other) is CellState.DAMAGED
