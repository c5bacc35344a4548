"""Embeddings of texts by BERT as it was before fine-tuning, as features of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bandits.reward_models.features import text_embeddings
from bandits.reward_models.within_test import FloatArray

_COMPONENTS = 32


class EmbeddingFeatures:
    """Dense features of rows: the embeddings of user and item, and their product, number by number.

    Embeddings are mean-pooled; the principal components of the distinct texts of the training rows keep at most 32
    numbers of each, scaled by one factor to a mean square of 1. In a log without users the item's remain alone.

    Args:
        train: Rows that the components are found on.
        others: Further rows whose features will be asked for; all texts are embedded at once.
        weights: Encoder, as in `resolve_weights`.
        device: As in `FitConfig`.
    """

    def __init__(self, train: pd.DataFrame, *others: pd.DataFrame, weights: str, device: str = "auto") -> None:
        texts = sorted({text for rows in (train, *others) for text in (*rows["user_text"], *rows["item_text"])})
        vectors = text_embeddings(texts, weights=weights, device=device)
        self._place = {text: number for number, text in enumerate(texts)}
        seen = sorted({self._place[text] for text in (*train["user_text"], *train["item_text"]) if text})
        centered = vectors - vectors[seen].mean(axis=0)
        components = np.linalg.eigh(centered[seen].T @ centered[seen]).eigenvectors[:, ::-1]
        reduced = centered @ components[:, :_COMPONENTS]
        size = np.sqrt(np.mean(reduced[seen] ** 2))
        self._vectors = reduced / size if size > 0 else reduced
        self.has_users = bool((train["user_text"] != "").any())

    def of_texts(self, texts: Sequence[str] | pd.Series[str]) -> FloatArray:
        """Embeddings of texts of the rows given at first, shape (n, D); "" (no user) is embedded like others."""
        embedded: FloatArray = self._vectors[[self._place[text] for text in texts]]
        return embedded

    def __call__(self, rows: pd.DataFrame) -> FloatArray:
        """Features of some of the rows given at first, shape (n, D), with users (n, 3 D)."""
        item = self.of_texts(rows["item_text"])
        if not self.has_users:
            return item
        user = self.of_texts(rows["user_text"])
        return np.concatenate([user, item, user * item], axis=1)
