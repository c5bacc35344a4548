"""`bandits run --log-events`: logs that agree with the traces, whatever interrupted their making."""

import io
import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from rich.console import Console
from typer.testing import CliRunner

from bandits import PropensityTable
from bandits.ope import evaluate_policy, log_writer, read_log
from experiments import event_logs, runner
from experiments.cli import app
from experiments.config import ConfigError, LoadedConfig, load_config
from experiments.progress import Reporter
from experiments.run_folder import RunFolder
from experiments.runner import run_experiment

Loader = Callable[..., LoadedConfig]


@pytest.fixture
def load(small: Path) -> Loader:
    greedy = "policies.EpsilonGreedy={epsilon: 0.4}"
    return lambda *overrides: load_config(small, [greedy, "simulation.log_events=all", *overrides])


def run(loaded: LoadedConfig, out: Path) -> tuple[RunFolder, str]:
    said = io.StringIO()
    run_experiment(loaded, out, threads=1, reporter=Reporter(Console(file=said, width=400)))
    return RunFolder(out), said.getvalue()


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the report out: it takes most of the time of a small run."""
    monkeypatch.setattr(runner, "write_report", lambda run: None)


def logs_of(folder: RunFolder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder.path / "events").glob("*.parquet"))}


def test_logs_agree_with_the_traces_of_the_run(load: Loader, tmp_path: Path) -> None:
    folder, said = run(load(), tmp_path / "run")
    assert {file.name for file in (folder.path / "events").iterdir()} == {
        f"{label}.{end}" for label in ("ABTest", "UCB1", "FixedSplit", "EpsilonGreedy") for end in ("parquet", "json")
    }
    traces, replications = folder.read("traces"), folder.read("replications")
    for label in ("ABTest", "UCB1", "FixedSplit", "EpsilonGreedy"):
        log = read_log(folder.path / "events" / f"{label}.parquet")
        assert log.name == f"small: {label}"
        assert log.adaptive == (label != "FixedSplit")
        assert log.num_replications == 5
        reward = np.cumsum(log.reward.reshape(5, 120), axis=1)
        for row in traces[traces["policy"] == label].itertuples():
            assert reward[row.replication, row.round - 1] == row.reward
        for row in replications[replications["policy"] == label].itertuples():
            pulls = np.bincount(log.chosen[log.replication == row.replication], minlength=3)
            np.testing.assert_array_equal(pulls, row.pulls)
        card = json.loads((folder.path / "events" / f"{label}.json").read_text())
        assert card["rounds"] == 600
        assert card["certain"] == np.mean(log.propensity == 1)
    assert "600 rounds each in the world of given click rates, about 0.00 GiB on disk (at most 0.00), about" in said
    assert "FixedSplit.parquet: 600 rounds" in said
    assert "0.0% of the choices were certain" in said


def test_a_log_leads_to_the_value_of_another_policy(load: Loader, tmp_path: Path) -> None:
    """Of a split that never ran; its true value is 0.35."""
    folder, _ = run(
        load("simulation.replications=40", "simulation.chunk=40", "simulation.horizon=400"), tmp_path / "run"
    )
    for label in ("FixedSplit", "EpsilonGreedy"):
        log = read_log(folder.path / "events" / f"{label}.parquet")
        found = evaluate_policy(log, [0.3, 0.5, 0.2])
        value = found.values["DR"]
        assert value.low < 0.34 < value.high
        assert value.high - value.low < 0.05
        assert abs(float(found.weights.mean_weight_z)) < 3


def test_the_command_line_reads_what_it_wrote(small: Path, tmp_path: Path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text("{policy: FixedSplit, weights: [0.2, 0.3, 0.5]}")
    done = CliRunner().invoke(app, ["run", str(small), "--out", str(tmp_path / "run"), "--log-events"])
    assert done.exit_code == 0
    page = CliRunner().invoke(app, ["ope", str(tmp_path / "run/events/FixedSplit.parquet"), "--policy", str(policy)])
    assert page.exit_code == 0
    assert "Log: small: FixedSplit, 600 rounds in 5 replications, 3 arms" in page.stdout
    assert "t over 5 replications" in page.stdout
    page = CliRunner().invoke(app, ["ope", str(tmp_path / "run/events/UCB1.parquet"), "--policy", str(policy)])
    assert page.exit_code == 2
    assert "must choose only what the logging policy might have chosen" in page.stderr


def test_logs_may_be_asked_for_later_and_change_no_cell(load: Loader, tmp_path: Path) -> None:
    plain, _ = run(load("simulation.log_events=null"), tmp_path / "run")
    assert not (plain.path / "events").exists()
    cells = {file: file.read_bytes() for file in plain.cells.folder.rglob("*.*")}
    folder, said = run(load("simulation.log_events=[FixedSplit, UCB1]"), tmp_path / "run")
    assert ", 0 to compute" in said
    assert set(logs_of(folder)) == {"FixedSplit.parquet", "UCB1.parquet"}
    assert {file: file.read_bytes() for file in folder.cells.folder.rglob("*.*")} == cells
    assert folder.config().simulation.log_events == ["FixedSplit", "UCB1"]
    before = logs_of(folder)
    folder, said = run(load(), tmp_path / "run")
    assert "UCB1.parquet is there and intact" in said
    after = logs_of(folder)
    assert {name: after[name] for name in before} == before
    assert set(after) == {"ABTest.parquet", "EpsilonGreedy.parquet", *before}


def test_users_features_and_names_are_in_the_log(load: Loader, tmp_path: Path) -> None:
    p = np.array([[0.5, 0.2], [0.3, 0.6]])
    PropensityTable.single_world(p, item_texts=("one", "two")).save(tmp_path / "table")
    data = f"data={{source: table, path: {tmp_path / 'table'}}}"
    late = "world.late_items={item-1: 60}"
    folder, _ = run(load(data, late, "policies.A/B <i>={policy: FixedSplit}"), tmp_path / "run")
    log = read_log(folder.path / "events" / "A_B _i_.parquet")
    assert log.arm_names == ("item-0", "item-1")
    assert set(log.user_id.tolist()) == {0, 1}
    np.testing.assert_array_equal(log.available[:, 1], log.round >= 60)
    np.testing.assert_allclose(log.time, log.round / 1000)


def test_branches_and_showing_nothing_are_logged(load: Loader, tmp_path: Path) -> None:
    """A test between two policies: probabilities are mixed by the shares, and nothing is an arm where it may be."""
    p = np.array([[0.5, 0.2], [0.3, 0.6]])
    PropensityTable.single_world(p).save(tmp_path / "table")
    overrides = [
        f"data={{source: table, path: {tmp_path / 'table'}}}",
        "world.no_recommendation=0.1",
        "policies.test={policy: BranchTest, branches: {NoRecommendation: {}, FixedSplit: {weights: [0.3, 0.7, 0]}}, "
        "design: {policy: ABTest, visitors: 1000, weights: [0.25, 0.75]}}",
        "policies.FixedSplit.weights=[0.5, 0.5, 0]",
    ]
    folder, _ = run(load(*overrides), tmp_path / "run")
    log = read_log(folder.path / "events" / "test.parquet")
    np.testing.assert_allclose(log.propensities, np.tile([0.75 * 0.3, 0.75 * 0.7, 0.25], (600, 1)))
    assert log.available is None
    assert 0.15 < np.mean(log.chosen == 2) < 0.35
    greedy = read_log(folder.path / "events" / "EpsilonGreedy.parquet")
    assert greedy.available is not None
    assert not greedy.available[:, 2].any()


@pytest.mark.faults
def test_an_interrupted_recording_goes_on_and_gives_the_same_bytes(
    load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(load(), tmp_path / "whole")
    played = _play_only(5, monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(load(), tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert len(logs_of(folder)) == 1  # three cells make a log; two are left in pieces
    assert len(list((folder.path / "events" / ".parts").glob("*.parquet"))) == 2
    monkeypatch.undo()
    monkeypatch.setattr(runner, "write_report", lambda run: None)
    played = _play_only(99, monkeypatch, KeyboardInterrupt())
    folder, said = run(load(), tmp_path / "run")
    assert len(played) == 12 - 5
    assert "is there and intact" in said
    assert logs_of(folder) == logs_of(whole)
    assert not (folder.path / "events" / ".parts").exists()


@pytest.mark.faults
def test_damaged_logs_are_recorded_again_and_said(load: Loader, tmp_path: Path) -> None:
    folder, _ = run(load(), tmp_path / "run")
    before = logs_of(folder)
    victim = folder.path / "events" / "UCB1.parquet"
    victim.write_bytes(victim.read_bytes()[:-4] + b"oops")
    (folder.path / "events" / "ABTest.parquet").unlink()
    folder, said = run(load(), tmp_path / "run")
    assert "UCB1.parquet is damaged; it is recorded again" in said
    assert "FixedSplit.parquet is there and intact" in said
    assert logs_of(folder) == before


@pytest.mark.faults
def test_the_same_policy_under_two_labels_is_played_once(
    load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = _play_only(99, monkeypatch, KeyboardInterrupt())
    folder, _ = run(load("policies.again={policy: UCB1, width: 0.5}"), tmp_path / "run")
    assert len(played) == 4 * 3
    one, two = (parquet.read_table(folder.path / "events" / f"{label}.parquet") for label in ("UCB1", "again"))
    assert one.equals(two)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["simulation.log_events=[BetaThompson2]"], r"log_events: must hold labels of policies. Got `BetaThompson2`"),
        (["simulation.log_events=7"], r"log_events: must be all, or a list of labels of policies. Got 7"),
        (["simulation.log_events=[7]"], r"log_events: must be all, or a list of labels of policies. Got \[7\]"),
        (
            ["policies.Linear={policy: LinearThompson}", "simulation.log_events=[UCB1, Linear]"],
            r"Got Linear \(the probabilities of its choices are not known\)",
        ),
        (
            ["policies={ABTest: {policy: LinearThompson}}", "simulation.log_events=all"],
            "must be left out where no policy knows the probabilities of its choices",
        ),
        (
            ["policies.a/b={policy: UCB1}", "policies.a_b={policy: FixedSplit}"],
            r"must give every log a file of its own. Got a/b and a_b, both a_b.parquet",
        ),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_anything_is_simulated(
    load: Loader, tmp_path: Path, overrides: list[str], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        run(load(*overrides), tmp_path / "run")
    assert not (tmp_path / "run" / "cells").exists()


@pytest.mark.faults
def test_policies_that_do_not_know_are_left_out_and_said(load: Loader, tmp_path: Path) -> None:
    folder, said = run(load("policies.Linear={policy: LinearThompson}"), tmp_path / "run")
    assert "no events are recorded of Linear (the probabilities of its choices are not known)" in said
    assert "Linear.parquet" not in logs_of(folder)


@pytest.mark.faults
def test_logs_that_do_not_fit_on_the_disk_are_refused(
    load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**30, 2**30, 1000))  # bytes free
    with pytest.raises(ConfigError, match=r"must fit on the disk, 0\.0 GiB free.*for 600 rounds of each of 4 policies"):
        run(load(), tmp_path / "run")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return np.full((len(context.round), 3), 0.5)", "policies.mine: `propensities` must sum to 1"),
        ("return np.full((len(context.round), 2), 0.5)", r"policies.mine: `propensities` of .* must have shape"),
    ],
)
def test_wrong_propensities_of_an_own_policy_are_found_at_once(
    small: Path, tmp_path: Path, body: str, text: str
) -> None:
    module = f"wrong_policy_{len(body) + ord(body[-4])}_{'half' if '2' in body else 'sum'}"
    (tmp_path / f"{module}.py").write_text(
        "import numpy as np\nfrom policies import FixedSplit\n\n\nclass Mine(FixedSplit):\n"
        f"    def propensities(self, context):\n        {body}\n"
    )
    loaded = load_config(small, [f"policies.mine={{policy: '{module}:Mine'}}", "simulation.log_events=[mine]"])
    with pytest.raises(ValueError, match=text):
        run(loaded, tmp_path / "run")
    assert not (tmp_path / "run" / "cells").exists()


@pytest.mark.faults
def test_a_policy_that_plays_otherwise_the_second_time_is_named(
    load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = event_logs.simulate

    def other_seed(env: object, policy: object, **arguments: object) -> object:
        return original(env, policy, **(arguments | {"seed": 99}))  # type: ignore[arg-type]

    monkeypatch.setattr(event_logs, "simulate", other_seed)
    with pytest.raises(ValueError, match=r"policies\.ABTest: must choose the same when it plays again"):
        run(load(), tmp_path / "run")
    assert logs_of(RunFolder(tmp_path / "run")) == {}


@pytest.mark.faults
def test_a_full_disk_is_one_message_and_code_2(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bool] = []
    original = parquet.ParquetWriter.write_table

    def full(self: object, table: Any, **settings: object) -> None:
        written.append("propensity" in table.column_names)
        if sum(written) > 12:  # after the trials, in the middle of a recording
            raise OSError(28, "No space left on device")
        original(self, table, **settings)

    monkeypatch.setattr(log_writer, "_BUFFER", 20_000)
    monkeypatch.setattr(parquet.ParquetWriter, "write_table", full)
    done = CliRunner().invoke(app, ["run", str(small), "--out", str(tmp_path / "run"), "--log-events"])
    assert done.exit_code == 2
    assert "cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not list((tmp_path / "run" / "events").rglob("*.draft"))


def _play_only(cells: int, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[int]:
    """Let recording fail when it begins cell number `cells` + 1; the list grows with each cell that it begins."""
    original = event_logs.simulate
    played: list[int] = []

    def limited(env: object, policy: object, **arguments: object) -> object:
        if "first_replication" in arguments:
            if len(played) == cells:
                raise error
            played.append(1)
        return original(env, policy, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(event_logs, "simulate", limited)
    return played
