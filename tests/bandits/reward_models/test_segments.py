"""Segments of users and halves of time."""

from __future__ import annotations

import pandas as pd

from bandits.reward_models.segments import halves_of_time, segment_of


def rows(times: list[str | None], impressions: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {"time": pd.to_datetime(pd.Series(times), utc=True, format="ISO8601"), "impressions": impressions}
    )


def test_first_pattern_that_fits_names_the_segment() -> None:
    patterns = {"bakers": "bak(er|ing)", "late": "^Night"}
    found = [segment_of(text, patterns) for text in ("BAKER at night", "Night baker", "night nurse", "nurse at night")]
    assert found == ["bakers", "bakers", "late", "others"]


def test_halves_have_about_equal_impressions() -> None:
    found = halves_of_time(rows(["2026-01-03", "2026-01-01", "2026-01-02", None, "2026-01-04"], [15, 10, 20, 99, 25]))
    early = "earlier, until 2026-01-02"
    assert found == ["later", early, early, "", "later"]


def test_one_heavy_day_is_a_half_of_its_own() -> None:
    assert halves_of_time(rows(["2026-01-01 08:30", "2026-01-02"], [1, 99])) == [
        "earlier, until 2026-01-01 08:30:00",
        "later",
    ]
    assert halves_of_time(rows(["2026-01-01", "2026-01-02"], [99, 1])) == ["earlier, until 2026-01-01", "later"]


def test_without_two_times_there_are_no_halves() -> None:
    assert halves_of_time(rows(["2026-01-01", "2026-01-01", None], [1, 2, 3])) is None
    assert halves_of_time(rows([None], [1])) is None
