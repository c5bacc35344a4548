"""LoRA, AdaLoRA, IA3, prefixes and a frozen encoder: what is trained, what is saved, and what comes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import FitConfig, RewardModel, Split, click_log_from_frame, split_log

pytestmark = pytest.mark.model

TUNINGS = ("head", "lora", "adalora", "ia3", "prefix")
CONFIG = FitConfig(
    precision="float32",
    weights="tiny",
    epochs=2,
    patience=2,
    learning_rate=0.02,
    batch_size=8,
    rank=3,
    alpha=12,
    checkpoint_steps=2,
    device="cpu",
)
USERS, ITEMS = ["Reader 1 loves sport", ""], ["News about sport today", "News about money today"]


@pytest.fixture
def parts(pairs_frame: pd.DataFrame) -> tuple[Any, Split]:
    log = click_log_from_frame(pairs_frame.iloc[:100])
    return log, split_log(log, fractions=(0.4, 0.2, 0.2, 0.2))


def start_of(model: RewardModel, split: Split, config: FitConfig) -> Any:
    """The network that a fit began with."""
    import torch

    from bandits.reward_models.network import Network
    from bandits.reward_models.weights import resolve_weights

    texts = sorted({*split.train["user_text"], *split.train["item_text"]})
    weights = resolve_weights(config.weights, texts=texts)
    return Network.from_weights(weights, max_length=32, device=torch.device("cpu"), seed=config.seed)


@pytest.mark.parametrize("tuning", TUNINGS)
def test_adapter_learns_is_merged_and_comes_back(tuning: str, parts: tuple[Any, Split], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"tuning": tuning})
    model = RewardModel.fit(*parts, config, cache=tmp_path)
    losses = [epoch["validation_loss"] for epoch in model.info["history"]]
    rows = parts[1].validation
    z = model.scores(rows["user_text"].tolist(), rows["item_text"].tolist())
    after = np.sum(rows["impressions"] * np.logaddexp(0, z) - rows["clicks"] * z) / rows["impressions"].sum()
    assert after == pytest.approx(min(losses), abs=1e-6), "the weights of the best epoch, merged or not"
    start = dict(start_of(model, parts[1], config).model.named_parameters())
    found = dict(model.network.model.named_parameters())
    moved = {
        name
        for name, before in start.items()
        if name not in found or not np.array_equal(before.detach(), found[name].detach())
    }
    expected = {
        "head": {"head.weight", "head.bias"},
        "lora": {"query", "value", "head"},
        "adalora": {"query", "value", "head"},
        "ia3": {"key", "value", "output.dense", "head"},
    }
    if tuning in expected:
        assert found.keys() == start.keys(), "nothing is left of peft"
        assert all(any(part in name for part in expected[tuning]) for name in moved), moved
        assert all(any(part in name for name in moved) for part in expected[tuning]), moved
    parameters = model.info["parameters"]
    assert parameters["all"] >= sum(p.numel() for p in found.values())
    assert parameters["trained"] < 0.1 * parameters["all"]
    assert (model.network.adapter is None) == (tuning == "head")

    model.save(tmp_path / "saved")
    loaded = RewardModel.load(tmp_path / "saved", device="cpu")
    assert loaded.fingerprint() == model.fingerprint()
    np.testing.assert_array_equal(loaded.propensities(USERS, ITEMS), model.propensities(USERS, ITEMS))
    loaded.save(tmp_path / "again")
    header = json.loads((tmp_path / "again" / "reward_model.json").read_text())
    assert (header["adapter"] is None) == (tuning == "head")
    assert f"{parameters['trained']:,} of {parameters['all']:,}" in (tmp_path / "again" / "README.md").read_text()


@pytest.mark.faults
@pytest.mark.parametrize("saves", [1, 4])
@pytest.mark.parametrize(
    "changes",
    [*({"tuning": tuning} for tuning in TUNINGS), {"average_weights": True, "schedule": "plateau", "accumulation": 2}],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_interrupted_fit_ends_like_an_uninterrupted_one(
    changes: dict[str, Any], saves: int, parts: tuple[Any, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bandits.reward_models import checkpoint

    config = CONFIG.model_copy(update=changes)
    whole = RewardModel.fit(*parts, config, cache=tmp_path / "whole")
    save, done = checkpoint.save, []

    def interrupted(*arguments: Any) -> None:
        save(*arguments)
        done.append(1)
        if len(done) == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        RewardModel.fit(*parts, config, cache=tmp_path / "cut")
    monkeypatch.setattr(checkpoint, "save", save)
    assert RewardModel.fit(*parts, config, cache=tmp_path / "cut").fingerprint() == whole.fingerprint()


@pytest.mark.parametrize("tuning", ["head", "prefix"])
def test_rounded_encoders_train_and_score_too(tuning: str, parts: tuple[Any, Split], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"tuning": tuning, "epochs": 1, "precision": "bfloat16"})
    rounded = RewardModel.fit(*parts, config, cache=tmp_path)
    exact = RewardModel.fit(*parts, config.model_copy(update={"precision": "float32"}), cache=tmp_path)
    start = start_of(rounded, parts[1], config)
    pairs = exact.network.pair_tokenizer.product(USERS, ITEMS)
    found = [
        model.network.logits(pairs) for model in (exact, rounded, RewardModel(start, exact.calibrator, "pairs", {}))
    ]
    assert 0 < np.abs(found[1] - found[0]).max() < 0.1 * np.abs(found[2] - found[0]).max()
    assert 0 < np.abs(exact.network.logits(pairs, "bfloat16") - found[0]).max() < 0.01


def test_merged_weights_are_what_the_papers_say(parts: tuple[Any, Split], tmp_path: Path) -> None:
    for tuning in ("lora", "ia3"):
        config = CONFIG.model_copy(update={"tuning": tuning, "targets": ["value"]})
        model = RewardModel.fit(*parts, config, cache=tmp_path)
        start = dict(start_of(model, parts[1], config).model.named_parameters())
        assert model.network.adapter is not None
        found = {name: tensor.numpy() for name, tensor in model.network.adapter.tensors.items()}
        for layer in range(2):
            name = f"encoder.layer.{layer}.attention.self.value"
            before, after = (
                dict(source)[f"encoder.{name}.weight"].detach().numpy()
                for source in (start, model.network.model.named_parameters())
            )
            if tuning == "lora":
                low, high = (found[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
                assert low.shape == (3, 32)
                expected = before + 12 / 3 * high @ low
            else:
                expected = before * found[f"base_model.model.{name}.ia3_l"].reshape(-1, 1)
            np.testing.assert_allclose(after, expected, atol=1e-6)
            assert np.abs(after - before).max() > 1e-3


def test_adalora_cuts_ranks_and_keeps_directions_orthogonal(parts: tuple[Any, Split], tmp_path: Path) -> None:
    import torch

    from bandits.reward_models.examples import Examples
    from bandits.reward_models.training import Loop

    config = CONFIG.model_copy(update={"tuning": "adalora", "epochs": 5})
    rows = parts[1].train
    network = start_of(None, parts[1], config)  # type: ignore[arg-type]
    examples = Examples.of(rows, network, config)
    loop = Loop(network, examples, examples, config, tmp_path)
    matrices = {name: p.detach().numpy() for name, p in loop.trained.items() if "lora_A" in name or "lora_B" in name}
    norms = [np.linalg.norm((w @ w.T if "lora_A" in name else w.T @ w) - np.eye(5)) for name, w in matrices.items()]
    assert loop.adapter is not None
    penalty = loop.adapter.penalty()
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(0.5 * np.mean(norms), rel=1e-5)
    for epoch in range(5):
        loop.at.epoch, loop.at.step = epoch, 0
        for batches in loop.steps(epoch):
            loop.step(batches)
            loop.at.step += 1
    values = {name: p.detach() for name, p in loop.trained.items() if "lora_E" in name}
    assert {tuple(value.shape) for value in values.values()} == {(5, 1)}
    assert sum(int(torch.count_nonzero(value)) for value in values.values()) == config.rank * len(values)
    after = loop.adapter.penalty()
    assert after is not None
    assert float(after.detach()) < float(penalty.detach())


def test_saved_adalora_is_what_was_merged(parts: tuple[Any, Split], tmp_path: Path) -> None:
    """Also where the best epoch lies before the last cut of the ranks."""
    config = CONFIG.model_copy(update={"tuning": "adalora", "epochs": 4, "patience": 4})
    model = RewardModel.fit(*parts, config, cache=tmp_path)
    losses = [epoch["validation_loss"] for epoch in model.info["history"]]
    assert np.argmin(losses) == 0
    assert model.network.adapter is not None
    saved = {name: tensor.numpy() for name, tensor in model.network.adapter.tensors.items()}
    before = start_of(model, parts[1], config).model.state_dict()
    changed = 0
    for name, after in model.network.model.state_dict().items():
        module = name.removeprefix("encoder.").removesuffix(".weight")
        found = {key.rsplit(".", 1)[-1]: array for key, array in saved.items() if f"{module}.lora_" in key}
        if found:
            b, a, e = (found[key] for key in ("lora_B", "lora_A", "lora_E"))
            added = b @ (a * e) * config.alpha / 5  # half as many directions again as `rank`
            np.testing.assert_allclose(after.numpy() - before[name].numpy(), added, atol=1e-7)
            changed += 1
    assert changed == 4, "query and value of two layers"


@pytest.mark.parametrize("name", ["bert", "roberta", "deberta-v2", "gpt2"])
def test_other_architectures_are_adapted_too(
    name: str, small_model: Callable[[str], Path], parts: tuple[Any, Split], tmp_path: Path
) -> None:
    folder = str(small_model(name))
    changes = {"weights": folder, "tuning": "lora", "epochs": 1, "max_length": 40}
    model = RewardModel.fit(*parts, CONFIG.model_copy(update=changes), cache=tmp_path)
    model.save(tmp_path / "saved")
    loaded = RewardModel.load(tmp_path / "saved", device="cpu")
    np.testing.assert_array_equal(loaded.propensities(USERS, ITEMS), model.propensities(USERS, ITEMS))


@pytest.mark.faults
def test_what_an_architecture_cannot_do_is_refused(
    small_model: Callable[[str], Path], parts: tuple[Any, Split], tmp_path: Path
) -> None:
    def fit(**changes: Any) -> None:
        RewardModel.fit(*parts, CONFIG.model_copy(update=changes), cache=tmp_path)

    modern = str(small_model("modernbert"))
    with pytest.raises(ValueError, match=r"'modernbert', for which 'lora' has no default: \['Wi', .*Got None"):
        fit(weights=modern, tuning="lora")
    fit(weights=modern, tuning="lora", targets=["Wqkv"], epochs=1)
    with pytest.raises(ValueError, match=r"'bert', for which 'ia3' has others: .*Got \['Wqkv'\]"):
        fit(tuning="ia3", targets=["Wqkv"])
    for folder in (modern, str(small_model("deberta-v2"))):
        with pytest.raises(ValueError, match=r"`tuning` 'prefix' must be used with .* Got '(modernbert|deberta-v2)'"):
            fit(weights=folder, tuning="prefix")
    with pytest.raises(ValueError, match=r"together be at most 64, the positions of this model. Got 60 and 5"):
        fit(weights=str(small_model("gpt2")), tuning="prefix", max_length=60, prefix_tokens=5)
    with pytest.raises(ValueError, match=r"`tuning` must not be 'adalora' in a fit of fewer than 2 steps. Got 1"):
        fit(tuning="adalora", epochs=1, batch_size=1000)


@pytest.mark.faults
def test_changed_adapter_is_refused(parts: tuple[Any, Split], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = RewardModel.fit(*parts, CONFIG.model_copy(update={"tuning": "lora", "epochs": 1}), cache=tmp_path)
    model.save(tmp_path / "saved")
    path = tmp_path / "saved" / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values()))[0, 0] += 1
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"The adapter in .* must have hash [0-9a-f]{64}. Got [0-9a-f]{64}: damaged"):
        RewardModel.load(tmp_path / "saved")


@pytest.mark.faults
def test_without_peft_the_extra_is_named(
    parts: tuple[Any, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModuleNotFoundError, match=r"`tuning` must be 'full' or 'head'.*click-bandits\[adapters\]"):
        RewardModel.fit(*parts, CONFIG.model_copy(update={"tuning": "lora"}), cache=tmp_path)
