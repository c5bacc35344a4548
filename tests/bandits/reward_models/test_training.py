"""Fine-tuning: interruption, seeds, freezing, schedule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import FitConfig, RewardModel, click_log_from_frame, split_log

pytestmark = pytest.mark.model

CONFIG = FitConfig(
    weights="tiny",
    epochs=3,
    patience=3,
    learning_rate=1e-3,
    batch_size=16,
    checkpoint_steps=3,
    freeze_embeddings=False,
    device="cpu",
)


def fit(frame: pd.DataFrame, cache: Path, config: FitConfig = CONFIG) -> RewardModel:
    log = click_log_from_frame(frame)
    return RewardModel.fit(log, split_log(log, fractions=(0.4, 0.2, 0.2, 0.2)), config, cache=cache)


@pytest.mark.faults
@pytest.mark.parametrize("saves", [1, 3, 4])  # inside the first epoch, after it, inside the second
def test_interrupted_fit_ends_like_an_uninterrupted_one(
    saves: int, pairs_frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bandits.reward_models import checkpoint

    whole = fit(pairs_frame, tmp_path / "whole")
    save, done = checkpoint.save, []

    def interrupted(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        done.append(1)
        if len(done) == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(pairs_frame, tmp_path / "cut")
    monkeypatch.setattr(checkpoint, "save", save)
    resumed = fit(pairs_frame, tmp_path / "cut")
    assert resumed.fingerprint() == whole.fingerprint()
    losses = [[epoch["validation_loss"] for epoch in model.info["history"]] for model in (whole, resumed)]
    assert losses[0] == losses[1]
    assert not list((tmp_path / "cut").rglob("step-*")), "a finished fit leaves no checkpoints"


@pytest.mark.faults
def test_half_written_checkpoint_is_ignored(
    pairs_frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bandits.reward_models import checkpoint

    whole = fit(pairs_frame, tmp_path / "whole")

    def torn(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.torch, "save", torn)
    with pytest.raises(KeyboardInterrupt):
        fit(pairs_frame, tmp_path / "cut")
    assert list((tmp_path / "cut").rglob("unfinished"))
    monkeypatch.undo()
    assert fit(pairs_frame, tmp_path / "cut").fingerprint() == whole.fingerprint()


def test_seed_decides_and_global_randomness_is_left_alone(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = CONFIG.model_copy(update={"epochs": 1})
    first, again = fit(pairs_frame, tmp_path / "a", one), fit(pairs_frame, tmp_path / "b", one)
    other = fit(pairs_frame, tmp_path / "c", one.model_copy(update={"seed": 1}))
    assert torch.equal(before, torch.get_rng_state())
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()


def test_best_epoch_is_kept_and_patience_ends_the_fit(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 30, "patience": 2, "learning_rate": 0.02})
    model = fit(pairs_frame, tmp_path, config)
    losses = [epoch["validation_loss"] for epoch in model.info["history"]]
    assert len(losses) < 30
    assert int(np.argmin(losses)) == len(losses) - 3
    log = click_log_from_frame(pairs_frame)
    rows = split_log(log, fractions=(0.4, 0.2, 0.2, 0.2)).validation
    scores = model.scores(rows["user_text"].tolist(), rows["item_text"].tolist())
    n, c = rows["impressions"], rows["clicks"]
    loss = np.sum(n * np.logaddexp(0, scores) - c * scores) / n.sum()
    assert loss == pytest.approx(min(losses), rel=1e-6)


def test_frozen_parts_do_not_move(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    import torch

    from bandits.reward_models.network import Network
    from bandits.reward_models.weights import resolve_weights

    config = CONFIG.model_copy(update={"epochs": 1, "freeze_embeddings": True, "freeze_layers": 1})
    model = fit(pairs_frame, tmp_path, config)
    texts = sorted(set(split_log(click_log_from_frame(pairs_frame), fractions=(0.4, 0.2, 0.2, 0.2)).train["user_text"]))
    weights = resolve_weights("tiny", texts=texts + sorted(pairs_frame["item_text"].unique()))
    start = Network.from_weights(weights, max_length=32, device=torch.device("cpu"), seed=config.seed)
    moved = {
        name
        for (name, before), after in zip(start.model.named_parameters(), model.network.model.parameters(), strict=True)
        if not torch.equal(before, after)
    }
    assert not {name for name in moved if "embeddings" in name or "layer.0" in name}
    assert {name for name in moved if "layer.1" in name}
    with pytest.raises(ValueError, match="`freeze_layers` must be at most 2"):
        fit(pairs_frame, tmp_path, config.model_copy(update={"freeze_layers": 3}))


def test_epoch_covers_every_row_once_and_contrasts_stay_whole(tests_frame: pd.DataFrame) -> None:
    import torch

    from bandits.reward_models.examples import Examples
    from bandits.reward_models.network import Network
    from bandits.reward_models.weights import resolve_weights

    rows = click_log_from_frame(tests_frame).pairs
    weights = resolve_weights("tiny", texts=rows["item_text"].tolist())
    network = Network.from_weights(weights, max_length=32, device=torch.device("cpu"), seed=0)
    examples = Examples.of(rows, network, CONFIG.model_copy(update={"loss": "within_test"}))
    first, second = (examples.batches(examples.units(), 16, 0, epoch) for epoch in (0, 1))
    assert np.array_equal(np.sort(np.concatenate(first)), np.arange(len(rows)))
    for batch in first:
        inside = np.isin(examples.contrast, examples.contrast[batch])
        assert inside.sum() == len(batch)
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


@pytest.mark.faults
def test_diverging_fit_says_what_to_change(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="lower `learning_rate`"):
        fit(pairs_frame, tmp_path, CONFIG.model_copy(update={"learning_rate": 1e30}))


@pytest.mark.faults
def test_device_must_exist() -> None:
    from bandits.torch_device import choose_device

    with pytest.raises(ValueError, match="`device` must be"):
        choose_device("tpu")
