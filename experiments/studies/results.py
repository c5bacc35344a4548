"""The tidy table of a study: one row per policy, effect and measure, each with its Monte Carlo error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bandits import KernelPolicy
from bandits.core import FloatArray
from experiments.studies import measures
from experiments.studies.config import EffectsStudy
from experiments.studies.decisions import Decisions, IntArray
from experiments.studies.estimators import Estimates, estimates
from experiments.studies.measures import NOTHING, Measured
from experiments.studies.own_inference import rejections
from experiments.studies.watched import CONTROL

COLUMNS = (
    *("policy", "effect", "measure", "estimator", "of", "value", "mc_error", "mc_low", "mc_high", "replications"),
    "method",
)
QUANTILES = (0.1, 0.5, 0.9)
TARGET, WINNER = "target", "shipped"


def tabulate(
    config: EffectsStudy,
    policies: Mapping[str, KernelPolicy],
    decisions: Callable[[str, float], Decisions],
    advance: Callable[[str], None] = lambda text: None,
) -> pd.DataFrame:
    """All operating characteristics of a study.

    Args:
        config: The study.
        policies: The policies by label.
        decisions: Gives what a policy did at an effect.
        advance: Called after each of these.
    """
    rows: list[dict[str, Any]] = []
    for effect in config.world.effects:
        baseline = decisions(config.baseline, effect)
        for label, policy in policies.items():
            seen = baseline if label == config.baseline else decisions(label, effect)
            compared = None if label == config.baseline else baseline
            for row in _of_decisions(policy, seen, compared, config.confidence):
                rows.append({"policy": label, "effect": effect, **row})
            for row in _of_estimates(policy, seen, config.world.target, config.confidence):
                rows.append({"policy": label, "effect": effect, **row})
            advance(f"{label} at {effect:+g}")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _of_decisions(
    policy: KernelPolicy, seen: Decisions, baseline: Decisions | None, confidence: float
) -> Iterator[dict[str, Any]]:
    rejected, method = rejections(policy, seen, 1 - confidence)
    yield _row("rejects", NOTHING if rejected is None else measures.share(rejected), method)
    chosen = "the arm that it ships; the control where it did not decide"
    if not seen.decides:
        chosen = "the arm that it showed most often"
    all_equal = len(seen.best) == len(seen.rates)
    yield _row("ships_new", measures.share(seen.shipped != CONTROL), chosen)
    yield _row("ships_best", NOTHING if all_equal else measures.share(np.isin(seen.shipped, seen.best)), chosen)
    yield _row("ships_worse", measures.share(seen.rates[seen.shipped] < seen.rates[CONTROL]), chosen)
    if seen.decides:
        yield _row("undecided", measures.share(~seen.decided), "share without a decision by the last visitor")
        until = "visitors until the decision; all of them where there was none"
        yield _row("visitors_mean", measures.mean(seen.in_test), until)
        for level in QUANTILES:
            yield _row(f"visitors_q{100 * level:.0f}", measures.quantile(seen.in_test, level), until)
        lost = "expected clicks lost until the decision, against always showing the best arm"
        yield _row("lost_in_test", measures.mean(seen.lost_in_test), lost)
    yield _row("lost", measures.mean(seen.lost), "expected clicks lost over all visitors, against always the best arm")
    if baseline is not None:
        size = min(len(seen.lost), len(baseline.lost))
        saved = measures.relative_saving(seen.lost[:size], baseline.lost[:size])
        yield _row("saving", saved, "1 - clicks lost / clicks that the baseline lost, paired by replication")


def _of_estimates(policy: KernelPolicy, seen: Decisions, target: int, confidence: float) -> Iterator[dict[str, Any]]:
    everywhere = np.full(len(seen.shipped), target, dtype=np.int64)
    yield from _of_estimators(estimates(policy, seen, everywhere, confidence), seen, everywhere, TARGET)
    new = seen.shipped != CONTROL
    if new.sum() > 1:
        shipped = seen.of_rows(new)
        yield from _of_estimators(
            estimates(policy, shipped, shipped.shipped, confidence), shipped, shipped.shipped, WINNER
        )


def _of_estimators(
    all_found: Iterable[Estimates], seen: Decisions, arms: IntArray, of: str
) -> Iterator[dict[str, Any]]:
    truth: FloatArray = seen.rates[arms] - seen.rates[CONTROL]
    points = set()
    for found in all_found:

        def row(measure: str, name: str, measured: Measured, method: str = found.method) -> dict[str, Any]:
            return _row(measure, measured, method, name, of)

        if found.point not in points:
            points.add(found.point)
            error = (found.estimate - truth)[np.isfinite(found.estimate)]
            yield row("bias", found.point, measures.mean(error), found.point)
            yield row("rmse", found.point, measures.root_mean_square(error), found.point)
        bounded = np.isfinite(found.low)
        covered = (found.low <= truth) & (truth <= found.high)
        yield row("coverage", found.name, measures.share(covered[bounded]))
        yield row("half_width", found.name, measures.mean(((found.high - found.low) / 2)[bounded]))
        yield row("no_interval", found.name, measures.share(~bounded))


def _row(measure: str, measured: Measured, method: str, estimator: str = "", of: str = "") -> dict[str, Any]:
    return {
        "measure": measure,
        "estimator": estimator,
        "of": of,
        "value": measured.value,
        "mc_error": measured.error,
        "mc_low": measured.low,
        "mc_high": measured.high,
        "replications": measured.replications,
        "method": method,
    }


def look_up(
    table: pd.DataFrame, policy: str, effect: float, measure: str, estimator: str = "", of: str = ""
) -> Measured:
    """One number of the table; not defined where the table has none."""
    rows = table[
        (table["policy"] == policy)
        & (table["effect"] == effect)
        & (table["measure"] == measure)
        & (table["estimator"] == estimator)
        & (table["of"] == of)
    ]
    if rows.empty:
        return NOTHING
    value, error, low, high = (float(rows[name].iloc[0]) for name in ("value", "mc_error", "mc_low", "mc_high"))
    return Measured(value, error, low, high, int(rows["replications"].iloc[0])) if not math.isnan(value) else NOTHING
