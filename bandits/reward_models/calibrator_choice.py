"""Fits a calibrator to the calibration rows of a split; where the config leaves it open, chooses one there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from bandits.reward_models.calibration import LEVEL_METHODS, Calibrator, LevelMethod
from bandits.reward_models.click_log import ClickLog
from bandits.reward_models.fit_config import FitConfig
from bandits.reward_models.metrics import log_loss
from bandits.reward_models.split import Split, seen_rate
from bandits.reward_models.within_test import FloatArray

FOLDS = 5


def calibrate(
    logits: FloatArray, log: ClickLog, split: Split, config: FitConfig
) -> tuple[Calibrator, dict[str, float]]:
    """The calibrator of a model, with the log losses it was chosen by, if it was chosen.

    Args:
        logits: The model's logits of the rows of `split.calibration`, shape (n,).
        log: The click log; for one of tests the calibrator compares inside tests.
        split: Its parts.
        config: The method, and the seed of the folds that it is chosen in.
    """
    rows = split.calibration
    impressions, clicks = (rows[column].to_numpy(dtype=np.float64) for column in ("impressions", "clicks"))
    if log.kind == "pairs":
        groups = rows[split.by].tolist()
        return fit_calibrator(config.calibration, logits, impressions, clicks, groups, seed=config.seed)
    contrast = pd.factorize(rows["contrast"])[0].astype(np.int64)
    return Calibrator.fit_within_tests(logits, impressions, clicks, contrast, base_rate=seen_rate(log, split)), {}


def fit_calibrator(
    method: LevelMethod | Literal["auto"],
    logits: FloatArray,
    impressions: FloatArray,
    clicks: FloatArray,
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> tuple[Calibrator, dict[str, float]]:
    """The calibrator of a method, or of the best one; with the log losses it was chosen by, if it was chosen."""
    if method == "auto":
        return choose_calibrator(logits, impressions, clicks, groups, seed=seed)
    return Calibrator.fit(method, logits, impressions, clicks), {}


def choose_calibrator(
    logits: FloatArray,
    impressions: FloatArray,
    clicks: FloatArray,
    groups: Sequence[str],
    *,
    methods: Sequence[LevelMethod] = LEVEL_METHODS,
    seed: int = 0,
) -> tuple[Calibrator, dict[str, float]]:
    """The method of the lowest log loss on rows that its fit did not see, fitted anew to all rows.

    Whole groups go to at most five folds in a keyed random order; each method is fitted to all folds but one and judged
    on that one, and the log losses per impression are taken over all rows. Among equals the first method wins.

    Args:
        logits: Uncalibrated logits of the calibration rows, shape (n,).
        impressions: Shape (n,).
        clicks: Shape (n,).
        groups: Rows of one name stay in one fold, length n.
        methods: Methods to choose from, the simpler first.
        seed: Key of the folds.

    Returns:
        The calibrator, and the cross-validated log loss of every method.

    Raises:
        ValueError: When there is one group only, or all clicks (or all impressions without one) lie in one fold.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"`groups` must be at least 2 in the calibration rows to choose a calibrator. Got {len(names)}: "
            "name the method instead of 'auto'."
        )
    folds = min(FOLDS, len(names))
    fold = (np.random.default_rng(seed).permutation(len(names)) % folds)[index]
    outside = [fold != held for held in range(folds)]
    if not all(0 < clicks[rows].sum() < impressions[rows].sum() for rows in outside):
        raise ValueError(
            f"The calibration rows must have clicks and impressions without a click outside each of {folds} folds to "
            f"choose a calibrator. Got {clicks.sum():.0f} clicks in {impressions.sum():.0f} impressions of "
            f"{len(names)} groups: name the method instead of 'auto'."
        )
    losses = {}
    for method in methods:
        p = np.empty(len(logits))
        for rows in outside:
            p[~rows] = Calibrator.fit(method, logits[rows], impressions[rows], clicks[rows])(logits[~rows])
        losses[str(method)] = log_loss(p, impressions, clicks)
    best = min(methods, key=lambda method: losses[method])
    return Calibrator.fit(best, logits, impressions, clicks), losses
