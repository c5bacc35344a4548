"""Trials of a reward model: each is fitted on the training rows and judged on the validation rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits import reward_models as models  # by name, so that a log is read before torch is loaded
from bandits.reward_models.fit_config import NO_PART_OF_A_FIT
from bandits.reward_models.within_test import log_shares
from bandits.statistics import clustered_ratio
from experiments import provenance
from experiments.cells import hash_of
from experiments.config import LoadedConfig
from experiments.learned_worlds import read_source, weights_in
from experiments.progress import Reporter
from experiments.run_folder import write_text
from experiments.tuning.compared import Compared
from experiments.tuning.config import LoadedTuning

FloatArray = NDArray[np.float64]


class Losses(NamedTuple):
    """Log loss of rows before calibration, in nats: `loss.sum() / weight.sum()` is per impression, or per click.

    Attributes:
        loss: Of each row: of its impressions, or in a log of tests of its clicks given those of its contrast.
        weight: Impressions, or clicks.
    """

    loss: FloatArray
    weight: FloatArray

    def mean(self) -> float:
        """Loss per impression or click."""
        return float(self.loss.sum() / self.weight.sum())


class ModelTrials:
    """Fits reward models on one split of one log.

    Args:
        loaded: The search; the split's seed is that of its experiment's `reward_model`.
        storage: Folder of the values of finished trials, and of the fit that is under way.
        cache: Folder of finished fits, for those that are worth keeping.
        reporter: Who tells the progress.
    """

    def __init__(self, loaded: LoadedTuning, storage: Path, cache: Path, reporter: Reporter) -> None:
        experiment = loaded.experiment.config
        self._config = loaded.config
        self._log = read_source(experiment).log
        self.split = models.split_log(self._log, seed=_fit_config(loaded.experiment).seed)
        self._split_hash = self.split.content_hash
        self._storage, self._cache, self._reporter = storage, cache, reporter

    def value(self, loaded: LoadedConfig) -> float | None:
        """Log loss on the validation rows, before calibration; None where the fit diverges.

        It does not depend on the training loss, so settings of that can be compared too. The fit itself is thrown away
        when its loss is known; one that is interrupted goes on from its checkpoint.
        """
        fit = _fit_config(loaded).model_copy(update={"seed": self._config.search.seed})
        described = fit.model_dump(mode="json", exclude={*NO_PART_OF_A_FIT, "checkpoint_steps", "device"})
        made_of = [
            self._split_hash,
            described,
            weights_in(fit.weights),
            weights_in(fit.teacher, "reward_model.json"),
            provenance.modeling_hash(),
        ]
        file = self._storage / f"{hash_of(made_of)}.json"
        stored = self._stored(file)
        if stored is None:
            under_way = self._storage / "fits"
            try:
                loss: float | None = row_losses(self._fit(fit, under_way), self.split.validation).mean()
            except FloatingPointError:
                loss = None
            stored = {"validation_loss": loss, "reward_model": described}
            self._storage.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(stored, indent=1))
            shutil.rmtree(under_way, ignore_errors=True)
        found: float | None = stored["validation_loss"]
        return found

    def evaluate(self, best: LoadedConfig, base: LoadedConfig) -> list[Compared]:
        """Best beside base, fitted under the evaluation's seed, on the test rows.

        The interval of the difference is over what the split kept together. Both losses have the same weights, so the
        difference of the means is a mean of paired differences. Fits are kept where a run of the same config finds
        them.

        Raises:
            ValueError: When a fit diverges.
        """
        ours, theirs = (self._test_losses(_fit_config(each)) for each in (best, base))
        units = self.split.test[self.split.by].tolist()
        extra = clustered_ratio(ours.loss - theirs.loss, ours.weight, units)
        ends = (float(value) for value in (extra.estimate, extra.low, extra.high))
        return [Compared("reward model", "test rows", theirs.mean(), ours.mean(), *ends)]

    def _test_losses(self, fit: models.FitConfig) -> Losses:
        seed = self._config.evaluation.seed
        try:
            model = self._fit(fit.model_copy(update={"seed": seed}), self._cache)
        except FloatingPointError as error:
            raise ValueError(f"The fit with seed {seed}, for the evaluation, diverged: {error}") from error
        return row_losses(model, self.split.test)

    def _stored(self, file: Path) -> dict[str, Any] | None:
        """What an earlier trial came to; None where there is none, or where its file is damaged."""
        if not file.exists():
            return None
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(stored["validation_loss"], float | None):
                raise ValueError("its loss is not a number")
        except (ValueError, KeyError, TypeError) as error:
            self._reporter.warn(f"the stored trial {file.name} is damaged and is fitted again: {error}.")
            return None
        return dict(stored)

    def _fit(self, fit: models.FitConfig, cache: Path) -> models.RewardModel:
        show = self._reporter.on_terminal
        # An ensemble's members have the same hyperparameters: the first is judged for all.
        alone = fit.model_copy(update={"members": 1})
        return models.RewardModel.fit(self._log, self.split, alone, cache=cache, show_progress=show)


def row_losses(model: models.RewardModel, rows: pd.DataFrame) -> Losses:
    """Losses of rows of `ClickLog.pairs`."""
    z = model.scores(rows["user_text"].tolist(), rows["item_text"].tolist())
    shown, clicks = (rows[column].to_numpy(dtype=np.float64) for column in ("impressions", "clicks"))
    if model.kind == "tests":
        contrast = pd.factorize(rows["contrast"])[0].astype(np.int64)
        return Losses(-clicks * log_shares(z, shown, contrast), clicks)
    return Losses(shown * np.logaddexp(0.0, z) - clicks * z, shown)


def _fit_config(loaded: LoadedConfig) -> models.FitConfig:
    assert loaded.config.reward_model is not None
    return loaded.config.reward_model
