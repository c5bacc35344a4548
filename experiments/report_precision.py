"""How the report's comparisons were made, and how many replications finer ones would take."""

from __future__ import annotations

import math
from typing import Any

from bandits.statistics import replications_needed
from experiments.report_members import members_words
from experiments.run_data import RunData
from experiments.summary import unit_means
from experiments.verdict import LEVEL, counted

_SHARE = 0.01  # of the baseline's clicks


def comparison_words(data: RunData) -> str:
    """Method, level, family and looks of the table of all policies."""
    units, family = counted(data.num_units, data.unit), len(data.summary) - 1
    if data.num_units == 1:
        return f"Results of one {data.unit}: it has no intervals and no p-values."
    words = f"Means over {units} with 95 percent t intervals, each by itself."
    if data.members > 1:
        words += " " + members_words(data)
    if family == 0:
        return words
    if family == 1:
        tests = "of a two-sided paired t test: nothing to correct for, as there is only one"
    else:
        tests = (
            f"of two-sided paired t tests, adjusted by Holm's method over the family of all {family} comparisons of "
            f"this table: with {LEVEL} as the limit, any of them is a false alarm with probability {LEVEL:.0%} at most"
        )
    return (
        f"{words} Differences from {data.config.baseline} are paired, because every policy met the same users with the "
        "same luck; their intervals are paired t intervals of 95 percent, each by itself. P-values are "
        f"{tests}. The number of {data.unit}s was fixed beforehand; results were looked at once."
    )


def precision_section(data: RunData) -> dict[str, Any] | None:
    """How many units an interval of a given half-width takes, by policy; None where there is nothing to go by.

    Nor is there where tests are crossed with members: more of either would be needed.
    """
    if data.num_units < 2 or len(data.summary) < 2 or (data.members > 1 and not data.same_arms):
        return None
    finals = {label: curve[-1] for label, curve in data.curves("reward").items()}
    baseline = data.config.baseline
    clicks = float(finals[baseline].mean())
    rows = []
    for row in data.summary[data.summary["policy"] != baseline].to_dict("records"):
        label = str(row["policy"])
        sd = float(unit_means(finals[label] - finals[baseline], data.clusters).std(ddof=1))
        half_width = (float(row["extra_high"]) - float(row["extra_low"])) / 2
        rows.append(
            {
                "policy": label,
                "sd": sd,
                "half_width": half_width,
                "to_halve": _needed(half_width / 2, sd),
                "to_share": _needed(_SHARE * clicks, sd),
                "to_tell": _needed(abs(float(row["extra"])), sd),
            }
        )
    return {"words": _words(data, clicks, rows), "share": f"{_SHARE:.0%}", "rows": rows}


def _needed(half_width: float, sd: float) -> int | None:
    """Units for a half-width; None where nothing varies, or the half-width is 0."""
    return replications_needed(half_width, sd) if sd > 0 and half_width > 0 else None


def _words(data: RunData, clicks: float, rows: list[dict[str, Any]]) -> str:
    best = data.summary[data.summary["policy"] != data.config.baseline].nlargest(1, "extra").iloc[0]
    row = next(row for row in rows if row["policy"] == best["policy"])
    units = f"{data.unit}s"
    words = (
        f"The difference from {data.config.baseline} has the standard deviation sd between {units}. An interval of "
        f"half-width h takes about (1.96 sd / h)² {units} (normal quantile, 95 percent, each policy by itself, without "
        f"Holm's correction). The sd is estimated from {counted(data.num_units, data.unit)}, so these numbers may be "
        f"off by some {_percent_off(data.num_units):.0f} percent, and by more where differences are skewed."
    )
    if row["to_halve"] is not None:
        words += (
            f" To halve the interval of {row['policy']}, now ± {row['half_width']:,.3g} clicks, takes about "
            f"{counted(row['to_halve'], data.unit)} instead of {data.num_units:,}."
        )
    if data.members > 1:
        words += " Worlds are the members of the ensemble: `reward_model.members` says how many are fitted."
    elif data.num_worlds > 1:
        words += " Worlds come from the data: more replications in the same worlds do not narrow these intervals much."
    return words


def _percent_off(count: int) -> float:
    """95 percent half-width, in percent, of a variance estimated from so many normal numbers."""
    return 100 * 1.96 * math.sqrt(2 / (count - 1))
