"""A table of click probabilities that lies on the device, with the users who click as it says."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bandits.core import Problem
from bandits.memory import array_bytes
from bandits.random import ARRIVALS, CLICKS
from bandits.table_world import TableWorld
from bandits.torch_engine.policy import TorchContext, tensor_on
from bandits.torch_engine.random import stream_keys, world_uniform


class Visit(NamedTuple):
    """One visit in every replication.

    Attributes:
        context: What policies see.
        p: Click probabilities of the visiting users, float64, shape (N, K).
    """

    context: TorchContext
    p: Tensor


class Answer(NamedTuple):
    """What came of the arms that were shown; all float64, shape (N,).

    Attributes:
        mean: Click probability of the arm.
        best: Click probability of the best available arm for this user.
        fixed: Click probability of the best single arm.
        click: 1 for a click, else 0.
    """

    mean: Tensor
    best: Tensor
    fixed: Tensor
    click: Tensor


class DeviceWorld:
    """Replications `first`, `first + 1`, ... of a table world; visits and clicks are those of every other engine.

    Args:
        table: The world.
        num_envs: Number of replications `N`.
        seed: Seed of the simulation.
        first: Number of the first replication.
        device: Where everything lies.

    Attributes:
        replications: Numbers of the replications, int64, shape (N,).
        world: World of each replication, int64, shape (N,).
    """

    def __init__(self, table: TableWorld, num_envs: int, seed: int, first: int, device: torch.device) -> None:
        self.replications = torch.arange(first, first + num_envs, device=device)
        self.world = self.replications % len(table.p)
        self._arrival_keys = stream_keys(seed, ARRIVALS, self.replications)
        self._click_keys = stream_keys(seed, CLICKS, self.replications)
        self._p, self._prior = tensor_on(table.p, device), tensor_on(table.prior, device)
        self._arrivals, self._user = tensor_on(table.arrivals, device), tensor_on(table.user, device)
        self._available_from = tensor_on(table.available_from, device)[self.world]
        self._fixed = tensor_on(table.fixed, device)[self.world][:, None]
        arms = tensor_on(table.arms, device)
        self._arms = arms[self.world] if len(arms) > 1 else arms.expand(num_envs, -1, -1)
        self._days_per_round = table.days_per_round
        self._anonymous = torch.full_like(self.world, -1) if table.anonymous else None

    def arrive(self, round: Tensor) -> Visit:
        """Who comes in `round`, an int64 tensor without axes."""
        draw = world_uniform(self._arrival_keys, round)
        user = torch.searchsorted(self._arrivals, draw, right=True)
        everyone = round.expand(len(user))
        context = TorchContext(
            round=everyone,
            user_id=user if self._anonymous is None else self._anonymous,
            time=everyone.double() * self._days_per_round,
            user=self._user[user],
            arms=self._arms,
            available=self._available_from <= round,
            prior=self._prior[self.world, user] if len(self._prior) else None,
        )
        return Visit(context, self._p[self.world, user].double())

    def respond(self, visit: Visit, chosen: Tensor) -> Answer:
        """What comes of showing the arms `chosen` (N,)."""
        mean = visit.p.gather(1, chosen[:, None])[:, 0]
        best = visit.p.where(visit.context.available, 0.0).amax(dim=1)
        fixed = visit.p.gather(1, self._fixed)[:, 0]
        click = (world_uniform(self._click_keys, visit.context.round[0]) < mean).double()
        return Answer(mean, best, fixed, click)


def world_bytes(table: TableWorld, problem: Problem) -> int:
    """Bytes on the device of the world, of one visit in every replication, and of the score that is kept."""
    size, arms = problem.num_envs, problem.num_arms
    tables = sum(part.nbytes for part in table if hasattr(part, "nbytes"))
    features = [] if len(table.arms) == 1 else [(size, arms, problem.arm_dim)]
    # Per arm: probabilities, round of arrival, pulls, prior and what choosing needs on the way; per visit: the score.
    return tables + array_bytes([*features, (size, arms, 6), (size, problem.user_dim, 2), (size, 24)])
