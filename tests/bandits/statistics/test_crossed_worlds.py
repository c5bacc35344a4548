"""Means over worlds that are crossed in two ways: by hand, against ANOVA tables, and over many data sets."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from bandits.statistics import mean_interval, mean_with_error, paired_difference, share_between

RNG = np.random.default_rng(8)
TESTS, MEMBERS, REPEATS = 7, 4, 3
CROSSED = np.array([(test, member) for _ in range(REPEATS) for test in range(TESTS) for member in range(MEMBERS)])
Y = (
    RNG.normal(0, 1.0, TESTS)[CROSSED[:, 0]]
    + RNG.normal(0, 0.7, MEMBERS)[CROSSED[:, 1]]
    + RNG.normal(0, 0.5, len(CROSSED))
)


def test_crossed_worlds_by_hand():
    """Loops over tests and members, and Student's quantile at Satterthwaite's degrees of freedom."""
    parts = []
    for column, count in ((0, TESTS), (1, MEMBERS)):
        means = [np.mean([y for y, cell in zip(Y, CROSSED, strict=True) if cell[column] == c]) for c in range(count)]
        parts.append((sum((m - np.mean(means)) ** 2 for m in means) / (count - 1) / count, count - 1))
    variance = sum(v for v, _ in parts)
    degrees = variance**2 / sum(v**2 / df for v, df in parts)
    half = reference.t.ppf(0.975, degrees) * np.sqrt(variance)
    got = mean_interval(Y, CROSSED)
    np.testing.assert_allclose([got.low, got.high], [Y.mean() - half, Y.mean() + half], rtol=1e-10)
    shuffled = RNG.permutation(len(Y))
    np.testing.assert_allclose(mean_interval(Y[shuffled], CROSSED[shuffled]), got)
    np.testing.assert_allclose(paired_difference(3 * Y, 2 * Y, CROSSED), got)


def test_a_curve_is_done_row_by_row():
    curves = np.stack([Y, 2 * Y, np.zeros(len(Y))])
    estimate, error, degrees = mean_with_error(curves, CROSSED)
    one = mean_with_error(Y, CROSSED)
    np.testing.assert_allclose(estimate, [Y.mean(), 2 * Y.mean(), 0])
    np.testing.assert_allclose(error, [one.error, 2 * one.error, 0])
    np.testing.assert_allclose(degrees, [one.degrees, one.degrees, MEMBERS - 1])


def test_a_way_with_one_level_divides_nothing():
    first = CROSSED[:, 0] == 0
    member = CROSSED[first, 1]
    np.testing.assert_array_equal(mean_interval(Y[first], CROSSED[first]), mean_interval(Y[first], member))
    means = [Y[first][member == m].mean() for m in range(MEMBERS)]
    expected = reference.t.interval(0.95, MEMBERS - 1, np.mean(means), reference.sem(means))
    got = mean_interval(Y[first], CROSSED[first])
    np.testing.assert_allclose([got.low, got.high], expected)
    assert np.isnan(mean_interval([3.0], [[0, 2]]).low)


def test_worlds_count_alike_however_often_they_were_played():
    more = np.concatenate([np.arange(len(Y)), np.flatnonzero((CROSSED == (2, 1)).all(axis=1)).repeat(9)])
    np.testing.assert_allclose(mean_interval(Y[more], CROSSED[more]), mean_interval(Y, CROSSED))


@pytest.mark.parametrize("blocked", [False, True])
def test_the_share_between_clusters_is_that_of_the_anova_table(blocked: bool):
    frame = pd.DataFrame({"y": Y, "test": CROSSED[:, 0], "member": CROSSED[:, 1]})
    if blocked:
        frame = frame.groupby(["test", "member"], as_index=False)["y"].mean()
        table = anova_lm(ols("y ~ C(test) + C(member)", frame).fit())
    else:
        table = anova_lm(ols("y ~ C(member)", frame).fit())
    squares, size = table["mean_sq"], len(frame)
    ours = (squares["C(member)"] - squares["Residual"]) / size
    total = (squares["C(member)"] + (squares["C(test)"] if blocked else 0)) / size
    assert 0.1 < ours / total < 0.99
    got = share_between(Y, CROSSED[:, 1], CROSSED[:, 0] if blocked else None)
    assert got == pytest.approx(ours / total)
    assert share_between(Y, np.array(list("abcd"))[CROSSED[:, 1]], CROSSED[:, 0] if blocked else None) == got


def test_clusters_that_do_not_differ_have_no_share():
    assert share_between([1.0, 3.0, 2.0, 2.0], [0, 0, 1, 1]) != share_between([1.0, 3.0, 5.0, 7.0], [0, 0, 1, 1])
    assert np.isnan(share_between([1.0, 3.0, 2.0, 2.0], [0, 0, 1, 1]))  # both means are 2: no variance to share
    assert share_between([1.0, 3.0, 2.0, 2.1], [0, 0, 1, 1]) == 0
    assert np.isnan(share_between([1.0, 3.0], [0, 1]))


@pytest.mark.statistics
@pytest.mark.parametrize(
    ("sds", "covers", "at_most"),
    [((1, 0, 0.001), 0.95, 0.97), ((0.001, 1, 0), 0.95, 0.97), ((1, 1, 1), 0.95, 0.98), ((0, 0, 1), 0.99, 1.0)],
)
def test_intervals_cover_the_mean_over_tests_and_members(
    sds: tuple[float, float, float], covers: float, at_most: float
):
    """Drawn anew each time: 20 tests, 5 members, and what is of neither."""
    random, hits, narrow = np.random.default_rng(3), 0, 0
    cells = np.array([(test, member) for test in range(20) for member in range(5)])
    for _ in range(1000):
        y = random.normal(0, sds[0], (20, 1)) + random.normal(0, sds[1], (1, 5)) + random.normal(0, sds[2], (20, 5))
        low, high = mean_interval(y.ravel(), cells)[1:]
        hits += bool(low < 0 < high)
        low, high = mean_interval(y.ravel(), cells[:, 0])[1:]
        narrow += bool(low < 0 < high)
    assert covers - 0.025 < hits / 1000 <= at_most
    if sds[1] == 1:
        assert narrow / 1000 < 0.7  # tests as the only units: the members' common error is not in the interval


@pytest.mark.faults
def test_worlds_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"`world` must have shape \(3,\) to match `values`\. Got \(2, 3\)"):
        mean_interval([1.0, 2.0, 3.0], [[0, 1, 2], [0, 0, 1]])
    with pytest.raises(ValueError, match="must be vectors of one length"):
        share_between([1.0, 2.0], [0, 1, 1])
    with pytest.raises(ValueError, match="at least two clusters"):
        share_between([1.0, 2.0], [0, 0])
