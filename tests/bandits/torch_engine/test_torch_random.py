"""The device's random words are those of `bandits.random`, bit for bit."""

import numpy as np
import pytest
import scipy.stats
import torch

from bandits import random
from bandits.random_streams import RandomStreams
from bandits.special import ndtri
from bandits.torch_engine import TorchStreams, argmax
from bandits.torch_engine import random as device_random

pytestmark = pytest.mark.model
CPU = torch.device("cpu")
SEEDS = [0, 1, 2**62 + 12345, 2**63 - 1]


def as_words(numbers: torch.Tensor) -> np.ndarray:
    return numbers.numpy().view(np.uint64)


def streams(seed: int, num_envs: int, first: int = 0, stream: int = 0) -> TorchStreams:
    return TorchStreams.of(RandomStreams(seed, num_envs, first, stream), CPU)


def test_mix_on_words_of_all_kinds():
    rng = np.random.default_rng(0)
    words = np.concatenate(
        [rng.integers(0, 2**64, 2000, dtype=np.uint64), np.array([0, 1, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)]
    )
    expected = np.array([random.mix(word) for word in words], dtype=np.uint64)
    np.testing.assert_array_equal(as_words(device_random.mix(torch.from_numpy(words.view(np.int64)))), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("role", range(random.NUM_ROLES))
def test_keys_and_addressed_uniforms_of_every_role(seed, role):
    first = 10**6
    keys = device_random.stream_keys(seed, role, torch.arange(first, first + 5))
    expected = [np.uint64(random.stream_key(seed, role, first + n)) for n in range(5)]
    np.testing.assert_array_equal(as_words(keys), np.array(expected, dtype=np.uint64))
    for round, index in ((0, 0), (3, 255), (10**7, 1)):
        uniforms = device_random.world_uniform(keys, torch.tensor(round), index)
        assert uniforms.tolist() == [random.world_uniform(key, round, index) for key in expected]


@pytest.mark.parametrize("stream", [0, 3])
def test_a_policy_draws_what_it_draws_in_numpy(stream):
    device, numpy = streams(5, 40, 7, stream), RandomStreams(5, 40, 7, stream)
    keys = device_random.policy_keys(5, torch.arange(7, 47), stream)
    np.testing.assert_array_equal(as_words(keys), numpy.state[:, 0])
    bound = np.arange(1, 41)
    for _ in range(3):
        np.testing.assert_array_equal(device.uniform(), numpy.uniform())
        np.testing.assert_array_equal(device.integer(6), numpy.integer(6))
        np.testing.assert_array_equal(device.integer(torch.from_numpy(bound)), numpy.integer(bound))
        np.testing.assert_allclose(device.exponential(), numpy.exponential(), rtol=1e-14)
        word = numpy.state.copy()
        expected = [ndtri(random.open_unit(np.uint64(random.next_word(row)))) for row in word]
        np.testing.assert_allclose(device.normal(), expected, rtol=1e-13)
        numpy.state[:] = word


def test_several_draws_at_once_are_the_next_ones():
    one, many, bound = streams(2, 6), streams(2, 6), torch.arange(1, 7)[:, None]
    np.testing.assert_array_equal(torch.stack([one.uniform() for _ in range(4)], 1), many.uniforms(4))
    np.testing.assert_array_equal(torch.stack([one.normal() for _ in range(3)], 1), many.normals(3))
    np.testing.assert_array_equal(torch.stack([one.integer(bound[:, 0]) for _ in range(2)], 1), many.integers(bound, 2))


def test_normals_are_normal():
    assert scipy.stats.kstest(streams(3, 200).normals(100).flatten(), "norm").pvalue > 1e-3


def test_argmax_chooses_among_the_best_and_draws_for_ties_only():
    """The scores that the kernels' `argmax` gets, and the very same arms."""
    from bandits.choice import argmax as scalar

    rng = np.random.default_rng(1)
    scores = rng.integers(0, 3, (300, 4)).astype(float)
    scores[:10, 1], scores[10:20] = np.inf, -np.inf
    scores[20:30, 2], scores[30:40] = np.nan, np.nan
    available = rng.random((300, 4)) < 0.7
    device, numpy = streams(1, 300), RandomStreams(1, 300)
    for _ in range(3):
        expected = [scalar(scores[n], available[n], numpy.state[n]) for n in range(300)]
        assert argmax(torch.from_numpy(scores), torch.from_numpy(available), device).tolist() == expected
    np.testing.assert_array_equal(device.uniform(), numpy.uniform())  # both have used as many words
