"""Logits without gradients: length-sorted batches of about as many tokens each, in float32 or bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bandits.reward_models.cross_encoder import CrossEncoder
from bandits.reward_models.pair_tokens import PairTokens

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Precision = Literal["float32", "bfloat16"]

# On a CPU more tokens fall out of the cache, fewer leave cores idle (measured, see docs/reward-model.md); a GPU wants
# enough work to hide what starting its kernels costs.
TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 65_536}


@dataclass(frozen=True, eq=False)
class Batches:
    """Rows in order of length, cut into batches.

    Attributes:
        order: Rows, shortest first, shape (n,).
        ends: Where each batch ends in `order`, shape (number of batches,).
    """

    order: IntArray
    ends: IntArray

    @classmethod
    def of(cls, lengths: NDArray[np.int16], tokens: int) -> Batches:
        """Batches with at most `tokens` tokens, padding included, or of one row.

        >>> Batches.of(np.array([3, 1, 2, 2], dtype=np.int16), 4).ends
        array([2, 3, 4])
        """
        order = np.argsort(lengths, kind="stable")
        ordered, ends = lengths[order].astype(np.int64), [0]
        while ends[-1] < len(order):
            longest = ordered[ends[-1] : ends[-1] + max(1, tokens // ordered[ends[-1]])]
            ends.append(ends[-1] + max(1, int(np.sum(longest * np.arange(1, len(longest) + 1) <= tokens))))
        return cls(order, np.array(ends[1:], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def rows(self, first: int, last: int) -> list[IntArray]:
        """Rows of the batches from `first` up to `last`, without it."""
        starts = np.concatenate([[0], self.ends])
        return [self.order[starts[batch] : starts[batch + 1]] for batch in range(first, min(last, len(self)))]


class Inference:
    """A network's model as it is now, computing in one precision.

    In bfloat16 the encoder's weights are rounded once, which is faster than in every layer anew; pooling and head stay
    in float32.

    Args:
        model: A cross-encoder; it is switched to evaluation, and copied only for bfloat16.
        device: Where it lies.
        precision: To compute in.
    """

    def __init__(self, model: CrossEncoder, device: torch.device, precision: Precision) -> None:
        model.eval()
        self._model = model if precision == "float32" else _in_bfloat16(model)
        self._device = device

    def logits(self, pairs: PairTokens, batches: Iterable[IntArray]) -> FloatArray:
        """Logits of the batches' rows, one batch after the other.

        A GPU is fed without waiting for it: the next batch is put together while it computes.
        """
        with torch.inference_mode():
            parts = [self._model(**pairs.batch(rows, self._device)).float() for rows in batches]
            logits: FloatArray = torch.cat([torch.empty(0, device=self._device), *parts]).cpu().double().numpy()
        return logits

    def vectors(self, pairs: PairTokens, batches: Iterable[IntArray]) -> torch.Tensor:
        """What the head sees of the batches' rows, on the device, shape (n, H)."""
        with torch.no_grad():
            return torch.cat([self._model.vectors(**pairs.batch(rows, self._device)) for rows in batches])


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 in hardware, so that it is faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def training_precision(asked: Literal["auto", "float32", "bfloat16"], device: torch.device) -> Precision:
    """What a fit computes in: what was asked for, or bfloat16 where the device computes in it."""
    if asked != "auto":
        return asked
    return "bfloat16" if has_bfloat16(device) else "float32"


def _in_bfloat16(model: CrossEncoder) -> CrossEncoder:
    rounded = copy.deepcopy(model)
    rounded.encoder.to(torch.bfloat16)
    return rounded
