"""Families of p-values against statsmodels, scipy and the paper of Benjamini and Hochberg."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bandits.statistics import adjust_p_values

METHODS = {"holm": "holm", "bonferroni": "bonferroni", "benjamini-hochberg": "fdr_bh"}
# Benjamini & Hochberg (1995), section 3.2: 15 hypotheses, of which their procedure rejects four, and Bonferroni three
PAPER = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
PAPER += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
FAMILIES = hnp.arrays(np.float64, st.integers(1, 8), elements=st.sampled_from([0.0, 1e-4, 0.01, 0.02, 0.03, 0.3, 1.0]))


def test_the_example_of_the_paper():
    assert np.sum(adjust_p_values(PAPER, "benjamini-hochberg").p_values <= 0.05) == 4
    assert np.sum(adjust_p_values(PAPER, "bonferroni").p_values <= 0.05) == 3
    assert np.sum(adjust_p_values(PAPER, "holm").p_values <= 0.05) == 3


def test_holm_by_hand_ties_and_order():
    for family, expected in (
        ([0.04, 0.01, 0.02, 0.5], [0.08, 0.04, 0.06, 0.5]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.9, 0.8], [1.0, 1.0]),
        ([], []),
    ):
        np.testing.assert_allclose(adjust_p_values(family, "holm").p_values, expected)


@pytest.mark.parametrize("method", METHODS)
def test_against_statsmodels_and_scipy(method):
    family = np.random.default_rng(1).permutation(PAPER)
    result = adjust_p_values(family, method)
    np.testing.assert_allclose(result.p_values, multipletests(family, method=METHODS[method])[1], rtol=1e-12)
    assert (result.family_size, result.method) == (15, method)
    if method == "benjamini-hochberg":
        np.testing.assert_allclose(result.p_values, stats.false_discovery_control(family), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_each_row_is_a_family_and_the_untested_do_not_count(method):
    nan = math.nan
    families = np.array([[0.01, nan, 0.04, 0.03], [0.2, 0.01, 0.01, 1.0], [nan] * 4])
    result = adjust_p_values(families, method)
    np.testing.assert_array_equal(result.family_size, [3, 4, 0])
    assert np.array_equal(np.isnan(result.p_values), np.isnan(families))
    for row in (0, 1):
        tested = families[row][~np.isnan(families[row])]
        alone = adjust_p_values(tested, method).p_values
        np.testing.assert_allclose(result.p_values[row][~np.isnan(families[row])], alone, rtol=1e-14)


@given(FAMILIES, st.sampled_from(list(METHODS)), st.randoms(use_true_random=False))
def test_order_ties_and_labels(family, method, shuffle):
    adjusted = adjust_p_values(family, method).p_values
    assert np.all(adjusted >= family)
    assert np.all(adjusted <= 1)
    greater = family[:, None] > family
    assert np.all((adjusted[:, None] >= adjusted)[greater])
    assert np.all((adjusted[:, None] == adjusted)[family[:, None] == family])
    order = list(range(len(family)))
    shuffle.shuffle(order)
    np.testing.assert_array_equal(adjust_p_values(family[order], method).p_values, adjusted[order])


@given(FAMILIES)
def test_methods_are_nested(family):
    bonferroni, by_holm, fdr = (
        adjust_p_values(family, name).p_values for name in ("bonferroni", "holm", "benjamini-hochberg")
    )
    assert np.all(fdr <= by_holm * (1 + 1e-15))
    assert np.all(by_holm <= bonferroni)


def test_no_hypotheses():
    result = adjust_p_values([])
    assert (result.p_values.shape, result.family_size) == ((0,), 0)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: adjust_p_values([0.1, 1.2]), r"`p_values` must be an array of numbers in \[0, 1\], or nan"),
        (lambda: adjust_p_values(0.1), r"`p_values` must be an array"),
        (
            lambda: adjust_p_values([0.1], "sidak"),
            r"`method` must be holm, bonferroni or benjamini-hochberg. Got 'sidak'",
        ),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
