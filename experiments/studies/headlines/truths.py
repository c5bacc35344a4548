"""What the click rates of a test are taken to be: as observed, shrunken, or from halves of the visitors.

An observed rate is an estimate. Taken for the truth, its noise is something that a policy can win: the best of several
observed rates is on average higher than any true rate. `shrunken` rates take the noise out, and a little more: their
spread is smaller than that of the true ones. For `half-sample`, the visitors of each headline are divided at random;
clicks are drawn from the rates of one half, and counted at the rates of the other, whose errors are independent of all
that a policy could learn. So the clicks that are counted are on average those at the true rates; but what a policy
learns from is as noisy as the first half, which is unkind to whoever learns much.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.studies.headlines.config import TruthName

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Truth(NamedTuple):
    """A world for every test.

    Attributes:
        drawn: Rates that visitors click with, shape (n,).
        counted: Rates at which visits are worth clicks, shape (n,).
    """

    drawn: FloatArray
    counted: FloatArray


def make_truth(name: TruthName, impressions: IntArray, clicks: IntArray, test: IntArray, seed: int) -> Truth:
    """The rates of a kind of truth.

    Args:
        name: Which.
        impressions: Of each headline, at least 1, shape (n,).
        clicks: Likewise.
        test: Number of each headline's test, from 0, shape (n,).
        seed: Key of the halves.
    """
    if name == "observed":
        rates = clicks / impressions
        return Truth(rates, rates)
    if name == "shrunken":
        rates = shrunken_rates(impressions, clicks, test)
        return Truth(rates, rates)
    return half_samples(impressions, clicks, seed)


def shrunken_rates(impressions: IntArray, clicks: IntArray, test: IntArray) -> FloatArray:
    """Empirical Bayes rates: each headline's is drawn towards the rate of its test, shape (n,).

    A headline's rate is its test's rate times a factor with mean 1 and variance v, Gamma distributed; clicks are
    Poisson. Its posterior mean is mu (1/v + clicks) / (1/v + mu impressions), with mu the clicks per impression of the
    test. v is one number for all tests, such that Pearson's statistic, summed over the tests, is what it should be on
    average (moments, as DerSimonian and Laird estimate the variance between studies).

    Args:
        impressions: At least 1, shape (n,).
        clicks: Shape (n,).
        test: Number of each headline's test, from 0, shape (n,).

    References:
        Robbins (1956), "An empirical Bayes approach to statistics"; DerSimonian and Laird (1986), "Meta-analysis in
        clinical trials"; Clayton and Kaldor (1987), "Empirical Bayes estimates of age-standardized relative risks"
        (the Gamma-Poisson model).
    """
    level = (np.bincount(test, weights=clicks) / np.bincount(test, weights=impressions))[test]
    variance = factor_variance(impressions, clicks, test)
    if variance == 0:
        return level
    rates: FloatArray = level * (1 / variance + clicks) / (1 / variance + level * impressions)
    return np.minimum(rates, 1.0)


def factor_variance(impressions: IntArray, clicks: IntArray, test: IntArray) -> float:
    """Variance v of the headlines' factors around their tests' rates, at least 0; see `shrunken_rates`."""
    level = (np.bincount(test, weights=clicks) / np.bincount(test, weights=impressions))[test]
    expected = level * impressions
    clicked = expected > 0
    pearson = np.sum((clicks - expected)[clicked] ** 2 / expected[clicked])
    total, squares = np.bincount(test, weights=expected), np.bincount(test, weights=expected**2)
    alive = total > 0
    freedom = np.bincount(test)[alive].sum() - alive.sum()
    worth = np.sum(total[alive] - squares[alive] / total[alive])
    return max(0.0, float((pearson - freedom) / worth)) if worth > 0 else 0.0


def half_samples(impressions: IntArray, clicks: IntArray, seed: int) -> Truth:
    """Rates in two random halves of each headline's visitors; those shown once have the same rate in both."""
    random = np.random.default_rng([seed, 0x4A1F])
    first = impressions // 2
    in_first = random.hypergeometric(clicks, impressions - clicks, first)
    rate = clicks / impressions
    drawn = np.divide(in_first, first, out=rate.copy(), where=first > 0)
    counted = np.where(first > 0, (clicks - in_first) / (impressions - first), rate)
    return Truth(drawn, counted)
