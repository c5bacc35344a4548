"""Calibrators against statsmodels, against the truth, and through a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from bandits.reward_models import Calibrator


@pytest.fixture
def counts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    logits = random.normal(0, 2, 200)
    impressions = random.integers(50, 500, 200)
    clicks = random.binomial(impressions, expit(0.6 * logits - 2.5))
    return logits, impressions.astype(float), clicks.astype(float)


def test_platt_equals_a_binomial_regression(counts: tuple[np.ndarray, ...]) -> None:
    logits, impressions, clicks = counts
    found = Calibrator.fit("platt", *counts)
    responses = np.column_stack([clicks, impressions - clicks])
    fitted = sm.GLM(responses, sm.add_constant(logits), family=sm.families.Binomial()).fit()
    assert (found.intercept, found.slope) == pytest.approx(tuple(fitted.params), rel=1e-4)
    assert np.sum(found(logits) * impressions) == pytest.approx(clicks.sum(), rel=1e-5)


def test_temperature_equals_a_regression_without_intercept(counts: tuple[np.ndarray, ...]) -> None:
    logits, impressions, clicks = counts
    found = Calibrator.fit("temperature", *counts)
    responses = np.column_stack([clicks, impressions - clicks])
    fitted = sm.GLM(responses, logits, family=sm.families.Binomial()).fit()
    assert found.slope == pytest.approx(fitted.params[0], abs=1e-4)
    assert found.intercept == 0


def test_identity_is_one_sigmoid(counts: tuple[np.ndarray, ...]) -> None:
    np.testing.assert_allclose(Calibrator.fit("identity", *counts)(counts[0]), expit(counts[0]))


def test_ranking_is_never_turned_round(counts: tuple[np.ndarray, ...]) -> None:
    logits, impressions, clicks = counts
    found = Calibrator.fit("platt", -logits, impressions, clicks)
    assert found.slope == 0
    assert found(logits)[0] == pytest.approx(clicks.sum() / impressions.sum(), rel=1e-4)


def test_within_tests_finds_the_slope_and_keeps_the_level() -> None:
    random = np.random.default_rng(5)
    contrast = np.repeat(np.arange(300), 4)
    scores = random.normal(0, 1, 1200) + random.normal(0, 5, 300)[contrast]  # tests differ by more than items do
    impressions = np.full(1200, 2000.0)
    levels = random.normal(-4, 0.3, 300)
    centered = scores - (np.bincount(contrast, scores) / 4)[contrast]
    clicks = random.poisson(impressions * np.exp(levels[contrast] + 0.25 * centered)).astype(float)
    found = Calibrator.fit_within_tests(scores, impressions, clicks, contrast, base_rate=0.013)
    assert found.slope == pytest.approx(0.25, abs=0.02)
    rates = found(np.array([[7.0, 7.0], [100.0, 100.0]]))
    np.testing.assert_allclose(rates, 0.013)
    assert logit(found(np.array([2.0, 0.0]))) @ [1, -1] == pytest.approx(2 * found.slope)


def test_file_keeps_every_digit(tmp_path: Path, counts: tuple[np.ndarray, ...]) -> None:
    found = Calibrator.fit("platt", *counts)
    found.save(tmp_path / "calibrator.json")
    assert Calibrator.load(tmp_path / "calibrator.json") == found


@pytest.mark.faults
def test_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibrator.json"
    Calibrator("platt", 1.5, -2.0).save(path)
    path.write_text(path.read_text().replace("1.5", "1.6"))
    with pytest.raises(ValueError, match="must have hash"):
        Calibrator.load(path)


@pytest.mark.faults
def test_rows_without_clicks_are_refused() -> None:
    logits, impressions = np.zeros(3), np.full(3, 10.0)
    for clicks in (np.zeros(3), impressions):
        with pytest.raises(ValueError, match="must have clicks and impressions without a click"):
            Calibrator.fit("platt", logits, impressions, clicks)
    with pytest.raises(ValueError, match="must have clicks"):
        Calibrator.fit_within_tests(logits, impressions, np.zeros(3), np.zeros(3, dtype=np.int64), base_rate=0.1)
