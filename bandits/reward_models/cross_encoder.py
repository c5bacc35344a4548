"""The network itself: any encoder or decoder of transformers, its tokens pooled into one vector, and a linear head.

A cross-encoder reads user and item together. A bi-encoder reads them apart and multiplies: coarser, but with U users
and K items it reads U + K texts instead of U times K pairs.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

from bandits.reward_models.column_layers import ColumnsHead, SoftTokens
from bandits.reward_models.pair_tokens import SOFT_TOKEN, IntArray, PairTokens

Architecture = Literal["cross", "bi"]
Pooling = Literal["mean", "first", "last", "pooler"]

HEAD_FILE = "head.safetensors"
_HEAD_DROPOUT = 0.1
_HEAD_SPREAD = 0.02
_DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"),
    *("embedding_dropout", "mlp_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"),
)


class CrossEncoder(nn.Module):
    """One logit for user and item that an encoder reads together.

    Pooler and head compute in float32 whatever the encoder computes in: bfloat16 keeps 8 bits, so that logits around
    -3 would lie 1/64 apart, and click rates 1.6 %.

    Args:
        encoder: What `AutoModel` makes: token ids to hidden states. Its pooler, if it has one, is taken out.
        pooling: Hidden states to one vector: their `mean`, the `first` token's, the `last` token's, or what the
            encoder's own `pooler` makes of the first; `auto` is the mean for encoders, the last token for decoders,
            in which no other token has read the entire text.
        dropout: Share of the pooled vector that is dropped in training; 0.1 unless said.

    Attributes:
        columns: What columns beside the text add to a logit; None where nothing is.
        soft_tokens: Embeddings among these columns as tokens; None where there are none.
        following: In a fit only: a linear map to the logit of a conversion and the logarithm of its value.

    Raises:
        ValueError: When the encoder has no pooler and `pooling` asks for it.
    """

    kind: ClassVar[Architecture] = "cross"

    def __init__(
        self, encoder: PreTrainedModel, pooling: Pooling | Literal["auto"] = "auto", dropout: float | None = None
    ) -> None:
        super().__init__()
        pooler = getattr(encoder, "pooler", None)
        if pooler is not None:
            encoder.register_module("pooler", None)
        # ALBERT's is a bare linear map, which its model applies in a way of its own.
        if pooling == "pooler" and (pooler is None or isinstance(pooler, nn.Linear)):
            raise ValueError(
                f"`pooling` must be 'auto', 'mean', 'first' or 'last' for the architecture "
                f"{encoder.config.model_type!r}, which has no pooler. Got 'pooler'."
            )
        self.encoder: Any = encoder
        self.pooling: Pooling = (
            ("mean" if reads_both_ways(encoder.config) else "last") if pooling == "auto" else pooling
        )
        self.pooler = pooler if self.pooling == "pooler" else None
        self.dropout = nn.Dropout(_HEAD_DROPOUT if dropout is None else dropout)
        self.head = nn.Linear(encoder.config.hidden_size, 1)
        nn.init.normal_(self.head.weight, std=_HEAD_SPREAD)
        nn.init.zeros_(self.head.bias)
        self.columns: ColumnsHead | None = None
        self.soft_tokens: SoftTokens | None = None
        self.following: nn.Linear | None = None
        # GPT-2 would read segments as words, RoBERTa and DeBERTa know only one.
        self.takes_segments = (
            getattr(encoder.config, "type_vocab_size", 0) > 1
            and "token_type_ids" in inspect.signature(encoder.forward).parameters
        )

    def take_columns(self, numbers: int, in_logit: Sequence[int], as_tokens: Sequence[int]) -> None:
        """Make room for columns beside the text.

        Args:
            numbers: How many numbers there are.
            in_logit: Lengths of the embeddings that are added to the logit.
            as_tokens: Lengths of those that become tokens.

        Raises:
            ValueError: When there are such, and the encoder reads words only.
        """
        if numbers or in_logit:
            self.columns = ColumnsHead(numbers, in_logit)
        if not as_tokens:
            return
        if "inputs_embeds" not in inspect.signature(self.encoder.forward).parameters:
            raise ValueError(
                f"`embeddings_enter` must be 'logit' for the architecture {self.encoder.config.model_type!r}, which "
                "reads nothing but words. Got 'tokens'."
            )
        words = self.encoder.get_input_embeddings()
        self.soft_tokens = SoftTokens(as_tokens, words.embedding_dim)
        self.soft_tokens.settle(words, words.num_embeddings)

    def forward(
        self,
        input_ids: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        soft: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits, shape (B,), float32 (float64 in a network of that type).

        Args:
            input_ids: Shape (B, longest), padded behind; `SOFT_TOKEN` in the place of a soft token.
            token_type_ids: Segments, shape (B, longest); ignored by architectures without.
            attention_mask: 1 at real tokens and 0 at padding, shape (B, longest); None where nothing is padded.
            soft: Each row's soft tokens, shape (B, number of them, size of word embeddings); None where there are none.
        """
        return self.logits(self.vectors(input_ids, token_type_ids, attention_mask, soft))

    def vectors(
        self,
        input_ids: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        soft: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the head sees of each row, shape (B, H); arguments as those of `forward`."""
        segments = {"token_type_ids": token_type_ids} if self.takes_segments else {}
        tokens = {"input_ids": input_ids} if soft is None else {"inputs_embeds": self._embedded(input_ids, soft)}
        hidden = self.encoder(**tokens, attention_mask=attention_mask, **segments).last_hidden_state
        with torch.autocast(hidden.device.type, enabled=False):
            return self._pool(hidden.to(self.head.weight.dtype), attention_mask)

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """The head: logits, shape (B,), of vectors, shape (B, H)."""
        with torch.autocast(vectors.device.type, enabled=False):
            logits: torch.Tensor = self.head(self.dropout(vectors))
        return logits.squeeze(-1)

    def vectors_of(self, pairs: PairTokens, rows: IntArray, device: torch.device) -> torch.Tensor:
        """What the head sees of some of the rows, shape (B, H)."""
        return self.vectors(**pairs.batch(rows, device), soft=self.soft(pairs, rows, device))

    def soft(self, pairs: PairTokens, rows: IntArray, device: torch.device) -> torch.Tensor | None:
        """Soft tokens of some of the rows, as `forward` takes them; None where there are none."""
        if self.soft_tokens is None:
            return None
        tokens: torch.Tensor = self.soft_tokens(pairs.beside(rows, device))
        return tokens

    def of_rows(self, pairs: PairTokens, rows: IntArray, device: torch.device) -> torch.Tensor:
        """Logits of some of the rows, shape (B,)."""
        return self.with_columns(self.logits(self.vectors_of(pairs, rows, device)), pairs, rows)

    def with_following(
        self, pairs: PairTokens, rows: IntArray, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of some of the rows, shape (B,), and what `following` makes of them, shape (B, 2)."""
        assert self.following is not None
        vectors = self.vectors_of(pairs, rows, device)
        with torch.autocast(vectors.device.type, enabled=False):
            following: torch.Tensor = self.following(self.dropout(vectors))
        return self.with_columns(self.logits(vectors), pairs, rows), following

    def with_columns(self, logits: torch.Tensor, pairs: PairTokens, rows: IntArray) -> torch.Tensor:
        """Logits of texts plus what the columns beside them add, shape (B,)."""
        return logits if self.columns is None else logits + self.columns(pairs.beside(rows, logits.device))

    def _embedded(self, input_ids: torch.Tensor, soft: torch.Tensor) -> torch.Tensor:
        """What stands for the tokens in front of positions and segments: words' embeddings, and soft tokens."""
        words: torch.Tensor = self.encoder.get_input_embeddings()(input_ids.clamp(min=0))
        return words.masked_scatter((input_ids == SOFT_TOKEN).unsqueeze(-1), soft.to(words.dtype))

    def _pool(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if self.pooler is not None:
            pooled: torch.Tensor = self.pooler(hidden)
            return pooled
        if self.pooling == "first":
            return hidden[:, 0]
        if self.pooling == "last":
            if mask is None:
                return hidden[:, -1]
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
        if mask is None:
            return hidden.mean(1)
        share = mask / mask.sum(1, keepdim=True)
        return torch.bmm(share.to(hidden.dtype).unsqueeze(1), hidden).squeeze(1)

    @property
    def embeddings(self) -> list[nn.Module]:
        """The modules that turn token ids into the first layer's input."""
        whole = getattr(self.encoder, "embeddings", None)
        if isinstance(whole, nn.Module):
            return [whole]
        inside = {id(module) for layer in self.layers for module in layer.modules()}
        return [m for m in self.encoder.modules() if isinstance(m, nn.Embedding) and id(m) not in inside]

    @property
    def layers(self) -> list[nn.Module]:
        """The encoder's layers, lowest first; empty where they are not a list (ALBERT's share their weights)."""
        depth = getattr(self.encoder.config, "num_hidden_layers", 0)
        lists = (m for m in self.encoder.modules() if isinstance(m, nn.ModuleList) and len(m) == depth)
        return list(next(lists, []))

    @property
    def positions(self) -> int | None:
        """Number of tokens that the encoder can tell apart by position; None where nothing limits it."""
        table = getattr(getattr(self.encoder, "embeddings", None), "position_embeddings", None)
        most = getattr(self.encoder.config, "max_position_embeddings", None)
        if most is None or most < 1:
            return None
        # RoBERTa and its kin count from behind the padding's own position.
        reserved = getattr(table, "padding_idx", None)
        return int(most) if reserved is None else int(most) - reserved - 1

    def save(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors` of the encoder, and `head.safetensors`, into `folder`."""
        wrapped = hasattr(self.encoder, "get_base_model")  # by peft, where it has a prefix
        encoder = self.encoder.get_base_model() if wrapped else self.encoder
        encoder.save_pretrained(folder)
        head = {name: tensor.contiguous() for name, tensor in self._head_state().items()}
        about = {"architecture": encoder.config.model_type, "pooling": self.pooling, "kind": self.kind}
        if self.columns is not None or self.soft_tokens is not None:
            numbers, *in_logit = [0] if self.columns is None else self.columns.widths
            as_tokens = [] if self.soft_tokens is None else self.soft_tokens.widths
            about["columns"] = json.dumps([numbers, in_logit, as_tokens])
        save_file(head, folder / HEAD_FILE, metadata=about)

    @staticmethod
    def load(folder: Path) -> CrossEncoder:
        """Read what `save` wrote: a cross-encoder or a bi-encoder.

        Raises:
            ValueError: When encoder or head are missing, or made for another architecture.
        """
        if not (folder / HEAD_FILE).is_file():
            raise ValueError(f"`folder` must hold an encoder and its head. Got {folder}, without {HEAD_FILE}.")
        encoder = load_encoder(folder)
        try:
            with safe_open(folder / HEAD_FILE, framework="pt") as file:
                about: dict[str, Any] = file.metadata() or {}
            stored = load_file(folder / HEAD_FILE)
        except SafetensorError as error:
            raise ValueError(f"{HEAD_FILE} in {folder} must be readable. Got: {error}.") from error
        if about.get("kind") not in ENCODERS:
            raise ValueError(f"{HEAD_FILE} in {folder} must say what it is the head of. Got {about}.")
        made_for, found = about.get("architecture"), encoder.config.model_type
        if made_for != found:
            raise ValueError(
                f"Encoder and head in {folder} must be of one architecture. Got an encoder {found!r} and a head made "
                f"for {made_for!r}."
            )
        model = ENCODERS[about["kind"]](encoder, about["pooling"])
        if "columns" in about:
            model.take_columns(*json.loads(about["columns"]))
        expected, shapes = _shapes(model._head_state()), _shapes(stored)
        if shapes != expected:
            raise ValueError(
                f"The head in {folder} must fit its encoder, a {found!r} with {encoder.config.hidden_size} hidden "
                f"units: {expected}. Got {shapes}."
            )
        model.load_state_dict(stored, strict=False)
        return model

    def _head_state(self) -> dict[str, torch.Tensor]:
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("encoder.")}


class BiEncoder(CrossEncoder):
    """One logit for user and item that the same encoder reads apart.

    With vectors u and v of length H it is (M u)'v / sqrt(H) + w'v + b; where there is no user, w'v + b. The matrix M
    says which users go with which items, w which items are liked by all.
    """

    kind: ClassVar[Architecture] = "bi"

    def __init__(
        self, encoder: PreTrainedModel, pooling: Pooling | Literal["auto"] = "auto", dropout: float | None = None
    ) -> None:
        super().__init__(encoder, pooling, dropout)
        self.users = nn.Linear(self.head.in_features, self.head.in_features, bias=False)
        nn.init.normal_(self.users.weight, std=_HEAD_SPREAD)

    def project(self, users: torch.Tensor) -> torch.Tensor:
        """M u of users' vectors, shape (B, H); 0 stays 0, and stands for no user."""
        with torch.autocast(users.device.type, enabled=False):
            projected: torch.Tensor = self.users(self.dropout(users))
        return projected

    def match(self, projected: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Logits, shape (B,), of what `project` made of users and of items' vectors, shape (B, H)."""
        with torch.autocast(items.device.type, enabled=False):
            items = self.dropout(items)
            products = (projected * items).sum(-1) / math.sqrt(items.shape[-1])
            logits: torch.Tensor = products + self.head(items).squeeze(-1)
        return logits

    def of_rows(self, pairs: PairTokens, rows: IntArray, device: torch.device) -> torch.Tensor:
        """Logits of some of the rows, shape (B,); a text that stands in several of them is read once."""
        texts, place = np.unique(np.stack([pairs.user[rows], pairs.item[rows]]), return_inverse=True)
        known = texts >= 0  # the first may be "no user"
        vectors = self.vectors_of(pairs.alone(texts[known]), np.arange(known.sum()), device)
        if not known.all():
            vectors = torch.cat([torch.zeros_like(vectors[:1]), vectors])
        users, items = torch.from_numpy(place.reshape(2, -1)).to(device)
        return self.with_columns(self.match(self.project(vectors[users]), vectors[items]), pairs, rows)


ENCODERS: dict[Architecture, type[CrossEncoder]] = {"cross": CrossEncoder, "bi": BiEncoder}


def load_encoder(folder: Path, *, dropout: float | None = None) -> PreTrainedModel:
    """The encoder or decoder in a folder, in float32, without the head it was trained with.

    Args:
        folder: With `config.json` and `model.safetensors` of any architecture that `AutoModel` knows.
        dropout: Share that its layers drop in training; None leaves that to its config.

    Raises:
        ValueError: When there is no such model, its weights are those of another architecture, or it is made of an
            encoder and a decoder.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.is_encoder_decoder:
            raise ValueError("an encoder with a decoder behind it")
        set_dropout(config, dropout)
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError, StrictDataclassError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"`weights` must be an encoder or a decoder that AutoModel reads. Got {folder}: {reason}."
        ) from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ValueError(
            f"`model.safetensors` in {folder} must hold the weights of the architecture in its config.json, "
            f"{config.model_type!r}. Got a file without {len(missing)} of them, such as {missing[0]!r}: one of another "
            "architecture?"
        )
    encoder: PreTrainedModel = model
    if hasattr(encoder.config, "use_cache"):
        encoder.config.use_cache = False  # keys and values of a decoder, of use to those who generate text
    return encoder


def set_dropout(config: PreTrainedConfig, dropout: float | None) -> None:
    """Set all of an architecture's dropout probabilities to one; None leaves them alone."""
    for name in _DROPOUTS if dropout is not None else ():
        if isinstance(getattr(config, name, None), float | int):
            setattr(config, name, dropout)


def reads_both_ways(config: PreTrainedConfig) -> bool:
    """Whether every token reads the whole text, as in models that are trained to fill in masked words."""
    return type(config) in MODEL_FOR_MASKED_LM_MAPPING


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in sorted(tensors.items())}
