"""Sample ratio mismatch against scipy, exact enumeration and each other."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bandits.statistics import logged_propensity_test, sample_ratio_test


def test_an_arm_that_is_not_live_costs_no_degree_of_freedom():
    result = sample_ratio_test([5000, 5200, 0], [0.5, 0.5, 0.0])
    expected = stats.chisquare([5000, 5200])
    assert result.p_value == pytest.approx(expected.pvalue, rel=1e-12)
    assert result.p_value == pytest.approx(0.048, abs=5e-4)
    assert (result.degrees, result.mismatch, result.alpha) == (1, False, 0.001)
    assert np.isnan(result.arm_statistic[2])
    # with two arms either arm's z is the root of the chi-square
    np.testing.assert_allclose(result.arm_statistic[:2] ** 2, result.statistic, rtol=1e-12)


def test_unequal_designs_against_scipy():
    counts = np.array([[100, 310, 590], [130, 280, 640]])
    result = sample_ratio_test(counts, [1, 3, 6])
    expected = stats.chisquare(counts, counts.sum(axis=1, keepdims=True) * [0.1, 0.3, 0.6], axis=1)
    np.testing.assert_allclose(result.statistic, expected.statistic, rtol=1e-12)
    np.testing.assert_allclose(result.p_value, expected.pvalue, rtol=1e-12)


def test_a_visitor_where_none_may_be_is_a_certain_mismatch():
    result = sample_ratio_test([5000, 5000, 1], [0.5, 0.5, 0.0])
    assert (result.statistic, result.p_value, result.mismatch) == (math.inf, 0.0, True)


def test_too_little_data_is_nan_not_a_pass():
    for counts, weights in (([0, 0], [1, 1]), ([9, 0], [1, 1]), ([90, 3], [0.96, 0.04]), ([50, 0], [1, 0])):
        result = sample_ratio_test(counts, weights)
        assert np.isnan([result.statistic, result.p_value]).all()
        assert not result.mismatch
    assert sample_ratio_test([5, 5], [1, 1]).p_value == 1.0


@given(
    st.lists(st.integers(200, 5000), min_size=2, max_size=5), st.randoms(use_true_random=False), st.floats(0.01, 100)
)
def test_labels_and_the_scale_of_weights_do_not_matter(counts, shuffle, scale):
    weights = np.arange(1.0, len(counts) + 1) + 3
    order = list(range(len(counts)))
    shuffle.shuffle(order)
    one = sample_ratio_test(counts, weights)
    other = sample_ratio_test(np.array(counts)[order], scale * weights[order])
    np.testing.assert_allclose(one.statistic, other.statistic, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(one.arm_statistic[order], other.arm_statistic, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.2, 0.3, 0.5], [0.1, 0.2, 0.3, 0.4]])
def test_with_constant_propensities_both_tests_are_one(weights):
    chosen = np.random.default_rng(1).choice(len(weights), size=(3, 400), p=weights)
    counts = (chosen[..., None] == np.arange(len(weights))).sum(axis=1)
    split = sample_ratio_test(counts, weights)
    bandit = logged_propensity_test(chosen, np.broadcast_to(weights, (3, 400, len(weights))))
    np.testing.assert_allclose(bandit.statistic, split.statistic, rtol=1e-9)
    np.testing.assert_allclose(bandit.p_value, split.p_value, rtol=1e-9)
    np.testing.assert_allclose(bandit.arm_statistic, split.arm_statistic, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(bandit.degrees, split.degrees)


def log_of_a_bandit(shape, arms, seed):
    random = np.random.default_rng(seed)
    propensities = random.dirichlet(np.full(arms, 2.0), size=shape)
    chosen = (random.random((*shape, 1)) > propensities.cumsum(axis=-1)).sum(axis=-1)
    return np.minimum(chosen, arms - 1), propensities


def test_martingale_statistic_by_a_loop():
    chosen, propensities = log_of_a_bandit((200,), 3, seed=2)
    surplus, covariance = np.zeros(3), np.zeros((3, 3))
    for arm, e in zip(chosen, propensities, strict=True):
        surplus += np.eye(3)[arm] - e
        covariance += np.diag(e) - np.outer(e, e)
    result = logged_propensity_test(chosen, propensities)
    np.testing.assert_allclose(result.arm_statistic, surplus / np.sqrt(np.diag(covariance)), rtol=1e-12)
    by_two_arms = surplus[:2] @ np.linalg.solve(covariance[:2, :2], surplus[:2])
    assert result.statistic == pytest.approx(by_two_arms, rel=1e-9)
    assert result.p_value == pytest.approx(stats.chi2.sf(by_two_arms, 2), rel=1e-9)


def test_labels_do_not_matter_to_the_martingale():
    chosen, propensities = log_of_a_bandit((5, 100), 4, seed=3)
    order = np.array([2, 0, 3, 1])
    one = logged_propensity_test(chosen, propensities)
    other = logged_propensity_test(np.argsort(order)[chosen], propensities[..., order])
    np.testing.assert_allclose(one.statistic, other.statistic, rtol=1e-9)
    np.testing.assert_allclose(one.arm_statistic[:, order], other.arm_statistic, rtol=1e-9)


def test_propensities_of_another_policy_are_found():
    chosen, propensities = log_of_a_bandit((2000,), 3, seed=4)
    assert not logged_propensity_test(chosen, propensities).mismatch
    # The fault that spoils logs most often: a floor that was drawn with but not logged.
    floored = 0.7 * propensities + 0.3 * np.array([0.8, 0.1, 0.1])
    assert logged_propensity_test(chosen, floored).mismatch


def test_rare_arms_are_left_out():
    chosen, propensities = log_of_a_bandit((300,), 3, seed=5)
    with_rare = np.concatenate([0.999 * propensities, np.full((300, 1), 0.001)], axis=1)
    result = logged_propensity_test(chosen, with_rare)
    assert np.isnan(result.arm_statistic[3])
    assert result.degrees == 3  # three arms no longer sum to the number of rounds
    assert np.isfinite(result.p_value)


def test_two_pairs_of_arms_that_alternate_have_two_degrees_of_freedom():
    propensities = np.tile([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.3, 0.7]], (100, 1))
    chosen = np.tile([0, 2, 1, 3], 50)
    result = logged_propensity_test(chosen, propensities)
    assert result.degrees == 2
    np.testing.assert_allclose(result.statistic, result.arm_statistic[0] ** 2 + result.arm_statistic[2] ** 2, rtol=1e-9)


def test_deterministic_policies_cannot_be_tested_but_can_be_caught():
    propensities = np.tile([[1.0, 0.0]], (50, 1))
    chosen = np.zeros(50, dtype=int)
    right = logged_propensity_test(chosen, propensities)
    assert np.isnan([right.statistic, right.p_value]).all()
    chosen[7] = 1
    wrong = logged_propensity_test(chosen, propensities)
    assert (wrong.statistic, wrong.p_value, wrong.mismatch) == (math.inf, 0.0, True)


HALF = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: sample_ratio_test([-1, 2], [1, 1]), r"`counts` must be finite and not negative"),
        (lambda: sample_ratio_test([1, 2], [1, 1, 1]), r"`weights` must be finite and not negative, one per arm"),
        (lambda: sample_ratio_test([1, 2], [0, 0]), r"`weights` must not all be 0"),
        (lambda: sample_ratio_test([1, 2], [1, 1], alpha=0), r"`alpha` must lie strictly between 0 and 1. Got 0"),
        (lambda: logged_propensity_test([0, 1], HALF), r"`propensities` must have shape \(2, 'K'\).*Got \(4, 2\)"),
        (lambda: logged_propensity_test([0, 1, 0, 2], HALF), r"`chosen` must be integers in \[0, 2\)"),
        (lambda: logged_propensity_test([0.0] * 4, HALF), r"`chosen` must be integers"),
        (lambda: logged_propensity_test([0] * 4, HALF / 2), r"must sum to 1 in each round"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
