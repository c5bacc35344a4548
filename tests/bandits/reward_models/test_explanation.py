"""Attributions of words against a network whose answer is known, and against masking words one at a time."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from bandits.reward_models import FitConfig, RewardModel, click_log_from_frame, explain_click, split_log
from bandits.reward_models.explanation import Explanation, Word

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    """Stories of rain are clicked, stories of the sun are not; the rest of the text says nothing."""
    random = np.random.default_rng(0)
    rows = []
    for user in ("likes rain", "likes sun"):
        for number in range(120):
            topic = ("rain", "sun")[number % 2]
            word = ("today", "again", "at last")[number % 3]
            rate = 0.4 if topic == "rain" else 0.05
            rows.append((user, f"story {number} {topic} {word}", 200, int(random.binomial(200, rate)), f"g{number}"))
    frame = pd.DataFrame(rows, columns=["user_text", "item_text", "impressions", "clicks", "group"])
    log = click_log_from_frame(frame)
    settings = {"weights": "tiny", "epochs": 30, "patience": 30, "learning_rate": 5e-3, "freeze_embeddings": False}
    config = FitConfig.model_validate(settings | {"precision": "float32"})  # the same fit on every processor
    return RewardModel.fit(log, split_log(log), config, cache=tmp_path_factory.mktemp("fits"))


def test_effects_add_up_to_the_change_of_log_odds(model: RewardModel) -> None:
    user, item = "likes rain", "story 7 rain today"
    found = explain_click(model, user, item)
    assert found.probability == pytest.approx(model.propensities([user], [item])[0, 0], abs=1e-6)
    total = sum(word.effect for word in found.words)
    change = logit(found.probability) - logit(found.without_words)
    assert found.missed < 0.01
    assert total == pytest.approx(change, rel=0.011)
    assert [(word.text, word.of) for word in found.words] == [
        *(("likes", "user"), ("rain", "user")),
        *(("story", "item"), ("7", "item"), ("rain", "item"), ("today", "item")),
    ]


def test_the_word_that_matters_is_found(model: RewardModel) -> None:
    """Two stories differ in one word: most of the difference of their log-odds is put down to it."""
    effects, log_odds = {}, {}
    for topic in ("rain", "sun"):
        found = explain_click(model, "likes rain", f"story 7 {topic} today")
        effects[topic] = next(word.effect for word in found.words if word.text == topic and word.of == "item")
        log_odds[topic] = float(logit(found.probability))
    difference = log_odds["rain"] - log_odds["sun"]
    assert difference > 1
    assert effects["rain"] - effects["sun"] == pytest.approx(difference, rel=0.25)


def test_of_a_linear_network_effects_are_exact(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the logit is a sum over words, each word's effect is its own term's distance from the mask's."""
    import torch

    network = model.network
    embedding = network.model.encoder.get_input_embeddings()

    def linear(input_ids: torch.Tensor, token_type_ids: torch.Tensor, soft: None) -> torch.Tensor:
        return embedding(input_ids).sum((1, 2))  # type: ignore[no-any-return]

    monkeypatch.setattr(network.model, "forward", linear)
    found = explain_click(model, "likes rain", "rain again")
    value = embedding.weight.detach().sum(1).double().numpy()
    mask = value[network.tokenizer.mask_token_id]
    ids = network.tokenizer(["likes", "rain", "rain", "again"], add_special_tokens=False)["input_ids"]
    expected = model.calibrator.slope * np.array([sum(value[token] - mask for token in word) for word in ids])
    np.testing.assert_allclose([word.effect for word in found.words], expected, rtol=1e-4, atol=1e-5)


def test_text_longer_than_the_model_is_explained_as_far_as_it_was_read(model: RewardModel) -> None:
    found = explain_click(model, "likes sun", "sun " * 100)
    assert 0 < len([word for word in found.words if word.of == "item"]) < 32
    assert "sun" in found.to_text()


def test_what_the_integral_misses_is_told() -> None:
    words = (Word("rain", "item", 0.5),)
    assert "miss" not in Explanation(0.1, 0.06, words, missed=0.009).to_text()
    assert "the effects miss 20% of the difference" in Explanation(0.1, 0.06, words, missed=0.2).to_text()


@pytest.mark.faults
def test_empty_item_and_missing_captum_are_refused(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="`item_text` must not be empty"):
        explain_click(model, "likes sun", " ")
    imported = builtins.__import__

    def without_captum(name: str, *args: Any) -> Any:
        if name.startswith("captum"):
            raise ImportError(name)
        return imported(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_captum)
    with pytest.raises(ImportError, match=r"click-bandits\[explain\]"):
        explain_click(model, "likes sun", "rain")
