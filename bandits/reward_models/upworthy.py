"""The Upworthy Research Archive: headlines in randomized tests, 2013 to 2015.

One row of the archive is a package (headline and image) of a test. Viewers saw only headline and image, and were
randomized among the packages of a test, so headlines are compared within one test *and* one image.

References:
    Matias, Munger, Aubin Le Quere, Ebersole (2021), "The Upworthy Research Archive, a time series of 32,487 experiments
    in U.S. media", Scientific Data 8:195.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.reward_models.grouping import joined_groups
from bandits.reward_models.log_problems import Problems

REQUIRED = ("clickability_test_id", "headline", "eyecatcher_id", "impressions", "clicks")
OPTIONAL = (
    *("created_at", "updated_at", "excerpt", "lede", "slug", "significance", "first_place", "winner"),
    *("share_text", "square", "test_week", "problem"),
)
FILES = "upworthy-archive-*-packages-*.csv"  # exploratory, confirmatory and holdout
PROBLEM_START = pd.Timestamp("2013-06-25", tz="UTC")
PROBLEM_END = pd.Timestamp("2014-01-11", tz="UTC")  # the first day after it
MIN_SHARED_LEDE = 40  # characters; shorter openings ("Earworm Alert:") are phrases of the house, not of a story


class Tests(NamedTuple):
    """The archive as rows of a click log of tests.

    Attributes:
        rows: Those whose randomization was sound, with the columns of a `ClickLog`.
        faulty: Those from the weeks in which it was not; their contrasts are their own.
        facts: Counts of what was set aside.
    """

    rows: pd.DataFrame
    faulty: pd.DataFrame
    facts: dict[str, int]


def looks_like(frame: pd.DataFrame) -> bool:
    """Whether a table has the archive's layout rather than a log's."""
    return "item_text" not in frame.columns and bool({*REQUIRED[:3]} & {*frame.columns})


def archive_files(folder: Path) -> list[Path]:
    """The archive's full files in a folder: exploratory, confirmatory and holdout packages, those that are there."""
    return sorted(folder.glob(FILES))


def read_tests(frames: Mapping[str, pd.DataFrame]) -> Tests:
    """Turn archive rows into rows of a click log of tests.

    Stories (tests joined by a shared headline, image or opening, in whichever file) become groups. Columns that some
    copies lack (`created_at`, `updated_at`, `slug`, `share_text`, `square`, `problem`) are not needed.

    Args:
        frames: The archive's tables by the names of their files, columns in any order.

    Raises:
        ValueError: When columns are missing or rows are not valid; lists all problems of a file. When two files hold
            the same test.
    """
    rows = pd.concat([_read_packages(frame, name) for name, frame in frames.items()], ignore_index=True)
    files = rows.groupby("world")["file"].nunique()
    if (files > 1).any():
        raise ValueError(
            f"`clickability_test_id` must lie in one file: the archive's files share no test. "
            f"Got {files.index[files > 1][0]} in two of {', '.join(frames)}."
        )
    rows["user_text"] = ""
    image, faulty = rows["image"], rows["faulty"].to_numpy(dtype=bool)
    # A missing image may be any image: such a row is comparable with no other.
    unknown = pd.Series([f"?{row}" for row in range(len(rows))], index=rows.index, dtype="str")
    rows["contrast"] = rows["world"] + np.where(faulty, "!/", "/") + image.where(image != "", unknown)
    opening = _plain(rows["lede"])
    opening = opening.where(opening.str.len() >= MIN_SHARED_LEDE, "")
    rows["group"] = joined_groups(rows["world"], [_plain(rows["item_text"]), image, opening])
    facts = {
        "rows": len(rows),
        "missing image": int((image == "").sum()),
        "repeated pairs": int(rows.duplicated(["contrast", "item_text"]).sum()),
        "identical rows": sum(int(frame.duplicated().sum()) for frame in frames.values()),
        "faulty randomization": int(faulty.sum()),
    }
    sound = rows[~faulty]
    shown = sound["impressions"] > 0
    facts["never shown"] = int((~shown).sum())
    headlines = sound[shown].groupby("contrast")["item_text"].transform("nunique")
    facts["headline does not vary"] = int((headlines == 1).sum())
    return Tests(sound, rows[faulty], facts)


def _read_packages(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The columns that are used of one file, checked."""
    problems = Problems(name)
    problems.check_columns(frame, required=REQUIRED, optional=OPTIONAL)
    if not {"test_week", "problem", "created_at"} & set(frame.columns):
        problems.found.append("one of the columns `created_at`, `test_week`, `problem` must be there. Got none.")
    problems.raise_if_any()
    rows = pd.DataFrame({"file": name}, index=frame.index)
    rows["world"] = problems.texts(frame, "clickability_test_id", required=True)
    rows["item_text"] = problems.texts(frame, "headline", required=True)
    rows["impressions"], rows["clicks"] = problems.counts(frame)
    rows["image"] = problems.texts(frame, "eyecatcher_id", required=False)
    rows["lede"] = problems.texts(frame, "lede", required=False)
    made = _test_time(problems, rows["world"])
    rows["time"] = problems.times(frame, "created_at").fillna(made)
    rows["faulty"] = _in_problem_window(problems, frame, made)
    problems.check_arms(rows["item_text"])
    problems.raise_if_any()
    return rows


def _plain(text: pd.Series[str]) -> pd.Series[str]:
    """Letters and digits only, without tags and case: what makes two texts the same text."""
    return text.str.replace(r"<[^>]*>", " ", regex=True).str.lower().str.replace(r"[\W_]+", " ", regex=True).str.strip()


def _test_time(problems: Problems, test_ids: pd.Series[str]) -> pd.Series[pd.Timestamp]:
    """Time inside the test ids: the first eight hexadecimal digits are seconds since 1970."""
    valid = test_ids.str.fullmatch("[0-9a-f]{24}")
    seconds = test_ids.where(valid, "0" * 24).str[:8].map(lambda digits: int(digits, 16))
    times = pd.to_datetime(seconds, unit="s", utc=True).astype("datetime64[us, UTC]")
    return times.where(valid)


def _in_problem_window(problems: Problems, frame: pd.DataFrame, made: pd.Series[pd.Timestamp]) -> NDArray[np.bool_]:
    """Rows from 25 June 2013 to 10 January 2014, by the first of `problem`, `created_at`, `test_week` that is there.

    `test_week` is the year and week (`%Y%U`) of the package's making; in the two weeks that the window cuts, the time
    inside the test id decides.
    """
    if "problem" in frame.columns:
        flag = frame["problem"].astype("str").str.strip().str.lower()
        problems.require(flag.isin(["0", "1", "true", "false", "0.0", "1.0"]), "`problem` must be 0 or 1", flag)
        return flag.isin(["1", "true", "1.0"]).to_numpy()
    if "created_at" in frame.columns:
        created = problems.times(frame, "created_at").fillna(made)
        return ((created >= PROBLEM_START) & (created < PROBLEM_END)).to_numpy()
    week = frame["test_week"].astype("str").str.strip()
    problems.require(week.str.fullmatch("[0-9]{6}"), "`test_week` must be a year and week like 201446", week)
    first, last = PROBLEM_START.strftime("%Y%U"), PROBLEM_END.strftime("%Y%U")
    inside = (week > first) & (week < last)
    inside |= (week == first) & (made >= PROBLEM_START)
    inside |= (week == last) & (made < PROBLEM_END)
    return inside.to_numpy()
