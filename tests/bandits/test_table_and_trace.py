"""The propensity table on disk, and traces that are joined."""

import dataclasses

import numpy as np
import pytest

from bandits import PropensityTable, Trace, simulate
from bandits.trace import snapshot_rounds
from envs import BernoulliBandit, SimulatedUsers
from policies import UCB1, FixedSplit


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


def test_several_beliefs_are_the_worlds_of_one_table():
    """Two worlds and three beliefs: world w of belief m is world 3 w + m, and padding stays padding."""
    p = np.random.default_rng(4).uniform(0.1, 0.9, (3, 2, 2, 3)).astype(np.float32)
    p[:, 1, :, 2] = 0
    beliefs = {
        f"m{m}": PropensityTable(
            p=p[m],
            user_ids=("u", "v"),
            user_texts=("", ""),
            item_ids=np.array([["a", "b", "c"], ["d", "e", ""]]),
            item_texts=np.array([["A", "B", "C"], ["D", "E", ""]]),
            num_items=np.array([3, 2]),
            world_ids=("x", "y"),
            provenance={"weights": "same", "model": f"model {m}"},
        )
        for m in range(3)
    }
    both = PropensityTable.interleaved(beliefs)
    for world in range(2):
        for m in range(3):
            np.testing.assert_array_equal(both.p[3 * world + m], p[m, world])
            assert both.world_ids[3 * world + m] == f"{'xy'[world]} m{m}"
            assert both.item_ids[3 * world + m].tolist() == beliefs["m0"].item_ids[world].tolist()
    assert both.num_items.tolist() == [3, 3, 3, 2, 2, 2]
    assert both.provenance == {"weights": "same", "model": "model 0; model 1; model 2"}
    env = SimulatedUsers(both, num_envs=8)
    played = simulate(env, UCB1(), horizon=30, seed=1, first_replication=5)
    assert played.world.tolist() == [5, 0, 1, 2, 3, 4, 5, 0]
    other = dataclasses.replace(beliefs["m1"], item_texts=np.array([["A", "B", "C"], ["D", "other", ""]]))
    with pytest.raises(ValueError, match=r"must have the same users, items, worlds and outcome\. Got others in 'm1'"):
        PropensityTable.interleaved(beliefs | {"m1": other})
    with pytest.raises(ValueError, match="at least one table"):
        PropensityTable.interleaved({})


def test_showing_nothing_is_possible_in_several_worlds():
    """The last item of every world stands for it: regret is against the best of the others, world by world."""
    p = np.array([[[0.1, 0.4, 0.9]], [[0.6, 0.2, 0.9]]])
    worlds = PropensityTable.interleaved({f"m{m}": PropensityTable.single_world(rates) for m, rates in enumerate(p)})
    env = SimulatedUsers(worlds, num_envs=4, null_arm=2)
    trace = simulate(env, FixedSplit([0.5, 0.5, 0.0]), horizon=50, seed=1)
    shown = trace.pulls
    expected = [shown[n, 0] * 0.3 if n % 2 == 0 else shown[n, 1] * 0.4 for n in range(4)]
    np.testing.assert_allclose(trace.regret[-1], expected, rtol=1e-6)
    fewer = dataclasses.replace(worlds, num_items=np.array([3, 2]), p=worlds.p * [[[1, 1, 1]], [[1, 1, 0]]])
    with pytest.raises(ValueError, match=r"`null_arm` must be an item 0\.\.1, there in every world\. Got 2"):
        SimulatedUsers(fewer, null_arm=2)
