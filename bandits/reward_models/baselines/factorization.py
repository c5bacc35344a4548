"""Logistic factorization: matrix factorization of who clicks on what, and two towers over embeddings of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit, logit

from bandits.reward_models import metrics
from bandits.reward_models.baselines.rows import Matrix, counts
from bandits.reward_models.within_test import FloatArray

Encoder = Callable[[Sequence[str]], Matrix]

PENALTIES = tuple(float(x) for x in np.logspace(0, 5, 6))
_FACTORS = 8
_STEPS = 200


class FactorizedClicks:
    """Clicks whose log-odds are a level, an effect of the user, one of the item, and a product of both.

    With vectors x of a user and y of an item: logit p = m + a x + b y + (P x) (Q y), where P and Q map to 8 factors. A
    ridge penalty on a, b, P and Q is chosen on validation rows. With x and y that name user and item (`OneHot`) this
    is a matrix factorization; with embeddings of their texts it is two linear towers.

    Args:
        users: Vectors of user texts.
        items: Vectors of item texts.
        train: Rows of `ClickLog.pairs` to fit, with clicks and impressions without a click.
        validation: Rows to choose the penalty by.
        seed: Of the first P and Q.

    References:
        Koren, Bell, Volinsky (2009), "Matrix factorization techniques for recommender systems"; Johnson (2014),
        "Logistic matrix factorization for implicit feedback data"; Yi et al. (2019), "Sampling-bias-corrected neural
        modeling for large corpus item recommendations" (two towers).
    """

    def __init__(
        self, users: Encoder, items: Encoder, train: pd.DataFrame, validation: pd.DataFrame, *, seed: int = 0
    ) -> None:
        self._encoders = (users, items)
        fit, outcome = _Sides(self._encoders, train), counts(train)
        judged, judged_outcome = _Sides(self._encoders, validation), counts(validation)
        best = np.inf
        for penalty in PENALTIES:
            parameters = _fit(fit, *outcome, penalty, seed)
            loss = metrics.log_loss(expit(judged.log_odds(parameters)), *judged_outcome)
            if loss < best:
                best, self._parameters, self.penalty = loss, parameters, penalty
        _, effects, factors = fit.parts(self._parameters)
        self._maps = [np.column_stack(maps) for maps in zip(effects, factors, strict=True)]

    def rates(self, rows: pd.DataFrame) -> FloatArray:
        """Predicted click rates, shape (n,)."""
        rates: FloatArray = expit(_Sides(self._encoders, rows).log_odds(self._parameters))
        return rates

    def vectors(self, user_texts: Sequence[str], item_texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Effect and factors of users, shape (U, 9), and of items, shape (K, 9)."""
        sides = zip(self._encoders, (user_texts, item_texts), self._maps, strict=True)
        users, items = (np.asarray(encoder(texts) @ map_) for encoder, texts, map_ in sides)
        return users, items


class OneHot:
    """Vectors that name a text: 1 in its own place; all 0 for texts that were not given.

    Args:
        texts: The texts that have a place.
    """

    def __init__(self, texts: Sequence[str] | pd.Series[str]) -> None:
        self._places = pd.Index(texts).unique()

    def __call__(self, texts: Sequence[str]) -> sparse.csr_array:
        """Vectors of texts, shape (n, places)."""
        place = self._places.get_indexer(pd.Index(texts))
        known = np.flatnonzero(place >= 0)
        return sparse.csr_array((np.ones(len(known)), (known, place[known])), shape=(len(place), len(self._places)))


class _Sides:
    """Rows as pairs of distinct users and items; log-odds and their gradient at parameters in one vector.

    The vector holds m, a, b, P and Q in this order.
    """

    def __init__(self, encoders: tuple[Encoder, Encoder], rows: pd.DataFrame) -> None:
        self.chosen: list[sparse.csr_array] = []
        self.vectors: list[Matrix] = []
        for encoder, column in zip(encoders, ("user_text", "item_text"), strict=True):
            place, texts = pd.factorize(rows[column])
            count = len(rows)
            self.chosen.append(sparse.csr_array((np.ones(count), (np.arange(count), place)), shape=(count, len(texts))))
            self.vectors.append(encoder(list(texts)))
        sizes = [vectors.shape[1] for vectors in self.vectors]
        self.ends = np.cumsum([1, *sizes, *(size * _FACTORS for size in sizes)])

    def log_odds(self, parameters: FloatArray) -> FloatArray:
        """Shape (n,)."""
        level, effects, factors = self.parts(parameters)
        user, item = self._factors(factors)
        sides = zip(self.chosen, self.vectors, effects, strict=True)
        own = sum(chosen @ (vectors @ effect) for chosen, vectors, effect in sides)
        odds: FloatArray = level + own + np.sum(user * item, axis=1)
        return odds

    def gradient(self, parameters: FloatArray, error: FloatArray) -> FloatArray:
        """Of a loss whose derivatives by the log-odds are `error`, shape (n,)."""
        _, _, factors = self.parts(parameters)
        user, item = self._factors(factors)
        found = [np.array([error.sum()])]
        sides = list(zip(self.chosen, self.vectors, strict=True))
        found += [vectors.T @ (chosen.T @ error) for chosen, vectors in sides]
        for (chosen, vectors), other in zip(sides, (item, user), strict=True):
            found.append((vectors.T @ (chosen.T @ (error[:, np.newaxis] * other))).ravel())
        return np.concatenate(found)

    def parts(self, parameters: FloatArray) -> tuple[float, list[FloatArray], list[FloatArray]]:
        """m; a and b; P and Q."""
        level, user, item, user_factors, item_factors = np.split(parameters, self.ends[:-1])
        return float(level[0]), [user, item], [part.reshape(-1, _FACTORS) for part in (user_factors, item_factors)]

    def _factors(self, factors: list[FloatArray]) -> list[NDArray[np.float64]]:
        """Factors of each row's user and item, both of shape (n, 8)."""
        sides = zip(self.chosen, self.vectors, factors, strict=True)
        return [chosen @ (vectors @ map_) for chosen, vectors, map_ in sides]


def _fit(sides: _Sides, impressions: FloatArray, clicks: FloatArray, penalty: float, seed: int) -> FloatArray:
    random = np.random.default_rng(seed)
    start = np.zeros(sides.ends[-1])
    start[0] = logit(clicks.sum() / impressions.sum())
    for side, vectors in enumerate(sides.vectors):
        # Factors must not begin at 0, where the product has no gradient.
        begin, end = sides.ends[side + 2 : side + 4]
        length = np.sqrt(max(1.0, float((vectors**2).sum()) / vectors.shape[0]))
        start[begin:end] = random.normal(0, 0.1 / length, end - begin)

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        z = sides.log_odds(parameters)
        shrunk = np.append(0.0, parameters[1:])
        gradient = sides.gradient(parameters, impressions * expit(z) - clicks) + penalty * shrunk
        fitted = np.sum(impressions * np.logaddexp(0, z) - clicks * z)
        return float(fitted + 0.5 * penalty * shrunk @ shrunk), gradient

    best: FloatArray = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x
    return best
