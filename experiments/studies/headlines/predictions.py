"""A click rate for every headline, from a model that saw nothing of its story."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.compiled.specialize import cache_folder
from bandits.reward_models import Calibrator, ClickLog, Split
from bandits.reward_models.split import seen_rate
from experiments.cells import hash_of
from experiments.progress import Reporter
from experiments.studies.headlines.config import HeadlinesStudy
from experiments.studies.headlines.data import HeadlineLog, fold_splits
from experiments.studies.replay_parts import stored_part

FloatArray = NDArray[np.float64]


def predicted_headlines(headlines: HeadlineLog, config: HeadlinesStudy, out: Path, reporter: Reporter) -> pd.DataFrame:
    """The rows of all tests that are played, with what was predicted of them.

    Fits are kept in the cache of fits and predictions in `out`, so that an interrupted study goes on where it was.

    Args:
        headlines: The tests.
        config: The study.
        out: Folder of the predictions.
        reporter: Who tells the progress.

    Returns:
        Rows as in `HeadlineLog`, with `fold`, `predicted` (click rate), `tfidf` (the rate that TF-IDF predicts, which a
        reward model has to beat), `base` (clicks per impression of the stories
        that the model learned from) and `test`, the number of each row's test from 0; a test's rows follow each other.

    Raises:
        FileNotFoundError: When BERT's weights are not to be found.
    """
    parts = []
    for number, split in enumerate(fold_splits(headlines, config.seed), 1):
        with reporter.stage(
            f"Predicting {split.test['contrast'].nunique():,} tests ({number} of {len(headlines.folds)})"
        ):
            base = seen_rate(headlines.log, split)
            rates = {"tfidf": tfidf_rates(split, base, overdispersion=config.reward_model.overdispersion)}
            rates["predicted"] = rates["tfidf"]
            if config.scorer == "reward_model":
                rates["predicted"] = _predicted(headlines.log, split, config, out, reporter)
            parts.append(split.test.assign(**rates, base=base, fold=headlines.fold[split.test.index]))
    rows = pd.concat(parts).sort_index(kind="stable")
    rows["test"] = pd.factorize(rows["contrast"])[0]
    return rows.sort_values("test", kind="stable").reset_index(drop=True)


def _predicted(log: ClickLog, split: Split, config: HeadlinesStudy, out: Path, reporter: Reporter) -> FloatArray:
    """The reward model's click rates of the split's test rows, shape (n,)."""
    from bandits.reward_models import fit_reward_model  # here, so that TF-IDF does not wait for torch

    fit, rows = config.reward_model, split.test
    model = fit_reward_model(log, split, fit, cache=cache_folder(), show_progress=reporter.on_terminal)

    def scored() -> pd.DataFrame:
        scores = model.scores([""] * len(rows), rows["item_text"].tolist())
        return pd.DataFrame({"predicted": calibrated(model.calibrator, scores, rows["contrast"])})

    key = hash_of([model.fingerprint(), rows["contrast"].tolist(), rows["item_text"].tolist()])
    return stored_part(out, key, scored)["predicted"].to_numpy(dtype=np.float64)


def tfidf_rates(split: Split, base: float, *, overdispersion: float) -> FloatArray:
    """Click rates of the split's test rows from TF-IDF features, fitted and calibrated as BERT is, shape (n,).

    Args:
        split: What to learn from and what to predict.
        base: Click rate that predictions have on average (log-odds).
        overdispersion: As in `FitConfig`.
    """
    from bandits.reward_models.baselines import TfidfWithinTests, contrasts, counts

    model = TfidfWithinTests(split.train, split.validation, overdispersion=overdispersion)
    rows = split.calibration
    calibrator = Calibrator.fit_within_tests(model.scores(rows), *counts(rows), contrasts(rows), base_rate=base)
    return calibrated(calibrator, model.scores(split.test), split.test["contrast"])


def calibrated(calibrator: Calibrator, scores: FloatArray, contrast: pd.Series[str]) -> FloatArray:
    """Click rates of scores, each test by itself, shape (n,)."""
    rates = np.empty(len(scores))
    for places in contrast.groupby(contrast.to_numpy()).indices.values():
        rates[places] = calibrator(scores[places])
    return rates
