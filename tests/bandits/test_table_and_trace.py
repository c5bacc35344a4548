"""The propensity table on disk, and traces that are joined."""

import dataclasses

import numpy as np
import pytest

from bandits import PropensityTable, Trace, simulate
from bandits.trace import snapshot_rounds
from envs import BernoulliBandit
from policies import UCB1


def table(**changes):
    base = PropensityTable.single_world(
        np.array([[0.1, 0.2], [0.3, 0.4]]), user_texts=("甲", "b"), item_texts=("x", "y"), provenance={"weights": "w"}
    )
    return dataclasses.replace(base, **changes)


def test_a_table_survives_the_disk(tmp_path):
    table().save(tmp_path / "t")
    again = PropensityTable.load(tmp_path / "t")
    assert again.content_hash == table().content_hash
    np.testing.assert_array_equal(again.p, table().p)
    assert again.user_texts == ("甲", "b")


def test_everything_is_in_the_hash():
    changed = [
        table(p=table().p + np.float32(1e-6)),
        table(user_ids=("u", "v")),
        table(user_texts=("a", "b")),
        table(item_ids=np.array([["i", "j"]])),
        table(item_texts=np.array([["x", "z"]])),
        table(num_items=np.array([1])),
        table(world_ids=("w",)),
        table(outcome="buy"),
        table(provenance={"weights": "v"}),
    ]
    hashes = {t.content_hash for t in [table(), *changed]}
    assert len(hashes) == len(changed) + 1


@pytest.mark.faults
def test_a_damaged_table_is_refused(tmp_path):
    table().save(tmp_path)
    p = np.load(tmp_path / "p.npy")
    p[0, 0, 0] += 0.01
    np.save(tmp_path / "p.npy", p)
    with pytest.raises(ValueError, match="must have hash"):
        PropensityTable.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        PropensityTable.load(tmp_path / "nowhere")


def trace(first, size):
    return simulate(BernoulliBandit([0.2, 0.4], num_envs=size), UCB1(), horizon=40, seed=0, first_replication=first)


@pytest.mark.faults
def test_chunks_must_follow_one_another():
    with pytest.raises(ValueError, match=r"`traces\[1\]` must begin with replication 3\. Got 4"):
        Trace.concat([trace(0, 3), trace(4, 2)])
    with pytest.raises(ValueError, match="`traces` must hold at least one trace"):
        Trace.concat([])
    other = simulate(BernoulliBandit([0.2, 0.4]), UCB1(), horizon=41, seed=0, first_replication=3)
    with pytest.raises(ValueError, match=r"`traces\[1\]` must have the snapshots"):
        Trace.concat([trace(0, 3), other])


@pytest.mark.parametrize(("horizon", "snapshots"), [(1, 2), (10, 200), (20_000, 200), (10**7, 50)])
def test_snapshots_increase_to_the_horizon(horizon, snapshots):
    rounds = snapshot_rounds(horizon, snapshots)
    assert rounds[-1] == horizon
    assert np.all(np.diff(rounds) > 0)
    assert len(rounds) <= snapshots
