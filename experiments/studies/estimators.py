"""Estimates of an arm's difference to the control at the decision, over all replications at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bandits import KernelPolicy
from bandits.core import FloatArray
from bandits.statistics import beta_mixture_difference, proportion_difference
from bandits.statistics.effect import wald_effect
from experiments.studies.decisions import Decisions, IntArray
from experiments.studies.own_inference import Counts, own_interval

SAMPLE_MEANS = "difference of sample means"
OWN = "the design's own"


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
    counts = Counts(seen, arms)
    level = f"{100 * confidence:g} percent"
    fixed = "for a number of visitors fixed beforehand, one comparison, one look"

    wald = wald_effect(*counts.difference(), confidence=confidence, method="Wald")
    words = f"{SAMPLE_MEANS}, Wald interval, {level}, {fixed}"
    yield Estimates("naive, Wald", SAMPLE_MEANS, words, wald.estimate, wald.low, wald.high)

    newcombe = proportion_difference(*counts.all, confidence=confidence)
    words = f"{SAMPLE_MEANS}, Newcombe's interval, {level}, {fixed}"
    yield Estimates("naive, Newcombe", SAMPLE_MEANS, words, newcombe.estimate, newcombe.low, newcombe.high)

    own = own_interval(policy, seen, arms)
    if own is not None:
        each = f"{100 * own.confidence:.4g} percent at all looks of the design together"
        words = f"{SAMPLE_MEANS}, {own.method}, {each}, {_comparisons(seen)}"
        yield Estimates(OWN, SAMPLE_MEANS, words, own.estimate, own.low, own.high)

    mixture = beta_mixture_difference(*counts.all, confidence=confidence)
    words = f"{SAMPLE_MEANS}, {mixture.method}, {level} at all times at once and for any policy, one comparison"
    yield Estimates("beta mixture", SAMPLE_MEANS, words, mixture.estimate, mixture.low, mixture.high)

    rows = np.arange(len(arms))
    for weights, (values, errors) in seen.weighted.items():
        effect = wald_effect(values[rows, arms], errors[rows, arms], confidence=confidence, method="AIPW")
        point = f"AIPW, {weights} weights"
        words = f"{point}, normal interval, {level}, asymptotic, at the end, one comparison"
        yield Estimates(f"AIPW, {weights}", point, words, effect.estimate, effect.low, effect.high)


def _comparisons(seen: Decisions) -> str:
    count = len(seen.rates) - 1
    return "one comparison" if count == 1 else f"shared among {count} comparisons (Bonferroni)"
