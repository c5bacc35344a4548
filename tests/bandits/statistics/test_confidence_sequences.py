"""Confidence sequences against many-digit roots, naive loops and enumeration."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize
from scipy import stats as reference

from bandits.statistics import (
    ConfidenceSequence,
    beta_mixture_difference,
    beta_mixture_log_e_value,
    beta_mixture_sequence,
    beta_mixture_test,
    betting_log_capital,
    empirical_bernstein_sequence,
    hedged_betting_sequence,
    normal_mixture_rho,
    normal_mixture_sequence,
    running_intersection,
    union_difference,
)

examples = settings(deadline=None, derandomize=True, max_examples=40)

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


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: beta_mixture_sequence(3, 2), r"`successes` must lie between 0 and `trials`. Got 3 of 2"),
        (lambda: beta_mixture_sequence(1, 2, confidence=95), r"`confidence` must lie strictly between 0 and 1. Got 95"),
        (lambda: beta_mixture_sequence(1, 2, prior=(0, 1)), r"`prior` must be two positive numbers. Got \(0, 1\)"),
        (lambda: beta_mixture_log_e_value(1, 2, -0.1), r"`rate` must lie in \[0, 1\]. Got -0.1"),
        (lambda: beta_mixture_difference(1, 2, 3, 2), r"`successes_b` must lie between 0 and `trials_b`"),
        (lambda: normal_mixture_rho(0), r"`planned` must be positive and finite. Got 0"),
        (lambda: normal_mixture_sequence(0, 1, 1, rho=-1), r"`rho` must be positive"),
        (lambda: normal_mixture_sequence(0, 1, 0, rho=1), r"`count` must be positive"),
        (lambda: empirical_bernstein_sequence([1.5]), r"`rewards` must lie in \[0, 1\]"),
        (lambda: empirical_bernstein_sequence([]), r"`rewards` must have at least one round"),
        (lambda: empirical_bernstein_sequence([0.5], [1]), r"`observed` must be booleans of shape \(1,\). Got int64"),
        (lambda: hedged_betting_sequence([0.5], grid=0), r"`grid` must be an integer of at least 1. Got 0"),
        (lambda: betting_log_capital([0.5], 1.5), r"`mean` must lie in \[0, 1\]. Got 1.5"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
