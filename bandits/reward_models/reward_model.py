"""The reward model: a fine-tuned, calibrated BERT that says how likely a user clicks on an item."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import transformers
from numpy.typing import NDArray

from bandits.reward_models.calibration import Calibrator
from bandits.reward_models.calibrator_choice import fit_calibrator
from bandits.reward_models.click_log import ClickLog
from bandits.reward_models.fit_config import FitConfig
from bandits.reward_models.model_card import model_card
from bandits.reward_models.network import Network
from bandits.reward_models.seen_rows import seen_rows
from bandits.reward_models.split import Split
from bandits.reward_models.training import train
from bandits.reward_models.weights import resolve_weights
from bandits.torch_device import choose_device

FloatArray = NDArray[np.float64]

_RECIPE = 2  # raise it when the same log and config should be fitted anew


class RewardModel:
    """Click probabilities of (user text, item text) pairs.

    Made by `fit` or `load`. The network's logits (`scores`) are not probabilities; the calibrator makes them so. A
    model of a log of tests has scores that mean something inside one test only: `propensities` then takes its items to
    be one test.

    Args:
        network: The fine-tuned network.
        calibrator: Fitted on the calibration rows.
        kind: Kind of the log it was fitted on.
        info: How it was fitted, as plain values: config, weights, history, rows, seconds.
    """

    def __init__(
        self, network: Network, calibrator: Calibrator, kind: Literal["pairs", "tests"], info: Mapping[str, Any]
    ) -> None:
        self.network = network
        self.calibrator = calibrator
        self.kind: Literal["pairs", "tests"] = kind
        self.info = dict(info)

    @classmethod
    def fit(
        cls, log: ClickLog, split: Split, config: FitConfig, *, cache: Path, show_progress: bool = False
    ) -> RewardModel:
        """Fine-tune on the training rows, stop by the validation rows, calibrate on the calibration rows.

        Everything is kept in a folder of `cache` named by what determines the result. A fit that was interrupted goes
        on from its last checkpoint; one that was finished is loaded.

        Args:
            log: The click log.
            split: Its parts, from `split_log`.
            config: Hyperparameters. `loss` must be `within_test` for a log of tests, and `binomial` otherwise.
            cache: Folder for fits.
            show_progress: Show a progress bar.

        Raises:
            ValueError: When `config.loss` does not suit the log.
            FileNotFoundError: When BERT's weights are not to be found.
        """
        expected = "within_test" if log.kind == "tests" else "binomial"
        if config.loss != expected:
            raise ValueError(
                f"`loss` must be {expected!r} for a log of {log.kind}"
                + (": only differences inside a test are causal" if log.kind == "tests" else "")
                + f". Got {config.loss!r}."
            )
        train_rows = _subset(split.train, split.by, config.max_train_rows, config.seed)
        weights = resolve_weights(config.weights, texts=sorted({*train_rows["user_text"], *train_rows["item_text"]}))
        device = choose_device(config.device)
        folder = cache / f"fit-{_fit_hash(split, config, weights.sha256, device)[:20]}"
        if (folder / "model").is_dir():
            return cls.load(folder / "model", device=config.device)
        network = Network.from_weights(weights, max_length=config.max_length, device=device, seed=config.seed)
        started = time.monotonic()
        history = train(network, train_rows, split.validation, config, folder / "checkpoints", show=show_progress)
        calibrator, losses = _calibrate(network, log, split, config)
        info = {
            "config": config.model_dump(exclude={"scoring", "evaluation"}),
            "calibration": {"method": calibrator.method, "cross_validated": losses},
            "weights": {"name": weights.name, "source": weights.source, "sha256": weights.sha256},
            "log": {"name": log.name, "content_hash": log.content_hash, "kind": log.kind},
            "seen": seen_rows(split, log.kind),
            "rows": {name: len(part) for name, part in split.parts.items()} | {"trained_on": len(train_rows)},
            "split_by": split.by,
            "history": history,
            "device": device.type,
            "seconds": {
                "training": history[-1]["seconds"],
                "calibration": time.monotonic() - started - history[-1]["seconds"],
            },
        }
        model = cls(network, calibrator, log.kind, info)
        model.save(folder / "model")
        shutil.rmtree(folder / "checkpoints")
        return model

    def scores(self, user_texts: Sequence[str], item_texts: Sequence[str]) -> FloatArray:
        """Uncalibrated logits of rows of user text ("" if none) and item text, shape (n,), in float32."""
        if len(user_texts) != len(item_texts):
            raise ValueError(
                f"`user_texts` must be as many as `item_texts`. Got {len(user_texts)} and {len(item_texts)}."
            )
        return self.network.logits(self.network.pair_tokenizer.rows(user_texts, item_texts))

    def propensities(self, user_texts: Sequence[str], item_texts: Sequence[str]) -> FloatArray:
        """Click probability of each user on each item, shape (U, K), in float32."""
        scores = self.network.logits(self.network.pair_tokenizer.product(user_texts, item_texts))
        return self.calibrator(scores.reshape(len(user_texts), len(item_texts)))

    @cached_property
    def network_fingerprint(self) -> str:
        """SHA-256 of all that determines `scores`."""
        return self.network.fingerprint()

    def fingerprint(self) -> str:
        """SHA-256 of all that determines `propensities`: weights, tokenizer, template, calibrator."""
        return hashlib.sha256(f"{self.network_fingerprint} {self.calibrator.content_hash}".encode()).hexdigest()

    def save(self, folder: Path, *, evaluation: Mapping[str, Any] | None = None) -> None:
        """Write weights as safetensors, tokenizer, `calibrator.json`, `reward_model.json` and a model card.

        With an evaluation (see `evaluate`), `metrics.json` too, and its numbers in the card. The folder gets its name
        only when it is complete; an older one of that name is replaced.
        """
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        self.network.save(unfinished)
        self.calibrator.save(unfinished / "calibrator.json")
        header = {
            "kind": self.kind,
            "max_length": self.network.max_length,
            "tensors": self.network.weights_hash(),
            "info": self.info,
        }
        (unfinished / "reward_model.json").write_text(json.dumps(header, indent=1), encoding="utf-8")
        if evaluation is not None:
            (unfinished / "metrics.json").write_text(json.dumps(evaluation, indent=1), encoding="utf-8")
        (unfinished / "README.md").write_text(model_card(self.kind, self.info, evaluation), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> RewardModel:
        """Read a model that `save` wrote.

        Raises:
            FileNotFoundError: When there is no model in `folder`.
            ValueError: When its weights or calibrator are not those that were saved.
        """
        if not (folder / "reward_model.json").is_file():
            raise FileNotFoundError(
                f"`folder` must hold a saved reward model. Got {folder}, without reward_model.json."
            )
        header = json.loads((folder / "reward_model.json").read_text(encoding="utf-8"))
        network = Network.load(folder, max_length=header["max_length"], device=choose_device(device))
        if network.weights_hash() != header["tensors"]:
            raise ValueError(f"The weights in {folder} must have hash {header['tensors']}. Got others: damaged?")
        return cls(network, Calibrator.load(folder / "calibrator.json"), header["kind"], header["info"])


def _calibrate(network: Network, log: ClickLog, split: Split, config: FitConfig) -> tuple[Calibrator, dict[str, float]]:
    rows = split.calibration
    logits = network.logits(network.pair_tokenizer.rows(rows["user_text"].tolist(), rows["item_text"].tolist()))
    impressions, clicks = (rows[column].to_numpy(dtype=np.float64) for column in ("impressions", "clicks"))
    if log.kind == "pairs":
        groups = rows[split.by].tolist()
        return fit_calibrator(config.calibration, logits, impressions, clicks, groups, seed=config.seed)
    seen = pd.concat([split.train, split.validation, split.calibration])
    base_rate = seen["clicks"].sum() / seen["impressions"].sum()
    contrast = pd.factorize(rows["contrast"])[0].astype(np.int64)
    return Calibrator.fit_within_tests(logits, impressions, clicks, contrast, base_rate=float(base_rate)), {}


def _subset(rows: pd.DataFrame, by: str, limit: int | None, seed: int) -> pd.DataFrame:
    """Whole groups in a random order until `limit` rows are reached; all rows when there is no limit."""
    if limit is None or len(rows) <= limit:
        return rows
    groups = np.random.default_rng(seed).permutation(np.sort(rows[by].unique()))
    rank = rows[by].map({group: place for place, group in enumerate(groups)})
    sizes = rank.value_counts().sort_index().cumsum()
    return rows[rank < max(1, int((sizes <= limit).sum()))].reset_index(drop=True)


def _fit_hash(split: Split, config: FitConfig, weights_hash: str, device: torch.device) -> str:
    parts = [
        str(_RECIPE),
        split.content_hash,
        config.model_dump_json(exclude={"device", "weights", "checkpoint_steps", "scoring", "evaluation"}),
        weights_hash,
        device.type,
        torch.__version__,
        transformers.__version__,
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
