"""Jester: small files in its schema, and the shared data where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import ClickLog, read_click_log

SHARED = Path(__file__).parents[5] / "shared" / "data" / "jester5k"
RATINGS = [(3, 4, 9.5), (3, 6, 0.0), (3, 19, -5.25), (3, 0, 5.0), (3, 1, 4.99), (8, 4, -4.0), (8, 0, -9.9), (9, 1, 8.0)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ratings = pd.DataFrame(RATINGS, columns=["user", "joke", "rating"])
    ratings.astype({"user": "int32", "joke": "int16", "rating": "float32"}).to_parquet(tmp_path / "ratings.parquet")
    jokes = pd.DataFrame({"joke": [0, 1, 4, 6, 19], "text": ["A man walks", "Two  hunters\ncome", "x", "y", "z"]})
    jokes.to_parquet(tmp_path / "jokes.parquet")
    return tmp_path


def test_ratings_become_clicks_and_the_gauge_set_the_reader(
    folder: Path, counted: Callable[[ClickLog], dict[tuple[str, str, str], tuple[int, int]]]
) -> None:
    log = read_click_log(folder)
    first, second = "Likes 2 of 3: loves 5, likes 7, hates 20", "Likes 0 of 1: dislikes 5"
    assert counted(log) == {
        (first, "A man walks", "NaT"): (1, 1),
        (first, "Two hunters come", "NaT"): (1, 0),
        (second, "A man walks", "NaT"): (1, 0),
        ("", "Two hunters come", "NaT"): (1, 1),
    }
    assert log.facts["gauge ratings"] == 4
    assert log.name.endswith("ratings.parquet (rating >= 5)")
    lower = read_click_log(folder, format="jester", rating=4.5)
    assert lower.rows["clicks"].sum() == 3


@pytest.mark.faults
def test_what_is_no_jester_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"`rating` must be a number from -10 to 10. Got 11"):
        read_click_log(folder, rating=11.0)
    ratings = pd.read_parquet(folder / "ratings.parquet")
    ratings.assign(rating=99.0).to_parquet(folder / "ratings.parquet")
    with pytest.raises(ValueError, match=r"`rating` must be a number from -10 to 10. Got '?99"):
        read_click_log(folder)
    (folder / "jokes.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"`jokes.parquet` must lie beside"):
        read_click_log(folder, format="jester")
    (folder / "log.csv").write_text("item_text,impressions,clicks\na,1,0\nb,1,1\n")
    with pytest.raises(ValueError, match="`rating` must be left out"):
        read_click_log(folder / "log.csv", rating=1.0)


def test_the_shared_ratings() -> None:
    if not (SHARED / "ratings.parquet").is_file():
        pytest.skip("the shared Jester data are not on this machine")
    log = read_click_log(SHARED)
    ratings = pd.read_parquet(SHARED / "ratings.parquet")
    gauge = [number - 1 for number in (5, 7, 8, 13, *range(15, 21))]
    arms = ratings[~ratings["joke"].isin(gauge)]
    assert log.rows["impressions"].sum() == len(arms)
    assert log.rows["clicks"].sum() == (arms["rating"] >= 5).sum()
    assert len(log.items) == 90
    liked = ratings[ratings["joke"].isin(gauge)].groupby("user")["rating"].agg(lambda values: (values >= 0).sum())
    told = pd.Series([int(text.split()[1]) for text in log.users])
    assert np.abs(told.value_counts(normalize=True) - liked.value_counts(normalize=True)).max() < 0.02
