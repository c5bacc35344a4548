"""Intervals of calibration against hand formulas and, over many samples, against the truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import t as student

from bandits.reward_models.calibration_report import (
    calibration_error,
    calibration_report,
    observed_over_predicted,
)
from bandits.reward_models.metrics import expected_calibration_error

USERS, ITEMS = 40, 6
OF_USER = np.repeat(np.arange(USERS), ITEMS)
SHOWN = np.full(USERS * ITEMS, 150.0)


def sample(seed: int, *, surplus: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, impressions, and clicks at `surplus` times the predicted rates; users differ in their own level."""
    random = np.random.default_rng(seed)
    p = expit(random.normal(-3, 0.7, USERS * ITEMS))
    level = random.gamma(25, 1 / 25, USERS)  # mean 1: predictions are right on average over users
    return p, SHOWN, random.binomial(150, np.minimum(1, surplus * p * level[OF_USER])).astype(float)


def test_ratio_equals_the_delta_method_by_hand() -> None:
    p, n, c = sample(1, surplus=1.2)
    found = observed_over_predicted(p, n, c, OF_USER)
    y, x = np.bincount(OF_USER, c), np.bincount(OF_USER, p * n)
    ratio = c.sum() / (p * n).sum()
    error = np.std(y - ratio * x, ddof=1) / np.sqrt(USERS) / x.mean()
    half = student.ppf(0.975, USERS - 1) * error
    assert (found.ratio, found.low, found.high) == pytest.approx((ratio, ratio - half, ratio + half))


def test_error_is_the_same_number_and_its_interval_is_keyed() -> None:
    p, n, c = sample(2, surplus=1.5)
    found = calibration_error(p, n, c, OF_USER, resamples=200)
    assert found.ece == expected_calibration_error(p, n, c)
    assert found == calibration_error(p, n, c, [f"user {u}" for u in 100 + OF_USER], resamples=200)
    assert found != calibration_error(p, n, c, OF_USER, resamples=200, seed=1)
    order = np.random.default_rng(0).permutation(len(p))
    again = calibration_error(p[order], n[order], c[order], OF_USER[order], resamples=200)
    assert (again.low, again.high, again.by_chance) == pytest.approx((found.low, found.high, found.by_chance))


def test_whole_units_are_drawn() -> None:
    """Two copies of every user as the same unit tell no more than one; as other units they would."""
    p, n, c = sample(3, surplus=1.5)
    once = calibration_error(p, n, c, OF_USER, resamples=300)
    twice = [np.tile(values, 2) for values in (p, n, c)]
    same = calibration_error(*twice, np.tile(OF_USER, 2), resamples=300)
    assert (same.low, same.high, same.by_chance) == pytest.approx((once.low, once.high, once.by_chance))
    other = calibration_error(*twice, np.concatenate([OF_USER, OF_USER + USERS]), resamples=300)
    assert other.high - other.low < 0.85 * (once.high - once.low)  # type: ignore[operator]


@pytest.mark.statistics
def test_interval_holds_the_true_error() -> None:
    """True errors: 0, and 0.3 times the mean prediction. Users' own levels make impressions depend on one another."""
    random = np.random.default_rng(0)
    mean = expit(random.normal(-3, 0.7, 1_000_000)).mean()
    for surplus, true in ((1.0, 0.0), (1.3, 0.3 * mean)):
        found = [calibration_error(*sample(seed, surplus=surplus), OF_USER, resamples=100) for seed in range(150)]
        covered = np.mean([e.low <= true <= e.high for e in found])  # type: ignore[operator]
        assert covered > 0.95 - 4 * np.sqrt(0.05 * 0.95 / 150), (surplus, covered)
        if surplus > 1:
            assert np.mean([e.low > 0 for e in found]) > 0.9  # type: ignore[operator]


def test_report_of_deciles_adds_up() -> None:
    p, n, c = sample(4, surplus=1.3)
    found = calibration_report(p, n, c, OF_USER, OF_USER)
    deciles = found["deciles"]
    assert len(deciles) == 10
    assert sum(row["impressions"] for row in deciles) == n.sum()
    assert sum(row["predicted"] * row["impressions"] for row in deciles) == pytest.approx((p * n).sum())
    assert sum(row["predicted"] * row["ratio"] * row["impressions"] for row in deciles) == pytest.approx(c.sum())
    assert [row["ratio"] for row in deciles] == pytest.approx([row["observed"] / row["predicted"] for row in deciles])
    best = p.reshape(USERS, ITEMS).argmax(axis=1) + ITEMS * np.arange(USERS)
    assert found["top_pick"]["ratio"] == pytest.approx(c[best].sum() / (p * n)[best].sum())
    assert found["overall"]["ratio"] == pytest.approx(c.sum() / (p * n).sum())
    assert found["units"] == USERS
    json.dumps(found, allow_nan=False)


def test_parts_are_told_like_deciles() -> None:
    p, n, c = sample(5, surplus=1.3)
    names = np.array(["tea", "", "coffee"])[OF_USER % 3]
    found = calibration_report(p, n, c, OF_USER, OF_USER, {"segment": names.tolist(), "time": ["now"] * len(p)})[
        "parts"
    ]
    assert [(row["by"], row["name"]) for row in found] == [("segment", "coffee"), ("segment", "tea"), ("time", "now")]
    for row, members in zip(found, (names == "coffee", names == "tea", np.full(len(p), True)), strict=True):
        assert row["impressions"] == n[members].sum()
        assert row["predicted"] == pytest.approx(np.average(p[members], weights=n[members]))
        assert row["observed"] == pytest.approx(c[members].sum() / n[members].sum())
        alone = observed_over_predicted(p[members], n[members], c[members], OF_USER[members])
        assert (row["ratio"], row["low"], row["high"]) == (alone.ratio, alone.low, alone.high)
    assert calibration_report(p, n, c, OF_USER, OF_USER)["parts"] == []


@pytest.mark.parametrize("clicks", [np.zeros(3), np.full(3, 10.0), np.array([0.0, 1.0, 5.0])])
@pytest.mark.parametrize("unit", [["a"] * 3, list("abc")])
def test_degenerate_rows_have_plain_numbers(clicks: np.ndarray, unit: list[str]) -> None:
    owner = np.arange(3)
    for p in (np.full(3, 0.2), np.array([0.1, 0.2, 0.3])):
        found = calibration_report(p, np.full(3, 10.0), clicks, unit, owner)
        json.dumps(found, allow_nan=False)
        assert found["overall"]["ratio"] == pytest.approx(clicks.sum() / (10 * p.sum()))
        if len(set(unit)) == 1:
            assert found["overall"]["low"] is None
            assert found["ece"]["high"] is None
    one = calibration_report(np.array([0.2]), np.array([10.0]), clicks[:1], ["a"], owner[:1])
    json.dumps(one, allow_nan=False)
