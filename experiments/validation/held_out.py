"""The rows of a log that a model has never seen, and what it predicts for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from bandits import reward_models as models
from bandits.core import FloatArray, IntArray
from bandits.reward_models.baselines import contrasts, counts
from bandits.reward_models.log_report import FEW_CLICKS
from bandits.reward_models.within_test import expected_rates


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Rows that are new to a model.

    In a log of tests a model predicts only differences inside a contrast: the rates are those it expects given how many
    clicks the contrast got in all.

    Attributes:
        rows: Rows of `ClickLog.pairs`, `n` of them.
        kind: Kind of the log.
        by: Column whose values are the units of all intervals.
        rates: Predicted click rate of each row, shape (n,).
        left_out: How many rows the model was fitted on.
        until: Latest time of the rows that the model was fitted on; None without times.
    """

    rows: pd.DataFrame
    kind: str
    by: str
    rates: FloatArray
    left_out: int
    until: pd.Timestamp | None

    @property
    def impressions(self) -> FloatArray:
        """Impressions of each row, shape (n,)."""
        return counts(self.rows)[0]

    @property
    def clicks(self) -> FloatArray:
        """Clicks of each row, shape (n,)."""
        return counts(self.rows)[1]

    @property
    def unit(self) -> IntArray:
        """Number of each row's unit, from 0, shape (n,)."""
        return pd.factorize(self.rows[self.by])[0].astype(np.int64)

    @property
    def owner(self) -> IntArray:
        """Number of the user or contrast that a row's item is shown to, from 0, shape (n,)."""
        return pd.factorize(self.rows["contrast" if self.kind == "tests" else "user_text"])[0].astype(np.int64)

    def simulated_clicks(self, random: np.random.Generator) -> FloatArray:
        """Clicks of each row as the model would have them, shape (n,); in tests a contrast's total is as it was."""
        if self.kind == "pairs":
            return random.binomial(self.impressions.astype(np.int64), self.rates).astype(np.float64)
        found = np.empty(len(self.rows))
        expected, clicks = self.rates * self.impressions, self.clicks
        for rows in self.rows.groupby(self.owner).indices.values():
            total = expected[rows].sum()
            if total == 0:
                found[rows] = 0.0
                continue
            found[rows] = random.multinomial(int(clicks[rows].sum()), expected[rows] / total)
        return found


def held_out(model: models.AnyRewardModel, log: models.ClickLog) -> HeldOut:
    """The rows of a log that share no user, story or text with those that a model was fitted on.

    Raises:
        ValueError: When model and log are of different kinds, when the model does not say what it was fitted on, or
            when nothing (or no click) is left.
    """
    if log.kind != model.kind:
        raise ValueError(f"--data must be a log of {model.kind}, as the model's own was. Got a log of {log.kind}.")
    seen: dict[str, Any] | None = model.info.get("seen")
    if seen is None:
        raise ValueError(
            "MODEL must say what it was fitted on. Got one of an earlier version, which does not: fit it again."
        )
    new = models.unseen(log.pairs, seen, model.kind)
    rows = log.pairs[new].reset_index(drop=True)
    clicks = int(rows["clicks"].sum())
    if clicks < FEW_CLICKS:
        raise ValueError(
            f"--data must hold at least {FEW_CLICKS} clicks that the model was not fitted on. Got {log.name}: of its "
            f"{len(new):,} pairs of texts {len(rows):,} are new (no shared {_words(seen['by'], model.kind)}), with "
            f"{clicks} clicks."
        )
    users, items = rows["user_text"].tolist(), rows["item_text"].tolist()
    if model.kind == "pairs":
        rates = models.rates_of_rows(model, users, items)
    else:
        alone = models.rates_of_rows(model, users, items, rows["contrast"].tolist())
        rates = expected_rates(logit(alone), *counts(rows), contrasts(rows))
    until = None if seen["until"] is None else pd.Timestamp(seen["until"])
    by = next(column for column in (seen["by"], "user_text", "item_text") if (rows[column] != "").any())
    return HeldOut(rows, model.kind, by, rates, int((~new).sum()), until)


def _words(by: str, kind: str) -> str:
    return "story or text" if kind == "tests" else {"user_text": "user", "item_text": "item"}.get(by, "group or pair")
