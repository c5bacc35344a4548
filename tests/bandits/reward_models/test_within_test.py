"""The conditional likelihood of a test against scipy's multinomial and against enumeration; torch against NumPy."""

from __future__ import annotations

from itertools import product
from math import log

import numpy as np
import pytest
from scipy.stats import multinomial

from bandits.reward_models.within_test import conditional_log_loss, expected_rates, log_shares, tempered_clicks

SCORES = np.array([0.3, -0.2, 1.1, 0.0, 0.4])
IMPRESSIONS = np.array([100.0, 250.0, 80.0, 60.0, 90.0])
CLICKS = np.array([3.0, 4.0, 5.0, 2.0, 0.0])
CONTRAST = np.array([1, 0, 1, 1, 0])


def shares_by_hand(contrast: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.flatnonzero(contrast == CONTRAST)
    weight = IMPRESSIONS[rows] * np.exp(SCORES[rows])
    return rows, weight / weight.sum()


def test_shares_and_loss_equal_the_multinomial() -> None:
    found = np.exp(log_shares(SCORES, IMPRESSIONS, CONTRAST))
    likelihood = 0.0
    for contrast in (0, 1):
        rows, shares = shares_by_hand(contrast)
        np.testing.assert_allclose(found[rows], shares, rtol=1e-12)
        clicks = CLICKS[rows].astype(int)
        flat = np.full(len(rows), 1 / len(rows))
        # The multinomial coefficient does not depend on the shares: divide it out by a flat model.
        coefficient = multinomial.logpmf(clicks, clicks.sum(), flat) - clicks.sum() * log(1 / len(rows))
        likelihood += multinomial.logpmf(clicks, clicks.sum(), shares) - coefficient
    assert conditional_log_loss(SCORES, IMPRESSIONS, CLICKS, CONTRAST) == pytest.approx(-likelihood / CLICKS.sum())


def test_it_is_the_likelihood_given_the_total_for_rare_clicks() -> None:
    """Enumerate all outcomes of Poisson clicks with three in all: their conditional law has our shares."""
    rows, shares = shares_by_hand(1)
    rates = IMPRESSIONS[rows] * np.exp(SCORES[rows])
    outcomes = [c for c in product(range(4), repeat=3) if sum(c) == 3]
    factorial = [1, 1, 2, 6]
    weight = {c: np.prod([r**k / factorial[k] for r, k in zip(rates, c, strict=True)]) for c in outcomes}
    total = sum(weight.values())
    for clicks in outcomes:
        assert multinomial.pmf(clicks, 3, shares) == pytest.approx(weight[clicks] / total)


def test_what_all_items_share_cancels() -> None:
    shifted = SCORES + np.array([5.0, -3.0])[CONTRAST]
    np.testing.assert_allclose(
        log_shares(shifted, 7 * IMPRESSIONS, CONTRAST), log_shares(SCORES, IMPRESSIONS, CONTRAST), rtol=1e-12
    )


def test_expected_rates_give_back_the_contrasts_clicks() -> None:
    rates = expected_rates(SCORES, IMPRESSIONS, CLICKS, CONTRAST)
    np.testing.assert_allclose(np.bincount(CONTRAST, rates * IMPRESSIONS), np.bincount(CONTRAST, CLICKS))
    flat = expected_rates(np.zeros(5), IMPRESSIONS, CLICKS, CONTRAST)
    pooled = np.bincount(CONTRAST, CLICKS) / np.bincount(CONTRAST, IMPRESSIONS)
    np.testing.assert_allclose(flat, pooled[CONTRAST])


def test_tempering_gives_clicks_the_weight_of_their_real_variance() -> None:
    """Simulate text-independent differences between items; the variance of log rates is what the divisor says."""
    random = np.random.default_rng(0)
    spread, mean = 0.1, 200.0
    rates = random.poisson(mean * np.exp(random.normal(0, spread**0.5, 100_000)))
    observed = np.var(np.log(rates))
    contrast = np.zeros(2, dtype=np.int64)
    weight = tempered_clicks(np.array([mean, mean]), contrast, spread)
    assert 1 / weight[0] == pytest.approx(observed, rel=0.05)
    np.testing.assert_array_equal(tempered_clicks(CLICKS, CONTRAST, 0.0), CLICKS)


@pytest.mark.model
def test_torch_losses_equal_numpy_and_have_the_right_gradients() -> None:
    import torch

    from bandits.reward_models.objectives import binomial_loss, within_test_loss

    n, c = torch.tensor(IMPRESSIONS), torch.tensor(CLICKS)
    logits = torch.tensor(SCORES, requires_grad=True)
    inside = within_test_loss(logits, n, c, torch.tensor(CONTRAST))
    expected = conditional_log_loss(SCORES, IMPRESSIONS, CLICKS, CONTRAST) * CLICKS.sum()
    assert inside.item() == pytest.approx(expected, rel=1e-12)
    (gradient,) = torch.autograd.grad(inside, logits)
    total = np.bincount(CONTRAST, CLICKS)[CONTRAST]
    by_hand = total * np.exp(log_shares(SCORES, IMPRESSIONS, CONTRAST)) - CLICKS
    np.testing.assert_allclose(gradient.numpy(), by_hand, rtol=1e-10, atol=1e-12)

    p = 1 / (1 + np.exp(-SCORES))
    by_hand = -np.sum(CLICKS * np.log(p) + (IMPRESSIONS - CLICKS) * np.log(1 - p))
    assert binomial_loss(logits, n, c).item() == pytest.approx(by_hand, rel=1e-12)
