"""Intervals over replications: the unit is a replication, or a world where there are several."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bandits.statistics.checks import require_fraction

FloatArray = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with its two-sided confidence interval; the three arrays have one shape.

    Attributes:
        estimate: The point estimate.
        low: Lower end; nan where the data allow no interval.
        high: Upper end; nan where the data allow no interval.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray


def mean_interval(values: ArrayLike, world: ArrayLike | None = None, *, confidence: float = 0.95) -> Interval:
    """Mean over the last axis with its t interval, `mean ± t_{n-1} sd / sqrt(n)`.

    Where the replications live in several worlds, they are averaged within each world first, and the world is the unit:
    replications inside one world say nothing about how much worlds differ.

    Args:
        values: One number per replication, shape (..., N); for a curve, (C, N).
        world: World of each replication, shape (N,). None, or a single world: the replication is the unit.
        confidence: Coverage, in (0, 1). Along a curve it is pointwise.

    Returns:
        Arrays of shape (...). With a single unit `low` and `high` are nan: one run has no interval, not a narrow one.

    Raises:
        ValueError: When `values` has no replications, or `world` does not match them.

    >>> mean_interval([1.0, 2.0, 3.0]).high.round(3)
    np.float64(4.484)
    """
    units = _units(np.asarray(values, dtype=np.float64), world)
    require_fraction("confidence", confidence)
    count = units.shape[-1]
    estimate = np.asarray(units.mean(axis=-1))
    if count == 1:
        missing = np.full_like(estimate, np.nan)
        return Interval(estimate, missing, missing.copy())
    quantile = special.stdtrit(count - 1, 0.5 + confidence / 2)
    half_width = quantile * units.std(axis=-1, ddof=1) / math.sqrt(count)
    return Interval(estimate, estimate - half_width, estimate + half_width)


def paired_difference(
    a: ArrayLike, b: ArrayLike, world: ArrayLike | None = None, *, confidence: float = 0.95
) -> Interval:
    """Mean of `a - b` with its paired t interval, over replications that share their luck.

    Replication n of `a` and replication n of `b` met the same users with the same click thresholds (common random
    numbers), so the difference is taken within the replication; treating the two as independent would throw that away.

    Args:
        a: One number per replication, shape (..., N).
        b: The same replications under another policy, shape (..., N).
        world: World of each replication, shape (N,); see `mean_interval`.
        confidence: Coverage, in (0, 1).

    Returns:
        Arrays of shape (...).

    Raises:
        ValueError: When the shapes of `a` and `b` differ.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(
            f"`a` and `b` must have the same shape, one column per replication. Got {a.shape} and {b.shape}."
        )
    return mean_interval(a - b, world, confidence=confidence)


def replications_needed(half_width: float, sd: float, *, confidence: float = 0.95) -> int:
    """Replications that bring a mean's interval down to `mean ± half_width`: `(z sd / half_width)^2`, at least 2.

    Args:
        half_width: Half of the wanted interval, in the units of `sd`; positive.
        sd: Standard deviation over replications, from a pilot run; not negative.
        confidence: Coverage, in (0, 1).

    >>> replications_needed(half_width=1.0, sd=10.0)
    385
    """
    if not half_width > 0:
        raise ValueError(f"`half_width` must be positive. Got {half_width}.")
    if not 0 <= sd < math.inf:
        raise ValueError(f"`sd` must be finite and not negative. Got {sd}.")
    require_fraction("confidence", confidence)
    z = float(special.ndtri(0.5 + confidence / 2))
    return max(2, math.ceil((z * sd / half_width) ** 2))


def _units(values: FloatArray, world: ArrayLike | None) -> FloatArray:
    """The independent units of `values` (..., N): worlds (..., W) if there are several, else the replications."""
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"`values` must have at least one replication in its last axis. Got shape {values.shape}.")
    if world is None:
        return values
    names, index = np.unique(np.asarray(world), return_inverse=True)
    if index.shape != values.shape[-1:]:
        raise ValueError(f"`world` must have shape {values.shape[-1:]} to match `values`. Got {index.shape}.")
    if len(names) == 1:
        return values
    membership = np.eye(len(names))[index]
    means: FloatArray = values @ (membership / membership.sum(axis=0))
    return means
