"""`bandits validate` from a fitted model to its report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bandits.reward_models import RewardModel, split_log
from experiments.cli import app
from experiments.opened_log import open_log
from experiments.validation.config import load_validation
from experiments.validation.held_out import held_out
from experiments.validation.worlds import make_worlds

pytestmark = pytest.mark.model
CONFIG = """
horizon: 300
replications: 12
max_worlds: 12
min_users: 10
resamples: 100
placebo: 100
encoder: tiny
features: 2
policies:
  FixedSplit:
  "A/B test": {policy: ABTest, visitors: 100, if_none: best}
  "EpsilonGreedy 0.3": {policy: EpsilonGreedy, epsilon: 0.3}
  "Model, greedy": {policy: PriorGreedy}
"""


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a log of pairs, one of tests, a model of each, and a small config."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(2)
    users = np.repeat([f"reader {n}" for n in range(150)], 3)
    items = np.tile(["sport", "music", "weather"], 150)
    clicks = random.binomial(100, np.tile([0.1, 0.2, 0.3], 150))
    pairs = pd.DataFrame({"user_text": users, "item_text": items, "impressions": 100, "clicks": clicks})
    pairs.to_csv("pairs.csv", index=False)
    pairs.assign(test=users, item_text=items + " " + users).drop(columns="user_text").to_csv("tests.csv", index=False)
    for kind in ("pairs", "tests"):
        code, _, error = call("fit", f"{kind}.csv", "--out", kind, "--set", "weights=tiny", "--set", "epochs=1")
        assert code == 0, error
    Path("small.yaml").write_text(CONFIG)
    return tmp_path


def test_from_a_model_to_its_report(folder: Path) -> None:
    for kind, truth in (("pairs", "when they were shown each of the 3 items"), ("tests", "held-out tests")):
        code, page, error = call("validate", kind, "--data", f"{kind}.csv", "--config", "small.yaml")
        assert code == 0, error
        found = json.loads(Path(kind, "validation", "validation.json").read_text())
        split = split_log(open_log(f"{kind}.csv").log)
        assert found["rows"]["held_out"] == len(split.test)
        assert found["rows"]["left_out"] == 450 - len(split.test)
        assert truth in found["truth"]
        for aspect, answer in found["answers"].items():
            assert f"Validated for {aspect}: {answer}" in page
        html = Path(kind, "validation", "report.html").read_text(encoding="utf-8")
        assert html.count("<tr>") > 25
        assert "Validated for ranking" in html
        assert found["agreement"]["pairs"] == 6
        assert not any(word in html for word in ("None", "nan", "Undefined"))
    again = call("validate", "tests", "--data", "tests.csv", "--config", "small.yaml", "--out", "other")
    assert again[0] == 0
    assert Path("other/validation.json").read_text() == Path("tests/validation/validation.json").read_text()


def test_the_real_world_is_what_users_did_with_every_item(folder: Path) -> None:
    model, config = RewardModel.load(Path("pairs")), load_validation("small.yaml", "pairs").config
    log = open_log("pairs.csv").log
    data = held_out(model, log)
    worlds = make_worlds(model, log, data, None, config)
    assert worlds.real is not None
    rate = {
        (u, i): c / n
        for u, i, n, c in log.pairs[["user_text", "item_text", "impressions", "clicks"]].itertuples(index=False)
    }
    for u, user in enumerate(worlds.real.user_texts):
        for k, item in enumerate(worlds.real.item_texts[0]):
            assert worlds.real.p[0, u, k] == pytest.approx(rate[user, str(item)])
    np.testing.assert_allclose(
        worlds.model.p[0], model.propensities(worlds.model.user_texts, worlds.model.item_texts[0].tolist()), rtol=1e-4
    )
    assert set(worlds.real.user_texts) == set(data.rows["user_text"])
    fewer = make_worlds(model, log, data, None, config.model_copy(update={"min_users": 1000}))
    assert fewer.real is None
    assert "at least 1000 are needed" in fewer.truth


def test_the_newsroom_s_truth_is_planted(folder: Path) -> None:
    opened = open_log("newsroom")
    assert opened.newsroom is not None
    model, config = RewardModel.load(Path("pairs")), load_validation("small.yaml", "pairs").config
    data = held_out(model, opened.log)
    worlds = make_worlds(model, opened.log, data, opened.newsroom, config.model_copy(update={"max_users": 20}))
    assert worlds.real is not None
    planted = opened.newsroom.true_table()
    assert worlds.real.p.shape == (1, 20, 18)
    places = [planted.user_texts.index(text) for text in worlds.real.user_texts]
    np.testing.assert_array_equal(worlds.real.p[0], planted.p[0, places])


@pytest.mark.faults
def test_what_does_not_belong_together_is_refused(folder: Path) -> None:
    for arguments, message in (
        (["pairs", "--data", "tests.csv"], "--data must be a log of pairs, as the model's own was. Got a log of tests"),
        (["tests", "--data", "none.csv"], "which is no file"),
        (["none", "--data", "tests.csv"], "must hold a saved reward model"),
        (["tests", "--data", "tests.csv", "--set", "horizon=1"], "horizon"),
    ):
        code, _, error = call("validate", *arguments)
        assert code == 2
        assert message in error
    known = pd.read_csv("pairs.csv").merge(split_log(open_log("pairs.csv").log).train[["user_text"]].drop_duplicates())
    known.to_csv("known.csv", index=False)
    code, _, error = call("validate", "pairs", "--data", "known.csv")
    assert code == 2
    assert "0 are new (no shared user)" in error
