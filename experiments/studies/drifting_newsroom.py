"""A newsroom whose readers' tastes shift from one deployment to the next, with a planted truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits import PropensityTable
from bandits.core import Problem
from bandits.environment import Environment
from experiments.newsroom import Newsroom
from experiments.newsroom.grammar import TOPICS
from experiments.newsroom.world import click_probabilities

FloatArray = NDArray[np.float64]

_SHIFTS = 11  # what the random numbers are for: part of their key


def shifted_rates(newsroom: Newsroom, *, shifts: int, swaps: int, seed: int, replication: int) -> FloatArray:
    """True click rates of one replication before and after each shift, shape (1 + shifts, U, K).

    In a shift, `swaps` times two topics drawn at random change places: what every reader felt for the one she now feels
    for the other. Texts stay as they were, so only clicks tell.

    Args:
        newsroom: The readers and headlines.
        shifts: Number of shifts.
        swaps: Pairs of topics that change places in each; 0 leaves tastes as they are.
        seed: Key of the shifts, together with `replication`.
        replication: Number of the replication: each has shifts of its own.
    """
    random = np.random.Generator(np.random.Philox(key=[(seed << 8) + _SHIFTS, replication]))
    felt_as = {topic: topic for topic in TOPICS}
    rates = []
    for shift in range(1 + shifts):
        for _ in range(swaps if shift else 0):
            first, second = (TOPICS[i] for i in random.choice(len(TOPICS), size=2, replace=False))
            felt_as[first], felt_as[second] = felt_as[second], felt_as[first]
        headlines = tuple(headline._replace(topic=felt_as[headline.topic]) for headline in newsroom.headlines)
        rates.append(click_probabilities(newsroom.readers, headlines))
    return np.stack(rates)


def table_of(newsroom: Newsroom, rates: FloatArray) -> PropensityTable:
    """A table of one world per replication from rates (N, U, K)."""
    worlds, _, items = rates.shape
    texts = [headline.text for headline in newsroom.headlines]
    return PropensityTable(
        p=rates.astype(np.float32),
        user_ids=newsroom.user_ids,
        user_texts=tuple(reader.text for reader in newsroom.readers),
        item_ids=np.array([newsroom.item_ids] * worlds),
        item_texts=np.array([texts] * worlds),
        num_items=np.full(worlds, items),
        world_ids=tuple(f"shifts-{number}" for number in range(worlds)),
    )


class Sequel:
    """One environment after the other, each for some rounds; the last goes on for ever.

    The policy is told nothing of the change. `fixed_mean` is that of the environment that plays.

    Args:
        environments: In order, all with the same arms, features and replications.
        rounds: Rounds of each, at least 1.
    """

    def __init__(self, environments: Sequence[Environment], rounds: int) -> None:
        self.environments, self.rounds = list(environments), rounds

    @property
    def num_envs(self) -> int:
        """Number of replications `N`."""
        return self.environments[0].num_envs

    def problem(self, horizon: int | None) -> Problem:
        """What a policy may know beforehand."""
        return self.environments[0].problem(horizon)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin with the first environment; each has luck of its own under keys made from `seed`."""
        keys = np.random.SeedSequence(seed).generate_state(len(self.environments), np.uint64) >> np.uint64(1)
        started = [env.reset(seed=int(key), options=options) for env, key in zip(self.environments, keys, strict=True)]
        self._first = [observation for observation, _ in started]
        self._played = 0
        return started[0]

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play an arm in each replication, and observe the next visitors, who may be those of the next environment."""
        now = min(self._played // self.rounds, len(self.environments) - 1)
        observation, *rest = self.environments[now].step(actions)
        self._played += 1
        following = min(self._played // self.rounds, len(self.environments) - 1)
        return (observation if following == now else self._first[following], *rest)
