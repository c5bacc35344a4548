"""What every baseline reads from rows of `ClickLog.pairs`."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from bandits.reward_models.within_test import FloatArray, IntArray

Matrix = NDArray[np.float64] | sparse.csr_array


class Features(Protocol):
    """Features of rows, shape (n, features), dense or sparse."""

    def __call__(self, rows: pd.DataFrame) -> Matrix:
        """Features of `rows`."""
        ...


class ClickBaseline(Protocol):
    """A fitted model of click rates."""

    def rates(self, rows: pd.DataFrame) -> FloatArray:
        """Predicted click rates inside (0, 1), shape (n,)."""
        ...


class WithinTestsBaseline(Protocol):
    """A fitted model of differences inside contrasts."""

    def scores(self, rows: pd.DataFrame) -> FloatArray:
        """Scores that compare rows of one contrast, shape (n,)."""
        ...


def counts(rows: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
    """Impressions and clicks as float64, both of shape (n,)."""
    return rows["impressions"].to_numpy(dtype=np.float64), rows["clicks"].to_numpy(dtype=np.float64)


def contrasts(rows: pd.DataFrame) -> IntArray:
    """Number of each row's contrast from 0, shape (n,)."""
    return pd.factorize(rows["contrast"])[0].astype(np.int64)


def weighted_outcomes(impressions: FloatArray, clicks: FloatArray) -> tuple[IntArray, FloatArray]:
    """Binomial likelihood as weights, for what takes only 0 and 1: each row enters once with its clicks, once without.

    Returns:
        Outcomes and weights of the rows with clicks and then of the same rows without, both of shape (2 n,).
    """
    return np.repeat(np.array([1, 0]), len(clicks)), np.concatenate([clicks, impressions - clicks])
