"""The keyed random numbers, against plain Python integers and scipy's distributions."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from bandits import RandomStreams, special
from bandits.random import (
    CLICKS,
    POLICY,
    hashed_uniform,
    mix,
    stream_key,
    uniform,
    word,
    world_uniform,
)

MASK = 2**64 - 1


def mix_by_hand(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_mix_is_the_finaliser_of_splitmix64():
    # First outputs of SplitMix64 seeded with 1234567, as published with its reference implementation.
    golden = 0x9E3779B97F4A7C15
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(mix(np.uint64((1234567 + (i + 1) * golden) & MASK))) for i in range(3)] == published


@pytest.mark.parametrize(
    ("seed", "replication", "round", "index"), [(0, 0, 0, 0), (7, 17, 12345, 3), (2**62, 9, 1, 255)]
)
def test_words_are_addressed_as_documented(seed, replication, round, index):
    key = mix_by_hand((mix_by_hand((mix_by_hand(seed) + CLICKS) & MASK) + replication) & MASK)
    assert int(stream_key(seed, CLICKS, replication)) == key
    assert int(word(np.uint64(key), round, index)) == mix_by_hand((key + (round << 8) + index) & MASK)


def test_policy_draws_are_sequential_from_counter_zero():
    streams = RandomStreams(5, 2, first_replication=3)
    key = mix_by_hand((mix_by_hand((mix_by_hand(5) + POLICY) & MASK) + 4) & MASK)
    expected = [(mix_by_hand((key + i * 0x9E3779B97F4A7C15) & MASK) >> 11) * 2.0**-53 for i in range(3)]
    assert [uniform(streams.state[1]) for _ in range(3)] == expected


def test_streams_do_not_depend_on_their_neighbours():
    many, few = RandomStreams(1, 10), RandomStreams(1, 3, first_replication=4)
    assert np.array_equal(many.normal()[4:7], few.normal())
    assert not np.array_equal(RandomStreams(1, 10, stream=1).uniform(), RandomStreams(1, 10).uniform())


def test_integers_are_uniform():
    counts = np.bincount(RandomStreams(2, 60_000).integer(6), minlength=6)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_world_words_are_uncorrelated_along_every_axis():
    # A grid of words over rounds, indices and replications: no correlation between neighbours beyond chance.
    grid = np.array(
        [
            [[world_uniform(np.uint64(stream_key(0, CLICKS, n)), t, j) for j in range(4)] for t in range(50)]
            for n in range(100)
        ]
    )
    for axis in range(3):
        left, right = np.take(grid, range(grid.shape[axis] - 1), axis), np.take(grid, range(1, grid.shape[axis]), axis)
        correlation = np.corrcoef(left.ravel(), right.ravel())[0, 1]
        assert abs(correlation) < 4 / np.sqrt(left.size)


def test_hashed_uniforms_are_uniform_over_neighbouring_users():
    sample = [hashed_uniform(0.3, user) for user in range(5000)]
    assert scipy.stats.kstest(sample, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    ("ours", "scipys", "arguments"),
    [
        (special.ndtri, scipy.special.ndtri, [(0.001,), (0.5,), (0.97,)]),
        (special.ndtr, scipy.special.ndtr, [(-3.0,), (0.1,)]),
        (special.betainc, scipy.special.betainc, [(2.0, 3.0, 0.4), (0.1, 9.0, 0.01)]),
        (special.betaincinv, scipy.special.betaincinv, [(2.0, 3.0, 0.4), (0.5, 0.5, 0.9)]),
        (special.gammaln, scipy.special.gammaln, [(0.3,), (25.5,)]),
    ],
)
def test_special_functions_are_scipys(ours, scipys, arguments):
    for values in arguments:
        assert ours(*values) == scipys(*values)
