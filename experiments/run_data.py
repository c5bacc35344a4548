"""A run's files, read once for its figures and its report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.propensity_table import PropensityTable
from experiments.config import ExperimentConfig
from experiments.members import clusters_of, members_of
from experiments.run_folder import RunFolder

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

WORLDS = {
    "model": "the BERT world",
    "planted": "the true world",
    "observed": "the world of observed click rates",
    "given": "the world of given click rates",
}


@dataclass(frozen=True)
class RunData:
    """What a run folder holds, as arrays and tables.

    Attributes:
        run: The folder.
    """

    run: RunFolder

    @cached_property
    def config(self) -> ExperimentConfig:
        """The resolved config."""
        return self.run.config()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions, hashes, times."""
        return self.run.read_json("manifest")

    @cached_property
    def model(self) -> dict[str, Any]:
        """The reward model's evaluation; empty where there is no reward model."""
        return self.run.read_json("model")

    @cached_property
    def why(self) -> dict[str, Any]:
        """One click and one choice taken apart; empty where nothing was explained."""
        return self.run.read_json("why")

    @cached_property
    def agreement(self) -> dict[str, Any]:
        """Agreement of the two kinds of world; empty where there is one."""
        return self.run.read_json("agreement")

    @cached_property
    def traces(self) -> pd.DataFrame:
        """The tidy traces."""
        return self.run.read("traces")

    @cached_property
    def kinds(self) -> list[str]:
        """Kinds of world; the report is about the first."""
        return [str(kind) for kind in self.traces["kind"].unique()]

    @property
    def kind(self) -> str:
        """The kind of world that the report is about."""
        return self.kinds[0]

    @cached_property
    def summaries(self) -> pd.DataFrame:
        """One row per kind of world and policy."""
        return pd.read_csv(
            self.run.path / "summary.csv", keep_default_na=False, na_values=[""], dtype={"policy": str, "kind": str}
        )

    @property
    def summary(self) -> pd.DataFrame:
        """The rows of `summaries` that the report is about."""
        return self.summaries[self.summaries["kind"] == self.kind]

    @cached_property
    def table(self) -> PropensityTable | None:
        """The propensity table that the report is about, if there is one."""
        return self.run.table(self.kind)

    @cached_property
    def mean_table(self) -> PropensityTable | None:
        """The table that the report is about, averaged over the members of an ensemble."""
        table, members = self.table, self.members
        if table is None or members == 1:
            return table
        return replace(
            table,
            p=table.p.reshape(-1, members, *table.p.shape[1:]).mean(axis=1),
            item_ids=table.item_ids[::members],
            item_texts=table.item_texts[::members],
            num_items=table.num_items[::members],
            world_ids=table.world_ids[::members],
        )

    @cached_property
    def other_table(self) -> PropensityTable | None:
        """The table of the other kind of world, if there is one."""
        return self.run.table(self.kinds[1]) if len(self.kinds) > 1 else None

    @cached_property
    def rounds(self) -> IntArray:
        """Snapshots, shape (C,)."""
        return np.sort(self.traces["round"].unique()).astype(np.int64)

    @cached_property
    def replications(self) -> pd.DataFrame:
        """One row per kind of world, policy and replication."""
        return self.run.read("replications")

    @cached_property
    def world(self) -> IntArray:
        """World of each replication, shape (N,)."""
        rows = self.replications
        first = rows[(rows["kind"] == self.kind) & (rows["policy"] == rows["policy"].iloc[0])]
        worlds: IntArray = first.sort_values("replication")["world"].to_numpy(dtype=np.int64)
        return worlds

    @cached_property
    def members(self) -> int:
        """Number of members of an ensemble whose worlds the report is about; 1 without."""
        return members_of(self.config, self.kind)

    @cached_property
    def clusters(self) -> IntArray:
        """What is independent between replications, shape (N,) or (N, 2), see `clusters_of`."""
        return clusters_of(self.world, self.members)

    @cached_property
    def same_arms(self) -> bool:
        """Whether an arm is the same item in all worlds that were played: members differ in its click rate only."""
        return len(np.unique(self.world // self.members)) == 1

    @cached_property
    def num_worlds(self) -> int:
        """Number of worlds that replications lived in."""
        return len(np.unique(self.world))

    @property
    def unit(self) -> str:
        """What an independent unit of this run is, in the singular."""
        return "world" if self.num_worlds > 1 else "replication"

    @property
    def num_units(self) -> int:
        """Number of independent units."""
        return self.num_worlds if self.num_worlds > 1 else len(self.world)

    def curves(self, column: str) -> dict[str, FloatArray]:
        """A column of the traces by policy, each of shape (C, N)."""
        here = self.traces[self.traces["kind"] == self.kind]
        shape = (len(self.rounds), -1)
        return {
            str(label): rows.sort_values(["round", "replication"])[column].to_numpy(dtype=np.float64).reshape(shape)
            for label, rows in here.groupby("policy", sort=False)
        }

    @cached_property
    def has_users(self) -> bool:
        """Whether users differ in which arm is best for them, so that the two regrets do."""
        return not (self.traces["regret"] == self.traces["regret_fixed"]).all()

    @cached_property
    def traffic(self) -> dict[str, IntArray]:
        """Cumulative pulls of each arm by policy, each of shape (C, K)."""
        here = self.run.read("traffic")
        here = here[here["kind"] == self.kind]
        shape = (len(self.rounds), -1)
        return {
            str(label): rows.sort_values(["round", "arm"])["pulls"].to_numpy(dtype=np.int64).reshape(shape)
            for label, rows in here.groupby("policy", sort=False)
        }

    @cached_property
    def late_items(self) -> list[tuple[int, int]]:
        """Index and arrival of each item that comes late, where arms are the same in all worlds."""
        table = self.table
        if table is None or not self.same_arms:
            return []
        late = self.manifest["late_items"]
        index = {name: k for k in range(table.p.shape[2]) for name in (table.item_ids[0, k], table.item_texts[0, k])}
        return [(index[item], int(start)) for item, start in late]

    @cached_property
    def weights(self) -> FloatArray:
        """Share of the visits of each user, shape (U,)."""
        assert self.table is not None
        users = self.table.p.shape[1]
        if not self.run.features_file.exists():
            return np.full(users, 1 / users)
        with np.load(self.run.features_file) as arrays:
            weights = arrays["weights"] if "weights" in arrays else np.ones(users)
        shares: FloatArray = weights / weights.sum()
        return shares
