"""Always-valid tests against published formulas, naive loops and enumeration."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy import stats as reference

from bandits.statistics import (
    always_valid_p_value,
    beta_mixture_test,
    kernels,
    msprt_test,
    normal_mixture_sequence,
    predictive_test,
)

examples = settings(deadline=None, derandomize=True, max_examples=40)
counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


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


@pytest.mark.parametrize(
    ("call", "text"),
    [
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
