"""Fine-tuning: a plain loop that can be interrupted anywhere and then goes on as if nothing had happened."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from scipy.special import logit

from bandits.reward_models import checkpoint
from bandits.reward_models.adapters import Adapter
from bandits.reward_models.cross_encoder import BiEncoder
from bandits.reward_models.examples import Examples
from bandits.reward_models.fit_config import NO_PART_OF_A_FIT, FitConfig
from bandits.reward_models.inference import training_precision
from bandits.reward_models.network import Network
from bandits.reward_models.objectives import batch_loss, mean_loss, outcome_loss
from bandits.reward_models.optimization import optimizer, rate
from bandits.reward_models.tracking import Trackers

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Tensors = dict[str, torch.Tensor]


@dataclass
class Progression:
    """Where a fit stands: all of it goes into a checkpoint.

    Attributes:
        epoch: Epoch that is running, from 0.
        step: Steps done in it.
        waited: Epochs since the best validation loss.
        best_loss: Lowest validation loss so far.
        slowdown: What the schedule `plateau` multiplies the learning rate by.
        train_loss: Sum of the losses of this epoch's steps.
        seconds: Time spent so far.
        history: One entry per finished epoch.
    """

    epoch: int = 0
    step: int = 0
    waited: int = 0
    best_loss: float = float("inf")
    slowdown: float = 1.0
    train_loss: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """What a fit tells of itself.

    Attributes:
        history: One entry per epoch: `epoch`, `train_loss`, `validation_loss`, `seconds`.
        trained_parameters: Number of weights that were trained.
        parameters: Number of all weights.
    """

    history: list[dict[str, float]]
    trained_parameters: int
    parameters: int


def train(
    network: Network,
    train_rows: pd.DataFrame,
    validation_rows: pd.DataFrame,
    config: FitConfig,
    folder: Path,
    *,
    show: bool,
) -> Trained:
    """Fine-tune `network` in place, and leave in it the weights of the epoch with the lowest validation loss.

    AdamW with linear warm-up, gradients clipped at norm 1, batches of rows of similar length. `folder` holds a
    checkpoint; when there is one already, the fit goes on from it and ends with the weights it would have had anyway.

    Args:
        network: The network to train.
        train_rows: Rows of `ClickLog.pairs` to fit.
        validation_rows: Rows to stop by.
        config: Hyperparameters.
        folder: Where checkpoints of this fit, and of no other, are kept; `trackers` write beside it, into `tracking`.
        show: Show a progress bar.
    """
    fit, stop = (Examples.of(rows, network, config) for rows in (train_rows, validation_rows))
    cuda = [network.device] if network.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(config.seed)
        loop = Loop(network, fit, stop, config, folder)
        bar = Progress(
            TextColumn("fine-tuning"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps {task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            disable=not show,
        )
        settings = config.model_dump(exclude=NO_PART_OF_A_FIT)
        with bar as progress, Trackers(config.trackers, folder.parent / "tracking", settings, loop.number) as trackers:
            loop.run(progress, trackers)
    kept = (parameter for name, parameter in loop.trained.items() if not name.startswith("following."))
    trained = sum(parameter.numel() for parameter in kept)
    total = sum(parameter.numel() for parameter in network.model.parameters())
    return Trained(loop.at.history, trained, total)


class Loop:
    """The state of one fit and the steps that change it.

    Args:
        network: Frozen, and given an adapter, as `config` says.
        fit: Rows to fit.
        stop: Rows to stop by.
        config: Hyperparameters.
        folder: Of checkpoints; the latest one there is gone on from.
    """

    def __init__(self, network: Network, fit: Examples, stop: Examples, config: FitConfig, folder: Path) -> None:
        self.network, self.fit, self.stop, self.config, self.folder = network, fit, stop, config, folder
        self.precision = training_precision(config.precision, network.device)
        self.units = fit.units()
        batches = -(-len(self.units) // config.batch_size)
        self.steps_per_epoch = -(-batches // config.accumulation)
        # One scale for all batches, so that each impression (or click) counts the same wherever it falls.
        self.scale = fit.weight / len(self.units) * config.batch_size * config.accumulation
        if fit.outcomes is not None and config.tuning != "head" and config.outcome_weight > 0:
            network.model.following = _following(network, fit.outcomes.sum(axis=0))
        self.adapter = _prepare(network, fit, config, config.epochs * self.steps_per_epoch)
        # A frozen encoder always says the same: it is asked once.
        frozen = network.inference(self.precision).frozen if config.tuning == "head" else None
        self.frozen_fit, self.frozen_stop = (frozen and frozen(examples.tokens) for examples in (fit, stop))
        self.trained = {name: p for name, p in network.model.named_parameters() if p.requires_grad}
        self.optimizer = optimizer(network.model, self.trained, config)
        self.best = self._copied()
        self.mean = self._copied() if config.average_weights else None
        self.at = Progression()
        stored = checkpoint.load(folder, network.device)
        if stored is not None:
            self._restore(stored)

    @property
    def number(self) -> int:
        """Steps done in all epochs."""
        return self.at.epoch * self.steps_per_epoch + self.at.step

    def run(self, progress: Progress, trackers: Trackers) -> None:
        """Train until the last epoch, or until validation has not improved for `patience` epochs."""
        config, at = self.config, self.at
        bar = progress.add_task("", total=config.epochs * self.steps_per_epoch)
        started = time.monotonic() - at.seconds
        while at.epoch < config.epochs and at.waited < config.patience:
            steps = self.steps(at.epoch)
            while at.step < len(steps):
                progress.update(bar, completed=self.number)
                loss = self.step(steps[at.step])
                at.train_loss += loss
                at.step += 1
                highest = max(group["lr"] for group in self.optimizer.param_groups)
                trackers.scalars({"train/loss": loss, "train/learning_rate": highest}, self.number)
                at.seconds = time.monotonic() - started
                if at.step % config.checkpoint_steps == 0 and at.step < len(steps):
                    self._save()
            self._end_epoch(time.monotonic() - started)
            epoch = {f"epoch/{name}": value for name, value in at.history[-1].items() if name != "epoch"}
            trackers.scalars(epoch, self.number)
            self._save()
            progress.update(bar, completed=self.number, description=_describe(at))
        self._put(self.best)
        self.network.model.following = None
        if self.adapter is not None:
            self.network.adapter = self.adapter.finish()

    def steps(self, epoch: int) -> list[list[IntArray]]:
        """The batches of rows of each step of an epoch."""
        batches = self.fit.batches(self.units, self.config.batch_size, self.config.seed, epoch)
        size = self.config.accumulation
        return [batches[first : first + size] for first in range(0, len(batches), size)]

    def step(self, batches: list[IntArray]) -> float:
        """One step of the optimizer by the gradient over some batches; returns their loss."""
        number = self.number
        highest = self.config.learning_rate * rate(self.config, number, self.config.epochs * self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = highest * self.at.slowdown * group["share"]
        self.network.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.network.device)
        for rows in batches:
            loss = self._loss(rows)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if self.adapter is not None and (penalty := self.adapter.penalty()) is not None:
            penalty.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimizer.step()
        if self.adapter is not None:
            self.adapter.after_step(number)
        if self.mean is not None:
            with torch.no_grad():
                for name, parameter in self.trained.items():
                    self.mean[name].lerp_(parameter, 1 / (self.at.step + 1))
        return float(total)

    def _loss(self, rows: IntArray) -> torch.Tensor:
        extra: torch.Tensor | float = 0.0
        if self.frozen_fit is not None:
            logits = self.frozen_fit(rows)
        elif self.network.model.following is not None and self.fit.outcomes is not None:
            logits, following = self.network.forward_following(self.fit.tokens, rows, self.precision)
            share = len(self.units) / (self.config.batch_size * self.config.accumulation)
            totals = self._tensor(self.fit.outcomes.sum(axis=0))
            extra = share * outcome_loss(following, self._tensor(self.fit.outcomes[rows]), totals)
        else:
            logits = self.network.forward(self.fit.tokens, rows, self.precision)
        impressions, clicks = (self._tensor(values[rows]) for values in (self.fit.impressions, self.fit.clicks))
        contrast = torch.from_numpy(np.unique(self.fit.contrast[rows], return_inverse=True)[1]).to(logits.device)
        loss = batch_loss(logits, impressions, clicks, contrast, self.config) / self.scale
        return loss + self.config.outcome_weight * extra

    def _end_epoch(self, seconds: float) -> None:
        at = self.at
        with self._averaged():
            loss = mean_loss(self._validation_scores(), self.stop, self.config)
            at.waited += 1
            if loss < at.best_loss:
                at.best_loss, at.waited = loss, 0
                self.best = self._copied()
        if at.waited and self.config.schedule == "plateau":
            at.slowdown /= 2
        at.history.append(
            {
                "epoch": at.epoch + 1,
                "train_loss": at.train_loss / self.steps_per_epoch,
                "validation_loss": loss,
                "seconds": seconds,
            }
        )
        at.epoch, at.step, at.train_loss, at.seconds = at.epoch + 1, 0, 0.0, seconds

    def _validation_scores(self) -> FloatArray:
        if self.frozen_stop is None:
            return self.network.logits(self.stop.tokens, self.precision)
        self.network.model.eval()
        with torch.inference_mode():
            scores: FloatArray = self.frozen_stop(np.arange(len(self.stop.clicks))).double().cpu().numpy()
        return scores

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """With the mean of the weights over the epoch in the network, where the config asks for it."""
        if self.mean is None:
            yield
            return
        last = self._copied()
        self._put(self.mean)
        yield
        self._put(last)

    def _copied(self) -> Tensors:
        return {name: parameter.detach().clone() for name, parameter in self.trained.items()}

    def _put(self, weights: Tensors) -> None:
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(weights[name])

    def _tensor(self, values: FloatArray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.network.device)

    def _save(self) -> None:
        device = self.network.device
        weights: dict[str, Mapping[str, torch.Tensor]] = {"trained": self.trained, "best": self.best}
        if self.mean is not None:
            weights["mean"] = self.mean
        random = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(device)
        state = {"optimizer": self.optimizer.state_dict(), "random": random}
        if self.adapter is not None:
            state["adapter"] = self.adapter.state()
        checkpoint.save(self.folder, checkpoint.Stored(weights, state, vars(self.at)))

    def _restore(self, stored: checkpoint.Stored) -> None:
        self._put(dict(stored.weights["trained"]))
        self.best = dict(stored.weights["best"])
        if self.mean is not None:
            self.mean = dict(stored.weights["mean"])
        self.optimizer.load_state_dict(stored.state["optimizer"])
        if self.adapter is not None:
            self.adapter.restore(stored.state["adapter"])
        torch.set_rng_state(stored.state["random"]["cpu"].cpu())
        if "cuda" in stored.state["random"]:
            torch.cuda.set_rng_state(stored.state["random"]["cuda"].cpu(), self.network.device)
        self.at = Progression(**stored.progression)


def _prepare(network: Network, examples: Examples, config: FitConfig, steps: int) -> Adapter | None:
    """Freeze what the config says, and start the head at the base rate instead of one half."""
    model = network.model
    if config.loss != "within_test":
        rate_of_all = examples.clicks.sum() / examples.impressions.sum()
        with torch.no_grad():
            model.head.bias.fill_(float(logit(rate_of_all)))
    if config.tuning == "head":
        model.requires_grad_(False)
        model.head.requires_grad_(True)
        if model.columns is not None:
            model.columns.requires_grad_(True)
        if isinstance(model, BiEncoder):
            model.users.requires_grad_(True)
        return None
    if config.tuning != "full":
        adapter = Adapter(model, config, steps)
        _require_positions(network, config)
        return adapter
    if config.freeze_layers > len(model.layers):
        raise ValueError(
            f"`freeze_layers` must be at most {len(model.layers)} for this model. Got {config.freeze_layers}."
        )
    frozen = model.layers[: config.freeze_layers]
    if config.freeze_embeddings or config.freeze_layers:
        frozen += model.embeddings
    for module in frozen:
        module.requires_grad_(False)
    return None


def _following(network: Network, totals: FloatArray) -> torch.nn.Linear:
    """A head for what follows clicks, of use in training only: it starts at the means of all rows."""
    clicks, conversions, value = totals
    head = torch.nn.Linear(network.model.head.in_features, 2)
    with torch.no_grad():
        head.weight.zero_()
        head.bias[0] = float(logit(conversions / clicks))
        head.bias[1] = float(np.log(value / conversions)) if value > 0 else 0.0
    return head.to(network.device)


def _require_positions(network: Network, config: FitConfig) -> None:
    positions = network.model.positions
    if config.tuning == "prefix" and positions is not None and network.max_length + config.prefix_tokens > positions:
        raise ValueError(
            f"`max_length` and `prefix_tokens` must together be at most {positions}, the positions of this model. "
            f"Got {network.max_length} and {config.prefix_tokens}."
        )


def _describe(at: Progression) -> str:
    return f"· epoch {at.epoch} · validation loss {at.history[-1]['validation_loss']:.5f}"
