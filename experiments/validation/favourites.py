"""The model's favourites: a maximum of predictions is too high on average, and a policy that trusts them finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from bandits import reward_models as models
from bandits.core import FloatArray, IntArray
from bandits.reward_models.calibration_report import observed_over_predicted
from bandits.reward_models.metrics import top_pick
from experiments.validation.held_out import HeldOut


def favourites(model: models.AnyRewardModel, data: HeldOut) -> dict[str, Any]:
    """Predicted and observed click rates where the model's favourites were really shown.

    Returns:
        Plain values: `each` (of each user or contrast the item with the highest prediction), `one` (the single item
        with the highest mean prediction; for pairs only), `members` (with an ensemble: each member's favourites as the
        other members see them, in place of clicks; None without one). Each holds `predicted`, `observed` (clicks per
        impression) and `ratio`, `low`, `high` of observed over predicted.
    """
    n, c = data.impressions, data.clicks
    found: dict[str, Any] = {"each": _gap(data, top_pick(data.rates, data.owner), n, data.rates * n, c), "one": None}
    if data.kind == "pairs":
        mean = data.rows.assign(expected=data.rates * n).groupby("item_text")[["expected", "impressions"]].sum()
        best = (mean["expected"] / mean["impressions"]).idxmax()
        found["one"] = _gap(data, np.flatnonzero(data.rows["item_text"] == best), n, data.rates * n, c)
    found["members"] = _members(model.members, data) if isinstance(model, models.RewardEnsemble) else None
    return found


def _members(members: Sequence[models.RewardModel], data: HeldOut) -> dict[str, Any]:
    """Every member picks, the mean of the others judges; all members together."""
    users, items = data.rows["user_text"].tolist(), data.rows["item_text"].tolist()
    tests = data.rows["contrast"].tolist() if data.kind == "tests" else None
    rates = np.stack([models.rates_of_rows(member, users, items, tests) for member in members])
    predicted, judged, shown = np.zeros((3, len(data.rows)))
    for number, own in enumerate(rates):
        rows = top_pick(own, data.owner)
        others = np.delete(rates, number, axis=0).mean(axis=0)
        weight = data.impressions[rows] / len(rates)
        predicted[rows] += own[rows] * weight
        judged[rows] += others[rows] * weight
        shown[rows] += weight
    return _gap(data, np.flatnonzero(shown), shown, predicted, judged)


def _gap(data: HeldOut, rows: IntArray, shown: FloatArray, expected: FloatArray, clicks: FloatArray) -> dict[str, Any]:
    ratio = observed_over_predicted(expected[rows], np.ones(len(rows)), clicks[rows], data.unit[rows])
    total = shown[rows].sum()
    rates = {"predicted": float(expected[rows].sum() / total), "observed": float(clicks[rows].sum() / total)}
    return rates | asdict(ratio)
