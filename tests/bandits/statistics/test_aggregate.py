"""Aggregates over environments by hand, by loops over pairs, and bootstraps whose distribution is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from bandits.statistics import (
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)

SCORES = np.array([[3.0, 1.0, 8.0, 2.0, 2.0], [5.0, 5.0, 0.0, 9.0, 7.0]])
OTHERS = np.array([[2.0, 1.0, 4.0], [6.0, 5.0, 9.0]])
ARRAYS = hnp.arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(2, 6)), elements=st.integers(-5, 5).map(float))


def bootstrap(statistic, *scores, seed=1, **options):
    return stratified_bootstrap(statistic, *scores, random=np.random.default_rng(seed), **options)


def test_interquartile_mean_by_hand():
    # sorted: 0 1 [2 2 3 5 5 7] 8 9: ten scores, two left out at either end
    assert interquartile_mean(SCORES) == pytest.approx(24 / 6)
    np.testing.assert_allclose(interquartile_mean(np.stack([SCORES, SCORES + 1])), [4.0, 5.0])
    assert interquartile_mean([[1.0, 2.0, 9.0]]) == 4.0  # nothing to leave out


def test_probability_of_improvement_against_pairs_and_mann_whitney():
    per_environment = []
    for one, other in zip(SCORES, OTHERS, strict=True):
        wins = [(x > y) + 0.5 * (x == y) for x in one for y in other]
        per_environment.append(np.mean(wins))
        assert stats.mannwhitneyu(one, other).statistic / 15 == pytest.approx(per_environment[-1])
    assert probability_of_improvement(SCORES, OTHERS) == pytest.approx(np.mean(per_environment), rel=1e-14)


@given(ARRAYS)
def test_equal_scores_give_exactly_one_half(scores):
    assert probability_of_improvement(scores, scores) == 0.5


@given(ARRAYS, st.floats(-3, 3))
def test_improvement_swaps_and_sees_order_only(scores, shift):
    other = scores[:, ::-1][:, :-1] + shift
    one = probability_of_improvement(scores, other)
    assert one + probability_of_improvement(other, scores) == pytest.approx(1.0, abs=1e-14)
    assert probability_of_improvement(8 * scores, 8 * other) == one
    assert probability_of_improvement(scores + 1, other) >= one


@given(ARRAYS, st.floats(0.1, 10), st.floats(-5, 5))
def test_interquartile_mean_moves_with_unit_and_origin(scores, scale, shift):
    moved = interquartile_mean(scale * scores + shift)
    assert moved == pytest.approx(float(scale * interquartile_mean(scores) + shift), abs=1e-9)
    assert scores.min() <= interquartile_mean(scores) <= scores.max()


def test_profile_by_hand():
    profile = performance_profile(np.stack([SCORES, SCORES - 1]), [-2.0, 1.0, 4.5, 9.0])
    np.testing.assert_allclose(profile, [[1.0, 0.8, 0.5, 0.0], [1.0, 0.6, 0.3, 0.0]])


@given(ARRAYS)
def test_profile_falls_and_its_area_is_the_mean(scores):
    profile = performance_profile(scores, np.arange(-5.5, 6.0))
    assert np.all(np.diff(profile) <= 0)
    assert -5.0 + profile[1:].sum() + profile[0] - 1 == pytest.approx(scores.mean())


def test_bootstrap_of_two_runs_is_known():
    # The mean of two draws from {1, 2} is 1, 1.5, 2 with chances 1/4, 1/2, 1/4.
    result = bootstrap(lambda s: s.mean(axis=(-2, -1)), [[1.0, 2.0]], resamples=4000, confidence=0.6)
    assert (result.low, result.high) == (1.0, 2.0)
    result = bootstrap(lambda s: s.mean(axis=(-2, -1)), [[1.0, 2.0]], resamples=4000, confidence=0.4)
    assert (result.low, result.high) == (1.5, 1.5)
    assert (result.estimate, result.confidence, result.resamples) == (1.5, 0.4, 4000)


def test_runs_stay_in_their_environment():
    # Were runs drawn across environments, this mean would move; within, it cannot.
    scores = np.repeat([[0.0], [100.0]], 6, axis=1)
    result = bootstrap(lambda s: s.mean(axis=(-2, -1)), scores)
    assert (result.low, result.high) == (50.0, 50.0)


def test_standard_error_of_the_bootstrap():
    # Variance of the mean of M means: sum of the plug-in variances / (M^2 N); the 68 percent ends are one error away.
    scores = np.random.default_rng(2).normal(size=(3, 400)) * [[1.0], [2.0], [5.0]]
    result = bootstrap(lambda s: s.mean(axis=(-2, -1)), scores, resamples=20_000, confidence=0.6826894921370859)
    error = math.sqrt(scores.var(axis=1).sum() / (9 * 400))
    np.testing.assert_allclose([result.low, result.high], scores.mean() + np.array([-error, error]), atol=0.05 * error)


def test_paired_runs_are_drawn_together():
    luck = np.random.default_rng(3).normal(size=(2, 20))

    def difference(a, b):
        return a.mean(axis=(-2, -1)) - b.mean(axis=(-2, -1))

    paired = bootstrap(difference, luck + 1, luck, paired=True)
    np.testing.assert_allclose([paired.low, paired.high], 1.0, rtol=1e-12)
    unpaired = bootstrap(difference, luck + 1, luck)
    assert unpaired.high - unpaired.low > 0.5
    assert "paired" in paired.method
    assert "paired" not in unpaired.method


def test_curves_data_sets_and_chunks():
    scores = np.random.default_rng(4).normal(size=(3, 2, 40))
    thresholds = np.linspace(-1, 1, 5)

    def profile(s):
        return performance_profile(s, thresholds)

    together, alone = bootstrap(profile, scores), bootstrap(profile, scores[1])
    assert together.low.shape == (3, 5)
    np.testing.assert_allclose([together.low[1], together.high[1]], [alone.low, alone.high])
    many = bootstrap(interquartile_mean, np.random.default_rng(5).normal(size=(10, 400)), resamples=1200)
    assert many.low < many.estimate < many.high  # 4.8 million resampled scores: more than one chunk


def test_the_generator_is_the_only_randomness():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (bootstrap(interquartile_mean, SCORES + 0.01 * SCORES**2, seed=seed) for seed in (1, 1, 2))
    assert (one.low, one.high) == (same.low, same.high)
    assert (one.low, one.high) != (other.low, other.high)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_one_run_has_no_interval():
    result = bootstrap(interquartile_mean, [[1.0], [2.0]])
    assert result.estimate == 1.5
    assert np.isnan([result.low, result.high]).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: interquartile_mean([1.0, 2.0]), r"`scores` must have at least 2 axes.*Got shape \(2,\)"),
        (lambda: interquartile_mean([[1.0, math.nan]]), r"`scores` must be finite. Got 1 numbers"),
        (lambda: probability_of_improvement(SCORES, OTHERS[:1]), r"`a` and `b` must have the same environments"),
        (lambda: performance_profile(SCORES, [[1.0]]), r"`thresholds` must be a vector. Got shape \(1, 1\)"),
        (lambda: bootstrap(interquartile_mean), r"`scores` must hold at least one array"),
        (
            lambda: bootstrap(probability_of_improvement, SCORES, OTHERS, paired=True),
            r"`scores` must have matching axes",
        ),
        (lambda: bootstrap(interquartile_mean, SCORES, resamples=0), r"`resamples` must be at least 1. Got 0"),
        (lambda: bootstrap(interquartile_mean, SCORES, confidence=2), r"`confidence` must lie strictly.*Got 2"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
