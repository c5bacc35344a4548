"""Chances and losses against exact sums, adaptive integration and draws."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.statistics import bayesian_comparison


def exact_chance(a, b):
    """P(Beta(b) > Beta(a)) for an integer first parameter of b, as a finite sum in 60 digits (Miller 2015)."""
    with mpmath.workdps(60):
        (a0, a1), (b0, b1) = [tuple(mpmath.mpf(value) for value in pair) for pair in (a, b)]
        terms = (
            mpmath.beta(a0 + i, a1 + b1) / ((b1 + i) * mpmath.beta(1 + i, b1) * mpmath.beta(a0, a1))
            for i in range(int(b0))
        )
        return mpmath.fsum(terms)


def exact_losses(a, b):
    """Expected `(b - a)+` and `(a - b)+`: with one success more, the mean comes out in front of a chance."""
    with mpmath.workdps(60):
        mean_a, mean_b = (mpmath.mpf(pair[0]) / (pair[0] + pair[1]) for pair in (a, b))
        up = mean_b * exact_chance(a, (b[0] + 1, b[1])) - mean_a * exact_chance((a[0] + 1, a[1]), b)
        return up, up - (mean_b - mean_a)


@pytest.mark.parametrize(
    ("successes", "trials"),
    [
        ((10, 15), (100, 100)),
        ((0, 3), (5, 5)),
        ((0, 0), (0, 0)),
        ((0, 40), (40, 40)),
        ((400, 450), (20_000, 20_000)),
        ((400, 600), (20_000, 20_000)),
        ((1, 900), (3, 1000)),
        ((3, 2), (2_000_000, 10)),
        ((99_990, 5), (100_000, 5)),
        ((0, 900), (1_000_000, 900)),
    ],
)
def test_two_arms_against_the_closed_form(successes, trials):
    result = bayesian_comparison(successes, trials)
    a, b = ((1 + s, 1 + n - s) for s, n in zip(successes, trials, strict=True))
    chance = exact_chance(a, b)
    np.testing.assert_allclose(result.chance_to_win, [float(1 - chance), float(chance)], rtol=1e-9, atol=1e-13)
    losses = [float(loss) for loss in exact_losses(a, b)]
    np.testing.assert_allclose(result.expected_loss, losses, rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.1, 7.3), (2.5, 40.25)])
def test_real_parameters_against_adaptive_integration(prior):
    successes, trials = (3.5, 6), (20, 31.25)
    (a, b), (c, d) = ((prior[0] + s, prior[1] + n - s) for s, n in zip(successes, trials, strict=True))
    with mpmath.workdps(25):
        chance = mpmath.quad(
            lambda x: mpmath.betainc(a, b, 0, x, regularized=True) * x ** (c - 1) * (1 - x) ** (d - 1),
            [0, 0.05, 0.1, 0.2, 0.3, 0.5, 1],
        ) / mpmath.beta(c, d)
    result = bayesian_comparison(successes, trials, prior=prior)
    assert result.chance_to_win[1] == pytest.approx(float(chance), rel=1e-10)
    assert result.prior == prior


def test_four_arms_against_adaptive_integration():
    successes, trials = np.array([12, 18, 0, 3]), np.array([100, 140, 4, 1000])
    result = bayesian_comparison(successes, trials)
    a, b = 1.0 + successes, 1.0 + trials - successes
    pieces = [0, 0.005, 0.02, 0.1, 0.2, 0.4, 1]
    with mpmath.workdps(25):

        def below(k, x):
            return mpmath.betainc(a[k], b[k], 0, x, regularized=True)

        def density(k, x):
            return x ** (a[k] - 1) * (1 - x) ** (b[k] - 1) / mpmath.beta(a[k], b[k])

        for k in range(4):
            rest = [j for j in range(4) if j != k]
            chance = mpmath.quad(lambda x: density(k, x) * mpmath.fprod(below(j, x) for j in rest), pieces)  # noqa: B023
            assert result.chance_to_win[k] == pytest.approx(float(chance), rel=1e-10, abs=1e-14)
        best = mpmath.quad(lambda x: 1 - mpmath.fprod(below(j, x) for j in range(4)), pieces)
    np.testing.assert_allclose(result.expected_loss, float(best) - a / (a + b), rtol=1e-10)


def test_five_arms_against_a_million_draws():
    successes, trials = np.array([20, 26, 23, 0, 31]), np.array([400, 410, 390, 5, 600])
    draws = np.random.default_rng(6).beta(1 + successes, 1 + trials - successes, size=(1_000_000, 5))
    result = bayesian_comparison(successes, trials)
    wins = np.bincount(draws.argmax(axis=1), minlength=5) / 1e6
    loss = draws.max(axis=1, keepdims=True) - draws
    assert np.all(np.abs(wins - result.chance_to_win) < 4 * np.sqrt(wins * (1 - wins) / 1e6))
    assert np.all(np.abs(loss.mean(axis=0) - result.expected_loss) < 4 * loss.std(axis=0) / 1e3)


def test_data_sets_lie_in_the_leading_axes_and_do_not_meet():
    random = np.random.default_rng(7)
    trials = random.integers(1, 5000, size=(3, 100, 3))
    successes = random.binomial(trials, 0.1)
    together = bayesian_comparison(successes, trials)
    alone = bayesian_comparison(successes[2, 55], trials[2, 55])
    np.testing.assert_allclose(together.chance_to_win[2, 55], alone.chance_to_win, rtol=1e-12)
    np.testing.assert_allclose(together.expected_loss[2, 55], alone.expected_loss, rtol=1e-12)


def test_levels_at_which_scipy_has_no_quantile():
    # scipy 1.17: betaincinv(1.0295, 0.2015, 1e-17) is nan
    result = bayesian_comparison([0.9295, 0.1], [1.0310, 5.1], prior=(0.1, 0.1))
    assert result.chance_to_win.sum() == pytest.approx(1.0, abs=1e-12)


def test_equal_arms_share_the_chance():
    np.testing.assert_allclose(bayesian_comparison([7] * 6, [90] * 6).chance_to_win, 1 / 6, rtol=1e-13)


ARMS = st.lists(
    st.integers(0, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=4
)


@settings(max_examples=50)
@given(ARMS, st.randoms(use_true_random=False))
def test_labels_do_not_matter_and_chances_sum_to_one(arms, shuffle):
    order = list(range(len(arms)))
    shuffle.shuffle(order)
    one = bayesian_comparison(*np.array(arms).T)
    other = bayesian_comparison(*np.array(arms)[order].T)
    np.testing.assert_allclose(one.chance_to_win[order], other.chance_to_win, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(one.expected_loss[order], other.expected_loss, rtol=1e-9, atol=1e-16)
    assert one.chance_to_win.sum() == pytest.approx(1.0, abs=1e-11)
    assert np.all(one.expected_loss >= 0)


@settings(max_examples=50)
@given(ARMS)
def test_a_success_more_helps(arms):
    successes, trials = np.array(arms).T
    if successes[0] < trials[0]:
        before = bayesian_comparison(successes, trials)
        successes[0] += 1
        after = bayesian_comparison(successes, trials)
        assert after.chance_to_win[0] >= before.chance_to_win[0] - 1e-13
        assert after.expected_loss[0] <= before.expected_loss[0] * (1 + 1e-9) + 1e-16
        assert np.all(after.chance_to_win[1:] <= before.chance_to_win[1:] + 1e-13)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: bayesian_comparison([1], [2]), r"`successes` must have at least two arms.*\(1,\)"),
        (lambda: bayesian_comparison([1, 3], [2, 2]), r"`successes` must lie between 0 and `trials`"),
        (lambda: bayesian_comparison([1, 2], [2, 2], prior=(0.0, 1.0)), r"`prior` must be two.*Got \(0.0, 1.0\)"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
