"""Predicted rewards for DM and DR, from models that have not seen the round that they predict."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bandits.core import FloatArray, IntArray
from bandits.ope.log import LoggedFeedback


def random_folds(unit: ArrayLike, num_folds: int = 5, *, seed: int = 0) -> IntArray:
    """Fold of each round, 0 .. num_folds - 1: units are dealt out at random, in equal numbers, whole.

    Args:
        unit: Unit of each round (user, replication, or the round itself), integers of shape (n,).
        num_folds: Number of folds, at least 2; no more than units are made.
        seed: Key of the deal.
    """
    names, index = np.unique(np.asarray(unit), return_inverse=True)
    if num_folds < 2 or len(names) < 2:
        raise ValueError(
            f"`num_folds` must be at least 2, of at least 2 units. Got {num_folds} for {len(names)} units."
        )
    deal = np.random.Generator(np.random.Philox(key=[seed, 2])).permutation(len(names)) % min(num_folds, len(names))
    folds: IntArray = deal[index]
    return folds


def forward_folds(num_rounds: int, num_folds: int = 10) -> IntArray:
    """Fold of each round for `forward` fits: blocks in order of time, of about equal length, shape (n,)."""
    if num_folds < 2:
        raise ValueError(f"`num_folds` must be at least 2. Got {num_folds}.")
    return np.arange(num_rounds) * num_folds // max(num_rounds, 1)


def cross_fitted_means(
    chosen: ArrayLike, reward: ArrayLike, num_arms: int, folds: IntArray, *, forward: bool = False
) -> FloatArray:
    """Mean reward of each arm in the other folds, for logs without context.

    An arm that the other folds never showed is given their mean over all arms; where there are no other rounds at all
    (the first block when `forward`), the prediction is 0.

    Args:
        chosen: Shown arms, shape (..., n).
        reward: Shape (..., n).
        num_arms: Number of arms `K`.
        folds: Fold of each round, shape (n,).
        forward: Take earlier folds only, as an adaptive log needs.

    Returns:
        Predictions for every arm in every round, shape (..., n, K).
    """
    chosen, reward = np.asarray(chosen), np.asarray(reward, dtype=np.float64)
    sets, num_folds = int(np.prod(chosen.shape[:-1])), int(folds.max()) + 1
    place = (np.arange(sets)[:, None] * num_folds + folds) * num_arms + chosen.reshape(sets, -1)
    shape, size = (*chosen.shape[:-1], num_folds, num_arms), sets * num_folds * num_arms
    pulls = np.bincount(place.ravel(), minlength=size).reshape(shape).astype(np.float64)
    total = np.bincount(place.ravel(), weights=reward.ravel(), minlength=size).reshape(shape)
    if forward:
        pulls, total = (np.cumsum(sums, axis=-2) - sums for sums in (pulls, total))
    else:
        pulls, total = (sums.sum(axis=-2, keepdims=True) - sums for sums in (pulls, total))
    overall = total.sum(axis=-1, keepdims=True) / np.maximum(pulls.sum(axis=-1, keepdims=True), 1.0)
    means = np.where(pulls > 0, total / np.where(pulls > 0, pulls, 1.0), overall)
    return np.asarray(means[..., folds, :])


def cross_fitted_predictions(
    log: LoggedFeedback,
    unit: ArrayLike | None = None,
    *,
    num_folds: int = 5,
    penalty: float = 1.0,
    seed: int = 0,
) -> FloatArray:
    """Predicted reward of every arm in every round, shape (n, K), from models fitted to other rounds.

    Without features and positions these are `cross_fitted_means`. With them: a logistic regression where rewards are 0
    and 1, else a ridge regression, on the arm, the features (scaled to unit variance), the position, and the products
    of arm with features and position. A single adaptive run is cut into `2 num_folds` blocks of which only earlier ones
    are learned from (the first is predicted as 0), so that each prediction is known before its round.

    Args:
        log: The rounds.
        unit: Independent unit of each round, shape (n,), kept in one fold; None: the round.
        num_folds: Number of folds, at least 2.
        penalty: Weight of the squared coefficients, positive.
        seed: Key of the folds.
    """
    if not penalty > 0:
        raise ValueError(f"`penalty` must be positive. Got {penalty}.")
    forward = log.adaptive and log.num_replications == 1
    if forward:
        folds = forward_folds(len(log), 2 * num_folds)
    else:
        folds = random_folds(np.arange(len(log)) if unit is None else unit, num_folds, seed=seed)
    features = _features(log)
    if features.shape[1] == 0:
        return cross_fitted_means(log.chosen, log.reward, log.num_arms, folds, forward=forward)
    predictions = np.zeros((len(log), log.num_arms))
    for fold in np.unique(folds):
        train = folds < fold if forward else folds != fold
        if train.any():
            model = _LinearModel(features[train], log.chosen[train], log.reward[train], log.num_arms, penalty)
            predictions[folds == fold] = model.predict(features[folds == fold])
    return predictions


class _LinearModel:
    """Reward as a (logistic) linear function of arm, features, and their products."""

    def __init__(
        self, features: FloatArray, chosen: IntArray, reward: FloatArray, num_arms: int, penalty: float
    ) -> None:
        self.num_arms = num_arms
        self.binary = bool(np.isin(reward, (0.0, 1.0)).all())
        self.constant = float(reward[0]) if np.ptp(reward) == 0 else None
        if self.constant is not None:
            return
        from sklearn.linear_model import LogisticRegression, Ridge

        model: Any
        if self.binary:
            model = LogisticRegression(C=1 / penalty, max_iter=2000)
        else:
            model = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-8, max_iter=10_000)
        model.fit(_design(features, chosen, num_arms), reward)
        coefficients = np.ravel(model.coef_)
        dim = features.shape[1]
        self.intercept = np.ravel(model.intercept_) + coefficients[:num_arms]
        products = coefficients[num_arms + dim :].reshape(num_arms, dim)
        self.slope = coefficients[num_arms : num_arms + dim] + products

    def predict(self, features: FloatArray) -> FloatArray:
        """Predicted reward of every arm, shape (n, K)."""
        if self.constant is not None:
            return np.full((len(features), self.num_arms), self.constant)
        from scipy import special

        linear: FloatArray = features @ self.slope.T + self.intercept
        return np.asarray(special.expit(linear)) if self.binary else linear


def _design(features: FloatArray, chosen: IntArray, num_arms: int) -> Any:
    """Sparse columns: K arms, D features, K D products (those of arm a from column K + D + a D)."""
    from scipy import sparse

    n, dim = features.shape
    rows = np.arange(n)
    arms = sparse.csr_matrix((np.ones(n), (rows, chosen)), shape=(n, num_arms))
    columns = (chosen[:, None] * dim + np.arange(dim)).ravel()
    products = sparse.csr_matrix((features.ravel(), (np.repeat(rows, dim), columns)), shape=(n, num_arms * dim))
    products.eliminate_zeros()
    return sparse.hstack([arms, sparse.csr_matrix(features), products], format="csr")


def _features(log: LoggedFeedback) -> FloatArray:
    """Features and a column per position, in units of their standard deviation; constant ones are left out."""
    parts = [] if log.features is None else [log.features]
    if log.position is not None:
        parts.append((log.position[:, None] == np.unique(log.position)).astype(np.float64))
    if not parts:
        return np.zeros((len(log), 0))
    columns = np.concatenate(parts, axis=1)
    spread = columns.std(axis=0)
    varying = spread > 1e-12
    scaled: FloatArray = columns[:, varying] / spread[varying]
    return scaled
