"""Curves that trackers wrote, read back with their own readers."""

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bandits.reward_models import FitConfig, RewardModel, click_log_from_frame, split_log

pytestmark = pytest.mark.model

CONFIG = FitConfig(
    weights="tiny", epochs=2, learning_rate=1e-3, batch_size=16, checkpoint_steps=2, warmup=0.5, device="cpu"
)


def fit(frame: pd.DataFrame, cache: Path, **changes: Any) -> RewardModel:
    log = click_log_from_frame(frame.iloc[:150])
    config = CONFIG.model_copy(update=changes)
    return RewardModel.fit(log, split_log(log, fractions=(0.4, 0.2, 0.2, 0.2)), config, cache=cache)


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_gets_every_step_and_epoch_once(
    pairs_frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from bandits.reward_models import checkpoint

    save, done = checkpoint.save, []

    def interrupted(*arguments: Any) -> None:
        if len(done) == 1:
            raise KeyboardInterrupt  # two steps after the last checkpoint
        save(*arguments)
        done.append(1)

    monkeypatch.setattr(checkpoint, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(pairs_frame, tmp_path, trackers=["tensorboard"])
    monkeypatch.setattr(checkpoint, "save", save)
    model = fit(pairs_frame, tmp_path, trackers=["tensorboard"])
    (folder,) = tmp_path.glob("fit-*/tracking/tensorboard")
    found, history = curves(folder), model.info["history"]
    steps = len(found["train/loss"])
    assert [step for step, _ in found["train/loss"]] == list(range(1, steps + 1))
    assert [step for step, _ in found["epoch/validation_loss"]] == [steps // 2, steps]
    losses = [value for _, value in found["train/loss"]]
    for epoch in range(2):
        part = losses[epoch * steps // 2 : (epoch + 1) * steps // 2]
        assert sum(part) / len(part) == pytest.approx(history[epoch]["train_loss"], rel=1e-5)
        assert found["epoch/validation_loss"][epoch][1] == pytest.approx(history[epoch]["validation_loss"], rel=1e-5)
    rates = [value for _, value in found["train/learning_rate"]]
    assert max(rates) == pytest.approx(1e-3)
    assert rates[0] < rates[1] < rates[2]


def test_trackers_do_not_change_what_is_fitted(
    pairs_frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    plain = fit(pairs_frame, tmp_path / "plain", epochs=1)
    tracked = fit(pairs_frame, tmp_path / "tracked", epochs=1, trackers=["tensorboard"])
    assert tracked.fingerprint() == plain.fingerprint()
    monkeypatch.setattr("bandits.reward_models.reward_model.train", lambda *_, **__: pytest.fail("trained again"))
    assert "trackers" not in fit(pairs_frame, tmp_path / "plain", epochs=1, trackers=["tensorboard"]).info["config"]


def test_weights_and_biases_write_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from bandits.reward_models.tracking import Trackers

    monkeypatch.delenv("WANDB_MODE", raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    with Trackers(["wandb"], tmp_path, {"epochs": 2}) as trackers:
        trackers.scalars({"train/loss": 0.625}, 1)
        trackers.scalars({"train/loss": 0.375}, 2)
    (file,) = (tmp_path / "wandb").rglob("*.wandb")
    assert _logged(file) == [{"train/loss": 0.625, "_step": 1}, {"train/loss": 0.375, "_step": 2}]


def _logged(file: Path) -> list[dict[str, float]]:
    """What a run logged: after 7 bytes, records of checksum, length and kind (LevelDB's log), in one block here."""
    from wandb.proto import wandb_internal_pb2

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:  # another process writes the file
        data, place, records = file.read_bytes(), 7, []
        assert len(data) < 32_768
        while place < len(data):
            _, length, kind = struct.unpack_from("<IHB", data, place)
            if place + 7 + length > len(data):
                break
            assert kind == 1, "a whole record"
            records.append(wandb_internal_pb2.Record.FromString(data[place + 7 : place + 7 + length]))
            place += 7 + length
        if records and records[-1].HasField("exit"):
            break
        time.sleep(0.1)
    logged = [{"/".join(item.nested_key): json.loads(item.value_json) for item in r.history.item} for r in records]
    return [{name: values[name] for name in ("train/loss", "_step")} for values in logged if values]


@pytest.mark.faults
def test_missing_tracker_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from bandits.reward_models.tracking import Trackers

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match=r"`trackers` must .* Got 'wandb': .*click-bandits\[tracking\]"):
        Trackers(["wandb"], tmp_path)
    with pytest.raises(ValueError, match="trackers"):
        FitConfig.model_validate({"trackers": ["mlflow"]})
