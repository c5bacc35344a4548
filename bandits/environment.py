"""What the engine asks of an environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bandits.core import Context, Problem
from bandits.kernel import WorldKernel

_FIELDS = ("user_id", "time", "user", "arms", "available", "prior")


class Environment(Protocol):
    """A Gymnasium `VectorEnv` that plays `N` replications of a bandit side by side and never ends by itself.

    Observations are dictionaries with any of the keys `user_id` (N,), `time` (N,), `user` (N, D), `arms` (N, K, E),
    `available` (N, K) and `prior` (N, K); what is missing is anonymous, featureless, and always available.
    `reset(seed=, options={"first_replication": n})` must make row i replication n + i, and may name each row's world in
    `info["world"]` (N,). The `info` of `step` carries the truth, which only the engine reads: `mean`, `best_mean` and
    `fixed_mean` (N,), the expected rewards of the chosen arm, of the best available arm for this user, and of the best
    single arm; and `outcomes` (N, J), by default the reward alone.
    """

    @property
    def num_envs(self) -> int:
        """Number of replications `N`."""

    def problem(self, horizon: int | None) -> Problem:
        """What a policy may know beforehand."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin, and observe the first visitors."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play an arm in each replication, and observe the next visitors."""


@runtime_checkable
class CompiledEnvironment(Environment, Protocol):
    """An environment that can be compiled into the loop.

    Attributes:
        kernel: The hooks.
        tables: The arrays that the hooks read, a NamedTuple.
        state_size: Number of state fields `Z` of one replication's world.
        num_worlds: Number of worlds `W`; replication n lives in world n % W.
        days_per_round: Calendar time between two visits, in days.
        has_prior: Whether the context carries a prior.
    """

    kernel: WorldKernel
    tables: Any
    state_size: int
    num_worlds: int
    days_per_round: float
    has_prior: bool


def context_of(observation: Mapping[str, Any], problem: Problem, round: int) -> Context:
    """The context of a round from an environment's observation.

    Raises:
        ValueError: When the observation has an unknown key.
    """
    if unknown := set(observation) - set(_FIELDS):
        raise ValueError(f"An observation must have keys among {', '.join(_FIELDS)}. Got {', '.join(sorted(unknown))}.")
    size, arms = problem.num_envs, problem.num_arms

    def field(name: str, default: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(observation[name], default.dtype) if name in observation else default

    return Context(
        round=np.full(size, round, dtype=np.int64),
        user_id=field("user_id", np.full(size, -1, dtype=np.int64)),
        time=field("time", np.full(size, float(round))),
        user=field("user", np.zeros((size, 0))),
        arms=field("arms", np.zeros((size, arms, 0))),
        available=field("available", np.ones((size, arms), dtype=np.bool_)),
        prior=np.asarray(observation["prior"], np.float64) if "prior" in observation else None,
    )
