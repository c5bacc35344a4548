"""Logits without gradients: length-sorted batches of about as many tokens each, in float32 or bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bandits.memory import array_bytes, require_memory
from bandits.reward_models.cross_encoder import BiEncoder, CrossEncoder
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
        model: A cross-encoder or a bi-encoder; it is switched to evaluation, and copied only for bfloat16.
        device: Where it lies.
        precision: To compute in.
    """

    def __init__(self, model: CrossEncoder, device: torch.device, precision: Precision) -> None:
        model.eval()
        self._exact = model
        self._model = model if precision == "float32" else _in_bfloat16(model)
        self._device = device
        self._kept: tuple[PairTokens, torch.Tensor, torch.Tensor] | None = None

    def logits(self, pairs: PairTokens, batches: Iterable[IntArray]) -> FloatArray:
        """Logits of the batches' rows, one batch after the other.

        A GPU is fed without waiting for it: the next batch is put together while it computes.
        """
        with torch.inference_mode():
            logits = self._scorer(pairs)
            parts = [logits(rows).float() for rows in batches]
            together: FloatArray = torch.cat([torch.empty(0, device=self._device), *parts]).cpu().double().numpy()
        return together

    def frozen(self, pairs: PairTokens) -> Callable[[IntArray], torch.Tensor]:
        """Logits of rows by what the encoder makes of them now, read once and kept; only the head still computes.

        For a cross-encoder that is a vector for each row, for a bi-encoder one for each text.

        Raises:
            ValueError: When the vectors do not fit into memory.
        """
        model = self._exact  # heads are never rounded, and may go on learning
        if isinstance(model, BiEncoder):
            texts = self._texts(pairs)
            return lambda rows: model.with_columns(
                model.match(model.project(texts[self._index(pairs.user[rows])]), texts[self._index(pairs.item[rows])]),
                pairs,
                rows,
            )
        of_rows = self._vectors(pairs)
        return lambda rows: model.with_columns(model.logits(of_rows[self._index(rows)]), pairs, rows)

    def vectors(self, pairs: PairTokens) -> FloatArray:
        """A cross-encoder's vector of each row, shape (n, H), and behind it the columns that are added to a logit."""
        rows = np.arange(len(pairs.item))
        vectors: FloatArray = self._vectors(pairs).double().cpu().numpy()
        if self._exact.columns is None:
            return vectors
        columns = self._exact.columns.read(pairs.beside(rows, self._device))
        return np.hstack([vectors, columns.double().cpu().numpy()])

    def _scorer(self, pairs: PairTokens) -> Callable[[IntArray], torch.Tensor]:
        model = self._exact
        if not isinstance(model, BiEncoder):
            return lambda rows: self._model.of_rows(pairs, rows, self._device)
        if self._kept is None or self._kept[0] is not pairs:
            texts = self._texts(pairs)
            self._kept = pairs, texts, model.project(texts)
        _, items, users = self._kept
        return lambda rows: model.with_columns(
            model.match(users[self._index(pairs.user[rows])], items[self._index(pairs.item[rows])]), pairs, rows
        )

    def _texts(self, pairs: PairTokens) -> torch.Tensor:
        """A vector for each text of the rows, at the place of its piece; the last, -1, is that of no text, 0."""
        pieces = np.unique(np.concatenate([pairs.user, pairs.item]))
        pieces = pieces[pieces >= 0]
        found = self._vectors(pairs.alone(pieces))
        texts = found.new_zeros(len(pairs.size) + 1, found.shape[1])
        texts[self._index(pieces)] = found
        return texts

    def _vectors(self, pairs: PairTokens) -> torch.Tensor:
        size = len(pairs.item), self._model.head.in_features
        require_memory(f"Vectors of {size[0]:,} texts and {size[1]} numbers", array_bytes([size]))
        vectors = torch.empty(size, dtype=self._model.head.weight.dtype, device=self._device)
        batches = Batches.of(pairs.lengths, TOKENS_PER_BATCH[self._device.type])
        with torch.no_grad():
            for rows in batches.rows(0, len(batches)):
                vectors[self._index(rows)] = self._model.vectors_of(pairs, rows, self._device)
        return vectors

    def _index(self, numbers: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(numbers.astype(np.int64)).to(self._device)


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
