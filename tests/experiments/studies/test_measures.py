import math

import numpy as np
import pytest

from experiments.studies import measures


def test_a_share_has_the_binomial_error() -> None:
    found = measures.share([True] * 30 + [False] * 70)
    assert found.value == 0.3
    assert found.error == pytest.approx(math.sqrt(0.3 * 0.7 / 100))
    z = 1.959963984540054
    centre, half = (0.3 + z**2 / 200) / (1 + z**2 / 100), z * math.sqrt(0.3 * 0.7 / 100 + z**2 / 40_000)
    assert found.low == pytest.approx(centre - half / (1 + z**2 / 100))
    assert found.high == pytest.approx(centre + half / (1 + z**2 / 100))


def test_a_mean_and_a_root_mean_square() -> None:
    values = np.array([0.5, -1.0, 2.5, 0.25])
    found = measures.mean(values)
    assert found.value == pytest.approx(0.5625)
    assert found.error == pytest.approx(values.std(ddof=1) / 2)
    root = measures.root_mean_square(values)
    assert root.value == pytest.approx(math.sqrt((values**2).mean()))
    assert root.error == pytest.approx((values**2).std(ddof=1) / 2 / (2 * root.value))
    assert measures.root_mean_square([0.0, 0.0]).value == 0.0


def test_errors_are_what_repeating_the_simulation_shows() -> None:
    random = np.random.default_rng(1)
    draws = random.exponential(size=(2000, 400))
    for measure in (measures.mean, measures.root_mean_square, lambda values: measures.quantile(values, 0.9)):
        found = [measure(row) for row in draws[:300]]
        spread = np.std([measure(row).value for row in draws])
        assert np.median([one.error for one in found]) == pytest.approx(spread, rel=0.12)


def test_quantiles_are_covered_by_order_statistics() -> None:
    random = np.random.default_rng(2)
    for level in (0.1, 0.5, 0.9):
        truth = -math.log(1 - level)
        found = [measures.quantile(row, level) for row in random.exponential(size=(2000, 101))]
        covered = np.mean([one.low <= truth <= one.high for one in found])
        assert 0.935 <= covered <= 0.985  # order statistics cannot hit the level exactly


def test_the_saving_is_a_paired_ratio() -> None:
    lost, baseline = np.array([1.0, 3.0, 2.0, 5.0]), np.array([4.0, 5.0, 3.0, 6.0])
    found = measures.relative_saving(lost, baseline)
    ratio = 11 / 18
    assert found.value == pytest.approx(1 - ratio)
    residual = lost - ratio * baseline
    assert found.error == pytest.approx(residual.std(ddof=1) / 2 / 4.5)
    assert math.isnan(measures.relative_saving(lost, np.zeros(4)).value)


def test_one_replication_has_no_error_and_none_no_value() -> None:
    assert math.isnan(measures.mean([2.0]).error)
    assert math.isnan(measures.quantile([2.0], 0.5).error)
    for nothing in (
        measures.mean([]),
        measures.share([]),
        measures.quantile([], 0.5),
        measures.relative_saving([], []),
    ):
        assert nothing == measures.NOTHING
