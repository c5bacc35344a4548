"""Keyed random numbers: worlds address theirs, policies consume theirs in order.

Nothing here has global state. Every number is `mix` of a key and a position, where `mix` is the finaliser of SplitMix64
(Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", variant 13 of Stafford).

* A *world* draw is addressed: word `j` of round `t` is `mix(key + (t << 8) + j)` with
  `key = mix(mix(mix(seed) + role) + replication)`. It does not depend on what any policy did.
* A *policy* draw is sequential: `random` is the array `[key, counter]`, and each draw advances the counter.

In kernels the draws are functions of `random`: `uniform` and `integer` here, the other distributions in
`bandits.variates`. Batched policies find the same names as methods of `bandits.random_streams.RandomStreams`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.machine_code import jit

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
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
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
def hashed_word(salt: float, identity: int) -> Any:
    """64 random bits that depend on `identity` and on a `salt` in [0, 1) alone."""
    return word(mix(np.uint64(salt * 9007199254740992.0)), identity, 0)  # 2**53: all bits of the salt


@jit
def hashed_uniform(salt: float, identity: int) -> float:
    """A number in [0, 1) that depends on `identity` and on a `salt` in [0, 1) alone: for sticky random assignment."""
    return unit(hashed_word(salt, identity))


@jit
def next_word(random: RandomState) -> Any:
    """The next 64 random bits of a policy's stream, as uint64."""
    counter = random[1]
    random[1] = counter + _ONE
    return mix(random[0] + counter * GOLDEN)


@jit
def uniform(random: RandomState) -> float:
    """A uniform number in [0, 1)."""
    return unit(next_word(random))


@jit
def integer(bound: int, random: RandomState) -> int:
    """A uniform integer in 0..bound-1 (bias below `bound` / 2**53)."""
    return int(unit(next_word(random)) * bound)
