"""Sums a run up from its files: what each policy earned, and how it compares with the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.statistics import (
    adjust_p_values,
    mean_interval,
    mean_with_error,
    paired_difference,
    ranking_agreement,
)
from experiments.members import clusters_of, members_of
from experiments.run_folder import RunFolder

FloatArray = NDArray[np.float64]
MEASURES = ("reward", "regret", "regret_fixed")


@dataclass(frozen=True, eq=False)
class Finals:
    """Results after the last round in one kind of world.

    Attributes:
        values: For each of `MEASURES`, policy label to one number per replication, shape (N,).
        world: World of each replication, shape (N,), or test and member, shape (N, 2), see `clusters_of`.
    """

    values: dict[str, dict[str, FloatArray]]
    world: NDArray[np.int64]


def finals(traces: pd.DataFrame, replications: pd.DataFrame, kind: str, members: int = 1) -> Finals:
    """The last snapshot of every policy in one kind of world (of so many members each), replications in order."""
    here = traces[(traces["kind"] == kind) & (traces["round"] == traces["round"].max())]
    by_policy = {label: rows.sort_values("replication") for label, rows in here.groupby("policy", sort=False)}
    values = {
        measure: {str(label): rows[measure].to_numpy(dtype=np.float64) for label, rows in by_policy.items()}
        for measure in MEASURES
    }
    first = next(iter(by_policy))
    homes = replications[(replications["kind"] == kind) & (replications["policy"] == first)]
    world = homes.sort_values("replication")["world"].to_numpy(dtype=np.int64)
    return Finals(values, clusters_of(world, members))


def summarize(results: Finals, baseline: str, costs: dict[str, float]) -> pd.DataFrame:
    """One row per policy: mean clicks and regrets with intervals, and the paired comparison with the baseline.

    Columns: `policy`; for each of `MEASURES` (`reward`, ...) the mean over the units, `_low` and `_high`; `extra`,
    `extra_low`, `extra_high`, `p`, `p_holm` of the reward minus the baseline's in the same replication; `extra_percent`
    of the baseline's mean; `microseconds` per decision. A unit is a replication, or a world where there are several.

    Args:
        results: Results in one kind of world.
        baseline: Label of the policy to compare with; its own comparison is empty.
        costs: Microseconds per decision by label.
    """
    rewards = results.values["reward"]
    rows = []
    for label in rewards:
        row: dict[str, float | str] = {"policy": label}
        for measure in MEASURES:
            mean = mean_interval(results.values[measure][label], results.world)
            row |= {
                measure: float(mean.estimate),
                f"{measure}_low": float(mean.low),
                f"{measure}_high": float(mean.high),
            }
        if label != baseline:
            extra = paired_difference(rewards[label], rewards[baseline], results.world)
            row |= {"extra": float(extra.estimate), "extra_low": float(extra.low), "extra_high": float(extra.high)}
            row["p"] = paired_p_value(rewards[label] - rewards[baseline], results.world)
        row["microseconds"] = costs.get(label, math.nan)
        rows.append(row)
    summary = pd.DataFrame(rows)
    summary = summary.reindex(
        columns=[*summary.columns, *({"extra", "extra_low", "extra_high", "p"} - {*summary.columns})]
    )
    summary["p_holm"] = adjust_p_values(summary["p"].to_numpy(dtype=np.float64), "holm").p_values
    base = float(summary.loc[summary["policy"] == baseline, "reward"].iloc[0])
    summary["extra_percent"] = 100 * summary["extra"] / base if base else np.nan
    return summary


def paired_p_value(differences: FloatArray, world: NDArray[np.int64]) -> float:
    """Two-sided p-value of the paired t test over units; nan with a single unit, 1 where no unit differs at all."""
    from scipy import special

    mean, error, degrees = (float(value) for value in mean_with_error(differences, world))
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * special.stdtr(degrees, -abs(mean) / error))


def unit_means(values: FloatArray, world: NDArray[np.int64]) -> FloatArray:
    """One number per world where there are several, its mean; else the values themselves."""
    names, index = np.unique(world, axis=0, return_inverse=True)
    if len(names) == 1:
        return values
    means: FloatArray = np.bincount(index.ravel(), weights=values) / np.bincount(index.ravel())
    return means


def summarize_run(run: RunFolder) -> None:
    """Write `summary.csv` and, where there are two kinds of world, `agreement.json`."""
    config, costs = run.config(), run.read_json("costs")
    traces, replications = run.read("traces"), run.read("replications")
    kinds = list(traces["kind"].unique())
    results = {kind: finals(traces, replications, kind, members_of(config, kind)) for kind in kinds}
    tables = [summarize(results[kind], config.baseline, costs).assign(kind=kind) for kind in kinds]
    pd.concat(tables).to_csv(run.path / "summary.csv", index=False)
    if len(kinds) == 2 and len(config.policies) > 1:
        model, true = (
            {label: unit_means(values, results[kind].world) for label, values in results[kind].values["reward"].items()}
            for kind in kinds
        )
        agreement = ranking_agreement(true, model)
        numbers = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in agreement._asdict().items()
        }
        run.write_json("agreement", numbers | {"model": kinds[0], "true": kinds[1]})
