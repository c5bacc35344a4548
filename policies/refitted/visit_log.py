"""The log that a policy keeps of its own visits, and what it remembers of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bandits.core import BoolArray, FloatArray, IntArray
from bandits.machine_code import jit
from bandits.random import hashed_uniform

_ROUND, _CHOSEN, _REWARD, _PROPENSITY, _FEATURES = range(5)
_FIRST_ROOM = 256


class Visits(NamedTuple):
    """Visits of one replication, in order.

    Attributes:
        round: Number of each visit, shape (B,).
        chosen: Arm, shape (B,).
        reward: What came of it, shape (B,); nan while nothing has.
        propensity: Probability with which the arm was chosen, shape (B,).
        user: User components, shape (B, U).
        arm: Components of the arm, shape (B, A).
    """

    round: IntArray
    chosen: IntArray
    reward: FloatArray
    propensity: FloatArray
    user: FloatArray
    arm: FloatArray

    def answered(self) -> Visits:
        """Those of which something has come."""
        known = np.isfinite(self.reward)
        return Visits(
            self.round[known],
            self.chosen[known],
            self.reward[known],
            self.propensity[known],
            self.user[known],
            self.arm[known],
        )


class VisitLog:
    """Visits of `N` replications; room for them grows as they come.

    Args:
        num_envs: Number of replications `N`.
        user_dim: Number of user components U.
        arm_dim: Number of arm components A.
    """

    def __init__(self, num_envs: int, user_dim: int, arm_dim: int) -> None:
        self._rows = np.empty((num_envs, _FIRST_ROOM, _FEATURES + user_dim + arm_dim))
        self._user_dim = user_dim
        self._count = np.zeros(num_envs, dtype=np.int64)

    def add(self, round: IntArray, chosen: IntArray, propensity: FloatArray, user: FloatArray, arm: FloatArray) -> None:
        """Write down the next visit of every replication; the arrays have one row for each."""
        if self._count.max() == self._rows.shape[1]:
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)], axis=1)
        everyone = np.arange(len(self._count))
        columns = (round, chosen, np.full(len(everyone), np.nan), propensity, user, arm)
        self._rows[everyone, self._count] = np.column_stack(columns)
        self._count += 1

    def answer(self, replications: IntArray, rounds: IntArray, reward: FloatArray) -> None:
        """Write down what came of visits (B,), most of them the latest; of a visit no longer kept, nothing."""
        last = self._count[replications] - 1
        latest = (last >= 0) & (self._rows[replications, last, _ROUND] == rounds)
        self._rows[replications[latest], last[latest], _REWARD] = reward[latest]
        for i in np.flatnonzero(~latest):
            n = replications[i]
            kept = self._rows[n, : self._count[n], _ROUND]
            place = int(np.searchsorted(kept, rounds[i]))
            if place < len(kept) and kept[place] == rounds[i]:
                self._rows[n, place, _REWARD] = reward[i]

    def visits(self, n: int) -> Visits:
        """All that is kept of replication `n`."""
        rows = self._rows[n, : self._count[n]]
        features = rows[:, _FEATURES:]
        return Visits(
            rows[:, _ROUND].astype(np.int64),
            rows[:, _CHOSEN].astype(np.int64),
            rows[:, _REWARD],
            rows[:, _PROPENSITY],
            features[:, : self._user_dim],
            features[:, self._user_dim :],
        )

    def keep(self, n: int, kept: BoolArray) -> None:
        """Forget the other visits of replication `n`; `kept` has an entry for each of `visits`."""
        rows = self._rows[n, : self._count[n]][kept]
        self._rows[n, : len(rows)] = rows
        self._count[n] = len(rows)


def remembered(rounds: IntArray, memory: str, size: int, fresh_from: int, salt: float) -> BoolArray:
    """Which visits a refit sees.

    `all` of them; of a `window` the last `size`; for `replay` all since the last refit, and `size` of those before,
    each of which is as likely as any other: the visits with the least keyed random numbers, so that a sample of
    what an earlier sample kept is a sample of everything.

    Args:
        rounds: Numbers of the visits that are kept, increasing, shape (B,).
        memory: `all`, `window` or `replay`.
        size: How many.
        fresh_from: First visit since the last refit.
        salt: Key of the replication's sample, in [0, 1).

    Returns:
        Booleans of shape (B,).
    """
    kept = np.ones(len(rounds), dtype=np.bool_)
    if memory == "window":
        kept[: max(len(rounds) - size, 0)] = False
    elif memory == "replay":
        before = int(np.searchsorted(rounds, fresh_from))
        numbers = np.empty(before)
        _hashed(salt, rounds[:before], numbers)
        kept[np.argsort(numbers, kind="stable")[size:]] = False
    return kept


@jit
def _hashed(salt: float, rounds: Any, out: Any) -> None:
    for i in range(rounds.shape[0]):
        out[i] = hashed_uniform(salt, rounds[i])


def inverse_propensity_weights(propensity: FloatArray, largest: float) -> FloatArray:
    """Weights min(1 / propensity, `largest`), scaled to a mean of 1, shape (B,).

    Weighted so, a log looks as if arms had been chosen at random with equal chances, but for the clipping. The scale
    leaves a penalty's strength as it is.

    >>> inverse_propensity_weights(np.array([0.5, 0.5, 0.01]), 4.0)  # 2, 2 and 4, over 8 / 3
    array([0.75, 0.75, 1.5 ])
    """
    clipped = np.minimum(1.0 / propensity, largest)
    weights: FloatArray = clipped / clipped.mean()
    return weights
