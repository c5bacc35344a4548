"""Intervals over replications: the unit is a replication, or a world where there are several."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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


class MeanWithError(NamedTuple):
    """Result of `mean_with_error`; the arrays have one shape.

    Attributes:
        estimate: The mean.
        error: Its standard error; nan with a single unit, 0 where no unit differs from another.
        degrees: Degrees of freedom of the error, at least 1.
    """

    estimate: FloatArray
    error: FloatArray
    degrees: FloatArray


def mean_with_error(values: ArrayLike, world: ArrayLike | None = None) -> MeanWithError:
    """Mean over the last axis with its standard error, whose units are replications or worlds.

    Where the replications live in several worlds, they are averaged within each world first, and the world is the unit:
    replications inside one world say nothing about how much worlds differ.

    Where worlds are crossed (every A/B test is played in the world of every member of an ensemble), tests and members
    are two samples, and a mean is uncertain because of both. The variances of the means by test and by member add up,
    each divided by its number; the degrees of freedom are Satterthwaite's. The sum counts what is neither test nor
    member twice, so it errs on the wide side, the more the fewer differences there are between either.

    Args:
        values: One number per replication, shape (..., N).
        world: World of each replication, shape (N,); or (N, F) where worlds are crossed, a column for each of F ways to
            divide them. None, or a single world: the replication is the unit.

    References:
        Satterthwaite, "An approximate distribution of estimates of variance components" (1946). Cameron, Gelbach &
        Miller, "Robust inference with multiway clustering" (2011), on crossed units.

    >>> mean_with_error([1.0, 2.0, 3.0, 6.0], [0, 0, 1, 1])
    MeanWithError(estimate=array(3.), error=array(1.5), degrees=array(1.))
    >>> crossed = mean_with_error([1.0, 2.0, 3.0, 6.0], [[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> crossed.error.round(3), crossed.degrees.round(3)
    (np.float64(1.803), np.float64(1.742))
    """
    means, units = _units(np.asarray(values, dtype=np.float64), world)
    estimate = np.asarray(means.mean(axis=-1))
    counts = [unit.shape[-1] for unit in units]
    if counts[0] == 1:
        return MeanWithError(estimate, np.full_like(estimate, np.nan), np.ones_like(estimate))
    variances = [
        np.where(np.ptp(unit, axis=-1) > 0, unit.var(axis=-1, ddof=1) / count, 0.0)
        for unit, count in zip(units, counts, strict=True)
    ]
    total = np.asarray(sum(variances))
    squares = np.asarray(sum(v**2 / (count - 1) for v, count in zip(variances, counts, strict=True)))
    least = np.full_like(total, min(counts) - 1)
    degrees = np.divide(total**2, squares, out=least, where=squares > 0) if len(units) > 1 else least
    return MeanWithError(estimate, np.asarray(np.sqrt(total)), degrees)


def mean_interval(values: ArrayLike, world: ArrayLike | None = None, *, confidence: float = 0.95) -> Interval:
    """Mean over the last axis with its t interval, `mean ± t_{n-1} sd / sqrt(n)` over n units.

    Args:
        values: One number per replication, shape (..., N); for a curve, (C, N).
        world: World of each replication, shape (N,), or (N, F) where worlds are crossed: what the units are, see
            `mean_with_error`.
        confidence: Coverage, in (0, 1). Along a curve it is pointwise.

    Returns:
        Arrays of shape (...). With a single unit `low` and `high` are nan: one run has no interval, not a narrow one.

    Raises:
        ValueError: When `values` has no replications, or `world` does not match them.

    >>> mean_interval([1.0, 2.0, 3.0]).high.round(3)
    np.float64(4.484)
    """
    require_fraction("confidence", confidence)
    estimate, error, degrees = mean_with_error(values, world)
    half_width = special.stdtrit(degrees, 0.5 + confidence / 2) * error
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
        world: World of each replication, shape (N,) or (N, F); see `mean_with_error`.
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


def _units(values: FloatArray, world: ArrayLike | None) -> tuple[FloatArray, list[FloatArray]]:
    """Means by world where there are several, else the replications; and the independent units, for each way to divide.

    Where worlds are crossed, the units average the worlds, not the replications.
    """
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"`values` must have at least one replication in its last axis. Got shape {values.shape}.")
    if world is None:
        return values, [values]
    names = np.asarray(world)
    if names.ndim not in (1, 2) or names.shape[:1] != values.shape[-1:]:
        raise ValueError(f"`world` must have shape {values.shape[-1:]} to match `values`. Got {names.shape}.")
    columns = names.reshape(len(names), -1).T
    columns = columns[[len(np.unique(column)) > 1 for column in columns]]
    if len(columns) < 2:
        means = _averaged(values, columns[0]) if len(columns) else values
        return means, [means]
    cells, cell = np.unique(columns, axis=1, return_inverse=True)
    means = _averaged(values, cell.ravel())
    return means, [_averaged(means, column) for column in cells]


def _averaged(values: FloatArray, names: NDArray[Any]) -> FloatArray:
    """Means of `values` (..., N) by name, in the order of the names."""
    index = np.unique(names, return_inverse=True)[1]
    membership = np.eye(index.max() + 1)[index]
    means: FloatArray = values @ (membership / membership.sum(axis=0))
    return means
