"""MIND, the Microsoft News data set: headlines shown and clicked on a news page in autumn 2019.

Files: `behaviors.tsv` and `news.tsv` of the training or development part (the test part has no clicks), separated by
tabs, without header and without quoting, unpacked or in the published zip. `behaviors.tsv` has 5 columns: impression
id, user id, time (`11/15/2019 8:55:22 AM`), the ids of the news clicked before, and the news shown with their clicks
(`N123-1 N456-0`). `news.tsv` has 8: id, category, subcategory, title, abstract, url, entities of title and of abstract.

An item's text is its title. A user's text names the three subcategories that she clicked most before; "" without
history. The news of one impression were shuffled before publication: positions cannot be learned.

References:
    Wu et al. (2020), "MIND: A Large-scale Dataset for News Recommendation", ACL 2020. Licence: Microsoft Research
    License Terms, for research that is not commercial.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from bandits.reward_models.sources.chunks import Chunk, read_delimited
from bandits.reward_models.sources.files import DataFile, Log
from bandits.reward_models.sources.profiles import reading_profile
from bandits.reward_models.sources.tally import Codes, Tally

LOG, NEWS = "behaviors.tsv", "news.tsv"
_LOG_COLUMNS = ("impression id", "user id", "time", "history", "impressions")
_NEWS_COLUMNS = (
    *("news id", "category", "subcategory", "title", "abstract"),
    *("url", "title entities", "abstract entities"),
)
_TIME = "%m/%d/%Y %I:%M:%S %p"


def read_mind(logs: Sequence[Log]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of a click log, and counts of impressions read and of those without a title.

    Raises:
        ValueError: When a row is not as described above, or shows news that `news.tsv` does not list.
    """
    users, items, tally, impressions = Codes(), Codes(), Tally(), 0
    for log in logs:
        news = _read_news(log.companions[NEWS])
        item_of = items.of(news["title"])
        for chunk in _read(log.file, _LOG_COLUMNS):
            user_of_row = users.of(_profiles(chunk, news["subcategory"]))
            day = chunk.days("time", _TIME)
            rows, shown, clicked = _shown(chunk)
            place = news.index.get_indexer(pd.Index(shown))
            if (place < 0).any():
                bad = np.zeros(len(chunk), dtype=bool)
                bad[rows[place < 0]] = True
                unknown = shown[place < 0][0]
                chunk.refuse("impressions", f"news that {log.companions[NEWS].place} lists, not {unknown}", bad)
            tally.add(user_of_row[rows], item_of[place], day[rows], clicked)
            impressions += len(rows)
    frame, untitled = tally.rows(map(str, users.values), map(str, items.values))
    return frame, {"rows": impressions, "impressions without a title": untitled}


def _read(file: DataFile, columns: Sequence[str]) -> Iterator[Chunk]:
    return read_delimited(file, columns, delimiter="\t", header=False, quoted=False)


def _read_news(file: DataFile) -> pd.DataFrame:
    """Titles and subcategories by id."""
    columns = ("news id", "subcategory", "title")
    parts = [pd.DataFrame({name: chunk.texts(name) for name in columns}) for chunk in _read(file, _NEWS_COLUMNS)]
    news = pd.concat(parts).set_index("news id")
    if not news.index.is_unique:
        raise ValueError(
            f"`{file.place}` must list each news once. Got {news.index[news.index.duplicated()][0]!r} twice."
        )
    return news


def _profiles(chunk: Chunk, subcategory: pd.Series[str]) -> np.ndarray:
    places, histories = pd.factorize(chunk.texts("history"))
    section = subcategory.to_dict()
    texts = [reading_profile(section.get(news, "") for news in history.split()) for history in histories]
    return np.array(texts, dtype=object)[places]


def _shown(chunk: Chunk) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, news id and click of each news shown."""
    lists = [text.split() for text in chunk.texts("impressions")]
    rows = np.repeat(np.arange(len(chunk)), [len(shown) for shown in lists])
    entries = np.array([entry for shown in lists for entry in shown], dtype=object)
    parts = [entry.rpartition("-") for entry in entries]
    good = np.array([bool(news) and label in ("0", "1") for news, _, label in parts], dtype=bool)
    bad = np.array([not shown for shown in lists])
    bad[rows[~good]] = True
    if bad.any():
        chunk.refuse("impressions", "news with their clicks, like N123-1 N456-0 (test parts have none)", bad)
    return rows, np.array([p[0] for p in parts], dtype=object), np.array([int(p[2]) for p in parts], dtype=np.int64)
