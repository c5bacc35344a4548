"""Splits: nothing leaks, nothing moves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bandits.reward_models import Split, click_log_from_frame, read_click_log, split_log
from bandits.reward_models.split import whole_groups


def values(split: Split, column: str) -> list[set[str]]:
    return [set(part[column]) for part in split.parts.values()]


def assert_disjoint(sets: list[set[str]]) -> None:
    assert sum(len(s) for s in sets) == len(set.union(*sets))


def test_users_stay_together(pairs_frame: pd.DataFrame) -> None:
    log = click_log_from_frame(pairs_frame)
    split = split_log(log, fractions=(0.4, 0.2, 0.2, 0.2))
    assert split.by == "user_text"
    assert_disjoint(values(split, "user_text"))
    assert sum(len(part) for part in split.parts.values()) == len(log.pairs)


def test_groups_come_before_users_and_items_after(pairs_frame: pd.DataFrame) -> None:
    pairs_frame["group"] = [f"g{row // 5 % 30}" for row in range(len(pairs_frame))]
    split = split_log(click_log_from_frame(pairs_frame), fractions=(0.4, 0.2, 0.2, 0.2))
    assert split.by == "group"
    assert_disjoint(values(split, "group"))
    items = pd.DataFrame({"item_text": [f"text {i}" for i in range(60)], "impressions": 50, "clicks": 5})
    assert split_log(click_log_from_frame(items)).by == "item_text"


def test_stories_and_headlines_of_the_archive_do_not_leak(archive: Path) -> None:
    split = split_log(read_click_log(archive))
    for column in ("group", "item_text", "contrast", "world"):
        assert_disjoint(values(split, column))
    assert len(split.train) / sum(map(len, split.parts.values())) == pytest.approx(0.7, abs=0.03)


def test_new_rows_never_move_old_ones(pairs_frame: pd.DataFrame) -> None:
    fractions = (0.4, 0.2, 0.2, 0.2)
    few = split_log(click_log_from_frame(pairs_frame.iloc[:200]), fractions=fractions)
    many = split_log(click_log_from_frame(pairs_frame.iloc[::-1]), fractions=fractions)
    for name, part in few.parts.items():
        assert set(part["user_text"]) <= set(many.parts[name]["user_text"])


def test_seed_moves_groups(pairs_frame: pd.DataFrame) -> None:
    log = click_log_from_frame(pairs_frame)
    fractions = (0.4, 0.2, 0.2, 0.2)
    first, again, other = (split_log(log, fractions=fractions, seed=seed) for seed in (1, 1, 2))
    assert first.content_hash == again.content_hash != other.content_hash


@pytest.mark.faults
def test_too_few_groups_are_refused(pairs_frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"enough groups .*distinct `user_text`.* Got 3 groups, and no rows for"):
        split_log(click_log_from_frame(pairs_frame.iloc[:15]))
    pairs_frame["clicks"] = 0
    with pytest.raises(ValueError, match="0 clicks"):
        split_log(click_log_from_frame(pairs_frame))


@pytest.mark.faults
@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.7, 0.1, 0.1, 0.2), (0.8, 0.2, 0.1, -0.1)])
def test_fractions_must_be_four_shares(pairs_frame: pd.DataFrame, fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="four positive numbers that sum to 1"):
        split_log(click_log_from_frame(pairs_frame), fractions=fractions)


def test_a_limit_takes_whole_groups(pairs_frame: pd.DataFrame) -> None:
    for limit in (1, 23, 100):
        taken = whole_groups(pairs_frame, "user_text", limit, seed=1)
        assert set(taken.groupby("user_text").size()) == {5}
        assert len(taken) == max(5, limit // 5 * 5)  # one group even where it is larger
        assert taken.equals(whole_groups(pairs_frame, "user_text", limit, seed=1))
    assert not taken.equals(whole_groups(pairs_frame, "user_text", 100, seed=2))
    for none in (None, len(pairs_frame)):
        assert whole_groups(pairs_frame, "user_text", none) is pairs_frame
