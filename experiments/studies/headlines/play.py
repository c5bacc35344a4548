"""Plays policies in headline tests: how many visitors each headline gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits import simulate
from bandits.propensity_table import PropensityTable
from envs import SimulatedUsers
from experiments.studies.headlines.candidates import Candidate, Prior

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Group:
    """Tests with the same number of headlines, which are played together.

    Attributes:
        tests: Their numbers, shape (W,).
        rows: Rows of their headlines, shape (W, K).
        first: Number of the first replication; those of other groups are others, so that no two tests share their luck.
        worlds: The tests as environments, by the prior that policies get.
    """

    tests: IntArray
    rows: IntArray
    first: int
    worlds: dict[Prior, SimulatedUsers]


def make_groups(headlines: pd.DataFrame, drawn: FloatArray, replications: int, *, by_fold: bool) -> list[Group]:
    """Group the tests by their number of headlines, and by their fold where asked.

    Args:
        headlines: From `predicted_headlines`.
        drawn: Rates that visitors click with, shape (n,).
        replications: How often each test is played.
        by_fold: Whether tests of one group must be of one fold.
    """
    test = headlines["test"].to_numpy()
    begin, arms = np.unique(test, return_index=True, return_counts=True)[1:]
    fold = headlines["fold"].to_numpy()[begin] if by_fold else np.zeros_like(arms)
    groups: list[Group] = []
    first = 0
    for f, k in sorted({*zip(fold.tolist(), arms.tolist(), strict=True)}):
        tests = np.flatnonzero((fold == f) & (arms == k))
        rows = begin[tests][:, np.newaxis] + np.arange(k)
        table = _table(drawn[rows])
        worlds: dict[Prior, SimulatedUsers] = {}
        for prior in ("predicted", "base"):
            known = headlines[prior].to_numpy(dtype=np.float64)[rows][:, np.newaxis]
            worlds[prior] = SimulatedUsers(table, num_envs=len(tests) * replications, prior=known)
        groups.append(Group(tests, rows, first, worlds))
        first += len(tests) * replications
    return groups


def mean_visits(group: Group, candidate: Candidate, visitors: int, *, seed: int, threads: int | None) -> FloatArray:
    """Visitors that each headline gets, averaged over the replications of its test, shape (W, K).

    Two policies meet the same visitors with the same luck, whatever the number of visitors.

    Args:
        group: The tests.
        candidate: The policy.
        visitors: Visitors per headline; each test has K times as many.
        seed: Of visitors and policy.
        threads: As in `simulate`.
    """
    worlds, arms = group.worlds[candidate.prior], group.rows.shape[1]
    horizon = arms * visitors
    trace = simulate(
        worlds,
        candidate.make(arms, visitors),
        horizon=horizon,
        seed=seed,
        first_replication=group.first,
        threads=threads,
        snapshots=[horizon],
    )
    visits = np.zeros(group.rows.shape)
    np.add.at(visits, trace.world, trace.pulls)
    return visits * len(group.tests) / worlds.num_envs


def _table(rates: FloatArray) -> PropensityTable:
    """One anonymous visitor, and a world for each test; rates of shape (W, K)."""
    worlds, arms = rates.shape
    return PropensityTable(
        p=rates[:, np.newaxis].astype(np.float32),
        user_ids=("anyone",),
        user_texts=("",),
        item_ids=np.tile(np.array([str(k) for k in range(arms)]), (worlds, 1)),
        item_texts=np.full((worlds, arms), ""),
        num_items=np.full(worlds, arms, dtype=np.int64),
        world_ids=tuple(str(w) for w in range(worlds)),
    )
