"""What a policy had seen, decided and lost in each replication, from stored cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.core import FloatArray
from experiments.cells import CellTables
from experiments.studies.observed import Observed
from experiments.studies.watched import CONTROL

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Decisions:
    """One policy in one world, `R` replications; arm 0 is the control.

    Attributes:
        rates: True click rate of each arm, shape (K,).
        decides: Whether the policy decides at all, as a test does; a bandit goes on for ever.
        visitors: Visitors of each arm whose results the decision rests on, shape (R, K): all until the decision (to the
            end without one), or those that the design itself counts.
        clicks: Their clicks, shape (R, K).
        dropped: How many arms had left the test because they were found worse, shape (R,); nan where that is not known.
        decided: Whether a decision fell, shape (R,); all False for a bandit.
        in_test: Visitors until the decision, all of them without one, shape (R,).
        shipped: The arm that a test ships: the control where it did not decide. For a bandit, the arm that it showed
            most often. Shape (R,).
        lost_in_test: Clicks lost until the decision against always showing the best arm, expected ones, shape (R,).
        lost: Clicks lost over all visitors, shape (R,).
        weighted: Estimate and standard error of every arm's difference to the control by AIPW weights, shapes (R, K);
            empty where propensities are not known.
    """

    rates: FloatArray
    decides: bool
    visitors: FloatArray
    clicks: FloatArray
    dropped: FloatArray
    decided: BoolArray
    in_test: FloatArray
    shipped: IntArray
    lost_in_test: FloatArray
    lost: FloatArray
    weighted: dict[str, tuple[FloatArray, FloatArray]]

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
            dropped=self.dropped[wanted],
            decided=self.decided[wanted],
            in_test=self.in_test[wanted],
            shipped=self.shipped[wanted],
            lost_in_test=self.lost_in_test[wanted],
            lost=self.lost[wanted],
            weighted={name: (values[wanted], errors[wanted]) for name, (values, errors) in self.weighted.items()},
        )


def gather(parts: Sequence[CellTables], rates: FloatArray, horizon: int, observed: Observed, seed: int) -> Decisions:
    """Join the cells of one policy at one effect.

    Args:
        parts: Cells in the order of their replications, with one snapshot each.
        rates: True click rate of each arm, shape (K,).
        horizon: Visitors of a replication.
        observed: How the policy was played.
        seed: Of the coin that breaks ties of a bandit's favourite arm.
    """
    last = pd.concat([part.curves for part in parts], ignore_index=True)
    ends = pd.concat([part.replications for part in parts], ignore_index=True)

    def by_arm(name: str) -> FloatArray:
        columns = [f"record.{name}[{k}]" for k in range(len(rates))]
        return last[columns].to_numpy(dtype=np.float64)

    visitors, clicks = by_arm("visitors"), by_arm("clicks")
    weighted = {
        weights: (by_arm(weights), by_arm(f"{weights}_error"))
        for weights in ("uniform", "sqrt")
        if f"record.{weights}[0]" in last
    }
    recommended = ends["recommended"].to_numpy(dtype=np.int64)
    decided = recommended >= 0
    dropped = np.full(len(last), np.nan)
    if "record.dropped" in last:
        dropped = last["record.dropped"].to_numpy(dtype=np.float64)
    gaps = rates.max() - rates
    regret = last["regret"].to_numpy(dtype=np.float64)
    if observed.decides:
        shipped = np.where(decided, recommended, CONTROL)
    else:
        coins = np.random.default_rng([seed, int(ends["replication"].iloc[0])]).random(visitors.shape)
        shipped = np.argmax(visitors + coins / 2, axis=1).astype(np.int64)
    if observed.way == "until it ships":
        in_test = np.where(decided, ends["stopped"].to_numpy(dtype=np.float64), horizon)
        lost_in_test, lost = regret, regret + gaps[shipped] * (horizon - in_test)
    else:
        in_test, lost_in_test, lost = visitors.sum(axis=1), visitors @ gaps, regret
    return Decisions(
        rates=rates,
        decides=observed.decides,
        visitors=visitors,
        clicks=clicks,
        dropped=dropped,
        decided=decided,
        in_test=in_test,
        shipped=shipped,
        lost_in_test=lost_in_test,
        lost=lost,
        weighted=weighted,
    )
