"""Embeddings of users and items as soft tokens: words that are none, over five architectures, and what they teach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from bandits.reward_models import FitConfig, RewardModel, click_log_from_frame, drop_layers, explain_click, split_log
from bandits.reward_models.text_columns import PairColumns, TextColumns

if TYPE_CHECKING:
    from bandits.reward_models.network import Network

pytestmark = pytest.mark.model

ARCHITECTURES = ("bert", "roberta", "deberta-v2", "modernbert", "gpt2")
USERS = ["abc", "a much longer text than anybody else has", "x"]
ITEMS = ["d e", "news about it", "z"]


def network_of(folder: Path, columns: PairColumns) -> Network:
    import torch

    from bandits.reward_models.network import Network
    from bandits.reward_models.weights import resolve_weights

    how: dict[str, Any] = {"max_length": 20, "device": torch.device("cpu"), "seed": 1}
    return Network.from_weights(resolve_weights(str(folder)), columns=columns, embeddings_enter="tokens", **how)


def random_columns(width: int) -> PairColumns:
    """An embedding of users, and a number and an embedding of items."""
    random = np.random.default_rng(3)
    users = TextColumns("user", tuple(USERS), random.normal(size=(3, width)), (), {"taste": width})
    return PairColumns((users, TextColumns("item", tuple(ITEMS), random.normal(size=(3, 5)), ("price",), {"look": 4})))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_words_own_embedding_is_that_word(name: str, small_model: Callable[[str], Path]) -> None:
    import torch

    network = network_of(small_model(name), random_columns(32))
    soft, encoder = network.model.soft_tokens, network.model.encoder
    assert soft is not None
    words = encoder.get_input_embeddings().weight.detach()
    assert float(soft.spread) == pytest.approx(float((words - words.mean(0)).std()), rel=1e-5)
    with torch.no_grad():  # the map becomes the identity
        projection: Any = soft.projections[0]
        projection.weight.copy_(torch.eye(32) / soft.spread)
        projection.bias.copy_(-soft.centre / soft.spread)
        look = soft.centre + soft.spread * soft.projections[1](torch.zeros(4))
        words[59] = look  # what an item with an embedding of 0 is: a word of its own
    chosen = np.array([10, 17, 23])
    users = TextColumns("user", tuple(USERS), words[chosen].double().numpy(), (), {"taste": 32})
    items = TextColumns("item", tuple(ITEMS), np.zeros((3, 5)), ("price",), {"look": 4})
    network.columns = PairColumns((users, items))
    pairs = network.pair_tokenizer.product(USERS, ITEMS)
    batch = pairs.batch(np.arange(9), network.device)
    place = 0 if name == "gpt2" else 1
    assert (batch["input_ids"] == -1).nonzero()[:, 1].tolist() == [place, place + 1] * 9
    batch["input_ids"][:, place] = torch.from_numpy(np.repeat(chosen, 3))
    batch["input_ids"][:, place + 1] = 59
    with torch.inference_mode():
        expected = network.model.eval()(**batch).numpy()
    assert np.ptp(expected) > 0.02
    np.testing.assert_allclose(network.logits(pairs), expected, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_batches_equal_single_rows_and_saved_networks(
    name: str, small_model: Callable[[str], Path], tmp_path: Path
) -> None:
    import torch

    from bandits.reward_models.network import Network

    network = network_of(small_model(name), random_columns(6))
    pairs = network.pair_tokenizer.product(USERS, ITEMS)
    found = network.logits(pairs)
    alone = [network.logits(pairs.take(np.array([row])))[0] for row in range(9)]
    np.testing.assert_allclose(found, alone, atol=1e-5)
    assert 1e-6 < np.abs(network.logits(pairs, "bfloat16") - found).max() < 0.5 * np.ptp(found)
    (tmp_path / "saved").mkdir()
    network.save(tmp_path / "saved")
    loaded = Network.load(tmp_path / "saved", max_length=20, device=torch.device("cpu"))
    assert loaded.fingerprint() == network.fingerprint()
    np.testing.assert_array_equal(loaded.logits(loaded.pair_tokenizer.product(USERS, ITEMS)), found)
    other = random_columns(6).sides
    moved = PairColumns((TextColumns("user", tuple(USERS), other[0].values + 1, (), {"taste": 6}), other[1]))
    network.columns = moved
    del network.pair_tokenizer
    assert np.abs(network.logits(network.pair_tokenizer.product(USERS, ITEMS)) - found).min() > 1e-6


def planted(users: int = 100, by_look: bool = False) -> pd.DataFrame:
    """Whether a user clicks is told by her taste, or by its product with an item's look, and by nothing in any text."""
    random = np.random.default_rng(2)
    taste, look = random.normal(size=(users, 3)), np.array([[1.0, 0.3], [-1.0, 0.2], [1.0, -0.3], [-1.0, -0.2]])
    return pd.DataFrame(
        [
            {
                "user_text": f"reader {u}",
                "item_text": f"thing {k}",
                "impressions": 300,
                "clicks": random.binomial(
                    300, 1 / (1 + np.exp(1 - 1.5 * taste[u, 1] * (look[k, 0] if by_look else 1)))
                ),
                "taste": taste[u].tolist(),
                "look": look[k].tolist(),
            }
            for u in range(users)
            for k in range(4)
        ]
    )


CONFIG = FitConfig(
    weights="tiny",
    epochs=12,
    patience=12,
    learning_rate=5e-3,
    columns_learning_rate=3e-2,
    batch_size=16,
    checkpoint_steps=4,
    device="cpu",
    precision="float32",
)
SIDES = (("user", "taste"), ("item", "look"))
NAMES: dict[str, Any] = {"user_embeddings": ["taste"], "embeddings": ["look"]}


def fit(cache: Path, names: dict[str, Any] = NAMES, frame: pd.DataFrame | None = None, **changes: Any) -> RewardModel:
    log = click_log_from_frame(planted() if frame is None else frame, **names)
    config = CONFIG.model_copy(update=changes)
    return RewardModel.fit(log, split_log(log, fractions=(0.5, 0.1, 0.1, 0.3)), config, cache=cache)


def explained(model: RewardModel, frame: pd.DataFrame | None = None) -> float:
    """Correlation of predicted and planted log-odds over users that the fit has not seen."""
    by_look = frame is not None
    frame = planted() if frame is None else frame
    rows = split_log(click_log_from_frame(frame, **NAMES), fractions=(0.5, 0.1, 0.1, 0.3)).test
    taste, look = (dict(zip(frame[f"{of}_text"], frame[name], strict=True)) for of, name in SIDES)
    planted_odds = [
        taste[user][1] * (look[item][0] if by_look else 1)
        for user, item in zip(rows["user_text"], rows["item_text"], strict=True)
    ]
    scores = model.scores(rows["user_text"].tolist(), rows["item_text"].tolist())
    return float(np.corrcoef(scores, planted_odds)[0, 1])


@pytest.fixture(scope="module")
def by_tokens(tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    return fit(tmp_path_factory.mktemp("fit"), embeddings_enter="tokens")


def test_what_only_a_users_vector_says_is_learned(by_tokens: RewardModel, tmp_path: Path) -> None:
    assert explained(by_tokens) > 0.95
    assert explained(fit(tmp_path, embeddings_enter="logit", tuning="head", epochs=6)) > 0.95
    assert abs(explained(fit(tmp_path, names={}, epochs=2))) < 0.4
    assert explained(fit(tmp_path, embeddings_enter="tokens", tuning="lora", learning_rate=1e-2)) > 0.9


def test_tokens_learn_what_a_sum_cannot_say(tmp_path: Path) -> None:
    frame = planted(users=160, by_look=True)
    assert explained(fit(tmp_path, frame=frame, embeddings_enter="tokens", epochs=16, seed=1), frame) > 0.7
    assert abs(explained(fit(tmp_path, frame=frame, embeddings_enter="logit", tuning="head", epochs=4), frame)) < 0.3


def test_saved_models_are_the_same_and_damaged_ones_refused(by_tokens: RewardModel, tmp_path: Path) -> None:
    by_tokens.save(tmp_path / "saved")
    loaded = RewardModel.load(tmp_path / "saved", device="cpu")
    users, items = ["reader 3", "reader 99"], ["thing 2", "thing 0"]
    assert loaded.fingerprint() == by_tokens.fingerprint()
    np.testing.assert_array_equal(loaded.propensities(users, items), by_tokens.propensities(users, items))
    card = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    assert "beside the user's text (`columns.npz`): `taste` (an embedding of 3 numbers)" in card
    assert "embeddings_enter tokens" in card
    with pytest.raises(ValueError, match=r"`user_texts` must be users of the log .* `taste`. Got 'a stranger'"):
        loaded.propensities(["a stranger"], items)


def test_an_interrupted_fit_ends_like_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models import checkpoint

    how: dict[str, Any] = {"frame": planted(users=40), "embeddings_enter": "tokens", "epochs": 2}
    whole = fit(tmp_path / "whole", **how)
    save = checkpoint.save

    def interrupted(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", **how)
    monkeypatch.undo()
    assert fit(tmp_path / "cut", **how).fingerprint() == whole.fingerprint()
    assert fit(tmp_path / "cut", **how | {"embeddings_enter": "logit"}).fingerprint() != whole.fingerprint()


def test_words_are_explained_beside_soft_tokens(by_tokens: RewardModel) -> None:
    pytest.importorskip("captum")
    found = explain_click(by_tokens, "reader 3", "thing 1")
    assert [word.text for word in found.words] == ["reader", "3", "thing", "1"]
    assert found.probability == pytest.approx(by_tokens.propensities(["reader 3"], ["thing 1"])[0, 0], abs=1e-6)
    other = explain_click(by_tokens, "reader 4", "thing 1")
    assert abs(found.without_words - other.without_words) > 0.02, "masked words leave what the vectors say"


def test_a_smaller_model_keeps_its_columns(by_tokens: RewardModel) -> None:
    log = click_log_from_frame(planted(), **NAMES)
    smaller = drop_layers(by_tokens, [0], log, split_log(log, fractions=(0.5, 0.1, 0.1, 0.3)))
    assert explained(smaller) > 0.5


@pytest.mark.faults
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "bi"}, "must be 'logit' where `architecture` is 'bi'"),
        ({"tuning": "head"}, "must be 'logit' where `tuning` is 'head': vectors of pairs are kept"),
        ({"tuning": "prefix"}, "must be 'logit' where `tuning` is 'prefix'"),
    ],
)
def test_fits_without_room_for_tokens_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FitConfig(embeddings_enter="tokens", **changes)


@pytest.mark.faults
def test_tokens_need_embeddings_and_room(tmp_path: Path) -> None:
    frame = planted(users=20).assign(price=lambda rows: rows["item_text"].str[-1].astype(int))
    with pytest.raises(ValueError, match="`embeddings_enter` must be 'logit' for a log read without embeddings"):
        fit(tmp_path, {"numbers": ["price"]}, frame, embeddings_enter="tokens")
    vectors = {f"v{number}": frame["taste"] for number in range(4)}
    with pytest.raises(ValueError, match=r"`max_length` must be at least 9: 7 tokens .*, 4 of them soft. Got 8"):
        fit(tmp_path, {"user_embeddings": [*vectors]}, frame.assign(**vectors), embeddings_enter="tokens", max_length=8)


@pytest.mark.faults
def test_an_encoder_that_reads_words_only_is_refused(small_model: Callable[[str], Path]) -> None:
    import torch

    network = network_of(small_model("bert"), random_columns(4))

    class WordsOnly(torch.nn.Module):
        config = network.model.encoder.config

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError

    network.model.encoder = WordsOnly()
    with pytest.raises(ValueError, match="`embeddings_enter` must be 'logit' for the architecture 'bert'"):
        network.model.take_columns(0, [], [4])
