"""The cache of scores: hits, misses, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bandits.reward_models import Calibrator, RewardModel, score_users_by_items, scoring
from bandits.reward_models.fit_config import ScoringConfig

pytestmark = pytest.mark.model

USERS = [f"reader {u} likes {'long walks and ' * (u % 4)}tea" for u in range(12)]
ITEMS = [f"text number {k}" for k in range(5)]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> RewardModel:
    import torch

    from bandits.reward_models import inference
    from bandits.reward_models.network import Network
    from bandits.reward_models.weights import resolve_weights

    monkeypatch.setitem(inference.TOKENS_PER_BATCH, "cpu", 120)
    monkeypatch.setattr(scoring, "_SHARD_BATCHES", 3)
    weights = resolve_weights("tiny", texts=USERS + ITEMS)
    network = Network.from_weights(weights, max_length=32, device=torch.device("cpu"), seed=3)
    info = {"weights": {"sha256": weights.sha256}, "log": {"content_hash": "none"}}
    return RewardModel(network, Calibrator("platt", 2.0, -3.0), "pairs", info)


def shards(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.f64"))


def test_table_equals_propensities_of_single_pairs(model: RewardModel) -> None:
    table = score_users_by_items(model, USERS, ITEMS, user_ids=[f"u{u}" for u in range(12)])
    alone = [[model.propensities([user], [item])[0, 0] for item in ITEMS] for user in USERS[:3]]
    np.testing.assert_allclose(table.p[0, :3], alone, rtol=1e-4)
    assert table.user_ids[3] == "u3"
    assert table.provenance["model"] == model.fingerprint()


def test_second_call_reads_the_shards(model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models import inference

    first = score_users_by_items(model, USERS, ITEMS, cache=tmp_path)
    assert len(shards(tmp_path)) == 3
    monkeypatch.setattr(inference.Inference, "logits", lambda *_: pytest.fail("scored again"))
    assert score_users_by_items(model, USERS, ITEMS, cache=tmp_path).content_hash == first.content_hash


def test_interrupted_scoring_goes_on(model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models import inference

    first = score_users_by_items(model, USERS, ITEMS, cache=tmp_path)
    shards(tmp_path)[1].unlink()
    calls = []
    original = inference.Inference.logits
    monkeypatch.setattr(
        inference.Inference, "logits", lambda *given: (calls.append(len(given[2])), original(*given))[1]
    )
    assert score_users_by_items(model, USERS, ITEMS, cache=tmp_path).content_hash == first.content_hash
    assert calls == [3]


def test_other_texts_and_other_weights_miss(model: RewardModel, tmp_path: Path) -> None:
    score_users_by_items(model, USERS, ITEMS, cache=tmp_path)
    score_users_by_items(model, USERS, [*ITEMS[:4], "text number 9"], cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    next(model.network.model.parameters()).data[0, 0] += 1
    changed = RewardModel(model.network, model.calibrator, "pairs", model.info)
    score_users_by_items(changed, USERS, ITEMS, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_other_batches_miss(model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models import inference

    first = score_users_by_items(model, USERS, ITEMS, cache=tmp_path)
    monkeypatch.setitem(inference.TOKENS_PER_BATCH, "cpu", 200)
    np.testing.assert_allclose(score_users_by_items(model, USERS, ITEMS, cache=tmp_path).p, first.p, rtol=1e-5)
    assert len(list(tmp_path.iterdir())) == 2


def test_another_calibrator_reuses_scores(model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models import inference

    first = score_users_by_items(model, USERS, ITEMS, cache=tmp_path)
    monkeypatch.setattr(inference.Inference, "logits", lambda *_: pytest.fail("scored again"))
    moved = RewardModel(model.network, Calibrator("platt", 2.0, -1.0), "pairs", model.info)
    second = score_users_by_items(moved, USERS, ITEMS, cache=tmp_path)
    assert np.all(second.p > first.p)
    assert second.provenance["network"] == first.provenance["network"]


def test_precisions_never_share_shards(model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models import inference

    exact = score_users_by_items(model, USERS, ITEMS, scoring=ScoringConfig(precision="float32"), cache=tmp_path)
    rounded = score_users_by_items(model, USERS, ITEMS, scoring=ScoringConfig(precision="bfloat16"), cache=tmp_path)
    assert 0 < np.abs(rounded.p / exact.p - 1).max() < 0.02
    assert len(list(tmp_path.iterdir())) == 2
    assert (exact.provenance["precision"], rounded.provenance["precision"]) == ("float32", "bfloat16")
    monkeypatch.setattr(inference.Inference, "logits", lambda *_: pytest.fail("scored again"))
    again = score_users_by_items(model, USERS, ITEMS, scoring=ScoringConfig(precision="bfloat16"), cache=tmp_path)
    assert again.content_hash == rounded.content_hash


def test_progress_counts_all_pairs_and_tokens(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(scoring.Progress, "update", lambda self, bar, **news: told.append(news))
    score_users_by_items(model, USERS, ITEMS, show_progress=True)
    assert [news["description"].split(",")[0] for news in told][-1] == "60 of 60 pairs"
    lengths = model.network.pair_tokenizer.product(USERS, ITEMS).lengths
    assert sum(news["advance"] for news in told) == lengths.sum()
    assert told[0]["advance"] == np.sort(lengths)[: int(told[0]["description"].split()[0])].sum()


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_damaged_shard_is_reported_and_computed_again(model: RewardModel, tmp_path: Path, damage: str) -> None:
    first = score_users_by_items(model, USERS, ITEMS, cache=tmp_path)
    victim = shards(tmp_path)[1]
    content = victim.read_bytes()
    victim.write_bytes(b"\1" + content[1:] if damage == "changed" else content[:-8])
    with pytest.warns(UserWarning, match="damaged and will be computed again"):
        again = score_users_by_items(model, USERS, ITEMS, cache=tmp_path)
    assert again.content_hash == first.content_hash
    assert victim.read_bytes() == content
