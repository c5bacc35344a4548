"""A language model that reads the texts of visitor and arm, fitted by LoRA."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from bandits import reward_models  # by name, so that torch is loaded when a model is to be fitted
from bandits.core import Context, FloatArray, IntArray, Problem
from bandits.memory import array_bytes
from bandits.reward_models.fit_config import FitConfig
from policies.refitted.visit_log import Visits

FIELDS = (
    *("weights", "sha256", "architecture", "pooling", "dropout", "rank", "alpha", "targets", "epochs"),
    *("learning_rate", "layer_decay", "schedule", "batch_size", "accumulation", "max_length", "warmup"),
    *("weight_decay", "average_weights", "precision", "device"),
)
"""Fields of `FitConfig` that decide how LoRA is fitted; the others have no part in a refit."""

_LEARNING_RATE = 1e-3  # 1e-4, the default, suits full fine-tuning: see the ablation in docs/fine-tuning.md


def lora_config(settings: Mapping[str, Any]) -> FitConfig:
    """`FitConfig` for a refit.

    Args:
        settings: Names out of `FIELDS` to values; the defaults are those of `FitConfig`, with a `learning_rate` of
            0.001.

    Raises:
        TypeError: When they are no mapping.
        ValueError: When there is another name, or a value is out of range.

    >>> lora_config({"rank": 4}).learning_rate
    0.001
    """
    if not isinstance(settings, Mapping):
        raise TypeError(f"`lora` must be fields of FitConfig by name. Got {settings!r}.")
    for name in settings:
        if name not in FIELDS:
            raise ValueError(f"`lora` must hold {', '.join(FIELDS)} only. Got {name!r}.")
    try:
        return FitConfig.model_validate({"learning_rate": _LEARNING_RATE, **settings, "tuning": "lora"})
    except ValidationError as error:
        first = error.errors()[0]
        field, wanted = ".".join(map(str, first["loc"])), first["msg"].partition(" should ")[2]
        raise ValueError(f"`lora.{field}` must {wanted}. Got {first['input']!r}.") from None


class LoraLearner:
    """The `Learner` whose parameters are the log-odds of a click of every user on every arm, U K numbers.

    A refit adds the visits up to pairs of user and arm, fits LoRA and a head to them, starting from the pretrained
    weights, and has all pairs scored: visitors are looked up.

    Args:
        problem: Its arms have texts. Users without texts, and anonymous ones, are all read as an empty text.
        config: Hyperparameters, from `lora_config`.

    Raises:
        ModuleNotFoundError: When peft is not installed.
        FileNotFoundError: When the weights are not to be found.
        ValueError: When the problem has no texts, or not one for each user and arm.
    """

    user_dim, arm_dim = 1, 0

    def __init__(self, problem: Problem, config: FitConfig) -> None:
        if not problem.arm_texts:
            raise ValueError(
                "RefittedModel with `model` 'lora' needs arms with texts, the same ones in all replications "
                "(`Problem.arm_texts`). Got a problem without."
            )
        texts = problem.user_texts or ("",)
        self._has_texts = bool(problem.user_texts)
        self._shape = len(texts), len(problem.arm_texts)
        expected = problem.num_users if self._has_texts else 1, problem.num_arms
        if self._shape != expected:
            raise ValueError(f"`Problem` must have texts of {expected} users and arms. Got {self._shape}.")
        if importlib.util.find_spec("peft") is None:
            raise ModuleNotFoundError(
                "`model` must be 'head' without the library peft: `pip install 'click-bandits[adapters]'`. Got 'lora'."
            )
        self.size = self._shape[0] * self._shape[1]
        self._refitter = reward_models.Refitter(texts, problem.arm_texts, config)

    def seen(self, context: Context, chosen: IntArray) -> tuple[FloatArray, FloatArray]:
        """Who the visitor is."""
        return self._row(context)[:, np.newaxis].astype(np.float64), np.empty((len(chosen), 0))

    def fit(self, visits: Visits, weight: FloatArray, start: FloatArray, seed: int) -> FloatArray:
        """A new fit, which begins with the pretrained weights wherever the last one ended."""
        pair = visits.user[:, 0].astype(np.int64) * self._shape[1] + visits.chosen
        sums = np.zeros((self.size, 2))
        np.add.at(sums, pair, np.column_stack([weight, weight * visits.reward]))
        impressions, clicks = sums.T.reshape(2, *self._shape)
        return self._refitter.logits(impressions, clicks, seed).ravel()

    def scores(self, models: FloatArray, context: Context) -> FloatArray:
        """The rows of the visitors."""
        tables = models.reshape(*models.shape[:2], *self._shape)
        scores: FloatArray = tables[np.arange(len(tables)), :, self._row(context)]
        return scores

    def bytes_of_fit(self, visits: int) -> int:
        """The visits added up, and the pairs with their texts; the network's own memory is not counted."""
        return array_bytes([(8, self.size), (3, visits)])

    def _row(self, context: Context) -> IntArray:
        return context.user_id if self._has_texts else np.zeros_like(context.user_id)
