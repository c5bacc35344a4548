"""EB-NeRD, the Ekstra Bladet News Recommendation Dataset: Danish articles shown and clicked in spring 2023.

Files: `behaviors.parquet` and `history.parquet` of the part `train` or `validation` (the test part has no clicks) and
`articles.parquet` beside or above them, unpacked or in the published zip. Read are, of `behaviors`, `impression_time`,
`user_id`, `article_ids_inview`, `article_ids_clicked`; of `history`, `user_id`, `article_id_fixed`; of `articles`,
`article_id`, `title`, `category_str`.

An item's text is its title. A user's text names the three sections that she read most in her history; "" without one.
An article listed twice in one view counts once. Left out on purpose: gender, age and postcode (for questions of
fairness, not for prediction), the articles' totals of views and reads (they know the future), reading times and scroll
depth (a `ClickLog` has no place for them). The order of a view is not known to be that on the page.

References:
    Kruse et al. (2024), "EB-NeRD: A Large-Scale Dataset for News Recommendation", RecSys Challenge 2024. Licence: the
    publisher's terms, which must be accepted before downloading; take it as for research only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bandits.reward_models.sources.chunks import Chunk, read_parquet
from bandits.reward_models.sources.files import DataFile, Log
from bandits.reward_models.sources.profiles import reading_profile
from bandits.reward_models.sources.tally import Codes, Tally

LOG, HISTORY, ARTICLES = "behaviors.parquet", "history.parquet", "articles.parquet"
_COLUMNS = ("impression_time", "user_id", "article_ids_inview", "article_ids_clicked")


def read_ebnerd(logs: Sequence[Log]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of a click log, and counts of articles in view, of clicks outside the view, and of views without a title.

    Raises:
        ValueError: When columns are missing or not of the published types, or when `articles.parquet` lacks an article.
    """
    users, items, tally, seen, outside = Codes(), Codes(), Tally(), 0, 0
    for log in logs:
        articles = _read_articles(log.companions[ARTICLES])
        profiles = _read_profiles(log.companions[HISTORY], articles["category_str"])
        item_of = items.of(articles["title"])
        for chunk in read_parquet(log.file, _COLUMNS):
            place = profiles.index.get_indexer(pd.Index(chunk.integers("user_id")))
            texts = np.append(profiles.to_numpy(dtype=object), "")
            user_of_row = users.of(texts[place])  # -1, a user without history, is the last
            day = chunk.days("impression_time")
            shown, clicks = (_listed(chunk, name, articles.index) for name in _COLUMNS[2:])
            rows, item = np.divmod(shown, len(articles))
            tally.add(user_of_row[rows], item_of[item], day[rows], np.isin(shown, clicks))
            seen += len(shown)
            outside += int((~np.isin(clicks, shown)).sum())
    frame, untitled = tally.rows(map(str, users.values), map(str, items.values))
    return frame, {"rows": seen, "clicks outside the view": outside, "impressions without a title": untitled}


def _listed(chunk: Chunk, name: str, articles: pd.Index[int]) -> NDArray[np.int64]:
    """Row and place of each distinct article in a column of lists, as row * number of articles + place."""
    column = chunk.column(name)
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        chunk.refuse(name, "a list of article ids", np.ones(len(chunk), dtype=bool))
    rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64)
    place = articles.get_indexer(pd.Index(pc.list_flatten(column).to_numpy(zero_copy_only=False)))
    if (place < 0).any():
        bad = np.zeros(len(chunk), dtype=bool)
        bad[rows[place < 0]] = True
        chunk.refuse(name, f"articles that {ARTICLES} lists", bad)
    return np.unique(rows * len(articles) + place)


def _read_articles(file: DataFile) -> pd.DataFrame:
    """Titles and sections by article id."""
    parts = [
        pd.DataFrame({"title": chunk.texts("title"), "category_str": chunk.texts("category_str")}).set_index(
            pd.Index(chunk.integers("article_id"))
        )
        for chunk in read_parquet(file, ("article_id", "title", "category_str"))
    ]
    articles = pd.concat(parts) if parts else pd.DataFrame({"title": [], "category_str": []})
    if articles.empty or not articles.index.is_unique:
        raise ValueError(f"`{file.place}` must list articles, each once. Got {len(articles)} rows with repeated ids.")
    return articles


def _read_profiles(file: DataFile, sections: pd.Series[str]) -> pd.Series[str]:
    """Text of each user by id."""
    section = sections.to_dict()
    texts: dict[int, str] = {}
    for chunk in read_parquet(file, ("user_id", "article_id_fixed")):
        histories = chunk.column("article_id_fixed").to_pylist()
        for user, history in zip(chunk.integers("user_id").tolist(), histories, strict=True):
            texts[user] = reading_profile(section.get(article, "") for article in history or ())
    return pd.Series(texts, dtype=object)
