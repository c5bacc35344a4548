"""Pairs that no log tells of, for a student to learn what its teacher says of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bandits.reward_models.split import Split


def unlabelled_pairs(split: Split, train_rows: pd.DataFrame, count: int, impressions: float, seed: int) -> pd.DataFrame:
    """Pairs of a user and an item of the training rows that stand in no part of the split, each as likely as any other.

    Args:
        split: The parts of a log of pairs.
        train_rows: Rows of `split.train` whose users and items are paired.
        count: How many different pairs.
        impressions: That each pair is given.
        seed: Key of the draw.

    Returns:
        Columns `user_text`, `item_text`, `contrast` (""), `impressions` and `clicks` (0), `count` rows.

    Raises:
        ValueError: When there are fewer such pairs.
    """
    users, items = (pd.Index(train_rows[column].unique()) for column in ("user_text", "item_text"))
    users = users[users != ""]
    rows = pd.concat(list(split.parts.values()))[["user_text", "item_text"]]
    user, item = users.get_indexer(rows["user_text"]), items.get_indexer(rows["item_text"])
    inside = (user >= 0) & (item >= 0)
    known = np.unique(user[inside].astype(np.int64) * len(items) + item[inside])
    free = len(users) * len(items) - len(known)
    if count > free:
        raise ValueError(
            f"`teacher_pairs` must be at most {free:,}, the pairs of the {len(users):,} users and {len(items):,} items "
            f"in the training rows that the log does not hold. Got {count:,}."
        )
    drawn = np.random.default_rng([seed, count]).choice(free, count, replace=False)
    # The number of a free pair among free pairs, to its number among all: add the known pairs that lie before it.
    place = drawn + np.searchsorted(known - np.arange(len(known)), drawn, side="right")
    return pd.DataFrame(
        {
            "user_text": users[place // len(items)],
            "item_text": items[place % len(items)],
            "contrast": "",
            "impressions": impressions,
            "clicks": 0.0,
        }
    )
