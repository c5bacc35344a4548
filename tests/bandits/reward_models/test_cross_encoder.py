"""Encoders and decoders of five architectures, against their own tokenizer and one pair at a time."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from bandits.reward_models.network import Network

pytestmark = pytest.mark.model

ARCHITECTURES = ("bert", "roberta", "deberta-v2", "modernbert", "gpt2")
USERS = ["abc", "", "a much longer text than anybody else has", "x"]
ITEMS = ["d e", "news about it", "z"]


def network_of(folder: Path, max_length: int = 20, **options: Any) -> Network:
    import torch

    from bandits.reward_models.network import Network
    from bandits.reward_models.weights import resolve_weights

    cpu = torch.device("cpu")
    return Network.from_weights(resolve_weights(str(folder)), max_length=max_length, device=cpu, seed=1, **options)


def own_ids(network: Network, name: str, user: str, item: str) -> list[int]:
    """What the tokenizer makes of a pair; GPT-2's knows none, so an end of text stands behind each of the two."""
    tokenizer = network.tokenizer
    if name == "gpt2":
        parts = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in (user, item) if text]
        return [token for part in parts for token in part]
    ids: list[int] = tokenizer(*([user, item] if user else [item]), truncation=True, max_length=20)["input_ids"]
    return ids


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padded_batches_equal_single_pairs_in_float64(name: str, small_model: Callable[[str], Path]) -> None:
    import torch

    network = network_of(small_model(name))
    pairs = network.pair_tokenizer.product(USERS, ITEMS)
    model = copy.deepcopy(network.model).double().eval()
    expected = []
    for row, (user, item) in enumerate((user, item) for user in USERS for item in ITEMS):
        ids = pairs.ids(row)
        if len(ids) < 20:
            assert ids == own_ids(network, name, user, item)
        segments = {}
        if name == "bert":
            texts = [user, item] if user else [item]
            segments["token_type_ids"] = torch.tensor(
                [network.tokenizer(*texts, truncation=True, max_length=20)["token_type_ids"]]
            )
        with torch.inference_mode():
            hidden = model.encoder(input_ids=torch.tensor([ids]), **segments).last_hidden_state[0].numpy()
        pooled = hidden[-1] if name == "gpt2" else hidden.mean(axis=0)
        weight, bias = (p.detach().numpy() for p in (model.head.weight, model.head.bias))
        expected.append(float(pooled @ weight[0] + bias[0]))
    assert np.ptp(expected) > 0.02
    np.testing.assert_allclose(network.logits(pairs), expected, atol=1e-5)
    assert 1e-6 < np.abs(network.logits(pairs, "bfloat16") - expected).max() < 0.3 * np.ptp(expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_saved_network_is_the_same_network(name: str, small_model: Callable[[str], Path], tmp_path: Path) -> None:
    import torch

    from bandits.reward_models.network import Network

    network = network_of(small_model(name), pooling="first" if name == "bert" else "auto")
    (tmp_path / "saved").mkdir()
    network.save(tmp_path / "saved")
    loaded = Network.load(tmp_path / "saved", max_length=20, device=torch.device("cpu"))
    pairs = network.pair_tokenizer.product(USERS, ITEMS)
    assert loaded.fingerprint() == network.fingerprint()
    np.testing.assert_array_equal(loaded.logits(pairs), network.logits(pairs))


def test_poolings_differ_and_are_what_they_say(small_model: Callable[[str], Path], tmp_path: Path) -> None:
    import torch

    from bandits.reward_models.network import Network

    folder, found = small_model("bert"), {}
    for pooling in ("mean", "first", "last", "pooler"):
        network = network_of(folder, pooling=pooling)
        pairs = network.pair_tokenizer.product(USERS, ITEMS)
        found[pooling] = network.logits(pairs)
        hidden = []
        with torch.inference_mode():
            for row in range(len(pairs.item)):
                one = pairs.batch(np.array([row]), network.device)
                hidden.append(network.model.encoder(**one).last_hidden_state[0])
            first = torch.stack([states[0] for states in hidden])
            expected = {
                "mean": torch.stack([states.mean(0) for states in hidden]),
                "first": first,
                "last": torch.stack([states[-1] for states in hidden]),
                "pooler": None if network.model.pooler is None else network.model.pooler.dense(first).tanh(),
            }[pooling]
            assert expected is not None
            np.testing.assert_allclose(found[pooling], network.model.head(expected)[:, 0].numpy(), atol=1e-5)
    assert len({values.round(4).tobytes() for values in found.values()}) == 4
    (tmp_path / "saved").mkdir()
    network.save(tmp_path / "saved")  # its pooler belongs to the head, in float32
    loaded = Network.load(tmp_path / "saved", max_length=20, device=network.device)
    np.testing.assert_array_equal(loaded.logits(pairs), found["pooler"])


def test_dropout_reaches_encoder_and_head(small_model: Callable[[str], Path]) -> None:
    import torch

    for name in ARCHITECTURES:
        folder = small_model(name)
        for dropout in (None, 0.0, 0.5):
            network = network_of(folder, dropout=dropout)
            shares = {m.p for m in network.model.modules() if isinstance(m, torch.nn.Dropout)}
            assert shares == {dropout} if dropout is not None else 0.1 in shares, name
        pairs = network_of(folder, dropout=0.0).pair_tokenizer.product(USERS, ITEMS)
        batch = pairs.batch(np.arange(len(pairs.item)), torch.device("cpu"))
        quiet = network_of(folder, dropout=0.0).model.train()
        assert torch.equal(quiet(**batch), quiet(**batch)), name


@pytest.mark.faults
def test_network_of_another_architecture_is_refused(small_model: Callable[[str], Path], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from bandits.reward_models.network import Network

    bert, roberta = tmp_path / "bert", tmp_path / "roberta"
    for folder, name in ((bert, "bert"), (roberta, "roberta")):
        folder.mkdir()
        network_of(small_model(name)).save(folder)

    def load(change: Callable[[Path], object]) -> None:
        shutil.rmtree(tmp_path / "changed", ignore_errors=True)
        shutil.copytree(bert, tmp_path / "changed")
        change(tmp_path / "changed")
        Network.load(tmp_path / "changed", max_length=20, device=torch.device("cpu"))

    with pytest.raises(ValueError, match=r"must be of one architecture. Got an encoder 'bert' .* made for 'roberta'"):
        load(lambda folder: shutil.copy(roberta / "head.safetensors", folder))
    with pytest.raises(ValueError, match=r"architecture in its config.json, 'bert'. Got a file without \d+ of them"):
        load(lambda folder: shutil.copy(small_model("gpt2") / "model.safetensors", folder))
    with pytest.raises(ValueError, match=r"must hold an encoder and its head. Got .*, without head.safetensors"):
        load(lambda folder: (folder / "head.safetensors").unlink())
    wide = {"head.weight": torch.zeros(1, 48), "head.bias": torch.zeros(1)}
    about = {"architecture": "bert", "pooling": "mean", "kind": "cross"}
    with pytest.raises(ValueError, match=r"must say what it is the head of. Got \{'pooling': 'mean'\}"):
        load(lambda folder: save_file(wide, folder / "head.safetensors", metadata={"pooling": "mean"}))
    with pytest.raises(ValueError, match=r"'bert' with 32 hidden units: .*\(1, 32\).* Got .*\(1, 48\)"):
        load(lambda folder: save_file(wide, folder / "head.safetensors", metadata=about))
    with pytest.raises(ValueError, match=r"head.safetensors in .* must be readable"):
        load(lambda folder: (folder / "head.safetensors").write_bytes(b"torn"))
    assert load_file(bert / "head.safetensors").keys() == {"head.weight", "head.bias"}


@pytest.mark.faults
def test_what_no_encoder_can_do_is_refused(small_model: Callable[[str], Path], tmp_path: Path) -> None:
    roberta = small_model("roberta")
    assert network_of(roberta, max_length=64).model.positions == 64
    with pytest.raises(ValueError, match=r"`max_length` must be at most 64, the positions of this model. Got 65"):
        network_of(roberta, max_length=65)
    with pytest.raises(ValueError, match=r"'gpt2', which has no pooler. Got 'pooler'"):
        network_of(small_model("gpt2"), pooling="pooler")
    config = json.loads((roberta / "config.json").read_text())
    changed = ({"model_type": "t5"}, "decoder behind it"), (config | {"vocab_size": 61}, ""), ({"model_type": "?"}, "")
    for values, reason in changed:
        (roberta / "config.json").write_text(json.dumps(values))
        with pytest.raises(ValueError, match=f"must be an encoder or a decoder that AutoModel reads.*: .*{reason}"):
            network_of(roberta)
