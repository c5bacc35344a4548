"""Logs of simulations: they hold what happened, whatever the pieces they were written in, and lead to right values."""

import dataclasses
import errno
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from bandits import Policy, PropensityTable, simulate
from bandits.ope import LogWriter, evaluate_policy, join_logs, log_writer, read_log, write_log
from bandits.testing import PracticeWorld
from envs import BernoulliBandit, SimulatedUsers
from policies import (
    UCB1,
    ABTest,
    AlwaysValidABTest,
    BetaThompson,
    EpsilonGreedy,
    Exp3,
    FixedSplit,
    LinearThompson,
    LinUCB,
)

KNOWING = {
    "FixedSplit": FixedSplit([0.5, 0.3, 0.2]),
    "ABTest": ABTest(visitors=60),
    "ABTest by user": ABTest(visitors=60, weights=[0.5, 0.25, 0.25], by="user"),
    "AlwaysValidABTest": AlwaysValidABTest(),
    "BetaThompson": BetaThompson(),
    "EpsilonGreedy": EpsilonGreedy(0.3, 0.2),
    "UCB1": UCB1(0.5),
    "Exp3": Exp3(),
    "LinUCB": LinUCB(),
}


def users(n: int) -> SimulatedUsers:
    """Six users with two features in two worlds; the last arm comes in round 40, the second world has two arms only."""
    random = np.random.default_rng(2)
    table = PropensityTable(
        p=random.uniform(0, 0.5, (2, 6, 3)).astype(np.float32) * np.array([[[1, 1, 1]], [[1, 1, 0]]], dtype=np.float32),
        user_ids=tuple("abcdef"),
        user_texts=("",) * 6,
        item_ids=np.array([["x", "y", "z"], ["x", "y", ""]]),
        item_texts=np.full((2, 3), ""),
        num_items=np.array([3, 2]),
        world_ids=("v", "w"),
    )
    return SimulatedUsers(
        table, num_envs=n, user_features=random.normal(size=(6, 2)), available_from=[0, 0, 40], visitors_per_day=50
    )


WORLDS = {"bernoulli": lambda n: BernoulliBandit([0.1, 0.5, 0.3], num_envs=n), "users": users}


def recorded(path, env, policy, horizon=120, first=0, **settings):
    """The trace and the log of one simulation."""
    with LogWriter(path, adaptive=policy.adaptive, first_replication=first, **settings) as events:
        trace = simulate(env, policy, horizon=horizon, seed=4, first_replication=first, events=events)
    return trace, read_log(path)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", KNOWING)
def test_a_log_adds_up_to_the_fused_trace(name, world, tmp_path):
    """Clicks, pulls and every snapshot of the compiled engine follow from the rows alone."""
    trace, log = recorded(tmp_path / "log.parquet", WORLDS[world](5), KNOWING[name], first=2)
    fused = simulate(WORLDS[world](5), KNOWING[name], horizon=120, seed=4, first_replication=2, engine="fused")
    np.testing.assert_array_equal(trace.regret, fused.regret)
    assert len(log) == 5 * 120
    assert log.adaptive == (name != "FixedSplit")
    np.testing.assert_array_equal(np.unique(log.replication), np.arange(2, 7))
    reward = np.cumsum(log.reward.reshape(5, 120), axis=1).T
    np.testing.assert_array_equal(reward[fused.rounds - 1], fused.reward)
    pulls = [np.bincount(arms, minlength=3) for arms in log.chosen.reshape(5, 120)]
    np.testing.assert_array_equal(pulls, fused.pulls)
    np.testing.assert_allclose(log.propensities.sum(axis=1), 1, atol=1e-12)
    if world == "bernoulli":
        assert log.available is log.features is log.user_id is None
    else:
        assert np.all(log.propensities[~log.available] == 0)
        early, second_world = log.round < 40, log.replication % 2 == 1
        np.testing.assert_array_equal(log.available[:, 2], ~(early | second_world))
        np.testing.assert_array_equal(log.features, np.asarray(users(1).user_features)[log.user_id])
        np.testing.assert_allclose(log.time, log.round / 50)


def test_propensities_are_those_of_the_moment(tmp_path):
    """Epsilon-greedy's follow from the rows before, by hand; UCB1 leaves nothing to chance but ties."""
    _, log = recorded(tmp_path / "log.parquet", BernoulliBandit([0.2, 0.6]), EpsilonGreedy(0.3), horizon=80)
    pulls, clicks = np.zeros(2), np.zeros(2)
    for t in range(80):
        mean = np.where(pulls > 0, clicks / np.maximum(pulls, 1), np.inf)
        best = mean == mean.max()
        np.testing.assert_allclose(log.propensities[t], 0.7 * best / best.sum() + 0.15)
        assert log.propensity[t] == log.propensities[t, log.chosen[t]]
        pulls[log.chosen[t]] += 1
        clicks[log.chosen[t]] += log.reward[t]
    _, log = recorded(tmp_path / "log.parquet", BernoulliBandit([0.2, 0.6]), UCB1(), horizon=80)
    assert np.isin(log.propensities, [0.0, 0.5, 1.0]).all()
    with pytest.raises(ValueError, match="`target` must choose only what the logging policy might have chosen"):
        evaluate_policy(log, [0.5, 0.5])


def test_the_policy_itself_is_not_told(tmp_path):
    """What a policy learns does not depend on being recorded."""
    seen = []

    class Uniform(Policy):
        adaptive = False

        def reset(self, problem, random):
            self.random, self.shape = random, (problem.num_envs, problem.num_arms)

        def select(self, context):
            return (self.random.uniform() * self.shape[1]).astype(np.int64)

        def propensities(self, context):
            return np.full(self.shape, 1 / self.shape[1])

        def update(self, feedback):
            seen.append(feedback.propensity)

    _, log = recorded(tmp_path / "log.parquet", PracticeWorld(3), Uniform(), horizon=10)
    assert seen == [None] * 10
    np.testing.assert_array_equal(log.propensity, 0.25)
    assert log.features.shape == (30, 3)


def test_replications_that_stop_leave_no_more_rows(tmp_path):
    def stop(state):
        return state.arm[1, 0] >= 4.0

    class Stops(EpsilonGreedy):
        kernel = dataclasses.replace(EpsilonGreedy.kernel, stop=stop)

    trace, log = recorded(tmp_path / "log.parquet", BernoulliBandit([0.3, 0.25], num_envs=6), Stops(0.5))
    assert (trace.stopped > 0).any()
    for n in range(6):
        np.testing.assert_array_equal(np.bincount(log.chosen[log.replication == n], minlength=2), trace.pulls[n])


@pytest.mark.parametrize(("buffer", "groups"), [(1, 120), (3_000, None), (2**26, 1)])
def test_pieces_change_nothing(buffer, groups, tmp_path, monkeypatch):
    recorded(tmp_path / "whole.parquet", users(5), EpsilonGreedy())
    monkeypatch.setattr(log_writer, "_BUFFER", buffer)
    written = []
    recorded(tmp_path / "log.parquet", users(5), EpsilonGreedy(), progress=written.append)
    metadata = parquet.read_metadata(tmp_path / "log.parquet")
    assert sum(written) == metadata.num_rows == 600
    assert metadata.num_row_groups == len(written)
    if groups is not None:
        assert len(written) == groups
    assert parquet.read_table(tmp_path / "log.parquet").equals(parquet.read_table(tmp_path / "whole.parquet"))


def test_chunks_join_to_the_whole(tmp_path):
    recorded(tmp_path / "whole.parquet", users(5), EpsilonGreedy(), name="whole", arm_names=("x", "y", "z"))
    parts = [tmp_path / f"{first}.parquet" for first in (0, 2)]
    for part, first, size in zip(parts, (0, 2), (2, 3), strict=True):
        recorded(part, users(size), EpsilonGreedy(), first=first, name="whole", arm_names=("x", "y", "z"))
    assert join_logs(parts, tmp_path / "joined.parquet") == 600
    whole, joined = read_log(tmp_path / "whole.parquet"), read_log(tmp_path / "joined.parquet")
    write_log(whole, tmp_path / "a.parquet")
    write_log(joined, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert joined.arm_names == ("x", "y", "z")


@pytest.mark.statistics
@pytest.mark.parametrize("policy", [FixedSplit([0.5, 0.3, 0.2]), EpsilonGreedy(0.3), BetaThompson()], ids=repr)
def test_values_from_logs_cover_the_truth(policy, tmp_path):
    """200 logs of 40 replications each: the interval of DR holds another split's true value as often as it says."""
    means, split = np.array([0.2, 0.5, 0.35]), np.array([0.2, 0.2, 0.6])
    with LogWriter(tmp_path / "log.parquet", adaptive=policy.adaptive) as events:
        simulate(BernoulliBandit(means.tolist(), num_envs=8000), policy, horizon=60, seed=7, events=events)
    table = parquet.read_table(tmp_path / "log.parquet").to_pandas().sort_values(["replication", "round"])
    covered = 0
    for number in range(200):
        rows = table[table["replication"] // 40 == number]
        piece = tmp_path / "piece.parquet"
        rows.to_parquet(piece, index=False)
        value = evaluate_policy(read_log(piece, adaptive=policy.adaptive), split).values["DR"]
        assert value.interval == "t over 40 replications"
        covered += bool(value.low < means @ split < value.high)
    assert 181 <= covered <= 197  # the central 99 percent: scipy.stats.binom.ppf([0.005, 0.995], 200, 0.95)


def test_the_interval_of_one_run_holds_the_truth(tmp_path):
    """One long adaptive run: the interval made for it holds the value of a split, and of the best arm."""
    _, log = recorded(tmp_path / "log.parquet", BernoulliBandit([0.2, 0.5, 0.35]), EpsilonGreedy(0.3), horizon=4000)
    for split in ([0.2, 0.2, 0.6], [0.0, 1.0, 0.0]):
        found = evaluate_policy(log, split).values
        value = found["adaptively weighted DR"]
        assert value.low < np.dot([0.2, 0.5, 0.35], split) < value.high
        assert value.high - value.low < 0.15
        assert np.isnan(found["IPS"].low)


@pytest.mark.faults
def test_policies_that_do_not_know_are_refused(tmp_path):
    with (
        pytest.raises(ValueError, match=r"`events` must be None for a policy that does not know.*LinearThompson"),
        LogWriter(tmp_path / "log.parquet", adaptive=True) as events,
    ):
        simulate(users(2), LinearThompson(), horizon=10, seed=0, events=events)
    with pytest.raises(ValueError, match=r"`engine` must be auto or lockstep where events are recorded. Got 'fused'"):
        simulate(BernoulliBandit([0.1, 0.2]), UCB1(), horizon=10, seed=0, events=events, engine="fused")
    with pytest.raises(ValueError, match=r"Got no event"), LogWriter(tmp_path / "log.parquet", adaptive=True):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.faults
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (np.full((1, 2), 0.4), "`propensities` must sum to 1"),
        (np.array([[1.5, -0.5]]), "`propensities` must be at least 0"),
        (np.array([[0.0, 1.0]]), "`propensities` must be positive for what was chosen. Got 0"),
        (np.full((1, 3), 1 / 3), r"must have shape \(1, 2\). Got \(1, 3\)"),
    ],
)
def test_wrong_propensities_leave_no_file(answer, text, tmp_path):
    class Wrong(FixedSplit):
        def propensities(self, context):
            return answer

    with (
        pytest.raises(ValueError, match=text),
        LogWriter(tmp_path / "log.parquet", adaptive=False) as events,
    ):
        simulate(BernoulliBandit([0.1, 0.2]), Wrong([1, 0]), horizon=10, seed=0, events=events)
    assert not list(tmp_path.iterdir())


@pytest.mark.faults
def test_chances_of_arms_that_are_not_there_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="`propensities` must be 0 where an arm is not available"):
        recorded(tmp_path / "log.parquet", users(2), Uniformly())
    assert not list(tmp_path.iterdir())


class Uniformly(FixedSplit):
    """Says that it chooses among all arms, and chooses among those that are there."""

    def propensities(self, context):
        return np.full(context.available.shape, 1 / 3)


@pytest.mark.faults
def test_disk_errors_name_the_file_and_leave_nothing(tmp_path, monkeypatch):
    with (
        pytest.raises(OSError, match=r"The log .*nowhere/log\.parquet cannot be written: No such file"),
        LogWriter(tmp_path / "nowhere" / "log.parquet", adaptive=False) as events,
    ):
        simulate(BernoulliBandit([0.1, 0.2]), FixedSplit(), horizon=10, seed=0, events=events)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", full)
    with (
        pytest.raises(OSError, match=r"log\.parquet cannot be written: No space left on device"),
        LogWriter(tmp_path / "log.parquet", adaptive=False) as events,
    ):
        simulate(BernoulliBandit([0.1, 0.2]), FixedSplit(), horizon=10, seed=0, events=events)
    assert not list(tmp_path.iterdir())


@pytest.mark.faults
def test_an_interrupted_log_leaves_nothing_and_keeps_the_old_one(tmp_path, monkeypatch):
    monkeypatch.setattr(log_writer, "_BUFFER", 1)
    path: Path = tmp_path / "log.parquet"
    recorded(path, BernoulliBandit([0.1, 0.2]), FixedSplit())
    before = path.read_bytes()

    def interrupt(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recorded(path, BernoulliBandit([0.1, 0.3]), FixedSplit(), progress=interrupt)
    assert [file.name for file in tmp_path.iterdir()] == ["log.parquet"]
    assert path.read_bytes() == before


def test_memory_does_not_grow_with_the_run(tmp_path, monkeypatch):
    """Forty times as many rounds, and the same peak: of what Python allocates, which NumPy's arrays are counted in."""
    monkeypatch.setattr(log_writer, "_BUFFER", 50_000)
    peaks = []
    for horizon in (20, 20, 800):  # the first one loads libraries
        with LogWriter(tmp_path / "log.parquet", adaptive=False) as events:
            tracemalloc.start()
            simulate(PracticeWorld(50), FixedSplit(), horizon=horizon, seed=1, snapshots=2, events=events)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert 40_000 < peaks[1] < 400_000
    assert peaks[2] < 1.5 * peaks[1]
