"""The lower bound on regret: by hand, by another formula, and where it degenerates."""

from fractions import Fraction
from math import inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.statistics import bernoulli_divergence, lai_robbins_constant

RATES = st.floats(0.001, 0.999)


def by_hand(p: float, q: float) -> float:
    return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))


def test_divergence_by_hand_and_at_the_ends():
    for p, q in ((0.5, 0.25), (0.1, 0.9), (0.02, 0.021)):
        assert bernoulli_divergence(p, q) == pytest.approx(by_hand(p, q), rel=1e-10)
    ends = bernoulli_divergence([0.0, 1.0, 0.0, 1.0, 0.5, 0.5, 0.0, 1.0], [0.3, 0.3, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    np.testing.assert_allclose(ends, [-log(0.7), -log(0.3), 0, 0, inf, inf, inf, inf])


def test_close_rates_keep_their_digits():
    """The series d^2 / (2 q (1 - q)) + ... in exact fractions, where the plain formula has no digit left."""
    p, d = Fraction(1, 10), Fraction(1, 10**7)
    series = sum(d**n / n * ((-1) ** n / p ** (n - 1) + 1 / (1 - p) ** (n - 1)) for n in range(2, 6))
    assert float(bernoulli_divergence(0.1, float(p + d))) == pytest.approx(float(series), rel=1e-7)


def test_constant_by_hand():
    means = [0.05, 0.03, 0.05, 0.01]
    expected = 0.02 / by_hand(0.03, 0.05) + 0.04 / by_hand(0.01, 0.05)
    assert lai_robbins_constant(means) == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(lai_robbins_constant([means, means[::-1]]), [expected, expected])


def test_constant_where_there_is_nothing_to_learn():
    assert lai_robbins_constant([0.3, 0.3]) == 0
    assert lai_robbins_constant([0.3]) == 0
    assert lai_robbins_constant([1.0, 0.4, 0.0]) == 0  # one miss tells
    assert lai_robbins_constant([0.0, 0.4]) == pytest.approx(0.4 / -log(0.6))


@given(RATES, RATES, RATES)
def test_swapping_arms_or_clicks_and_misses(a, b, c):
    assert lai_robbins_constant([a, b, c]) == pytest.approx(float(lai_robbins_constant([c, a, b])), rel=1e-9)
    assert bernoulli_divergence(a, b) == pytest.approx(float(bernoulli_divergence(1 - a, 1 - b)), rel=1e-6, abs=1e-12)


@given(RATES, RATES)
def test_pinsker(p, q):
    assert bernoulli_divergence(p, q) >= 2 * (p - q) ** 2 - 1e-15


@pytest.mark.faults
@pytest.mark.parametrize("means", [[0.1, 1.5], [-0.1, 0.2], [0.1, np.nan]])
def test_impossible_rates_are_refused(means):
    with pytest.raises(ValueError, match=r"`means` must lie in \[0, 1\]"):
        lai_robbins_constant(means)


@pytest.mark.faults
def test_no_arms_are_refused():
    with pytest.raises(ValueError, match=r"at least one arm in its last axis. Got shape \(0,\)"):
        lai_robbins_constant([])
