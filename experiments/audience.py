"""Who visits, what policies see of users and items, and when items arrive; the same in every kind of world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bandits.propensity_table import PropensityTable
from bandits.reward_models.segments import OTHERS, segment_of
from experiments.config import ExperimentConfig
from experiments.problems import did_you_mean

FloatArray = NDArray[np.float64]
NULL_ITEM = "(none)"


@dataclass(frozen=True)
class Audience:
    """What policies see, and who comes how often.

    Attributes:
        user_features: Shape (U, D).
        arm_features: Shape (K, E) or (W, K, E).
        weights: How often each user comes, shape (U,); None when all alike.
        late_items: Pairs of an item's id (or text) and the round that it arrives in.
        null_item: Index of the item that stands for showing nothing; None without one.
    """

    user_features: FloatArray | None = None
    arm_features: FloatArray | None = None
    weights: FloatArray | None = None
    late_items: tuple[tuple[str, int], ...] = ()
    null_item: int | None = None


def with_null_item(table: PropensityTable, rate: float) -> PropensityTable:
    """The table with one more item, at the end: showing nothing, to which everybody responds with `rate`.

    Raises:
        ValueError: When worlds differ in their number of items, so that none can be the last of all.
    """
    worlds, users, items = table.p.shape
    if np.any(table.num_items < items):
        raise ValueError("`world.no_recommendation` must be left out where worlds differ in their number of items.")
    return replace(
        table,
        p=np.concatenate([table.p, np.full((worlds, users, 1), rate, dtype=np.float32)], axis=2),
        item_ids=np.concatenate([table.item_ids, np.full((worlds, 1), NULL_ITEM)], axis=1),
        item_texts=np.concatenate([table.item_texts, np.full((worlds, 1), "(nothing recommended)")], axis=1),
        num_items=table.num_items + 1,
    )


def segments_of(table: PropensityTable, patterns: Mapping[str, str]) -> dict[str, list[int]] | None:
    """Users of each segment: those whose text the segment's pattern is found in, and none before; the rest are others.

    Args:
        table: The users.
        patterns: Name of a segment to a regular expression, in which letters may be small or capital.

    Raises:
        ValueError: When no user belongs to a segment.
    """
    if not patterns:
        return None
    members: dict[str, list[int]] = {name: [] for name in (*patterns, OTHERS)}
    for user, text in enumerate(table.user_texts):
        members[segment_of(str(text), patterns)].append(user)
    if not members[OTHERS]:
        del members[OTHERS]
    if empty := [name for name, users in members.items() if not users]:
        raise ValueError(f"`world.segments` must each fit some user. Got none for {', '.join(empty)}.")
    return members


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
