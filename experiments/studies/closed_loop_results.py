"""What the closed loop came to: one number with its interval for each policy, deployment and measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from bandits.statistics import clustered_proportion
from experiments.studies import measures
from experiments.studies.measures import NOTHING, Measured

ALL = "all"  # deployments together
COLUMNS = ("policy", "deployment", "measure", "value", "low", "high", "replications")


class Measure(NamedTuple):
    """A number of the page.

    Attributes:
        title: In words.
        caption: How it is meant.
        of: Makes it from the rows of a policy and of the baseline, one row per replication each.
    """

    title: str
    caption: str
    of: Callable[[pd.DataFrame, pd.DataFrame], Measured]


def ratio(above: pd.Series[float], below: pd.Series[float]) -> Measured:
    """`mean(above) / mean(below)` over replications, with the delta method's interval, paired."""
    return _of_saving(measures.relative_saving(above, below), lambda saving: 1 - saving)


def _gain(above: pd.Series[float], below: pd.Series[float]) -> Measured:
    return _of_saving(measures.relative_saving(above, below), lambda saving: -saving)


def _of_saving(saving: Measured, change: Callable[[float], float]) -> Measured:
    if not saving.replications:
        return NOTHING
    value, low, high = change(saving.value), change(saving.high), change(saving.low)
    return Measured(value, saving.error, low, high, saving.replications)


def _share_of_tests(name: str) -> Callable[[pd.DataFrame, pd.DataFrame], Measured]:
    """Wilson's interval, at the number of tests that the replications are worth."""

    def of(mine: pd.DataFrame, baseline: pd.DataFrame) -> Measured:
        if not mine["tested"].any():
            return NOTHING
        counted = mine["tested"] - mine["won"] - mine["lost"] if name == "undecided" else mine[name]
        found = clustered_proportion(counted, mine["tested"], mine.index)
        return Measured(float(found.estimate), np.nan, float(found.low), float(found.high), len(mine))

    return of


def _seconds(spent: pd.Series[float]) -> Measured:
    """A mean without an interval: replications of a part share their time."""
    return NOTHING if spent.isna().all() else Measured(float(spent.mean()), np.nan, np.nan, np.nan, len(spent))


MEASURES = {
    "clicks": Measure(
        "Clicks per 1,000 visitors",
        "Expected clicks of the shown arms, from the true rates: no click noise.",
        lambda mine, baseline: measures.mean(1000 * mine["expected"] / mine["visitors"]),
    ),
    "gain": Measure(
        "Clicks gained over the baseline",
        "Paired by replication: the same visitors, shifts and luck.",
        lambda mine, baseline: _gain(mine["expected"], baseline["expected"]),
    ),
    "lost_to_oracle": Measure(
        "Clicks lost to the oracle",
        "Share of the clicks that each visitor's best arm would have brought.",
        lambda mine, baseline: measures.relative_saving(mine["expected"], mine["best"]),
    ),
    "own_ratio": Measure(
        "Observed over predicted, on its own log",
        "Expected clicks of the shown arms over those predicted by the model that showed them. Below 1: too hopeful.",
        lambda mine, baseline: ratio(mine["expected"], mine["predicted"]),
    ),
    "uniform_ratio": Measure(
        "Observed over predicted, on uniform traffic",
        "The same visitors and models, and all arms alike.",
        lambda mine, baseline: ratio(mine["uniform_expected"], mine["uniform_predicted"]),
    ),
    "own_ece": Measure(
        "Calibration error (ECE), on its own log",
        "Ten bins of equal mass, against the true rates, in clicks per visitor.",
        lambda mine, baseline: measures.mean(mine["ece"]),
    ),
    "uniform_ece": Measure(
        "Calibration error (ECE), on uniform traffic",
        "The same visitors and models, and all arms alike.",
        lambda mine, baseline: measures.mean(mine["uniform_ece"]),
    ),
    "few": Measure(
        "Arms that are hardly shown again",
        "Share of the arms that the deployment shows less often than the config's `few`.",
        lambda mine, baseline: measures.mean(mine["few"]),
    ),
    "never": Measure(
        "Arms that are never shown again",
        "Share of the arms that the deployment does not show once.",
        lambda mine, baseline: measures.mean(mine["never"]),
    ),
    "won": Measure(
        "Tests that the new model won", "Share of the A/B tests against the last model.", _share_of_tests("won")
    ),
    "lost": Measure("Tests that it lost", "It was dropped, and the last model stayed.", _share_of_tests("lost")),
    "undecided": Measure(
        "Tests without a result", "Until the next model came.", _share_of_tests("undecided")
    ),
    "refit_seconds": Measure(
        "Seconds for a fit",
        "Wall-clock time for one model of one replication, on the machine that ran the study.",
        lambda mine, baseline: _seconds(mine["refit_seconds"]),
    ),
    "seconds": Measure(
        "Seconds for a replication",
        "Wall-clock time for all of its visitors and fits; replications of a part play side by side and share it.",
        lambda mine, baseline: _seconds(mine["seconds"]),
    ),
}  # fmt: skip


def tabulate(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """The tidy table.

    Args:
        frame: Rows of `closed_loop.played` with a column `policy`.
        baseline: Label of the policy that clicks are compared with.

    Returns:
        Columns `COLUMNS`; `deployment` is a number from 1 as text, or `all`. Intervals are 95 percent, over
        replications; where there is no interval its ends are nan.
    """
    rows = []
    for deployment, part in _by_deployment(frame):
        by_policy = {str(label): rows.set_index("replication") for label, rows in part.groupby("policy", sort=False)}
        for label, mine in by_policy.items():
            for name, measure in MEASURES.items():
                found = NOTHING if (name, label) == ("gain", baseline) else measure.of(mine, by_policy[baseline])
                rows.append((label, deployment, name, found.value, found.low, found.high, found.replications))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _by_deployment(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each deployment, and all together: counts are added, everything else is averaged."""
    for number, part in frame.groupby("deployment"):
        yield str(number), part
    added = ["visitors", "clicks", "expected", "best", "predicted", "tested", "won", "lost"]
    how = {name: "sum" if name in added else "mean" for name in frame.columns}
    for name in ("policy", "replication", "deployment"):
        del how[name]
    yield ALL, frame.groupby(["policy", "replication"], sort=False).agg(how).reset_index()


def look_up(table: pd.DataFrame, policy: str, deployment: str, measure: str) -> Measured:
    """One number of the table."""
    rows = table[
        (table["policy"] == policy) & (table["deployment"] == deployment) & (table["measure"] == measure)
    ].iloc[0]
    return Measured(rows["value"], np.nan, rows["low"], rows["high"], int(rows["replications"]))
