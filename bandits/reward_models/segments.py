"""Parts of a log that are looked at on their own: segments of users, and earlier and later rows."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

OTHERS = "others"


def segment_of(text: str, patterns: Mapping[str, str]) -> str:
    """The first segment whose pattern is found in a user's text, whether letters are small or capital, or `others`.

    >>> segment_of("Nurse who adores football.", {"sport": "football|soccer", "nurses": "nurse"})
    'sport'
    """
    fitting = (name for name, pattern in patterns.items() if re.search(pattern, text, re.IGNORECASE))
    return next(fitting, OTHERS)


def halves_of_time(rows: pd.DataFrame) -> list[str] | None:
    """Whether each row is of the earlier or the later half of the impressions that have a time.

    Args:
        rows: With `time` (UTC or NaT) and `impressions`, n of them.

    Returns:
        Length n, "" without a time; None where there are no two times.

    >>> rows = pd.DataFrame({"time": pd.to_datetime(["2026-09-03", None, "2026-09-02"], utc=True), "impressions": 9})
    >>> halves_of_time(rows)
    ['later', '', 'earlier, until 2026-09-02']
    """
    shown = rows.groupby("time")["impressions"].sum()  # without those that have no time
    if len(shown) < 2:
        return None
    share = shown.cumsum().to_numpy(dtype=np.float64)[:-1] / shown.sum()
    end = pd.Timestamp(shown.index[int(np.abs(share - 0.5).argmin())])
    name = str(end.tz_localize(None)).removesuffix(" 00:00:00")
    halves = np.where(rows["time"] <= end, f"earlier, until {name}", "later")
    return [str(half) for half in np.where(rows["time"].isna(), "", halves)]
