import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from experiments import runner
from experiments.config import LoadedConfig, load_config
from experiments.progress import Reporter
from experiments.run_folder import TABLES, RunFolder
from experiments.runner import run_experiment

Loader = Callable[..., LoadedConfig]


@pytest.fixture
def load(small: Path) -> Loader:
    return lambda *overrides: load_config(small, overrides)


def run(loaded: LoadedConfig, out: Path, threads: int = 1) -> tuple[RunFolder, str]:
    said = io.StringIO()
    run_experiment(loaded, out, threads=threads, reporter=Reporter(Console(file=said)))
    return RunFolder(out), said.getvalue()


def tables_of(folder: RunFolder, policy: str) -> dict[str, pd.DataFrame]:
    """Tidy tables of one policy, without the list column, in a fixed order."""
    tables = {name: folder.read(name) for name in TABLES}
    return {
        name: table[table["policy"] == policy].drop(columns="pulls", errors="ignore").reset_index(drop=True)
        for name, table in tables.items()
    }


def assert_same(a: RunFolder, b: RunFolder, policy: str) -> None:
    ours, theirs = tables_of(a, policy), tables_of(b, policy)
    for name, table in ours.items():
        keys = [column for column in ("length", "replication", "round", "arm") if column in table]
        left, right = (t.sort_values(keys).reset_index(drop=True) for t in (table, theirs[name]))
        pd.testing.assert_frame_equal(left, right)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the report out: it takes most of the time of a small run."""
    monkeypatch.setattr(runner, "write_report", lambda run: None)


def test_a_run_leaves_everything_behind(load: Loader, tmp_path: Path) -> None:
    folder, _ = run(load(), tmp_path / "run")
    traces = folder.read("traces")
    assert set(traces["policy"]) == {"ABTest", "UCB1", "FixedSplit"}
    assert set(traces["replication"]) == set(range(5))
    assert set(folder.read("test_lengths")["length"]) == {10, 40}
    assert {"seed", "versions", "git_commit", "hardware", "config_hash", "cells"} <= folder.read_json("manifest").keys()
    assert folder.config().model_dump() == load().config.model_dump()
    summary = pd.read_csv(folder.path / "summary.csv").set_index("policy")
    final = traces[(traces["round"] == 120) & (traces["policy"] == "UCB1")]["reward"].mean()
    assert summary.loc["UCB1", "reward"] == pytest.approx(final)
    assert folder.report_file.stat().st_size > 10_000
    assert {"regret.png", "regret.svg", "extra_clicks.svg", "test_length.svg"} <= {
        file.name for file in folder.figures.iterdir()
    }


@pytest.mark.usefixtures("no_report")
def test_traces_do_not_depend_on_chunks_threads_or_other_policies(load: Loader, tmp_path: Path) -> None:
    whole, _ = run(load(), tmp_path / "a")
    other, _ = run(
        load("simulation.chunk=4", "policies.BetaThompson=", "policies.UCB2={policy: UCB1}"), tmp_path / "b", 2
    )
    for policy in ("UCB1", "ABTest", "FixedSplit"):
        assert_same(whole, other, policy)


@pytest.mark.usefixtures("no_report")
def test_a_policy_under_another_label_is_not_computed_again(load: Loader, tmp_path: Path) -> None:
    folder, _ = run(load("policies.again={policy: UCB1, width: 0.5}"), tmp_path / "run")
    assert len(list(folder.cells.folder.iterdir())) == 15  # 3 chunks of 3 policies, and of 2 lengths of the test
    first, again = (tables_of(folder, label)["traces"].drop(columns="policy") for label in ("UCB1", "again"))
    pd.testing.assert_frame_equal(first, again)


@pytest.mark.usefixtures("no_report")
def test_a_second_run_computes_nothing(load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = run(load(), tmp_path / "run")
    before = tables_of(folder, "UCB1")["traces"]
    monkeypatch.setattr(runner, "simulate", _refuse)
    folder, said = run(load(), tmp_path / "run")
    assert "15 of 15 cells are there and intact, 0 to compute" in said
    pd.testing.assert_frame_equal(before, tables_of(folder, "UCB1")["traces"])


@pytest.mark.usefixtures("no_report")
@pytest.mark.faults
def test_an_interrupted_run_goes_on(load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run(load(), tmp_path / "whole")
    _interrupt_after(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(load(), tmp_path / "run")
    assert len(list((tmp_path / "run" / "cells").iterdir())) == 4
    monkeypatch.undo()
    folder, said = run(load(), tmp_path / "run")
    assert "4 of 15 cells are there and intact, 11 to compute" in said
    for policy in ("UCB1", "ABTest", "FixedSplit"):
        assert_same(whole, folder, policy)


@pytest.mark.usefixtures("no_report")
@pytest.mark.faults
def test_a_damaged_cell_is_computed_again_and_said(load: Loader, tmp_path: Path) -> None:
    folder, _ = run(load(), tmp_path / "run")
    before = tables_of(folder, "ABTest")["traces"]
    victim = folder.cells.folder / folder.read_json("manifest")["cells"][0] / "curves.parquet"
    victim.write_bytes(victim.read_bytes()[:-4] + b"oops")
    folder, said = run(load(), tmp_path / "run")
    assert "of ABTest is damaged; it is computed again" in said
    assert "14 of 15 cells are there and intact, 1 to compute" in said
    pd.testing.assert_frame_equal(before, tables_of(folder, "ABTest")["traces"])


@pytest.mark.usefixtures("no_report")
@pytest.mark.faults
def test_a_folder_with_another_run_is_refused(load: Loader, tmp_path: Path) -> None:
    run(load(), tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"(?s)policies\.UCB1\.width: was 0\.5, is now 0\.7.*--out"):
        run(load("policies.UCB1.width=0.7"), tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="exists and is not a run"):
        run(load(), tmp_path / "other")


@pytest.mark.usefixtures("no_report")
@pytest.mark.faults
def test_a_policy_that_cannot_play_is_named_before_anything_is_simulated(load: Loader, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"policies\.ABTest: `control` must be an arm 0\.\.2\. Got 7\."):
        run(load("policies.ABTest.control=7"), tmp_path / "run")
    assert not (tmp_path / "run" / "cells").exists()


@pytest.mark.usefixtures("no_report")
def test_an_edit_of_an_own_policy_is_noticed(small: Path, tmp_path: Path) -> None:
    source = tmp_path / "edited_policy.py"
    source.write_text(
        "from bandits import ScalarPolicy\n\n\nclass Mine(ScalarPolicy):\n    arm = 0\n\n"
        "    def reset(self, problem, random):\n        pass\n\n"
        "    def select(self, context):\n        return self.arm\n\n"
        "    def update(self, feedback):\n        pass\n"
    )
    overrides = ["policies.mine={policy: 'edited_policy:Mine'}", "simulation.horizon=20"]
    run(load_config(small, overrides), tmp_path / "run")
    source.write_text(source.read_text() + "# a remark\n")
    _, said = run(load_config(small, overrides), tmp_path / "run")
    assert "15 of 18 cells are there and intact, 3 to compute" in said


def test_the_report_needs_the_folder_alone(load: Loader, tmp_path: Path) -> None:
    from experiments.report import write_report

    folder, _ = run(load(), tmp_path / "run")
    before = folder.report_file.read_text(encoding="utf-8")
    moved = RunFolder.open(Path(shutil.move(tmp_path / "run", tmp_path / "elsewhere")))
    shutil.rmtree(moved.figures)
    shutil.rmtree(moved.path / "cells")
    moved.report_file.unlink()
    write_report(moved)
    assert moved.report_file.read_text(encoding="utf-8") == before


def _refuse(*_: object, **arguments: object) -> None:
    raise AssertionError(f"nothing should be simulated, but this was: {arguments}")


def _interrupt_after(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `simulate` raise KeyboardInterrupt, as Ctrl-C does, when it begins cell number `cells` + 1."""
    original = runner.simulate
    done: list[int] = []

    def interrupted(env: object, policy: object, **arguments: object) -> object:
        if "first_replication" in arguments:
            if len(done) == cells:
                raise KeyboardInterrupt
            done.append(1)
        return original(env, policy, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "simulate", interrupted)


@pytest.mark.model
def test_policies_over_torch_play_on_the_device(load: Loader, tmp_path: Path, no_report: None) -> None:
    """Their cells are named by the device's type, the others' are not, and these give the same numbers as ever."""
    torch_policy = "policies.NeuralGreedy={replay: 20, hidden: 4}"
    plain, _ = run(load(), tmp_path / "plain")
    mixed, _ = run(load(torch_policy, "simulation.engine=torch", "simulation.device=cpu"), tmp_path / "mixed")
    assert_same(plain, mixed, "UCB1")
    traces = mixed.read("traces")
    assert set(traces[traces["policy"] == "NeuralGreedy"]["replication"]) == set(range(5))
    cards = [json.loads(file.read_text())["cell"] for file in (mixed.path / "cells").glob("*/cell.json")]
    devices = {(card["policy"]["policy"], card["device"]) for card in cards}
    assert devices == {("ABTest", None), ("UCB1", None), ("FixedSplit", None), ("NeuralGreedy", "cpu")}
    own = "data={source: bernoulli, prior: [1, 1], arms: 3}"
    lockstep, _ = run(load(torch_policy, own), tmp_path / "lockstep")
    cards = [json.loads(file.read_text())["cell"] for file in (lockstep.path / "cells").glob("*/cell.json")]
    assert {card["device"] for card in cards} == {None}
