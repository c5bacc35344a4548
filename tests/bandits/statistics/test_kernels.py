"""The scalar forms that compiled policies call, against the arrays."""

import math

import numpy as np
import pytest

from bandits.statistics import (
    bayesian_comparison,
    beta_mixture_log_e_value,
    beta_mixture_sequence,
    beta_mixture_test,
    empirical_bernstein_sequence,
    kernels,
    msprt_test,
    normal_mixture_sequence,
)

COUNTS = [(0, 1), (1, 1), (3, 10), (10, 10), (40, 1000), (999, 1000), (1, 200_000), (77_000, 200_000)]


@pytest.fixture
def bounded():
    return np.random.default_rng(11).beta(0.6, 1.7, size=(3, 150))


@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.4, 7.0)])
def test_scalar_forms_equal_the_arrays(prior):
    a, b = prior
    for s, n in COUNTS:
        evidence = beta_mixture_log_e_value(s, n, 0.07, prior=prior)
        assert kernels.beta_mixture_evidence(s, n, 0.07, a, b) == pytest.approx(float(evidence), rel=1e-9, abs=1e-9)
        sequence = beta_mixture_sequence(s, n, confidence=0.9, prior=prior)
        low = kernels.beta_mixture_low(float(s), float(n), a, b, 0.1)
        high = 1 - kernels.beta_mixture_low(float(n - s), float(n), b, a, 0.1)
        np.testing.assert_allclose([low, high], [sequence.low, sequence.high], atol=1e-11)
    for row in [(0, 0, 0, 0), (3, 10, 0, 8), (10, 10, 5, 5), (900, 10_000, 1000, 9_900)]:
        expected = beta_mixture_test(*([value] for value in row), prior=prior).log_e_value[0]
        assert kernels.beta_mixture_test_evidence(*map(float, row), a, b) == pytest.approx(expected, abs=1e-8)
        expected = msprt_test(*([value] for value in row), tau=0.03, burn_in=5).log_e_value[0]
        assert kernels.msprt_evidence(*map(float, row), 0.03, 5.0) == pytest.approx(expected, abs=1e-12)
    expected = float(normal_mixture_sequence(0.0, 0.2, 70, rho=0.1).high)
    assert kernels.normal_mixture_half_width(0.2, 70.0, 0.1, 0.05) == pytest.approx(expected, rel=1e-12)
    assert kernels.normal_mixture_half_width(0.0, 70.0, 0.1, 0.05) == math.inf


def test_scalar_steps_add_up(bounded):
    clicks = np.random.default_rng(13).random(300) < 0.2
    total = 0.0
    for t, click in enumerate(clicks):
        total += kernels.beta_mixture_step(click, float(clicks[:t].sum()), float(t), 0.5, 3.0)
    expected = beta_mixture_log_e_value(clicks.sum(), 300, 0.5, prior=(0.5, 3.0)) + 300 * math.log(0.5)
    assert total == pytest.approx(float(expected), abs=1e-9)

    rewards, alpha = bounded[0], 0.05
    count = squares = seen = bets = weighted = penalty = 0.0
    for x in rewards:
        bet = kernels.empirical_bernstein_bet(count, squares, alpha)
        penalty += kernels.empirical_bernstein_penalty(x, (0.5 + seen) / (1 + count), bet)
        count, seen, bets, weighted = count + 1, seen + x, bets + bet, weighted + bet * x
        squares += (x - (0.5 + seen) / (1 + count)) ** 2
    assert weighted / bets == pytest.approx(empirical_bernstein_sequence(rewards).estimate[-1], rel=1e-12)
    low = (weighted - math.log(2 / alpha) - penalty) / bets
    assert low <= empirical_bernstein_sequence(rewards).low[-1] + 1e-12


@pytest.mark.parametrize(
    ("clicks", "visitors"),
    [
        ([0, 0], [0, 0]),
        ([0, 3], [40, 40]),
        ([200, 231], [10_000, 10_050]),
        ([5, 480, 51], [100, 10_000, 1_000]),
        ([2_000, 2_000, 2_050], [100_000, 100_000, 100_000]),
    ],
)
def test_expected_loss_is_that_of_the_exact_posterior(clicks, visitors):
    """Every arm as the pick, by the array function."""
    exact = bayesian_comparison(clicks, visitors, prior=(1.0, 9.0)).expected_loss
    counts = np.array(clicks, dtype=float), np.array(visitors, dtype=float)
    for pick in range(len(clicks)):
        loss = kernels.expected_loss(*counts, np.ones(len(clicks)), pick, 1.0, 9.0)
        assert loss == pytest.approx(exact[pick], rel=1e-6, abs=1e-12)
    # An arm that takes no part changes nothing.
    wider = [np.append(values, [7.0]) for values in counts]
    part = np.append(np.ones(len(clicks)), [0.0])
    assert kernels.expected_loss(*wider, part, 0, 1.0, 9.0) == kernels.expected_loss(
        *counts, np.ones(len(clicks)), 0, 1.0, 9.0
    )
