"""From visits to gains: which values training tests choose, and what a policy earns relative to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.statistics import clustered_ratio
from experiments.studies.headlines.candidates import AB_TEST, BEST, Family
from experiments.studies.headlines.data import LEARNS_ONLY

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Choices = dict[int, int]  # candidate of each fold

FLAT = "UCB, flat prior"
# What a policy is compared with, by the name of the columns.
COMPARISONS = {"over_ab": "the A/B test", "over_without": "the same without a model", "over_flat": "a flat prior"}


def choose(clicks: FloatArray, fold: IntArray) -> Choices:
    """For each judged fold the candidate with the most clicks in all tests outside it; among equals the first.

    Args:
        clicks: Of each candidate in each test, shape (C, W).
        fold: Of each test, shape (W,); `LEARNS_ONLY` is outside every fold.
    """
    folds = np.unique(fold[fold != LEARNS_ONLY]).tolist()
    return {int(f): int(np.argmax(clicks[:, fold != f].sum(axis=1))) for f in folds}


def best_with_model(
    families: Sequence[Family],
    clicks: Mapping[str, FloatArray],
    chosen: Mapping[str, Choices],
    fold: IntArray,
) -> dict[int, str]:
    """For each judged fold the policy with a model, at its chosen candidate, with the most clicks in tests outside it.

    Args:
        families: All policies; those that have a `without` take part.
        clicks: By policy, of each candidate in each test, shape (C, W).
        chosen: By policy, the candidate of each fold.
        fold: Of each test, shape (W,).
    """
    names = [family.name for family in families if family.without is not None]
    return {
        f: max(names, key=lambda name: float(clicks[name][chosen[name][f], fold != f].sum())) for f in chosen[names[0]]
    }


def with_best(wide: pd.DataFrame, fold: IntArray, best: Mapping[int, str], families: Sequence[Family]) -> pd.DataFrame:
    """Clicks of every policy in every judged test, those of the best with a model added, and what it is compared with.

    Args:
        wide: One row per judged test, one column per policy.
        fold: Of each judged test.
        best: From `best_with_model`.
        families: All policies.

    Returns:
        `wide` with the column `BEST`, and for it and every policy with a model, columns `NAME|without` and
        `NAME|flat`: what the same policy earned without a model, and with a prior that is the same for all headlines.
    """
    # Thompson sampling without a model has a flat prior anyway, one of those that it may choose from.
    flat = {family.name: FLAT if family.without == "UCB" else family.without for family in families if family.without}
    without = {family.name: family.without for family in families if family.without}
    columns = {name: wide[name] for name in wide}
    for name in without:
        columns |= {f"{name}|without": wide[without[name]], f"{name}|flat": wide[flat[name]]}
    for suffix, source in (("", {name: name for name in without}), ("|without", without), ("|flat", flat)):
        values = np.empty(len(wide))
        for f, name in best.items():
            values[fold == f] = wide.loc[fold == f, source[name]]
        columns[BEST + suffix] = pd.Series(values, index=wide.index)
    return pd.DataFrame(columns)


def gains(wide: pd.DataFrame, visits: FloatArray, story: Sequence[str], confidence: float) -> pd.DataFrame:
    """One row per policy: clicks per 1,000 visitors, and relative gains with intervals whose unit is the story.

    A gain is the ratio of the sums over all tests, less 1: a test counts by its visitors and its click rate.

    Args:
        wide: From `with_best`.
        visits: Visitors of each test, shape (W,).
        story: Of each test, length W.
        confidence: Of each interval.

    Returns:
        Columns `policy`, `clicks_per_1000`, `tests`, `stories`, and for each of `COMPARISONS` `NAME`, `NAME_low`,
        `NAME_high`, `NAME_p`; nan where a policy has no such comparison.
    """
    rows = []
    for name in [str(column) for column in wide if "|" not in str(column)]:
        clicks = wide[name].to_numpy(dtype=np.float64)
        row: dict[str, object] = {"policy": name, "clicks_per_1000": 1000 * clicks.sum() / visits.sum()}
        row |= {"tests": len(wide), "stories": len(set(story))}
        others = {"over_ab": AB_TEST if name != AB_TEST else "", "over_without": f"{name}|without"}
        for comparison, other in (others | {"over_flat": f"{name}|flat"}).items():
            values = [np.nan] * 4
            if other in wide.columns:
                base = wide[other].to_numpy(dtype=np.float64)
                ratio = clustered_ratio(clicks - base, base, np.asarray(story), confidence=confidence)
                values = [float(part) for part in (ratio.estimate, ratio.low, ratio.high, ratio.p_value)]
            row |= dict(
                zip((comparison, *(f"{comparison}_{end}" for end in ("low", "high", "p"))), values, strict=True)
            )
        rows.append(row)
    return pd.DataFrame(rows)


def vanishing_point(results: pd.DataFrame, comparison: str) -> int | None:
    """Least number of visitors per headline from which on no gain of the best with a model is certain.

    Args:
        results: Rows of one truth.
        comparison: One of `COMPARISONS`.

    Returns:
        None where its gain is certain at the largest number.
    """
    rows = results[results["policy"] == BEST].sort_values("visitors")
    certain = (rows[f"{comparison}_low"] > 0).to_numpy()
    if certain[-1]:
        return None
    last = np.flatnonzero(certain)
    return int(rows["visitors"].iloc[last[-1] + 1 if len(last) else 0])


def remaining(results: pd.DataFrame) -> pd.DataFrame:
    """How much of each gain of the best with a model under the first truth remains under the others.

    Returns:
        Columns `visitors`, `comparison`, `truth`, `gain`, `low`, `high`, `share` (of the first truth's gain; nan where
        that is not certain).
    """
    best = results[results["policy"] == BEST]
    rows = []
    for (visitors, comparison), truths in (
        ((n, comparison), group) for comparison in COMPARISONS for n, group in best.groupby("visitors", sort=True)
    ):
        first = truths.iloc[0]
        certain = first[f"{comparison}_low"] > 0
        for row in truths.to_dict("records"):
            gain = row[comparison]
            rows.append(
                {
                    "visitors": visitors,
                    "comparison": comparison,
                    "truth": row["truth"],
                    "gain": gain,
                    "low": row[f"{comparison}_low"],
                    "high": row[f"{comparison}_high"],
                    "share": gain / first[comparison] if certain else np.nan,
                }
            )
    return pd.DataFrame(rows)
