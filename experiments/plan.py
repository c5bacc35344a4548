"""Which cells an experiment consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from experiments.cells import Cell
from experiments.config import ExperimentConfig
from experiments.policy_specs import Resolved
from experiments.run_folder import PlannedCell

_SHARES_OF_HORIZON = (0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8)


def plan_cells(
    config: ExperimentConfig, worlds: Mapping[str, Mapping[str, Any]], sources: Callable[[Resolved], str]
) -> list[PlannedCell]:
    """All cells of an experiment: every policy in every kind of world, then the A/B test at other lengths.

    Args:
        config: The experiment.
        worlds: Kinds of world and what determines each; the first is the one that the report is about.
        sources: Hash of the source code behind a policy.
    """
    plan = [
        PlannedCell(label, kind, cell)
        for kind, world in worlds.items()
        for label, policy in config.policies.items()
        for cell in _chunks(config, policy, world, sources(policy))
    ]
    kind, world = next(iter(worlds.items()))
    return plan + [
        PlannedCell(config.baseline, kind, cell, length)
        for length, policy in other_lengths(config).items()
        for cell in _chunks(config, policy, world, sources(policy))
    ]


def other_lengths(config: ExperimentConfig) -> dict[int, Resolved]:
    """The A/B test of the baseline at other lengths, by its number of visitors; empty where the baseline is none."""
    baseline = config.policies[config.baseline]
    if baseline["policy"] != "ABTest":
        return {}
    horizon = config.simulation.horizon
    lengths = config.simulation.test_lengths
    if lengths is None:
        lengths = sorted({max(1, round(share * horizon)) for share in _SHARES_OF_HORIZON})
    return {n: baseline | {"visitors": n, "baseline": None, "minimum_effect": None} for n in lengths}


def _chunks(config: ExperimentConfig, policy: Resolved, world: Mapping[str, Any], sources: str) -> list[Cell]:
    simulation = config.simulation
    return [
        Cell(
            policy=policy,
            world=world,
            seed=config.seed,
            first_replication=first,
            replications=min(simulation.chunk, simulation.replications - first),
            horizon=simulation.horizon,
            snapshots=simulation.snapshots,
            sources=sources,
        )
        for first in range(0, simulation.replications, simulation.chunk)
    ]
