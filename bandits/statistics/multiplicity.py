"""Adjustment of whole families of p-values."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.statistics.intervals import FloatArray

Adjustment = Literal["holm", "bonferroni", "benjamini-hochberg"]


class AdjustedPValues(NamedTuple):
    """Result of `adjust_p_values`.

    Attributes:
        p_values: Adjusted, in the order and shape given; reject those at or below the level. nan where untested.
        family_size: Hypotheses of each family that were tested, shape (...).
        method: Name of the adjustment.
    """

    p_values: FloatArray
    family_size: NDArray[np.int64]
    method: str


def adjust_p_values(p_values: ArrayLike, method: Adjustment = "holm") -> AdjustedPValues:
    """Adjust families of p-values, each as a whole; the last axis is the family.

    Args:
        p_values: Shape (..., M), each in [0, 1], or nan where a hypothesis was not tested (an arm without visitors):
            it stays nan and does not count for the others.
        method: `holm` (chance of any false rejection, always valid), `bonferroni` (the same, weaker; one step), or
            `benjamini-hochberg` (expected share of false rejections, for independent or positively dependent tests).

    Returns:
        Equal p-values of a family stay equal, and the order is kept.

    References:
        Holm, "A simple sequentially rejective multiple test procedure" (1979). Benjamini & Hochberg, "Controlling the
        false discovery rate" (1995).

    >>> adjust_p_values([0.01, 0.04, float("nan"), 0.03]).p_values
    array([0.03, 0.06,  nan, 0.06])
    """
    family = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(family)
    if family.ndim == 0 or not np.all((family >= 0) & (family <= 1) | ~tested):
        raise ValueError(f"`p_values` must be an array of numbers in [0, 1], or nan. Got {p_values!r}.")
    size = tested.sum(axis=-1)
    if method == "bonferroni":
        return AdjustedPValues(np.minimum(family * size[..., None], 1.0), size, method)
    if method not in ("holm", "benjamini-hochberg"):
        raise ValueError(f"`method` must be holm, bonferroni or benjamini-hochberg. Got {method!r}.")
    order = np.argsort(family, axis=-1)  # nan last
    ascending = np.take_along_axis(family, order, axis=-1)
    rank = np.arange(family.shape[-1])
    if method == "holm":
        stepped = np.maximum.accumulate(ascending * np.maximum(size[..., None] - rank, 1), axis=-1)
    else:
        scaled = np.where(np.isnan(ascending), np.inf, ascending * (size[..., None] / (rank + 1)))
        stepped = np.minimum.accumulate(scaled[..., ::-1], axis=-1)[..., ::-1]
    adjusted = np.empty_like(family)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1.0), axis=-1)
    return AdjustedPValues(np.where(tested, adjusted, np.nan), size, method)
