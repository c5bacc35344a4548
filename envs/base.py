"""The Gymnasium side of environments whose dynamics are kernels."""

from __future__ import annotations

import operator
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from bandits.compiled.specialize import specialized
from bandits.core import Problem, repr_of
from bandits.kernel import ScalarContext, WorldKernel
from bandits.memory import require_memory
from bandits.random import NUM_ROLES

Observation = dict[str, NDArray[Any]]
_BYTES_PER_FLOAT = 28  # its value, the two bounds of Gymnasium's space, and whether those are finite


class KernelEnv(VectorEnv[Observation, NDArray[Any], NDArray[Any]]):
    """A native Gymnasium `VectorEnv` over a world kernel: `N` replications side by side, in which nothing ever ends.

    Observations are dictionaries: `user_id` (N,), `time` (N,), `user` (N, D), `arms` (N, K, E), `available` (N, K), and
    `prior` (N, K) where there is one. Actions are arms (N,). `info` of `step` carries the truth: `mean`, `best_mean`,
    `fixed_mean` (N,) and `outcomes` (N, J); `info` of `reset` names each row's `world` (N,).

    A subclass sets the attributes of `bandits.environment.CompiledEnvironment` before it calls this constructor.

    Args:
        num_envs: Number of replications `N`, at least 1.
        problem: What a policy may know beforehand, without a horizon.
        same_arms: Whether arm features are the same for all replications, so that one copy serves them.

    Raises:
        ValueError: When there are no replications, or more than fit into memory.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}  # noqa: RUF012

    kernel: WorldKernel
    tables: Any
    state_size: int = 0
    num_worlds: int = 1
    days_per_round: float = 1.0
    has_prior: bool = False

    def __init__(self, num_envs: int, problem: Problem, *, same_arms: bool = True) -> None:
        if operator.index(num_envs) < 1:
            raise ValueError(f"`num_envs` must be at least 1. Got {num_envs}.")
        self.num_envs = num_envs
        self._problem = problem
        self._same_arms = same_arms
        floats = 1 + problem.user_dim + problem.num_arms * (problem.arm_dim + self.has_prior)
        require_memory(
            f"Observations of {num_envs:,} replications with {problem.num_arms:,} arms",
            num_envs * (_BYTES_PER_FLOAT * floats + problem.num_arms + 8 * self.state_size),
        )
        arms, low, high = problem.num_arms, np.finfo(np.float64).min, np.finfo(np.float64).max
        spaces: dict[str, gymnasium.Space[Any]] = {
            "user_id": gymnasium.spaces.Box(-1, np.iinfo(np.int64).max, (), np.int64),
            "time": gymnasium.spaces.Box(0.0, high, (), np.float64),
            "user": gymnasium.spaces.Box(low, high, (problem.user_dim,), np.float64),
            "arms": gymnasium.spaces.Box(low, high, (arms, problem.arm_dim), np.float64),
            "available": gymnasium.spaces.MultiBinary(arms),
        }
        if self.has_prior:
            spaces["prior"] = gymnasium.spaces.Box(low, high, (arms,), np.float64)
        self.single_observation_space = gymnasium.spaces.Dict(spaces)
        self.single_action_space = gymnasium.spaces.Discrete(arms)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._round = -1

    def problem(self, horizon: int | None = None) -> Problem:
        """What a policy may know beforehand."""
        return Problem(**{**self._problem.__dict__, "horizon": horizon})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin anew.

        Args:
            seed: Seed of all replications; without one, it is drawn from `np_random` as Gymnasium prescribes.
            options: `first_replication`, the number of the replication in row 0 (default 0).
        """
        super().reset(seed=seed)
        options = options or {}
        if unknown := set(options) - {"first_replication"}:
            raise ValueError(f"`options` may hold first_replication only. Got {', '.join(sorted(unknown))}.")
        first = int(options.get("first_replication", 0))
        drawn = int(self.np_random.integers(2**63)) if seed is None else seed
        size, problem = self.num_envs, self._problem
        self._worlds = (first + np.arange(size)) % self.num_worlds
        self._keys = np.empty((size, NUM_ROLES), dtype=np.uint64)
        self._state = np.zeros((size, self.state_size))
        arms = np.zeros((1 if self._same_arms else size, problem.num_arms, problem.arm_dim))
        buffers: tuple[Any, ...] = (
            np.zeros(size, dtype=np.int64),
            np.zeros(size, dtype=np.int64),
            np.zeros(size),
            np.zeros((size, problem.user_dim)),
            np.lib.stride_tricks.as_strided(arms, (size, *arms.shape[1:]), (0, *arms.strides[1:]))
            if self._same_arms
            else arms,
            np.ones((size, problem.num_arms), dtype=np.bool_),
            np.zeros((size, problem.num_arms if self.has_prior else 0)),
        )
        self._context = ScalarContext(*buffers)
        self._shared_arms = np.broadcast_to(arms[0], (size, *arms.shape[1:])) if self._same_arms else None
        self._rows.world_start_rows(drawn, first, self.tables, self._worlds, self._keys, self._state, self._context)
        self._round = 0
        return self._arrive(), {"world": self._worlds.copy()}

    def step(
        self, actions: NDArray[np.integer[Any]]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Play an arm in each replication.

        Args:
            actions: Arms, shape (N,).

        Raises:
            ValueError: When an arm does not exist.
            gymnasium.error.ResetNeeded: Before the first `reset`.
        """
        if self._round < 0:
            raise gymnasium.error.ResetNeeded("`step` must come after `reset`.")
        arms = np.asarray(actions, dtype=np.int64)
        size = self.num_envs
        if arms.shape != (size,) or arms.min() < 0 or arms.max() >= self._problem.num_arms:
            raise ValueError(
                f"`actions` must be arms 0..{self._problem.num_arms - 1} of shape ({size},). Got {actions!r}."
            )
        truth, outcomes = np.empty((3, size)), np.empty((size, len(self._problem.outcome_names)))
        reward = np.empty(size)
        self._rows.respond_rows(
            self._round,
            self.tables,
            self._worlds,
            self._keys,
            self._state,
            self._context,
            arms,
            truth,
            outcomes,
            reward,
        )
        self._round += 1
        never = np.zeros(size, dtype=np.bool_)
        info = {"mean": truth[0], "best_mean": truth[1], "fixed_mean": truth[2], "outcomes": outcomes}
        return self._arrive(), reward, never, never.copy(), info

    @property
    def _rows(self) -> ModuleType:
        return specialized(
            None, self.kernel
        )  # kept by its own cache; a module among the attributes could not be copied

    def __repr__(self) -> str:
        return repr_of(self)

    def _arrive(self) -> Observation:
        self._rows.arrive_rows(self._round, self.tables, self._worlds, self._keys, self._state, self._context)
        context = self._context
        # Copies, since who keeps an observation must find it unchanged later.
        observation = {
            "user_id": np.array(context.user_id),
            "time": np.full(self.num_envs, self._round * self.days_per_round),
            "user": context.user.copy(),
            "arms": context.arms.copy() if self._shared_arms is None else self._shared_arms,
            "available": context.available.copy().view(np.int8),  # as Gymnasium's MultiBinary wants it
        }
        return observation | ({"prior": context.prior.copy()} if self.has_prior else {})
