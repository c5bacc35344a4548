"""Few extra weights in a frozen encoder: LoRA, AdaLoRA, IA3 and prefix tuning, by the library peft.

All but prefixes are merged into the encoder once they are trained, so that nothing later knows of them; what was
trained is kept beside it.

References:
    Hu et al. (2022), "LoRA: low-rank adaptation of large language models".
    Zhang et al. (2023), "Adaptive budget allocation for parameter-efficient fine-tuning" (AdaLoRA).
    Li, Liang (2021), "Prefix-tuning: optimizing continuous prompts for generation".
    Liu et al. (2022), "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning" (IA3).
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from bandits.reward_models.cross_encoder import CrossEncoder
from bandits.reward_models.fit_config import FitConfig

FOLDER = "adapter"
_SETTINGS, _TENSORS = "adapter_config.json", "adapter_model.safetensors"
_TASK = "FEATURE_EXTRACTION"


@dataclass(frozen=True, eq=False)
class TrainedAdapter:
    """What was trained, in peft's own format.

    Attributes:
        settings: Of the adapter, as plain values.
        tensors: Its weights by name.
    """

    settings: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    def sha256(self) -> str:
        """Hash of settings and weights, as 64 hexadecimal digits."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write both into the folder `adapter` of `folder`."""
        (folder / FOLDER).mkdir()
        (folder / FOLDER / _SETTINGS).write_text(json.dumps(self.settings, indent=1), encoding="utf-8")
        save_file(self.tensors, folder / FOLDER / _TENSORS)

    @classmethod
    def load(cls, folder: Path) -> TrainedAdapter | None:
        """What `save` wrote, None where it wrote nothing."""
        if not (folder / FOLDER).is_dir():
            return None
        settings = json.loads((folder / FOLDER / _SETTINGS).read_text(encoding="utf-8"))
        return cls(settings, load_file(folder / FOLDER / _TENSORS))

    def attach(self, model: CrossEncoder) -> None:
        """Put a prefix in front of a saved encoder; the other kinds are merged into it."""
        if self.settings["peft_type"] != "PREFIX_TUNING":
            return
        peft = _peft()
        tokens = self.settings["num_virtual_tokens"]
        _wrap(model, peft.PrefixTuningConfig(task_type=_TASK, num_virtual_tokens=tokens))
        peft.set_peft_model_state_dict(model.encoder, self.tensors)


class Adapter:
    """An adapter while it is trained.

    Args:
        model: Its encoder is frozen and gets the adapter.
        config: Hyperparameters; `tuning` is one of `lora`, `adalora`, `prefix` and `ia3`.
        steps: Steps of the whole fit.

    Raises:
        ModuleNotFoundError: When peft is not installed.
        ValueError: When peft cannot do that to this architecture.
    """

    def __init__(self, model: CrossEncoder, config: FitConfig, steps: int) -> None:
        self._model, self._kind = model, config.tuning
        _wrap(model, _settings(model, config, steps))

    def penalty(self) -> torch.Tensor | None:
        """What AdaLoRA adds to the loss, so that directions stay orthogonal; None for the other kinds.

        0.5 times the mean over matrices of the Frobenius norm of A A' - I and B' B - I (Zhang et al., equation 4,
        without the square, as peft has it).
        """
        if self._kind != "adalora":
            return None
        norms = []
        for name, weight in self._model.encoder.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                square = weight @ weight.T if "lora_A" in name else weight.T @ weight
                norms.append(torch.linalg.norm(square - torch.eye(len(square), device=square.device)))
        weight_of_penalty: float = self._allocator.peft_config.orth_reg_weight
        return weight_of_penalty * torch.stack(norms).mean()

    def after_step(self, step: int) -> None:
        """Tell AdaLoRA that the optimizer made its step, from 0, while the gradients are still there."""
        if self._kind == "adalora":
            self._tuner.update_and_allocate(step)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold besides weights: AdaLoRA's importances and the ranks it left."""
        if self._kind != "adalora":
            return {}
        found = self._allocator
        averages = {name: dict(getattr(found, name)) for name in ("ipt", "exp_avg_ipt", "exp_avg_unc")}
        return averages | {"rank_pattern": found.peft_config.rank_pattern}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        if self._kind == "adalora":
            for name in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
                setattr(self._allocator, name, state[name])
            self._allocator.peft_config.rank_pattern = state["rank_pattern"]

    def finish(self) -> TrainedAdapter:
        """Merge it into the encoder where that is exact, and return what was trained."""
        wrapped: Any = self._model.encoder
        if self._kind == "adalora":
            # peft would save the directions that were left last, and the best weights may be from before the last cut.
            values = ((name, p) for name, p in self._tuner.model.named_parameters() if "lora_E" in name)
            self._allocator.peft_config.rank_pattern = {name: (p != 0).flatten().tolist() for name, p in values}
        settings = {name: _plain(value) for name, value in wrapped.peft_config["default"].to_dict().items()}
        settings |= {"base_model_name_or_path": None, "inference_mode": True}
        tensors = _peft().get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        trained = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        if self._kind != "prefix":
            self._model.encoder = wrapped.merge_and_unload()
        return TrainedAdapter(settings, trained)

    @property
    def _tuner(self) -> Any:
        return self._model.encoder.base_model

    @property
    def _allocator(self) -> Any:
        return self._tuner.rankallocator


def _settings(model: CrossEncoder, config: FitConfig, steps: int) -> Any:
    peft = _peft()
    if config.tuning == "prefix":
        return peft.PrefixTuningConfig(task_type=_TASK, num_virtual_tokens=config.prefix_tokens)
    shared: dict[str, Any] = {
        "task_type": _TASK,
        "target_modules": _targets(model, config),
        "fan_in_fan_out": any(isinstance(module, Conv1D) for module in model.encoder.modules()),
    }
    if config.tuning == "ia3":
        known = peft.utils.constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING
        inner = known[model.encoder.config.model_type] if config.targets is None else []
        return peft.IA3Config(**shared, feedforward_modules=inner)
    if config.tuning == "lora":
        return peft.LoraConfig(**shared, r=config.rank, lora_alpha=config.alpha)
    if steps < 2:
        raise ValueError(f"`tuning` must not be 'adalora' in a fit of fewer than 2 steps. Got {steps}.")
    # Ranks begin half as high again and are cut between the first tenth of the steps and the last third.
    return peft.AdaLoraConfig(
        **shared,
        init_r=math.ceil(1.5 * config.rank),
        target_r=config.rank,
        lora_alpha=config.alpha,
        tinit=steps // 10,
        tfinal=max(1, steps // 3),
        deltaT=max(1, steps // 100),
        total_step=steps,
    )


def _targets(model: CrossEncoder, config: FitConfig) -> list[str]:
    linear = {name for name, module in model.encoder.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    kind, architecture = config.tuning.upper(), model.encoder.config.model_type
    if config.targets is None:
        known = getattr(_peft().utils.constants, f"TRANSFORMERS_MODELS_TO_{kind}_TARGET_MODULES_MAPPING")
        if architecture in known:
            return list(known[architecture])
    elif all(any(name == target or name.endswith(f".{target}") for name in linear) for target in config.targets):
        return config.targets
    raise ValueError(
        f"`targets` must name linear maps of the architecture {architecture!r}, for which {config.tuning!r} has "
        f"{'no default' if config.targets is None else 'others'}: {sorted({n.split('.')[-1] for n in linear})}. "
        f"Got {config.targets}."
    )


def _wrap(model: CrossEncoder, settings: Any) -> None:
    before: PreTrainedModel = model.encoder
    with warnings.catch_warnings():
        # peft asks every model for a property that transformers has renamed.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        model.encoder = _peft().get_peft_model(before, settings)
    if settings.peft_type == "PREFIX_TUNING":
        model.takes_segments = False  # peft drops them
        _require_prefix_read(model, before)


def _require_prefix_read(model: CrossEncoder, before: PreTrainedModel) -> None:
    """Many encoders ignore keys and values that are handed to them, or fail over them."""
    device = model.head.weight.device
    ids = torch.arange(2, device=device).unsqueeze(0)
    mask, training = torch.ones_like(ids), model.encoder.training
    model.encoder.eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            with_prefix = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            reads = not torch.allclose(with_prefix, before(input_ids=ids, attention_mask=mask).last_hidden_state)
        except (RuntimeError, ValueError, TypeError):
            reads = False
    model.encoder.train(training)
    if not reads:
        raise ValueError(
            "`tuning` 'prefix' must be used with an architecture whose layers read given keys and values, such as "
            f"BERT, RoBERTa and GPT-2. Got {before.config.model_type!r}."
        )


def _plain(value: Any) -> Any:
    """A value of peft's settings as JSON has it."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return getattr(value, "value", value)


def _peft() -> Any:
    try:
        return import_module("peft")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`tuning` must be 'full' or 'head' without the library peft: `pip install 'click-bandits[adapters]'`."
        ) from error
