"""Predicted against observed clicks of rows that the model has never seen: overall, by part, and later in time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from bandits.core import IntArray
from bandits.reward_models import metrics
from bandits.reward_models.calibration_report import calibration_report, observed_over_predicted
from experiments.validation.held_out import HeldOut

_QUARTERS = ("first", "second", "third", "fourth")
_ITEMS = 20
_LATER = 0.1  # share of the rows below which later ones say too little


def predictive(data: HeldOut) -> dict[str, Any]:
    """The calibration report of held-out rows, and observed over predicted clicks by segment and later in time.

    In tests the clicks of a contrast are given, so that all of its rows together are always right: segments and later
    rows are then those of the model's favourites.

    Returns:
        Plain values: `summary` (log loss and the like, and the log loss of the best constant rate), `calibration` (as
        from `calibration_report`), `segments` (name to ratio and impressions: quarters of users or tests by how often
        they were shown something, and the most shown items), `later` (see `later_rows`; None without times).
    """
    n, c, unit = data.impressions, data.clicks, data.unit
    base = np.full(len(n), c.sum() / n.sum())
    found = {
        "summary": metrics.summary(data.rates, n, c, data.owner)
        | {"log_loss_of_base_rate": metrics.log_loss(base, n, c)},
        "calibration": calibration_report(data.rates, n, c, unit, data.owner),
        "segments": {name: _ratio(data, rows) for name, rows in segments(data).items()},
        "later": None,
    }
    later, words = later_rows(data)
    if len(later):
        found["later"] = {"rows": words, **_ratio(data, later)}
    return found


def segments(data: HeldOut) -> dict[str, IntArray]:
    """Rows of each quarter of the owners by their impressions, and of each of the items that were shown most."""
    shown = pd.Series(np.bincount(data.owner, weights=data.impressions))
    found: dict[str, IntArray] = {}
    who = "favourites in tests" if data.kind == "tests" else "users"
    if len(shown) >= 2 * len(_QUARTERS) and shown.nunique() > 1:
        quarter = (shown.rank(method="first").to_numpy() - 1) * len(_QUARTERS) // len(shown)
        for number, name in enumerate(_QUARTERS):
            found[f"{who} shown least to most, {name} quarter"] = np.flatnonzero(quarter[data.owner] == number)
    if data.kind == "pairs":
        total = data.rows.groupby("item_text", sort=False)["impressions"].sum()
        most = total.sort_values(ascending=False, kind="stable").index[:_ITEMS]
        for place, item in enumerate(most, start=1):
            found[f"item {place} by impressions"] = np.flatnonzero(data.rows["item_text"] == item)
    return found


def later_rows(data: HeldOut) -> tuple[IntArray, str]:
    """Rows after all that the model was fitted on; if few, the later half of the held-out rows; none without times."""
    time = data.rows["time"]
    if time.isna().all():
        return np.empty(0, dtype=np.int64), ""
    if data.until is not None and (time > data.until).mean() >= _LATER:
        return np.flatnonzero(
            time > data.until
        ), f"after {data.until:%Y-%m-%d}, the last day that the model was fitted on"
    middle = time.quantile(0.5, interpolation="lower")
    if not (time > middle).any():
        return np.empty(0, dtype=np.int64), ""
    return np.flatnonzero(time > middle), f"after {middle:%Y-%m-%d}, the later half of the held-out rows"


def _ratio(data: HeldOut, rows: IntArray) -> dict[str, Any]:
    if data.kind == "tests":
        rows = np.intersect1d(rows, metrics.top_pick(data.rates, data.owner))
    n = data.impressions[rows]
    ratio = observed_over_predicted(data.rates[rows], n, data.clicks[rows], data.unit[rows])
    return asdict(ratio) | {"impressions": float(n.sum())}
