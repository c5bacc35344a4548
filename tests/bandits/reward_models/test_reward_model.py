"""The reward model from log to table, with a two-layer BERT built from a config."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import (
    EvaluationConfig,
    FitConfig,
    RewardModel,
    Split,
    click_log_from_frame,
    evaluate,
    observed_tests,
    score_tests,
    score_users_by_items,
    split_log,
    table_features,
    text_features,
)
from bandits.reward_models.baselines import contrasts, counts
from bandits.reward_models.calibration import Calibrator
from bandits.reward_models.calibrator_choice import choose_calibrator
from bandits.reward_models.fit_config import ScoringConfig

pytestmark = pytest.mark.model

FRACTIONS = (0.4, 0.2, 0.2, 0.2)
TINY = FitConfig(weights="tiny", epochs=2, learning_rate=2e-3, batch_size=8, freeze_embeddings=False, device="cpu")


def fit(frame: pd.DataFrame, cache: Path, **changes: object) -> tuple[RewardModel, Split]:
    log = click_log_from_frame(frame, name="planted")
    split = split_log(log, fractions=FRACTIONS)
    return RewardModel.fit(log, split, TINY.model_copy(update=changes), cache=cache), split


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[RewardModel, Split]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        [
            {"user_text": f"Reader {u}", "item_text": item, "impressions": 300, "clicks": random.binomial(300, rate)}
            for u in range(40)
            for item, rate in (("good news", 0.3), ("bad news", 0.1), ("no news", 0.05))
        ]
    )
    return fit(frame, tmp_path_factory.mktemp("fit"))


def test_one_percent_of_clicks_gives_one_percent(tmp_path: Path) -> None:
    """Exactly one sigmoid lies between network and coin: two would give more than a half."""
    users, items = [f"reader {u}" for u in range(60)], ["one text", "another text"]
    frame = pd.DataFrame(
        [{"user_text": u, "item_text": i, "impressions": 1000, "clicks": 10} for u in users for i in items]
    )
    for method in ("platt", "identity"):
        model, _ = fit(frame, tmp_path, calibration=method, epochs=1)
        p = score_users_by_items(model, users, items).p
        assert p.mean() == pytest.approx(0.01, abs=0.001), method


def test_fit_finds_the_planted_rates(fitted: tuple[RewardModel, Split]) -> None:
    model, split = fitted
    p = model.propensities(["Reader 3", "Reader 7"], ["good news", "bad news", "no news"])
    np.testing.assert_allclose(p, [[0.3, 0.1, 0.05]] * 2, atol=0.08)
    found = evaluate(model, split)
    assert found["models"]["BERT"]["log_loss"] < found["models"]["base rate"]["log_loss"]
    assert found["models"]["BERT"]["auc"] > 0.65
    assert sum(b["impressions"] for b in found["reliability"]) == split.test["impressions"].sum()
    assert {b["item"] for b in found["by_item"]} == {"good news", "bad news", "no news"}
    json.dumps(found)


def test_batches_and_single_rows_give_the_same_logits(fitted: tuple[RewardModel, Split]) -> None:
    model, _ = fitted
    users = ["Reader 1", "Reader 2 with a much longer text than anybody else", ""] * 15
    items = ["good news", "bad", "no news at all today"] * 15
    together = model.scores(users, items)
    alone = [model.scores([user], [item])[0] for user, item in zip(users[:3], items[:3], strict=True)]
    np.testing.assert_allclose(together[:3], alone, atol=1e-5)
    np.testing.assert_allclose(together, np.tile(together[:3], 15), atol=1e-5)
    assert model.scores([], []).shape == (0,)


def test_saved_model_is_the_same_model(fitted: tuple[RewardModel, Split], tmp_path: Path) -> None:
    model, split = fitted
    model.save(tmp_path / "model", evaluation=evaluate(model, split))
    loaded = RewardModel.load(tmp_path / "model", device="cpu")
    assert loaded.fingerprint() == model.fingerprint()
    np.testing.assert_array_equal(loaded.scores(["Reader 1"], ["bad news"]), model.scores(["Reader 1"], ["bad news"]))
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "tokenizer.json", "calibrator.json", "metrics.json", "README.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| BERT |" in card
    assert "## Limits" in card


def test_evaluation_tells_how_far_rates_are_off(fitted: tuple[RewardModel, Split], tmp_path: Path) -> None:
    model, split = fitted
    found = evaluate(model, split, EvaluationConfig(threshold=0.2))
    numbers, calibration = found["models"]["BERT"], found["calibration"]
    assert calibration["ece"]["ece"] == pytest.approx(numbers["ece"])
    assert calibration["overall"]["ratio"] == pytest.approx(numbers["observed_over_predicted"])
    assert calibration["top_pick"]["ratio"] == pytest.approx(numbers["observed_over_predicted_top_pick"])
    assert calibration["units"] == split.test["user_text"].nunique()
    rates = model.calibrator(model.scores(split.test["user_text"].tolist(), split.test["item_text"].tolist()))
    called, told = split.test[rates >= 0.2], found["classification"]["BERT"]
    assert 0 < len(called) < len(split.test)
    assert told["precision"] == pytest.approx(called["clicks"].sum() / called["impressions"].sum())
    assert told["recall"] == pytest.approx(called["clicks"].sum() / split.test["clicks"].sum())
    assert found["classification"]["base rate"]["precision"] is None
    model.save(tmp_path / "model", evaluation=found)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "at least 0.2 is called a click" in card
    assert f"| top pick | | | {calibration['top_pick']['ratio']:.3f} (" in card
    assert card.count("by prediction |") == len(calibration["deciles"])
    assert evaluate(model, split)["classification"] == {}


def test_baselines_stand_beside_bert_on_the_same_rows(fitted: tuple[RewardModel, Split], tmp_path: Path) -> None:
    model, split = fitted
    found = evaluate(model, split, segments={"even": "[02468]$"})
    losses = {name: numbers["log_loss"] for name, numbers in found["models"].items()}
    assert list(losses) == [
        "BERT",
        "base rate",
        "item rate",
        "TF-IDF + logistic regression",
        "embeddings + logistic regression",
        "embeddings + boosted trees",
        "matrix factorization",
        "two towers",
    ]
    assert found["left_out"] == {}
    for name, lead in found["leads"].items():
        assert lead["log_loss"]["lead"] == pytest.approx(losses[name] - losses["BERT"])
    # Every reader likes the same items: an item's rate is all there is to know, and BERT cannot know more.
    assert "item rate" in found["unbeaten"]
    assert "base rate" not in found["unbeaten"]
    assert max(losses[name] for name in losses if name != "base rate") < losses["base rate"] - 0.02
    assert found["rows"]["baselines"] == len(split.train)
    parts = found["calibration"]["parts"]
    assert [(part["by"], part["name"]) for part in parts] == [("segment", "even"), ("segment", "others")]
    assert sum(part["impressions"] for part in parts) == split.test["impressions"].sum()
    model.save(tmp_path / "model", evaluation=found)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "BERT earns nothing here: with 95 percent confidence it does not beat" in card
    assert "| segment: even | " in card
    json.dumps(found, allow_nan=False)


def test_baselines_take_the_rows_that_bert_was_fitted_on(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    model, split = fit(pairs_frame.assign(time="2026-01-01"), tmp_path, epochs=1, max_train_rows=50)
    found = evaluate(model, split)
    assert found["rows"]["baselines"] == model.info["rows"]["trained_on"] == 50
    assert found["calibration"]["parts"] == []  # one time has no halves


def test_logs_without_users_have_fewer_baselines(tmp_path: Path) -> None:
    """Each item is in one part only, so that no held-out item has a rate of its own."""
    random = np.random.default_rng(2)
    items = [f"news of day {day}" for day in range(40)]
    model, split = fit(
        pd.DataFrame({"item_text": items, "impressions": 200, "clicks": random.binomial(200, 0.1, 40)}),
        tmp_path,
        epochs=1,
    )
    found = evaluate(model, split)
    assert found["left_out"] == dict.fromkeys(("matrix factorization", "two towers"), "the log has no users")
    assert found["models"]["item rate"]["auc"] == 0.5
    model.save(tmp_path / "model", evaluation=found)
    assert "Left out: matrix factorization (the log has no users)" in (tmp_path / "model" / "README.md").read_text()
    json.dumps(found, allow_nan=False)


def test_chosen_calibrator_is_told_and_kept(pairs_frame: pd.DataFrame, tmp_path: Path) -> None:
    model, split = fit(pairs_frame, tmp_path, epochs=1, calibration="auto")
    rows = split.calibration
    scores = model.scores(rows["user_text"].tolist(), rows["item_text"].tolist())
    chosen, losses = choose_calibrator(scores, *counts(rows), rows[split.by].tolist())
    assert (model.calibrator.method, model.info["calibration"]["method"]) == (chosen.method, chosen.method)
    assert model.info["calibration"]["cross_validated"] == pytest.approx(losses)
    model.save(tmp_path / "model", evaluation=evaluate(model, split))
    assert f"- calibrator: {chosen.method}, of the lowest log loss" in (tmp_path / "model" / "README.md").read_text()
    assert RewardModel.load(tmp_path / "model", device="cpu").fingerprint() == model.fingerprint()
    beta, _ = fit(pairs_frame, tmp_path, epochs=1, calibration="beta")
    assert (beta.calibrator.method, beta.info["calibration"]["cross_validated"]) == ("beta", {})
    assert evaluate(beta, split)["models"]["BERT"]["log_loss"] < 1


def test_fingerprint_depends_on_weights_tokenizer_and_calibrator(
    fitted: tuple[RewardModel, Split], tmp_path: Path
) -> None:
    model, _ = fitted
    model.scores(["a call must not change it"], ["not even one that cuts " * 30])
    assert model.network.fingerprint() == model.network_fingerprint
    model.save(tmp_path / "model")
    found = {model.fingerprint()}
    for change in ("weights", "length", "calibrator"):
        other = RewardModel.load(tmp_path / "model", device="cpu")
        if change == "weights":
            next(other.network.model.parameters()).data[0, 0] += 1e-3
        elif change == "length":
            other.network.max_length = 20
        else:
            object.__setattr__(other.calibrator, "slope", other.calibrator.slope * 1.01)
        found.add(other.fingerprint())
    assert len(found) == 4


def test_finished_fit_is_loaded_not_repeated(
    pairs_frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = fit(pairs_frame, tmp_path, epochs=1)
    monkeypatch.setattr("bandits.reward_models.reward_model.train", lambda *_, **__: pytest.fail("trained again"))
    again, _ = fit(pairs_frame, tmp_path, epochs=1, scoring=ScoringConfig(precision="float32"))
    fit(pairs_frame, tmp_path, epochs=1, evaluation=EvaluationConfig(threshold=0.1, band=None))
    assert again.fingerprint() == first.fingerprint()
    assert not {"scoring", "evaluation"} & again.info["config"].keys()


def test_tests_are_learned_from_differences_inside_them(tests_frame: pd.DataFrame, tmp_path: Path) -> None:
    model, split = fit(tests_frame, tmp_path, loss="within_test", epochs=6)
    evaluation = evaluate(model, split)
    found = evaluation["models"]
    assert list(found) == [
        "BERT",
        "no difference",
        "TF-IDF + logistic regression",
        "embeddings + logistic regression",
    ]
    assert set(evaluation["left_out"]) == {
        "item rate",
        "embeddings + boosted trees",
        "matrix factorization",
        "two towers",
    }
    assert found["no difference"]["pairwise_accuracy"] == 0.5
    for name, lead in evaluation["leads"].items():
        gained = found["BERT"]["pairwise_accuracy"] - found[name]["pairwise_accuracy"]
        assert lead["pairwise_accuracy"]["lead"] == pytest.approx(gained)
        lost = found[name]["conditional_log_loss"] - found["BERT"]["conditional_log_loss"]
        assert lead["conditional_log_loss"]["lead"] == pytest.approx(lost)
    assert "no difference" not in evaluation["unbeaten"]
    assert found["BERT"]["pairwise_accuracy_significant"] > 0.9
    assert found["BERT"]["log_loss"] < found["no difference"]["log_loss"]
    table = score_tests(model, split.test)
    assert table.p.shape == (split.test["world"].nunique(), 1, 3)
    seen = pd.concat([split.train, split.validation, split.calibration])
    base = seen["clicks"].sum() / seen["impressions"].sum()
    np.testing.assert_allclose(np.exp(np.log(table.p / (1 - table.p)).mean(axis=2)), base / (1 - base), rtol=1e-5)
    rounded = score_tests(model, split.test, scoring=ScoringConfig(precision="bfloat16"))
    np.testing.assert_allclose(rounded.p, table.p, rtol=0.05)
    assert (rounded.content_hash, rounded.provenance["precision"]) != (table.content_hash, "float32")
    scores = model.scores([""] * len(split.test), split.test["item_text"].tolist())
    amazing = split.test["item_text"].str.startswith("amazing").to_numpy()
    assert scores[amazing].min() > scores[~amazing].max()
    assert len(counts(split.test)[0]) == len(contrasts(split.test))


def test_worlds_of_unequal_size_are_padded(tests_frame: pd.DataFrame, tmp_path: Path) -> None:
    frame = tests_frame.drop(index=range(0, 90, 3))  # half of the tests keep two items
    log = click_log_from_frame(frame)
    table = observed_tests(log, log.pairs)
    assert set(table.num_items) == {2, 3}
    two = int(np.flatnonzero(table.num_items == 2)[0])
    assert (table.p[two, 0, 2], table.item_texts[two, 2]) == (0.0, "")
    row = log.pairs.iloc[0]
    assert table.p[0, 0, 0] == pytest.approx(row["clicks"] / row["impressions"])
    user, arms = table_features(table, weights="tiny", dim=4, device="cpu")
    assert user.shape == (1, 0)
    assert arms.shape == (60, 3, 4)
    assert not arms[two, 2].any()


def test_chinese_headlines_go_the_whole_way(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = []
    for user in range(40):
        likes = "体育" if user % 2 else "音乐"
        for topic in ("体育", "音乐", "财经"):
            rate = 0.3 if topic == likes else 0.08
            rows.append(
                {
                    "user_text": f"第{user}位读者喜欢{likes}",
                    "item_text": f"今天的{topic}新闻",
                    "impressions": 300,
                    "clicks": random.binomial(300, rate),
                }
            )
    model, split = fit(pd.DataFrame(rows), tmp_path, epochs=3)
    network = model.network
    tokens = network.tokenizer.convert_ids_to_tokens(network.pair_tokenizer.rows([""], ["今天的体育新闻"]).ids(0))
    assert tokens == ["[CLS]", *"今天的体育新闻", "[SEP]"]
    assert evaluate(model, split)["models"]["BERT"]["normalized_entropy"] < 1
    users, items = ["第3位读者喜欢体育"], ["今天的体育新闻", "今天的财经新闻"]
    table = score_users_by_items(model, users, items, cache=tmp_path)
    assert table.p[0, 0, 0] > table.p[0, 0, 1]
    user, item = text_features(users, items, weights="tiny", device="cpu")
    assert (user.shape, item.shape) == ((1, 2), (2, 2))


@pytest.mark.faults
def test_loss_must_suit_the_log(pairs_frame: pd.DataFrame, tests_frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`loss` must be 'binomial' for a log of pairs"):
        fit(pairs_frame, tmp_path, loss="within_test")
    with pytest.raises(ValueError, match="`loss` must be 'within_test' or 'both' for a log of tests: only differences"):
        fit(tests_frame, tmp_path)


@pytest.mark.faults
def test_a_threshold_needs_a_level(tests_frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must have no `threshold` where `loss` is 'within_test'.* Got 0.1"):
        FitConfig(loss="within_test", evaluation=EvaluationConfig(threshold=0.1))
    for threshold in (-0.1, 1.1):
        with pytest.raises(ValueError, match="threshold"):
            EvaluationConfig(threshold=threshold)
    model, split = fit(tests_frame, tmp_path, loss="within_test", epochs=1)
    with pytest.raises(ValueError, match="`threshold` must be None for a model of tests"):
        evaluate(model, split, EvaluationConfig(threshold=0.1))
    with pytest.raises(ValueError, match="`segments` must be empty for a model of tests"):
        evaluate(model, split, segments={"any": "."})
    calibration = evaluate(model, split)["calibration"]
    assert calibration["overall"]["ratio"] == pytest.approx(1)  # each contrast's own clicks are taken as known
    assert calibration["units"] == split.test[split.by].nunique()


@pytest.mark.faults
def test_damaged_model_is_refused(fitted: tuple[RewardModel, Split], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model, _ = fitted
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    tensors["embeddings.LayerNorm.bias"] += 1
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"The weights in .* must have hash"):
        RewardModel.load(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="must hold a saved reward model"):
        RewardModel.load(tmp_path / "elsewhere")


@pytest.mark.faults
def test_calibrator_of_another_model_is_refused(fitted: tuple[RewardModel, Split], tmp_path: Path) -> None:
    model, _ = fitted
    model.save(tmp_path / "model")
    Calibrator("platt", 1.5, -1.0).save(tmp_path / "model" / "calibrator.json")
    with pytest.raises(ValueError, match=r"The calibrator in .* must have hash .* fitted on another model"):
        RewardModel.load(tmp_path / "model")


@pytest.mark.faults
def test_wrong_kind_of_table_is_refused(fitted: tuple[RewardModel, Split]) -> None:
    model, split = fitted
    with pytest.raises(ValueError, match="must be fitted on a log of tests"):
        score_tests(model, split.test)
    with pytest.raises(ValueError, match="must not be empty"):
        score_users_by_items(model, [], ["a"])
    with pytest.raises(ValueError, match=r"Scores of 300,000 users and 400,000 items must fit into memory.*Got 7,"):
        score_users_by_items(model, ["a reader"] * 300_000, ["a text"] * 400_000)
    with pytest.raises(ValueError, match="as many as"):
        model.scores(["u"], ["a", "b"])
