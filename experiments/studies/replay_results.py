"""What became of each test under each rule, and what that comes to over all tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from bandits.statistics import clustered_proportion, clustered_ratio
from experiments.studies.replay_config import RulesConfig
from experiments.studies.stopping_rules import Looks, decide, rules

FloatArray = NDArray[np.float64]

# A share over tests: the column that counts, and the column that says which tests are asked.
SHARES = {
    "declared": ("declared", "all"),
    "early": ("early", "all"),
    "found": ("found", "proven_at_end"),
    "unproven": ("unproven", "declared"),
    "worse": ("worse", "declared"),
    "clearly_worse": ("clearly_worse", "declared"),
    "chance_worse": ("chance_worse", "declared"),
    "shipped_worse": ("worse", "all"),
}
YARDSTICK = "fixed horizon"  # what it declares is significant at the end by definition: these shares have no interval
# A ratio of totals over tests.
RATIOS = {"time_used": ("time_used", "all"), "promise_kept": ("delivered", "promised")}


def replay_rules(
    looks: Looks, names: pd.DataFrame, *, time: FloatArray, scale: FloatArray, config: RulesConfig
) -> pd.DataFrame:
    """Every rule's decision on every comparison, one row each.

    Args:
        looks: R comparisons.
        names: What they are called, R rows; `test` and `cluster` are among the columns, and all are kept.
        time: Days or visitors at each look, shape (R, L).
        scale: Mean that makes a difference relative, shape (R, L); where it is not positive there is no lift, nan.
        config: Settings of the rules.

    Returns:
        The columns of `names` and: `rule`; `looks`, how many there were; `look`, the one at which the rule stopped,
        from 1; `time` and `last_time`; `side`, +1 where the treatment was declared the winner, -1 the control, 0 none;
        `lift` at stopping and `final_lift`, relative to the control; `final_z`.
    """
    last = looks.last
    rows = np.arange(len(last))
    lift = np.divide(looks.estimate, scale, out=np.full(looks.estimate.shape, np.nan), where=scale > 0)
    frames = []
    for name, rule in rules(config).items():
        if not rule.applies(looks):
            continue
        decision = decide(rule.answer(looks, config), looks)
        columns: dict[str, Any] = {
            "rule": name,
            "looks": last + 1,
            "look": decision.look + 1,
            "time": time[rows, decision.look],
            "last_time": time[rows, last],
            "side": decision.side,
            "lift": lift[rows, decision.look],
            "final_lift": lift[rows, last],
            "final_z": looks.statistic[rows, last],
        }
        frames.append(pd.concat([names.reset_index(drop=True), pd.DataFrame(columns)], axis=1))
    return pd.concat(frames, ignore_index=True)


def judged(decisions: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The decisions with what the final data say of them; truths are 0 or 1.

    Adds `declared` (a winner), `early` (before the last look), `time_used` (share of the test's length), `unproven`
    (declared, and its lead is not significant in the final data), `worse` (declared, and behind in the final data),
    `clearly_worse` (significantly so), `chance_worse` (that it is behind in truth, given the final data under a flat
    prior), `promised` and `delivered` (lead of the declared winner when it was declared, and at the end; 0 where none
    was), `proven_at_end` (the final difference is significant) and `found` (and the rule declared that side).
    """
    frame = decisions.copy()
    critical = float(special.ndtri(1 - alpha / 2))
    side = frame["side"].to_numpy()
    ahead = side * frame["final_z"].to_numpy()
    declared = side != 0
    proven = np.abs(frame["final_z"].to_numpy()) >= critical
    frame["all"] = 1.0
    frame["declared"] = declared.astype(float)
    frame["early"] = (declared & (frame["look"] < frame["looks"])).astype(float)
    frame["time_used"] = frame["time"] / frame["last_time"]
    frame["unproven"] = (declared & (ahead < critical)).astype(float)
    frame["worse"] = (declared & (ahead < 0)).astype(float)
    frame["clearly_worse"] = (declared & (ahead <= -critical)).astype(float)
    frame["chance_worse"] = np.where(declared, special.ndtr(-ahead), 0.0)
    relative = declared & np.isfinite(frame["lift"]) & np.isfinite(frame["final_lift"])  # not where a control had 0
    frame["promised"] = np.where(relative, side * frame["lift"], 0.0)
    frame["delivered"] = np.where(relative, side * frame["final_lift"], 0.0)
    frame["proven_at_end"] = proven.astype(float)
    frame["found"] = (declared & (ahead >= critical)).astype(float)
    return frame


def summarised(frame: pd.DataFrame, *, by: Mapping[str, object], confidence: float = 0.95) -> pd.DataFrame:
    """One row for each rule: shares and ratios over the tests with intervals whose unit is the cluster.

    Args:
        frame: From `judged`.
        by: Constant columns to put in front, such as the metric.
        confidence: Of each interval.

    Returns:
        Columns `rule`, `tests`, `clusters`, `repetitions` (random orders of each test) and, for every name in `SHARES`
        and `RATIOS`, `NAME`, `NAME_low`, `NAME_high`; of the shares also `NAME_count` and `NAME_of`, per repetition;
        `median_time`, of those that declared a winner. A share is nan where no test is asked, and its interval is nan
        where it is 0 or 1 by definition.
    """
    rows = []
    for rule, group in frame.groupby("rule", sort=False):
        tests = group["test"].nunique()
        repetitions = len(group) / tests
        row: dict[str, object] = {**by, "rule": rule, "tests": tests, "clusters": group["cluster"].nunique()}
        row["repetitions"] = repetitions
        for name, (counted, of) in SHARES.items():
            share = clustered_proportion(group[counted], group[of], group["cluster"], confidence=confidence)
            row |= {name: float(share.estimate), f"{name}_low": float(share.low), f"{name}_high": float(share.high)}
            row |= {f"{name}_count": group[counted].sum() / repetitions, f"{name}_of": group[of].sum() / repetitions}
        for name, (above, below) in RATIOS.items():
            ratio = clustered_ratio(group[above], group[below], group["cluster"], confidence=confidence)
            row |= {name: float(ratio.estimate), f"{name}_low": float(ratio.low), f"{name}_high": float(ratio.high)}
        if rule == YARDSTICK:
            known = ("early", "found", "unproven", "worse", "clearly_worse")
            row |= {f"{name}_{end}": np.nan for name in known for end in ("low", "high")}
        stopped = group.loc[group["declared"] > 0, "time"]
        row["median_time"] = float(stopped.median()) if len(stopped) else np.nan
        rows.append(row)
    return pd.DataFrame(rows)
