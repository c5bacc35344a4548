"""Estimates of an arm's difference to the control at the decision, and the tests that decide, over all replications."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bandits import KernelPolicy
from bandits.core import FloatArray
from bandits.statistics import (
    adjust_p_values,
    beta_mixture_difference,
    proportion_difference,
    rate_moments,
    two_proportion_test,
)
from bandits.statistics.effect import wald_effect
from experiments.studies.decisions import BoolArray, Decisions, IntArray
from experiments.studies.watched import CONTROL

SAMPLE_MEANS = "difference of sample means"


class Estimates(NamedTuple):
    """One way to estimate a difference of two click rates, in every replication.

    Attributes:
        name: Of the interval, short, for tables.
        point: Of the estimate in the middle, which several intervals may share.
        method: In words: the estimate, the interval, and what the interval promises.
        estimate: Shape (R,); nan where the data allow none.
        low: Lower end of the interval, shape (R,); nan where the data allow none.
        high: Upper end.
    """

    name: str
    point: str
    method: str
    estimate: FloatArray
    low: FloatArray
    high: FloatArray


def estimates(policy: KernelPolicy, seen: Decisions, arms: IntArray, confidence: float) -> Iterator[Estimates]:
    """Every estimate that there is of the difference between an arm and the control.

    Args:
        policy: What collected the data.
        seen: What it had seen.
        arms: The arm of each replication, shape (R,), not the control.
        confidence: Of each interval.
    """
    rows = np.arange(len(arms))
    clicks, visitors = seen.clicks[rows, arms], seen.visitors[rows, arms]
    control_clicks, control_visitors = seen.clicks[:, CONTROL], seen.visitors[:, CONTROL]
    level = f"{100 * confidence:g} percent"
    fixed = "for a number of visitors fixed beforehand, one comparison, one look"

    first, second = rate_moments(clicks, visitors), rate_moments(control_clicks, control_visitors)
    with np.errstate(invalid="ignore", divide="ignore"):  # an arm without visitors has no rate, hence no difference
        error = np.sqrt(first.variance / visitors + second.variance / control_visitors)
    wald = wald_effect(first.mean - second.mean, error, confidence=confidence, method="Wald")
    yield Estimates(
        "naive, Wald",
        SAMPLE_MEANS,
        f"{SAMPLE_MEANS}, Wald interval, {level}, {fixed}",
        wald.estimate,
        wald.low,
        wald.high,
    )
    newcombe = proportion_difference(clicks, visitors, control_clicks, control_visitors, confidence=confidence)
    yield Estimates(
        "naive, Newcombe",
        SAMPLE_MEANS,
        f"{SAMPLE_MEANS}, Newcombe's interval, {level}, {fixed}",
        newcombe.estimate,
        newcombe.low,
        newcombe.high,
    )
    mixture = beta_mixture_difference(clicks, visitors, control_clicks, control_visitors, confidence=confidence)
    yield Estimates(
        "beta mixture",
        SAMPLE_MEANS,
        f"{SAMPLE_MEANS}, {mixture.method}, {level} at all times at once and for any policy, one comparison",
        mixture.estimate,
        mixture.low,
        mixture.high,
    )
    for weights, (values, errors) in seen.weighted.items():
        effect = wald_effect(values[rows, arms], errors[rows, arms], confidence=confidence, method="AIPW")
        yield Estimates(
            f"AIPW, {weights}",
            f"AIPW, {weights} weights",
            f"AIPW with {weights} weights, normal interval, {level}, asymptotic, at the end, one comparison",
            effect.estimate,
            effect.low,
            effect.high,
        )


def naive_rejections(seen: Decisions, alpha: float) -> BoolArray:
    """Whether the pooled z tests of all arms against the control reject any at level `alpha` after Holm, shape (R,).

    Replications in which an arm or the control had no visitors leave that comparison out.
    """
    others = [k for k in range(seen.visitors.shape[1]) if k != CONTROL]
    p_values = []
    for k in others:
        some = (seen.visitors[:, k] > 0) & (seen.visitors[:, CONTROL] > 0)
        counts = (seen.clicks[:, k], seen.visitors[:, k], seen.clicks[:, CONTROL], seen.visitors[:, CONTROL])
        tested = two_proportion_test(*(np.where(some, count, 1.0) for count in counts))
        p_values.append(np.where(some, tested.p_value, np.nan))
    adjusted = adjust_p_values(np.stack(p_values, axis=1), "holm").p_values
    found: BoolArray = np.any(adjusted <= alpha, axis=1)
    return found
