"""Features of users and items for policies: embeddings of their texts by BERT as it was *before* fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, BertModel, PreTrainedModel

from bandits.propensity_table import PropensityTable
from bandits.reward_models.network import load_tokenizer, quiet, tiny_config
from bandits.reward_models.weights import MINI_LM, Weights, resolve_weights
from bandits.torch_device import choose_device

FloatArray = NDArray[np.float64]

_BATCH = 64
_MAX_LENGTH = 64


def text_features(
    user_texts: Sequence[str], item_texts: Sequence[str], *, weights: str = MINI_LM, dim: int = 32, device: str = "auto"
) -> tuple[FloatArray, FloatArray]:
    """Features of users, shape (U, D), and items, shape (K, D), in one space.

    Mean-pooled embeddings; one PCA fitted on all distinct texts together, to `D = min(dim, n - 1)` numbers for n
    distinct texts; scaled by one factor so that the features' mean square is 1; signs fixed so that each component's
    largest entry is positive. A policy that saw the reward model's own last layer would play a rigged game, so these
    come from the encoder that knows nothing of clicks.

    Args:
        user_texts: Length U; may be empty.
        item_texts: Length K.
        weights: Encoder, as in `resolve_weights`.
        dim: Largest number of features.
        device: As in `FitConfig`.

    Raises:
        ValueError: When there are fewer than two distinct texts.
    """
    texts = sorted({*user_texts, *item_texts})
    if len(texts) < 2:
        raise ValueError(f"There must be at least two distinct texts. Got {len(texts)}.")
    reduced = _principal_components(text_embeddings(texts, weights=weights, device=device), dim)
    row = {text: number for number, text in enumerate(texts)}
    return reduced[[row[text] for text in user_texts]], reduced[[row[text] for text in item_texts]]


def text_embeddings(texts: Sequence[str], *, weights: str = MINI_LM, device: str = "auto") -> FloatArray:
    """Mean-pooled embeddings of texts by an encoder as it is, shape (n, D).

    Args:
        texts: Length n, at least 1.
        weights: Encoder, as in `resolve_weights`.
        device: As in `FitConfig`.
    """
    return _embed(texts, resolve_weights(weights, texts=sorted(set(texts))), device)


def table_features(
    table: PropensityTable, *, weights: str = MINI_LM, dim: int = 32, device: str = "auto"
) -> tuple[FloatArray, FloatArray]:
    """Features of a table's users, shape (U, D), and arms, shape (W, K, E); padded arms are 0.

    Users without texts have no features (D = 0).
    """
    worlds, _, most = table.p.shape
    real = np.arange(most) < table.num_items[:, np.newaxis]
    users = list(table.user_texts) if any(table.user_texts) else []
    user, items = text_features(users, list(table.item_texts[real]), weights=weights, dim=dim, device=device)
    arms = np.zeros((worlds, most, items.shape[1]))
    arms[real] = items
    return (user if users else np.zeros((table.p.shape[1], 0))), arms


def _embed(texts: Sequence[str], weights: Weights, device_name: str) -> FloatArray:
    device = choose_device(device_name)
    model, tokenizer = _encoder(weights).to(device).eval(), load_tokenizer(weights)  # type: ignore[arg-type]
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    embedded: list[FloatArray] = [np.empty(0)] * len(texts)
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            batch = tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=_MAX_LENGTH, return_tensors="pt"
            ).to(device)
            hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            for row, vector in zip(rows, pooled.double().cpu().numpy(), strict=True):
                embedded[row] = vector
    return np.stack(embedded)


def _encoder(weights: Weights) -> PreTrainedModel:
    with quiet(), torch.random.fork_rng(devices=[]):
        if weights.folder is None:
            torch.manual_seed(0)
            return BertModel(tiny_config(weights))
        model: PreTrainedModel = AutoModel.from_pretrained(
            weights.folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        return model


def _principal_components(vectors: FloatArray, dim: int) -> FloatArray:
    centered = vectors - vectors.mean(axis=0)
    left, size, right = np.linalg.svd(centered, full_matrices=False)
    kept = min(dim, len(vectors) - 1, vectors.shape[1])
    largest = np.take_along_axis(right, np.abs(right).argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
    reduced = (left * size * np.sign(largest))[:, :kept]
    scaled: FloatArray = reduced / np.sqrt(np.mean(reduced**2))
    return scaled
