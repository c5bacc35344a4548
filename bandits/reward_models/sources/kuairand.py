"""KuaiRand (Pure, 1K, 27K): what a video app showed in spring 2022, partly at random, and what viewers did.

Files, comma-separated with a header: `log_random_4_22_to_5_08_*.csv` (videos that replaced recommended ones, drawn
uniformly at random: differences between them are causal) or `log_standard_*.csv` (the app's own choice) with `user_id,
video_id, date, hourmin, time_ms, is_click, is_like, ..., is_rand, tab`; `kuairand_video_captions.csv` (2026) with
`final_video_id, caption, show_cover_text, duration`; `user_features_*.csv` if it is there. Unpacked or in the published
tar.gz; the captions may lie beside it.

`is_click` is a click in tabs of two columns, and in tabs of one column, where videos start by themselves, that it
played long enough: choose `tabs` that mean the same. An item's text is its caption and cover text, in Chinese
(`final_video_id` is the log's `video_id`); rows of videos without any are set aside. A viewer's text is made of the
ranges in `user_features_*.csv`; "" without that file. Other signals than clicks are not read.

References:
    Gao et al. (2022), "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos",
    CIKM 2022. Licence: CC BY-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bandits.reward_models.sources.chunks import read_delimited
from bandits.reward_models.sources.files import DataFile, Log
from bandits.reward_models.sources.kuaishou import Viewers, joined_text
from bandits.reward_models.sources.tally import Codes, Tally

CAPTIONS, USERS = "kuairand_video_captions.csv", "user_features_*.csv"


def read_kuairand(logs: Sequence[Log], tabs: Sequence[int] | None) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of a click log, and counts of rows read, in other tabs, and without text.

    Args:
        logs: Parts of one log, with the same companions.
        tabs: Tabs of the app whose rows are read; None for all.

    Raises:
        ValueError: When columns are missing, rows are not valid, or no row lies in `tabs`.
    """
    first = logs[0].companions
    viewers, videos, tally, rows = Viewers(first.get(USERS)), Codes(), Tally(), 0
    seen: dict[int, int] = {}
    for log in logs:
        for chunk in read_delimited(log.file, ("user_id", "video_id", "time_ms", "is_click", "tab")):
            tab, clicked = chunk.integers("tab"), chunk.integers("is_click", (0, 1))
            day = chunk.integers("time_ms") // 86_400_000
            users, video = viewers.of(chunk.integers("user_id")), chunk.integers("video_id")
            kept = np.ones(len(chunk), dtype=bool) if tabs is None else np.isin(tab, list(tabs))
            tally.add(users[kept], videos.of(video[kept]), day[kept], clicked[kept])
            rows += len(chunk)
            for value, count in zip(*np.unique(tab, return_counts=True), strict=True):
                seen[int(value)] = seen.get(int(value), 0) + int(count)
    kept_rows = sum(count for value, count in seen.items() if tabs is None or value in tabs)
    if tabs is not None and not kept_rows:
        found = ", ".join(f"{value} ({count:,} rows)" for value, count in sorted(seen.items()))
        raise ValueError(f"`tabs` must hold tabs of the log: {found}. Got {list(tabs)}.")
    texts = _read_texts(first[CAPTIONS], videos)
    frame, textless = tally.rows(viewers.texts, (texts.get(video, "") for video in videos.values))
    facts = {"rows": rows, "rows of other tabs": rows - kept_rows, "impressions without a text": textless}
    return frame, facts | {f"rows of tab {value}": count for value, count in sorted(seen.items())}


def _read_texts(file: DataFile, videos: Codes) -> dict[object, str]:
    """Text of each video of the log; the file lists millions of others."""
    wanted = pd.Index(np.array(videos.values, dtype=np.int64))
    texts: dict[object, str] = {}
    for chunk in read_delimited(file, ("final_video_id", "caption", "show_cover_text")):
        ids = chunk.integers("final_video_id")
        of_log = np.flatnonzero(wanted.get_indexer(pd.Index(ids)) >= 0)
        if len(of_log):
            caption, cover = chunk.texts("caption"), chunk.texts("show_cover_text")
            texts |= {int(ids[row]): joined_text(caption[row], cover[row]) for row in of_log}
    return texts
