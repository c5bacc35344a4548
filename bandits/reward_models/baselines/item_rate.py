"""Each item's own click rate, drawn towards the mean of all items."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import betaln, expit, logit, psi

from bandits.reward_models.baselines.rows import counts
from bandits.reward_models.within_test import FloatArray

_MOST_POOLED = 100.0  # a prior worth this many times the log's impressions: all items are alike


class ItemRates:
    """Posterior mean click rate of each item under a beta prior that is fitted to all items: empirical Bayes.

    With c clicks in n impressions an item's rate is (a + c) / (a + b + n); a and b maximize the beta-binomial
    likelihood of all items' clicks. An item without training rows has the prior's mean.

    Args:
        train: Rows of `ClickLog.pairs` to fit, with clicks and impressions without a click.

    Attributes:
        a: Clicks that the prior is worth.
        b: Impressions without a click that it is worth.

    References:
        Efron, Hastie (2016), "Computer age statistical inference", chapter 6 (empirical Bayes).
    """

    def __init__(self, train: pd.DataFrame) -> None:
        totals = train.groupby("item_text")[["impressions", "clicks"]].sum()
        impressions, clicks = counts(totals)
        self.a, self.b = _beta_prior(impressions, clicks)
        self._rate = pd.Series((self.a + clicks) / (self.a + self.b + impressions), index=totals.index)

    def rates(self, rows: pd.DataFrame) -> FloatArray:
        """Click rates of the rows' items, shape (n,)."""
        rates = rows["item_text"].map(self._rate).fillna(self.a / (self.a + self.b))
        return np.asarray(rates, dtype=np.float64)


def _beta_prior(impressions: FloatArray, clicks: FloatArray) -> tuple[float, float]:
    """The a and b of greatest beta-binomial likelihood; nearly infinite where items vary no more than by chance."""

    def of(parameters: FloatArray) -> tuple[float, float]:
        mean, size = float(expit(parameters[0])), float(np.exp(parameters[1]))
        return mean * size, (1 - mean) * size

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        a, b = of(parameters)
        value = np.sum(betaln(a + clicks, b + impressions - clicks) - betaln(a, b))
        both = psi(a + b + impressions) - psi(a + b)
        by_a = np.sum(psi(a + clicks) - psi(a) - both)
        by_b = np.sum(psi(b + impressions - clicks) - psi(b) - both)
        gradient = np.array([(by_a - by_b) * a * b / (a + b), by_a * a + by_b * b])
        return float(-value), -gradient

    total = impressions.sum()
    start = np.array([logit(clicks.sum() / total), np.log(impressions.mean())])
    bounds = [(start[0] - 5, start[0] + 5), (np.log(1e-2), np.log(_MOST_POOLED * total))]
    return of(minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-13}).x)
