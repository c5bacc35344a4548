"""Which numbers go with clicks, whatever users or items a log happens to hold: stability selection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit
from scipy.stats import norm

from bandits.reward_models.text_columns import TextColumns

FloatArray = NDArray[np.float64]

SUBSAMPLES = 100
FEWEST_TEXTS = 20
_LEVEL = 0.05
_ZERO = 1e-4  # weights of standardised numbers below this are what the optimizer left of 0


def stability_selection(columns: TextColumns, rows: pd.DataFrame, seed: int) -> dict[str, Any] | None:
    """Share of random halves of the items, or users, in which an L1-penalised logistic regression takes each number.

    Items, not impressions, are drawn: the numbers are theirs. The penalty is such that, where no number has to do with
    clicks, a half takes any of them in about 5 percent of all cases. That holds however much more click rates differ
    between items than coins would, and however unequally items were shown: impressions of one item count for less the
    more alike they are (`effective_share`).

    Args:
        columns: Of the items, or of the users.
        rows: Training rows of `ClickLog.pairs`.
        seed: Key of the halves.

    Returns:
        `texts`, how many items or users there are, `subsamples`, and `chosen`: name to share. None without numbers or
        with fewer than 20 texts.

    References:
        Meinshausen, Bühlmann (2010), "Stability selection".
    """
    total = rows.groupby(f"{columns.of}_text", sort=False)[["impressions", "clicks"]].sum()
    if not columns.numbers or len(total) < FEWEST_TEXTS:
        return None
    x = columns.values[columns.rows(total.index.tolist()), : len(columns.numbers)]
    impressions, clicks = (total[name].to_numpy(dtype=np.float64) for name in ("impressions", "clicks"))
    random = np.random.default_rng([seed, len(total)])
    taken = np.zeros(len(columns.numbers))
    for _ in range(SUBSAMPLES):
        half = random.permutation(len(total))[: len(total) // 2]
        taken += selected(x[half], impressions[half], clicks[half])
    shares = {name: float(share) for name, share in zip(columns.numbers, taken / SUBSAMPLES, strict=True)}
    return {"texts": len(total), "subsamples": SUBSAMPLES, "chosen": shares}


def selected(x: FloatArray, impressions: FloatArray, clicks: FloatArray) -> NDArray[np.bool_]:
    """Which numbers get a weight, shape (F,); `x` has shape (texts, F), the counts (texts,)."""
    if not 0 < clicks.sum() < impressions.sum():
        return np.zeros(x.shape[1], dtype=np.bool_)
    share = effective_share(impressions, clicks)
    impressions, clicks = share * impressions, share * clicks
    rate = clicks.sum() / impressions.sum()
    centred = x - np.average(x, axis=0, weights=impressions)
    spread = np.sqrt(np.average(centred**2, axis=0, weights=impressions))
    varies = spread > 0
    if not varies.any():
        return np.zeros(x.shape[1], dtype=np.bool_)
    information = impressions.sum() * rate * (1 - rate)
    penalty = norm.isf(_LEVEL / 2 / varies.sum()) * np.sqrt(information)
    weights = l1_logistic(centred[:, varies] / spread[varies], impressions, clicks, float(penalty))
    chosen = np.zeros(x.shape[1], dtype=np.bool_)
    chosen[varies] = np.abs(weights) > _ZERO
    return chosen


def effective_share(impressions: FloatArray, clicks: FloatArray) -> FloatArray:
    """Share of its impressions that an item is worth, shape (items,): 1 / (1 + r (impressions - 1)).

    Two impressions of one item are correlated by r, beyond the rate of all items. It is the one that makes Pearson's
    statistic, of rows weighted so, equal to its degrees of freedom; 0 where items differ no more than coins.

    References:
        Williams (1982), "Extra-binomial variation in logistic linear models".
    """

    def share(correlation: float) -> FloatArray:
        return 1 / (1 + correlation * (impressions - 1))

    def surplus(correlation: float) -> float:
        weight = share(correlation)
        rate = (weight * clicks).sum() / (weight * impressions).sum()
        pearson = weight * (clicks - impressions * rate) ** 2 / (impressions * rate * (1 - rate))
        return float(pearson.sum()) - (len(clicks) - 1)

    if surplus(0.0) <= 0:
        return np.ones(len(clicks))
    return share(brentq(surplus, 0.0, 1.0) if surplus(1.0) < 0 else 1.0)


def l1_logistic(x: FloatArray, impressions: FloatArray, clicks: FloatArray, penalty: float) -> FloatArray:
    """Weights that minimize the negative log-likelihood plus `penalty` times their sum without signs, shape (F,).

    Positive and negative parts are variables of their own, bounded by 0; the intercept is not penalised.
    """
    features = x.shape[1]
    rate = clicks.sum() / impressions.sum()
    scale = impressions.sum() * rate * (1 - rate)

    def loss(v: FloatArray) -> tuple[float, FloatArray]:
        z = v[0] + x @ (v[1 : features + 1] - v[features + 1 :])
        value = np.sum(impressions * np.logaddexp(0, z) - clicks * z) + penalty * v[1:].sum()
        residual = impressions * expit(z) - clicks
        slope = x.T @ residual
        gradient = np.concatenate([[residual.sum()], slope + penalty, penalty - slope])
        return float(value / scale), gradient / scale

    start = np.zeros(1 + 2 * features)
    start[0] = np.log(rate / (1 - rate))
    bounds = [(None, None)] + [(0.0, None)] * (2 * features)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000}
    ).x
    weights: FloatArray = found[1 : features + 1] - found[features + 1 :]
    return weights
