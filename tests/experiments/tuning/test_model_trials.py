import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console
from scipy import stats
from scipy.special import expit

from bandits import reward_models as models
from bandits.reward_models.metrics import log_loss
from experiments.progress import Reporter
from experiments.tuning import model_trials
from experiments.tuning.config import load_tuning
from experiments.tuning.model_trials import row_losses
from experiments.tuning.run import run_tuning

pytestmark = pytest.mark.model

QUIET = Reporter(Console(quiet=True))
EXPERIMENT = """
name: small
data: {source: click_log, path: clicks.csv}
reward_model: {weights: tiny, epochs: 1, learning_rate: 1e-3, max_length: 16, seed: 5}
baseline: FixedSplit
policies: {FixedSplit: }
"""
TUNING = """
name: rates
experiment: small.yaml
search: {method: grid, seed: 8}
space: {reward_model.learning_rate: [1e-4, 1e-2]}
"""


@pytest.fixture
def tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search over a learning rate, with its experiment and log beside it, and an empty cache of fits."""
    random = np.random.default_rng(2)
    topics = ("golf", "opera", "stocks")
    rows = [
        (f"reader {user} of {topics[user % 3]}", f"{topic} today", 80, random.binomial(80, 0.6 - 0.2 * (user % 3 == k)))
        for user in range(60)
        for k, topic in enumerate(topics)
    ]
    columns = ["user_text", "item_text", "impressions", "clicks"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "clicks.csv", index=False)
    (tmp_path / "small.yaml").write_text(EXPERIMENT)
    (tmp_path / "tuning.yaml").write_text(TUNING)
    monkeypatch.setattr("experiments.tuning.run.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "tuning.yaml"


def tuned(path: Path, out: Path, *overrides: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    run_tuning(load_tuning(path, overrides), out, reporter=QUIET)
    results: dict[str, Any] = yaml.safe_load((out / "results.json").read_text())
    return pd.read_csv(out / "trials.csv"), results


def fitted(folder: Path, rate: float, seed: int) -> tuple[models.RewardModel, models.Split]:
    log = models.read_click_log(folder / "clicks.csv")
    split = models.split_log(log, seed=5)
    fit = models.FitConfig(weights="tiny", epochs=1, learning_rate=rate, max_length=16, seed=seed)
    return models.RewardModel.fit(log, split, fit, cache=folder / f"{rate}-{seed}"), split


def test_an_ensembles_values_are_found_by_its_first_member(tuning: Path, tmp_path: Path) -> None:
    trials, results = tuned(tuning, tmp_path / "out", "overrides=[reward_model.members=2]")
    alone, of_one = tuned(tuning, tmp_path / "alone")
    pd.testing.assert_frame_equal(trials, alone)
    assert results["evaluation"] == of_one["evaluation"]


def loss(model: models.RewardModel, rows: pd.DataFrame) -> float:
    p = expit(model.scores(rows["user_text"].tolist(), rows["item_text"].tolist()))
    return log_loss(p, rows["impressions"].to_numpy(float), rows["clicks"].to_numpy(float))


def test_trials_are_fits_judged_by_validation_rows_and_the_evaluation_by_test_rows(
    tuning: Path, tmp_path: Path
) -> None:
    table, results = tuned(tuning, tmp_path / "out")
    trials = [fitted(tmp_path, rate, seed=8) for rate in (1e-4, 1e-2)]
    np.testing.assert_allclose(table["value"], [loss(model, split.validation) for model, split in trials], rtol=1e-6)
    for model, value in zip((model for model, _ in trials), table["value"], strict=True):
        assert model.info["history"][-1]["validation_loss"] == pytest.approx(value, rel=1e-5)
    best = results["best_values"]["reward_model.learning_rate"]
    (row,) = results["evaluation"]
    by_user = []
    for name, rate in (("best", best), ("base", 1e-3)):
        model, split = fitted(tmp_path, rate, seed=5)
        assert row[name] == pytest.approx(loss(model, split.test), rel=1e-6)
        by_user.append(np.array([loss(model, rows) for _, rows in split.test.groupby("user_text")]))
    extra = by_user[0] - by_user[1]  # every user has the same number of impressions
    low, high = stats.t.interval(0.95, len(extra) - 1, extra.mean(), stats.sem(extra))
    np.testing.assert_allclose([row["extra"], row["low"], row["high"]], [extra.mean(), low, high], rtol=1e-5)
    best_config = yaml.safe_load((tmp_path / "out" / "best.yaml").read_text())
    assert (best_config["reward_model"]["learning_rate"], best_config["reward_model"]["seed"]) == (best, 5)
    assert len(list((tmp_path / "cache").iterdir())) == 2  # only the two fits of the evaluation are kept
    assert not (tmp_path / "out" / "storage" / "fits").exists()


@pytest.mark.usefixtures("no_page")
def test_calibration_and_test_rows_take_no_part_in_the_search(
    tuning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, _ = tuned(tuning, tmp_path / "out")

    def spoiled(log: models.ClickLog, *, seed: int) -> models.Split:
        split = models.split.split_log(log, seed=seed)
        others = {
            name: split.parts[name].assign(clicks=lambda rows: rows["impressions"] - rows["clicks"])
            for name in ("calibration", "test")
        }
        return replace(split, **others)

    monkeypatch.setattr(model_trials.models, "split_log", spoiled)
    other, _ = tuned(tuning, tmp_path / "other")
    np.testing.assert_array_equal(other["value"], table["value"])


@pytest.mark.usefixtures("no_page")
def test_policies_are_tuned_in_worlds_that_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.learned_worlds.cache_folder", lambda: tmp_path / "cache")
    small = (
        "[reward_model.weights=tiny, reward_model.epochs=1, reward_model.max_train_rows=60, "
        "reward_model.evaluation.band=null, data.users=24, data.headlines=6, data.impressions=20000, "
        "simulation.horizon=200, simulation.replications=4]"
    )
    (tmp_path / "tuning.yaml").write_text(
        f"name: alphas\nexperiment: newsroom\noverrides: {small}\nsearch: {{method: grid, seed: 9}}\n"
        "space: {policies.LinUCB.alpha: [0.01, 0.1, 1.0]}\n"
    )
    fits = []
    fit = models.RewardModel.fit

    def spy(*arguments: Any, **keywords: Any) -> Any:
        fits.append(1)
        return fit(*arguments, **keywords)

    monkeypatch.setattr(models.RewardModel, "fit", spy)
    table, results = tuned(tmp_path / "tuning.yaml", tmp_path / "out")
    assert len(fits) == 1
    assert len(table) == 3
    assert [row["where"] for row in results["evaluation"]] == ["model world", "planted world"]
    again, _ = tuned(tmp_path / "tuning.yaml", tmp_path / "out")
    assert len(fits) == 1
    pd.testing.assert_frame_equal(again, table, check_exact=True)


@pytest.mark.faults
@pytest.mark.usefixtures("no_page")
def test_an_interrupted_search_fits_nothing_twice(
    tuning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, results = tuned(tuning, tmp_path / "whole")
    fits: list[float] = []
    fit = models.RewardModel.fit
    stops = [2]

    def spy(log: models.ClickLog, split: models.Split, config: models.FitConfig, **keywords: Any) -> Any:
        if len(fits) == stops[0]:
            raise KeyboardInterrupt
        fits.append(config.learning_rate)
        return fit(log, split, config, **keywords)

    monkeypatch.setattr(models.RewardModel, "fit", spy)
    with pytest.raises(KeyboardInterrupt):
        tuned(tuning, tmp_path / "out")
    stops.clear()
    stops.append(100)
    again, results_again = tuned(tuning, tmp_path / "out")
    assert fits[:3] == [1e-3, 1e-4, 1e-2]  # the experiment's own values, then the trials, each once
    assert len(fits) == 5
    pd.testing.assert_frame_equal(again, whole, check_exact=True)
    assert results_again == results


@pytest.mark.faults
@pytest.mark.usefixtures("no_page")
def test_a_fit_that_diverges_or_is_refused_is_a_failed_trial(
    tuning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = models.RewardModel.fit

    def fragile(log: models.ClickLog, split: models.Split, config: models.FitConfig, **keywords: Any) -> Any:
        if config.learning_rate > 5e-3:
            raise FloatingPointError("infinite")
        return fit(log, split, config, **keywords)

    monkeypatch.setattr(models.RewardModel, "fit", fragile)
    table, results = tuned(tuning, tmp_path / "out")
    assert table["note"].fillna("").tolist() == ["", "the fit diverged"]
    assert results["best_values"] == {"reward_model.learning_rate": 1e-4}
    table, _ = tuned(tuning, tmp_path / "deep", "space={reward_model.freeze_layers: [3, 1]}")
    assert table["note"].fillna("").tolist() == ["`freeze_layers` must be at most 2 for this model. Got 3.", ""]
    assert np.isnan(table["best_so_far"].iloc[0])
    with pytest.raises(ValueError, match="Every one of the 2 trials failed; the first one: the fit diverged"):
        tuned(tuning, tmp_path / "none", "space={reward_model.learning_rate: [0.1, 0.2]}")


def test_losses_of_tests_are_those_of_clicks_inside_a_contrast() -> None:
    class Model:
        kind = "tests"

        def scores(self, users: list[str], items: list[str]) -> np.ndarray:
            return np.array([0.0, np.log(3.0), 1.0, 1.0])

    rows = pd.DataFrame(
        {
            "user_text": "",
            "item_text": list("abcd"),
            "contrast": list("xxyy"),
            "impressions": [10.0, 10.0, 30.0, 10.0],
            "clicks": [2.0, 5.0, 4.0, 0.0],
        }
    )
    losses = row_losses(Model(), rows)
    np.testing.assert_allclose(losses.loss, [-2 * np.log(0.25), -5 * np.log(0.75), -4 * np.log(0.75), 0.0], atol=1e-12)
    assert losses.mean() == pytest.approx(losses.loss.sum() / 11)


@pytest.mark.faults
@pytest.mark.usefixtures("no_page")
def test_a_damaged_trial_is_noticed_and_fitted_again(tuning: Path, tmp_path: Path) -> None:
    whole, _ = tuned(tuning, tmp_path / "out")
    first, second, third = sorted((tmp_path / "out" / "storage").glob("*.json"))
    first.write_text(first.read_text()[:20])
    second.write_text('{"validation_loss": "low"}')
    console = Console(record=True, quiet=False, file=io.StringIO(), width=300)
    run_tuning(load_tuning(tuning), tmp_path / "out", reporter=Reporter(console))
    said = console.export_text()
    assert f"the stored trial {first.name} is damaged" in said
    assert f"the stored trial {second.name} is damaged" in said
    assert third.name not in said
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "trials.csv"), whole, check_exact=True)
