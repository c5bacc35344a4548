"""The random draws of batched policies: one stream per replication, one call for all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.machine_code import jit
from bandits.random import RandomState, integer, next_word, policy_key, uniform
from bandits.variates import beta, betas, exponential, normal

FloatArray = NDArray[np.float64]


@jit
def _uniforms(random: RandomState, out: FloatArray) -> None:
    for n in range(out.shape[0]):
        out[n] = uniform(random[n])


@jit
def _normals(random: RandomState, out: FloatArray) -> None:
    for n in range(out.shape[0]):
        out[n] = normal(random[n])


@jit
def _exponentials(random: RandomState, out: FloatArray) -> None:
    for n in range(out.shape[0]):
        out[n] = exponential(random[n])


@jit
def _integers(bound: NDArray[np.int64], random: RandomState, out: NDArray[np.int64]) -> None:
    for n in range(out.shape[0]):
        out[n] = integer(bound[n], random[n])


@jit
def _beta_rows(a: FloatArray, b: FloatArray, random: RandomState, out: FloatArray) -> None:
    for n in range(out.shape[0]):
        out[n] = beta(a[n], b[n], random[n])


@jit
def _betas_rows(a: FloatArray, b: FloatArray, random: RandomState, out: FloatArray) -> None:
    for n in range(out.shape[0]):
        betas(a[n], b[n], out[n], random[n])


@jit
def _fill_policy_keys(seed: int, first_replication: int, stream: int, random: RandomState) -> None:
    for n in range(random.shape[0]):
        random[n, 0] = policy_key(seed, first_replication + n, stream)
        random[n, 1] = np.uint64(0)


class RandomStreams:
    """The policy draws of `N` replications: each method gives every replication its own next number.

    Args:
        seed: Seed of the simulation, 0 .. 2**63 - 1.
        num_envs: Number of replications `N`.
        first_replication: Number of the first of them.
        stream: Number that tells apart two copies of one policy.

    Attributes:
        state: Keys and counters, uint64, shape (N, 2). Kernels draw from its rows.
    """

    def __init__(self, seed: int, num_envs: int, first_replication: int = 0, stream: int = 0) -> None:
        self.state: RandomState = np.empty((num_envs, 2), dtype=np.uint64)
        _fill_policy_keys(seed, first_replication, stream, self.state)

    @property
    def num_envs(self) -> int:
        """Number of replications `N`."""
        return len(self.state)

    def uniform(self) -> FloatArray:
        """Uniform numbers in [0, 1), shape (N,)."""
        return self._filled(_uniforms)

    def normal(self) -> FloatArray:
        """Standard normal numbers, shape (N,)."""
        return self._filled(_normals)

    def exponential(self) -> FloatArray:
        """Exponential numbers with mean 1, shape (N,)."""
        return self._filled(_exponentials)

    def integer(self, bound: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """Uniform integers below `bound` (one number, or shape (N,)), shape (N,)."""
        out = np.empty(self.num_envs, dtype=np.int64)
        _integers(np.broadcast_to(np.asarray(bound, dtype=np.int64), out.shape).copy(), self.state, out)
        return out

    def beta(self, a: FloatArray | float, b: FloatArray | float) -> FloatArray:
        """Beta(a, b) numbers; `a` and `b` are single numbers or have shape (N,). Result of shape (N,)."""
        return self._filled(lambda state, out: _beta_rows(*_broadcast(a, b, out.shape), state, out))

    def betas(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Beta(a, b) numbers for all arms; `a`, `b` and the result have shape (N, K)."""
        out = np.empty((self.num_envs, np.shape(a)[-1]))
        _betas_rows(*_broadcast(a, b, out.shape), self.state, out)
        return out

    def row(self, n: int) -> RandomStreams:
        """The stream of replication `n` alone: a view, whose methods give arrays of length 1."""
        view = object.__new__(RandomStreams)
        view.state = self.state[n : n + 1]
        return view

    def generator(self, n: int) -> np.random.Generator:
        """A NumPy generator keyed by the stream of replication `n`, for libraries that want one."""
        key = int(next_word(self.state[n]))
        return np.random.Generator(np.random.Philox(key=key))

    def _filled(self, draw: Any) -> FloatArray:
        out = np.empty(self.num_envs)
        draw(self.state, out)
        return out


def _broadcast(a: FloatArray | float, b: FloatArray | float, shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    first, second = (np.ascontiguousarray(np.broadcast_to(np.asarray(x, np.float64), shape)) for x in (a, b))
    return first, second
