"""The rows of a fit: tokens, targets, and which of them share a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.reward_models import within_test
from bandits.reward_models.fit_config import FitConfig
from bandits.reward_models.network import Network
from bandits.reward_models.pair_tokens import PairTokens

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_BATCHES_SORTED_TOGETHER = 16


@dataclass(frozen=True, eq=False)
class Examples:
    """Tokenized rows with their targets.

    Attributes:
        tokens: Token ids of the rows.
        impressions: Shape (n,), positive.
        clicks: Shape (n,). In logs of tests both are tempered by one factor in each contrast, see `within_test`.
        contrast: Number of each row's contrast, from 0, shape (n,).
        whole_contrasts: Whether the rows of a contrast share every step.
        outcomes: Clicks, conversions and value (0 in a log without), shape (n, 3); None for logs without conversions.
    """

    tokens: PairTokens
    impressions: FloatArray
    clicks: FloatArray
    contrast: IntArray
    whole_contrasts: bool
    outcomes: FloatArray | None = None

    @classmethod
    def of(cls, rows: pd.DataFrame, network: Network, config: FitConfig) -> Examples:
        """Tokenize rows of `ClickLog.pairs`."""
        impressions, clicks = (rows[column].to_numpy(dtype=np.float64) for column in ("impressions", "clicks"))
        contrast = pd.factorize(rows["contrast"])[0].astype(np.int64)
        tests = config.loss != "binomial"
        if tests:
            share = within_test.tempering(clicks, contrast, config.overdispersion)
            impressions, clicks = share * impressions, share * clicks
        tokens = network.pair_tokenizer.rows(rows["user_text"].tolist(), rows["item_text"].tolist())
        outcomes = None
        if "conversions" in rows:
            value = rows["value"] if "value" in rows else np.zeros(len(rows))
            outcomes = np.column_stack([rows["clicks"], rows["conversions"], value]).astype(np.float64)
        return cls(tokens, impressions, clicks, contrast, tests, outcomes)

    @property
    def weight(self) -> float:
        """What losses are divided by: the number of clicks where contrasts stay whole, of impressions otherwise."""
        return float((self.clicks if self.whole_contrasts else self.impressions).sum())

    def units(self) -> list[IntArray]:
        """Rows that must share a batch: each row alone, or the rows of a contrast."""
        if not self.whole_contrasts:
            return [np.array([row]) for row in range(len(self.clicks))]
        order = np.argsort(self.contrast, kind="stable")
        return list(np.split(order, np.flatnonzero(np.diff(self.contrast[order])) + 1))

    def batches(self, units: list[IntArray], size: int, seed: int, epoch: int) -> list[IntArray]:
        """Rows of each batch of an epoch.

        Units come in random order, sorted by length within some batches, so that little is padded.

        Args:
            units: From `units`.
            size: Units in a batch.
            seed: Of the fit.
            epoch: From 0.
        """
        random = np.random.default_rng([seed, epoch])
        lengths = np.array([self.tokens.lengths[unit].max() for unit in units])
        order = random.permutation(len(units))
        together = size * _BATCHES_SORTED_TOGETHER
        batches = []
        for start in range(0, len(order), together):
            block = order[start : start + together]
            block = block[np.argsort(lengths[block], kind="stable")]
            batches += [block[first : first + size] for first in range(0, len(block), size)]
        return [
            np.concatenate([units[unit] for unit in batches[number]]) for number in random.permutation(len(batches))
        ]
