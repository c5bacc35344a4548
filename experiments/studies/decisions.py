"""What a policy had seen, decided and lost in each replication, from stored cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.core import FloatArray
from experiments.cells import CellTables
from experiments.studies.watched import CONTROL

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Decisions:
    """One policy in one world, `R` replications; arm 0 is the control.

    Attributes:
        rates: True click rate of each arm, shape (K,).
        decides: Whether the policy decides at all, as a test does; a bandit goes on for ever.
        visitors: Visitors of each arm until the decision, or to the end without one, shape (R, K).
        clicks: Their clicks, shape (R, K).
        decided: Whether a decision fell before the last visitor, shape (R,); all False for a bandit.
        shipped: The arm that a test ships: the control where it did not decide. For a bandit, the arm that it showed
            most often. Shape (R,).
        lost_in_test: Clicks lost until the decision against always showing the best arm, expected ones, shape (R,).
        lost: Clicks lost over all visitors, shape (R,).
        weighted: Estimate and standard error of every arm's difference to the control by AIPW weights, shapes (R, K);
            empty where the policy has no propensities.
        records: Other numbers that the policy reports at the end, name to shape (R,).
    """

    rates: FloatArray
    decides: bool
    visitors: FloatArray
    clicks: FloatArray
    decided: BoolArray
    shipped: IntArray
    lost_in_test: FloatArray
    lost: FloatArray
    weighted: dict[str, tuple[FloatArray, FloatArray]]
    records: dict[str, FloatArray]

    @property
    def in_test(self) -> FloatArray:
        """Visitors until the decision, shape (R,)."""
        total: FloatArray = self.visitors.sum(axis=1)
        return total

    @property
    def best(self) -> IntArray:
        """The arms with the highest rate."""
        return np.flatnonzero(self.rates == self.rates.max())

    def of_rows(self, wanted: BoolArray) -> Decisions:
        """The same for some of the replications, given as booleans of shape (R,)."""
        return replace(
            self,
            visitors=self.visitors[wanted],
            clicks=self.clicks[wanted],
            decided=self.decided[wanted],
            shipped=self.shipped[wanted],
            lost_in_test=self.lost_in_test[wanted],
            lost=self.lost[wanted],
            weighted={name: (values[wanted], errors[wanted]) for name, (values, errors) in self.weighted.items()},
            records={name: values[wanted] for name, values in self.records.items()},
        )


def gather(parts: Sequence[CellTables], rates: FloatArray, decides: bool, seed: int) -> Decisions:
    """Join the cells of one policy at one effect.

    Args:
        parts: Cells in the order of their replications.
        rates: True click rate of each arm, shape (K,).
        decides: Whether the policy decides at all.
        seed: Of the coin that breaks ties of a bandit's favourite arm.
    """
    curves = pd.concat([part.curves for part in parts], ignore_index=True)
    last = curves[curves["round"] == curves["round"].max()]
    ends = pd.concat([part.replications for part in parts], ignore_index=True)
    records = {
        str(column).removeprefix("record."): last[column].to_numpy(dtype=np.float64)
        for column in last.columns
        if str(column).startswith("record.")
    }
    arms = len(rates)

    def by_arm(name: str) -> FloatArray:
        return np.stack([records.pop(f"{name}[{k}]") for k in range(arms)], axis=1)

    visitors, clicks = by_arm("visitors"), by_arm("clicks")
    weighted = {
        weights: (by_arm(weights), by_arm(f"{weights}_error"))
        for weights in ("uniform", "sqrt")
        if f"{weights}[0]" in records
    }
    recommended = ends["recommended"].to_numpy(dtype=np.int64)
    decided = recommended >= 0
    if decides:
        shipped = np.where(decided, recommended, CONTROL)
    else:
        coins = np.random.default_rng([seed, int(ends["replication"].iloc[0])]).random(visitors.shape)
        shipped = np.argmax(visitors + coins / 2, axis=1).astype(np.int64)
    gaps = rates.max() - rates
    lost = last["regret"].to_numpy(dtype=np.float64)
    return Decisions(
        rates=rates,
        decides=decides,
        visitors=visitors,
        clicks=clicks,
        decided=decided,
        shipped=shipped,
        lost_in_test=visitors @ gaps,
        lost=lost,
        weighted=weighted,
        records=records,
    )
