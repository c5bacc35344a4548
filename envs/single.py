"""One replication as a plain Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from envs.base import KernelEnv


class SingleEnv(gymnasium.Env[dict[str, Any], np.int64]):
    """The one adapter from a vector environment with a single row to `gymnasium.Env`.

    Args:
        vector_env: An environment with `num_envs` 1.

    Raises:
        ValueError: When the environment has more than one row.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, vector_env: KernelEnv) -> None:
        if vector_env.num_envs != 1:
            raise ValueError(f"`vector_env` must have num_envs 1. Got {vector_env.num_envs}.")
        self.vector_env = vector_env
        self.observation_space = vector_env.single_observation_space
        self.action_space = vector_env.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin anew; see `KernelEnv.reset`."""
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**63))
        observation, info = self.vector_env.reset(seed=seed, options=options)
        return _row(observation), _row(info)

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Play an arm; nothing ever ends."""
        observation, reward, _, _, info = self.vector_env.step(np.array([action]))
        return _row(observation), float(reward[0]), False, False, _row(info)


def _row(batched: dict[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(value[0]) for name, value in batched.items()}
