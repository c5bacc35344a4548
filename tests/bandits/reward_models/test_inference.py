"""Batches by tokens, and logits in both precisions against one pair at a time in float64."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from bandits.reward_models.network import Network

pytestmark = pytest.mark.model

USERS = [f"reader {u} likes {'long walks and ' * (u % 4)}tea" for u in range(8)] + [""]
ITEMS = [f"text number {k}" + " and more" * k for k in range(5)]


@pytest.fixture
def network() -> Network:
    import torch

    from bandits.reward_models.network import Network
    from bandits.reward_models.weights import resolve_weights

    weights = resolve_weights("tiny", texts=USERS + ITEMS)
    network = Network.from_weights(weights, max_length=20, device=torch.device("cpu"), seed=3)
    with torch.no_grad():
        network.model.head.bias.fill_(-3.0)
    return network


@pytest.fixture
def varied(network: Network) -> Network:
    """The network with larger weights: to one with small random weights all texts look alike."""
    import torch

    with torch.no_grad():
        for name, parameter in network.model.named_parameters():
            parameter *= 1 if name == "head.bias" else 5
    return network


def one_by_one(network: Network) -> np.ndarray:
    """Logits of every user on every item: the tokenizer's own pairs, each alone, in float64."""
    import torch

    model = copy.deepcopy(network.model).double().eval()
    logits = []
    with torch.inference_mode():
        for user in USERS:
            for item in ITEMS:
                pair = ([user], [item]) if user else ([item],)
                batch = network.tokenizer(*pair, truncation=True, max_length=20, return_tensors="pt")
                logits.append(float(model(**batch)))
    return np.array(logits)


def test_batches_hold_every_row_once_and_not_too_many_tokens() -> None:
    from bandits.reward_models.inference import Batches

    lengths = np.random.default_rng(1).integers(3, 40, size=500).astype(np.int16)
    batches = Batches.of(lengths, 128)
    parts = batches.rows(0, len(batches))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(500))
    assert np.all(np.diff(lengths[np.concatenate(parts)]) >= 0)
    sizes = [len(rows) * int(lengths[rows].max()) for rows in parts]
    assert max(sizes) <= 128
    # None could have taken the next row as well.
    following = [int(lengths[rows[0]]) for rows in parts[1:]]
    assert all((len(rows) + 1) * longest > 128 for rows, longest in zip(parts, following, strict=False))
    assert [rows.tolist() for rows in batches.rows(2, 4)] == [rows.tolist() for rows in parts[2:4]]
    assert np.array_equal(Batches.of(lengths[:3], 1).ends, [1, 2, 3]), "a row that is too long stands alone"


def test_float32_equals_one_pair_at_a_time_in_float64(varied: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models import inference

    expected = one_by_one(varied)
    assert np.ptp(expected) > 0.3
    pairs = varied.pair_tokenizer.product(USERS, ITEMS)
    for tokens in (2048, 100):
        monkeypatch.setitem(inference.TOKENS_PER_BATCH, "cpu", tokens)
        np.testing.assert_allclose(varied.logits(pairs), expected, atol=2e-5)
    assert varied.model.encoder.config._attn_implementation == "sdpa"


def test_bfloat16_rounds_the_encoder_only(network: Network) -> None:
    import torch

    expected = one_by_one(network)
    pairs = network.pair_tokenizer.product(USERS, ITEMS)
    ours = network.logits(pairs, "bfloat16")
    network.model.to(torch.bfloat16)
    rounded = network.logits(pairs)
    assert np.array_equal(rounded * 64, np.round(rounded * 64)), "bfloat16 has no finer numbers around -3"
    assert 1e-5 < np.abs(ours - expected).max() < 0.5 * np.abs(rounded - expected).max()


def test_bfloat16_stays_close_and_leaves_the_network_as_it_was(varied: Network) -> None:
    import torch

    before, pairs = varied.weights_hash(), varied.pair_tokenizer.product(USERS, ITEMS)
    exact = varied.logits(pairs)
    rounded = varied.logits(pairs, "bfloat16")
    assert 1e-4 < np.abs(rounded - exact).max() < 0.05
    assert np.corrcoef(rounded, exact)[0, 1] > 0.99
    assert varied.weights_hash() == before
    assert {parameter.dtype for parameter in varied.model.parameters()} == {torch.float32}
    assert np.array_equal(varied.logits(pairs), exact)
