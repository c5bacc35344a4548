"""Identical arms: nothing is to be found, so nothing may be found."""

from __future__ import annotations

from typing import Any

import numpy as np

from bandits.engine import simulate
from bandits.propensity_table import PropensityTable
from bandits.statistics import exact_proportion_interval
from envs import SimulatedUsers
from experiments.policy_specs import build_policy
from experiments.validation.config import LoadedValidation
from experiments.validation.worlds import Worlds
from policies import ABTest

_ALPHA = 0.05
_REPLICATIONS = 10
_CONFIDENCE = 0.99  # one check among many, and no reason to alarm once in twenty validations


def placebo(worlds: Worlds, loaded: LoadedValidation) -> dict[str, Any]:
    """A/B tests and all policies in the model's world with two arms that every user likes alike.

    Returns:
        Plain values: `largest_regret` (of any policy: 0 when regret is right), `shipped` (share of A/B tests that ship
        the second arm as a winner), `low`, `high` (its exact 99 percent interval), `nominal` (half the two-sided level)
        and `tests` (how many).
    """
    config = loaded.config
    table = _identical(worlds.model)
    features = np.zeros((2, worlds.arm_features.shape[2]))
    users = worlds.user_features

    def env(replications: int) -> SimulatedUsers:
        return SimulatedUsers(table, num_envs=replications, user_features=users, arm_features=features, prior=table.p)

    regret = 0.0
    for spec in loaded.policies.values():
        policy = build_policy(spec, loaded.folder)
        trace = simulate(env(_REPLICATIONS), policy, horizon=config.horizon, seed=config.seed, snapshots=2)
        regret = max(regret, float(np.abs(trace.regret).max()))
    test = ABTest(visitors=config.horizon // 2, alpha=_ALPHA)
    trace = simulate(env(config.placebo), test, horizon=config.horizon // 2 + 1, seed=config.seed, snapshots=2)
    wins = int((trace.recommended == 1).sum())
    share, low, high = (float(v) for v in exact_proportion_interval(wins, config.placebo, confidence=_CONFIDENCE))
    return {
        "largest_regret": regret,
        "shipped": share,
        "low": low,
        "high": high,
        "nominal": _ALPHA / 2,
        "tests": config.placebo,
    }


def _identical(table: PropensityTable) -> PropensityTable:
    """Two arms for the users of a table, each as likely to be clicked as its items are on average."""
    real = np.arange(table.p.shape[2]) < table.num_items[:, np.newaxis]
    mean = table.p.sum(axis=(0, 2)) / real.sum()
    return PropensityTable.single_world(
        np.repeat(mean[:, np.newaxis], 2, axis=1), user_texts=table.user_texts, item_texts=("first", "second")
    )
