"""User and item read apart: the formula, one text at a time; and what a student learns from its teacher."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import FitConfig, RewardModel, Split, click_log_from_frame, score_users_by_items, split_log

pytestmark = pytest.mark.model

USERS = ["Reader 1 loves sport", "Reader 2 loves music and long walks on the beach", ""]
ITEMS = ["News about sport today", "News about money", ""]
CONFIG = FitConfig(
    weights="tiny", architecture="bi", epochs=3, learning_rate=5e-3, batch_size=8, freeze_embeddings=False, device="cpu"
)


def fit(frame: pd.DataFrame, cache: Path, **changes: Any) -> tuple[RewardModel, Split]:
    log = click_log_from_frame(frame)
    split = split_log(log, fractions=(0.4, 0.2, 0.2, 0.2))
    return RewardModel.fit(log, split, CONFIG.model_copy(update=changes), cache=cache), split


@pytest.fixture
def network() -> Any:
    import torch

    from bandits.reward_models.network import Network
    from bandits.reward_models.weights import resolve_weights

    weights = resolve_weights("tiny", texts=USERS + ITEMS)
    cpu = torch.device("cpu")
    network = Network.from_weights(weights, max_length=12, device=cpu, seed=3, architecture="bi", dropout=0.0)
    with torch.no_grad():
        for parameter in network.model.parameters():
            parameter *= 5
        network.model.head.bias.fill_(-2.0)
    return network


def one_by_one(network: Any) -> np.ndarray:
    """Logits of every user on every item: each text alone, in float64."""
    import torch

    model = copy.deepcopy(network.model).double().eval()

    def vector(text: str) -> np.ndarray:
        batch = network.tokenizer(text, truncation=True, max_length=12, return_tensors="pt")
        with torch.inference_mode():
            hidden: np.ndarray = model.encoder(**batch).last_hidden_state[0].numpy()
        return hidden.mean(axis=0)

    matrix, weight, bias = (p.detach().numpy() for p in (model.users.weight, model.head.weight[0], model.head.bias[0]))
    return np.array(
        [
            (((matrix @ vector(user)) @ vector(item) / np.sqrt(32)) if user else 0.0) + weight @ vector(item) + bias
            for user in USERS
            for item in ITEMS
        ]
    )


def test_logits_are_the_formula(network: Any) -> None:
    import torch

    expected = one_by_one(network)
    assert np.ptp(expected) > 0.5
    pairs = network.pair_tokenizer.product(USERS, ITEMS)
    np.testing.assert_allclose(network.logits(pairs), expected, atol=1e-5)
    assert 1e-5 < np.abs(network.logits(pairs, "bfloat16") - expected).max() < 0.1 * np.ptp(expected)
    rows = np.array([8, 0, 4, 4, 1])
    with torch.no_grad():
        np.testing.assert_allclose(network.model.eval().of_rows(pairs, rows, network.device), expected[rows], atol=1e-5)
    assert len(network.logits(pairs.take(rows[:0]))) == 0


def test_every_text_is_read_once(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models.cross_encoder import BiEncoder

    read: list[int] = []
    vectors = BiEncoder.vectors

    def counting(self: BiEncoder, **batch: Any) -> Any:
        read.append(len(batch["input_ids"]))
        return vectors(self, **batch)

    monkeypatch.setattr(BiEncoder, "vectors", counting)
    users, items = [f"reader {u}" for u in range(20)], [f"text {k}" for k in range(30)]
    network.logits(network.pair_tokenizer.product(users, items))
    assert sum(read) == 50


def test_fit_finds_who_likes_what(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    model, split = fit(pairs_frame, tmp_path, epochs=12, patience=12, dropout=0.0)
    rows = split.test
    liked = [user.split()[-1] in item for user, item in zip(rows["user_text"], rows["item_text"], strict=True)]
    scores = model.scores(rows["user_text"].tolist(), rows["item_text"].tolist())
    assert scores[np.array(liked)].mean() > scores[~np.array(liked)].mean() + 0.15
    model.save(tmp_path / "saved")
    loaded = RewardModel.load(tmp_path / "saved", device="cpu")
    assert loaded.fingerprint() == model.fingerprint()
    np.testing.assert_array_equal(loaded.propensities(USERS, ITEMS), model.propensities(USERS, ITEMS))
    table = score_users_by_items(model, USERS[:2], ITEMS[:2], cache=tmp_path)
    np.testing.assert_allclose(table.p[0], model.propensities(USERS[:2], ITEMS[:2]), rtol=1e-5)


def test_frozen_and_adapted_encoders_are_read_apart_too(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    for tuning in ("head", "lora"):
        model, split = fit(pairs_frame.iloc[:100], tmp_path, tuning=tuning, epochs=1, precision="float32")
        rows = split.validation
        z = model.scores(rows["user_text"].tolist(), rows["item_text"].tolist())
        loss = np.sum(rows["impressions"] * np.logaddexp(0, z) - rows["clicks"] * z) / rows["impressions"].sum()
        assert loss == pytest.approx(model.info["history"][0]["validation_loss"], abs=1e-6)


def test_teacher_gives_clicks_that_mix_log_and_model(
    pairs_frame: pd.DataFrame, tests_frame: pd.DataFrame, tmp_path: Path
) -> None:
    model, split = fit(pairs_frame, tmp_path, architecture="cross", epochs=1)
    rows = split.train
    taught = model.teach(rows, 0.25)
    rates = [
        model.propensities([user], [item])[0, 0]
        for user, item in zip(rows["user_text"], rows["item_text"], strict=True)
    ]
    np.testing.assert_allclose(taught["clicks"], 0.75 * rows["clicks"] + 0.25 * rows["impressions"] * rates, rtol=1e-5)
    assert taught.drop(columns="clicks").equals(rows.drop(columns="clicks"))

    model, split = fit(tests_frame, tmp_path, architecture="cross", loss="within_test", epochs=1)
    rows, taught = split.train, model.teach(split.train, 1.0)
    for _, test in rows.groupby("contrast"):
        slope = model.calibrator.slope
        odds = test["impressions"] * np.exp(slope * model.scores([""] * len(test), test["item_text"].tolist()))
        np.testing.assert_allclose(
            taught.loc[test.index, "clicks"], test["clicks"].sum() * odds / odds.sum(), rtol=1e-4
        )


def test_student_is_fitted_to_what_its_teacher_says(
    pairs_frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bandits.reward_models import reward_model

    teacher, split = fit(pairs_frame.iloc[:100], tmp_path, architecture="cross", epochs=1)
    teacher.save(tmp_path / "teacher")
    train, seen = reward_model.train, []
    monkeypatch.setattr(reward_model, "train", lambda *a, **options: (seen.append(a[1:3]), train(*a, **options))[1])
    changes = {"epochs": 1, "teacher": str(tmp_path / "teacher"), "teacher_weight": 0.75}
    student, _ = fit(pairs_frame.iloc[:100], tmp_path, **changes)
    ((rows, stop),) = seen
    np.testing.assert_allclose(rows["clicks"], teacher.teach(split.train, 0.75)["clicks"])
    assert stop.equals(split.validation), "it stops by what really happened"
    alone, _ = fit(pairs_frame.iloc[:100], tmp_path, epochs=1)
    assert student.info["teacher"] == teacher.fingerprint()
    assert student.fingerprint() != alone.fingerprint()
    monkeypatch.setattr(reward_model, "train", lambda *_, **__: pytest.fail("trained again"))
    (tmp_path / "teacher").rename(tmp_path / "moved")
    again, _ = fit(pairs_frame.iloc[:100], tmp_path, **changes | {"teacher": str(tmp_path / "moved")})
    assert again.fingerprint() == student.fingerprint()


@pytest.mark.faults
def test_teacher_of_another_split_or_kind_is_refused(
    pairs_frame: pd.DataFrame, tests_frame: pd.DataFrame, tmp_path: Path
) -> None:
    teacher, _ = fit(pairs_frame, tmp_path, epochs=1)
    teacher.save(tmp_path / "teacher")
    log = click_log_from_frame(pairs_frame)
    other = split_log(log, fractions=(0.5, 0.2, 0.2, 0.1))
    config = CONFIG.model_copy(update={"teacher": str(tmp_path / "teacher")})
    with pytest.raises(
        ValueError, match=r"`teacher` must be fitted on a log of pairs, .* Got .*pairs in another split"
    ):
        RewardModel.fit(log, other, config, cache=tmp_path)
    larger = pd.concat([pairs_frame, pairs_frame.assign(user_text=pairs_frame["user_text"] + " too")])
    grown = click_log_from_frame(larger)
    with pytest.raises(ValueError, match=r"`teacher` must not have seen the test rows. Got one, fitted on frame, that"):
        RewardModel.fit(grown, split_log(grown, fractions=(0.4, 0.2, 0.2, 0.2), seed=1), config, cache=tmp_path)
    of_other_log = split_log(grown, fractions=(0.4, 0.2, 0.2, 0.2))  # who is in which part stays as it was
    RewardModel.fit(grown, of_other_log, config.model_copy(update={"epochs": 1}), cache=tmp_path)
    with pytest.raises(ValueError, match=r"`teacher` must be fitted on a log of tests, .* Got one fitted on pairs\."):
        fit(tests_frame, tmp_path, loss="within_test", teacher=str(tmp_path / "teacher"))
    with pytest.raises(FileNotFoundError, match="must hold a saved reward model"):
        fit(pairs_frame, tmp_path, teacher=str(tmp_path / "nothing"))
