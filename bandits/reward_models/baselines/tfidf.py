"""TF-IDF features of texts, for a logistic regression."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from bandits.reward_models.baselines.linear import LinearClicks, LinearWithinTests

_MAX_FEATURES = 20_000
# Scripts that put no spaces between words: Thai to Khmer, kana, and Chinese characters.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def words_are_spaced(texts: Sequence[str]) -> bool:
    """Whether less than a fifth of the letters belong to scripts without spaces between words.

    >>> words_are_spaced(["A headline"]), words_are_spaced(["今天的新闻"])
    (True, False)
    """
    letters = "".join(texts)
    return len(_UNSPACED.findall(letters)) < 0.2 * max(1, len(letters))


class TfidfFeatures:
    """Sparse features of rows: TF-IDF of the user text beside TF-IDF of the item text.

    Word unigrams and bigrams; character n-grams of one to three where words are not separated by spaces.

    Args:
        rows: Rows that vocabulary and document frequencies are learned from.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        self.vectorizers: list[tuple[str, TfidfVectorizer]] = []
        for column in ("user_text", "item_text"):
            texts = [text for text in rows[column].unique() if text]
            if texts:
                self.vectorizers.append((column, _vectorizer(texts).fit(texts)))

    def __call__(self, rows: pd.DataFrame) -> sparse.csr_array:
        """Features of other rows, shape (n, features)."""
        return sparse.csr_array(
            sparse.hstack([vectorizer.transform(rows[column]) for column, vectorizer in self.vectorizers])
        )


class TfidfClicks(LinearClicks):
    """Logistic regression of clicks on TF-IDF features; the penalty is chosen on validation rows.

    Args:
        train: Rows of `ClickLog.pairs` to fit.
        validation: Rows to choose the penalty by.
    """

    def __init__(self, train: pd.DataFrame, validation: pd.DataFrame) -> None:
        super().__init__(TfidfFeatures(train), train, validation)


class TfidfWithinTests(LinearWithinTests):
    """A linear score on TF-IDF features under the conditional likelihood of tests; penalty chosen on validation rows.

    Args:
        train: Rows of `ClickLog.pairs` of a log of tests.
        validation: Rows to choose the penalty by.
        overdispersion: As in `FitConfig`.
    """

    def __init__(self, train: pd.DataFrame, validation: pd.DataFrame, *, overdispersion: float) -> None:
        super().__init__(TfidfFeatures(train), train, validation, overdispersion=overdispersion)


def _vectorizer(texts: Sequence[str]) -> TfidfVectorizer:
    shape: dict[str, Any] = {"ngram_range": (1, 2)}
    if not words_are_spaced(texts):
        shape = {"analyzer": "char", "ngram_range": (1, 3)}
    return TfidfVectorizer(sublinear_tf=True, max_features=_MAX_FEATURES, dtype=np.float64, **shape)
