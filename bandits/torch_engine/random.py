"""The keyed random numbers of `bandits.random`, on the device.

Words are the same bit for bit: int64 arithmetic wraps around as uint64 does, and shifts are made logical by a mask.
Uniform numbers and integers are made of them by exact steps, so they too are the same on every device. Normal and
exponential numbers use the device's own functions: the same law, but other numbers than those of `bandits.variates`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bandits.random import POLICY
from bandits.random_streams import RandomStreams

_M1 = 0xBF58476D1CE4E5B9 - 2**64  # the constants of `bandits.random` as signed numbers
_M2 = 0x94D049BB133111EB - 2**64
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_ULP = 2.0**-53


def mix(z: Tensor) -> Tensor:
    """The 64-bit finaliser of SplitMix64 of int64 numbers, any shape."""
    z = (z ^ _shifted(z, 30)) * _M1
    z = (z ^ _shifted(z, 27)) * _M2
    return z ^ _shifted(z, 31)


def stream_keys(seed: int, role: int, replications: Tensor) -> Tensor:
    """The keys of one role in some replications, int64, shape (N,)."""
    start = torch.tensor(seed, dtype=torch.int64, device=replications.device)
    return mix(mix(mix(start) + role) + replications)


def policy_keys(seed: int, replications: Tensor, stream: int = 0) -> Tensor:
    """The keys of a policy's own draws, int64, shape (N,)."""
    keys = stream_keys(seed, POLICY, replications)
    return mix(keys + stream) if stream else keys


def world_uniform(keys: Tensor, round: Tensor, index: int = 0) -> Tensor:
    """Uniform numbers in [0, 1) at an address in a world's streams.

    Args:
        keys: Keys of one role, int64, shape (N,).
        round: The round, an int64 tensor without axes.
        index: Number of the word, 0..255.

    Returns:
        float64, shape (N,).
    """
    return unit(mix(keys + (round << 8) + index))


def unit(bits: Tensor) -> Tensor:
    """Numbers in [0, 1) from the upper 53 of 64 random bits; float64, the shape of `bits`."""
    return _shifted(bits, 11).double() * _ULP


def open_unit(bits: Tensor) -> Tensor:
    """Numbers in (0, 1), symmetric around 1/2; float64, the shape of `bits`."""
    return (_shifted(bits, 11).double() + 0.5) * _ULP


class TorchStreams:
    """A policy's own draws on a device: what `RandomStreams` is for NumPy, with the same words in the same order.

    Nothing here waits for the device, and counters change in place, so draws can be captured in a CUDA graph.

    Args:
        keys: Keys of the replications, int64, shape (N,); their device is the streams'.
        counters: How many words each has used, int64, shape (N,).
    """

    def __init__(self, keys: Tensor, counters: Tensor) -> None:
        self._keys, self._counters = keys, counters

    @classmethod
    def of(cls, random: RandomStreams, device: torch.device) -> TorchStreams:
        """The streams of `random` as they are now; from then on each goes its own way."""
        state = torch.from_numpy(random.state.view("int64").copy()).to(device)
        return cls(state[:, 0].clone(), state[:, 1].clone())

    @property
    def num_envs(self) -> int:
        """Number of replications `N`."""
        return len(self._keys)

    @property
    def device(self) -> torch.device:
        """The device that the numbers are on."""
        return self._keys.device

    def words(self, count: int) -> Tensor:
        """The next `count` random words of each replication, int64, shape (N, count)."""
        numbers = self._counters[:, None] + torch.arange(count, device=self.device)
        self._counters += count
        return mix(self._keys[:, None] + numbers * _GOLDEN)

    def uniform(self) -> Tensor:
        """Uniform numbers in [0, 1), float64, shape (N,)."""
        return self.uniforms(1)[:, 0]

    def uniforms(self, count: int) -> Tensor:
        """`count` uniform numbers in [0, 1) for each replication, float64, shape (N, count)."""
        return unit(self.words(count))

    def normal(self) -> Tensor:
        """Standard normal numbers, float64, shape (N,)."""
        return self.normals(1)[:, 0]

    def normals(self, count: int) -> Tensor:
        """`count` standard normal numbers for each replication by inversion, float64, shape (N, count)."""
        numbers: Tensor = torch.special.ndtri(open_unit(self.words(count)))
        return numbers

    def exponential(self) -> Tensor:
        """Exponential numbers with mean 1, float64, shape (N,)."""
        return -torch.log1p(-self.uniform())

    def integer(self, bound: int | Tensor) -> Tensor:
        """Uniform integers below `bound` (one number, or shape (N,)), int64, shape (N,)."""
        return (self.uniform() * bound).long()

    def integers(self, bound: int | Tensor, count: int) -> Tensor:
        """`count` uniform integers below `bound` (one number, or shape (N, 1)), int64, shape (N, count)."""
        return (self.uniforms(count) * bound).long()

    def integer_where(self, needed: Tensor, bound: Tensor) -> Tensor:
        """Uniform integers below `bound` (N,) where `needed` (N,); elsewhere 0, and no word is used. int64, (N,)."""
        word = mix(self._keys + self._counters * _GOLDEN)
        self._counters += needed
        return torch.where(needed, (unit(word) * bound).long(), 0)


def _shifted(z: Tensor, count: int) -> Tensor:
    """A logical shift to the right."""
    return (z >> count) & ((1 << (64 - count)) - 1)
