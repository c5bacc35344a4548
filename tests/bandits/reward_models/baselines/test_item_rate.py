"""Shrunken item rates against SciPy's beta-binomial distribution."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom

from bandits.reward_models.baselines import ItemRates


def items(impressions: np.ndarray, clicks: np.ndarray) -> pd.DataFrame:
    names = [f"item {i}" for i in range(len(clicks))]
    return pd.DataFrame({"item_text": names, "impressions": impressions, "clicks": clicks})


def test_prior_has_the_greatest_likelihood_and_rates_are_its_posterior_means() -> None:
    random = np.random.default_rng(0)
    impressions = random.integers(20, 400, 200)
    rows = items(impressions, random.binomial(impressions, random.beta(3, 57, 200)))
    halves = [rows.assign(impressions=rows["impressions"] // 2, clicks=rows["clicks"] // 2)]
    halves += [
        rows.assign(
            impressions=rows["impressions"] - halves[0]["impressions"], clicks=rows["clicks"] - halves[0]["clicks"]
        )
    ]
    found = ItemRates(pd.concat(halves))  # an item's rows are added up
    likelihood = betabinom.logpmf(rows["clicks"], rows["impressions"], found.a, found.b).sum()
    for a in np.linspace(0.7, 1.4, 15) * found.a:
        for b in np.linspace(0.7, 1.4, 15) * found.b:
            assert betabinom.logpmf(rows["clicks"], rows["impressions"], a, b).sum() <= likelihood + 1e-6
    assert found.a / (found.a + found.b) == pytest.approx(0.05, abs=0.005)
    posterior = (found.a + rows["clicks"]) / (found.a + found.b + rows["impressions"])
    np.testing.assert_allclose(found.rates(rows), posterior)


def test_unseen_items_have_the_prior_mean() -> None:
    found = ItemRates(items(np.array([100, 100]), np.array([10, 30])))
    unseen = pd.DataFrame({"item_text": ["new", "newer"]})
    np.testing.assert_allclose(found.rates(unseen), found.a / (found.a + found.b))


def test_items_that_do_not_differ_share_one_rate() -> None:
    rows = items(np.full(50, 100), np.full(50, 7))
    np.testing.assert_allclose(ItemRates(rows).rates(rows), 0.07, rtol=1e-4)


def test_one_item_has_its_own_rate() -> None:
    rows = items(np.array([1000]), np.array([30]))
    np.testing.assert_allclose(ItemRates(rows).rates(rows), 0.03, rtol=0.02)
