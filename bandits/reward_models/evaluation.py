"""The reward model beside its baselines, on test rows that nothing else has seen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import logit

from bandits.reward_models import comparison, metrics
from bandits.reward_models.baselines import ClickBaseline, contrasts, counts
from bandits.reward_models.baselines.fitting import MAX_ROWS, Parts, click_baselines, within_test_baselines
from bandits.reward_models.calibration import Calibrator
from bandits.reward_models.calibration_report import calibration_report, observed_over_predicted
from bandits.reward_models.calibrator_choice import fit_calibrator
from bandits.reward_models.ensemble import AnyRewardModel, RewardEnsemble
from bandits.reward_models.fit_config import EvaluationConfig
from bandits.reward_models.outcome_heads import judge_outcomes
from bandits.reward_models.reward_model import RewardModel
from bandits.reward_models.segments import halves_of_time, segment_of
from bandits.reward_models.split import Split, whole_groups
from bandits.reward_models.within_test import FloatArray, IntArray, conditional_log_loss, expected_rates

BERT, BASE_RATE, NO_DIFFERENCE = "BERT", "base rate", "no difference"
_MAX_ITEMS = 50
_SURE = 1e-9  # no baseline may be surer of a click, or of none: it would have no log-odds to calibrate


class _Judged(NamedTuple):
    """All models on the test rows, by name.

    Attributes:
        rates: Calibrated click rates (tests: those expected given each contrast's clicks), shape (n,).
        inside: For tests: numbers of how their scores compare items.
        leads: BERT's leads over each baseline, by measure.
        left_out: Baselines that are not there, and why.
    """

    rates: dict[str, FloatArray]
    inside: dict[str, dict[str, float | int | None]]
    leads: dict[str, dict[str, comparison.Lead]]
    left_out: dict[str, str]


def evaluate(
    model: AnyRewardModel,
    split: Split,
    config: EvaluationConfig | None = None,
    *,
    segments: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Quality of BERT and of simpler models on `split.test`, and whether BERT beats each of them for certain.

    For a log of pairs the numbers are of predicted click rates, and the simplest model is the base rate. In a log of
    tests only differences inside a contrast are predicted, so each contrast's own click rate is taken as known, the
    rates are those expected given it (`within_test.expected_rates`), and the simplest model says that items do not
    differ; the numbers also hold the pairwise accuracy. All models are fitted, tuned and calibrated on the same parts:
    baselines on the very rows that BERT was, but on whole groups of at most `MAX_ROWS` (100,000) rows.

    Args:
        model: The fitted model.
        split: The split it was fitted on.
        config: What is asked beside all this; `EvaluationConfig()` by default.
        segments: Name of a segment of users to a pattern in their texts, as in `segment_of`; for a log of pairs.

    Returns:
        Plain values: `kind`, `split_by`, `rows` by part, `models` (name to numbers), `left_out` (baseline to the reason
        why it is not there), `leads` (baseline to measure to fields of `Lead`: BERT's lead over it, its units the
        values of `split.by`), `unbeaten` (baselines over which a lead is not certain), `reliability` (bins of BERT),
        `calibration` (BERT's `calibration_report`, with the same units; its parts are segments and earlier and later
        rows, for pairs), `classification` (name to precision, recall and F1 at `config.threshold`, empty without one),
        `by_item` (BERT's predicted and the observed rate of the most shown items, for pairs), `outcomes` (as in
        `judge_outcomes`; empty for a log without conversions), `members` (of an ensemble: each one's `log_loss`, and
        `overall` as in `calibration`), `seconds`.

    Raises:
        ValueError: When `config` has a threshold, or there are `segments`, and the model was fitted on tests.
    """
    config = config or EvaluationConfig()
    if model.kind == "tests":
        _refuse_levels(config, segments)
    started = time.monotonic()
    members = model.members if isinstance(model, RewardEnsemble) else (model,)
    texts = split.test["user_text"].tolist(), split.test["item_text"].tolist()
    own = [member.scores(*texts) for member in members]
    test: FloatArray = np.mean(own, axis=0)
    scored = time.monotonic()
    fit = _fitted_rows(model, split)
    rates, inside, leads, left_out = (_judge_pairs if model.kind == "pairs" else _judge_tests)(model, split, fit, test)
    owner = "user_text" if model.kind == "pairs" else "contrast"
    numbers = {name: _summary(p, split.test, owner) | inside.get(name, {}) for name, p in rates.items()}
    shown, units = counts(split.test), split.test[split.by].tolist()
    parts = _parts(split.test, segments or {}) if model.kind == "pairs" else {}
    return {
        "kind": model.kind,
        "split_by": split.by,
        "rows": {name: len(part) for name, part in split.parts.items()} | {"baselines": len(fit.train)},
        "models": numbers,
        "left_out": left_out,
        "leads": {name: {key: asdict(lead) for key, lead in found.items()} for name, found in leads.items()},
        "unbeaten": comparison.unbeaten(leads),
        "reliability": metrics.bins_as_dicts(metrics.reliability(rates[BERT], *shown)),
        "calibration": calibration_report(rates[BERT], *shown, units, _owner(split.test, owner), parts),
        "classification": {
            name: asdict(metrics.classification(p, *shown, threshold=config.threshold))
            for name, p in rates.items()
            if config.threshold is not None
        },
        "by_item": _by_item(rates[BERT], split.test) if model.kind == "pairs" else [],
        "outcomes": _outcomes(model, split),
        "members": [_of_member(*one, split) for one in zip(members, own, strict=True) if len(members) > 1],
        "seconds": {
            **model.info["seconds"],
            "evaluation of BERT": scored - started,
            "baselines": time.monotonic() - scored,
        },
    }


def _outcomes(model: AnyRewardModel, split: Split) -> dict[str, Any]:
    """How well what follows clicks is predicted, where the log says it."""
    if isinstance(model, RewardEnsemble) or model.outcomes is None:
        return {}
    found = model.outcome_rates(split.test["user_text"].tolist(), split.test["item_text"].tolist())
    return judge_outcomes(found, found["click"], split)


def _of_member(member: RewardModel, scores: FloatArray, split: Split) -> dict[str, Any]:
    """How well a member's own rates fit the test rows."""
    shown = counts(split.test)
    if member.kind == "pairs":
        rates = member.calibrator(scores)
    else:
        rates = expected_rates(member.calibrator.slope * scores, *shown, contrasts(split.test))
    overall = observed_over_predicted(rates, *shown, split.test[split.by].tolist())
    return {"log_loss": metrics.log_loss(rates, *shown), "overall": asdict(overall)}


def _refuse_levels(config: EvaluationConfig, segments: Mapping[str, str] | None) -> None:
    """Refuse what needs click rates or users, of a model that knows differences inside tests only."""
    if config.threshold is not None:
        raise ValueError(
            f"`threshold` must be None for a model of tests: its scores have no level. Got {config.threshold}."
        )
    if segments:
        raise ValueError(f"`segments` must be empty for a model of tests: it has no users. Got {', '.join(segments)}.")


def _fitted_rows(model: AnyRewardModel, split: Split) -> Parts:
    """The rows that baselines are made from: of the training rows, those that BERT was fitted on."""
    config = model.info["config"]
    limit = min(config["max_train_rows"] or MAX_ROWS, MAX_ROWS)
    train = whole_groups(split.train, split.by, limit, config["seed"])
    validation = whole_groups(split.validation, split.by, MAX_ROWS, config["seed"])
    return Parts(train, validation, pd.concat([split.calibration, split.test]))


def _judge_pairs(model: AnyRewardModel, split: Split, fit: Parts, test: FloatArray) -> _Judged:
    config, rows = model.info["config"], split.calibration
    base_rate = split.train["clicks"].sum() / split.train["impressions"].sum()
    rates = {BERT: model.calibrator(test), BASE_RATE: np.full(len(split.test), base_rate)}
    fitted, left_out = click_baselines(fit, weights=config["weights"], device=config["device"], seed=config["seed"])
    for name, baseline in fitted.items():
        held, judged = (_log_odds(baseline, part) for part in (rows, split.test))
        groups = rows[split.by].tolist()
        calibrator, _ = fit_calibrator(config["calibration"], held, *counts(rows), groups, seed=config["seed"])
        rates[name] = calibrator(judged)
    shown, units = counts(split.test), split.test[split.by].tolist()
    leads = {
        name: {"log_loss": comparison.lead_in_log_loss(rates[BERT], p, *shown, units)}
        for name, p in rates.items()
        if name != BERT
    }
    return _Judged(rates, {}, leads, left_out)


def _log_odds(baseline: ClickBaseline, rows: pd.DataFrame) -> FloatArray:
    """Log-odds of rows, some at a time: their features may be many."""
    starts = range(0, len(rows), MAX_ROWS)
    rates = np.concatenate([baseline.rates(rows[start : start + MAX_ROWS]) for start in starts])
    odds: FloatArray = logit(np.clip(rates, _SURE, 1 - _SURE))
    return odds


def _judge_tests(model: AnyRewardModel, split: Split, fit: Parts, test: FloatArray) -> _Judged:
    config, rows = model.info["config"], split.calibration
    scores = {BERT: _calibrated_inside(model, split.test, test), NO_DIFFERENCE: np.zeros(len(test))}
    fitted, left_out = within_test_baselines(
        fit, overdispersion=config["overdispersion"], weights=config["weights"], device=config["device"]
    )
    for name, baseline in fitted.items():
        held = baseline.scores(rows)
        calibrator = Calibrator.fit_within_tests(held, *counts(rows), contrasts(rows), base_rate=0.5)
        scores[name] = calibrator.slope * baseline.scores(split.test)
    tests = (*counts(split.test), contrasts(split.test))
    units = split.test[split.by].tolist()
    leads = {
        name: {
            "conditional_log_loss": comparison.lead_in_conditional_loss(scores[BERT], values, *tests, units),
            "pairwise_accuracy": comparison.lead_in_pairwise_accuracy(scores[BERT], values, *tests, units),
            "pairwise_accuracy_significant": comparison.lead_in_pairwise_accuracy(
                scores[BERT], values, *tests, units, significant=True
            ),
        }
        for name, values in scores.items()
        if name != BERT
    }
    rates = {name: expected_rates(values, *tests) for name, values in scores.items()}
    return _Judged(rates, {name: _compared(values, *tests) for name, values in scores.items()}, leads, left_out)


def _calibrated_inside(model: AnyRewardModel, rows: pd.DataFrame, scores: FloatArray) -> FloatArray:
    """Calibrated log-odds, whose differences inside a contrast count, shape (n,)."""
    odds = np.empty(len(scores))
    for members in rows.groupby("contrast", sort=False).indices.values():
        odds[members] = logit(model.calibrator(scores[members]))
    return odds


def _parts(rows: pd.DataFrame, segments: Mapping[str, str]) -> dict[str, list[str]]:
    """What observed over predicted clicks are told by: segments of users where there are any, and time."""
    parts = {}
    if segments:
        parts["segment"] = [segment_of(text, segments) for text in rows["user_text"]]
    if halves := halves_of_time(rows):
        parts["time"] = halves
    return parts


def _summary(p: FloatArray, rows: pd.DataFrame, owner: str) -> dict[str, float | int | None]:
    return metrics.summary(p, *counts(rows), _owner(rows, owner))


def _owner(rows: pd.DataFrame, column: str) -> IntArray:
    return pd.factorize(rows[column])[0].astype(np.int64)


def _compared(
    scores: FloatArray, impressions: FloatArray, clicks: FloatArray, contrast: IntArray
) -> dict[str, float | int | None]:
    found = metrics.pairwise_accuracy(scores, impressions, clicks, contrast)
    return {
        "conditional_log_loss": conditional_log_loss(scores, impressions, clicks, contrast),
        "pairwise_accuracy": found.accuracy,
        "pairs": found.pairs,
        "pairwise_accuracy_significant": found.accuracy_significant,
        "pairs_significant": found.pairs_significant,
    }


def _by_item(p: FloatArray, rows: pd.DataFrame) -> list[dict[str, float | str]]:
    """Predicted and observed rate of each item; the most shown first."""
    frame = rows.assign(expected=p * rows["impressions"])
    total = frame.groupby("item_text")[["impressions", "clicks", "expected"]].sum()
    total = total.sort_values("impressions", ascending=False, kind="stable").head(_MAX_ITEMS)
    return [
        {"item": str(item), "impressions": float(n), "observed": float(c / n), "predicted": float(e / n)}
        for item, n, c, e in total.itertuples()
    ]
