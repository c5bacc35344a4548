"""Chooses float32 or bfloat16 for a table: the fast one where a check on some of its pairs finds it harmless."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandits.reward_models.fit_config import ScoringConfig
from bandits.reward_models.inference import Precision, has_bfloat16
from bandits.reward_models.pair_tokens import PairTokens
from bandits.reward_models.reward_model import RewardModel

CHECKED_PAIRS = 256
_WORTH_CHECKING = 8 * CHECKED_PAIRS  # with fewer, the check would eat up over a quarter of what bfloat16 saves


@dataclass(frozen=True)
class PrecisionChoice:
    """What a table is scored in, and why.

    Attributes:
        precision: The choice.
        largest_change: Largest share of itself by which bfloat16 moved a click probability; None without a check.
        reason: The choice in words, for the log of a run.
    """

    precision: Precision
    largest_change: float | None
    reason: str


def choose_precision(model: RewardModel, pairs: PairTokens, config: ScoringConfig) -> PrecisionChoice:
    """The precision for scoring `pairs`.

    The check compares calibrated click probabilities p (bfloat16) and q (float32) of pairs drawn with a key made from
    the pairs' own content, so that the same table is always checked on the same pairs: the change is `|p - q| / q`.
    """
    if config.precision != "auto":
        return PrecisionChoice(config.precision, None, f"scored in {config.precision}, as configured")
    if not has_bfloat16(model.network.device):
        return PrecisionChoice("float32", None, "scored in float32: the processor has no bfloat16")
    if len(pairs.item) < _WORTH_CHECKING:
        return PrecisionChoice("float32", None, "scored in float32: too few pairs to check bfloat16 on")
    change = largest_change(model, pairs)
    precision: Precision = "bfloat16" if change <= config.max_change else "float32"
    return PrecisionChoice(
        precision,
        change,
        f"scored in {precision}: in a check on {CHECKED_PAIRS} pairs bfloat16 moved click probabilities by up to "
        f"{change:.2%}, and `max_change` is {config.max_change:.2%}",
    )


def largest_change(model: RewardModel, pairs: PairTokens) -> float:
    """Largest relative change of a click probability between float32 and bfloat16, over `CHECKED_PAIRS` pairs."""
    random = np.random.default_rng(int(pairs.content_hash[:16], 16))
    rows = random.choice(len(pairs.item), size=min(CHECKED_PAIRS, len(pairs.item)), replace=False)
    sample = pairs.take(rows)
    exact, rounded = (model.calibrator(model.network.logits(sample, name)) for name in ("float32", "bfloat16"))
    return float(np.max(np.abs(rounded - exact) / exact))
