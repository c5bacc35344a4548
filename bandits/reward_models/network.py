"""A language model as a function from texts to logits: `[CLS] user [SEP] item [SEP]`, or `[CLS] item [SEP]` without."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from bandits.reward_models.adapters import TrainedAdapter
from bandits.reward_models.column_layers import EmbeddingsEnter
from bandits.reward_models.cross_encoder import (
    ENCODERS,
    Architecture,
    CrossEncoder,
    Pooling,
    load_encoder,
    set_dropout,
)
from bandits.reward_models.inference import TOKENS_PER_BATCH, Batches, Inference, Precision
from bandits.reward_models.pair_tokens import PairTokenizer, PairTokens
from bandits.reward_models.text_columns import PairColumns
from bandits.reward_models.weights import Weights

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TEMPLATE = "[CLS] user [SEP] item [SEP]"


class Network:
    """A cross-encoder or a bi-encoder, its tokenizer and the template that joins user and item.

    Args:
        model: Texts to logits.
        tokenizer: Its tokenizer.
        max_length: Number of tokens after which texts are cut, the longer of user and item first.
        device: Device to compute on.
        columns: What is known of users and items beside their texts, as the model takes it; None if nothing.

    Attributes:
        adapter: What was trained where only an adapter was; None otherwise.

    Raises:
        ValueError: When `max_length` is more than the model can read.
    """

    def __init__(
        self,
        model: CrossEncoder,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        device: torch.device,
        columns: PairColumns | None = None,
    ) -> None:
        if model.positions is not None and max_length > model.positions:
            raise ValueError(
                f"`max_length` must be at most {model.positions}, the positions of this model. Got {max_length}."
            )
        self.model = model.to(device)
        self.adapter: TrainedAdapter | None = None
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.device = device
        self.columns = columns

    @classmethod
    def from_weights(
        cls,
        weights: Weights,
        *,
        max_length: int,
        device: torch.device,
        seed: int,
        architecture: Architecture = "cross",
        pooling: Pooling | Literal["auto"] = "auto",
        dropout: float | None = None,
        columns: PairColumns | None = None,
        embeddings_enter: EmbeddingsEnter = "logit",
    ) -> Network:
        """Pretrained weights with a new head, drawn with `seed`; the rest as in `FitConfig` and above."""
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(seed)
            if weights.folder is None:
                config = tiny_config(weights)
                set_dropout(config, dropout)
                encoder: PreTrainedModel = BertModel(config)
            else:
                encoder = load_encoder(weights.folder, dropout=dropout)
            model = ENCODERS[architecture](encoder, pooling, dropout)
            if columns is not None:
                tokens = embeddings_enter == "tokens"
                in_logit, as_tokens = ([], columns.embeddings) if tokens else (columns.embeddings, [])
                model.take_columns(columns.numbers, in_logit, as_tokens)
        return cls(model, load_tokenizer(weights), max_length, device, columns)

    @classmethod
    def load(cls, folder: Path, *, max_length: int, device: torch.device) -> Network:
        """A network that `save` wrote.

        Raises:
            ValueError: As `CrossEncoder.load`.
        """
        with torch.random.fork_rng(devices=[]), quiet():
            model, adapter = CrossEncoder.load(folder), TrainedAdapter.load(folder)
            if adapter is not None:
                adapter.attach(model)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        network = cls(model, tokenizer, max_length, device, PairColumns.load(folder))
        network.adapter = adapter
        return network

    def save(self, folder: Path) -> None:
        """Write encoder, `config.json`, head, the tokenizer's files, adapter and columns into `folder`."""
        with quiet():
            self.model.save(folder)
            self.tokenizer.save_pretrained(folder)
        if self.adapter is not None:
            self.adapter.save(folder)
        if self.columns is not None:
            self.columns.save(folder)

    @cached_property
    def pair_tokenizer(self) -> PairTokenizer:
        """Puts token ids of pairs together."""
        tokens = self.tokenizer.sep_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        separator, end, padding = (token if isinstance(token, int) else None for token in tokens)
        separator = end if separator is None else separator
        # Padding is masked, so that any token will do.
        filler = next((token for token in (padding, separator) if token is not None), 0)
        soft = 0 if self.model.soft_tokens is None else len(self.model.soft_tokens.widths)
        return PairTokenizer(self.tokenizer.backend_tokenizer, self.max_length, filler, separator, self.columns, soft)

    def forward(self, pairs: PairTokens, rows: IntArray, precision: Precision) -> torch.Tensor:
        """Logits of some of the rows for training, shape (B,), float32: with dropout and gradients.

        In bfloat16 weights stay in float32 and are rounded as they are used (autocast).
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            return self.model.of_rows(pairs, rows, self.device)

    def forward_following(
        self, pairs: PairTokens, rows: IntArray, precision: Precision
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and what follows clicks, see `CrossEncoder.with_following`."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            return self.model.with_following(pairs, rows, self.device)

    def inference(self, precision: Precision) -> Inference:
        """The network as it is now, for logits in that precision."""
        return Inference(self.model, self.device, precision)

    def batches(self, pairs: PairTokens) -> Batches:
        """Length-sorted batches of a size that suits the device."""
        return Batches.of(pairs.lengths, TOKENS_PER_BATCH[self.device.type])

    def logits(self, pairs: PairTokens, precision: Precision = "float32") -> FloatArray:
        """Logits of all rows without dropout, shape (n,)."""
        batches = self.batches(pairs)
        logits = np.empty(len(batches.order))
        logits[batches.order] = self.inference(precision).logits(pairs, batches.rows(0, len(batches)))
        return logits

    def weights_hash(self) -> str:
        """SHA-256 of names, shapes and values of all weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """SHA-256 of all that determines a logit in float32: weights, tokenizer, template and length."""
        digest = hashlib.sha256(self.weights_hash().encode())
        digest.update(self.pair_tokenizer.rules().encode())
        digest.update(f"{TEMPLATE} {self.model.kind} {self.model.pooling} {self.max_length} float32".encode())
        if self.columns is not None:
            digest.update(self.columns.content_hash.encode())
        return digest.hexdigest()


def load_tokenizer(weights: Weights) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the weights."""
    if weights.folder is None:
        return _tiny_tokenizer(weights)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(weights.folder, local_files_only=True)
    return tokenizer


def tiny_config(weights: Weights) -> BertConfig:
    """Two small layers."""
    return BertConfig(
        vocab_size=len(weights.vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )


def _tiny_tokenizer(weights: Weights) -> BertTokenizer:
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(weights.vocabulary)})


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from reporting that the head is new: it is meant to be."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
