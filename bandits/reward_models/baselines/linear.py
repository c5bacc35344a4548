"""Linear scores on features of rows: logistic regression of clicks, and its like inside tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from bandits.reward_models import metrics
from bandits.reward_models.baselines.rows import Features, Matrix, contrasts, counts, weighted_outcomes
from bandits.reward_models.within_test import FloatArray, IntArray, conditional_log_loss, log_shares, tempered_clicks

PENALTIES = tuple(float(x) for x in np.logspace(-2, 4, 7))


class LinearClicks:
    """Logistic regression of clicks on features, with a ridge penalty that is chosen on validation rows.

    Args:
        features: Features of rows.
        train: Rows of `ClickLog.pairs` to fit.
        validation: Rows to choose the penalty by.
    """

    def __init__(self, features: Features, train: pd.DataFrame, validation: pd.DataFrame) -> None:
        self.features = features
        x, x_validation, outcome = features(train), features(validation), counts(validation)
        best = np.inf
        for penalty in PENALTIES:
            model = _logistic(x, *counts(train), penalty)
            loss = metrics.log_loss(model.predict_proba(x_validation)[:, 1], *outcome)
            if loss < best:
                best, self.model, self.penalty = loss, model, penalty

    def rates(self, rows: pd.DataFrame) -> FloatArray:
        """Predicted click rates, shape (n,)."""
        rates: FloatArray = self.model.predict_proba(self.features(rows))[:, 1]
        return rates


class LinearWithinTests:
    """A linear score under the conditional likelihood of tests, with a ridge penalty chosen on validation rows.

    Args:
        features: Features of rows.
        train: Rows of `ClickLog.pairs` of a log of tests.
        validation: Rows to choose the penalty by.
        overdispersion: As in `FitConfig`.
    """

    def __init__(
        self, features: Features, train: pd.DataFrame, validation: pd.DataFrame, *, overdispersion: float
    ) -> None:
        self.features = features
        x, contrast, impressions = features(train), contrasts(train), counts(train)[0]
        clicks = tempered_clicks(counts(train)[1], contrast, overdispersion)
        x_validation, inside, shown = features(validation), contrasts(validation), counts(validation)[0]
        clicked = tempered_clicks(counts(validation)[1], inside, overdispersion)
        best, start = np.inf, np.zeros(x.shape[1])
        for penalty in sorted(PENALTIES, reverse=True):
            start = _conditional_weights(x, impressions, clicks, contrast, penalty, start)
            loss = conditional_log_loss(x_validation @ start, shown, clicked, inside)
            if loss < best:
                best, self.weights, self.penalty = loss, start, penalty

    def scores(self, rows: pd.DataFrame) -> FloatArray:
        """Scores that compare rows of one contrast, shape (n,)."""
        scores: FloatArray = self.features(rows) @ self.weights
        return scores


def _logistic(x: Matrix, impressions: FloatArray, clicks: FloatArray, penalty: float) -> LogisticRegression:
    both = sparse.csr_matrix(sparse.vstack([x, x])) if sparse.issparse(x) else np.concatenate([x, x])
    outcome, weight = weighted_outcomes(impressions, clicks)
    return LogisticRegression(C=1 / penalty, max_iter=1000).fit(both, outcome, sample_weight=weight)


def _conditional_weights(
    x: Matrix,
    impressions: FloatArray,
    clicks: FloatArray,
    contrast: IntArray,
    penalty: float,
    start: FloatArray,
) -> FloatArray:
    total = np.bincount(contrast, weights=clicks)[contrast]

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        shares = log_shares(x @ weights, impressions, contrast)
        gradient = x.T @ (total * np.exp(shares) - clicks) + penalty * weights
        return float(-np.sum(clicks * shares) + 0.5 * penalty * weights @ weights), gradient

    best: FloatArray = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return best
