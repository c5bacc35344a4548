"""Smaller reward models: layers left out, small weights set to 0; heads of outcomes and calibrator are fitted again."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune

from bandits.reward_models.calibrator_choice import calibrate
from bandits.reward_models.click_log import ClickLog
from bandits.reward_models.cross_encoder import CrossEncoder
from bandits.reward_models.fit_config import FitConfig
from bandits.reward_models.network import Network
from bandits.reward_models.outcome_heads import OutcomeHeads
from bandits.reward_models.reward_model import RewardModel, pair_vectors
from bandits.reward_models.split import Split, whole_groups


def drop_layers(model: RewardModel, keep: Sequence[int], log: ClickLog, split: Split) -> RewardModel:
    """The model with some of its encoder's layers only, calibrated again.

    It loses much of what it knew. Saved, its folder can be the `weights` of another fit, with the whole model as
    `teacher`: a student that starts from its teacher's layers.

    Args:
        model: Any but one with a prefix, which sits in every layer; it stays as it is.
        keep: Numbers of the layers to keep, from 0, the lowest, in ascending order.
        log: The log that it was fitted on.
        split: The split that it was fitted on.

    Raises:
        ValueError: When there are no such layers, or the split is another.

    References:
        Sajjad, Dalvi, Durrani, Nakov (2023), "On the effect of dropping layers of pre-trained transformer models".
        Sanh, Debut, Chaumond, Wolf (2019), "DistilBERT, a distilled version of BERT".
    """
    network = _copied(model, split)
    layers, kept = _layers(network.model), [int(layer) for layer in keep]
    if not kept or sorted(set(kept)) != kept or kept[0] < 0 or kept[-1] >= len(layers):
        raise ValueError(
            f"`keep` must be ascending numbers of layers, from 0 to {len(layers) - 1} for this model. Got {kept}."
        )
    _keep(network.model, layers, kept)
    return _calibrated(model, network, log, split, {"layers": kept, "of_layers": len(layers)})


def prune_weights(model: RewardModel, share: float, log: ClickLog, split: Split) -> RewardModel:
    """The model with the smallest weights of every matrix in its layers set to 0, calibrated again.

    It is stored and computed as before, so that nothing is gained in size or speed without software for sparse
    matrices: it says how many weights the model needs.

    Args:
        model: Any but one with a prefix; it stays as it is.
        share: Share of each matrix that becomes 0, above 0 and below 1.
        log: The log that it was fitted on.
        split: The split that it was fitted on.

    Raises:
        ValueError: When `share` is not such a number, or the split is another.

    References:
        Gordon, Duh, Andrews (2020), "Compressing BERT: studying the effects of weight pruning on transfer learning".
    """
    if not 0 < share < 1:
        raise ValueError(f"`share` must lie above 0 and below 1. Got {share}.")
    network = _copied(model, split)
    for layer in _layers(network.model):
        for module in layer.modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, nn.Parameter) and weight.ndim == 2:
                prune.l1_unstructured(module, "weight", amount=share)  # type: ignore[no-untyped-call]
                prune.remove(module, "weight")  # type: ignore[no-untyped-call]
    return _calibrated(model, network, log, split, {"pruned": share})


def _copied(model: RewardModel, split: Split) -> Network:
    if model.info["split"] != split.content_hash:
        raise ValueError(
            f"`split` must be the one that the model was fitted on, {model.info['split']}, or it would be calibrated "
            f"on rows that it has learned. Got {split.content_hash}."
        )
    network = model.network
    if network.adapter is not None and network.adapter.settings["peft_type"] == "PREFIX_TUNING":
        raise ValueError("`model` must have no prefix, which sits in every layer. Got one tuned by 'prefix'.")
    return Network(copy.deepcopy(network.model), network.tokenizer, network.max_length, network.device, network.columns)


def _layers(model: CrossEncoder) -> list[nn.Module]:
    if not model.layers:
        raise ValueError(
            f"`model` must have layers with weights of their own. Got {model.encoder.config.model_type!r}, whose "
            "layers share them."
        )
    return model.layers


def _keep(model: CrossEncoder, layers: Sequence[nn.Module], kept: Sequence[int]) -> None:
    owners = [
        (module, name)
        for module in model.encoder.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.ModuleList) and list(child) == layers
    ]
    ((owner, name),) = owners
    setattr(owner, name, nn.ModuleList([layers[layer] for layer in kept]))
    config = model.encoder.config
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = [config.layer_types[layer] for layer in kept]


def _calibrated(
    model: RewardModel, network: Network, log: ClickLog, split: Split, how: Mapping[str, Any]
) -> RewardModel:
    rows = split.calibration
    logits = network.logits(network.pair_tokenizer.rows(rows["user_text"].tolist(), rows["item_text"].tolist()))
    config = FitConfig(**model.info["config"])
    calibrator, losses = calibrate(logits, log, split, config)
    outcomes = None
    if model.outcomes is not None:
        train_rows = whole_groups(split.train, split.by, config.max_train_rows, config.seed)
        outcomes = OutcomeHeads.fit(lambda rows: pair_vectors(network, rows), split, train_rows)
    tensors = list(network.model.parameters())
    left = {
        "parameters": sum(tensor.numel() for tensor in tensors),
        "not_0": sum(int(torch.count_nonzero(tensor)) for tensor in tensors),
    }
    info = model.info | {
        "calibration": {"method": calibrator.method, "cross_validated": losses},
        "compression": {**how, **left, "from": model.fingerprint()},
    }
    return RewardModel(network, calibrator, model.kind, info, outcomes)
