"""Ensembles of two-layer BERTs: their means by hand, what is stored of them, and what is noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bandits import PropensityTable
from bandits.reward_models import (
    Calibrator,
    ClickLog,
    FitConfig,
    RewardEnsemble,
    RewardModel,
    Split,
    click_log_from_frame,
    evaluate,
    fit_reward_model,
    load_reward_model,
    score_tests,
    score_users_by_items,
    split_log,
)

pytestmark = pytest.mark.model

TINY = FitConfig(weights="tiny", epochs=1, learning_rate=2e-3, freeze_embeddings=False, device="cpu", members=3)
USERS, ITEMS = [f"Reader {u}" for u in range(5)], ["good news", "bad news", "no news"]


def log_of_pairs() -> tuple[ClickLog, Split]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        [
            {"user_text": f"Reader {u}", "item_text": item, "impressions": 300, "clicks": random.binomial(300, rate)}
            for u in range(30)
            for item, rate in zip(ITEMS, (0.3, 0.1, 0.05), strict=True)
        ]
    )
    log = click_log_from_frame(frame, name="planted")
    return log, split_log(log, fractions=(0.4, 0.2, 0.2, 0.2))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fits")


@pytest.fixture(scope="module")
def ensemble(cache: Path) -> RewardEnsemble:
    model = fit_reward_model(*log_of_pairs(), TINY, cache=cache)
    assert isinstance(model, RewardEnsemble)
    return model


def test_members_are_the_fits_with_the_next_seeds(ensemble: RewardEnsemble, cache: Path) -> None:
    """And none of them is fitted again, alone or in a smaller ensemble."""
    kept = sorted(cache.iterdir())
    assert len(kept) == 3
    for number, member in enumerate(ensemble.members):
        alone = fit_reward_model(*log_of_pairs(), TINY.model_copy(update={"members": 1, "seed": number}), cache=cache)
        assert isinstance(alone, RewardModel)
        assert alone.fingerprint() == member.fingerprint()
        assert member.info["config"]["seed"] == number
    two = RewardEnsemble.fit(*log_of_pairs(), TINY.model_copy(update={"members": 2}), cache=cache)
    assert [m.fingerprint() for m in two.members] == [m.fingerprint() for m in ensemble.members[:2]]
    assert len({member.fingerprint() for member in ensemble.members}) == 3
    assert two.fingerprint() != ensemble.fingerprint()
    assert sorted(cache.iterdir()) == kept


def test_an_interrupted_ensemble_keeps_its_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, split = log_of_pairs()
    fit, seeds = RewardModel.fit, []

    def interrupted(log: ClickLog, split: Split, config: FitConfig, **rest: object) -> RewardModel:
        if config.seed == 2 and seeds == [0, 1]:
            raise KeyboardInterrupt
        seeds.append(config.seed)
        return fit(log, split, config, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(RewardModel, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_reward_model(log, split, TINY, cache=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert len(before) == 2
    fit_reward_model(log, split, TINY, cache=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(tmp_path.iterdir())) == 3


def test_scores_are_the_mean_of_the_members_logits(ensemble: RewardEnsemble) -> None:
    by_hand = sum(member.scores(USERS[:3], ITEMS) for member in ensemble.members) / 3
    np.testing.assert_allclose(ensemble.scores(USERS[:3], ITEMS), by_hand, rtol=1e-12)
    assert np.ptp([member.scores(USERS[:1], ITEMS[:1]) for member in ensemble.members]) > 0.01
    p = ensemble.propensities(USERS, ITEMS)
    for u, user in enumerate(USERS):
        for k, item in enumerate(ITEMS):
            mean = np.mean([member.scores([user], [item])[0] for member in ensemble.members])
            odds = ensemble.calibrator.slope * mean + ensemble.calibrator.intercept
            assert p[u, k] == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-5)


def test_the_mean_has_a_calibrator_of_its_own(ensemble: RewardEnsemble) -> None:
    rows = log_of_pairs()[1].calibration
    scores = ensemble.scores(rows["user_text"].tolist(), rows["item_text"].tolist())
    n, c = (rows[name].to_numpy(dtype=np.float64) for name in ("impressions", "clicks"))
    expected = Calibrator.fit("platt", scores, n, c)
    assert ensemble.calibrator == expected
    assert (ensemble.calibrator(scores) * n).sum() == pytest.approx(c.sum(), rel=1e-4)  # Platt keeps the total
    assert all(member.calibrator != expected for member in ensemble.members)


def test_tables_of_the_mean_and_of_every_member(ensemble: RewardEnsemble, tmp_path: Path) -> None:
    table = score_users_by_items(ensemble, USERS, ITEMS, cache=tmp_path)
    np.testing.assert_allclose(table.p[0], ensemble.propensities(USERS, ITEMS), rtol=1e-5)
    assert len(list(tmp_path.glob("scores-*"))) == 3
    assert table.provenance["model"] == ensemble.fingerprint()
    assert table.provenance["precision"] == "float32"
    own = [score_users_by_items(member, USERS, ITEMS, cache=tmp_path) for member in ensemble.members]
    assert len(list(tmp_path.glob("scores-*"))) == 3  # the members' scores were there already
    worlds = PropensityTable.interleaved({f"member-{m}": table for m, table in enumerate(own)})
    assert worlds.p.shape == (3, len(USERS), len(ITEMS))
    for m, member in enumerate(ensemble.members):
        np.testing.assert_allclose(worlds.p[m], member.propensities(USERS, ITEMS), rtol=1e-5)
        assert worlds.provenance["model"].split("; ")[m] == member.fingerprint()
    assert worlds.provenance["precision"] == "float32"


def test_an_ensemble_of_tests(tests_frame: pd.DataFrame, tmp_path: Path) -> None:
    log = click_log_from_frame(tests_frame, name="tests")
    split = split_log(log, fractions=(0.4, 0.2, 0.2, 0.2))
    model = fit_reward_model(
        log, split, TINY.model_copy(update={"loss": "within_test", "members": 2}), cache=tmp_path / "fits"
    )
    assert model.kind == "tests"
    table = score_tests(model, split.test)
    texts = table.item_texts[1].tolist()
    np.testing.assert_allclose(table.p[1], model.propensities([""], texts), rtol=1e-5)
    scores = np.mean([member.scores([""] * 3, texts) for member in model.members], axis=0)  # type: ignore[union-attr]
    odds = model.calibrator.slope * (scores - scores.mean()) + model.calibrator.intercept
    np.testing.assert_allclose(table.p[1, 0], 1 / (1 + np.exp(-odds)), rtol=1e-5)
    assert evaluate(model, split)["models"]["BERT"]["pairs"] > 0


def test_a_saved_ensemble_is_the_same_ensemble(ensemble: RewardEnsemble, tmp_path: Path) -> None:
    split = log_of_pairs()[1]
    ensemble.save(tmp_path / "model", evaluation=evaluate(ensemble, split))
    loaded = load_reward_model(tmp_path / "model", device="cpu")
    assert isinstance(loaded, RewardEnsemble)
    assert loaded.fingerprint() == ensemble.fingerprint()
    assert loaded.info == json.loads(json.dumps(ensemble.info))
    np.testing.assert_array_equal(loaded.propensities(USERS, ITEMS), ensemble.propensities(USERS, ITEMS))
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "an ensemble of 3 such models" in card
    assert "| 1 of member 2 |" in card
    assert "| BERT |" in card
    assert isinstance(load_reward_model(tmp_path / "model" / "member-1", device="cpu"), RewardModel)
    ensemble.save(tmp_path / "model")  # replaces the older one
    assert not (tmp_path / "model" / "metrics.json").exists()


@pytest.mark.faults
def test_damage_of_one_member_is_noticed(ensemble: RewardEnsemble, tmp_path: Path) -> None:
    ensemble.save(tmp_path / "good")

    def broken(name: str) -> Path:
        shutil.copytree(tmp_path / "good", tmp_path / name)
        return tmp_path / name

    foreign = broken("foreign")
    shutil.copy(foreign / "member-0" / "calibrator.json", foreign / "calibrator.json")
    with pytest.raises(ValueError, match=r"The calibrator in .*foreign must have hash .* fitted on another model"):
        load_reward_model(foreign)
    swapped = broken("swapped")
    shutil.rmtree(swapped / "member-1")
    shutil.copytree(swapped / "member-0", swapped / "member-1")
    with pytest.raises(ValueError, match=r"`member-1` of .* must be the model .* damaged, or another fit"):
        load_reward_model(swapped)
    missing = broken("missing")
    shutil.rmtree(missing / "member-2")
    with pytest.raises(FileNotFoundError, match="must hold a saved reward model"):
        load_reward_model(missing)
    for file in ("calibrator.json", "member-2/calibrator.json"):
        other = broken(file.replace("/", "-"))
        stored = json.loads((other / file).read_text())
        (other / file).write_text(json.dumps(stored | {"intercept": stored["intercept"] + 0.1}))
        with pytest.raises(ValueError, match=r"must have hash .* damaged"):
            load_reward_model(other)
    weights = broken("weights") / "member-0" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"The weights in .* must have hash"):
        load_reward_model(weights.parents[1])


@pytest.mark.faults
def test_wrong_numbers_of_members_are_refused(ensemble: RewardEnsemble, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`members` must be 1 for a single model: `fit_reward_model` fits 3"):
        RewardModel.fit(*log_of_pairs(), TINY, cache=tmp_path)
    with pytest.raises(ValueError, match=r"`members` must be at least two models of one kind. Got 1 \(pairs\)"):
        RewardEnsemble(ensemble.members[:1], ensemble.calibrator, {})
    with pytest.raises(FileNotFoundError, match=r"must hold a saved ensemble. Got .*, without ensemble.json"):
        RewardEnsemble.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="must hold a saved reward model"):
        load_reward_model(tmp_path)
