"""Fine-tuning: a plain loop that can be interrupted anywhere and then goes on as if nothing had happened."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from scipy.special import logit
from torch.nn.functional import binary_cross_entropy_with_logits

from bandits.reward_models import checkpoint, within_test
from bandits.reward_models.fit_config import FitConfig
from bandits.reward_models.network import Network
from bandits.reward_models.pair_tokens import PairTokens

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_BATCHES_SORTED_TOGETHER = 16


@dataclass(frozen=True, eq=False)
class Examples:
    """Tokenized rows with their targets.

    Attributes:
        tokens: Token ids of the rows.
        impressions: Shape (n,), positive.
        clicks: Shape (n,); tempered where the loss is `within_test`.
        contrast: Number of each row's contrast, from 0, shape (n,).
    """

    tokens: PairTokens
    impressions: FloatArray
    clicks: FloatArray
    contrast: IntArray

    @classmethod
    def of(cls, rows: pd.DataFrame, network: Network, config: FitConfig) -> Examples:
        """Tokenize rows of `ClickLog.pairs`."""
        clicks = rows["clicks"].to_numpy(dtype=np.float64)
        contrast = pd.factorize(rows["contrast"])[0].astype(np.int64)
        if config.loss == "within_test":
            clicks = within_test.tempered_clicks(clicks, contrast, config.overdispersion)
        tokens = network.pair_tokenizer.rows(rows["user_text"].tolist(), rows["item_text"].tolist())
        return cls(tokens, rows["impressions"].to_numpy(dtype=np.float64), clicks, contrast)


@dataclass
class Progression:
    """Where a fit stands: all of it goes into a checkpoint.

    Attributes:
        epoch: Epoch that is running, from 0.
        batch: Batches done in it.
        waited: Epochs since the best validation loss.
        best_loss: Lowest validation loss so far.
        train_loss: Sum of the losses of this epoch's batches.
        seconds: Time spent so far.
        history: One entry per finished epoch.
    """

    epoch: int = 0
    batch: int = 0
    waited: int = 0
    best_loss: float = float("inf")
    train_loss: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    network: Network,
    train_rows: pd.DataFrame,
    validation_rows: pd.DataFrame,
    config: FitConfig,
    folder: Path,
    *,
    show: bool,
) -> list[dict[str, float]]:
    """Fine-tune `network` in place, and leave in it the weights of the epoch with the lowest validation loss.

    AdamW with linear warm-up and decay, gradients clipped at norm 1, batches of rows of similar length. `folder` holds
    a checkpoint; when there is one already, the fit goes on from it and ends with the weights it would have had anyway.

    Args:
        network: The network to train.
        train_rows: Rows of `ClickLog.pairs` to fit.
        validation_rows: Rows to stop by.
        config: Hyperparameters.
        folder: Where checkpoints of this fit, and of no other, are kept.
        show: Show a progress bar.

    Returns:
        One entry per epoch: `epoch`, `train_loss`, `validation_loss`, `seconds`.
    """
    fit, stop = (Examples.of(rows, network, config) for rows in (train_rows, validation_rows))
    cuda = [network.device] if network.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(config.seed)
        _prepare(network, fit, config)
        loop = _Loop(network, fit, stop, config, folder)
        with Progress(
            TextColumn("fine-tuning"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps {task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            disable=not show,
        ) as progress:
            loop.run(progress)
    return loop.at.history


def validation_loss(network: Network, examples: Examples, loss: str) -> float:
    """Mean negative log-likelihood in nats: per impression, or per click where the loss is `within_test`."""
    scores = network.logits(examples.tokens, network.training_precision)
    if not np.isfinite(scores).all():
        raise FloatingPointError("The network's logits became infinite or undefined: lower `learning_rate`.")
    if loss == "within_test":
        return within_test.conditional_log_loss(scores, examples.impressions, examples.clicks, examples.contrast)
    total = np.sum(examples.impressions * np.logaddexp(0, scores) - examples.clicks * scores)
    return float(total / examples.impressions.sum())


def binomial_loss(logits: torch.Tensor, impressions: torch.Tensor, clicks: torch.Tensor) -> torch.Tensor:
    """Negative binomial log-likelihood of the batch, without its constant; all of shape (B,)."""
    return binary_cross_entropy_with_logits(logits, clicks / impressions, weight=impressions, reduction="sum")


def within_test_loss(
    logits: torch.Tensor, impressions: torch.Tensor, clicks: torch.Tensor, contrast: torch.Tensor
) -> torch.Tensor:
    """Negative conditional log-likelihood of the batch (see `within_test`); all of shape (B,), contrasts from 0."""
    z = logits + impressions.log()
    contrasts = int(contrast.max()) + 1
    top = z.new_full((contrasts,), -torch.inf).scatter_reduce(0, contrast, z.detach(), "amax")
    total = z.new_zeros(contrasts).index_add(0, contrast, (z - top[contrast]).exp())
    return -(clicks * (z - top[contrast] - total.log()[contrast])).sum()


class _Loop:
    """The state of one fit and the steps that change it."""

    def __init__(self, network: Network, fit: Examples, stop: Examples, config: FitConfig, folder: Path) -> None:
        self.network, self.fit, self.stop, self.config, self.folder = network, fit, stop, config, folder
        self.trained = {name: p for name, p in network.model.named_parameters() if p.requires_grad}
        self.optimizer = _optimizer(self.trained, config)
        self.units = _units(fit, config.loss)
        self.steps_per_epoch = -(-len(self.units) // config.batch_size)
        # One scale for all batches, so that each impression (or click) counts the same wherever it falls.
        weight = fit.clicks if config.loss == "within_test" else fit.impressions
        self.scale = weight.sum() / len(self.units) * config.batch_size
        self.best = {name: p.detach().clone() for name, p in self.trained.items()}
        self.at = Progression()
        stored = checkpoint.load(folder, network.device)
        if stored is not None:
            self._restore(stored)

    def run(self, progress: Progress) -> None:
        """Train until the last epoch, or until validation has not improved for `patience` epochs."""
        config, at = self.config, self.at
        bar = progress.add_task("", total=config.epochs * self.steps_per_epoch)
        started = time.monotonic() - at.seconds
        while at.epoch < config.epochs and at.waited < config.patience:
            batches = self._batches(at.epoch)
            while at.batch < len(batches):
                progress.update(bar, completed=at.epoch * self.steps_per_epoch + at.batch)
                at.train_loss += self._step(batches[at.batch])
                at.batch += 1
                at.seconds = time.monotonic() - started
                if at.batch % config.checkpoint_steps == 0 and at.batch < len(batches):
                    self._save()
            self._end_epoch(time.monotonic() - started)
            self._save()
            progress.update(bar, completed=at.epoch * self.steps_per_epoch, description=_describe(at))
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(self.best[name])

    def _step(self, rows: IntArray) -> float:
        step = self.at.epoch * self.steps_per_epoch + self.at.batch
        rate = self.config.learning_rate * _schedule(
            step, self.config.epochs * self.steps_per_epoch, self.config.warmup
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.model.train()
        logits = self.network.forward(self.fit.tokens.batch(rows, self.network.device))
        impressions, clicks = (self._tensor(values[rows]) for values in (self.fit.impressions, self.fit.clicks))
        if self.config.loss == "within_test":
            contrast = torch.from_numpy(np.unique(self.fit.contrast[rows], return_inverse=True)[1]).to(logits.device)
            loss = within_test_loss(logits, impressions, clicks, contrast) / self.scale
        else:
            loss = binomial_loss(logits, impressions, clicks) / self.scale
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimizer.step()
        return float(loss.detach())

    def _end_epoch(self, seconds: float) -> None:
        at = self.at
        loss = validation_loss(self.network, self.stop, self.config.loss)
        at.history.append(
            {
                "epoch": at.epoch + 1,
                "train_loss": at.train_loss / self.steps_per_epoch,
                "validation_loss": loss,
                "seconds": seconds,
            }
        )
        at.waited += 1
        if loss < at.best_loss:
            at.best_loss, at.waited = loss, 0
            self.best = {name: p.detach().clone() for name, p in self.trained.items()}
        at.epoch, at.batch, at.train_loss, at.seconds = at.epoch + 1, 0, 0.0, seconds

    def _batches(self, epoch: int) -> list[IntArray]:
        """Rows of each batch: units in random order, sorted by length within some batches, so that little is padded."""
        random = np.random.default_rng([self.config.seed, epoch])
        lengths = np.array([self.fit.tokens.lengths[unit].max() for unit in self.units])
        order = random.permutation(len(self.units))
        together = self.config.batch_size * _BATCHES_SORTED_TOGETHER
        batches = []
        for start in range(0, len(order), together):
            block = order[start : start + together]
            block = block[np.argsort(lengths[block], kind="stable")]
            batches += [block[i : i + self.config.batch_size] for i in range(0, len(block), self.config.batch_size)]
        return [
            np.concatenate([self.units[unit] for unit in batches[number]])
            for number in random.permutation(len(batches))
        ]

    def _tensor(self, values: FloatArray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.network.device)

    def _save(self) -> None:
        device = self.network.device
        random = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(device)
        checkpoint.save(self.folder, self.trained, self.best, self.optimizer.state_dict(), random, vars(self.at))

    def _restore(self, stored: checkpoint.Stored) -> None:
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(stored.trained[name])
        self.best = stored.best
        self.optimizer.load_state_dict(stored.optimizer)
        torch.set_rng_state(stored.random["cpu"].cpu())
        if "cuda" in stored.random:
            torch.cuda.set_rng_state(stored.random["cuda"].cpu(), self.network.device)
        self.at = Progression(**stored.progression)


def _prepare(network: Network, examples: Examples, config: FitConfig) -> None:
    """Freeze what the config says, and start the head at the base rate instead of one half."""
    model = network.model
    if config.freeze_layers > len(model.layers):
        raise ValueError(
            f"`freeze_layers` must be at most {len(model.layers)} for this model. Got {config.freeze_layers}."
        )
    frozen = model.layers[: config.freeze_layers]
    if config.freeze_embeddings or config.freeze_layers:
        frozen += model.embeddings
    for module in frozen:
        module.requires_grad_(False)
    if config.loss == "binomial":
        rate = examples.clicks.sum() / examples.impressions.sum()
        with torch.no_grad():
            model.head.bias.fill_(float(logit(rate)))


def _units(examples: Examples, loss: str) -> list[IntArray]:
    """Rows that must share a batch: each row alone, or the rows of a contrast."""
    if loss == "binomial":
        return [np.array([row]) for row in range(len(examples.clicks))]
    order = np.argsort(examples.contrast, kind="stable")
    return list(np.split(order, np.flatnonzero(np.diff(examples.contrast[order])) + 1))


def _optimizer(parameters: dict[str, torch.nn.Parameter], config: FitConfig) -> torch.optim.AdamW:
    """AdamW; biases and layer norms do not decay."""
    matrices = [p for p in parameters.values() if p.ndim > 1]
    vectors = [p for p in parameters.values() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the highest learning rate at a step: up linearly, then down to nearly zero."""
    rising = max(1, round(warmup * steps))
    return (step + 1) / rising if step < rising else (steps - step) / max(1, steps - rising)


def _describe(at: Progression) -> str:
    return f"· epoch {at.epoch} · validation loss {at.history[-1]['validation_loss']:.5f}"
