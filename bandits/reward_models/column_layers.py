"""How columns beside the text enter the network: as a part of the logit, or, embeddings, as tokens of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

EmbeddingsEnter = Literal["logit", "tokens"]

_PROJECTED = 32


class ColumnsHead(nn.Module):
    """What columns beside the text add to a logit.

    A linear map of the numbers and of each embedding's projection to 32 numbers: the same as to put these behind the
    pooled vector, in front of a linear head. It starts at 0.

    Args:
        numbers: How many numbers there are, F.
        embeddings: Length of each embedding that enters here.
    """

    def __init__(self, numbers: int, embeddings: Sequence[int]) -> None:
        super().__init__()
        self.widths = [numbers, *embeddings]
        self.projections = nn.ModuleList(nn.Linear(width, _PROJECTED, bias=False) for width in embeddings)
        self.head = nn.Linear(numbers + _PROJECTED * len(embeddings), 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def read(self, values: torch.Tensor) -> torch.Tensor:
        """The columns that enter here, which are the first ones, of all columns, shape (B, F + E)."""
        return values[:, : sum(self.widths)]

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits, shape (B,), of columns, shape (B, F + E)."""
        with torch.autocast(values.device.type, enabled=False):
            numbers, *embeddings = torch.split(self.read(values).to(self.head.weight.dtype), self.widths, dim=1)
            projected = [projection(part) for projection, part in zip(self.projections, embeddings, strict=True)]
            logits: torch.Tensor = self.head(torch.cat([numbers, *projected], dim=1))
        return logits.squeeze(-1)


class SoftTokens(nn.Module):
    """Embeddings of users and items as tokens that are no words.

    The token of an embedding x is m + s (A x + b), with the mean word embedding m and the standard deviation s of words
    around it, so that A and b are learned in the unit that the encoder is used to. A starts at random with variance 1
    over the length of x, b at 0: a standardised embedding starts as a token about as long as a word.

    Args:
        embeddings: Length of each embedding.
        size: Length of word embeddings.

    References:
        Lester, Al-Rfou, Constant (2021), "The power of scale for parameter-efficient prompt tuning" (soft tokens).
        Liao et al. (2024), "LLaRA: large language-recommendation assistant" (a recommender's vectors, projected).
    """

    centre: torch.Tensor
    spread: torch.Tensor

    def __init__(self, embeddings: Sequence[int], size: int) -> None:
        super().__init__()
        self.widths = list(embeddings)
        self.projections = nn.ModuleList(nn.Linear(width, size) for width in embeddings)
        for projection, width in zip(self.projections, self.widths, strict=True):
            assert isinstance(projection, nn.Linear)
            nn.init.normal_(projection.weight, std=width**-0.5)
            nn.init.zeros_(projection.bias)
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("spread", torch.ones(()))

    def settle(self, words: nn.Module, count: int) -> None:
        """Take mean and standard deviation from what `words` makes of the ids below `count`."""
        with torch.no_grad():
            vectors = words(torch.arange(count))
        self.centre.copy_(vectors.mean(0))
        self.spread.copy_((vectors - self.centre).std())

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Tokens, shape (B, number of embeddings, size), of columns, shape (B, F + E), of which they are the last."""
        with torch.autocast(values.device.type, enabled=False):
            parts = torch.split(values[:, -sum(self.widths) :].to(self.centre.dtype), self.widths, dim=1)
            mapped = [projection(part) for projection, part in zip(self.projections, parts, strict=True)]
            return self.centre + self.spread * torch.stack(mapped, dim=1)
