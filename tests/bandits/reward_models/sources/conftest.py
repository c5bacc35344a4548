"""Counts of a log by hand, to compare a reader's rows with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bandits.reward_models import ClickLog

Counts = dict[tuple[str, str, str], tuple[int, int]]


@pytest.fixture
def counted() -> Callable[[ClickLog], Counts]:
    """Impressions and clicks of a log by user text, item text and day ("NaT" when unknown)."""

    def count(log: ClickLog) -> Counts:
        rows = log.rows
        keys = zip(
            rows["user_text"], rows["item_text"], rows["time"].dt.strftime("%Y-%m-%d").fillna("NaT"), strict=True
        )
        found = dict(zip(keys, zip(rows["impressions"], rows["clicks"], strict=True), strict=True))
        assert len(found) == len(rows), "each pair and day must have one row"
        return found

    return count
