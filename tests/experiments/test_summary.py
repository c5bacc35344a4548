import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.summary import Finals, paired_p_value, summarize, unit_means

A = np.array([10.0, 12.0, 9.0, 15.0, 11.0, 14.0])
B = np.array([8.0, 11.0, 9.5, 11.0, 10.0, 12.5])


def finals_of(world: np.ndarray, **rewards: np.ndarray) -> Finals:
    return Finals({measure: rewards for measure in ("reward", "regret", "regret_fixed")}, world)


def test_differences_are_paired() -> None:
    table = summarize(finals_of(np.zeros(6, dtype=np.int64), AB=B, X=A), "AB", {"X": 0.5}).set_index("policy")
    expected = stats.ttest_rel(A, B)
    interval = expected.confidence_interval(0.95)
    assert table.loc["X", "extra"] == pytest.approx(np.mean(A - B))
    assert table.loc["X", ["extra_low", "extra_high"]].tolist() == pytest.approx([interval.low, interval.high])
    assert table.loc["X", "p"] == pytest.approx(expected.pvalue)
    assert table.loc["X", "extra_percent"] == pytest.approx(100 * np.mean(A - B) / np.mean(B))
    assert table.loc["X", "microseconds"] == 0.5
    assert table.loc["AB", ["extra", "p", "p_holm"]].isna().all()


def test_holm_covers_all_policies_but_the_baseline() -> None:
    table = summarize(finals_of(np.zeros(6, dtype=np.int64), AB=B, X=A, Y=B + 0.1 * A), "AB", {}).set_index("policy")
    p = table["p"].drop("AB")
    assert table["p_holm"].drop("AB").min() == pytest.approx(2 * p.min())


def test_worlds_are_averaged_first() -> None:
    world = np.array([0, 1, 0, 1, 0, 2])
    assert unit_means(A, world).tolist() == [10.0, 13.5, 14.0]
    by_hand = stats.ttest_1samp([np.mean((A - B)[world == w]) for w in range(3)], 0.0).pvalue
    assert paired_p_value(A - B, world) == pytest.approx(by_hand)
    table = summarize(finals_of(world, AB=B, X=A), "AB", {}).set_index("policy")
    assert table.loc["X", "reward"] == pytest.approx(12.5)


def test_degenerate_differences() -> None:
    one_world = np.zeros(3, dtype=np.int64)
    assert paired_p_value(np.zeros(3), one_world) == 1.0
    assert paired_p_value(np.full(3, 2.0), one_world) == 0.0
    assert np.isnan(paired_p_value(np.array([2.0]), np.zeros(1, dtype=np.int64)))


def test_a_baseline_alone_has_no_comparison() -> None:
    table = summarize(finals_of(np.zeros(6, dtype=np.int64), AB=B), "AB", {})
    assert isinstance(table, pd.DataFrame)
    assert table["p_holm"].isna().all()
