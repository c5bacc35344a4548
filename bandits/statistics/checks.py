"""Checks that the statistics share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def require_fraction(name: str, value: float) -> None:
    """Raise a `ValueError` that names the argument unless `value` lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"`{name}` must lie strictly between 0 and 1. Got {value}.")


def require_power(power: float, alpha: float) -> None:
    """Raise a `ValueError` unless `alpha` lies in (0, 1) and `power` between it and 1."""
    require_fraction("alpha", alpha)
    if not alpha < power < 1:
        raise ValueError(f"`power` must lie between `alpha` ({alpha}) and 1. Got {power}.")


def counts_of(
    successes: ArrayLike, trials: ArrayLike, *, suffix: str = ""
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 of one shape; raise a `ValueError` unless `0 <= successes <= trials` and trials are finite.

    Args:
        successes: Counts, any shape; may be fractions.
        trials: Counts, a shape that goes with it.
        suffix: What follows the arguments' names in the message, such as `_a`.
    """
    count, total = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    if not np.all((count >= 0) & (count <= total)):
        got = f"{successes!r} of {trials!r}" if count.size <= 8 else "a count that does not"
        raise ValueError(f"`successes{suffix}` must lie between 0 and `trials{suffix}`. Got {got}.")
    if not np.all(total < np.inf):
        raise ValueError(f"`trials{suffix}` must be finite. Got inf.")
    return count, total


def require_prior(prior: tuple[float, float], *, least: float = 0.0) -> tuple[float, float]:
    """Parameters of a Beta prior; raise a `ValueError` unless both are finite, positive and at least `least`."""
    a, b = prior
    if not (0 < a < math.inf and 0 < b < math.inf and min(a, b) >= least):
        must = f"two finite numbers of at least {least:g}" if least else "two positive numbers"
        raise ValueError(f"`prior` must be {must}. Got {prior!r}.")
    return a, b
