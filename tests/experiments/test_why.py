"""The section "Why": the numbers in the run folder against the policies themselves, the pages, and what is refused."""

import math
import re
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest

from bandits import PropensityTable
from bandits.plots import plot_word_effects
from bandits.reward_models import RewardModel, explain_click
from experiments import explain_command
from experiments.config import ConfigError, load_config
from experiments.figures import strongest_words
from experiments.report_why import sum_words
from experiments.run_folder import RunFolder
from experiments.runner import run_experiment

HORIZON = 300
GIVEN = """
name: given
data: {source: table, path: table}
simulation: {horizon: 300, replications: 3, snapshots: 40}
world: {no_recommendation: 0.05, late_items: {late: 250}}
baseline: FixedSplit
policies:
  FixedSplit:
  UCB1: {width: 0.1}
  UCB1 wide: {policy: UCB1, width: 3.0, stream: 4}
"""


def run(folder: Path, text: str, *overrides: str, page: bool = True) -> RunFolder:
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    with warnings.catch_warnings(), nullcontext() if page else patch("experiments.runner.write_report"):
        warnings.filterwarnings("ignore", message="No installed font has")
        run_experiment(load_config(folder / "c.yaml", overrides), folder / "run", threads=1)
    return RunFolder.open(folder / "run")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of two users and four items."""
    folder = tmp_path_factory.mktemp("given")
    p = np.array([[0.5, 0.2, 0.1, 0.3], [0.3, 0.6, 0.1, 0.2]])
    texts, ids = ("cats", "<b>dogs</b>", "birds", "fish"), ("a", "b", "c", "late")
    table = PropensityTable.single_world(p, user_texts=("one", "two"), item_texts=texts, item_ids=ids)
    table.save(folder / "table")
    return folder


@pytest.fixture(scope="module")
def explained(given: Path) -> RunFolder:
    return run(given, GIVEN, "report.explain.user=two", "report.explain.item=c")


def test_parts_are_those_of_replication_0_at_its_end(explained: RunFolder) -> None:
    """Mean and bonus of UCB1 tell the pulls and clicks of every arm: those that the run has stored."""
    found, stored = explained.read_json("why"), explained.read("replications")
    traces = explained.read("traces")
    assert (found["user"], found["item"], found["words"]) == (1, 2, None)
    assert [scored["policy"] for scored in found["policies"]] == ["UCB1", "UCB1 wide"]
    for scored, width in zip(found["policies"], (0.1, 3.0), strict=True):
        mine = stored[(stored["policy"] == scored["policy"]) & (stored["replication"] == 0)]
        pulls = np.array(mine["pulls"].iloc[0])
        assert scored["names"] == ["estimate", "bonus"]
        clicks = 0.0
        for shown in scored["arms"]:
            estimate, bonus = shown["parts"]
            assert bonus == pytest.approx(math.sqrt(width * math.log(HORIZON + 1) / pulls[shown["arm"]]))
            clicks += estimate * pulls[shown["arm"]]
        scores = [sum(shown["parts"]) for shown in scored["arms"]]
        assert scores == sorted(scores, reverse=True)
        assert 2 in [shown["arm"] for shown in scored["arms"]]
        assert 4 not in [shown["arm"] for shown in scored["arms"]]  # showing nothing is no choice
        if len(scored["arms"]) == 4:  # all of them
            last = traces[(traces["policy"] == scored["policy"]) & (traces["round"] == HORIZON)]
            assert clicks == pytest.approx(last[last["replication"] == 0]["reward"].iloc[0])


def test_the_page_says_it(explained: RunFolder) -> None:
    html = explained.report_file.read_text(encoding="utf-8")
    section = html[html.index("<h2>Why</h2>") : html.index("<h2>What this does not say</h2>")]
    assert "The user: “two”. The item: “birds”." in section
    assert re.search(r"[\d.]+ estimate \+ [\d.]+ bonus", section)
    assert "These compare no scores of arms, or play on a device: FixedSplit." in section
    assert "&lt;b&gt;dogs" in section
    assert "captum" not in section  # there is no reward model


def test_only_the_strongest_of_many_words_are_drawn() -> None:
    effects = [[f"word{n}", "item", (-1) ** n * (n % 40)] for n in range(80)]
    data: Any = SimpleNamespace(why={"words": {"effects": effects}})
    drawn = strongest_words(data)
    assert [word for word, _, _ in drawn] == [f"word{n}" for n in range(80) if n % 40 >= 25]


def test_by_default_it_is_the_item_that_the_best_policy_shows_most_at_the_end(given: Path, tmp_path: Path) -> None:
    (tmp_path / "table").symlink_to(given / "table")
    folder = run(tmp_path, GIVEN, page=False)
    best = pd.read_csv(folder.path / "summary.csv").nlargest(1, "reward")["policy"].iloc[0]
    traffic = folder.read("traffic")
    mine = traffic[traffic["policy"] == best].pivot_table(index="round", columns="arm", values="pulls")
    late = mine.loc[HORIZON] - mine[mine.index <= 0.9 * HORIZON].iloc[-1]
    found = folder.read_json("why")
    assert (found["user"], found["item"]) == (0, int(late.to_numpy().argmax()))


def test_it_can_be_left_out(small: Path, tmp_path: Path) -> None:
    overrides = ["report.explain=null", "report.traffic=[]"]
    out = run_experiment(load_config(small, overrides), tmp_path / "run", threads=1)
    assert not (out / "why.json").exists()
    assert "<h2>Why</h2>" not in (out / "report.html").read_text(encoding="utf-8")


def test_where_worlds_differ_it_is_about_the_first(tmp_path: Path) -> None:
    """Replication 0 lives there; the second world has arms that the first has not."""
    table = PropensityTable(
        p=np.array([[[0.4, 0.1, 0.0]], [[0.1, 0.2, 0.9]]]),
        user_ids=("all",),
        user_texts=("",),
        item_ids=np.array([["a", "b", ""], ["c", "d", "e"]]),
        item_texts=np.full((2, 3), ""),
        num_items=np.array([2, 3]),
        world_ids=("x", "y"),
    )
    table.save(tmp_path / "table")
    folder = run(tmp_path, GIVEN.replace("world: {no_recommendation: 0.05, late_items: {late: 250}}\n", ""))
    found = folder.read_json("why")
    best = pd.read_csv(folder.path / "summary.csv").nlargest(1, "reward")["policy"].iloc[0]
    stored = folder.read("replications")
    pulls = stored[(stored["policy"] == best) & (stored["replication"] == 0)]["pulls"].iloc[0]
    assert found["item"] == int(np.argmax(pulls))
    assert {arm["arm"] for scored in found["policies"] for arm in scored["arms"]} == {0, 1}
    html = folder.report_file.read_text(encoding="utf-8")
    assert "shows most in replication 0" in html
    assert "The user:" not in html


CLICKS = """
name: pairs
data: {source: click_log, path: clicks.csv}
reward_model: {weights: tiny, epochs: 1, learning_rate: 1e-3, max_length: 16, batch_size: 16}
world: {features: 4}
simulation: {horizon: 60, replications: 2, snapshots: 10}
baseline: FixedSplit
policies: {FixedSplit: , LinUCB: }
"""


@pytest.mark.model
def test_words_are_those_of_the_fitted_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.learned_worlds.cache_folder", lambda: tmp_path / "cache")
    rows = [(f"reader {u}", f"story of {word}", 50, u % 5) for u in range(40) for word in ("rain", "sun")]
    frame = pd.DataFrame(rows, columns=["user_text", "item_text", "impressions", "clicks"])
    frame.to_csv(tmp_path / "clicks.csv", index=False)
    folder = run(tmp_path, CLICKS)
    found = folder.read_json("why")
    table = folder.table("model")
    assert table is not None
    texts = (table.user_texts[0], str(table.item_texts[0, found["item"]]))
    expected = explain_click(RewardModel.load(folder.path / "reward_model"), *texts)
    assert found["words"]["effects"] == [
        [word.text, word.of, pytest.approx(word.effect, abs=1e-6)] for word in expected.words
    ]
    assert (folder.figures / "words.svg").is_file()
    assert "Filled: words of the item; hatched: of the user." in folder.report_file.read_text(encoding="utf-8")

    def never(*_: Any) -> None:
        raise AssertionError("what is known need not be explained again")

    monkeypatch.setattr("bandits.reward_models.explain_click", never, raising=False)
    assert run(tmp_path, CLICKS, page=False).read_json("why") == found
    monkeypatch.setattr(explain_command, "has_captum", lambda: False)
    without = run(tmp_path, CLICKS)
    assert without.read_json("why")["words"] is None
    assert "pip install &#39;click-bandits[explain]&#39;" in without.report_file.read_text(encoding="utf-8")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("report.explain.user=three", "`report.explain.user` must be the id or text of one in the table. Got 'three'"),
        ("report.explain.item=cat", "`report.explain.item` must be the id or text of one in the table. Got 'cat'"),
        ("report.explain.item=(none)", "Got '(none)'"),
    ],
)
def test_unknown_users_and_items_are_refused_before_anything_is_simulated(
    given: Path, tmp_path: Path, override: str, message: str
) -> None:
    (tmp_path / "table").symlink_to(given / "table")
    with pytest.raises(ValueError, match=re.escape(message)):
        run(tmp_path, GIVEN, override)
    assert not (tmp_path / "run" / "cells").exists()


@pytest.mark.faults
def test_wrong_keys_are_refused(small: Path) -> None:
    with pytest.raises(ConfigError, match=r"report\.explain\.users: unknown key"):
        load_config(small, ["report.explain.users=1"])


def test_negative_parts_are_subtracted() -> None:
    assert sum_words(("a", "b", "c"), (-1.5, 0.25, -0.125)) == "-1.5 a + 0.25 b - 0.125 c"


def test_bars_are_as_long_as_the_effects() -> None:
    effects = [("likes", "user", 0.5), ("rain", "item", -1.25), ("$again$", "item", 0.0)]
    ax = plot_word_effects(effects, "effect", ("item", "user"))
    filled, hatched = ax.containers
    assert [bar.get_width() for bar in filled] == [-1.25, 0.0]  # type: ignore[attr-defined]
    assert [bar.get_width() for bar in hatched] == [0.5]  # type: ignore[attr-defined]
    assert hatched[0].get_hatch() == "////"  # type: ignore[index]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["likes", "rain", "$again$"]
    heights = [filled[0].get_y(), hatched[0].get_y()]  # type: ignore[index]
    assert heights[1] > heights[0]  # the first word is at the top
