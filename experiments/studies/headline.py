"""The sentence at the top of a study's page, made from its table."""

from __future__ import annotations

import math

import pandas as pd

from experiments.studies.config import EffectsStudy
from experiments.studies.measures import Measured
from experiments.studies.results import TARGET, look_up

ENOUGH_POWER = 0.8
NAIVE = "naive, Wald"


def headline(config: EffectsStudy, table: pd.DataFrame) -> str:
    """What the study says in two or three sentences.

    Args:
        config: The study.
        table: Its results.
    """
    effect = headline_effect(config, table)
    policy = config.headline.policy or _most_saving(config, table, effect)
    setting = f"With {config.world.visitors:,} visitors and a base rate of {100 * config.world.base_rate:g} percent"
    truth = f"an effect of {100 * effect:+g} percentage points"
    words = []
    if policy is None:
        lost = look_up(table, config.baseline, effect, "lost")
        words.append(f"{setting}, {config.baseline} loses {lost.value:,.1f} clicks at {truth}.")
    else:
        saving = look_up(table, policy, effect, "saving")
        coverage = look_up(table, policy, effect, "coverage", NAIVE, TARGET)
        words.append(
            f"{setting}, {policy} {_lost_words(saving)} {config.baseline} at {truth}; "
            f"its naive interval (Wald) {_coverage_words(coverage, config.confidence)}."
        )
        if config.headline.policy is None and len(config.policies) > 2:
            words.append(
                f"{policy} is the one of {len(config.policies) - 1} that saves the most there, by these numbers."
            )
    words += _false_alarms(config, table)
    return " ".join(words)


def headline_effect(config: EffectsStudy, table: pd.DataFrame) -> float:
    """The effect that the headline is about: the least positive one with enough power, else the largest."""
    if config.headline.effect is not None:
        return config.headline.effect
    for effect in config.world.effects:
        if effect > 0 and look_up(table, config.baseline, effect, "rejects").value >= ENOUGH_POWER:
            return effect
    return config.world.effects[-1]


def _most_saving(config: EffectsStudy, table: pd.DataFrame, effect: float) -> str | None:
    savings = {
        label: look_up(table, label, effect, "saving").value for label in config.policies if label != config.baseline
    }
    known = {label: value for label, value in savings.items() if not math.isnan(value)}
    return max(known, key=lambda label: known[label]) if known else None


def _lost_words(saving: Measured) -> str:
    if math.isnan(saving.value):
        return "cannot be compared in clicks lost with"
    low, high = sorted((abs(saving.low), abs(saving.high)))
    if saving.low <= 0 <= saving.high:
        return (
            f"loses as many clicks, as far as {saving.replications:,} replications can tell "
            f"(from {-100 * saving.high:+.1f} to {-100 * saving.low:+.1f} percent), as"
        )
    relation = "fewer" if saving.value > 0 else "more"
    return (
        f"loses {abs(100 * saving.value):.1f} percent {relation} clicks "
        f"(Monte Carlo interval {100 * low:.1f} to {100 * high:.1f}) than"
    )


def _coverage_words(coverage: Measured, confidence: float) -> str:
    if math.isnan(coverage.value):
        return "is not defined"
    return (
        f"covers the true difference in {100 * coverage.value:.1f} percent of the runs (Monte Carlo error "
        f"{100 * coverage.error:.1f}) instead of {100 * confidence:g}"
    )


def _false_alarms(config: EffectsStudy, table: pd.DataFrame) -> list[str]:
    """Where there is a world without an effect: what the tests find there."""
    if 0 not in config.world.effects:
        return []
    found = {label: look_up(table, label, 0, "rejects") for label in config.policies}
    known = {label: rate for label, rate in found.items() if not math.isnan(rate.value)}
    if config.baseline not in known:
        return []
    worst = max(known, key=lambda label: known[label].value)
    words = f"Where there is no effect, {config.baseline} finds one in {_rate(known[config.baseline])} of the runs"
    if worst != config.baseline:
        words += f", {worst} in {_rate(known[worst])}"
    return [words + "."]


def _rate(measured: Measured) -> str:
    return f"{100 * measured.value:.1f} percent (Monte Carlo error {100 * measured.error:.1f})"
