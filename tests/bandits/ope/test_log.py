"""Logs: what is refused, what a policy would have seen, and files that give back what went in."""

import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from bandits.ope import LoggedFeedback, log_schema, read_log, read_probabilities, write_log

FIELDS = ("chosen", "reward", "propensity", "propensities", "features", "available", "position", "user_id", "time")


def assert_same(a: LoggedFeedback, b: LoggedFeedback) -> None:
    for name in (*FIELDS, "replication"):
        first, second = getattr(a, name), getattr(b, name)
        if first is None:
            assert second is None, name
        else:
            np.testing.assert_array_equal(first, second, err_msg=name)
            assert first.dtype == second.dtype
    assert (a.num_arms, a.adaptive, a.arm_names, a.name) == (b.num_arms, b.adaptive, b.arm_names, b.name)


def test_a_full_log_and_a_bare_one_come_back_as_they_were(make_log, tmp_path):
    n = 60
    usual = make_log(n)
    available = np.ones((n, 3), dtype=bool)
    available[:, 2] = usual.chosen == 2
    propensities = usual.propensities * available
    propensities /= propensities.sum(axis=1, keepdims=True)
    full = make_log(
        n,
        adaptive=True,
        replications=3,
        available=available,
        propensities=propensities,
        propensity=propensities[np.arange(n), usual.chosen],
        position=np.arange(n) % 3,
        user_id=np.arange(n) % 7 - 1,
        time=np.linspace(0, 1, n),
        arm_names=("a", "b", "ć"),
        name="full",
    )
    bare = LoggedFeedback(np.array([0, 1, 0]), np.array([0, 1, 0.5]), np.array([0.5, 0.1, 1.0]), 4, False)
    for log in (full, bare):
        write_log(log, tmp_path / "log.parquet")
        assert_same(read_log(tmp_path / "log.parquet"), log)


def test_columns_that_say_nothing_are_as_if_missing(make_log, tmp_path):
    log = make_log(12, available=np.ones((12, 3), dtype=bool), user_id=np.full(12, -1))
    write_log(log, tmp_path / "log.parquet")
    found = read_log(tmp_path / "log.parquet")
    assert found.available is None
    assert found.user_id is None
    assert_same(found, make_log(12))


def test_rows_are_sorted_and_other_columns_follow(make_log, tmp_path):
    log = make_log(40, adaptive=True, replications=2)
    write_log(log, tmp_path / "log.parquet")
    frame = pd.read_parquet(tmp_path / "log.parquet")
    np.testing.assert_array_equal(frame["round"], [*range(20), *range(20)])
    for k in range(3):
        frame[f"mine_{k}"] = np.where(np.arange(40) % 3 == k, 1.0, 0.0)
    shuffled = frame.sample(frac=1, random_state=1)
    shuffled.to_parquet(tmp_path / "shuffled.parquet", index=False)
    np.testing.assert_array_equal(read_log(tmp_path / "shuffled.parquet", adaptive=True).propensities, log.propensities)
    mine = read_probabilities(tmp_path / "shuffled.parquet", "mine_")
    np.testing.assert_array_equal(mine.argmax(axis=1), np.arange(40) % 3)


def test_a_stream_can_be_written_by_the_schema(tmp_path):
    schema = log_schema(2, adaptive=True, num_features=1, optional=["user_id"], name="stream")
    row = {"replication": 0, "arm": 1, "reward": 1.0, "propensity": 0.25, "propensity_0": 0.75, "propensity_1": 0.25}
    with parquet.ParquetWriter(tmp_path / "log.parquet", schema) as writer:
        for t in range(3):
            rows = [row | {"round": t, "user_id": t, "feature_0": 0.5}]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    log = read_log(tmp_path / "log.parquet")
    assert (len(log), log.adaptive, log.name, log.num_arms) == (3, True, "stream", 2)
    np.testing.assert_array_equal(log.user_id, [0, 1, 2])


def test_round_and_context_count_within_the_replication(make_log):
    log = make_log(6, replication=np.array([4, 2, 4, 4, 2, 9]))
    np.testing.assert_array_equal(log.round, [0, 0, 1, 2, 1, 0])
    assert log.round is log.round  # sorted once: who asks for pieces of a long log asks for it again and again
    context = log.context(np.array([3, 1]))
    np.testing.assert_array_equal(context.round, [2, 0])
    np.testing.assert_array_equal(context.user, log.features[[3, 1]])
    np.testing.assert_array_equal(context.user_id, [-1, -1])
    assert context.available.all()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"chosen": np.array([0, 3])}, r"`chosen` must lie in 0 .. 2. Got 3"),
        ({"chosen": np.array([0.0, 1.0])}, "`chosen` must hold integers"),
        ({"chosen": np.array([], dtype=int)}, "at least one round"),
        ({"reward": np.array([0.0])}, r"`reward` must have shape \(2,\)"),
        ({"reward": np.array([0.0, np.nan])}, "`reward` must be finite. Got nan"),
        ({"reward": np.array(["a", "b"])}, "`reward` must hold numbers"),
        ({"propensity": np.array([0.0, 0.5])}, r"`propensity` must lie in \(0, 1\]"),
        ({"propensity": np.array([0.5, 1.5])}, r"`propensity` must lie in \(0, 1\]"),
        ({"propensities": np.full((2, 3), 0.5)}, "`propensities` must sum to 1"),
        ({"propensities": np.array([[0.5, 0.6, -0.1]] * 2)}, "`propensities` must be at least 0"),
        ({"propensities": np.array([[0.2, 0.4, 0.4]] * 2)}, "`propensities` must hold `propensity` at the chosen arm"),
        ({"propensities": np.full((2, 2), 0.5)}, r"`propensities` must have shape \(2, 3\)"),
        ({"available": np.array([[True, True, False], [False, True, True]])}, "`chosen` must be available|must be 0"),
        ({"available": np.ones((2, 3))}, "`available` must hold true and false"),
        ({"features": np.zeros(2)}, r"`features` must have shape \(2, D\)"),
        ({"arm_names": ("a",)}, "`arm_names` must hold 3 names"),
        ({"num_arms": 0}, "`num_arms` must be at least 1"),
    ],
)
def test_a_log_that_cannot_be_is_refused(changes, text):
    fields = {
        "chosen": np.array([0, 1]),
        "reward": np.array([0.0, 1.0]),
        "propensity": np.array([0.5, 0.5]),
        "num_arms": 3,
        "adaptive": False,
        "propensities": np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]),
    }
    LoggedFeedback(**fields)
    with pytest.raises(ValueError, match=text):
        LoggedFeedback(**(fields | changes))


@pytest.mark.faults
def test_files_that_are_no_logs(make_log, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.parquet"):
        read_log(tmp_path / "nowhere.parquet")
    (tmp_path / "text.parquet").write_text("arm,reward\n")
    with pytest.raises(ValueError, match="must be a Parquet file"):
        read_log(tmp_path / "text.parquet")
    frame = pd.DataFrame({"arm": [0, 1], "reward": [0.0, 1.0], "propensity": [0.5, 0.5]})
    frame.to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(ValueError, match="`adaptive` must be given"):
        read_log(tmp_path / "plain.parquet")
    assert read_log(tmp_path / "plain.parquet", adaptive=False).num_arms == 2
    with pytest.raises(ValueError, match="prefix of columns"):
        read_probabilities(tmp_path / "plain.parquet", "mine_")
    for broken, text in (
        (frame.drop(columns="arm"), "Got no arm among"),
        (frame.assign(reward=[None, 1.0]), "`reward` must have a value in every row. Got 1 missing"),
        (frame.assign(propensity_0=0.5, propensity_2=0.5), "must leave out no number"),
    ):
        broken.to_parquet(tmp_path / "broken.parquet")
        with pytest.raises(ValueError, match=text):
            read_log(tmp_path / "broken.parquet", adaptive=False)
    with pytest.raises(ValueError, match="`optional` must name some of"):
        log_schema(2, adaptive=True, optional=["weather"])
    write_log(make_log(10), tmp_path / "whole.parquet")
    whole = parquet.read_table(tmp_path / "whole.parquet")
    newer = whole.replace_schema_metadata({b"bandits.log": b'{"version": 2}'})
    parquet.write_table(newer, tmp_path / "newer.parquet")
    with pytest.raises(ValueError, match=r"must be a log of version 1\. Got version 2"):
        read_log(tmp_path / "newer.parquet")
