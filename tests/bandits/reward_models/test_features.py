"""Text features: scale, signs, padding, independence of order and of fine-tuning."""

from __future__ import annotations

import numpy as np
import pytest

from bandits.reward_models import text_features

pytestmark = pytest.mark.model

USERS = [f"reader {u} likes tea" for u in range(6)]
ITEMS = ["a story about tea", "a story about rain", "numbers"]


def test_shapes_scale_and_signs() -> None:
    user, item = text_features(USERS, ITEMS, weights="tiny", dim=4, device="cpu")
    assert (user.shape, item.shape, user.dtype) == ((6, 4), (3, 4), np.float64)
    both = np.concatenate([user, item])
    assert np.mean(both**2) == pytest.approx(1)
    np.testing.assert_allclose(both.mean(axis=0), 0, atol=1e-9)
    covariance = both.T @ both
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9)
    assert np.all(np.diff(np.diag(covariance)) <= 0)


def test_at_most_one_number_less_than_texts() -> None:
    user, item = text_features(["a"], ["b", "c"], weights="tiny", device="cpu")
    assert (user.shape, item.shape) == ((1, 2), (2, 2))


def test_order_and_repetition_do_not_matter() -> None:
    user, item = text_features(USERS, ITEMS, weights="tiny", dim=4, device="cpu")
    turned, repeated = text_features(USERS[::-1], ITEMS * 2, weights="tiny", dim=4, device="cpu")
    np.testing.assert_allclose(turned[::-1], user, atol=1e-6)
    np.testing.assert_allclose(repeated, np.tile(item, (2, 1)), atol=1e-6)


def test_embedding_is_the_mean_over_real_tokens() -> None:
    """A short text's embedding does not depend on how far its batch is padded."""
    import torch

    from bandits.reward_models.features import _embed
    from bandits.reward_models.weights import resolve_weights

    weights = resolve_weights("tiny", texts=[*ITEMS, "word " * 30])
    alone, among = _embed(["numbers"], weights, "cpu"), _embed(["numbers", "word " * 30], weights, "cpu")
    np.testing.assert_allclose(among[0], alone[0], atol=1e-6)
    assert torch.is_grad_enabled()


def test_one_text_has_no_features() -> None:
    with pytest.raises(ValueError, match="at least two distinct texts"):
        text_features([], ["only one"], weights="tiny", device="cpu")
