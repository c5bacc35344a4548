"""Features from embeddings: components of training texts only, products with users, degenerate logs."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models.baselines import EmbeddingFeatures

pytestmark = pytest.mark.model


@pytest.fixture(autouse=True)
def embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 numbers that depend on nothing but the text."""

    def embed(texts: Sequence[str], **_: object) -> np.ndarray:
        return np.stack([np.random.default_rng(zlib.crc32(text.encode())).normal(2, 1, 40) for text in texts])

    monkeypatch.setattr("bandits.reward_models.baselines.embeddings.text_embeddings", embed)


def rows(users: Sequence[str], items: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame([(user, item) for user in users for item in items], columns=["user_text", "item_text"])


TRAIN = rows([f"user {u}" for u in range(30)], [f"item {i}" for i in range(20)])
OTHERS = rows(["a stranger", ""], ["a novelty", "item 3"])


def test_components_are_those_of_training_texts() -> None:
    alone, more = EmbeddingFeatures(TRAIN, weights="any"), EmbeddingFeatures(TRAIN, OTHERS, weights="any")
    np.testing.assert_allclose(np.abs(alone(TRAIN)), np.abs(more(TRAIN)), atol=1e-9)
    texts = sorted({*TRAIN["user_text"], *TRAIN["item_text"]})
    found = more.of_texts(texts)
    assert found.shape == (50, 32)
    assert np.mean(found**2) == pytest.approx(1)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-9)
    covariance = found.T @ found
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-8)
    assert np.all(np.diff(np.diag(covariance)) <= 1e-9)


def test_rows_hold_user_item_and_product() -> None:
    features = EmbeddingFeatures(TRAIN, OTHERS, weights="any")
    found = features(OTHERS)
    user, item = features.of_texts(OTHERS["user_text"]), features.of_texts(OTHERS["item_text"])
    np.testing.assert_array_equal(found, np.hstack([user, item, user * item]))


def test_without_users_items_stay_alone() -> None:
    nobody = rows([""], ["a", "b", "c"])
    features = EmbeddingFeatures(nobody, weights="any")
    assert not features.has_users
    np.testing.assert_array_equal(features(nobody), features.of_texts(["a", "b", "c"]))


def test_a_single_text_has_no_features_that_differ() -> None:
    one = rows([""], ["the only one"])
    found = EmbeddingFeatures(one, weights="any")(one)
    np.testing.assert_allclose(found, 0, atol=1e-9)
