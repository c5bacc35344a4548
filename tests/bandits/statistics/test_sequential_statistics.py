"""Error spending, confidence sequences and always-valid tests against published tables, naive loops and enumeration."""

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
    ConfidenceSequence,
    GroupSequentialDesign,
    alpha_spent,
    always_valid_p_value,
    beta_mixture_difference,
    beta_mixture_log_e_value,
    beta_mixture_sequence,
    beta_mixture_test,
    betting_log_capital,
    drift_for_power,
    empirical_bernstein_sequence,
    exit_probabilities,
    expected_information,
    group_sequential_design,
    hedged_betting_sequence,
    inflation_factor,
    kernels,
    msprt_test,
    normal_mixture_rho,
    normal_mixture_sequence,
    predictive_test,
    running_intersection,
    sequential_power,
    union_difference,
)

examples = settings(deadline=None, derandomize=True, max_examples=40)


def equal_looks(count):
    return np.arange(1, count + 1) / count


def constant_boundary(looks, shape, alpha=0.05):
    """Critical constant c of the classical designs `|z| >= c t^-shape`: 0 is Pocock's, 1/2 O'Brien and Fleming's."""

    def error(c):
        return exit_probabilities(c * looks**-shape, looks).sum() - alpha

    return optimize.brentq(error, 1.0, 5.0, xtol=1e-12)


# --- error spending ---------------------------------------------------------------------------------------------------


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


# --- confidence sequences ---------------------------------------------------------------------------------------------

COUNTS = [(0, 1), (1, 1), (3, 10), (10, 10), (40, 1000), (999, 1000), (1, 200_000), (77_000, 200_000)]


@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.5, 12.0)])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9999])
def test_beta_mixture_ends_against_mpmath(prior, confidence):
    sequence = beta_mixture_sequence(*np.array(COUNTS).T, confidence=confidence, prior=prior)
    a, b = prior
    mpmath.mp.dps = 40
    for (s, n), rate, low, high in zip(COUNTS, sequence.estimate, sequence.low, sequence.high, strict=True):
        assert rate == s / n
        limit = mpmath.log(1 / (1 - mpmath.mpf(confidence)))
        mixture = mpmath.log(mpmath.beta(a + s, b + n - s) / mpmath.beta(a, b))
        for end, failures in ((low, False), (high, True)):
            if s == (n if failures else 0):
                assert end == float(failures)
                continue
            p = mpmath.mpf(float(end))
            margin = max(mpmath.mpf(1e-8) * min(p, 1 - p), mpmath.mpf(4e-16) * p)  # floats near 1 are 1e-16 apart
            if p + margin >= 1:  # the root lies between the last float and 1
                margin = mpmath.mpf(2e-16)
                p = 1 - margin
                assert end == 1.0
                assert mixture - s * mpmath.log(p) - (n - s) * mpmath.log(margin) < limit
                continue
            below, above = (
                mixture - s * mpmath.log(q) - (n - s) * mpmath.log(1 - q) - limit for q in (p - margin, p + margin)
            )
            assert (below < 0 < above) if failures else (above < 0 < below)
    assert sequence.confidence == confidence
    assert "beta mixture" in sequence.method


def test_beta_mixture_evidence_by_hand():
    # Uniform prior, 1 click of 2 visitors: B(2, 2) = 1/6, p = 1/4: (1/6) / (3/16) = 8/9
    assert math.exp(beta_mixture_log_e_value(1, 2, 0.25)) == pytest.approx(8 / 9)
    assert beta_mixture_log_e_value(0, 0, 0.3) == 0.0
    assert beta_mixture_log_e_value(1, 2, 0.0) == math.inf
    assert beta_mixture_log_e_value(0, 2, 0.0) < math.inf


@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.3, 4.0)])
def test_evidence_is_a_martingale_by_enumeration(prior):
    p, n = 0.3, 6
    s = np.arange(n + 1)
    e_values = np.exp(beta_mixture_log_e_value(s, n, p, prior=prior))
    assert reference.binom.pmf(s, n, p) @ e_values == pytest.approx(1.0, abs=1e-12)


def test_equality_evidence_has_mean_at_most_one_by_enumeration():
    s, t = np.meshgrid(np.arange(8), np.arange(5))
    for p in (0.05, 0.3, 0.5):
        e_values = np.exp(beta_mixture_test(s[..., None], 7, t[..., None], 4).log_e_value[..., 0])
        mean = (reference.binom.pmf(s, 7, p) * reference.binom.pmf(t, 4, p) * e_values).sum()
        assert 0.05 < mean <= 1.0


def test_no_visitors_everything_is_possible():
    sequence = beta_mixture_sequence([0, 0], [0, 5])
    assert math.isnan(sequence.estimate[0])
    assert (sequence.low[0], sequence.high[0]) == (0.0, 1.0)
    assert (sequence.low[1], sequence.estimate[1]) == (0.0, 0.0)
    assert 0 < sequence.high[1] < 1
    difference = beta_mixture_difference([0, 4], [0, 4], [0, 0], [0, 0])
    assert np.isnan(difference.estimate).all()
    np.testing.assert_allclose(difference.low, [-1.0, beta_mixture_sequence(4, 4).low - 1], atol=1e-12)
    np.testing.assert_allclose(difference.high, [1.0, 1.0], atol=1e-12)


def profile(s_a, n_a, s_b, n_b, d):
    """Least product evidence over the pairs of rates with `p_a - p_b = d`, by a bounded search."""

    def evidence(p):
        return float(beta_mixture_log_e_value(s_a, n_a, p + d) + beta_mixture_log_e_value(s_b, n_b, p))

    low, high = max(0.0, -d), min(1.0, 1 - d)
    found = optimize.minimize_scalar(evidence, bounds=(low, high), method="bounded", options={"xatol": 1e-13})
    return min(found.fun, evidence(low), evidence(high))


@pytest.mark.parametrize("counts", [(30, 100, 10, 100), (0, 20, 3, 50), (7, 7, 0, 9), (1, 900, 12, 1000), (5, 5, 5, 5)])
def test_difference_ends_are_where_the_profile_reaches_the_level(counts):
    sequence = beta_mixture_difference(*counts, confidence=0.9)
    for end in (float(sequence.low), float(sequence.high)):
        if abs(end) < 1 - 1e-9:
            assert profile(*counts, end) == pytest.approx(math.log(10), abs=1e-6)
    assert float(sequence.estimate) == counts[0] / counts[1] - counts[2] / counts[3]


counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@examples
@given(counts, counts)
def test_difference_is_antisymmetric_and_agrees_with_the_test(a, b):
    forth, back = beta_mixture_difference(*a, *b), beta_mixture_difference(*b, *a)
    np.testing.assert_allclose([forth.low, forth.high], [-back.high, -back.low], atol=1e-12)
    complement = beta_mixture_difference(a[1] - a[0], a[1], b[1] - b[0], b[1])
    np.testing.assert_allclose([forth.low, forth.high], [-complement.high, -complement.low], atol=1e-9)
    test = beta_mixture_test([a[0]], [a[1]], [b[0]], [b[1]])
    assert (test.p_value[0] < 0.05) == (forth.low > 1e-12 or forth.high < -1e-12)


@examples
@given(counts, st.floats(0.01, 0.999), st.floats(0.01, 0.999))
def test_sequences_nest_in_confidence_and_mirror(count, one, other):
    small, large = (beta_mixture_sequence(*count, confidence=c) for c in sorted((one, other)))
    assert large.low <= small.low + 1e-12
    assert small.high <= large.high + 1e-12
    mirrored = beta_mixture_sequence(count[1] - count[0], count[1], confidence=one)
    original = beta_mixture_sequence(*count, confidence=one)
    np.testing.assert_allclose([mirrored.low, mirrored.high], [1 - original.high, 1 - original.low], atol=1e-12)


@examples
@given(st.integers(1, 2000))
def test_bounds_rise_with_the_successes(n):
    sequence = beta_mixture_sequence(np.arange(n + 1), n)
    assert np.all(np.diff(sequence.low) > 0)
    assert np.all(np.diff(sequence.high) > 0)
    assert np.all((sequence.low <= sequence.estimate) & (sequence.estimate <= sequence.high))


@pytest.mark.parametrize("counts", [(30, 100, 10, 100), (20, 1000, 35, 900), (4800, 10_000, 5100, 10_000)])
def test_difference_is_narrower_than_the_union_bound(counts):
    s_a, n_a, s_b, n_b = counts
    arms = [beta_mixture_sequence(*arm, confidence=0.975) for arm in ((s_a, n_a), (s_b, n_b))]
    union, direct = union_difference(*arms), beta_mixture_difference(*counts)
    assert union.confidence == pytest.approx(0.95)
    assert direct.high - direct.low < 0.95 * (union.high - union.low)


def test_union_difference_by_hand():
    a = ConfidenceSequence(np.array([0.5]), np.array([0.4]), np.array([0.7]), 0.975, "x")
    b = ConfidenceSequence(np.array([0.1]), np.array([0.0]), np.array([0.3]), 0.975, "y")
    result = union_difference(a, b)
    np.testing.assert_allclose([result.estimate, result.low, result.high], [[0.4], [0.1], [0.7]])
    assert result.method == "union bound over: x; y"
    with pytest.raises(ValueError, match=r"errors below 1 together. Got 0.5 and 0.4"):
        union_difference(a._replace(confidence=0.5), b._replace(confidence=0.4))


def test_running_intersection_and_its_emptiness():
    sequence = ConfidenceSequence(
        np.zeros(4), np.array([0.0, 0.3, 0.1, 0.2]), np.array([1.0, 0.9, 0.8, 0.25]), 0.9, "m"
    )
    result = running_intersection(sequence)
    np.testing.assert_array_equal(result.low, [0.0, 0.3, 0.3, np.nan])
    np.testing.assert_array_equal(result.high, [1.0, 0.9, 0.8, np.nan])
    assert result.confidence == 0.9


def test_normal_mixture_is_the_root_of_the_mixed_likelihood():
    """Averaging the likelihood ratio over effects N(0, (rho sd)^2) gives 1 / alpha exactly at the ends."""
    n, sd, rho, alpha = 350, 0.8, 0.06, 0.05
    sequence = normal_mixture_sequence(0.4, sd / math.sqrt(n), n, rho=rho)
    shift = float(sequence.high) - 0.4

    def mixed(effect):
        log_ratio = n * effect * shift / sd**2 - n * effect**2 / (2 * sd**2)
        return math.exp(log_ratio) * reference.norm.pdf(effect, 0, rho * sd)

    value = integrate.quad(mixed, -1, 1, epsabs=1e-12, points=[0.0, shift])[0]
    assert value == pytest.approx(1 / alpha, rel=1e-8)
    assert float(sequence.low) == pytest.approx(0.4 - shift, abs=1e-14)
    # The paper's own expression, with sd 1 and t = n
    paper = math.sqrt(2 * (n * rho**2 + 1) / (n**2 * rho**2) * math.log(math.sqrt(n * rho**2 + 1) / alpha))
    assert shift == pytest.approx(sd * paper, rel=1e-12)


@pytest.mark.parametrize("planned", [50, 3000])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_rho_is_the_narrowest_for_the_planned_number(planned, confidence):
    def width(log_rho):
        sequence = normal_mixture_sequence(0.0, 1.0, planned, rho=math.exp(log_rho), confidence=confidence)
        return float(sequence.high)

    best = optimize.minimize_scalar(width, bracket=(-6.0, -2.0), tol=1e-10)
    assert normal_mixture_rho(planned, confidence=confidence) == pytest.approx(math.exp(best.x), rel=1e-5)


def test_normal_mixture_without_spread_knows_nothing():
    sequence = normal_mixture_sequence([0.0, np.nan, 0.5], [0.0, np.nan, 0.1], [10, 10, 10], rho=0.1)
    np.testing.assert_array_equal(sequence.low[:2], [-np.inf, -np.inf])
    np.testing.assert_array_equal(sequence.high[:2], [np.inf, np.inf])
    assert np.isfinite(sequence.low[2])


def bernstein_by_loop(rewards, alpha):
    """The formulas of Waudby-Smith & Ramdas (2023), one reward at a time."""
    total, squares, bets, weighted, spread = 0.0, 0.0, 0.0, 0.0, 0.0
    low, high, result = 0.0, 1.0, []
    for t, x in enumerate(rewards, start=1):
        before = (0.5 + total) / t
        variance = (0.25 + squares) / t
        bet = min(math.sqrt(2 * math.log(2 / alpha) / (variance * t * math.log(1 + t))), 0.5)
        total += x
        squares += (x - (0.5 + total) / (t + 1)) ** 2
        bets += bet
        weighted += bet * x
        spread += 4 * (x - before) ** 2 * (-math.log(1 - bet) - bet) / 4
        half = (math.log(2 / alpha) + spread) / bets
        low, high = max(low, weighted / bets - half), min(high, weighted / bets + half)
        result.append((weighted / bets, low, high))
    return np.array(result).T


def capital_by_loop(rewards, mean, alpha):
    up, down, total, squares, path = 0.5, 0.5, 0.0, 0.0, []
    for t, x in enumerate(rewards, start=1):
        bet = math.sqrt(2 * math.log(2 / alpha) / ((0.25 + squares) / t * t * math.log(1 + t)))
        up *= 1 + min(bet, 0.5 / mean if mean else math.inf) * (x - mean)
        down *= 1 - min(bet, 0.5 / (1 - mean) if mean < 1 else math.inf) * (x - mean)
        total += x
        squares += (x - (0.5 + total) / (t + 1)) ** 2
        path.append((up, down))
    return np.array(path)


@pytest.fixture
def bounded():
    return np.random.default_rng(11).beta(0.6, 1.7, size=(3, 150))


def test_empirical_bernstein_against_the_loop(bounded):
    sequence = empirical_bernstein_sequence(bounded, confidence=0.9)
    for row, rewards in enumerate(bounded):
        expected = bernstein_by_loop(rewards, 0.1)
        np.testing.assert_allclose([values[row] for values in sequence[:3]], expected, rtol=1e-10)


@pytest.mark.parametrize("mean", [0.0, 0.2, 0.9, 1.0])
def test_betting_capital_against_the_loop(bounded, mean):
    capital = betting_log_capital(bounded, mean, confidence=0.9)
    for row, rewards in enumerate(bounded):
        np.testing.assert_allclose(capital[row], np.log(capital_by_loop(rewards, mean, 0.1).max(axis=1)), atol=1e-9)


def test_hedged_betting_ends_are_the_roots_rounded_outwards(bounded):
    sequence = hedged_betting_sequence(bounded, confidence=0.9, grid=400)
    for row, rewards in enumerate(bounded):
        for t in (20, 149):

            def ever(mean, side, rewards=rewards, t=t):
                return capital_by_loop(rewards[: t + 1], mean, 0.1)[:, side].max() - 10

            low = optimize.brentq(ever, 1e-9, 1 - 1e-9, args=(0,)) if ever(1e-9, 0) > 0 else 0.0
            high = optimize.brentq(ever, 1e-9, 1 - 1e-9, args=(1,)) if ever(1 - 1e-9, 1) > 0 else 1.0
            assert low - 1 / 400 <= sequence.low[row, t] <= low + 1e-9
            assert high - 1e-9 <= sequence.high[row, t] <= high + 1 / 400
    np.testing.assert_allclose(sequence.estimate, np.cumsum(bounded, -1) / np.arange(1, 151), rtol=1e-12)


@pytest.mark.parametrize("method", [empirical_bernstein_sequence, hedged_betting_sequence])
def test_unobserved_rounds_change_nothing(bounded, method):
    seen = np.random.default_rng(12).random(bounded.shape) < 0.4
    seen[0, :5] = False
    sequence = method(np.where(seen, bounded, np.nan), seen)
    for row in range(3):
        alone = method(bounded[row, seen[row]])
        for path, expected in zip(sequence[:3], alone[:3], strict=True):
            np.testing.assert_allclose(path[row, seen[row]], expected, rtol=1e-12)
    assert np.isnan(sequence.estimate[0, :5]).all()
    np.testing.assert_array_equal([sequence.low[0, :5], sequence.high[0, :5]], [np.zeros(5), np.ones(5)])
    nothing = method(bounded, np.zeros(bounded.shape, dtype=bool))
    assert (nothing.low == 0).all()
    assert (nothing.high == 1).all()


@examples
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.5, 0.95))
def test_bounded_sequences_mirror_and_nest(rewards, confidence):
    for method in (empirical_bernstein_sequence, lambda x, **options: hedged_betting_sequence(x, grid=50, **options)):
        here = method(rewards, confidence=confidence)
        mirrored = method(1 - np.array(rewards), confidence=confidence)
        np.testing.assert_allclose(here.low, 1 - mirrored.high, atol=1e-9)
        assert np.all(np.diff(here.low) >= 0)
        assert np.all(np.diff(here.high) <= 0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_rewards_keep_a_width(value):
    rewards = np.full(200, value)
    for sequence in (empirical_bernstein_sequence(rewards), hedged_betting_sequence(rewards)):
        assert sequence.low[-1] <= value <= sequence.high[-1]
        assert 0.005 < sequence.high[-1] - sequence.low[-1] < 0.1


# --- always-valid tests -----------------------------------------------------------------------------------------------


def test_msprt_is_the_published_formula_and_the_mixture():
    s_a, s_b, n, tau = 130, 95, 1000, 0.02
    result = msprt_test([s_a], [n], [s_b], [n], tau=tau)
    p_a, p_b = s_a / n, s_b / n
    v, d = p_a * (1 - p_a) + p_b * (1 - p_b), p_a - p_b
    published = math.sqrt(v / (v + n * tau**2)) * math.exp(n**2 * tau**2 * d**2 / (2 * v * (v + n * tau**2)))
    assert math.exp(result.log_e_value[0]) == pytest.approx(published, rel=1e-12)

    def mixed(effect):
        return math.exp(n * effect * d / v - n * effect**2 / (2 * v)) * reference.norm.pdf(effect, 0, tau)

    value = integrate.quad(mixed, -0.3, 0.3, epsabs=1e-12, points=[0, d])[0]
    assert math.exp(result.log_e_value[0]) == pytest.approx(value, rel=1e-8)
    # Rejecting at alpha is the same as the normal mixture's interval leaving 0 out.
    sequence = normal_mixture_sequence(
        d, math.sqrt(v / n), 2 * n, rho=tau / math.sqrt(2 * v), confidence=1 - result.p_value[0]
    )
    assert float(sequence.low) == pytest.approx(0.0, abs=1e-9)


def test_msprt_waits():
    clicks_a, clicks_b, visitors = [0, 30, 60, 0, 120], [0, 1, 2, 0, 30], [40, 60, 120, 130, 200]
    result = msprt_test(clicks_a, visitors, clicks_b, visitors, tau=0.1, burn_in=100)
    np.testing.assert_array_equal(result.log_e_value[[0, 1, 3]], [0, 0, 0])
    assert result.p_value[1] == 1.0
    assert result.log_e_value[2] > 0
    assert result.p_value[3] == result.p_value[2]  # what was found is not lost where nobody clicks
    assert math.isnan(msprt_test([0], [0], [0], [10], tau=0.1).difference[0])


@examples
@given(counts, counts)
def test_tests_do_not_care_which_arm_is_called_first(a, b):
    for test in (beta_mixture_test, lambda *c: msprt_test(*c, tau=0.05, burn_in=10)):
        forth, back = test([a[0]], [a[1]], [b[0]], [b[1]]), test([b[0]], [b[1]], [a[0]], [a[1]])
        np.testing.assert_allclose(forth.p_value, back.p_value, rtol=1e-9)
        np.testing.assert_array_equal(forth.difference, -back.difference)


def test_p_values_run_down():
    p_value = always_valid_p_value([[-1.0, 3.0, 2.0], [1.0, 0.5, 4.0]])
    np.testing.assert_allclose(p_value, np.exp([[0, -3, -3], [-1, -1, -4]]))
    assert always_valid_p_value(2.0) == pytest.approx(math.exp(-2))


def test_evidence_of_equal_arms_by_hand():
    # 2 of 2 against 0 of 2, uniform priors: B(3,1) B(1,3) = 1/9 over (1/2)^4
    assert math.exp(beta_mixture_test([2], [2], [0], [2]).log_e_value[0]) == pytest.approx(16 / 9)
    assert beta_mixture_test([0], [0], [0], [0]).p_value[0] == 1.0


def predictive_by_loop(first, clicks, share, a, b):
    counts, total, path = {True: [a, a + b], False: [a, a + b]}, 0.0, []
    for mine, click, chance in zip(first.tolist(), clicks, share, strict=True):
        rates = {arm: s / n for arm, (s, n) in counts.items()}
        common = chance * rates[True] + (1 - chance) * rates[False]
        total += math.log(rates[mine] / common if click else (1 - rates[mine]) / (1 - common))
        counts[mine][0] += click
        counts[mine][1] += 1
        path.append(total)
    return path


def test_predictive_evidence_against_the_loop_and_the_scalar_form():
    random = np.random.default_rng(14)
    share = random.uniform(0.1, 0.9, (3, 80))
    first, clicks = random.random((3, 80)) < share, (random.random((3, 80)) < 0.3).astype(float)
    result = predictive_test(first, clicks, share, prior=(0.7, 2.0))
    for row in range(3):
        np.testing.assert_allclose(
            result.log_e_value[row], predictive_by_loop(first[row], clicks[row], share[row], 0.7, 2)
        )
    total, counts = 0.0, np.zeros((2, 2))
    for mine, click, chance in zip(first[0], clicks[0], share[0], strict=True):
        total += kernels.predictive_step(click > 0, mine, chance, *counts.ravel(), 0.7, 2.0)
        counts[0 if mine else 1] += [click, 1.0]
    assert total == pytest.approx(result.log_e_value[0, -1], abs=1e-10)
    np.testing.assert_allclose(result.p_value[:, -1], np.exp(-np.maximum(result.log_e_value.max(axis=1), 0)))
    swapped = predictive_test(~first, clicks, 1 - share, prior=(0.7, 2.0))
    np.testing.assert_allclose(swapped.log_e_value, result.log_e_value, atol=1e-12)
    inverted = predictive_test(first, 1 - clicks, share, prior=(2.0, 0.7))
    np.testing.assert_allclose(inverted.log_e_value, result.log_e_value, atol=1e-12)


def test_predictive_evidence_is_a_martingale_for_any_common_rates():
    """Exactly 1 on average over all paths, though the common rate changes and the split answers to the clicks."""
    rates, mean = [0.1, 0.8, 0.3, 0.5], 0.0
    for path in np.ndindex(*[2] * 8):
        first, clicks, share, probability = np.array(path[:4], dtype=bool), np.array(path[4:]), [], 1.0
        for t in range(4):
            share.append(0.3 + 0.4 * clicks[t - 1] if t else 0.5)
            probability *= share[t] if first[t] else 1 - share[t]
            probability *= rates[t] if clicks[t] else 1 - rates[t]
        mean += probability * math.exp(predictive_test(first, clicks, share).log_e_value[-1])
    assert mean == pytest.approx(1.0, abs=1e-12)


def test_predictive_test_without_news():
    certain = predictive_test([True, True, False], [1, 1, 0], [1.0, 1.0, 0.0])
    np.testing.assert_array_equal(certain.log_e_value, [0.0, 0.0, 0.0])
    others = predictive_test([True, True, False], [1, 1, 0], 0.5, [False, True, True])
    alone = predictive_test([True, False], [1, 0], 0.5)
    np.testing.assert_allclose(others.log_e_value, [0.0, *alone.log_e_value])
    assert np.isnan(others.difference[:2]).all()
    assert others.difference[2] == 1.0


# --- scalar forms -----------------------------------------------------------------------------------------------------


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


# --- bad input --------------------------------------------------------------------------------------------------------


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
        (lambda: beta_mixture_sequence(3, 2), r"`successes` must lie between 0 and `trials`. Got 3 of 2"),
        (lambda: beta_mixture_sequence(1, 2, confidence=95), r"`confidence` must lie strictly between 0 and 1. Got 95"),
        (lambda: beta_mixture_sequence(1, 2, prior=(0, 1)), r"`prior` must be two positive numbers. Got \(0, 1\)"),
        (lambda: beta_mixture_log_e_value(1, 2, -0.1), r"`rate` must lie in \[0, 1\]. Got -0.1"),
        (lambda: beta_mixture_difference(1, 2, 3, 2), r"`successes` must lie between 0 and `trials`"),
        (lambda: normal_mixture_rho(0), r"`planned` must be positive and finite. Got 0"),
        (lambda: normal_mixture_sequence(0, 1, 1, rho=-1), r"`rho` must be positive"),
        (lambda: normal_mixture_sequence(0, 1, 0, rho=1), r"`count` must be positive"),
        (lambda: empirical_bernstein_sequence([1.5]), r"`rewards` must lie in \[0, 1\]"),
        (lambda: empirical_bernstein_sequence([]), r"`rewards` must have at least one round"),
        (lambda: empirical_bernstein_sequence([0.5], [1]), r"`observed` must be booleans of shape \(1,\). Got int64"),
        (lambda: hedged_betting_sequence([0.5], grid=0), r"`grid` must be an integer of at least 1. Got 0"),
        (lambda: betting_log_capital([0.5], 1.5), r"`mean` must lie in \[0, 1\]. Got 1.5"),
        (lambda: beta_mixture_test(3, 2, 0, 1), r"`successes_a` must lie between 0 and `trials_a`"),
        (lambda: beta_mixture_test(1, 2, 0, 1, prior=(1, -1)), r"`prior` must be two positive numbers"),
        (lambda: msprt_test(1, 2, 0, 1, tau=0), r"`tau` must be positive and finite. Got 0"),
        (lambda: msprt_test(1, 2, 0, 1, tau=1, burn_in=0), r"`burn_in` must be at least 1. Got 0"),
        (lambda: predictive_test([1, 0], [1, 0], 0.5), r"`first` must be booleans"),
        (lambda: predictive_test([True], [0.5], 0.5), r"`clicks` must be 0 or 1 and have shape \(1,\)"),
        (lambda: predictive_test([True], [1], 0.0), r"`share` must lie in \[0, 1\] and allow what was chosen"),
        (lambda: predictive_test([False], [1], 1.5), r"`share` must lie in \[0, 1\] and allow what was chosen"),
        (lambda: predictive_test([False], [1], 0.5, [1]), r"`observed` must be booleans of shape \(1,\)"),
        (lambda: predictive_test([False], [1], 0.5, prior=(0, 1)), r"`prior` must be two positive numbers"),
        (lambda: always_valid_p_value([math.nan]), r"`log_e_value` must be numbers. Got nan"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
