"""What BERT must beat: TF-IDF features with a logistic regression, on the same split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from bandits.reward_models import metrics
from bandits.reward_models.within_test import FloatArray, IntArray, conditional_log_loss, log_shares, tempered_clicks

PENALTIES = tuple(float(x) for x in np.logspace(-2, 3, 6))
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


class TfidfClicks:
    """Logistic regression of clicks on TF-IDF features; the penalty is chosen on validation rows.

    Args:
        train: Rows of `ClickLog.pairs` to fit.
        validation: Rows to choose the penalty by.
    """

    def __init__(self, train: pd.DataFrame, validation: pd.DataFrame) -> None:
        self.features = TfidfFeatures(train)
        x, impressions, clicks = self.features(train), *counts(train)
        x_validation, counts_validation = self.features(validation), counts(validation)
        best = np.inf
        for penalty in PENALTIES:
            model = _logistic(x, impressions, clicks, penalty)
            loss = metrics.log_loss(model.predict_proba(x_validation)[:, 1], *counts_validation)
            if loss < best:
                best, self.model, self.penalty = loss, model, penalty

    def rates(self, rows: pd.DataFrame) -> FloatArray:
        """Predicted click rates, shape (n,)."""
        rates: FloatArray = self.model.predict_proba(self.features(rows))[:, 1]
        return rates


class TfidfWithinTests:
    """A linear score on TF-IDF features under the conditional likelihood of tests; penalty chosen on validation rows.

    Args:
        train: Rows of `ClickLog.pairs` of a log of tests.
        validation: Rows to choose the penalty by.
        overdispersion: As in `FitConfig`.
    """

    def __init__(self, train: pd.DataFrame, validation: pd.DataFrame, *, overdispersion: float) -> None:
        self.features = TfidfFeatures(train)
        x, contrast, impressions = self.features(train), contrasts(train), counts(train)[0]
        clicks = tempered_clicks(counts(train)[1], contrast, overdispersion)
        x_validation, inside, shown = self.features(validation), contrasts(validation), counts(validation)[0]
        clicked = tempered_clicks(counts(validation)[1], inside, overdispersion)
        best, start = np.inf, np.zeros(x.shape[1])
        for penalty in sorted(PENALTIES, reverse=True):
            start = _conditional_weights(x, impressions, clicks, contrast, penalty, start)
            loss = conditional_log_loss(x_validation @ start, shown, clicked, inside)
            if loss < best:
                best, self.weights, self.penalty = loss, start, penalty

    def scores(self, rows: pd.DataFrame) -> FloatArray:
        """Scores that compare rows of one contrast, shape (n,)."""
        scores: FloatArray = self.features(rows) @ self.weights
        return scores


def counts(rows: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
    """Impressions and clicks as float64, both of shape (n,)."""
    return rows["impressions"].to_numpy(dtype=np.float64), rows["clicks"].to_numpy(dtype=np.float64)


def contrasts(rows: pd.DataFrame) -> IntArray:
    """Number of each row's contrast from 0, shape (n,)."""
    return pd.factorize(rows["contrast"])[0].astype(np.int64)


def _vectorizer(texts: Sequence[str]) -> TfidfVectorizer:
    shape: dict[str, Any] = {"ngram_range": (1, 2)}
    if not words_are_spaced(texts):
        shape = {"analyzer": "char", "ngram_range": (1, 3)}
    return TfidfVectorizer(sublinear_tf=True, max_features=_MAX_FEATURES, dtype=np.float64, **shape)


def _logistic(x: sparse.csr_array, impressions: FloatArray, clicks: FloatArray, penalty: float) -> LogisticRegression:
    """Binomial likelihood as weights: each row enters once with its clicks and once with its other impressions."""
    weight = np.concatenate([clicks, impressions - clicks])
    labels = np.repeat([1, 0], len(clicks))
    model = LogisticRegression(C=1 / penalty, max_iter=1000)
    return model.fit(sparse.csr_matrix(sparse.vstack([x, x])), labels, sample_weight=weight)


def _conditional_weights(
    x: sparse.csr_array,
    impressions: FloatArray,
    clicks: FloatArray,
    contrast: IntArray,
    penalty: float,
    start: NDArray[np.float64],
) -> FloatArray:
    total = np.bincount(contrast, weights=clicks)[contrast]

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        shares = log_shares(x @ weights, impressions, contrast)
        gradient = x.T @ (total * np.exp(shares) - clicks) + penalty * weights
        return float(-np.sum(clicks * shares) + 0.5 * penalty * weights @ weights), gradient

    best: FloatArray = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return best
