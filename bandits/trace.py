"""What a simulation leaves behind: regret, rewards and traffic at a few hundred snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trace:
    """Cumulative results of `N` replications at `C` snapshots.

    Regret is pseudo-regret: computed from the environment's true means, hence free of click noise.

    Attributes:
        rounds: Rounds played at each snapshot, shape (C,), increasing; the last is the horizon.
        regret: Cumulative regret against the best available arm for each visiting user, shape (C, N).
        regret_fixed: Cumulative regret against the best single arm among those available throughout, shape (C, N). It
            can be negative: a policy that knows its users may beat every fixed arm.
        reward: Cumulative reward, shape (C, N).
        outcomes: Cumulative outcomes, shape (C, N, J); named by `outcome_names`.
        traffic: Cumulative number of pulls of each arm, summed over the replications, shape (C, K).
        pulls: Number of pulls of each arm in each replication, shape (N, K).
        stopped: Rounds after which the policy declared itself done; -1 where it never did, shape (N,).
        recommended: Arm that the policy recommends at the end; -1 where it recommends none, shape (N,).
        world: Index of the world that each replication lived in, shape (N,).
        first_replication: Number of the first replication; row n is replication `first_replication + n`.
        outcome_names: Names of the `J` outcomes.
        records: What the policy itself reports at each snapshot (branches, phases, ...), name to array of shape (C, N).
    """

    rounds: IntArray
    regret: FloatArray
    regret_fixed: FloatArray
    reward: FloatArray
    outcomes: FloatArray
    traffic: IntArray
    pulls: IntArray
    stopped: IntArray
    recommended: IntArray
    world: IntArray
    first_replication: int = 0
    outcome_names: tuple[str, ...] = ("click",)
    records: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def num_replications(self) -> int:
        """Number of replications `N`."""
        return int(self.regret.shape[1])

    @staticmethod
    def concat(traces: Sequence[Trace]) -> Trace:
        """Join chunks of consecutive replications, in the order given.

        Args:
            traces: Chunks of one simulation: same snapshots, arms, outcomes and records, and each beginning with the
                replication after the last of the chunk before it.

        Raises:
            ValueError: When there are no chunks, or when they do not follow one another.
        """
        if not traces:
            raise ValueError("`traces` must hold at least one trace. Got none.")
        first = traces[0]
        expected = first.first_replication
        for index, trace in enumerate(traces):
            if trace.first_replication != expected:
                raise ValueError(
                    f"`traces[{index}]` must begin with replication {expected}. Got {trace.first_replication}."
                )
            same = (
                np.array_equal(trace.rounds, first.rounds)
                and trace.outcome_names == first.outcome_names
                and trace.pulls.shape[1] == first.pulls.shape[1]
                and trace.records.keys() == first.records.keys()
            )
            if not same:
                raise ValueError(f"`traces[{index}]` must have the snapshots, arms and names of the first trace.")
            expected += trace.num_replications
        return Trace(
            rounds=first.rounds,
            regret=np.concatenate([trace.regret for trace in traces], axis=1),
            regret_fixed=np.concatenate([trace.regret_fixed for trace in traces], axis=1),
            reward=np.concatenate([trace.reward for trace in traces], axis=1),
            outcomes=np.concatenate([trace.outcomes for trace in traces], axis=1),
            traffic=np.sum([trace.traffic for trace in traces], axis=0),
            pulls=np.concatenate([trace.pulls for trace in traces]),
            stopped=np.concatenate([trace.stopped for trace in traces]),
            recommended=np.concatenate([trace.recommended for trace in traces]),
            world=np.concatenate([trace.world for trace in traces]),
            first_replication=first.first_replication,
            outcome_names=first.outcome_names,
            records={name: np.concatenate([t.records[name] for t in traces], axis=1) for name in first.records},
        )


def snapshot_rounds(horizon: int, snapshots: int) -> IntArray:
    """About `snapshots` geometrically spaced numbers of rounds, from 1 up to and including `horizon`.

    >>> snapshot_rounds(1000, 4)
    array([   1,   10,  100, 1000])
    """
    points = np.unique(np.rint(np.geomspace(1, horizon, max(snapshots, 2))).astype(np.int64))
    points[-1] = horizon
    return points


def given_rounds(rounds: Sequence[int], horizon: int) -> IntArray:
    """The rounds of snapshots that somebody chose, checked.

    Raises:
        ValueError: When they are not increasing integers from 1 or more up to `horizon`.
    """
    points = np.asarray(rounds)
    if (
        points.ndim != 1
        or points.dtype.kind not in "iu"
        or len(points) == 0
        or points[0] < 1
        or points[-1] != horizon
        or np.any(np.diff(points) <= 0)
    ):
        raise ValueError(
            f"`snapshots` must be increasing rounds from 1 or more up to the horizon {horizon}. Got {rounds}."
        )
    return points.astype(np.int64)
