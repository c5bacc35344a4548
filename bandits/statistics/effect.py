"""What a comparison of two arms returns, and the checks that the modules beside this one share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from bandits.statistics.checks import require_fraction
from bandits.statistics.intervals import FloatArray


class Effect(NamedTuple):
    """How much one arm differs from another: first minus second, or first relative to second; arrays of one shape.

    Attributes:
        estimate: The effect; nan where the data do not determine it.
        low: Lower end of the two-sided interval; nan where the data allow no interval.
        high: Upper end; nan where the data allow no interval.
        p_value: Two-sided, of no effect, not adjusted for other tests; nan where the method has none.
        confidence: Coverage of the interval of one effect, for a sample whose size was fixed beforehand.
        method: Name of the method in words.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    p_value: FloatArray
    confidence: float
    method: str


def wald_effect(
    estimate: ArrayLike, standard_error: ArrayLike, *, confidence: float, method: str, degrees: ArrayLike | None = None
) -> Effect:
    """`estimate ± q standard_error`, with `q` of Student's t where `degrees` are given and else of the normal.

    Args:
        estimate: Any shape.
        standard_error: Same shape; where it is 0 (no spread was seen) or nan, interval and p-value are nan.
        confidence: Coverage, in (0, 1).
        method: Name of the method, kept in the result.
        degrees: Degrees of freedom, same shape, or None.
    """
    require_fraction("confidence", confidence)
    centre, spread = np.broadcast_arrays(np.asarray(estimate, dtype=np.float64), np.asarray(standard_error, np.float64))
    some = np.isfinite(centre) & (spread > 0)
    statistic = -np.abs(np.divide(centre, spread, out=np.full(centre.shape, np.nan), where=some))
    if degrees is None:
        quantile: FloatArray = np.full(centre.shape, special.ndtri(0.5 + confidence / 2))
        tail: FloatArray = special.ndtr(statistic)
    else:
        freedom = np.where(some, np.asarray(degrees, dtype=np.float64), 1.0)
        quantile = np.asarray(special.stdtrit(freedom, 0.5 + confidence / 2), dtype=np.float64)
        tail = special.stdtr(freedom, statistic)
    half_width = np.where(some, quantile * spread, np.nan)
    return Effect(centre, centre - half_width, centre + half_width, 2 * tail, confidence, method)


def finite_array(name: str, values: ArrayLike, *, ndim: int = 1) -> FloatArray:
    """`values` as float64; raise a `ValueError` that names the argument unless all are finite, with `ndim` axes filled.

    Args:
        name: The argument's name.
        values: Numbers with at least `ndim` axes, the last `ndim` of which are not empty.
        ndim: Number of axes that belong to one data set.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim < ndim or 0 in array.shape[array.ndim - ndim :]:
        raise ValueError(
            f"`{name}` must have at least {ndim} axes, the last {ndim} not empty. Got shape {array.shape}."
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f"`{name}` must be finite. Got {np.count_nonzero(~np.isfinite(array))} numbers that are not.")
    return array
