"""The lower bound on regret in the report: where there is one, the line; where there is none, why."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bandits.statistics import lai_robbins_constant
from experiments.config import BernoulliData
from experiments.run_data import FloatArray, RunData

LINE = "lower bound for large t"
_FAR_ABOVE = 2.0  # times the highest curve: a line beyond would flatten all others


def lower_bound_constant(data: RunData) -> tuple[float | None, str]:
    """The bound of Lai and Robbins per unit of log t; None where there is none, and why.

    In several worlds it is the mean over the worlds that replications lived in, because a policy that is consistent in
    each of them is bound in each of them.
    """
    given = data.config.data
    if isinstance(given, BernoulliData):
        if given.means is None:
            return None, "every replication draws click rates of its own, so that there is no one problem that it is of"
        return _of(lai_robbins_constant(given.means))
    table = data.table
    if data.config.world.no_recommendation is not None:
        return None, "showing nothing is one of the choices, and the bound is about arms that any policy may show"
    if data.manifest["late_items"]:
        return None, "items arrive during the run, and it is about arms that are there from the start"
    if table is None or table.p.shape[1] > 1:
        return None, (
            "users differ. How fast one must lose then depends on what a policy takes users to have in common (Graves "
            "and Lai 1997), and the policies of this run differ in that"
        )
    p = table.p.astype(np.float64)
    worlds = np.unique(data.world)
    return _of(np.mean([float(lai_robbins_constant(p[w, 0, : table.num_items[w]])) for w in worlds]))


def lower_bound_line(data: RunData) -> FloatArray | None:
    """The bound at every snapshot, shape (C,); None where there is none, or it would flatten all curves."""
    constant, _ = lower_bound_constant(data)
    if constant is None:
        return None
    line: FloatArray = constant * np.log(data.rounds)
    return line if line[-1] <= _FAR_ABOVE * _highest(data) else None


def lower_bound_words(data: RunData) -> str:
    """What the line is and what it is not; or why there is none."""
    constant, why_not = lower_bound_constant(data)
    if constant is None:
        return f"There is no line of the lower bound on regret (Lai and Robbins 1985) here: {why_not}."
    mean = f", on average over {data.num_worlds} worlds," if data.num_worlds > 1 else ""
    words = (
        "The lower bound of Lai and Robbins (1985) is the sum over the worse arms of gap / kl(rate, best rate), here"
        f"{mean} {constant:,.4g}, times the logarithm of the number of visitors t. It is asymptotic: as t grows, no "
        "policy that finds the best arm whatever the click rates (a consistent one) can lose less per unit of log t. "
        "At a given t it forbids nothing, so curves may well lie under it here. It does not bind policies that are not "
        "consistent: an A/B test of fixed length ships a wrong arm with a probability that does not vanish."
    )
    if lower_bound_line(data) is None:
        words += (
            f" It is not drawn: at {int(data.rounds[-1]):,} visitors it is at "
            f"{constant * np.log(data.rounds[-1]):,.0f} clicks, far above every curve, so the horizon is too short for "
            "it to mean anything."
        )
    return words


def _of(constant: ArrayLike) -> tuple[float | None, str]:
    value = float(np.asarray(constant))
    return (value, "") if value > 0 else (None, "no arm is worse than another, or a single miss tells the worse apart")


def _highest(data: RunData) -> float:
    return max(float(curve[-1].mean()) for curve in data.curves("regret").values())
