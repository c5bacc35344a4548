"""Keyed random numbers: worlds address theirs, policies consume theirs in order.

Nothing here has global state. Every number is `mix` of a key and a position, where `mix` is the finaliser of SplitMix64
(Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", variant 13 of Stafford).

* A *world* draw is addressed: word `j` of round `t` is `mix(key + (t << 8) + j)` with
  `key = mix(mix(mix(seed) + role) + replication)`. It does not depend on what any policy did.
* A *policy* draw is sequential: `random` is the array `[key, counter]`, and each draw advances the counter.

In kernels the draws are functions of `random`; batched policies find the same names as methods of `RandomStreams`.
"""

from __future__ import annotations

from math import exp, log, log1p, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.machine_code import jit
from bandits.special import ndtri

FloatArray = NDArray[np.float64]
RandomState = NDArray[np.uint64]

# Roles of the streams. A number once given is never used for anything else: it is part of every published result.
POLICY = 1
ARRIVALS = 2
CLICKS = 3
WORLD = 4
DELAYS = 5
DRIFT = 6
NUM_ROLES = 8

_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_S8, _S11, _S27, _S30, _S31 = (np.uint64(shift) for shift in (8, 11, 27, 30, 31))
_ONE = np.uint64(1)
_ULP = 2.0**-53


@jit
def mix(z: Any) -> Any:
    """The 64-bit finaliser of SplitMix64; `z` and the result are uint64."""
    z = np.uint64(z)
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@jit
def stream_key(seed: int, role: int, replication: int) -> Any:
    """The uint64 key of one role in one replication."""
    return mix(mix(mix(np.uint64(seed)) + np.uint64(role)) + np.uint64(replication))


@jit
def policy_key(seed: int, replication: int, stream: int) -> Any:
    """The uint64 key of a policy's own draws; stream 0 is the plain key of the role."""
    key = stream_key(seed, POLICY, replication)
    return mix(key + np.uint64(stream)) if stream else key


@jit
def word(key: Any, round: int, index: int) -> Any:
    """Word `index` (0..255) of round `round` in a world's stream, as uint64."""
    return mix(np.uint64(key) + (np.uint64(round) << _S8) + np.uint64(index))


@jit
def world_uniform(key: Any, round: int, index: int) -> float:
    """A uniform number in [0, 1) at an address in a world's stream: `uniform < p` happens with probability `p`."""
    return unit(word(key, round, index))


@jit
def world_open_uniform(key: Any, round: int, index: int) -> float:
    """A uniform number in (0, 1) at an address in a world's stream, for inverse distribution functions."""
    return open_unit(word(key, round, index))


@jit
def unit(bits: Any) -> float:
    """A number in [0, 1) from the upper 53 of 64 random bits."""
    return (np.uint64(bits) >> _S11) * _ULP


@jit
def open_unit(bits: Any) -> float:
    """A number in (0, 1), symmetric around 1/2, from the upper 53 of 64 random bits."""
    return ((np.uint64(bits) >> _S11) + 0.5) * _ULP


@jit
def hashed_uniform(salt: float, identity: int) -> float:
    """A number in [0, 1) that depends on `identity` and on a `salt` in [0, 1) alone: for sticky random assignment."""
    return unit(word(mix(np.uint64(salt * 9007199254740992.0)), identity, 0))  # 2**53: all bits of the salt


@jit
def next_word(random: RandomState) -> Any:
    """The next 64 random bits of a policy's stream, as uint64."""
    counter = random[1]
    random[1] = counter + _ONE
    return mix(random[0] + counter * _GOLDEN)


@jit
def uniform(random: RandomState) -> float:
    """A uniform number in [0, 1)."""
    return unit(next_word(random))


@jit
def integer(bound: int, random: RandomState) -> int:
    """A uniform integer in 0..bound-1 (bias below `bound` / 2**53)."""
    return int(unit(next_word(random)) * bound)


@jit
def normal(random: RandomState) -> float:
    """A standard normal number, by inversion of one word."""
    return ndtri(open_unit(next_word(random)))


@jit
def gamma(shape: float, random: RandomState) -> float:
    """A Gamma(shape, 1) number, `shape` at least 1.

    Marsaglia and Tsang (2000), "A simple method for generating gamma variables".
    """
    d = shape - 1.0 / 3.0
    c = 1.0 / sqrt(9.0 * d)
    while True:
        x = normal(random)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        u = open_unit(next_word(random))
        square = x * x
        # The first test spares nearly all logarithms.
        if u < 1.0 - 0.0331 * square * square or log(u) < 0.5 * square + d * (1.0 - v + log(v)):
            return d * v


@jit
def log_gamma(shape: float, random: RandomState) -> float:
    """The logarithm of a Gamma(shape, 1) number, `shape` > 0, which may be too small for a float.

    Below 1 it is a Gamma(shape + 1) number times U**(1 / shape).
    """
    if shape >= 1.0:
        return log(gamma(shape, random))
    boost = log(open_unit(next_word(random))) / shape
    return boost + log(gamma(shape + 1.0, random))


@jit
def beta(a: float, b: float, random: RandomState) -> float:
    """A Beta(a, b) number, `a` and `b` > 0."""
    if a >= 1.0 and b >= 1.0:
        first = gamma(a, random)
        return first / (first + gamma(b, random))
    difference = log_gamma(b, random) - log_gamma(a, random)
    if difference > 0.0:
        ratio = exp(-difference)
        return ratio / (1.0 + ratio)
    return 1.0 / (1.0 + exp(difference))


@jit
def betas(a: FloatArray, b: FloatArray, out: FloatArray, random: RandomState) -> None:
    """One Beta(a[k], b[k]) number for every arm, into `out` (K,)."""
    for k in range(out.shape[0]):
        out[k] = beta(a[k], b[k], random)


@jit
def exponential(random: RandomState) -> float:
    """An exponential number with mean 1."""
    return -log1p(-unit(next_word(random)))


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
