"""Gradient boosting of click rates on features of rows."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from bandits.reward_models import metrics
from bandits.reward_models.baselines.rows import Features, counts, weighted_outcomes
from bandits.reward_models.within_test import FloatArray

_TREES, _LEAVES, _LEARNING_RATE = 75, 8, 0.2


class BoostedClicks:
    """Boosted trees of clicks, at most 75 of 8 leaves each; their number is chosen on validation rows.

    Args:
        features: Features of rows, dense.
        train: Rows of `ClickLog.pairs` to fit.
        validation: Rows to choose by.
        seed: Of the rows that the bins of features are made from, where there are many.

    References:
        Ke et al. (2017), "LightGBM: a highly efficient gradient boosting decision tree"; scikit-learn's
        `HistGradientBoostingClassifier` is made after it.
    """

    def __init__(self, features: Features, train: pd.DataFrame, validation: pd.DataFrame, *, seed: int = 0) -> None:
        self.features = features
        x, x_validation, outcome = features(train), features(validation), counts(validation)
        outcomes, weight = weighted_outcomes(*counts(train))
        self.model = HistGradientBoostingClassifier(
            learning_rate=_LEARNING_RATE,
            max_iter=_TREES,
            max_leaf_nodes=_LEAVES,
            early_stopping=False,
            random_state=seed,
        ).fit(np.concatenate([x, x]), outcomes, sample_weight=weight)
        losses = [metrics.log_loss(p[:, 1], *outcome) for p in self.model.staged_predict_proba(x_validation)]
        self.trees = int(np.argmin(losses)) + 1

    def rates(self, rows: pd.DataFrame) -> FloatArray:
        """Predicted click rates, shape (n,)."""
        staged = self.model.staged_predict_proba(self.features(rows))
        rates: FloatArray = next(islice(staged, self.trees - 1, None))[:, 1]
        return rates
