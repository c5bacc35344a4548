"""One network fitted to one set of clicks after another, for whoever learns from a log that still grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit

from bandits.reward_models.fit_config import FitConfig
from bandits.reward_models.inference import training_precision
from bandits.reward_models.network import Network
from bandits.reward_models.training import train
from bandits.reward_models.weights import resolve_weights
from bandits.torch_device import choose_device

FloatArray = NDArray[np.float64]


class Refitter:
    """Fits a network to the clicks of users on items, each time from the pretrained weights.

    So a fit is a function of its clicks and its seed, and not of what was fitted before. Going on from the last fit
    would be cheaper, but networks that are warm-started generalise worse, and what a log no longer holds would live on
    in the weights. Nothing is held out: all `epochs` are trained, and the weights of the epoch after which the loss
    of these clicks was lowest are kept.

    Args:
        user_texts: Length U, at least 1; `[""]` for anonymous users.
        item_texts: Length K, at least 1.
        config: Hyperparameters of a single fit to pairs: `loss` is `binomial`, `members` 1, `teacher` None.

    Raises:
        FileNotFoundError: When the weights are not to be found.
        ValueError: When `config` says something else, or the weights or the device are not what it says.

    References:
        Ash, Adams (2020), "On warm-starting neural network training".
    """

    def __init__(self, user_texts: Sequence[str], item_texts: Sequence[str], config: FitConfig) -> None:
        asked = config.loss, config.members, config.teacher
        if asked != ("binomial", 1, None):
            raise ValueError(
                "`config` must have `loss` 'binomial', `members` 1 and no `teacher`. "
                f"Got {', '.join(map(repr, asked))}."
            )
        self._users, self._items = np.array(user_texts, dtype=object), np.array(item_texts, dtype=object)
        self._config = config.model_copy(update={"patience": config.epochs})
        texts = sorted({*user_texts, *item_texts})
        self._weights = resolve_weights(config.weights, texts=texts, sha256=config.sha256)
        self._device = choose_device(config.device)

    def logits(self, impressions: FloatArray, clicks: FloatArray, seed: int) -> FloatArray:
        """Log-odds of a click for every user on every item, shape (U, K), by a network fitted to these.

        Where nobody clicked, or everybody, there is nothing to tell items apart: all log-odds are those of
        (c + 1/2) / (m + 1) for c clicks and m impressions.

        Args:
            impressions: Weighted impressions of each item among each user's, at least 0, shape (U, K).
            clicks: Their clicks, at most as many, shape (U, K).
            seed: Of the head's first weights, dropout and the order of rows, at least 0.

        Raises:
            FloatingPointError: When the network diverges.
        """
        shown, clicked = float(impressions.sum()), float(clicks.sum())
        if clicked in (0.0, shown):
            return np.full(impressions.shape, logit((clicked + 0.5) / (shown + 1)))
        config = self._config.model_copy(update={"seed": seed})
        network = Network.from_weights(
            self._weights,
            max_length=config.max_length,
            device=self._device,
            seed=seed,
            architecture=config.architecture,
            pooling=config.pooling,
            dropout=config.dropout,
        )
        user, item = np.nonzero(impressions)
        rows = pd.DataFrame(
            {
                "user_text": self._users[user],
                "item_text": self._items[item],
                "impressions": impressions[user, item],
                "clicks": clicks[user, item],
                "contrast": np.arange(len(user)),
            }
        )
        with TemporaryDirectory() as folder:
            train(network, rows, rows, config, Path(folder) / "checkpoints", show=False)
        pairs = network.pair_tokenizer.product(self._users.tolist(), self._items.tolist())
        precision = training_precision(config.precision, self._device)
        return network.logits(pairs, precision).reshape(impressions.shape)
