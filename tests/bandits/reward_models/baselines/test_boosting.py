"""Boosted trees find what no line can, and stop where validation rows say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from bandits.reward_models.baselines import BoostedClicks, LinearClicks, counts
from bandits.reward_models.metrics import log_loss


def features(rows: pd.DataFrame) -> np.ndarray:
    return rows[["x", "y"]].to_numpy()


def sample(seed: int) -> pd.DataFrame:
    """Clicks where two numbers have the same sign."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(300, 2))
    rates = np.where(x[:, 0] * x[:, 1] > 0, 0.3, 0.05)
    frame = pd.DataFrame({"x": x[:, 0], "y": x[:, 1], "impressions": 100, "rate": rates})
    return frame.assign(clicks=random.binomial(100, rates))


@pytest.fixture(scope="module")
def parts() -> list[pd.DataFrame]:
    return [sample(seed) for seed in range(3)]


def test_interactions_are_found(parts: list[pd.DataFrame]) -> None:
    train, validation, test = parts
    truth = log_loss(test["rate"].to_numpy(), *counts(test))
    boosted, linear = (kind(features, train, validation).rates(test) for kind in (BoostedClicks, LinearClicks))
    assert log_loss(boosted, *counts(test)) < truth + 0.03
    assert log_loss(linear, *counts(test)) > truth + 0.05


def test_number_of_trees_is_the_best_on_validation_rows(parts: list[pd.DataFrame]) -> None:
    train, validation, test = parts
    model = BoostedClicks(features, train, validation)
    n, c = counts(train)
    both, outcome, weight = np.tile(features(train), (2, 1)), np.repeat([1, 0], len(n)), np.append(c, n - c)
    losses = {}
    for trees in {1, model.trees - 5, model.trees, model.trees + 5} - {0}:
        again = HistGradientBoostingClassifier(
            learning_rate=0.2, max_iter=trees, max_leaf_nodes=8, early_stopping=False
        ).fit(both, outcome, sample_weight=weight)
        losses[trees] = log_loss(again.predict_proba(features(validation))[:, 1], *counts(validation))
        if trees == model.trees:
            np.testing.assert_allclose(model.rates(test), again.predict_proba(features(test))[:, 1], rtol=1e-9)
    assert min(losses, key=lambda trees: losses[trees]) == model.trees


def test_one_row_gives_its_rate() -> None:
    row = pd.DataFrame({"x": [1.0], "y": [2.0], "impressions": [100], "clicks": [10]})
    np.testing.assert_allclose(BoostedClicks(features, row, row).rates(row), 0.1)
