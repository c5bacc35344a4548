"""Layers left out and weights set to 0: against encoders put together by hand; students of their own teacher."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import (
    ClickLog,
    FitConfig,
    RewardModel,
    Split,
    click_log_from_frame,
    drop_layers,
    prune_weights,
    split_log,
)

pytestmark = pytest.mark.model

CONFIG = FitConfig(weights="tiny", epochs=1, learning_rate=5e-3, batch_size=8, freeze_embeddings=False, device="cpu")


class Fitted:
    """A model with what it was fitted on."""

    def __init__(self, frame: pd.DataFrame, cache: Path, columns: dict[str, Any] | None = None, **changes: Any) -> None:
        self.log: ClickLog = click_log_from_frame(frame, **(columns or {}))
        self.split: Split = split_log(self.log, fractions=(0.4, 0.2, 0.2, 0.2))
        self.config = CONFIG.model_copy(update=changes)
        self.model = RewardModel.fit(self.log, self.split, self.config, cache=cache)


def texts(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    return rows["user_text"].tolist(), rows["item_text"].tolist()


def test_kept_layers_are_applied_one_after_another(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    import torch

    fitted = Fitted(pairs_frame.iloc[:100], tmp_path)
    smaller = drop_layers(fitted.model, [1], fitted.log, fitted.split)
    user, item = "Reader 1 loves sport", "News about money today"
    whole = fitted.model.network
    batch = whole.tokenizer(user, item, return_tensors="pt")
    with torch.inference_mode():
        encoder = whole.model.eval().encoder
        hidden = encoder.encoder.layer[1](encoder.embeddings(batch["input_ids"], batch["token_type_ids"]))
        logit = whole.model.head(hidden.mean(1)).item()
    assert smaller.scores([user], [item])[0] == pytest.approx(logit, abs=1e-5)
    assert abs(fitted.model.scores([user], [item])[0] - logit) > 1e-4
    rows = fitted.split.calibration
    rates = smaller.calibrator(smaller.scores(*texts(rows)))
    assert np.sum(rates * rows["impressions"]) == pytest.approx(rows["clicks"].sum(), rel=1e-3), "calibrated anew"


@pytest.mark.parametrize("name", ["bert", "roberta", "deberta-v2", "modernbert", "gpt2"])
def test_smaller_models_are_saved_whole(
    name: str, pairs_frame: pd.DataFrame, tmp_path: Path, small_model: Callable[[str], Path]
) -> None:
    fitted = Fitted(pairs_frame.iloc[:60], tmp_path, weights=str(small_model(name)), tuning="head")
    one_layer = drop_layers(fitted.model, [0], fitted.log, fitted.split)
    for number, smaller in enumerate([one_layer, prune_weights(one_layer, 0.5, fitted.log, fitted.split)]):
        smaller.save(tmp_path / f"smaller-{number}")
        loaded = RewardModel.load(tmp_path / f"smaller-{number}", device="cpu")
        assert loaded.fingerprint() == smaller.fingerprint()
        rows = texts(fitted.split.test)
        np.testing.assert_array_equal(loaded.scores(*rows), smaller.scores(*rows))
        left = sum(tensor.numel() for tensor in loaded.network.model.parameters())
        assert loaded.info["compression"]["parameters"] == left
    assert len(fitted.model.network.model.layers) == 2
    assert "made smaller after the fit: only layers 0 (from 0) of 2" in (tmp_path / "smaller-0/README.md").read_text()


def test_smallest_weights_of_every_matrix_become_0(tests_frame: pd.DataFrame, tmp_path: Path) -> None:
    fitted = Fitted(tests_frame, tmp_path, loss="within_test", tuning="lora", rank=2)
    before = {name: tensor.clone() for name, tensor in fitted.model.network.model.state_dict().items()}
    smaller = prune_weights(fitted.model, 0.3, fitted.log, fitted.split)
    after, zeros = smaller.network.model.state_dict(), 0
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        old, new = tensor.numpy(), after[name].numpy()
        if "encoder.layer." in name and old.ndim == 2:
            cut = np.sort(np.abs(old), axis=None)[round(0.3 * old.size)]
            np.testing.assert_array_equal(new, np.where(np.abs(old) < cut, 0, old))
            zeros += round(0.3 * old.size)
        else:
            np.testing.assert_array_equal(new, old)
        np.testing.assert_array_equal(fitted.model.network.model.state_dict()[name], old)
    found = smaller.info["compression"]
    not_0 = sum(int(np.count_nonzero(tensor.numpy())) for tensor in after.values())
    assert found["not_0"] == not_0 <= found["parameters"] - zeros
    assert smaller.calibrator.slope != fitted.model.calibrator.slope


def test_student_starts_from_its_teachers_layers(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    teacher = Fitted(pairs_frame, tmp_path, epochs=2)
    teacher.model.save(tmp_path / "teacher")
    drop_layers(teacher.model, [0], teacher.log, teacher.split).save(tmp_path / "start")
    paths = {"weights": str(tmp_path / "start"), "teacher": str(tmp_path / "teacher")}
    still = Fitted(pairs_frame, tmp_path, **paths, learning_rate=1e-12).model
    assert len(still.network.model.layers) == 1
    first = teacher.model.network.model.layers[0].state_dict()
    for name, tensor in still.network.model.layers[0].state_dict().items():
        np.testing.assert_allclose(tensor, first[name], atol=1e-9)
    student = Fitted(pairs_frame, tmp_path, **paths, teacher_weight=1.0).model
    rows = texts(teacher.split.test)
    wanted = teacher.model.scores(*rows)
    assert np.std(student.scores(*rows) - wanted) < np.std(still.scores(*rows) - wanted)


def test_what_is_beside_the_text_goes_on_counting(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    frame = pairs_frame.assign(price=pairs_frame["item_text"].str.len() % 7, orders=pairs_frame["clicks"] // 3)
    fitted = Fitted(frame, tmp_path, {"numbers": ["price"], "conversions": "orders"}, columns_learning_rate=0.5)
    smaller = prune_weights(fitted.model, 1e-6, fitted.log, fitted.split)  # of no matrix more than nothing
    rows = texts(fitted.split.test)
    for name, rates in fitted.model.outcome_rates(*rows).items():
        np.testing.assert_allclose(smaller.outcome_rates(*rows)[name], rates, rtol=1e-6)
    one_layer = drop_layers(fitted.model, [0], fitted.log, fitted.split)
    held = fitted.split.calibration
    told = one_layer.outcome_rates(*texts(held))["conversion"]
    assert np.sum(told * held["clicks"]) == pytest.approx(held["conversions"].sum(), rel=1e-3), "fitted anew"
    one_layer.save(tmp_path / "saved")
    loaded = RewardModel.load(tmp_path / "saved", device="cpu").outcome_rates(*rows)
    np.testing.assert_array_equal(loaded["conversion"], one_layer.outcome_rates(*rows)["conversion"])


@pytest.mark.faults
def test_what_cannot_be_made_smaller_is_refused(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    fitted = Fitted(pairs_frame.iloc[:100], tmp_path)
    model, log, split = fitted.model, fitted.log, fitted.split
    for keep in ([], [2], [-1], [1, 0], [0, 0]):
        with pytest.raises(ValueError, match="`keep` must be ascending numbers of layers, from 0 to 1 for this model"):
            drop_layers(model, keep, log, split)
    for share in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"`share` must lie above 0 and below 1\. Got"):
            prune_weights(model, share, log, split)
    with pytest.raises(ValueError, match="`split` must be the one that the model was fitted on"):
        drop_layers(model, [0], log, split_log(log, fractions=(0.4, 0.2, 0.2, 0.2), seed=1))
    prefix = Fitted(pairs_frame.iloc[:100], tmp_path, tuning="prefix", prefix_tokens=2)
    with pytest.raises(ValueError, match="`model` must have no prefix"):
        prune_weights(prefix.model, 0.5, log, split)
