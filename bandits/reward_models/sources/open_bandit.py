"""The Open Bandit Dataset: fashion items shown in three places of a web page in November 2019.

Files, comma-separated with a header: `{random,bts}/{all,men,women}/{all,men,women}.csv` with `timestamp, item_id,
position, click, propensity_score` (or `action_prob`), `user_feature_0` to `user_feature_3` and affinities, and
`item_context.csv` beside it with `item_id` and `item_feature_0` to `item_feature_3`. One campaign of one logging policy
is read at a time.

The data set holds no words. An item's text is its number and the first six digits of its three hashed features, a
user's text those of her four: a model can remember them, but learn nothing for items or users it has not seen. All
three positions are added up, and propensities are left out; `bandits ope` and `bandits.ope.read_obd` use both.

References:
    Saito, Aihara, Matsutani and Narita (2020), "Open Bandit Dataset and Pipeline", arXiv:2008.07146.
    Licence: CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bandits.reward_models.sources.chunks import Chunk, read_delimited
from bandits.reward_models.sources.files import Log
from bandits.reward_models.sources.tally import Codes, Tally

LOGS, ITEMS = ("all.csv", "men.csv", "women.csv"), "item_context.csv"
_DIGITS = 6
_USER_FEATURES = tuple(f"user_feature_{i}" for i in range(4))
_ITEM_FEATURES = tuple(f"item_feature_{i}" for i in range(1, 4))  # feature 0 is a number


def read_open_bandit(logs: Sequence[Log]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of a click log, and the count of rows read.

    Raises:
        ValueError: When columns are missing, rows are not valid, or `item_context.csv` lacks an item.
    """
    (log,) = logs
    texts: dict[int, str] = {}
    for chunk in read_delimited(log.companions[ITEMS], ("item_id", *_ITEM_FEATURES)):
        named = zip(chunk.integers("item_id").tolist(), _digits(chunk, _ITEM_FEATURES), strict=True)
        texts |= {item: f"item {item} {digits}" for item, digits in named}
    items = pd.Index(list(texts))
    users, tally, rows = Codes(), Tally(), 0
    for chunk in read_delimited(log.file, ("timestamp", "item_id", "click", *_USER_FEATURES)):
        place = items.get_indexer(pd.Index(chunk.integers("item_id")))
        if (place < 0).any():
            chunk.refuse("item_id", f"an item that {log.companions[ITEMS].place} lists", place < 0)
        day, clicked = chunk.days("timestamp", "ISO8601"), chunk.integers("click", (0, 1))
        tally.add(users.of(_digits(chunk, _USER_FEATURES)), place, day, clicked)
        rows += len(chunk)
    frame, _ = tally.rows((f"user {digits}" for digits in users.values), texts.values())
    return frame, {"rows": rows}


def _digits(chunk: Chunk, columns: Sequence[str]) -> np.ndarray:
    """The first digits of several hashes in one text for each row."""
    parts = [[value[:_DIGITS] for value in chunk.texts(name)] for name in columns]
    return np.array([" ".join(digits) for digits in zip(*parts, strict=True)], dtype=object)
