import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from bandits import simulate
from envs import BernoulliBandit
from experiments import runner
from experiments.cli import app
from experiments.config import load_config
from experiments.progress import Reporter
from experiments.runner import run_experiment
from experiments.tuning.config import load_tuning
from experiments.tuning.run import run_tuning, value_at
from policies import UCB1, EpsilonGreedy

QUIET = Reporter(Console(quiet=True))


def tuned(path: Path, out: Path, *overrides: str) -> pd.DataFrame:
    run_tuning(load_tuning(path, overrides), out, threads=1, reporter=QUIET)
    return pd.read_csv(out / "trials.csv")


def played(policy: Any, seed: int, measure: str = "regret", replications: int = 6) -> np.ndarray:
    env = BernoulliBandit([0.5, 0.4, 0.2], num_envs=replications)
    trace = simulate(env, policy, horizon=150, seed=seed, snapshots=(150,))
    return getattr(trace, measure)[-1]


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> Iterator[list[int]]:
    """The seeds of all simulations inside; the one after `stop_after` is interrupted."""
    seeds: list[int] = []

    def spy(*arguments: Any, **keywords: Any) -> Any:
        if len(seeds) == stop_after:
            raise KeyboardInterrupt
        seeds.append(keywords["seed"])
        return simulate(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "simulate", spy)
        yield seeds


@pytest.mark.parametrize("metric", ["regret", "reward"])
@pytest.mark.usefixtures("no_page")
def test_a_grid_is_a_loop_over_runs(tuning: Path, tmp_path: Path, metric: str) -> None:
    space = "space={policies.UCB1.width: [0.1, 0.5, 2.0], policies.EpsilonGreedy 0.1.epsilon: [0.0, 0.3]}"
    overrides = ["search={method: grid, seed: 11}", f"metric={metric}", space]
    table = tuned(tuning, tmp_path / "out", *overrides)
    expected = [
        (played(UCB1(width=width), 11, metric).mean() + played(EpsilonGreedy(epsilon=epsilon), 11, metric).mean()) / 2
        for width, epsilon in itertools.product([0.1, 0.5, 2.0], [0.0, 0.3])
    ]
    np.testing.assert_allclose(table["value"], expected, rtol=1e-12)
    best = (max if metric == "reward" else min)(expected)
    assert table["best_so_far"].iloc[-1] == pytest.approx(best, rel=1e-12)
    results = yaml.safe_load((tmp_path / "out" / "results.json").read_text())
    values = list(itertools.product([0.1, 0.5, 2.0], [0.0, 0.3]))[expected.index(best)]
    assert tuple(results["best_values"].values()) == values
    assert tuple(results["own_values"].values()) == (0.5, 0.1)


@pytest.mark.usefixtures("no_page")
def test_the_evaluation_is_the_run_of_best_yaml(tuning: Path, tmp_path: Path) -> None:
    tuned(tuning, tmp_path / "out", "evaluation={seed: 21, replications: 9}")
    found = load_config(tmp_path / "out" / "best.yaml")
    assert (found.config.name, found.config.seed) == ("widths-best", 21)
    run = run_experiment(found, tmp_path / "run", threads=1, reporter=QUIET)
    summary = pd.read_csv(run / "summary.csv", index_col="policy")
    results = yaml.safe_load((tmp_path / "out" / "results.json").read_text())
    rows = {row["what"]: row for row in results["evaluation"]}
    assert list(rows) == ["UCB1", "EpsilonGreedy 0.1"]
    own = {"UCB1": UCB1(width=0.5), "EpsilonGreedy 0.1": EpsilonGreedy(epsilon=0.1)}
    best = {
        "UCB1": UCB1(width=results["best_values"]["policies.UCB1.width"]),
        "EpsilonGreedy 0.1": EpsilonGreedy(epsilon=results["best_values"]["policies.EpsilonGreedy 0.1.epsilon"]),
    }
    for label, row in rows.items():
        assert row["best"] == pytest.approx(summary.loc[label, "regret"])
        ours, theirs = (played(policies[label], 21, replications=9) for policies in (best, own))
        assert row["base"] == pytest.approx(theirs.mean())
        half = 2.306004 * (ours - theirs).std(ddof=1) / 3  # t with 8 degrees of freedom
        extra = np.mean(ours - theirs)
        np.testing.assert_allclose([row["extra"], row["low"], row["high"]], [extra, extra - half, extra + half], 1e-5)


@pytest.mark.usefixtures("no_page")
def test_the_search_never_meets_the_evaluation_seed(
    tuning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(monkeypatch) as seeds:
        tuned(tuning, tmp_path / "out")
    first = seeds.index(3)
    assert set(seeds[:first]) == {11}
    assert set(seeds[first:]) == {3}


@pytest.mark.faults
@pytest.mark.parametrize("method", ["random", "bayes"])
@pytest.mark.usefixtures("no_page")
def test_an_interrupted_search_ends_as_if_it_had_not_been(
    tuning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    overrides = [f"search.method={method}", "search.trials=13"]
    with watched(monkeypatch) as seeds:
        whole = tuned(tuning, tmp_path / "whole", *overrides)
    with watched(monkeypatch, stop_after=len(seeds) - 20) as before, pytest.raises(KeyboardInterrupt):
        tuned(tuning, tmp_path / "out", *overrides)
    assert 0 < len(pd.read_csv(tmp_path / "out" / "trials.csv")) < len(whole)
    with watched(monkeypatch) as after:
        again = tuned(tuning, tmp_path / "out", *overrides)
    pd.testing.assert_frame_equal(again, whole, check_exact=True)
    assert before + after == seeds
    for name in ("results.json", "best.yaml", "trials.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.usefixtures("no_page")
def test_more_trials_go_on_from_those_that_are_there(
    tuning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tuned(tuning, tmp_path / "out")
    with watched(monkeypatch) as seeds:
        more = tuned(tuning, tmp_path / "out", "search.trials=7")
    pd.testing.assert_frame_equal(more[:6], few, check_exact=True)
    assert seeds.count(11) == 2  # UCB1's two chunks; what epsilon-greedy is to play, it has played before


def test_a_combination_that_is_refused_is_a_failed_trial(tuning: Path, tmp_path: Path) -> None:
    experiment = tmp_path / "small.yaml"
    design = "  ABTest: {control: 0, baseline: 0.1, minimum_effect: 0.2}\n"
    experiment.write_text(experiment.read_text().replace("  FixedSplit:\n", f"  FixedSplit:\n{design}"))
    space = "space={policies.ABTest.baseline: [0.1, 0.6], policies.ABTest.minimum_effect: [0.2, 0.5]}"
    table = tuned(tuning, tmp_path / "out", "search={method: grid, seed: 11}", space)
    assert table["value"].isna().tolist() == [False, False, False, True]
    assert "minimum_effect" in table["note"].iloc[3]
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "1 of the trials failed" in html


@pytest.mark.faults
@pytest.mark.usefixtures("no_page")
def test_a_folder_of_something_else_is_left_alone(tuning: Path, tmp_path: Path) -> None:
    tuned(tuning, tmp_path / "out", "search.trials=1")
    with pytest.raises(FileExistsError, match=r"search.seed: was 11, is now 12"):
        tuned(tuning, tmp_path / "out", "search.trials=1", "search.seed=12")
    with pytest.raises(FileExistsError, match="is not a tuning"):
        tuned(tuning, tmp_path)


def test_the_command_tells_where_the_report_is(tuning: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["tune", str(tuning), "--out", str(tmp_path / "out"), "--set", "search.trials=2"])
    assert result.exit_code == 0
    page = Path(result.stdout.strip())
    assert page == tmp_path / "out" / "report.html"
    html = page.read_text(encoding="utf-8")
    assert "bandits run small.yaml --set policies.UCB1.width=" in html
    assert "--set &#39;policies.EpsilonGreedy 0.1.epsilon=" in html
    assert "Best of 2 trials" in html
    listed = CliRunner().invoke(app, ["list", "tunings"])
    assert "bernoulli-ucb: How narrow" in listed.stdout
    refused = CliRunner().invoke(app, ["tune", "bernoulli-ubc"])
    assert refused.exit_code == 2
    assert "Did you mean `bernoulli-ucb`?" in refused.stderr


@pytest.mark.faults
def test_ctrl_c_says_how_to_go_on(tuning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(monkeypatch, stop_after=9):
        result = CliRunner().invoke(app, ["tune", str(tuning), "--out", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "the same command goes on from here" in result.stderr


def test_own_values_are_found_where_keys_have_dots_and_lists() -> None:
    config = {"policies": {"a": {"x": 1}, "a.b": {"x": 2, "deep": [{"y": 3}]}, "c": None}}
    assert value_at(config, "policies.a.b.x") == 2
    assert value_at(config, "policies.a.b.deep.0.y") == 3
    assert value_at(config, "policies.c.x") is None
