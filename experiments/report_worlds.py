"""The report's tables about worlds: arms, users, tests, and items that arrive late."""

from __future__ import annotations

from typing import Any

import numpy as np

from bandits.propensity_table import PropensityTable
from experiments.run_data import FloatArray, IntArray, RunData

_TOP = 3
_LEAST_VISITS = 1000  # a share of them has a standard error of at most 1.6 points
_SAMPLE_TESTS = 5


def arms_section(data: RunData) -> list[dict[str, Any]]:
    """One row per arm, best first; empty where worlds differ in their arms, or without a table."""
    table = data.table
    if table is None or not data.same_arms:
        return []
    rates = data.weights @ table.p[: data.members].mean(axis=0, dtype=np.float64)
    best_for = _best_for(data, table)
    return [
        {
            "id": str(table.item_ids[0, k]),
            "text": str(table.item_texts[0, k]),
            "rate": float(rates[k]),
            "best_for": float(best_for[k]),
        }
        for k in np.argsort(-rates, kind="stable")
    ]


def _best_for(data: RunData, table: PropensityTable) -> FloatArray:
    """Share of the visits for which each arm is the best, shape (K,), on average over the members' worlds."""
    shares = [ideal_shares(p.astype(np.float64), data.weights) for p in table.p[: data.members]]
    mean: FloatArray = np.mean(shares, axis=0)
    return mean


def ideal_shares(p: FloatArray, weights: FloatArray) -> FloatArray:
    """Share of the visits for which each arm is the best, shape (K,).

    Args:
        p: Click probabilities, shape (U, K).
        weights: Share of the visits of each user, shape (U,).
    """
    shares: FloatArray = np.bincount(p.argmax(axis=1), weights=weights, minlength=p.shape[1]).astype(np.float64)
    return shares


def late_section(data: RunData) -> list[dict[str, Any]]:
    """Who finds each item that arrives late, and when."""
    sections = []
    for arm, start in data.late_items:
        table = data.table
        assert table is not None
        ideal = float(_best_for(data, table)[arm])
        rows: list[dict[str, Any]] = []
        for label, pulls in data.traffic.items():
            found, highest, final = discovery(data.rounds, pulls, arm, start, ideal / 2, least=_LEAST_VISITS)
            rows.append({"policy": label, "found": found, "highest": highest, "final": final})
        rows.sort(key=lambda row: (row["found"] is None, row["found"] or 0, -row["final"]))
        text = str(table.item_texts[0, arm] or table.item_ids[0, arm])
        identity = {"id": str(table.item_ids[0, arm]), "text": text}
        sections.append(identity | {"round": start, "ideal": ideal, "rows": rows})
    return sections


def discovery(
    rounds: IntArray, pulls: IntArray, arm: int, start: int, threshold: float, *, least: int = 1
) -> tuple[int | None, float, float]:
    """From when on a late arm's share of the traffic stays at or above a threshold, and how high it gets.

    Shares are of the traffic between one snapshot and the next, so a burst of exploration that ends is no discovery.
    Short stretches are joined until they hold `least` visits, because shares of a few visits are chance.

    Args:
        rounds: Snapshots, shape (C,).
        pulls: Cumulative pulls, shape (C, K).
        arm: The arm.
        start: Round of its arrival.
        threshold: Share to reach, above 0.
        least: Visits, over all replications, that a stretch must hold.

    Returns:
        Rounds from the arrival to the end of the first of the stretches that all reach it, None where the last does
        not; the highest share; and the share at the end.

    >>> discovery(np.array([10, 20, 30]), np.array([[10, 0], [18, 2], [20, 10]]), 1, 10, 0.5)
    (20, 0.8, 0.8)
    """
    visits = pulls.sum(axis=1)
    edges = [int(np.searchsorted(rounds, start))]  # the first snapshot after the arrival
    for snapshot in range(edges[0] + 1, len(rounds)):
        if visits[snapshot] - visits[edges[-1]] >= least:
            edges.append(snapshot)
    if len(edges) < 2:
        return None, 0.0, 0.0
    shares = np.diff(pulls[edges, arm]) / np.diff(visits[edges])
    below = np.flatnonzero(shares < threshold)
    begin = int(below[-1]) + 1 if len(below) else 0  # the first stretch of those that all reach it
    found = int(rounds[edges[begin + 1]]) - start if threshold > 0 and begin < len(shares) else None
    return found, float(shares.max()), float(shares[-1])


def users_section(data: RunData) -> list[dict[str, Any]]:
    """A few users, spread evenly over the table, and what they are most likely to click on."""
    table, other = data.mean_table, data.other_table
    wanted = data.config.report.sample_users
    if table is None or not data.same_arms or not any(table.user_texts) or wanted == 0:
        return []
    chosen = np.unique(np.linspace(0, len(table.user_texts) - 1, wanted).astype(np.int64))
    return [{"text": table.user_texts[u], "picks": _items(table, other, 0, int(u), _TOP)} for u in chosen]


def sampled_worlds(data: RunData) -> list[list[dict[str, Any]]]:
    """A few worlds, where there are several, with all their items."""
    table, other = data.mean_table, data.other_table
    if table is None or data.same_arms:
        return []
    chosen = np.unique(np.linspace(0, len(table.world_ids) - 1, _SAMPLE_TESTS).astype(np.int64))
    return [_items(table, other, int(world), 0, int(table.num_items[world])) for world in chosen]


def _items(
    table: PropensityTable, other: PropensityTable | None, world: int, user: int, count: int
) -> list[dict[str, Any]]:
    rates = table.p[world, user, : table.num_items[world]]
    return [
        {
            "text": str(table.item_texts[world, k] or table.item_ids[world, k]),
            "rate": float(rates[k]),
            "other": None if other is None else float(other.p[world, user, k]),
        }
        for k in np.argsort(-rates, kind="stable")[:count]
    ]
