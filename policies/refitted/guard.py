"""An A/B test between a newly fitted model and the one before it, in every replication."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np

from bandits.core import BoolArray, FloatArray, IntArray
from bandits.machine_code import jit
from bandits.random import hashed_uniform
from bandits.statistics.kernels import predictive_step

SHARE = 0.5  # of the visitors whom the new model serves while its test goes on


class Guard:
    """Tests of `N` replications: half of the visitors for the new model, half for the last, watched at every click.

    The evidence is that of `bandits.statistics.predictive_test`. Rewards above 0 count as clicks.

    Args:
        num_envs: Number of replications `N`.
        alpha: Level of each test, two-sided.
        prior: Beta prior of either model's click rate.
        salts: Keys of who gets which model, in [0, 1), shape (N,).

    Attributes:
        testing: Whether a test goes on, shape (N,).
    """

    def __init__(self, num_envs: int, alpha: float, prior: Sequence[float], salts: FloatArray) -> None:
        self.testing: BoolArray = np.zeros(num_envs, dtype=np.bool_)
        self._threshold, self._prior, self._salts = log(1 / alpha), prior, salts
        self._first_round = np.zeros(num_envs, dtype=np.int64)
        self._counts = np.zeros((num_envs, 2, 2))  # (new, last) by (visitors, clicks)
        self._evidence = np.zeros(num_envs)

    def begin(self, n: int, first_round: int) -> None:
        """Begin a test with visit `first_round`."""
        self.testing[n], self._first_round[n] = True, first_round
        self._counts[n], self._evidence[n] = 0.0, 0.0

    def end(self, n: int) -> None:
        """End the test of a replication."""
        self.testing[n] = False

    def new_serves(self, rounds: IntArray) -> BoolArray:
        """Whether the new model would serve a visit of each replication, shape (N,)."""
        served = np.empty(len(rounds), dtype=np.bool_)
        _assign(self._salts, rounds, served)
        return served

    def watch(self, replications: IntArray, rounds: IntArray, reward: FloatArray) -> list[tuple[int, bool]]:
        """Count results (B,) in order; returns the replications whose test ends, each with whether the new one won."""
        a, b = self._prior
        ended = np.zeros(len(self.testing), dtype=np.bool_)
        _watch(
            replications,
            rounds,
            reward,
            self._salts,
            self._first_round,
            self.testing,
            self._counts,
            self._evidence,
            self._threshold,
            a,
            b,
            ended,
        )
        rates = self._counts[:, :, 1] / np.maximum(self._counts[:, :, 0], 1.0)
        return [(int(n), bool(rates[n, 0] > rates[n, 1])) for n in np.flatnonzero(ended)]


@jit
def _assign(salts: Any, rounds: Any, out: Any) -> None:
    for n in range(rounds.shape[0]):
        out[n] = hashed_uniform(salts[n], rounds[n]) < SHARE


@jit
def _watch(
    replications: Any,
    rounds: Any,
    reward: Any,
    salts: Any,
    first_round: Any,
    testing: Any,
    counts: Any,
    evidence: Any,
    threshold: float,
    a: float,
    b: float,
    ended: Any,
) -> None:
    for i in range(replications.shape[0]):
        n = replications[i]
        if not testing[n] or ended[n] or rounds[i] < first_round[n]:
            continue
        new = hashed_uniform(salts[n], rounds[i]) < SHARE
        click = reward[i] > 0.0
        evidence[n] += predictive_step(
            click, new, SHARE, counts[n, 0, 1], counts[n, 0, 0], counts[n, 1, 1], counts[n, 1, 0], a, b
        )
        branch = 0 if new else 1
        counts[n, branch, 0] += 1.0
        counts[n, branch, 1] += 1.0 if click else 0.0
        ended[n] = evidence[n] >= threshold
