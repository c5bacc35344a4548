"""The conditional likelihood of a randomized test: given its clicks, which of its items got them.

In a test with items i shown n_i times, a click falls on item i with probability n_i exp(s_i) / sum_j n_j exp(s_j).
Whatever all items of the test have in common (traffic, image, story) cancels; only differences inside the test remain.

References:
    McFadden (1974), "Conditional logit analysis of qualitative choice behavior".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def log_shares(scores: FloatArray, impressions: FloatArray, contrast: IntArray) -> FloatArray:
    """Log-probability of each row to get the next click of its contrast, shape (n,).

    Args:
        scores: Score of each row, shape (n,).
        impressions: Positive impressions, shape (n,).
        contrast: Number of each row's contrast, from 0, shape (n,).

    >>> np.exp(log_shares(np.array([0.0, np.log(3.0)]), np.array([10.0, 10.0]), np.array([0, 0])))
    array([0.25, 0.75])
    """
    z = scores + np.log(impressions)
    contrasts = int(contrast.max()) + 1
    top = np.full(contrasts, -np.inf)
    np.maximum.at(top, contrast, z)
    total = np.bincount(contrast, weights=np.exp(z - top[contrast]), minlength=contrasts)
    shares: FloatArray = z - top[contrast] - np.log(total)[contrast]
    return shares


def tempering(clicks: FloatArray, contrast: IntArray, overdispersion: float) -> FloatArray:
    """What part of its clicks a row should count in a fit when texts explain only part of what happens, shape (n,).

    The log of an item's observed click rate varies by about `overdispersion + 1 / clicks` around what its text says,
    not by `1 / clicks`. So clicks are divided by `1 + overdispersion * mean clicks of the contrast's items`: a test
    with ten times the clicks is better evidence, but not ten times as good.

    >>> tempering(np.array([30.0, 10.0]), np.array([0, 0]), overdispersion=0.1)
    array([0.33333333, 0.33333333])

    References:
        McCullagh, Nelder (1989), "Generalized linear models", on overdispersion and quasi-likelihood.
    """
    mean = np.bincount(contrast, weights=clicks) / np.bincount(contrast)
    share: FloatArray = 1 / (1 + overdispersion * mean[contrast])
    return share


def tempered_clicks(clicks: FloatArray, contrast: IntArray, overdispersion: float) -> FloatArray:
    """Clicks times their `tempering`, shape (n,)."""
    return clicks * tempering(clicks, contrast, overdispersion)


def conditional_log_loss(scores: FloatArray, impressions: FloatArray, clicks: FloatArray, contrast: IntArray) -> float:
    """Negative conditional log-likelihood per click (arguments as in `log_shares`), in nats."""
    return float(-np.sum(clicks * log_shares(scores, impressions, contrast)) / np.sum(clicks))


def expected_rates(scores: FloatArray, impressions: FloatArray, clicks: FloatArray, contrast: IntArray) -> FloatArray:
    """Expected click rate of each row, given how many clicks its contrast got in all, shape (n,).

    With equal scores this is the contrast's own click rate: the prediction that items do not differ.
    """
    total = np.bincount(contrast, weights=clicks)
    rates: FloatArray = total[contrast] * np.exp(log_shares(scores, impressions, contrast)) / impressions
    return rates
