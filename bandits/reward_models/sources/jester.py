"""Jester: what readers thought of a hundred jokes, many of them of every joke: a world in which all rewards are known.

Files: `ratings.parquet` with `user` and `joke` (numbers; jokes from 0) and `rating` (-10 to 10, higher is funnier; only
those that were given), and `jokes.parquet` with `joke` and `text`.

There are no clicks: a joke counts as clicked when its rating is at least a threshold. The ten jokes of the gauge set,
which everybody rates first, say who a reader is: her text tells how she liked them, and they are no arms. Other jokes
were chosen by a recommender for readers who stopped early, so only readers who rated all of them are a fair truth.

References:
    Goldberg, Roeder, Gupta, Perkins (2001), "Eigentaste: A Constant Time Collaborative Filtering Algorithm",
    Information Retrieval 4(2). Free for research when the article is cited.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bandits.reward_models.sources.chunks import read_parquet
from bandits.reward_models.sources.files import DataFile, Log
from bandits.reward_models.sources.tally import NO_DAY, Codes, Tally

LOG, JOKES = "ratings.parquet", "jokes.parquet"
GAUGE = (4, 6, 7, 12, 14, 15, 16, 17, 18, 19)  # numbers 5, 7, 8, 13, 15 .. 20 of the article, which counts from 1
_SCALE = 10
_LEVELS = ((5, "loves"), (0, "likes"), (-5, "dislikes"), (-_SCALE, "hates"))  # from which rating on


def read_jester(logs: Sequence[Log], threshold: float) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of a click log, and counts of ratings read, of those of the gauge set, and of jokes without a text.

    Args:
        logs: One file of ratings.
        threshold: A joke counts as clicked when its rating is at least this.

    Raises:
        ValueError: When columns are missing or values out of range.
    """
    (log,) = logs
    parts = []
    for chunk in read_parquet(log.file, ("user", "joke", "rating")):
        rating = chunk.floats("rating")
        if (np.abs(rating) > _SCALE).any():
            chunk.refuse("rating", f"a number from {-_SCALE} to {_SCALE}", np.abs(rating) > _SCALE)
        parts.append(pd.DataFrame({"user": chunk.integers("user"), "joke": chunk.integers("joke"), "rating": rating}))
    ratings = pd.concat(parts) if parts else pd.DataFrame({"user": [], "joke": [], "rating": []})
    gauge = ratings["joke"].isin(GAUGE)
    readers = _reader_texts(ratings[gauge])
    arms, users, jokes, tally = ratings[~gauge], Codes(), Codes(), Tally()
    tally.add(users.of(arms["user"]), jokes.of(arms["joke"]), NO_DAY, (arms["rating"] >= threshold).to_numpy())
    texts = _joke_texts(log.companions[JOKES])
    of_users, of_jokes = (
        (readers.get(user, "") for user in users.values),
        (texts.get(joke, "") for joke in jokes.values),
    )
    frame, textless = tally.rows(of_users, of_jokes)
    return frame, {"rows": len(ratings), "gauge ratings": int(gauge.sum()), "impressions without a text": textless}


def _reader_texts(gauge: pd.DataFrame) -> dict[object, str]:
    """What each reader thought of the gauge set: "Likes 2 of 3: loves 5, likes 7, hates 8", say."""
    texts: dict[object, str] = {}
    level = np.select([gauge["rating"] >= start for start, _ in _LEVELS], range(len(_LEVELS)))
    frame = gauge.assign(level=level, number=gauge["joke"] + 1).sort_values(["user", "level", "number"])
    frame["verb"] = [_LEVELS[place][1] for place in frame["level"]]
    for user, rows in frame.groupby("user"):
        told = [f"{verb} {' '.join(map(str, part))}" for verb, part in rows.groupby("verb", sort=False)["number"]]
        texts[user] = f"Likes {int((rows['level'] <= 1).sum())} of {len(rows)}: {', '.join(told)}"
    return texts


def _joke_texts(file: DataFile) -> dict[object, str]:
    texts: dict[object, str] = {}
    for chunk in read_parquet(file, ("joke", "text")):
        texts |= {
            joke: " ".join(str(text).split())
            for joke, text in zip(chunk.integers("joke").tolist(), chunk.texts("text"), strict=True)
        }
    return texts
