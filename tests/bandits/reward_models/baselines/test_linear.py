"""Linear baselines against the generalized linear models of statsmodels, on their way to no penalty."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.discrete.conditional_models import ConditionalLogit
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from bandits.reward_models.baselines import LinearClicks, LinearWithinTests


def features(rows: pd.DataFrame) -> np.ndarray:
    return rows[["x", "y"]].to_numpy()


@pytest.fixture
def rows() -> pd.DataFrame:
    random = np.random.default_rng(1)
    x = random.normal(size=(90, 2))
    rates = 1 / (1 + np.exp(1 - x @ [0.8, -0.4]))
    frame = pd.DataFrame({"x": x[:, 0], "y": x[:, 1], "impressions": random.integers(5, 60, 90)})
    return frame.assign(clicks=random.binomial(frame["impressions"], rates), contrast=np.repeat(np.arange(30), 3))


def test_clicks_follow_a_binomial_regression(rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandits.reward_models.baselines.linear.PENALTIES", (1e-8,))
    outcome = np.column_stack([rows["clicks"], rows["impressions"] - rows["clicks"]])
    design = np.column_stack([np.ones(len(rows)), features(rows)])
    expected = GLM(outcome, design, family=Binomial()).fit()
    found = LinearClicks(features, rows, rows)
    np.testing.assert_allclose(found.rates(rows), expected.predict(design), rtol=1e-3)


def test_scores_inside_tests_follow_a_conditional_logit(rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each click is a choice among the items of its test, which were shown equally often."""
    monkeypatch.setattr("bandits.reward_models.baselines.linear.PENALTIES", (1e-8,))
    rows = rows.assign(impressions=1000)
    chosen, design, stratum = [], [], []
    for _, test in rows.groupby("contrast"):
        for item in np.repeat(np.arange(3), test["clicks"]):
            chosen += [float(item == other) for other in range(3)]
            design.append(features(test))
            stratum += [len(design)] * 3
    expected = ConditionalLogit(np.array(chosen), np.concatenate(design), groups=np.array(stratum)).fit(disp=False)
    found = LinearWithinTests(features, rows, rows, overdispersion=0.0)
    np.testing.assert_allclose(found.weights, expected.params, rtol=1e-3)
    np.testing.assert_allclose(found.scores(rows), features(rows) @ found.weights)


def test_penalty_is_the_one_that_validation_rows_like_best(rows: pd.DataFrame) -> None:
    """Where clicks have nothing to do with forty numbers, the larger the penalty the better."""
    random = np.random.default_rng(2)

    def noise(rows: pd.DataFrame) -> np.ndarray:
        return np.stack([np.random.default_rng(impressions).normal(size=40) for impressions in rows["impressions"]])

    alike = [pd.DataFrame({"impressions": random.permutation(500)[:200] + 10}) for _ in range(2)]
    first, second = (part.assign(clicks=random.binomial(part["impressions"], 0.3)) for part in alike)
    assert LinearClicks(noise, first, second).penalty >= 1000
    assert LinearClicks(features, rows, rows).penalty < 10
