"""KuaiRec 2.0: how long viewers of a video app watched what it showed them in summer 2020.

Files, comma-separated with a header: `small_matrix.csv` (1,411 viewers by 3,327 videos, nearly every pair: close to a
full table of what everybody would do) or `big_matrix.csv` with `user_id, video_id, play_duration, video_duration, time,
date, timestamp, watch_ratio`; `kuairec_caption_category.csv` with `video_id, manual_cover_text, caption, topic_tag` and
ids and names of three levels of categories; `user_features.csv` if it is there.

There are no clicks: a video counts as clicked when `watch_ratio` (share of its length that was watched, above 1 when it
was repeated) exceeds a threshold. An item's text is its caption, cover text, tags and categories, in Chinese; rows of
videos without any are set aside. Some rows of the published captions are broken by line ends: they are set aside too. A
viewer's text is made of the ranges in `user_features.csv`; "" without that file.

References:
    Gao et al. (2022), "KuaiRec: A Fully-observed Dataset and Insights for Evaluating Recommender Systems", CIKM 2022.
    Licence: CC BY-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bandits.reward_models.sources.chunks import read_delimited
from bandits.reward_models.sources.files import DataFile, Log
from bandits.reward_models.sources.kuaishou import Viewers, joined_text
from bandits.reward_models.sources.tally import NO_DAY, Codes, Tally

CAPTIONS, USERS = "kuairec_caption_category.csv", "user_features.csv"
LEVELS = ("first", "second", "third")
_TEXTS = ("caption", "manual_cover_text", "topic_tag", *(f"{level}_level_category_name" for level in LEVELS))


def read_kuairec(logs: Sequence[Log], watch_ratio: float) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of a click log, and counts of rows read, without time, without text, and of captions that are broken.

    Args:
        logs: One matrix.
        watch_ratio: A video counts as clicked when a larger share of it was watched.

    Raises:
        ValueError: When columns are missing or rows are not valid.
    """
    (log,) = logs
    viewers, videos, tally, rows, timeless = Viewers(log.companions.get(USERS)), Codes(), Tally(), 0, 0
    for chunk in read_delimited(log.file, ("user_id", "video_id", "timestamp", "watch_ratio")):
        ratio, time = chunk.floats("watch_ratio"), chunk.floats("timestamp", may_miss=True)
        if (ratio < 0).any():
            chunk.refuse("watch_ratio", "0 or more", ratio < 0)
        day = np.where(np.isnan(time), NO_DAY, np.nan_to_num(time) // 86_400).astype(np.int64)
        users, items = viewers.of(chunk.integers("user_id")), videos.of(chunk.integers("video_id"))
        tally.add(users, items, np.where(np.isnan(time), NO_DAY, day), ratio > watch_ratio)
        rows, timeless = rows + len(chunk), timeless + int(np.isnan(time).sum())
    texts, broken = _read_texts(log.companions[CAPTIONS])
    frame, textless = tally.rows(viewers.texts, (texts.get(video, "") for video in videos.values))
    facts = {"rows": rows, "missing time": timeless, "impressions without a text": textless, "broken captions": broken}
    return frame, facts


def _read_texts(file: DataFile) -> tuple[dict[object, str], int]:
    """Text of each video, and how many rows could not be read."""
    broken: list[None] = []
    texts: dict[object, str] = {}
    for chunk in read_delimited(file, ("video_id", *_TEXTS), skipped=lambda: broken.append(None)):
        ids = pd.to_numeric(pd.Series(chunk.texts("video_id"), dtype="str"), errors="coerce").to_numpy()
        parts = zip(*(chunk.texts(name) for name in _TEXTS), strict=True)
        for video, (caption, cover, tags, *names) in zip(ids, parts, strict=True):
            if not np.isfinite(video):
                broken.append(None)
                continue
            texts[int(video)] = joined_text(caption, cover, *_tags(tags), *names)
    return texts, len(broken)


def _tags(text: str) -> list[str]:
    """Tags of a list such as `[travel, food]`."""
    return [tag.strip() for tag in text.strip("[]").split(",")]
