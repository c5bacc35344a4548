"""BERT as a function from texts to logits: `[CLS] user [SEP] item [SEP]`, or `[CLS] item [SEP]` without a user."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from bandits.reward_models.weights import Weights

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TEMPLATE = "[CLS] user [SEP] item [SEP]"
_SCORING_BATCH = {"cpu": 32, "cuda": 512}


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids of `n` texts.

    Attributes:
        ids: Token ids of each text, special tokens included.
        segments: 0 for the first text and 1 for the second, as long as `ids`.
        padding: Token id that fills up shorter texts.
    """

    ids: list[list[int]]
    segments: list[list[int]]
    padding: int

    @cached_property
    def lengths(self) -> IntArray:
        """Number of tokens of each text, shape (n,)."""
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)

    def batch(self, rows: IntArray, device: torch.device) -> dict[str, torch.Tensor]:
        """Arguments of BERT for some of the texts, padded to the longest of them; each of shape (B, longest)."""
        longest = int(self.lengths[rows].max())
        ids = np.full((len(rows), longest), self.padding, dtype=np.int64)
        segments, mask = np.zeros_like(ids), np.zeros_like(ids)
        for place, row in enumerate(rows):
            length = self.lengths[row]
            ids[place, :length] = self.ids[row]
            segments[place, :length] = self.segments[row]
            mask[place, :length] = 1
        arrays = {"input_ids": ids, "token_type_ids": segments, "attention_mask": mask}
        return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


class Network:
    """A BERT with one logit, its tokenizer and the template that joins user and item.

    Computes in float32 on a CPU and in bfloat16 (autocast) on a GPU; logits are float32 always.

    Args:
        model: A sequence classifier with one label.
        tokenizer: Its tokenizer.
        max_length: Number of tokens after which texts are cut, the longer of user and item first.
        device: Device to compute on.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int, device: torch.device
    ) -> None:
        self.model = model.to(device)  # type: ignore[arg-type]
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.device = device

    @classmethod
    def from_weights(cls, weights: Weights, *, max_length: int, device: torch.device, seed: int) -> Network:
        """Pretrained weights with a new head, drawn with `seed`."""
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(seed)
            if weights.folder is None:
                model = BertForSequenceClassification(tiny_config(weights))
            else:
                model = AutoModelForSequenceClassification.from_pretrained(
                    weights.folder, num_labels=1, dtype=torch.float32, use_safetensors=True, local_files_only=True
                )
        return cls(model, load_tokenizer(weights), max_length, device)

    @classmethod
    def load(cls, folder: Path, *, max_length: int, device: torch.device) -> Network:
        """A network that `save` wrote."""
        with quiet():
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return cls(model, tokenizer, max_length, device)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`, `config.json` and the tokenizer's files into `folder`."""
        with quiet():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def tokenize(self, users: Sequence[str], items: Sequence[str]) -> Tokens:
        """Token ids of rows of user and item texts, both of length n; rows with an empty user hold the item alone."""
        ids: list[list[int]] = [[] for _ in items]
        segments: list[list[int]] = [[] for _ in items]
        with_user = [row for row, user in enumerate(users) if user]
        without = [row for row, user in enumerate(users) if not user]
        for rows in (with_user, without):
            if not rows:
                continue
            texts = [items[row] for row in rows]
            pair = ([users[row] for row in rows], texts) if rows is with_user else (texts,)
            encoded = self.tokenizer(
                *pair, truncation=True, max_length=self.max_length, padding=False, return_token_type_ids=True
            )
            for row, row_ids, row_segments in zip(rows, encoded["input_ids"], encoded["token_type_ids"], strict=True):
                ids[row], segments[row] = row_ids, row_segments
        padding = self.tokenizer.pad_token_id
        assert isinstance(padding, int)
        return Tokens(ids, segments, padding)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits of one batch, shape (B,), float32, with gradients where they are switched on."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits: torch.Tensor = self.model(**batch).logits
        return logits.squeeze(-1).float()

    def logits(self, tokens: Tokens) -> FloatArray:
        """Logits of all texts in length-sorted batches, without dropout, shape (n,)."""
        logits = np.empty(len(tokens.ids))
        order = np.argsort(tokens.lengths, kind="stable")
        size = _SCORING_BATCH[self.device.type]
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                logits[rows] = self.forward(tokens.batch(rows, self.device)).cpu().numpy()
        return logits

    def weights_hash(self) -> str:
        """SHA-256 of names, shapes and values of all weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """SHA-256 of all that determines a logit: weights, tokenizer, template, length, and precision."""
        digest = hashlib.sha256(self.weights_hash().encode())
        rules = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        rules.no_padding()  # these two remember the last call, and are no part of what the tokenizer is
        rules.no_truncation()
        digest.update(rules.to_str().encode())
        precision = "bfloat16" if self.device.type == "cuda" else "float32"
        digest.update(f"{TEMPLATE} {self.max_length} {precision}".encode())
        return digest.hexdigest()


def load_tokenizer(weights: Weights) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the weights."""
    if weights.folder is None:
        return _tiny_tokenizer(weights)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(weights.folder, local_files_only=True)
    return tokenizer


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is a GPU when there is one.

    Raises:
        ValueError: When there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"`device` must be 'auto', 'cpu' or 'cuda'. Got {name!r}.") from error
    if device.type not in _SCORING_BATCH or (device.type == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"`device` must be 'auto', 'cpu', or 'cuda' on a machine with a GPU. Got {name!r}.")
    return device


def tiny_config(weights: Weights) -> BertConfig:
    """Two small layers with one label."""
    config = BertConfig(
        vocab_size=len(weights.vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    config.num_labels = 1
    return config


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
