"""Error spending against published tables, Simpson's rule and the bivariate normal."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize
from scipy import stats as reference

from bandits.statistics import (
    GroupSequentialDesign,
    alpha_spent,
    drift_for_power,
    exit_probabilities,
    expected_information,
    group_sequential_design,
    inflation_factor,
    sequential_power,
)

examples = settings(deadline=None, derandomize=True, max_examples=40)


def equal_looks(count):
    return np.arange(1, count + 1) / count


def constant_boundary(looks, shape, alpha=0.05):
    """Critical constant c of the classical designs `|z| >= c t^-shape`: 0 is Pocock's, 1/2 O'Brien and Fleming's."""

    def error(c):
        return exit_probabilities(c * looks**-shape, looks).sum() - alpha

    return optimize.brentq(error, 1.0, 5.0, xtol=1e-12)


@pytest.mark.parametrize(
    ("spending", "expected"),
    [
        # Tables of Lan & DeMets (1983), Reboussin et al. (2000) and the gsDesign manual, two-sided 5 percent.
        ("obrien-fleming", [2.963, 1.969]),
        ("obrien-fleming", [3.710, 2.511, 1.993]),
        ("obrien-fleming", [4.877, 3.357, 2.680, 2.290, 2.031]),
        ("pocock", [2.438, 2.427, 2.410, 2.397, 2.386]),
    ],
)
def test_published_spending_boundaries(spending, expected):
    design = group_sequential_design(equal_looks(len(expected)), spending=spending)
    np.testing.assert_allclose(design.boundaries, expected, atol=5.1e-4)
    np.testing.assert_allclose(design.nominal_levels, 2 * reference.norm.sf(design.boundaries), rtol=1e-10)
    assert design.spent[-1] == pytest.approx(0.05, abs=1e-15)
    assert (design.alpha, design.spending) == (0.05, spending)
    assert spending in design.method


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.3])
def test_spending_functions_in_many_digits(alpha):
    mpmath.mp.dps = 40

    def tail(x):
        return mpmath.erfc(x / mpmath.sqrt(2)) / 2

    quantile = mpmath.sqrt(2) * mpmath.erfinv(1 - mpmath.mpf(alpha) / 2)  # upper alpha / 4 point
    for share in (0.05, 0.37, 1.0):
        t = mpmath.mpf(share)
        flemings = float(4 * tail(quantile / mpmath.sqrt(t)))
        assert float(alpha_spent(share, alpha=alpha)) == pytest.approx(flemings, rel=1e-10)
        pococks = float(alpha * mpmath.log(1 + (mpmath.e - 1) * t))
        assert float(alpha_spent(share, alpha=alpha, spending="pocock")) == pytest.approx(pococks, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "looks", "constant", "inflation"),
    [
        # Jennison & Turnbull (2000), tables 2.1 to 2.4: two-sided 5 percent, power 80 percent.
        (0.0, 2, 2.178, 1.110),
        (0.0, 5, 2.413, 1.229),
        (0.0, 10, 2.555, 1.301),
        (0.5, 2, 1.977, 1.008),
        (0.5, 5, 2.040, 1.028),
        (0.5, 10, 2.087, 1.040),
    ],
)
def test_classical_designs_of_jennison_and_turnbull(shape, looks, constant, inflation):
    times = equal_looks(looks)
    c = constant_boundary(times, shape)
    assert c == pytest.approx(constant, abs=5.1e-4)
    spent = np.cumsum(exit_probabilities(c * times**-shape, times).sum(axis=1))
    boundaries = c * times**-shape
    design = GroupSequentialDesign(
        times, boundaries, 2 * reference.norm.sf(boundaries), spent, 0.05, "pocock", "classical"
    )
    assert inflation_factor(design, 0.8) == pytest.approx(inflation, abs=6e-4)


@pytest.mark.parametrize(("looks", "error"), [(1, 0.05), (5, 0.142), (10, 0.193), (20, 0.248)])
def test_naive_peeking_as_armitage_tabled_it(looks, error):
    exits = exit_probabilities(np.full(looks, 1.959963985), equal_looks(looks))
    assert exits.sum() == pytest.approx(error, abs=5.1e-4)


def simpson_exits(boundaries, looks, drift):
    """The recursion on an equally spaced grid with Simpson's rule."""
    nodes, mass, last, result = np.zeros(1), np.ones(1), 0.0, []
    for boundary, time in zip(boundaries, looks, strict=True):
        step, edge = time - last, boundary * math.sqrt(time)
        shift = nodes + drift * step
        result.append(
            [
                mass @ reference.norm.sf(edge, shift, math.sqrt(step)),
                mass @ reference.norm.cdf(-edge, shift, math.sqrt(step)),
            ]
        )
        grid = np.linspace(-edge, edge, 2001)
        weights = np.tile([2.0, 4.0], 1001)[:2001] * (grid[1] - grid[0]) / 3
        weights[[0, -1]] /= 2
        density = np.array([mass @ reference.norm.pdf(x, shift, math.sqrt(step)) for x in grid])
        nodes, mass, last = grid, density * weights, time
    return np.array(result)


@pytest.mark.parametrize("drift", [0.0, -1.5, 2.8])
def test_exit_probabilities_against_simpson(drift):
    looks, boundaries = [0.15, 0.5, 0.6, 1.0], [3.0, 2.4, 2.6, 2.1]
    expected = simpson_exits(boundaries, looks, drift)
    np.testing.assert_allclose(exit_probabilities(boundaries, looks, drift), expected, atol=1e-9)


def test_two_looks_against_the_bivariate_normal():
    design = group_sequential_design([0.3, 1.0], alpha=0.1, spending="pocock")
    for drift in (0.0, 1.7):
        b, t = design.boundaries, design.information

        def inside(z, b=b, t=t, drift=drift):
            mean = drift + math.sqrt(t[0]) * (z - drift * math.sqrt(t[0]))
            sd = math.sqrt(1 - t[0])
            within = reference.norm.cdf(b[1], mean, sd) - reference.norm.cdf(-b[1], mean, sd)
            return within * reference.norm.pdf(z, drift * math.sqrt(t[0]))

        expected = 1 - integrate.quad(inside, -b[0], b[0], epsabs=1e-13)[0]
        assert float(sequential_power(design, drift)) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("looks", [[0.01, 0.02, 0.5, 0.501, 1.0], np.arange(1, 41) / 40, [0.2, 0.9], [1.0]])
@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock"])
def test_boundaries_spend_what_they_should(looks, spending):
    design = group_sequential_design(looks, alpha=0.02, spending=spending)
    spent = np.cumsum(exit_probabilities(design.boundaries, looks).sum(axis=1))
    np.testing.assert_allclose(spent, alpha_spent(looks, alpha=0.02, spending=spending), atol=1e-10)
    exits = exit_probabilities(design.boundaries, looks)
    np.testing.assert_allclose(exits[:, 0], exits[:, 1], atol=1e-14)


def test_one_look_is_the_fixed_test():
    design = group_sequential_design([1.0])
    assert design.boundaries[0] == pytest.approx(1.959963984540054, abs=1e-10)
    assert inflation_factor(design) == pytest.approx(1.0, abs=1e-10)
    assert float(expected_information(design, 3.0)) == 1.0


def test_boundaries_do_not_know_the_future():
    early = group_sequential_design([0.3, 0.45]).boundaries
    np.testing.assert_array_equal(group_sequential_design([0.3, 0.45, 0.8, 1.0]).boundaries[:2], early)


def test_a_look_with_nothing_to_spend_cannot_stop():
    design = group_sequential_design([1e-3, 1.0])
    assert design.boundaries[0] == math.inf
    assert design.boundaries[1] == pytest.approx(1.959963984540054, abs=1e-9)
    with pytest.raises(ValueError, match=r"finite boundary at one look at least"):
        drift_for_power(group_sequential_design([1e-3]))


@examples
@given(st.floats(0.001, 0.5), st.floats(0.001, 0.5), st.sampled_from(["obrien-fleming", "pocock"]))
def test_stricter_levels_have_wider_boundaries(one, other, spending):
    looks = [0.3, 0.55, 1.0]
    strict, lax = (group_sequential_design(looks, alpha=a, spending=spending).boundaries for a in sorted((one, other)))
    assert np.all(strict >= lax - 1e-9)


def test_power_grows_with_the_drift_and_inverts():
    design = group_sequential_design(equal_looks(4))
    power = sequential_power(design, [[0.0, 1.0], [2.0, 4.0]])
    assert power.shape == (2, 2)
    assert all(a < b for a, b in pairwise(power.ravel()))
    assert power[0, 0] == pytest.approx(0.05, abs=1e-10)
    assert float(sequential_power(design, -1.0)) == pytest.approx(power[0, 1], abs=1e-12)
    for wanted in (0.2, 0.8, 0.99):
        above, below = exit_probabilities(design.boundaries, design.information, drift_for_power(design, wanted)).sum(0)
        assert above == pytest.approx(wanted, abs=1e-9)
        assert below < 0.01
    assert sequential_power(design, 60.0) == pytest.approx(1.0)
    information = expected_information(design, [0.0, 2.0, 4.0, 60.0])
    assert all(a > b for a, b in pairwise(information))
    assert information[-1] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: alpha_spent(1.2), r"`information` must lie in \[0, 1\]. Got 1.2"),
        (lambda: alpha_spent(0.2, alpha=5), r"`alpha` must lie strictly between 0 and 1. Got 5"),
        (lambda: alpha_spent(0.2, spending="none"), r"`spending` must be one of obrien-fleming, pocock. Got 'none'"),
        (lambda: group_sequential_design([]), r"`information` must be a vector of shares"),
        (lambda: group_sequential_design([0.5, 0.5]), r"`information` must increase by at least 0.0001"),
        (lambda: exit_probabilities([2.0], [0.5, 1.0]), r"`boundaries` must be 2 positive numbers"),
        (lambda: exit_probabilities([2.0], [1.0], math.nan), r"`drift` must be finite"),
        (lambda: drift_for_power(group_sequential_design([1.0]), 0.01), r"`power` must lie between `alpha` \(0.05\)"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
