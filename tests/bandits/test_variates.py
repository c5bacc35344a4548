"""Draws against scipy's distributions, and the envelopes that make them cheap against the functions they bound."""

import numpy as np
import pytest
import scipy.stats

from bandits import RandomStreams
from bandits.random import next_word
from bandits.variates import _DENSITY, _EDGE, _attempt, beta, betas, gamma, normal, normals


def sample(draw, size, seed=11):
    """Numbers drawn one after another from one stream."""
    random = RandomStreams(seed, 1).state[0]
    return np.array([draw(random) for _ in range(size)])


@pytest.mark.parametrize(
    ("draw", "distribution"),
    [
        (lambda s: s.uniform(), scipy.stats.uniform()),
        (lambda s: s.normal(), scipy.stats.norm()),
        (lambda s: s.exponential(), scipy.stats.expon()),
        (lambda s: s.beta(0.3, 0.2), scipy.stats.beta(0.3, 0.2)),
        (lambda s: s.beta(1.0, 40.0), scipy.stats.beta(1, 40)),
        (lambda s: s.beta(30.0, 2.5), scipy.stats.beta(30, 2.5)),
        (
            lambda s: s.betas(np.full((s.num_envs, 2), 4.0), np.full((s.num_envs, 2), 0.5))[:, 1],
            scipy.stats.beta(4, 0.5),
        ),
    ],
)
def test_distributions(draw, distribution):
    sample = draw(RandomStreams(11, 50_000))
    assert scipy.stats.kstest(sample, distribution.cdf).pvalue > 1e-3


def test_the_layers_of_the_ziggurat_have_equal_areas():
    area = _EDGE[1:256] * (_DENSITY[2:257] - _DENSITY[1:256])
    tail = np.sqrt(2 * np.pi) * scipy.stats.norm.sf(_EDGE[1])
    assert area == pytest.approx(np.full(255, _EDGE[1] * _DENSITY[1] + tail))
    assert area[0] == pytest.approx(0.00492867323399, abs=1e-13)  # v of Marsaglia and Tsang (2000), for 256 layers


def test_normals_have_the_right_tails_and_moments():
    """All parts of the ziggurat: the tail beyond its first layer, wedges, signs."""
    numbers = RandomStreams(1, 1_000_000).normal()
    assert scipy.stats.kstest(numbers, "norm").pvalue > 1e-3
    tail = numbers[np.abs(numbers) > _EDGE[1]]
    low, high = scipy.stats.binom.interval(0.999, len(numbers), 2 * scipy.stats.norm.sf(_EDGE[1]))
    assert low <= len(tail) <= high
    beyond = scipy.stats.norm.sf(np.abs(tail)) / scipy.stats.norm.sf(_EDGE[1])
    assert scipy.stats.kstest(beyond, "uniform").pvalue > 1e-3
    edges = scipy.stats.norm.ppf(np.arange(1, 1000) / 1000)
    assert scipy.stats.chisquare(np.bincount(np.searchsorted(edges, numbers), minlength=1000)).pvalue > 1e-3


def test_normals_for_all_arms_are_those_of_the_same_words():
    """Where the first attempt succeeds, which is nearly always, arm k has the normal number of the k-th word."""
    together, out = RandomStreams(3, 1).state[0], np.empty(1000)
    normals(out, together)
    key = RandomStreams(3, 1).state[0, 0]
    alone = np.array([normal(np.array([key, k], dtype=np.uint64)) for k in range(1000)])
    same = out == alone
    assert same.mean() > 0.97
    assert scipy.stats.kstest(out, "norm").pvalue > 1e-3


@pytest.mark.parametrize("shape", [0.4, 0.7, 1.0, 3.5, 200.0])
def test_gamma(shape):
    numbers = sample(lambda random: gamma(shape, random), 20_000)
    assert scipy.stats.kstest(numbers, scipy.stats.gamma(shape).cdf).pvalue > 1e-3


def fits_beta(numbers, a, b):
    """Whether counts between quantiles are as they should; floats have no numbers between 1 - 1e-16 and 1."""
    edges = scipy.stats.beta(a, b).ppf(np.arange(1, 50) / 50)
    edges = np.unique(edges[(edges > 1e-300) & (edges < 1 - 1e-9)])
    expected = np.diff(scipy.stats.beta(a, b).cdf(edges), prepend=0.0, append=1.0) * len(numbers)
    counts = np.bincount(np.searchsorted(edges, numbers), minlength=len(edges) + 1)
    return scipy.stats.chisquare(counts, expected).pvalue > 1e-3


@pytest.mark.parametrize(
    ("a", "b"), [(1.0, 1.0), (0.5, 0.5), (0.34, 3.0), (0.2, 0.1), (0.01, 0.02), (2.0, 900.0), (5e4, 1e6)]
)
def test_betas(a, b):
    random, out, draws = RandomStreams(5, 1).state[0], np.empty(7), []
    for _ in range(8000):
        betas(np.full(7, a), np.full(7, b), out, random)
        draws.append(out.copy())
    every = np.array(draws)
    assert fits_beta(every.ravel(), a, b)
    assert np.abs(np.corrcoef(every.T) - np.eye(7)).max() < 5 / np.sqrt(8000)


def test_different_arms_have_their_own_parameters():
    random, a, b = RandomStreams(6, 1).state[0], np.array([1.0, 30.0, 0.2]), np.array([8.0, 10.0, 0.3])
    out, draws = np.empty(3), []
    for _ in range(8000):
        betas(a, b, out, random)
        draws.append(out.copy())
    for k in range(3):
        assert scipy.stats.kstest(np.array(draws)[:, k], scipy.stats.beta(a[k], b[k]).cdf).pvalue > 1e-3


@pytest.mark.parametrize("d", [0.05, 2 / 3, 1.0, 10.0, 1e4])
def test_a_first_attempt_is_only_good_where_marsaglia_and_tsang_accept(d):
    """Against the exact condition, for small and large u: the squeeze is never too generous, seldom too strict."""
    random = RandomStreams(8, 1).state[0]
    words = [np.uint64(next_word(random)) for _ in range(1000)]
    for u in (0.3, 0.9, 0.99, 0.9999, 1 - 1e-6):
        certain, accepted = 0, 0
        for word in words:
            value, good = _attempt(d, word, u)
            root = np.cbrt(value / d)
            x = (root - 1) * np.sqrt(9 * d)
            inside = root > 0 and np.log(u) < 0.5 * x * x + d - value + 3 * d * np.log(root) + 1e-9
            assert inside or not good
            certain, accepted = certain + good, accepted + inside
        assert certain > 0.7 * accepted


@pytest.mark.timeout(20)
def test_numbers_that_are_none_come_back_instead_of_hanging():
    random, out = RandomStreams(7, 1).state[0], np.empty(2)
    assert np.isnan(gamma(np.nan, random))
    assert np.isnan(beta(np.nan, 1.0, random))
    betas(np.array([np.nan, 1.0]), np.array([1.0, 2.0]), out, random)
    assert np.isnan(out[0])
    assert 0 < out[1] < 1
