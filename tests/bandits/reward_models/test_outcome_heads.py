"""What follows a click: heads against other solvers, planted rates and values, files, and logs that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import GammaRegressor, LogisticRegression

from bandits.reward_models import (
    FitConfig,
    RewardModel,
    Split,
    click_log_from_frame,
    evaluate,
    read_click_log,
    split_log,
)
from bandits.reward_models.ensemble import fit_reward_model
from bandits.reward_models.outcome_heads import OUTCOMES_FILE, OutcomeHeads, binomial, fit_head, gamma

CONFIG = FitConfig(
    weights="tiny", epochs=20, patience=20, learning_rate=5e-3, batch_size=16, freeze_embeddings=False, device="cpu"
)
NAMES: dict[str, Any] = {"conversions": "orders", "value": "revenue"}
TRUTH = {"cheap toy": (0.3, 0.5, 5.0), "dear toy": (0.1, 0.2, 40.0), "cheap book": (0.3, 0.3, 10.0)}


def planted(users: int = 60) -> pd.DataFrame:
    random, rows = np.random.default_rng(2), []
    for user in range(users):
        for item, (click, conversion, value) in TRUTH.items():
            clicks = random.binomial(1000, click)
            orders = random.binomial(clicks, conversion)
            revenue = random.gamma(3.0, value / 3, size=orders).sum()
            rows.append((f"reader {user}", item, 1000, clicks, orders, revenue))
    return pd.DataFrame(rows, columns=["user_text", "item_text", "impressions", "clicks", "orders", "revenue"])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[RewardModel, Split]:
    log = click_log_from_frame(planted(150), **NAMES)
    split = split_log(log, fractions=(0.4, 0.2, 0.2, 0.2))
    return RewardModel.fit(log, split, CONFIG, cache=tmp_path_factory.mktemp("fit")), split


def test_heads_are_those_of_other_solvers() -> None:
    random = np.random.default_rng(0)
    x, n = random.normal(size=(300, 3)), random.integers(1, 30, size=300).astype(float)
    k = random.binomial(n.astype(int), 1 / (1 + np.exp(1 - x[:, 0]))).astype(float)
    y = random.gamma(2.0, np.exp(1 + 0.5 * x[:, 1]) / 2)
    part = x, n, k
    head, loss = fit_head(binomial, 0.0, part, part, 0.1)
    other = LogisticRegression(C=1 / (0.1 * n.sum()), tol=1e-10, max_iter=1000)
    other.fit(np.repeat(x, 2, axis=0), np.tile([0, 1], 300), np.stack([n - k, k], axis=1).ravel())
    np.testing.assert_allclose(head.weights, other.coef_[0], atol=1e-4)
    assert head.intercept == pytest.approx(other.intercept_[0], abs=1e-4)
    p = other.predict_proba(x)[:, 1]
    assert loss == pytest.approx(-(k * np.log(p) + (n - k) * np.log(1 - p)).sum() / n.sum(), abs=1e-6)
    head, _ = fit_head(gamma, 0.0, (x, n, n * y), (x, n, n * y), 0.2)
    # Its objective is half the mean deviance, which is the gamma loss, plus half of alpha times the squares.
    gammas = GammaRegressor(alpha=0.2, tol=1e-10, max_iter=1000).fit(x, y, sample_weight=n)
    np.testing.assert_allclose([*head.weights, head.intercept], [*gammas.coef_, gammas.intercept_], atol=1e-4)


@pytest.mark.model
def test_planted_rates_and_values_are_found(fitted: tuple[RewardModel, Split]) -> None:
    model, _ = fitted
    users = [f"reader {u}" for u in range(150)]
    for item, true in TRUTH.items():
        found = model.outcome_rates(users, [item] * 150)
        for name, expected in zip(("click", "conversion", "value"), true, strict=True):
            assert found[name].mean() == pytest.approx(expected, rel=0.12), (item, name)
        assert found["expected_value"].mean() == pytest.approx(np.prod(true), rel=0.2)
        np.testing.assert_allclose(found["click"], model.propensities(users, [item])[:, 0], rtol=1e-5)
    assert model.network.model.following is None  # it only shaped the vectors
    assert model.info["parameters"]["trained"] <= model.info["parameters"]["all"]


@pytest.mark.model
def test_each_outcome_is_judged_on_test_rows(fitted: tuple[RewardModel, Split], tmp_path: Path) -> None:
    model, split = fitted
    evaluation = evaluate(model, split)
    rows, found = split.test, evaluation["outcomes"]
    rates = model.outcome_rates(rows["user_text"].tolist(), rows["item_text"].tolist())
    p, k, n = rates["conversion"], rows["conversions"], rows["clicks"]
    assert found["conversion"]["loss"] == pytest.approx(-(k * np.log(p) + (n - k) * np.log(1 - p)).sum() / n.sum())
    assert found["conversion"]["overall"]["ratio"] == pytest.approx(k.sum() / (n * p).sum())
    assert found["value"]["overall"]["ratio"] == pytest.approx(rows["value"].sum() / (k * rates["value"]).sum())
    total = rows["value"].sum() / (rows["impressions"] * rates["expected_value"]).sum()
    assert found["expected value"]["overall"]["ratio"] == pytest.approx(total)
    for name in ("conversion", "value"):
        assert found[name]["loss"] < found[name]["constant"]
        assert found[name]["overall"]["low"] < 1 < found[name]["overall"]["high"]
    model.save(tmp_path / "saved", evaluation=evaluation)
    assert "| expected value | – | – |" in (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")


@pytest.mark.model
@pytest.mark.faults
def test_heads_are_saved_and_damage_is_found(fitted: tuple[RewardModel, Split], tmp_path: Path) -> None:
    model, _ = fitted
    model.save(tmp_path / "saved")
    loaded = RewardModel.load(tmp_path / "saved", device="cpu")
    expected = model.outcome_rates(["reader 1"] * 3, list(TRUTH))
    for name, values in loaded.outcome_rates(["reader 1"] * 3, list(TRUTH)).items():
        np.testing.assert_array_equal(values, expected[name])
    file = tmp_path / "saved" / OUTCOMES_FILE
    file.write_text(file.read_text().replace('"level": ', '"level": 1'))
    with pytest.raises(ValueError, match=r"The heads of outcomes in .* must have hash"):
        RewardModel.load(tmp_path / "saved")
    model.outcomes, kept = None, model.outcomes
    with pytest.raises(ValueError, match="needs a model fitted on a log with conversions"):
        model.outcome_rates(["reader 1"], ["cheap toy"])
    model.outcomes = kept


def test_an_outcome_that_texts_say_nothing_of_gets_its_rate() -> None:
    random = np.random.default_rng(4)
    frame = planted().drop(columns="revenue").assign(orders=lambda f: random.binomial(f["clicks"], 0.25))
    split = split_log(click_log_from_frame(frame, conversions="orders"), fractions=(0.4, 0.2, 0.2, 0.2))
    heads = OutcomeHeads.fit(
        lambda rows: np.random.default_rng(len(rows)).normal(size=(len(rows), 5)), split, split.train
    )
    found = heads(random.normal(size=(50, 5)))
    assert list(found) == ["conversion"]
    np.testing.assert_allclose(found["conversion"], 0.25, atol=0.03)


def test_loss_of_a_batch_is_the_formula() -> None:
    import torch

    from bandits.reward_models.objectives import outcome_loss

    rows = np.array([[10.0, 4, 30], [0, 0, 0], [5, 1, 7]])
    z, log_mean = np.array([0.2, 3.0, -1.0]), np.array([1.5, -2.0, 2.0])
    p, mean = 1 / (1 + np.exp(-z)), np.exp(log_mean)
    conversions = sum(-k * np.log(q) - (n - k) * np.log(1 - q) for (n, k, _), q in zip(rows, p, strict=True)) / 100
    # Gamma numbers of shape 1 with these sums: minus the log density.
    values = sum(k * np.log(m) + total / m for (_, k, total), m in zip(rows, mean, strict=True)) / 40
    following, outcomes = (torch.from_numpy(array) for array in (np.stack([z, log_mean], axis=1), rows))
    found = float(outcome_loss(following, outcomes, torch.tensor([100.0, 40.0, 200.0])))
    assert found == pytest.approx(conversions + values)
    assert float(outcome_loss(following, outcomes, torch.tensor([100.0, 40.0, 0.0]))) == pytest.approx(conversions)


@pytest.mark.model
@pytest.mark.faults
def test_interrupted_fit_ends_like_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models import checkpoint

    log = click_log_from_frame(planted(20), **NAMES)
    split = split_log(log, fractions=(0.4, 0.2, 0.2, 0.2))
    config = CONFIG.model_copy(update={"epochs": 3, "checkpoint_steps": 1})
    whole = RewardModel.fit(log, split, config, cache=tmp_path / "whole")
    save, done = checkpoint.save, []

    def stop(*arguments: Any) -> None:
        save(*arguments)
        done.append(1)
        if len(done) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        RewardModel.fit(log, split, config, cache=tmp_path / "cut")
    monkeypatch.setattr(checkpoint, "save", save)
    resumed = RewardModel.fit(log, split, config, cache=tmp_path / "cut")
    assert resumed.fingerprint() == whole.fingerprint()
    assert resumed.outcomes is not None
    assert whole.outcomes is not None
    assert resumed.outcomes.content_hash == whole.outcomes.content_hash
    alone = RewardModel.fit(log, split, config.model_copy(update={"outcome_weight": 0.0}), cache=tmp_path / "whole")
    clicks_only = click_log_from_frame(planted(20))
    same = RewardModel.fit(clicks_only, split_log(clicks_only, fractions=(0.4, 0.2, 0.2, 0.2)), config, cache=tmp_path)
    assert alone.fingerprint() == same.fingerprint() != whole.fingerprint()


def test_rows_of_a_pair_are_added_up(tmp_path: Path) -> None:
    frame = planted(users=3)
    twice = pd.concat([frame, frame])
    twice.to_csv(tmp_path / "log.csv", index=False)
    pairs = read_click_log(tmp_path / "log.csv", **NAMES).pairs
    np.testing.assert_array_equal(pairs["conversions"], 2 * frame["orders"])
    np.testing.assert_allclose(pairs["value"], 2 * frame["revenue"])
    assert "conversions" not in read_click_log(tmp_path / "log.csv").pairs


@pytest.mark.faults
@pytest.mark.parametrize(
    ("changes", "names", "message"),
    [
        ({"orders": 1000}, NAMES, "`orders` must not exceed `clicks`"),
        ({"orders": 0.5}, NAMES, "`orders` must be a whole number"),
        ({"revenue": -1.0}, NAMES, "`revenue` must be a finite number, 0 or more"),
        ({"revenue": np.nan}, NAMES, "`revenue` must be a finite number"),
        ({"orders": 0}, NAMES, "`revenue` must be 0 without `orders`"),
        ({}, {"value": "revenue"}, "`value` must come with `conversions`"),
        ({}, {"conversions": "order"}, "column `order` is missing"),
        ({"test": "t"}, NAMES, "`conversions` must be left out for a log of tests"),
    ],
)
def test_bad_outcomes_are_refused(changes: dict[str, Any], names: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        click_log_from_frame(planted(users=2).assign(**changes), **names)


@pytest.mark.model
@pytest.mark.faults
def test_logs_and_configs_without_a_chain_are_refused(tmp_path: Path) -> None:
    def fit(frame: pd.DataFrame, **changes: Any) -> None:
        log = click_log_from_frame(frame, **NAMES)
        split = split_log(log, fractions=(0.4, 0.2, 0.2, 0.2))
        fit_reward_model(log, split, CONFIG.model_copy(update={"epochs": 1} | changes), cache=tmp_path)

    with pytest.raises(ValueError, match=r"`conversions` must follow some clicks .* Got 0 after"):
        fit(planted(20).assign(orders=0, revenue=0.0))
    with pytest.raises(ValueError, match="`value` must be above 0"):
        fit(planted(20).assign(revenue=0.0))
    with pytest.raises(ValueError, match="`architecture` must be 'cross'"):
        fit(planted(20), architecture="bi")
    with pytest.raises(ValueError, match="`teacher` must be left out"):
        fit(planted(20), teacher=str(tmp_path))
    with pytest.raises(ValueError, match="`members` must be 1"):
        fit(planted(20), members=2)
