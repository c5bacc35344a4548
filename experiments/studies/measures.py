"""Operating characteristics from replications, each with its Monte Carlo error."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bandits.statistics import mean_interval, proportion_interval, ratio_moments
from bandits.statistics.effect import wald_effect

FloatArray = NDArray[np.float64]


class Measured(NamedTuple):
    """A number that a simulation estimates, and how far it may be off because the simulation is finite.

    Attributes:
        value: The estimate; nan where it is not defined.
        error: Its Monte Carlo standard error; nan where there is none (a single replication).
        low: Lower end of the 95 percent interval for the number that endless replications would give.
        high: Upper end.
        replications: How many it rests on.
    """

    value: float
    error: float
    low: float
    high: float
    replications: int


NOTHING = Measured(math.nan, math.nan, math.nan, math.nan, 0)


def share(happened: ArrayLike) -> Measured:
    """Share of the replications in which something happened: error `sqrt(p (1 - p) / R)`, Wilson's interval.

    >>> share([True, False, False, False]).error
    0.21650635094610965
    """
    outcomes = np.asarray(happened, dtype=np.bool_)
    if outcomes.size == 0:
        return NOTHING
    found = proportion_interval(outcomes.sum(), outcomes.size)
    p = float(found.estimate)
    return Measured(p, math.sqrt(p * (1 - p) / outcomes.size), float(found.low), float(found.high), outcomes.size)


def mean(values: ArrayLike) -> Measured:
    """Mean over the replications: error `s / sqrt(R)`, t interval.

    >>> mean([1.0, 2.0, 3.0]).error.__round__(4)
    0.5774
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        return NOTHING
    found = mean_interval(numbers)
    error = float(numbers.std(ddof=1)) / math.sqrt(numbers.size) if numbers.size > 1 else math.nan
    return Measured(float(found.estimate), error, float(found.low), float(found.high), numbers.size)


def root_mean_square(errors: ArrayLike) -> Measured:
    """Root of the mean squared error; its own error by the delta method, `sd(e^2) / (2 rmse sqrt(R))`."""
    squares = mean(np.asarray(errors, dtype=np.float64) ** 2)
    if not squares.value > 0:
        return squares
    low, high = (math.sqrt(max(end, 0.0)) for end in (squares.low, squares.high))
    root = math.sqrt(squares.value)
    return Measured(root, squares.error / (2 * root), low, high, squares.replications)


def quantile(values: ArrayLike, level: float) -> Measured:
    """A quantile over the replications, with the interval between two order statistics, which needs no assumption.

    The error is the interval's width over that of a normal one with standard error 1.

    Args:
        values: One number per replication, shape (R,).
        level: In (0, 1).
    """
    numbers = np.sort(np.asarray(values, dtype=np.float64))
    count = numbers.size
    if count == 0:
        return NOTHING
    ranks = special.bdtrik([0.025, 0.975], count, level)
    low = float(numbers[min(max(math.floor(ranks[0]) - 1, 0), count - 1)])
    high = float(numbers[min(max(math.ceil(ranks[1]), 0), count - 1)])
    middle = float(np.quantile(numbers, level, method="inverted_cdf"))
    error = (high - low) / (2 * float(special.ndtri(0.975))) if count > 1 else math.nan
    return Measured(middle, error, low, high, count)


def relative_saving(lost: ArrayLike, baseline_lost: ArrayLike) -> Measured:
    """By which share less is lost than by the baseline, `1 - mean(lost) / mean(baseline_lost)`, paired.

    The ratio's error is that of the delta method over pairs of replications with the same luck.

    Args:
        lost: One number per replication, shape (R,).
        baseline_lost: The same replications of the baseline, shape (R,), not negative.

    Returns:
        Not defined where the baseline loses nothing.
    """
    y, x = np.asarray(lost, dtype=np.float64), np.asarray(baseline_lost, dtype=np.float64)
    if y.size == 0 or not x.any():
        return NOTHING
    moments = ratio_moments(y, x)
    error = np.sqrt(moments.variance / moments.units)
    found = wald_effect(1 - moments.mean, error, confidence=0.95, method="paired ratio, delta method")
    return Measured(float(found.estimate), float(error), float(found.low), float(found.high), y.size)
