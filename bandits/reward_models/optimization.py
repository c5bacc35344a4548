"""AdamW over groups of weights, and the learning rate of a step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from bandits.reward_models.cross_encoder import CrossEncoder
from bandits.reward_models.fit_config import FitConfig


def optimizer(model: CrossEncoder, trained: Mapping[str, torch.nn.Parameter], config: FitConfig) -> torch.optim.AdamW:
    """AdamW whose groups hold `share`, their part of the learning rate.

    Biases and layer norms do not decay, nor do the factors of IA3, whose rest is 1. With `layer_decay` d, weights that
    lie n layers below the head learn at d^n times the rate; those of columns beside the text have a rate of their own.

    References:
        Howard, Ruder (2018), "Universal language model fine-tuning for text classification" (discriminative
        fine-tuning).
    """
    depth = _depths(model)
    top = len(model.layers) + 1
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in trained.items():
        decays = parameter.ndim > 1 and "ia3_" not in name
        share = config.layer_decay ** (top - depth.get(id(parameter), top))
        if name.startswith(("columns.", "soft_tokens.")):
            share = config.columns_learning_rate / config.learning_rate
        groups.setdefault((share, decays), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": config.weight_decay if decays else 0.0,
                "share": share,
            }
            for (share, decays), parameters in sorted(groups.items(), key=lambda group: (-group[0][0], not group[0][1]))
        ],
        lr=config.learning_rate,
        fused=True,
    )


def rate(config: FitConfig, step: int, steps: int) -> float:
    """Share of the highest learning rate at a step, from 0: up linearly, then as `config.schedule` says.

    `linear` and `cosine` fall to nearly zero at the last of the `steps`. `plateau` stays up here: the loop halves it
    after each epoch that did not improve the validation loss.
    """
    rising = max(1, round(config.warmup * steps))
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    return {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}.get(config.schedule, 1.0)


def _depths(model: CrossEncoder) -> dict[int, int]:
    """Height of the weights in embeddings (0) and layers (from 1); all others lie at the top."""
    found = {id(parameter): 0 for module in model.embeddings for parameter in module.parameters()}
    for number, layer in enumerate(model.layers, start=1):
        found |= {id(parameter): number for parameter in layer.parameters()}
    return found
