"""`bandits fit` and `bandits score`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bandits.reward_models import RewardModel
from experiments.cli import app

pytestmark = pytest.mark.model
QUICK = ["--set", "weights=tiny", "--set", "epochs=1"]


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a log of pairs and one of tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLICK_BANDITS_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(2)
    users = np.repeat([f"reader {n}" for n in range(60)], 3)
    items = np.tile(["sport", "music", "the weather of tomorrow and of all the days after it"], 60)
    clicks = random.binomial(100, np.tile([0.1, 0.2, 0.3], 60))
    pairs = pd.DataFrame({"user_text": users, "item_text": items, "impressions": 100, "clicks": clicks})
    pairs.to_csv("pairs.csv", index=False)
    pairs.assign(test=users, item_text=items + " " + users).drop(columns="user_text").to_parquet("tests.parquet")
    return tmp_path


def test_fit_saves_what_it_prints_and_does_not_fit_twice(folder: Path) -> None:
    code, page, error = call("fit", "pairs.csv", "--out", "model", *QUICK, "--set", "max_length=10")
    assert code == 0, error
    metrics = json.loads(Path("model/metrics.json").read_text())
    assert f"{metrics['models']['BERT']['log_loss']:.4f}" in page
    assert f"all rows {metrics['calibration']['overall']['ratio']:.3f}" in page
    assert "Cut: 60 pairs of texts are longer than the 10 tokens" in page
    model = RewardModel.load(Path("model"))
    assert model.info["config"]["loss"] == "binomial"
    (fit,) = Path("cache").glob("fit-*")
    before = (fit / "model" / "model.safetensors").stat().st_mtime_ns
    code, again, _ = call("fit", "pairs.csv", "--out", "model", *QUICK, "--set", "max_length=10")
    assert code == 0
    assert (fit / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert again.splitlines()[:4] == page.splitlines()[:4]


def test_a_file_of_settings_and_overrides(folder: Path) -> None:
    Path("fit.yaml").write_text("weights: tiny\nepochs: 3\nmax_length: 14\n")
    code, _, error = call("fit", "tests.parquet", "--out", "model", "--config", "fit.yaml", "--set", "epochs=1")
    assert code == 0, error
    config = RewardModel.load(Path("model")).info["config"]
    assert (config["weights"], config["epochs"], config["max_length"], config["loss"]) == ("tiny", 1, 14, "within_test")


def test_columns_beside_the_texts_are_named_by_options(folder: Path) -> None:
    frame = pd.read_csv("pairs.csv")
    frame["age"] = frame.groupby("user_text").ngroup()
    frame["length"] = frame["item_text"].str.len()
    frame["look"] = [[float(length), 1.0] for length in frame["length"]]
    frame["taste"] = [[float(age)] for age in frame["age"]]
    frame.to_parquet("pairs.parquet")
    names = ["--number", "length", "--embedding", "look", "--user-number", "age", "--user-embedding", "taste"]
    code, _, error = call("fit", "pairs.parquet", "--out", "model", *QUICK, *names, "--set", "embeddings_enter=tokens")
    assert code == 0, error
    assert RewardModel.load(Path("model")).info["columns"] == {
        "user": {"numbers": ["age"], "embeddings": {"taste": 1}},
        "item": {"numbers": ["length"], "embeddings": {"look": 2}},
    }
    code, _, error = call("fit", "newsroom", "--out", "other", *QUICK, "--user-number", "age")
    assert code != 0
    assert "`user_numbers` must be left out for newsroom" in error


def test_what_follows_a_click_is_named_by_options_and_scored(folder: Path) -> None:
    frame = pd.read_csv("pairs.csv")
    frame["orders"] = np.random.default_rng(4).binomial(frame["clicks"], 0.5)
    frame.assign(paid=20.0 * frame["orders"]).to_csv("orders.csv", index=False)
    code, printed, error = call(
        "fit", "orders.csv", "--out", "model", *QUICK, "--conversions", "orders", "--value", "paid"
    )
    assert code == 0, error
    assert all(f"  {name} " in printed for name in ("conversion", "value", "expected value"))
    assert call("score", "model", "pairs.csv")[0] == 0
    scored, model = pd.read_csv("pairs.scored.csv"), RewardModel.load(Path("model"))
    expected = model.outcome_rates(frame["user_text"].tolist(), frame["item_text"].tolist())
    for name, column in (
        ("click", "propensity"),
        *((name, name) for name in ("conversion", "value", "expected_value")),
    ):
        np.testing.assert_allclose(scored[column], expected[name], rtol=1e-6)
    assert scored["conversion"].mean() == pytest.approx(0.5, abs=0.05)
    code, _, error = call("score", "model", "pairs.scored.csv")
    assert code != 0
    assert "must not have a column `propensity` yet" in error
    code, _, error = call("fit", "orders.csv", "--out", "other", *QUICK, "--value", "paid")
    assert code != 0
    assert "`value` must come with `conversions`" in error


def test_score_adds_the_model_s_probabilities_and_keeps_the_rest(folder: Path) -> None:
    assert call("fit", "pairs.csv", "--out", "model", *QUICK)[0] == 0
    frame = pd.DataFrame(
        {"id": [7, 8, 9], "item_text": ["sport", "chess", "long " * 200], "user_text": ["reader 1", "", "x"]}
    )
    frame.to_csv("some.csv", index=False)
    code, page, error = call("score", "model", "some.csv")
    assert code == 0, error
    assert "1 rows are longer than the model reads" in page
    scored = pd.read_csv("some.scored.csv", keep_default_na=False)
    assert scored.drop(columns="propensity").equals(frame)
    model = RewardModel.load(Path("model"))
    expected = [model.propensities([u], [i])[0, 0] for u, i in zip(frame["user_text"], frame["item_text"], strict=True)]
    np.testing.assert_allclose(scored["propensity"], expected, rtol=1e-5)
    assert call("score", "model", "some.csv", "--out", "out.parquet")[0] == 0
    np.testing.assert_allclose(pd.read_parquet("out.parquet")["propensity"], expected, rtol=1e-5)


@pytest.mark.faults
def test_what_cannot_be_fitted_or_scored_is_refused(folder: Path) -> None:
    Path("full").mkdir()
    Path("full/thesis.txt").write_text("dear to somebody")
    for arguments, message in (
        (["fit", "pairs.csv", "--out", "full", *QUICK], "--out must be a new folder"),
        (["fit", "pairs.csv", "--out", "m", "--set", "epoch=1"], "Did you mean `epochs`?"),
        (["fit", "pairs.csv", "--out", "m", "--set", "epochs=none"], "epochs: must be"),
        (
            ["fit", "pairs.csv", "--out", "m", "--set", "sha256=abc"],
            "sha256: must match the pattern ^[0-9a-f]{64}$. Got",
        ),
        (["fit", "none.csv", "--out", "m", *QUICK], "which is no file"),
        (["fit", "newsroom", "--out", "m", "--format", "mind"], "must be left out for newsroom"),
        (["fit", "pairs.csv", "--out", "m", "--rating", "3", *QUICK], "`rating` must be left out"),
        (["score", "m", "pairs.csv"], "`folder` must hold a saved reward model"),
    ):
        code, _, error = call(*arguments)
        assert code == 2
        assert message in error
    assert Path("full/thesis.txt").exists()
    assert call("fit", "tests.parquet", "--out", "model", *QUICK)[0] == 0
    Path("bad.csv").write_text("item_text,propensity\nsport,1\n")
    Path("empty.csv").write_text("item_text,test\n,a\n")
    Path("typo.csv").write_text("item_txt,test\nsport,a\n")
    for file, message in (
        ("pairs.csv", "column `test` is missing"),
        ("bad.csv", "must not have a column `propensity`"),
        ("empty.csv", "`item_text` must not be empty"),
        ("typo.csv", "did you mean `item_text`?"),
    ):
        code, _, error = call("score", "model", file)
        assert code == 2
        assert message in error
    assert "must end in .csv" in call("score", "model", "pairs.csv", "--out", "a.xlsx")[2]


@pytest.mark.faults
def test_a_missing_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    code, _, error = call("fit", "pairs.csv", "--out", "model", *QUICK, "--set", "tuning=lora")
    assert code == 2
    assert error.startswith("Error: `tuning` must be 'full' or 'head' without the library peft")
    assert error.count("\n") == 1
