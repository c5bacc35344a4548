"""The reward model: a fine-tuned, calibrated BERT that says how likely a user clicks on an item."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import transformers
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bandits.reward_models.calibration import Calibrator
from bandits.reward_models.calibrator_choice import calibrate
from bandits.reward_models.click_log import ClickLog
from bandits.reward_models.fit_config import NO_PART_OF_A_FIT, FitConfig
from bandits.reward_models.inference import training_precision
from bandits.reward_models.model_folder import replaced, write_about
from bandits.reward_models.network import Network
from bandits.reward_models.outcome_heads import OutcomeHeads, require_outcomes
from bandits.reward_models.seen_rows import seen_rows, unseen
from bandits.reward_models.split import Split, whole_groups
from bandits.reward_models.stability import stability_selection
from bandits.reward_models.training import train
from bandits.reward_models.unlabelled import unlabelled_pairs
from bandits.reward_models.weights import resolve_weights
from bandits.reward_models.within_test import expected_rates
from bandits.torch_device import choose_device

FloatArray = NDArray[np.float64]

_LOG = logging.getLogger(__name__)
_LOCK = "fit.lock"
_RECIPE = 5  # raise it when the same log and config should be fitted anew


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
        outcomes: What follows a click; None where the log does not say.
    """

    def __init__(
        self,
        network: Network,
        calibrator: Calibrator,
        kind: Literal["pairs", "tests"],
        info: Mapping[str, Any],
        outcomes: OutcomeHeads | None = None,
    ) -> None:
        self.network = network
        self.calibrator = calibrator
        self.kind: Literal["pairs", "tests"] = kind
        self.info = dict(info)
        self.outcomes = outcomes

    @classmethod
    def fit(
        cls, log: ClickLog, split: Split, config: FitConfig, *, cache: Path, show_progress: bool = False
    ) -> RewardModel:
        """Fine-tune on the training rows, stop by the validation rows, calibrate on the calibration rows.

        Everything is kept in a folder of `cache` named by what determines the result. A fit that was interrupted goes
        on from its last checkpoint; one that was finished is loaded. Where another process makes the same fit, this one
        waits for it, and says so in the package's log.

        Args:
            log: The click log.
            split: Its parts, from `split_log`.
            config: Hyperparameters. `loss` must be `within_test` or `both` for a log of tests, `binomial` otherwise.
            cache: Folder for fits.
            show_progress: Show a progress bar.

        Raises:
            ValueError: When `config.loss` does not suit the log, `config` asks for several members, the teacher has
                learned rows to judge by, or the log does not have as many further pairs as it is to teach.
            FileNotFoundError: When BERT's weights are not to be found.
        """
        if (config.loss == "binomial") != (log.kind == "pairs"):
            wanted = {
                "pairs": "'binomial' for a log of pairs",
                "tests": "'within_test' or 'both' for a log of tests: only differences inside a test are causal",
            }
            raise ValueError(f"`loss` must be {wanted[log.kind]}. Got {config.loss!r}.")
        if config.members != 1:
            raise ValueError(f"`members` must be 1 for a single model: `fit_reward_model` fits {config.members}.")
        if log.outcomes and config.architecture != "cross":
            raise ValueError(f"`architecture` must be 'cross' for a log of conversions. Got {config.architecture!r}.")
        if log.outcomes and config.teacher is not None:
            raise ValueError(f"`teacher` must be left out for a log of conversions. Got {config.teacher!r}.")
        if config.teacher_pairs and not (log.kind == "pairs" and log.users):
            raise ValueError(
                "`teacher_pairs` must be 0 but for a log of pairs with users, or there are no further pairs. "
                f"Got {config.teacher_pairs} for {log!r}."
            )
        train_rows = whole_groups(split.train, split.by, config.max_train_rows, config.seed)
        if log.outcomes:
            for name, rows in (split.parts | {"train": train_rows}).items():
                require_outcomes(name, rows)
        texts = sorted({*train_rows["user_text"], *train_rows["item_text"]})
        weights = resolve_weights(config.weights, texts=texts, sha256=config.sha256)
        device = choose_device(config.device)
        teacher = None if config.teacher is None else cls.load(Path(config.teacher), device=config.device)
        if teacher is not None:
            _require_same_split(teacher, log, split)
        fingerprint = "" if teacher is None else teacher.fingerprint()
        folder = cache / f"fit-{_fit_hash(log, split, config, weights.sha256 + fingerprint, device)[:20]}"
        if (folder / "model").is_dir():
            return cls.load(folder / "model", device=config.device)
        with _one_fit_at_a_time(folder):
            if (folder / "model").is_dir():  # by the process that held the lock
                return cls.load(folder / "model", device=config.device)
            columns = log.item_columns
            network = Network.from_weights(
                weights,
                max_length=config.max_length,
                device=device,
                seed=config.seed,
                architecture=config.architecture,
                pooling=config.pooling,
                dropout=config.dropout,
                columns=columns and columns.standardised(train_rows["item_text"].tolist()),
            )
            started = time.monotonic()
            fitted_rows = train_rows if teacher is None else _taught(teacher, split, train_rows, config)
            trained = train(network, fitted_rows, split.validation, config, folder / "checkpoints", show=show_progress)
            seconds = trained.history[-1]["seconds"]
            calibrator, losses = _calibrate(network, log, split, config)
            info = {
                "config": config.model_dump(exclude=NO_PART_OF_A_FIT),
                "calibration": {"method": calibrator.method, "cross_validated": losses},
                "weights": {"name": weights.name, "source": weights.source, "sha256": weights.sha256},
                "log": {"name": log.name, "content_hash": log.content_hash, "kind": log.kind},
                "seen": seen_rows(split, log.kind),
                "rows": {name: len(part) for name, part in split.parts.items()} | {"trained_on": len(train_rows)},
                "split_by": split.by,
                "split": split.content_hash,
                "columns": columns and {"numbers": list(columns.numbers), "embeddings": dict(columns.embeddings)},
                "selection": columns and stability_selection(columns, train_rows, config.seed),
                "teacher": None if teacher is None else fingerprint,
                "history": trained.history,
                "parameters": {"trained": trained.trained_parameters, "all": trained.parameters},
                "device": device.type,
                "precision": training_precision(config.precision, device),
                "seconds": {"training": seconds, "calibration": time.monotonic() - started - seconds},
            }
            outcomes = None
            if log.outcomes:
                outcomes = OutcomeHeads.fit(lambda rows: pair_vectors(network, rows), split, train_rows)
            model = cls(network, calibrator, log.kind, info, outcomes)
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

    def outcome_rates(self, user_texts: Sequence[str], item_texts: Sequence[str]) -> dict[str, FloatArray]:
        """What is expected of rows of user text and item text, each of shape (n,).

        Returns:
            `click`; `conversion`, given a click; where the log has values also `value`, of a conversion, and
            `expected_value` of an impression, the product of all three.

        Raises:
            ValueError: When the model was fitted on a log without conversions.
        """
        if self.outcomes is None:
            raise ValueError("`RewardModel.outcome_rates` needs a model fitted on a log with conversions. Got none.")
        rows = pd.DataFrame({"user_text": list(user_texts), "item_text": list(item_texts)})
        found = {"click": self.calibrator(self.scores(user_texts, item_texts))}
        found |= self.outcomes(pair_vectors(self.network, rows))
        if "value" in found:
            found["expected_value"] = found["click"] * found["conversion"] * found["value"]
        return found

    def teach(self, rows: pd.DataFrame, weight: float) -> pd.DataFrame:
        """Rows whose clicks are partly those that this model expects of their impressions, for another to learn from.

        Likelihoods are linear in clicks: to fit the mixture is to add the loss against the log, times `1 - weight`, and
        the loss against the teacher's click rates, times `weight`. In a log of tests the teacher says how the clicks of
        a contrast spread over its items, and leaves their number as it is.

        Args:
            rows: Rows of `ClickLog.pairs`.
            weight: Share of the model in the clicks, from 0 to 1.

        References:
            Hinton, Vinyals, Dean (2015), "Distilling the knowledge in a neural network".
        """
        scores = self.scores(rows["user_text"].tolist(), rows["item_text"].tolist())
        impressions, clicks = (rows[column].to_numpy(dtype=np.float64) for column in ("impressions", "clicks"))
        if self.kind == "pairs":
            rates = self.calibrator(scores)
        else:
            contrast = pd.factorize(rows["contrast"])[0].astype(np.int64)
            rates = expected_rates(self.calibrator.slope * scores, impressions, clicks, contrast)
        return rows.assign(clicks=(1 - weight) * clicks + weight * impressions * rates)

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
        header = {
            "kind": self.kind,
            "max_length": self.network.max_length,
            "tensors": self.network.weights_hash(),
            "columns": None if self.network.columns is None else self.network.columns.content_hash,
            "outcomes": None if self.outcomes is None else self.outcomes.content_hash,
            "adapter": None if self.network.adapter is None else self.network.adapter.sha256(),
            "calibrator": self.calibrator.content_hash,
            "info": self.info,
        }
        with replaced(folder) as unfinished:
            self.network.save(unfinished)
            self.calibrator.save(unfinished / "calibrator.json")
            if self.outcomes is not None:
                self.outcomes.save(unfinished)
            (unfinished / "reward_model.json").write_text(json.dumps(header, indent=1), encoding="utf-8")
            write_about(unfinished, self.kind, self.info, evaluation)

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> RewardModel:
        """Read a model that `save` wrote.

        Raises:
            FileNotFoundError: When there is no model in `folder`.
            ValueError: When its weights or calibrator are not those that were saved, or do not fit each other.
        """
        if not (folder / "reward_model.json").is_file():
            raise FileNotFoundError(
                f"`folder` must hold a saved reward model. Got {folder}, without reward_model.json."
            )
        header = json.loads((folder / "reward_model.json").read_text(encoding="utf-8"))
        network = Network.load(folder, max_length=header["max_length"], device=choose_device(device))
        if network.weights_hash() != header["tensors"]:
            raise ValueError(f"The weights in {folder} must have hash {header['tensors']}. Got others: damaged?")
        found = None if network.adapter is None else network.adapter.sha256()
        if found != header["adapter"]:
            raise ValueError(f"The adapter in {folder} must have hash {header['adapter']}. Got {found}: damaged?")
        wanted, found = header["columns"], None if network.columns is None else network.columns.content_hash
        if found != wanted:
            raise ValueError(f"The items' columns in {folder} must have hash {wanted}. Got {found}: damaged?")
        calibrator = Calibrator.load_expected(folder / "calibrator.json", header["calibrator"])
        outcomes = OutcomeHeads.load(folder)
        wanted, found = header["outcomes"], None if outcomes is None else outcomes.content_hash
        if found != wanted:
            raise ValueError(f"The heads of outcomes in {folder} must have hash {wanted}. Got {found}: damaged?")
        return cls(network, calibrator, header["kind"], header["info"], outcomes)


@contextmanager
def _one_fit_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the lock of a fit's folder, which falls when this process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOG.warning("Another process makes the same fit: waiting until it is done (%s).", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _calibrate(network: Network, log: ClickLog, split: Split, config: FitConfig) -> tuple[Calibrator, dict[str, float]]:
    rows = split.calibration
    logits = network.logits(network.pair_tokenizer.rows(rows["user_text"].tolist(), rows["item_text"].tolist()))
    return calibrate(logits, log, split, config)


def pair_vectors(network: Network, rows: pd.DataFrame) -> FloatArray:
    """What the network makes of rows with `user_text` and `item_text`: vectors that `OutcomeHeads` reads, (n, H)."""
    pairs = network.pair_tokenizer.rows(rows["user_text"].tolist(), rows["item_text"].tolist())
    return network.inference("float32").vectors(pairs)


def _taught(teacher: RewardModel, split: Split, train_rows: pd.DataFrame, config: FitConfig) -> pd.DataFrame:
    """Training rows with the teacher's share in their clicks, and further pairs whose clicks are all its own.

    In a training row the teacher speaks for `teacher_weight` of the impressions. A further pair gets as many as that is
    on average: it counts as much as what the teacher says of a training row, and real clicks count as much as without.
    """
    taught = teacher.teach(train_rows, config.teacher_weight)
    if not config.teacher_pairs:
        return taught
    impressions = config.teacher_weight * float(train_rows["impressions"].mean())
    further = unlabelled_pairs(split, train_rows, config.teacher_pairs, impressions, config.seed)
    return pd.concat([taught[list(further.columns)], teacher.teach(further, 1.0)], ignore_index=True)


def _require_same_split(teacher: RewardModel, log: ClickLog, split: Split) -> None:
    """A teacher that has seen the rows to stop by, to calibrate on or to test on would hand them on."""
    same_log = teacher.info["log"]["content_hash"] == log.content_hash
    if teacher.kind != log.kind or (same_log and teacher.info["split"] != split.content_hash):
        raise ValueError(
            f"`teacher` must be fitted on a log of {log.kind}, and on the same split where the log is the same. "
            f"Got one fitted on {teacher.kind}{' in another split' if teacher.kind == log.kind else ''}."
        )
    known = int((~unseen(split.test, teacher.info["seen"], log.kind)).sum())
    if known:
        raise ValueError(
            f"`teacher` must not have seen the test rows. Got one, fitted on {teacher.info['log']['name']}, that has "
            f"seen {known:,} of {len(split.test):,}."
        )


def _fit_hash(log: ClickLog, split: Split, config: FitConfig, weights_hash: str, device: torch.device) -> str:
    columns = log.item_columns
    without = set() if columns is not None else {"columns_learning_rate"}
    without |= set() if log.outcomes else {"outcome_weight"}
    without |= set() if config.teacher_pairs else {"teacher_pairs"}
    parts = [
        str(_RECIPE),
        split.content_hash,
        config.model_dump_json(
            exclude=NO_PART_OF_A_FIT | without | {"device", "weights", "sha256", "teacher", "checkpoint_steps"}
        ),
        weights_hash,
        device.type,
        training_precision(config.precision, device),
        torch.__version__,
        transformers.__version__,
        *([] if columns is None else [columns.content_hash]),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
