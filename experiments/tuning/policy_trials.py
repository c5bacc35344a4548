"""Trials of policies: each plays in the same worlds, which are made once; what was played is stored in cells."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandits.statistics import mean_interval, paired_difference
from experiments import provenance
from experiments.cells import CellStore
from experiments.config import ExperimentConfig, LoadedConfig
from experiments.plan import chunks
from experiments.policy_specs import Resolved, build_policy, user_sources
from experiments.progress import Reporter
from experiments.run_folder import PlannedCell
from experiments.runner import compute_cells, engine_and_device, missing_cells
from experiments.tuning.compared import Compared
from experiments.tuning.config import LoadedTuning
from experiments.worlds import World

FloatArray = NDArray[np.float64]


class Played(NamedTuple):
    """What policies earned in one kind of world by the last round.

    Attributes:
        values: The measure of each policy by label, shape (N,).
        world: World of each replication, shape (N,).
    """

    values: dict[str, FloatArray]
    world: NDArray[np.int64]

    def mean(self) -> float:
        """Mean over policies, units (replications, or worlds where there are several) and their replications."""
        return float(np.mean([mean_interval(values, self.world).estimate for values in self.values.values()]))


class PolicyTrials:
    """Plays the policies that a search touches.

    Args:
        loaded: The search.
        worlds: The worlds by kind; the first is the one that the search plays in.
        storage: Folder of the cells.
        threads: Threads that simulate; all cores when None.
        reporter: Who tells the progress.
    """

    def __init__(
        self,
        loaded: LoadedTuning,
        worlds: Mapping[str, World],
        storage: Path,
        threads: int | None,
        reporter: Reporter,
    ) -> None:
        self._config, self._labels, self._worlds = loaded.config, loaded.labels, worlds
        self._cells, self._threads, self._reporter = CellStore(storage), threads, reporter
        self._sources = cache(provenance.sources_hash)

    def value(self, loaded: LoadedConfig) -> float:
        """Mean of the measure in the first kind of world, under the search's seed; of several policies their mean."""
        search = self._config.search
        assert search.replications is not None
        return self.play(loaded, next(iter(self._worlds)), seed=search.seed, replications=search.replications).mean()

    def evaluate(self, best: LoadedConfig, base: LoadedConfig) -> list[Compared]:
        """Best beside base in every kind of world, policy by policy, under the evaluation's seed."""
        rows = []
        for kind in self._worlds:
            ours, theirs = (
                self.play(each, kind, seed=each.config.seed, replications=each.config.simulation.replications)
                for each in (best, base)
            )
            for label, values in ours.values.items():
                extra = paired_difference(values, theirs.values[label], ours.world)
                means = (Played({label: played.values[label]}, played.world).mean() for played in (theirs, ours))
                rows.append(Compared(label, f"{kind} world", *means, *map(float, extra)))
        return rows

    def play(self, loaded: LoadedConfig, kind: str, *, seed: int, replications: int) -> Played:
        """Play the policies of a config, or read what they earned when they were played before.

        Args:
            loaded: The experiment; its own seed and number of replications do not count.
            kind: Kind of world.
            seed: Of users, clicks and the policies' draws.
            replications: How many.
        """
        simulation = loaded.config.simulation.model_copy(update={"replications": replications})
        config = loaded.config.model_copy(update={"seed": seed, "simulation": simulation})
        plan = [planned for label in self._labels for planned in self._plan(config, loaded.folder, label, kind)]
        todo = missing_cells(plan, self._cells, self._reporter)
        compute_cells(todo, loaded.folder, self._cells, self._worlds, self._threads, self._reporter)
        values: dict[str, list[FloatArray]] = {label: [] for label in self._labels}
        worlds: dict[str, list[NDArray[np.int64]]] = {label: [] for label in self._labels}
        for planned in plan:
            tables = self._cells.read(planned.cell)
            values[planned.label].append(tables.curves[self._config.metric].to_numpy(dtype=np.float64))
            worlds[planned.label].append(tables.replications["world"].to_numpy(dtype=np.int64))
        joined = {label: np.concatenate(parts) for label, parts in values.items()}
        return Played(joined, np.concatenate(worlds[self._labels[0]]))

    def _plan(self, config: ExperimentConfig, folder: Path, label: str, kind: str) -> list[PlannedCell]:
        policy, world = config.policies[label], self._worlds[kind]
        device = engine_and_device(world, build_policy(policy, folder), config.simulation)[1]
        last = (config.simulation.horizon,)
        cells = chunks(config, policy, world.key, self._hash(policy, folder), device, last)
        return [PlannedCell(label, kind, cell) for cell in cells]

    def _hash(self, policy: Resolved, folder: Path) -> str:
        return self._sources(frozenset(user_sources(policy, folder)))
