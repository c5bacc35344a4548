"""The chances of Thompson sampling's choices, against scipy's quadrature and against draws."""

from fractions import Fraction
from math import factorial

import numpy as np
import pytest
from scipy import stats

from bandits import Context, Problem, RandomStreams
from bandits.best_of_betas import chance_of_best, scratch_size
from policies import BetaThompson


def chances(a, b, available=None):
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    out = np.empty(len(a))
    there = np.ones(len(a), dtype=bool) if available is None else np.asarray(available)
    chance_of_best(a, b, there, np.full(scratch_size(len(a)), np.nan), out)
    return out


def by_scipy(a, b):
    """The integral of f_k times the others' distribution functions, all of scipy's, in many pieces."""
    arms = [stats.beta(*pair) for pair in zip(a, b, strict=True)]
    levels = [1e-14, 1e-9, 1e-5, 1e-3, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1 - 1e-3, 1 - 1e-5, 1 - 1e-9]
    edges = np.unique([0.0, 1.0, *(arm.ppf(level) for arm in arms for level in levels)])
    nodes, weights = np.polynomial.legendre.leggauss(200)
    # Squared distances from both ends tame densities that are infinite there.
    u, du = (nodes + 1) / 2, weights / 2
    share, slope = u**4 * (35 - 84 * u + 70 * u**2 - 20 * u**3), 140 * u**3 * (1 - u) ** 3
    x = (edges[:-1, None] + np.diff(edges)[:, None] * share).ravel()
    dx = (np.diff(edges)[:, None] * slope * du).ravel()
    dx = np.where((x > 0) & (x < 1), dx, 0.0)
    x = np.where(dx > 0, x, 0.5)  # what was rounded to an end
    below = np.array([arm.cdf(x) for arm in arms])
    return np.array(
        [(dx * arms[k].pdf(x) * np.prod(np.delete(below, k, axis=0), axis=0)).sum() for k in range(len(arms))]
    )


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 1], [1, 1]),
        ([3, 5], [7, 6]),
        ([1, 400], [50, 19_600]),
        ([0.3, 0.6, 1.5], [1.4, 2.0, 2.5]),
        ([20, 25, 2, 300], [980, 975, 60, 9_700]),
        ([900_000, 900_500], [100_000, 99_500]),
        ([1, 1, 1, 12], [1, 30, 2, 400]),
    ],
)
def test_equals_quadrature(a, b):
    np.testing.assert_allclose(chances(a, b), by_scipy(a, b), atol=2e-9)


def test_densities_that_are_infinite_at_one():
    """To 1e-6: floats are too coarse near 1 for the sum over x; 4e-7 of Beta(., 0.4) lies beyond the last of them."""
    a, b = [0.3, 0.6, 1.5], [0.4, 2.0, 0.5]
    np.testing.assert_allclose(chances(a, b), by_scipy(a, b), atol=1e-6)


def test_two_integer_arms_have_a_closed_form():
    """P(Beta(4, 5) > Beta(2, 3)) as the finite sum of Miller (2015), in fractions."""
    a, b, c, d = 2, 3, 4, 5

    def beta_function(x, y):
        return Fraction(factorial(x - 1) * factorial(y - 1), factorial(x + y - 1))

    exact = sum(
        beta_function(a + i, d + b) / ((d + i) * beta_function(1 + i, d) * beta_function(a, b)) for i in range(c)
    )
    assert chances([a, c], [b, d])[1] == pytest.approx(float(exact), abs=1e-10)


def test_alike_arms_share_and_absent_ones_get_nothing():
    np.testing.assert_allclose(chances([7] * 10, [90] * 10), 0.1, atol=1e-9)
    np.testing.assert_allclose(chances([7, 9, 7], [90, 1, 90], [True, False, True]), [0.5, 0, 0.5], atol=1e-9)
    np.testing.assert_array_equal(chances([7], [3]), [1.0])
    assert chances([5, 5000], [9995, 5000])[0] == 0.0


def test_thompson_chooses_with_its_propensities():
    size, arms = 40_000, 4
    policy = BetaThompson(1.0, 3.0)
    policy.reset(Problem(size, arms), RandomStreams(5, size))
    context = Context(
        np.zeros(size, dtype=int), np.zeros(size, dtype=int), np.zeros(size), np.zeros((size, 0)),
        np.zeros((size, arms, 0)), np.ones((size, arms), dtype=bool),
    )  # fmt: skip
    policy._state[1][:, 0] += [3.0, 2.0, 30.0, 1.0]
    policy._state[1][:, 1] += [5.0, 1.0, 50.0, 9.0]
    chances = policy.propensities(context)
    counts = np.bincount(policy.select(context), minlength=arms)
    assert stats.chisquare(counts, chances[0] * size).pvalue > 1e-3
