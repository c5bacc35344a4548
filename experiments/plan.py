"""Which cells an experiment consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bandits.trace import snapshot_rounds
from experiments.cells import Cell
from experiments.config import ExperimentConfig
from experiments.policy_specs import Resolved
from experiments.run_folder import PlannedCell

_SHARES_OF_HORIZON = (0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8)


def plan_cells(
    config: ExperimentConfig,
    worlds: Mapping[str, Mapping[str, Any]],
    sources: Callable[[Resolved], str],
    arrivals: Sequence[int] = (),
    device: Callable[[Resolved], str | None] = lambda policy: None,
) -> list[PlannedCell]:
    """All cells of an experiment: every policy in every kind of world, then the A/B test at other lengths.

    Args:
        config: The experiment.
        worlds: Kinds of world and what determines each; the first is the one that the report is about.
        sources: Hash of the source code behind a policy.
        arrivals: Rounds in which late items arrive.
        device: Type of the device that the torch engine plays a policy on; None where another engine plays it.
    """
    points = snapshots(config, arrivals)
    plan = [
        PlannedCell(label, kind, cell)
        for kind, world in worlds.items()
        for label, policy in config.policies.items()
        for cell in chunks(config, policy, world, sources(policy), device(policy), points)
    ]
    kind, world = next(iter(worlds.items()))
    return plan + [
        PlannedCell(config.baseline, kind, cell, length)
        for length, policy in other_lengths(config).items()
        for cell in chunks(config, policy, world, sources(policy), device(policy), points)
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


def snapshots(config: ExperimentConfig, arrivals: Sequence[int] = ()) -> tuple[int, ...]:
    """Rounds after which curves have a point: spaced geometrically, from the start and anew from each late arrival.

    >>> from experiments.config import load_config
    >>> snapshots(load_config("bernoulli", ["simulation.horizon=1000", "simulation.snapshots=4"]).config, [500])
    (1, 10, 100, 500, 501, 508, 563, 1000)
    """
    horizon, count = config.simulation.horizon, config.simulation.snapshots
    points = set(snapshot_rounds(horizon, count).tolist())
    for start in arrivals:
        if 0 < start < horizon:
            points |= {start, *(start + snapshot_rounds(horizon - start, count)).tolist()}
    return tuple(sorted(points))


def chunks(
    config: ExperimentConfig,
    policy: Resolved,
    world: Mapping[str, Any],
    sources: str,
    device: str | None,
    points: tuple[int, ...],
) -> list[Cell]:
    """The cells of one policy in one kind of world.

    Args:
        config: The experiment: its seed, horizon, replications and their chunks.
        policy: Complete specification of the policy.
        world: What determines the world.
        sources: Hash of the source code behind the policy.
        device: Type of the device that the torch engine plays it on; None where another engine plays it.
        points: Rounds after which curves have a point.
    """
    simulation = config.simulation
    return [
        Cell(
            policy=policy,
            world=world,
            seed=config.seed,
            first_replication=first,
            replications=min(simulation.chunk, simulation.replications - first),
            horizon=simulation.horizon,
            snapshots=points,
            sources=sources,
            device=device,
        )
        for first in range(0, simulation.replications, simulation.chunk)
    ]
