"""The choice of a calibrator against a plain loop, and where one truth is better fitted by one method."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from bandits.reward_models import Calibrator
from bandits.reward_models.calibration import LEVEL_METHODS
from bandits.reward_models.calibrator_choice import choose_calibrator, fit_calibrator
from bandits.reward_models.metrics import log_loss

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]


def rows(true: Calibrator, *, impressions: int, seed: int = 0) -> Rows:
    random = np.random.default_rng(seed)
    logits = random.normal(-1, 1.5, 400)
    shown = np.full(400, float(impressions))
    return (
        logits,
        shown,
        random.binomial(impressions, true(logits)).astype(float),
        [f"u{row // 4}" for row in range(400)],
    )


@pytest.mark.parametrize(
    ("true", "allowed"),
    [
        (Calibrator("platt", 0.5, -1.0), {"platt", "beta"}),
        (Calibrator("temperature", 0.4), {"temperature", "platt", "beta"}),
        (Calibrator("beta", 0.5, -1.0, 2.5), {"beta"}),
        (Calibrator("isotonic", knots=(-1.0, -0.99, 0.5, 0.51), rates=(0.02, 0.2, 0.21, 0.6)), {"isotonic"}),
    ],
)
def test_the_method_that_fits_the_truth_is_chosen(true: Calibrator, allowed: set[str]) -> None:
    found, losses = choose_calibrator(*rows(true, impressions=500))
    assert found.method in allowed
    assert set(losses) == set(LEVEL_METHODS)
    assert losses[found.method] == min(losses.values())
    assert found == Calibrator.fit(found.method, *rows(true, impressions=500)[:3])  # type: ignore[arg-type]


def test_losses_are_those_of_rows_that_a_fit_did_not_see() -> None:
    logits, impressions, clicks, _ = rows(Calibrator("platt", 0.5, -1.0), impressions=50)
    groups = ["left"] * 150 + ["right"] * 250  # two groups, so that the folds are known
    _, losses = choose_calibrator(logits, impressions, clicks, groups, methods=("platt", "isotonic"))
    left = np.arange(400) < 150
    for method in ("platt", "isotonic"):
        p = np.empty(400)
        for held in (left, ~left):
            seen = Calibrator.fit(method, logits[~held], impressions[~held], clicks[~held])  # type: ignore[arg-type]
            p[held] = seen(logits[held])
        assert losses[method] == pytest.approx(log_loss(p, impressions, clicks), rel=1e-12)


def test_steps_without_a_click_cost_a_finite_loss() -> None:
    logits = np.linspace(-6, 0, 60)
    clicks = (expit(logits) * 20).round()
    _, losses = choose_calibrator(logits, np.full(60, 20.0), clicks, [str(row) for row in range(60)])
    assert np.isfinite(losses["isotonic"])


def test_folds_are_keyed_and_a_named_method_is_no_choice() -> None:
    data = rows(Calibrator("platt", 0.5, -1.0), impressions=20)
    assert choose_calibrator(*data, seed=3) == choose_calibrator(*data, seed=3)
    assert choose_calibrator(*data, seed=3)[1] != choose_calibrator(*data, seed=4)[1]
    assert fit_calibrator("auto", *data) == choose_calibrator(*data)
    assert fit_calibrator("beta", *data) == (Calibrator.fit("beta", *data[:3]), {})


@pytest.mark.faults
def test_too_few_groups_or_clicks_are_refused() -> None:
    logits, impressions = np.arange(4.0), np.full(4, 10.0)
    with pytest.raises(ValueError, match=r"`groups` must be at least 2 .* Got 1: name the method"):
        choose_calibrator(logits, impressions, np.ones(4), ["a"] * 4)
    with pytest.raises(ValueError, match=r"outside each of 4 folds .* Got 1 clicks in 40 impressions of 4 groups"):
        choose_calibrator(logits, impressions, np.eye(4)[0], list("abcd"))
