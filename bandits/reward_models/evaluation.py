"""The reward model beside its baselines, on test rows that nothing else has seen."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from bandits.reward_models import metrics
from bandits.reward_models.baselines import TfidfClicks, TfidfWithinTests, contrasts, counts
from bandits.reward_models.calibration import Calibrator
from bandits.reward_models.calibration_report import calibration_report, observed_over_predicted
from bandits.reward_models.calibrator_choice import fit_calibrator
from bandits.reward_models.ensemble import AnyRewardModel, RewardEnsemble
from bandits.reward_models.fit_config import EvaluationConfig
from bandits.reward_models.reward_model import RewardModel
from bandits.reward_models.split import Split
from bandits.reward_models.within_test import FloatArray, IntArray, expected_rates

BERT = "BERT"
TFIDF = "TF-IDF + logistic regression"
_MAX_ITEMS = 50


def evaluate(model: AnyRewardModel, split: Split, config: EvaluationConfig | None = None) -> dict[str, Any]:
    """Quality of BERT, of TF-IDF with a logistic regression, and of no model at all, on `split.test`.

    For a log of pairs the numbers are of predicted click rates, and the third model is the base rate. In a log of tests
    only differences inside a contrast are predicted, so each contrast's own click rate is taken as known, the rates are
    those expected given it (`within_test.expected_rates`), and the third model says that items do not differ; the
    numbers also hold the pairwise accuracy. All models are fitted, tuned and calibrated on the same parts.

    Args:
        model: The fitted model.
        split: The split it was fitted on.
        config: What is asked beside all this; `EvaluationConfig()` by default.

    Returns:
        Plain values: `kind`, `split_by`, `rows` by part, `models` (name to numbers), `reliability` (bins of BERT),
        `calibration` (BERT's `calibration_report`, its units the values of `split.by`), `classification` (name to
        precision, recall and F1 at `config.threshold`, empty without one), `by_item` (BERT's predicted and the
        observed rate of the most shown items, for pairs), `members` (of an ensemble: each one's `log_loss`, and
        `overall` as in `calibration`), `seconds`.

    Raises:
        ValueError: When `config` has a threshold and the model was fitted on tests.
    """
    config = config or EvaluationConfig()
    if config.threshold is not None and model.kind == "tests":
        raise ValueError(
            f"`threshold` must be None for a model of tests: its scores have no level. Got {config.threshold}."
        )
    started = time.monotonic()
    members = model.members if isinstance(model, RewardEnsemble) else (model,)
    texts = split.test["user_text"].tolist(), split.test["item_text"].tolist()
    own = [member.scores(*texts) for member in members]
    test: FloatArray = np.mean(own, axis=0)
    scored = time.monotonic()
    if model.kind == "pairs":
        rates = _rates_of_pairs(model, split, test)
        numbers = {name: _summary(p, split.test, "user_text") for name, p in rates.items()}
    else:
        scores = _scores_of_tests(model, split, test)
        n, c = counts(split.test)
        rates = {name: expected_rates(values, n, c, contrasts(split.test)) for name, values in scores.items()}
        numbers = {
            name: _summary(rates[name], split.test, "contrast") | _pairwise(values, split.test)
            for name, values in scores.items()
        }
    owner = "user_text" if model.kind == "pairs" else "contrast"
    shown, units = counts(split.test), split.test[split.by].tolist()
    return {
        "kind": model.kind,
        "split_by": split.by,
        "rows": {name: len(part) for name, part in split.parts.items()},
        "models": numbers,
        "reliability": metrics.bins_as_dicts(metrics.reliability(rates[BERT], *shown)),
        "calibration": calibration_report(rates[BERT], *shown, units, _owner(split.test, owner)),
        "classification": {
            name: asdict(metrics.classification(p, *shown, threshold=config.threshold))
            for name, p in rates.items()
            if config.threshold is not None
        },
        "by_item": _by_item(rates[BERT], split.test) if model.kind == "pairs" else [],
        "members": [_of_member(*one, split) for one in zip(members, own, strict=True) if len(members) > 1],
        "seconds": {
            **model.info["seconds"],
            "evaluation of BERT": scored - started,
            "baselines": time.monotonic() - scored,
        },
    }


def _of_member(member: RewardModel, scores: FloatArray, split: Split) -> dict[str, Any]:
    """How well a member's own rates fit the test rows."""
    shown = counts(split.test)
    if member.kind == "pairs":
        rates = member.calibrator(scores)
    else:
        rates = expected_rates(member.calibrator.slope * scores, *shown, contrasts(split.test))
    overall = observed_over_predicted(rates, *shown, split.test[split.by].tolist())
    return {"log_loss": metrics.log_loss(rates, *shown), "overall": asdict(overall)}


def _rates_of_pairs(model: AnyRewardModel, split: Split, test: FloatArray) -> dict[str, FloatArray]:
    base_rate = split.train["clicks"].sum() / split.train["impressions"].sum()
    tfidf = TfidfClicks(split.train, split.validation).rates
    method, seed, rows = model.info["config"]["calibration"], model.info["config"]["seed"], split.calibration
    groups = rows[split.by].tolist()
    calibrator, _ = fit_calibrator(method, logit(tfidf(rows)), *counts(rows), groups, seed=seed)
    return {
        BERT: model.calibrator(test),
        TFIDF: calibrator(logit(tfidf(split.test))),
        "base rate": np.full(len(split.test), base_rate),
    }


def _scores_of_tests(model: AnyRewardModel, split: Split, test: FloatArray) -> dict[str, FloatArray]:
    overdispersion = model.info["config"]["overdispersion"]
    tfidf = TfidfWithinTests(split.train, split.validation, overdispersion=overdispersion).scores
    rows = split.calibration
    calibrator = Calibrator.fit_within_tests(tfidf(rows), *counts(rows), contrasts(rows), base_rate=0.5)
    return {
        BERT: model.calibrator.slope * test,
        TFIDF: calibrator.slope * tfidf(split.test),
        "no difference": np.zeros(len(test)),
    }


def _summary(p: FloatArray, rows: pd.DataFrame, owner: str) -> dict[str, float | int | None]:
    return metrics.summary(p, *counts(rows), _owner(rows, owner))


def _owner(rows: pd.DataFrame, column: str) -> IntArray:
    return pd.factorize(rows[column])[0].astype(np.int64)


def _pairwise(scores: FloatArray, rows: pd.DataFrame) -> dict[str, float | int | None]:
    found = metrics.pairwise_accuracy(scores, *counts(rows), contrasts(rows))
    return {
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
