"""Who visits, what policies see of users and items, and when items arrive; the same in every kind of world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits.propensity_table import PropensityTable
from experiments.config import ExperimentConfig
from experiments.problems import did_you_mean

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Audience:
    """What policies see, and who comes how often.

    Attributes:
        user_features: Shape (U, D).
        arm_features: Shape (K, E) or (W, K, E).
        weights: How often each user comes, shape (U,); None when all alike.
        late_items: Pairs of an item's id (or text) and the round that it arrives in.
    """

    user_features: FloatArray | None = None
    arm_features: FloatArray | None = None
    weights: FloatArray | None = None
    late_items: tuple[tuple[str, int], ...] = ()


def late_rounds(config: ExperimentConfig) -> tuple[tuple[str, int], ...]:
    """The items that the config lets arrive late, each with its round."""
    horizon = config.simulation.horizon
    return tuple(
        (item, round(start * horizon) if isinstance(start, float) else start)
        for item, start in config.world.late_items.items()
    )


def arrivals(table: PropensityTable, late_items: Sequence[tuple[str, int]]) -> NDArray[np.int64] | None:
    """Round from which each item is available, shape (W, K); None when all are there from the start.

    Args:
        table: The items.
        late_items: Pairs of an item's id (or its text) and its round.

    Raises:
        ValueError: When no world has such an item.
    """
    if not late_items:
        return None
    rounds = np.zeros(table.item_ids.shape, dtype=np.int64)
    for item, start in late_items:
        found = (table.item_ids == item) | (table.item_texts == item)
        if not found.any():
            known = sorted({str(identifier) for identifier in table.item_ids.ravel() if identifier})
            raise ValueError(f"`world.late_items` must name items. Got `{item}`. {did_you_mean(item, known)}")
        rounds[found] = start
    return rounds
