"""Users who click as a propensity table says."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.core import Problem
from bandits.kernel import World, WorldKernel
from bandits.propensity_table import PropensityTable
from bandits.random import ARRIVALS, CLICKS, world_uniform
from bandits.table_world import TableWorld, guide_table
from envs.base import KernelEnv

FloatArray = NDArray[np.float64]
_NEVER = np.iinfo(np.int64).max


def _start(world: World, user: FloatArray, arms: FloatArray, available: NDArray[np.bool_], prior: FloatArray) -> None:
    features = world.tables.arms
    row = world.number if features.shape[0] > 1 else 0
    for k in range(arms.shape[0]):
        for e in range(arms.shape[1]):
            arms[k, e] = features[row, k, e]


def _arrive(
    world: World, round: int, user: FloatArray, arms: FloatArray, available: NDArray[np.bool_], prior: FloatArray
) -> int:
    draw = world_uniform(world.keys[ARRIVALS], round, 0)
    arrivals = world.tables.arrivals
    # The first user whose cumulative probability exceeds the draw.
    visitor: int = world.tables.guide[int(draw * arrivals.shape[0])]
    while draw >= arrivals[visitor]:
        visitor += 1
    while visitor > 0 and draw < arrivals[visitor - 1]:  # only where the product above was rounded up
        visitor -= 1
    for d in range(user.shape[0]):
        user[d] = world.tables.user[visitor, d]
    if round <= world.tables.settled[world.number]:  # later, what was written stays
        for k in range(available.shape[0]):
            available[k] = world.tables.available_from[world.number, k] <= round
    for k in range(prior.shape[0]):
        prior[k] = world.tables.prior[world.number, visitor, k]
    return visitor


def _truth(
    world: World, round: int, user_id: int, available: NDArray[np.bool_], arm: int
) -> tuple[float, float, float]:
    p = world.tables.p  # float32: compared and summed as float64 (and `float` of a float32 stays one in Numba)
    best: float = world.tables.best[world.number, user_id]
    if round < world.tables.settled[world.number]:
        best = 0.0
        for k in range(available.shape[0]):
            if available[k]:
                best = max(best, np.float64(p[world.number, user_id, k]))
    fixed = world.tables.fixed[world.number]
    return np.float64(p[world.number, user_id, arm]), best, np.float64(p[world.number, user_id, fixed])


def _respond(world: World, round: int, user_id: int, arm: int, outcomes: FloatArray) -> float:
    # One uniform for all arms: whoever would click on a less attractive arm also clicks on a more attractive one.
    click = world_uniform(world.keys[CLICKS], round, 0) < np.float64(world.tables.p[world.number, user_id, arm])
    outcomes[0] = 1.0 if click else 0.0
    return 1.0 if click else 0.0


class SimulatedUsers(KernelEnv):
    """Each round one of `U` users comes, is shown an arm, and clicks with the probability in the table.

    Args:
        table: Click probabilities of every user on every item; items are the arms. Padded arms are never available.
            Policies may read the texts of users, and of items where they are the same in all worlds.
        num_envs: Number of replications `N`; replication n lives in world n % W of the table.
        user_features: What policies see of the users, shape (U, D); nothing by default.
        arm_features: What policies see of the arms, shape (K, E), or (W, K, E) where worlds differ; nothing by default.
        prior: Predicted click probabilities that policies may use, shape (W, U, K); never the table itself.
        weights: How often each user comes, shape (U,), at least 0, in any unit; all alike by default.
        available_from: Round from which each arm is available, shape (K,) or (W, K); 0 by default. At least one arm of
            each world must be there from the start.
        visitors_per_day: Visits per day of calendar time, above 0.
        null_arm: Item of the table that stands for showing nothing (see `Problem.null_arm`); None without one. It must
            be an item of every world.
        segments: Name of a segment to the users that belong to it, indices; each user to exactly one. Policies may
            report their results by segment.

    Raises:
        ValueError: When a shape does not fit the table, or a value is out of range.
    """

    kernel = WorldKernel(arrive=_arrive, truth=_truth, respond=_respond, start=_start)

    def __init__(
        self,
        table: PropensityTable,
        *,
        num_envs: int = 1,
        user_features: ArrayLike | None = None,
        arm_features: ArrayLike | None = None,
        prior: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        available_from: ArrayLike | None = None,
        visitors_per_day: float = 1000.0,
        null_arm: int | None = None,
        segments: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        worlds, users, arms = table.p.shape
        fewest = int(table.num_items.min())
        if null_arm is not None and not 0 <= operator.index(null_arm) < fewest:
            raise ValueError(f"`null_arm` must be an item 0..{fewest - 1}, there in every world. Got {null_arm}.")
        if not 0 < visitors_per_day < np.inf:
            raise ValueError(f"`visitors_per_day` must be a finite number above 0. Got {visitors_per_day}.")
        self.table, self.user_features, self.arm_features, self.prior = table, user_features, arm_features, prior
        self.weights, self.available_from, self.visitors_per_day = weights, available_from, visitors_per_day
        self.null_arm, self.segments = null_arm, segments
        user = _array("user_features", user_features, (users, -1), np.zeros((users, 0)))
        features = _array("arm_features", arm_features, (worlds, arms, -1), np.zeros((1, arms, 0)))
        chances = _array("weights", weights, (users,), np.ones(users))
        if np.any(chances < 0) or chances.sum() <= 0:
            raise ValueError(f"`weights` must be at least 0 and not all 0. Got a minimum of {chances.min()}.")
        rounds = _array("available_from", available_from, (worlds, arms), np.zeros((worlds, arms)))
        if np.any(rounds != np.floor(rounds)):
            raise ValueError(f"`available_from` must hold whole rounds. Got {available_from!r}.")
        start = np.broadcast_to(rounds.astype(np.int64), (worlds, arms)).copy()
        start[np.arange(arms) >= table.num_items[:, np.newaxis]] = _NEVER
        if null_arm is not None:
            start[:, null_arm] = _NEVER
        always = start <= 0
        if not always.any(axis=1).all():
            world = int(np.flatnonzero(~always.any(axis=1))[0])
            raise ValueError(f"`available_from` must be 0 for at least one arm of every world. Got none in {world}.")
        self.has_prior = prior is not None
        given = _array("prior", prior, (worlds, users, arms), np.zeros((0, 0, 0)))
        population = np.einsum("wuk,u->wk", table.p.astype(np.float64), chances / chances.sum())
        cumulative = np.cumsum(chances / chances.sum())
        cumulative[np.flatnonzero(chances)[-1] :] = 1.0  # rounding must not let users of weight 0 in
        self.days_per_round = 1.0 / visitors_per_day
        self.tables = TableWorld(
            p=table.p,
            arrivals=cumulative,
            guide=guide_table(cumulative),
            available_from=start,
            settled=np.where(start < _NEVER, start, 0).max(axis=1),
            best=np.where(start[:, np.newaxis] < _NEVER, table.p, 0.0).max(axis=2).astype(np.float64),
            fixed=np.argmax(np.where(always, population, -1.0), axis=1).astype(np.int64),
            user=user,
            arms=features if features.ndim == 3 else features[np.newaxis],
            prior=given,
            anonymous=False,
            days_per_round=self.days_per_round,
        )
        self.num_worlds = worlds
        problem = Problem(
            num_envs,
            arms,
            user_dim=user.shape[1],
            arm_dim=features.shape[-1],
            num_users=users,
            has_prior=self.has_prior,
            null_arm=null_arm,
            segment_names=tuple(segments or ()),
            user_segments=_segment_of_each(segments, users) if segments else (),
            user_texts=table.user_texts if any(table.user_texts) else (),
            arm_texts=_same_in_all_worlds(table.item_texts),
        )
        super().__init__(num_envs, problem, same_arms=len(self.tables.arms) == 1)

    def table_world(self) -> TableWorld:
        """The whole world as arrays."""
        tables: TableWorld = self.tables
        return tables


def _segment_of_each(segments: Mapping[str, Sequence[int]], users: int) -> tuple[int, ...]:
    """Index of the segment of each user."""
    found = np.full(users, -1)
    for index, (name, members) in enumerate(segments.items()):
        rows = np.asarray(members, dtype=np.int64)
        if np.any((rows < 0) | (rows >= users)) or np.any(found[rows] >= 0):
            raise ValueError(f"`segments` must hold users 0..{users - 1}, each once. Got others in {name!r}.")
        found[rows] = index
    if np.any(found < 0):
        raise ValueError(f"`segments` must hold every user. Got none for user {int(np.argmin(found))}.")
    return tuple(found.tolist())


def _same_in_all_worlds(texts: NDArray[np.str_]) -> tuple[str, ...]:
    """Texts (W, K) of the arms if all worlds have the same, shape (K,); empty otherwise, or where nothing is known."""
    same = bool(texts[0].any()) and np.array_equal(texts, np.broadcast_to(texts[0], texts.shape))
    return tuple(texts[0].tolist()) if same else ()


def _array(name: str, value: ArrayLike | None, shape: tuple[int, ...], default: FloatArray) -> FloatArray:
    """A finite, contiguous array of a shape (-1: any length); arrays per world may leave out the axis of worlds."""
    if value is None:
        return default
    array = np.ascontiguousarray(value, dtype=np.float64)
    fits = any(
        array.ndim == len(wanted) and all(w in (-1, a) for a, w in zip(array.shape, wanted, strict=True))
        for wanted in ((shape, shape[1:]) if name in ("arm_features", "available_from") else (shape,))
    )
    if not fits or not np.all(np.isfinite(array)):
        raise ValueError(f"`{name}` must be finite numbers of shape {shape} (-1: any). Got shape {array.shape}.")
    return array
