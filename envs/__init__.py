"""Gymnasium environments in which bandit policies are tried."""

from functools import partial
from typing import Any

import gymnasium

from envs.base import KernelEnv
from envs.bernoulli import BernoulliBandit
from envs.gaussian import GaussianBandit
from envs.simulated_users import SimulatedUsers
from envs.single import SingleEnv

ENVS: dict[str, type[KernelEnv]] = {
    "BernoulliBandit": BernoulliBandit,
    "GaussianBandit": GaussianBandit,
    "SimulatedUsers": SimulatedUsers,
}

__all__ = ["ENVS", "BernoulliBandit", "GaussianBandit", "KernelEnv", "SimulatedUsers", "SingleEnv"]


def _single(env_class: type[KernelEnv], **kwargs: Any) -> SingleEnv:
    """One replication of an environment, as `gymnasium.make` wants it."""
    return SingleEnv(env_class(**kwargs))


def _vector(env_class: type[KernelEnv], **kwargs: Any) -> KernelEnv:
    """Many replications of an environment, as `gymnasium.make_vec` wants it."""
    return env_class(**kwargs)


for _name, _class in ENVS.items():
    gymnasium.register(
        id=f"click_bandits/{_name}-v0",
        entry_point=partial(_single, _class),
        vector_entry_point=partial(_vector, _class),
    )
