"""Inference after a bandit against naive loops and the enumeration of every path of a small bandit."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from bandits.statistics import aipw_contrast, aipw_values, batched_ols, two_point_weights

examples = settings(deadline=None, derandomize=True, max_examples=40)
WEIGHTS = ["uniform", "sqrt", "two-point"]


def random_log(seed, sets=3, rounds=60, arms=3, rates=(0.2, 0.5, 0.7)):
    """Logs whose propensities wander: chosen and rewards (sets, rounds), propensities (sets, rounds, arms)."""
    random = np.random.default_rng(seed)
    propensities = random.dirichlet(np.full(arms, 2.0), size=(sets, rounds)) * 0.9 + 0.1 / arms
    chosen = (random.random((sets, rounds, 1)) > np.cumsum(propensities, axis=-1)).sum(axis=-1)
    rewards = (random.random((sets, rounds)) < np.array(rates)[chosen]) + random.normal(0, 0.1, (sets, rounds))
    return chosen, rewards, propensities


def loop_weights(e, weights, decay):
    """Weights h of one arm from its propensities, round by round."""
    left, result, total = 1.0, [], len(e)
    for t, p in enumerate(e, start=1):
        if weights == "uniform":
            result.append(1.0)
        elif weights == "sqrt":
            result.append(math.sqrt(p))
        else:
            fading = t**-decay / (t**-decay + (total ** (1 - decay) - t ** (1 - decay)) / (1 - decay))
            share = p / (total - t + 1) + (1 - p) * fading
            result.append(math.sqrt(left * share * p))
            left -= left * share
    return np.array(result)


def loop_scores(chosen, rewards, e, arm):
    result, total, count = [], 0.0, 0
    for action, reward, p in zip(chosen, rewards, e, strict=True):
        model = total / count if count else 0.0
        result.append(model + (action == arm) / p * (reward - model))
        if action == arm:
            total, count = total + reward, count + 1
    return np.array(result)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_values_and_contrasts_against_the_loop(weights):
    chosen, rewards, propensities = random_log(1)
    options = {"weights": weights, "floor_decay": 0.6, "confidence": 0.9}
    values = aipw_values(chosen, rewards, propensities, **options)
    contrast = aipw_contrast(chosen, rewards, propensities, (2, 0), **options)
    for n in range(3):
        parts = []
        for arm in range(3):
            e = propensities[n, :, arm]
            scores, h = loop_scores(chosen[n], rewards[n], e, arm), loop_weights(e, weights, 0.6)
            q = sum(h * scores) / sum(h)
            parts.append((q, h * (scores - q) / sum(h)))
            error = math.sqrt(sum(h**2 * (scores - q) ** 2)) / sum(h)
            z = reference.norm.ppf(0.95)
            expected = [q, error, q - z * error, q + z * error]
            np.testing.assert_allclose([field[n, arm] for field in values[:4]], expected, rtol=1e-10)
        error = math.sqrt(sum((parts[2][1] - parts[0][1]) ** 2))
        np.testing.assert_allclose(
            [contrast.estimate[n], contrast.standard_error[n]], [parts[2][0] - parts[0][0], error]
        )
    assert weights in values.method
    assert "arm 2 - arm 0" in contrast.method
    assert values.confidence == 0.9


def paths(rounds, rates, floor):
    """Every path of a bandit that favours the arm with more clicks: arms, rewards, propensities, probability."""
    for arms in product((0, 1), repeat=rounds):
        for rewards in product((0.0, 1.0), repeat=rounds):
            probability, clicks, e = 1.0, [0.0, 0.0], []
            for arm, reward in zip(arms, rewards, strict=True):
                p = 0.5 if clicks[0] == clicks[1] else (1 - floor if clicks[1] > clicks[0] else floor)
                e.append((1 - p, p))
                probability *= e[-1][arm] * (rates[arm] if reward else 1 - rates[arm])
                clicks[arm] += reward
            yield arms, rewards, e, probability


def test_uniform_weights_have_no_bias_by_enumeration():
    rates = (0.3, 0.6)
    arms, rewards, e, probability = (np.array(column) for column in zip(*paths(4, rates, 0.2), strict=True))
    assert probability.sum() == pytest.approx(1.0)
    values = aipw_values(arms, rewards, e, weights="uniform").estimate
    # Unpulled arms have scores of 0, which the function does not give away as an estimate; the mean needs them.
    assert (np.isnan(values) == ~np.stack([(arms == k).any(axis=1) for k in (0, 1)], axis=1)).all()
    np.testing.assert_allclose(probability @ np.nan_to_num(values), rates, rtol=1e-12)
    pulls = (arms == 1).sum(axis=1)
    naive = np.where(arms == 1, rewards, 0).sum(axis=1) / np.maximum(pulls, 1)
    assert probability[pulls > 0] @ naive[pulls > 0] / probability[pulls > 0].sum() < 0.59  # the sample mean is biased


def test_two_point_weights_share_out_one():
    propensities = random_log(2)[2]
    for decay in (0.0, 0.3, 0.9):
        h = two_point_weights(propensities, floor_decay=decay)
        np.testing.assert_allclose((h**2 / propensities).sum(axis=-2), 1.0, rtol=1e-10)
    constant = two_point_weights(propensities)
    np.testing.assert_allclose(constant, np.sqrt(propensities / 60), rtol=1e-10)


def test_predictions_replace_the_running_mean():
    chosen, rewards, propensities = random_log(3)
    model = np.broadcast_to([0.1, 0.5, 0.9], propensities.shape)
    values = aipw_values(chosen, rewards, propensities, weights="uniform", predictions=model)
    arm = chosen == 1
    expected = (0.5 + arm / propensities[..., 1] * (rewards - 0.5)).mean(axis=1)
    np.testing.assert_allclose(values.estimate[:, 1], expected, rtol=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@examples
@given(st.integers(0, 1000), st.floats(0.1, 50), st.floats(0.6, 0.99), st.floats(0.6, 0.99))
def test_swap_scale_and_nest(weights, seed, factor, one, other):
    chosen, rewards, propensities = random_log(seed, sets=2, rounds=25)
    order = np.array([2, 0, 1])  # new arm j is the old arm order[j]
    here = aipw_values(chosen, rewards, propensities, weights=weights, floor_decay=0.5)
    swapped = aipw_values(
        np.argsort(order)[chosen], rewards, propensities[..., order], weights=weights, floor_decay=0.5
    )
    np.testing.assert_allclose(swapped.estimate, here.estimate[:, order], rtol=1e-9)
    np.testing.assert_allclose(swapped.standard_error, here.standard_error[:, order], rtol=1e-9)
    scaled = aipw_values(chosen, rewards * factor, propensities, weights=weights, floor_decay=0.5)
    np.testing.assert_allclose(scaled.low, here.low * factor, rtol=1e-6, atol=1e-9)
    small, large = (aipw_contrast(chosen, rewards, propensities, (0, 2), confidence=c) for c in sorted((one, other)))
    assert not np.any(large.low > small.low)
    assert not np.any(large.high < small.high)
    back = aipw_contrast(chosen, rewards, propensities, (2, 0), confidence=one)
    forth = aipw_contrast(chosen, rewards, propensities, (0, 2), confidence=one)
    np.testing.assert_allclose(forth.low, -back.high, rtol=1e-12)


def loop_batched(chosen, rewards, batch, equal):
    arms = [rewards[chosen == k] for k in (0, 1)]
    variance = [a.var(ddof=1) for a in arms]
    if equal:
        pooled = sum(((a - a.mean()) ** 2).sum() for a in arms) / (len(arms[0]) + len(arms[1]) - 2)
        variance = [pooled, pooled]
    weights, differences = [], []
    for b in np.unique(batch):
        zero, one = (rewards[(batch == b) & (chosen == k)] for k in (0, 1))
        if len(zero) and len(one):
            weights.append(1 / math.sqrt(variance[0] / len(zero) + variance[1] / len(one)))
            differences.append(one.mean() - zero.mean())
    z = np.dot(weights, differences) / math.sqrt(len(weights))
    return np.dot(weights, differences) / sum(weights), z, len(weights)


@pytest.mark.parametrize("equal", [True, False])
def test_batched_ols_against_the_loop(equal):
    random = np.random.default_rng(4)
    chosen = (random.random((4, 90)) < 0.2).astype(int)
    rewards = random.normal(0.3 * chosen, 1.0 + chosen)
    batch = np.repeat([3, 4, 7, 9, 10], [30, 5, 4, 21, 30])
    result = batched_ols(chosen, rewards, batch, (1, 0), equal_variances=equal)
    for n in range(4):
        difference, z, used = loop_batched(chosen[n], rewards[n], batch, equal)
        np.testing.assert_allclose([result.difference[n], result.statistic[n]], [difference, z], rtol=1e-10)
        assert result.batches_used[n] == used
        assert result.p_value[n] == pytest.approx(2 * reference.norm.sf(abs(z)))
    assert result.batches_used.min() < 5
    back = batched_ols(chosen, rewards * 3, batch, (0, 1), equal_variances=equal)
    np.testing.assert_allclose(back.low, -3 * result.high, rtol=1e-10)
    np.testing.assert_allclose(back.p_value, result.p_value, rtol=1e-10)


def test_one_batch_is_the_two_sample_z_test():
    random = np.random.default_rng(5)
    chosen = np.repeat([0, 1], [40, 70])
    rewards = random.normal(size=110)
    result = batched_ols(chosen, rewards, np.zeros(110, dtype=int), (1, 0), equal_variances=True)
    expected = reference.ttest_ind(rewards[chosen == 1], rewards[chosen == 0])
    assert result.statistic == pytest.approx(expected.statistic, rel=1e-10)
    welch = batched_ols(chosen, rewards, np.zeros(110, dtype=int), (1, 0))
    expected = reference.ttest_ind(rewards[chosen == 1], rewards[chosen == 0], equal_var=False)
    assert welch.statistic == pytest.approx(expected.statistic, rel=1e-10)


def test_nothing_to_say_is_nan():
    half = np.full((2, 5, 2), 0.5)
    chosen = np.array([[0, 0, 0, 0, 0], [0, 1, 0, 1, 0]])
    rewards = np.array([[1.0, 0, 1, 0, 1], [0.0, 0, 0, 0, 0]])
    values = aipw_values(chosen, rewards, half)
    assert np.isnan([field[0, 1] for field in values[:4]]).all()  # never chosen
    assert np.isfinite([field[0, 0] for field in values[:4]]).all()
    np.testing.assert_array_equal(values.estimate[1], [0.0, 0.0])  # no clicks: an estimate, but no interval
    assert np.isnan(values.standard_error[1]).all()
    contrast = aipw_contrast(chosen, rewards, half, (0, 1))
    assert math.isnan(contrast.estimate[0])
    assert contrast.estimate[1] == 0.0
    assert math.isnan(contrast.low[1])
    one_round = aipw_values([[0]], [[1.0]], [[[0.5, 0.5]]])
    assert one_round.estimate[0, 0] == 2.0
    assert math.isnan(one_round.high[0, 0])
    batched = batched_ols(chosen, rewards, np.zeros(5, dtype=int), (0, 1))
    assert np.isnan([batched.difference, batched.statistic, batched.p_value, batched.low]).all()
    np.testing.assert_array_equal(batched.batches_used, [0, 0])


HALF = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: aipw_values([0, 1], [1, 0], [[1.0, 0.0], [0.5, 0.5]]), r"deterministic choice.*confidence sequences"),
        (lambda: aipw_values([0, 1], [1, 0], [[0.4, 0.4], [0.5, 0.5]]), r"`propensities` must sum to 1"),
        (lambda: aipw_values([0, 1], [1, 0], [0.5, 0.5]), r"`propensities` must have shape \(2, 'K'\). Got \(2,\)"),
        (lambda: aipw_values([0, 2, 0, 0], [1] * 4, HALF), r"`chosen` must be arms 0..1. Got 2"),
        (lambda: aipw_values([0.0, 1.0], [1, 0], HALF[:2]), r"`chosen` must be arms from 0"),
        (lambda: aipw_values([], [], HALF[:0]), r"`chosen` must be arms from 0"),
        (lambda: aipw_values([0, 1], [1, math.nan], HALF[:2]), r"`rewards` must be finite"),
        (
            lambda: aipw_values([0, 1], [1, 0], HALF[:2], weights="h"),
            r"must be one of uniform, sqrt, two-point. Got 'h'",
        ),
        (lambda: aipw_values([0, 1], [1, 0], HALF[:2], confidence=95), r"`confidence` must lie strictly"),
        (lambda: aipw_values([0, 1], [1, 0], HALF[:2], predictions=[0.5]), r"`predictions` must be finite"),
        (lambda: two_point_weights(HALF, floor_decay=1), r"`floor_decay` must lie in \[0, 1\). Got 1"),
        (lambda: aipw_contrast([0, 1], [1, 0], HALF[:2], (1, 1)), r"`arms` must be two different arms below 2"),
        (lambda: aipw_contrast([0, 1], [1, 0], HALF[:2], (0, 2)), r"`arms` must be two different arms below 2"),
        (lambda: batched_ols([0, 1], [1, 0], [1, 0], (1, 0)), r"`batch` must be integers that never fall"),
        (lambda: batched_ols([0, 1], [1, 0], [0], (1, 0)), r"`batch` must be integers that never fall, shape \(2,\)"),
        (lambda: batched_ols([0, 1], [1, 0], [0, 0], (0, 0)), r"`arms` must be two different arms. Got \(0, 0\)"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
