"""Stability selection: the penalised fit against another solver, and what it chooses where the truth is planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from bandits.reward_models.stability import FEWEST_TEXTS, effective_share, l1_logistic, selected, stability_selection
from bandits.reward_models.text_columns import TextColumns


def planted(
    items: int, seed: int, effect: float, spread: float, *, unequal: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three numbers of items, the first of which moves the click rate; items differ otherwise too, by `spread`.

    The logarithm of their impressions differs by `unequal`.
    """
    random = np.random.default_rng(seed)
    x = random.normal(size=(items, 3))
    rate = 1 / (1 + np.exp(2 - effect * x[:, 0] - spread * random.normal(size=items)))
    impressions = random.integers(500, 3000, size=items).astype(float)
    if unequal:
        impressions = np.ceil(500 * np.exp(unequal * random.normal(size=items)))
    return x, impressions, random.binomial(impressions.astype(int), rate).astype(float)


@pytest.mark.parametrize("penalty", [20.0, 500.0])
def test_penalised_weights_are_those_of_another_solver(penalty: float) -> None:
    x, impressions, clicks = planted(40, 1, 0.3, 0.1)
    # Its penalty reaches the intercept too: scaled, so that it hardly does.
    how: dict[str, Any] = {"solver": "liblinear", "tol": 1e-9, "max_iter": 10_000, "random_state": 0}
    other = LogisticRegression(l1_ratio=1.0, C=1 / penalty, intercept_scaling=1e4, **how)
    other.fit(np.repeat(x, 2, axis=0), np.tile([0, 1], 40), np.stack([impressions - clicks, clicks], axis=1).ravel())
    found = l1_logistic(x, impressions, clicks, penalty)
    np.testing.assert_allclose(found, other.coef_[0], atol=2e-4)
    assert (abs(found) > 1e-4).sum() == (2 if penalty == 20.0 else 1)


@pytest.mark.parametrize("unequal", [0.0, 2.0])
def test_useless_numbers_are_taken_in_about_five_percent(unequal: float) -> None:
    """Although click rates of items differ far more than coins would, and some items are shown far more than others."""
    taken = [selected(*planted(30, seed, 0.0, 0.5, unequal=unequal)).any() for seed in range(300)]
    assert 0.01 < np.mean(taken) < 0.1


def test_impressions_of_an_item_are_worth_what_a_beta_binomial_law_says() -> None:
    """Its variance is n r (1 - r) (1 + correlation (n - 1)), with correlation 1 / (a + b + 1)."""
    random = np.random.default_rng(1)
    impressions = np.ceil(300 * np.exp(random.normal(size=4000)))
    a, b = 2.0, 18.0
    clicks = random.binomial(impressions.astype(int), random.beta(a, b, size=4000)).astype(float)
    worth = 1 / (1 + (impressions - 1) / (a + b + 1))
    np.testing.assert_allclose(effective_share(impressions, clicks), worth, rtol=0.1)
    coins = random.binomial(impressions.astype(int), 0.1).astype(float)
    assert np.median(effective_share(impressions, coins)) > 0.9


def test_a_number_that_matters_is_chosen_whatever_the_items() -> None:
    x, impressions, clicks = planted(60, 2, 0.5, 0.2)
    texts = [f"item {k}" for k in range(60)]
    columns = TextColumns("item", tuple(texts), x, ("price", "noise", "luck"), {})
    rows = pd.DataFrame({"item_text": texts, "impressions": impressions, "clicks": clicks})
    found = stability_selection(columns, rows, 0)
    assert found is not None
    assert found["texts"] == 60
    assert found["chosen"]["price"] > 0.95
    assert max(found["chosen"]["noise"], found["chosen"]["luck"]) < 0.3
    assert stability_selection(columns, rows, 0) == found
    assert stability_selection(columns, rows[: FEWEST_TEXTS - 1], 0) is None


def test_a_constant_number_is_never_taken() -> None:
    x, impressions, clicks = planted(30, 3, 1.0, 0.1)
    x[:, 1] = 4.0
    np.testing.assert_array_equal(selected(x, impressions, clicks)[:2], [True, False])
