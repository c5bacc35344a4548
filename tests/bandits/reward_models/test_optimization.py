"""Every option of training against a textbook loop: plain formulas, one weight and one contrast at a time."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import FitConfig, click_log_from_frame

pytestmark = pytest.mark.model

SIMPLE = FitConfig(
    precision="float32",
    weights="tiny",
    epochs=2,
    learning_rate=3e-3,
    batch_size=4,
    dropout=0.0,
    freeze_embeddings=False,
    device="cpu",
)


def loop_of(frame: pd.DataFrame, config: FitConfig, *, double: bool = False) -> Any:
    import torch

    from bandits.reward_models.examples import Examples
    from bandits.reward_models.network import Network
    from bandits.reward_models.training import Loop
    from bandits.reward_models.weights import resolve_weights

    rows = click_log_from_frame(frame).pairs
    weights = resolve_weights("tiny", texts=sorted({*rows["item_text"], *rows["user_text"]}))
    network = Network.from_weights(
        weights, max_length=32, device=torch.device("cpu"), seed=3, pooling=config.pooling, dropout=config.dropout
    )
    if double:
        network.model.double()
    examples = Examples.of(rows, network, config)
    return Loop(network, examples, examples, config, Path("no checkpoint here"))


def textbook_loss(logits: Any, rows: np.ndarray, frame: pd.DataFrame, config: FitConfig) -> Any:
    """Negative log-likelihood, row by row and test by test; `frame` has numbers of tests in `contrast`."""
    import torch
    from torch.nn.functional import logsigmoid

    total = torch.zeros((), dtype=logits.dtype)
    part = frame.iloc[rows].reset_index(drop=True)
    for place, row in part.iterrows():
        if config.loss != "within_test":
            z, misses = logits[place], row["impressions"] - row["clicks"]
            total = total - row["temper"] * (row["clicks"] * logsigmoid(z) + misses * logsigmoid(-z))
    if config.loss != "binomial":
        weight = 1.0 if config.loss == "within_test" else config.within_weight
        for _, test in part.groupby("contrast"):
            exposed = torch.stack([row["impressions"] * logits[place].exp() for place, row in test.iterrows()])
            for share, (_, row) in zip(exposed / exposed.sum(), test.iterrows(), strict=True):
                total = total - weight * row["temper"] * row["clicks"] * share.log()
    return total


def textbook_fit(loop: Any, frame: pd.DataFrame, config: FitConfig) -> dict[str, Any]:
    """Weights after one epoch of AdamW (Loshchilov and Hutter 2019), with a copy of the network."""
    import torch

    model = copy.deepcopy(loop.network.model).train()
    trained = {name: p for name, p in model.named_parameters() if name in loop.trained}
    first = {name: torch.zeros_like(p) for name, p in trained.items()}
    second, mean = copy.deepcopy(first), copy.deepcopy(first)
    tests = config.loss != "binomial"
    clicks = (frame["temper"] * frame["clicks"]).sum()
    units = frame["contrast"].nunique() if tests else len(frame)
    scale = (clicks if tests else frame["impressions"].sum()) / units * config.batch_size * config.accumulation
    steps = loop.steps(0)
    total = config.epochs * len(steps)
    rising = max(1, round(config.warmup * total))
    for step, batches in enumerate(steps):
        loss = sum(
            textbook_loss(model(**loop.fit.tokens.batch(rows, torch.device("cpu"))), rows, frame, config)
            for rows in batches
        )
        model.zero_grad()
        (loss / scale).backward()
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in trained.values() if p.grad is not None))
        done = (step - rising) / (total - rising)
        falling = {"linear": 1 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done)}.get(config.schedule, 1.0)
        speed = config.learning_rate * ((step + 1) / rising if step < rising else falling)
        for name, p in trained.items():
            layer = re.search(r"layer\.(\d+)\.", name)
            height = 0 if ".embeddings." in name else int(layer[1]) + 1 if layer else 3
            rate = speed * config.layer_decay ** (3 - height)
            gradient = p.grad * min(1.0, 1.0 / (norm + 1e-6))
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            change = (first[name] / (1 - 0.9 ** (step + 1))) / (
                (second[name] / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
            )
            with torch.no_grad():
                p *= 1 - rate * (config.weight_decay if p.ndim > 1 else 0)
                p -= rate * change
                mean[name] += p / len(steps)
    return mean if config.average_weights else dict(trained)


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_decay": 0.6, "schedule": "cosine", "weight_decay": 0.3},
        {"accumulation": 3, "schedule": "constant", "average_weights": True},
        {"tuning": "head", "pooling": "first", "schedule": "linear"},
        {"loss": "both", "within_weight": 2.5, "accumulation": 2, "schedule": "plateau", "pooling": "pooler"},
        {"loss": "within_test", "layer_decay": 0.8},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_an_epoch_equals_the_textbook(
    changes: dict[str, Any], pairs_frame: pd.DataFrame, tests_frame: pd.DataFrame
) -> None:
    config = FitConfig.model_validate(SIMPLE.model_dump() | changes)
    frame = (pairs_frame if config.loss == "binomial" else tests_frame).iloc[:90]
    loop = loop_of(frame, config, double=True)
    table = click_log_from_frame(frame).pairs.reset_index(drop=True)
    table["contrast"] = pd.factorize(table["contrast"])[0] if config.loss != "binomial" else 0
    mean = table.groupby("contrast")["clicks"].transform("mean")
    table["temper"] = 1.0 if config.loss == "binomial" else 1 / (1 + config.overdispersion * mean)
    expected = textbook_fit(loop, table, config)
    for batches in loop.steps(0):
        loop.step(batches)
        loop.at.step += 1
    found = loop.trained if loop.mean is None else loop.mean
    assert found.keys() == expected.keys()
    for name, weights in expected.items():
        np.testing.assert_allclose(found[name].detach().numpy(), weights.detach().numpy(), atol=1e-5, err_msg=name)


def test_plateau_halves_the_rate_after_epochs_that_did_not_improve(
    pairs_frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.progress import Progress

    from bandits.reward_models import training
    from bandits.reward_models.tracking import Trackers

    config = SIMPLE.model_copy(update={"schedule": "plateau", "epochs": 5, "patience": 5, "warmup": 0.0})
    loop = loop_of(pairs_frame.iloc[:20], config)
    losses = iter([0.5, 0.6, 0.4, 0.7, 0.8])
    monkeypatch.setattr(training, "mean_loss", lambda *_: next(losses))
    monkeypatch.setattr(loop, "_save", lambda: None)
    seen: list[float] = []
    step = loop.step
    monkeypatch.setattr(loop, "step", lambda rows: (step(rows), seen.append(loop.optimizer.param_groups[0]["lr"]))[0])
    loop.run(Progress(disable=True), Trackers())
    assert [seen[5 * epoch] / config.learning_rate for epoch in range(5)] == [1, 1, 0.5, 0.5, 0.25]


def test_rates_rise_then_fall() -> None:
    from bandits.reward_models.optimization import rate

    rates = {
        name: np.array([rate(SIMPLE.model_copy(update={"schedule": name}), step, 100) for step in range(100)])
        for name in ("linear", "cosine", "constant")
    }
    for values in rates.values():
        assert values[9] == values.max() == 1.0
        assert values[0] == pytest.approx(0.1)
        assert np.all(np.diff(values[9:]) <= 0)
    assert rates["linear"][99] == pytest.approx(1 / 90)
    assert rates["cosine"][55] == pytest.approx(0.5)
    assert rates["cosine"][99] < 0.001
    assert rates["constant"][99] == 1


def test_bfloat16_trains_weights_in_float32(pairs_frame: pd.DataFrame) -> None:
    import torch

    from bandits.reward_models.inference import has_bfloat16

    found = []
    for precision in ("auto", "float32", "bfloat16"):
        loop = loop_of(pairs_frame.iloc[:40], SIMPLE.model_copy(update={"precision": precision}))
        found.append(np.array([loop.step(batches) for batches in loop.steps(0)]))
        assert {p.dtype for p in loop.trained.values()} == {torch.float32}
    assert np.array_equal(found[0], found[2 if has_bfloat16(torch.device("cpu")) else 1])
    assert 0 < np.abs(found[2] - found[1]).max() < 0.02


@pytest.mark.faults
def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"(?s)freeze_layers.*must be 0 where `tuning` is 'lora'.* Got 2"):
        FitConfig.model_validate({"tuning": "lora", "freeze_layers": 2})
    with pytest.raises(ValueError, match=r"must have no `threshold` where `loss` is 'both'"):
        FitConfig.model_validate({"loss": "both", "evaluation": {"threshold": 0.1}})
    for name, value in (("layer_decay", 0), ("layer_decay", 1.1), ("accumulation", 0), ("dropout", 1), ("targets", [])):
        with pytest.raises(ValueError, match=name):
            FitConfig.model_validate({name: value})
