"""Rates of rows of a file, and what a model remembers of the rows it was fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import (
    ClickLog,
    FitConfig,
    RewardModel,
    click_log_from_frame,
    num_cut,
    rates_of_rows,
    score_tests,
    split_log,
    unseen,
)

pytestmark = pytest.mark.model
TINY = FitConfig(weights="tiny", epochs=1, max_length=12)


def fitted(log: ClickLog, cache: Path, loss: str) -> RewardModel:
    config = TINY.model_copy(update={"loss": loss})
    return RewardModel.fit(log, split_log(log), config, cache=cache)


def test_rows_of_pairs_are_the_table_s_entries(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    model = fitted(click_log_from_frame(pairs_frame), tmp_path, "binomial")
    users, items = ["Reader 1 loves music", ""], ["News about sport today", "Something new"]
    table = model.propensities(users, items)
    rows = rates_of_rows(model, [users[1], users[0], users[0], users[0]], [items[0], items[1], items[0], items[1]])
    np.testing.assert_allclose(rows, [table[1, 0], table[0, 1], table[0, 0], table[0, 1]], rtol=1e-5)
    with pytest.raises(ValueError, match="`tests` must be given for a model of tests and for no other"):
        rates_of_rows(model, users, items, ["a", "b"])
    with pytest.raises(ValueError, match="`item_texts` must not be empty"):
        rates_of_rows(model, [], [])


def test_rows_of_tests_are_the_worlds_of_score_tests(tests_frame: pd.DataFrame, tmp_path: Path) -> None:
    log = click_log_from_frame(tests_frame)
    model = fitted(log, tmp_path, "within_test")
    held_out = split_log(log).test
    table = score_tests(model, held_out)
    shuffled = pd.concat([held_out, held_out.iloc[:4]]).sample(frac=1, random_state=1)  # some rows twice
    rows = rates_of_rows(model, shuffled["user_text"], shuffled["item_text"], shuffled["world"])
    for world, item, rate in zip(shuffled["world"], shuffled["item_text"], rows, strict=True):
        number = table.world_ids.index(world)
        expected = table.p[number, 0, table.item_texts[number].tolist().index(item)]
        assert rate == pytest.approx(expected, rel=1e-5)


def test_rows_that_are_cut_are_counted(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    model = fitted(click_log_from_frame(pairs_frame), tmp_path, "binomial")
    words = model.network.tokenizer
    users, items = (
        ["", "Reader 1 loves music", "Reader 1 loves music"],
        ["News", "News about sport today", "News " * 20],
    )
    lengths = [
        len(words(u, i)["input_ids"]) if u else len(words(i)["input_ids"]) for u, i in zip(users, items, strict=True)
    ]
    assert num_cut(model, users, items) == sum(length > 12 for length in lengths) > 0


@pytest.mark.parametrize("by", ["user_text", "item_text", "group"])
def test_a_model_knows_the_rows_it_was_fitted_on(pairs_frame: pd.DataFrame, tmp_path: Path, by: str) -> None:
    frame = pairs_frame.assign(time="2026-01-05")
    if by == "item_text":
        frame = frame.drop(columns="user_text").assign(item_text=pairs_frame["user_text"] + pairs_frame["item_text"])
    if by == "group":
        frame["group"] = frame["user_text"].str.len().astype(str) + frame["item_text"].str[-12:]
    log = click_log_from_frame(frame)
    split = split_log(log)
    assert split.by == by
    model = fitted(log, tmp_path, "binomial")
    model.save(tmp_path / "model")
    seen = RewardModel.load(tmp_path / "model").info["seen"]
    assert seen["until"] == "2026-01-05T00:00:00+00:00"
    new = log.pairs[unseen(log.pairs, seen, "pairs")]
    expected = split.test[["user_text", "item_text"]].apply(tuple, axis=1)
    assert set(new[["user_text", "item_text"]].apply(tuple, axis=1)) == set(expected)


def test_a_seen_text_takes_its_whole_story_with_it(tests_frame: pd.DataFrame, tmp_path: Path) -> None:
    log = click_log_from_frame(tests_frame)
    model = fitted(log, tmp_path, "within_test")
    seen, train = model.info["seen"], split_log(log).train
    other = tests_frame.iloc[:6].assign(test=["a"] * 3 + ["b"] * 3, item_text=[f"never seen {n}" for n in range(6)])
    assert unseen(click_log_from_frame(other).pairs, seen, "tests").all()
    other.loc[other.index[1], "item_text"] = train["item_text"].iloc[0]
    assert unseen(click_log_from_frame(other).pairs, seen, "tests").tolist() == [False] * 3 + [True] * 3
