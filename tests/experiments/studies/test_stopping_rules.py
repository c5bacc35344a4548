"""Stopping rules: against plain loops, against tabled error rates, and on effects that must be found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference

from bandits.statistics import group_sequential_design
from experiments.studies.replay_config import RulesConfig
from experiments.studies.stopping_rules import Looks, boundaries, click_looks, decide, mean_looks, rules

CONFIG = RulesConfig(burn_in=50)


def simulated_means(tests: int, looks: int, effect: float = 0.0, seed: int = 1) -> Looks:
    """Normal outcomes of variance 1 in two arms, 100 units per arm and look; `effect` in final standard errors."""
    random = np.random.default_rng(seed)
    per_look = 100
    units = per_look * np.arange(1, looks + 1)
    shift = effect * math.sqrt(2 / units[-1])
    steps = random.normal(size=(tests, looks, 2)) * math.sqrt(per_look) + per_look * shift * np.array([0, 1])
    shape = (tests, looks, 2)
    counts = np.broadcast_to(units[:, None], shape).astype(float)
    information = np.broadcast_to(units / units[-1], shape[:2])
    return mean_looks(steps.cumsum(axis=1) / counts, np.ones(shape), counts, information)


def simulated_clicks(tests: int, looks: int, rates: tuple[float, float], per_look: int, seed: int = 2) -> Looks:
    random = np.random.default_rng(seed)
    clicks = random.binomial(per_look, rates, size=(tests, looks, 2)).cumsum(axis=1).astype(float)
    visitors = np.broadcast_to(per_look * np.arange(1, looks + 1)[:, None], clicks.shape).astype(float)
    return click_looks(clicks, visitors, np.broadcast_to(np.arange(1, looks + 1) / looks, (tests, looks)))


def declared(name: str, looks: Looks, config: RulesConfig = CONFIG) -> float:
    return float(np.mean(decide(rules(config)[name].answer(looks, config), looks).side != 0))


def band(rate: float, tests: int) -> tuple[float, float]:
    low, high = reference.binom.interval(0.99, tests, rate)
    return low / tests, high / tests


@pytest.mark.statistics
@pytest.mark.parametrize(("looks", "error"), [(1, 0.05), (5, 0.142), (10, 0.193), (20, 0.248)])
def test_naive_peeking_errs_as_armitage_tabled(looks: int, error: float) -> None:
    tests = 6000
    low, high = band(error, tests)
    assert low <= declared("naive peeking", simulated_means(tests, looks)) <= high


@pytest.mark.statistics
@pytest.mark.parametrize("name", ["fixed horizon", "O'Brien-Fleming", "Pocock"])
def test_rules_that_spend_the_level_keep_it(name: str) -> None:
    low, high = band(0.05, 6000)
    assert low <= declared(name, simulated_means(6000, 10)) <= high


@pytest.mark.statistics
def test_always_valid_rules_stay_below_the_level() -> None:
    high = band(0.05, 3000)[1]
    clicks = simulated_clicks(3000, 40, (0.1, 0.1), 100)
    assert 0 < declared("mSPRT", simulated_means(3000, 40)) <= high
    assert 0 < declared("mSPRT", clicks) <= high
    assert declared("beta mixture", clicks) <= high


@pytest.mark.statistics
def test_expected_loss_has_no_error_level() -> None:
    """The page says so; with no effect at all it declares most of the time once losses are small."""
    assert declared("expected loss", simulated_clicks(200, 40, (0.1, 0.1), 400)) > 0.5


@pytest.mark.parametrize("sign", [1, -1])
def test_planted_effects_are_found_on_the_right_side(sign: int) -> None:
    rates = (0.1, 0.16) if sign > 0 else (0.16, 0.1)
    looks = simulated_clicks(50, 10, rates, 400)
    for name, rule in rules(CONFIG).items():
        if rule.applies(looks):
            decision = decide(rule.answer(looks, CONFIG), looks)
            assert (decision.side == sign).all(), name
    means = simulated_means(50, 10, effect=10.0 * sign)
    for name, rule in rules(CONFIG).items():
        if rule.applies(means):
            assert (decide(rule.answer(means, CONFIG), means).side == sign).all(), name


def test_rules_that_need_clicks_or_the_order_do_not_apply_without() -> None:
    means = simulated_means(2, 3)
    assert {name for name, rule in rules(CONFIG).items() if not rule.applies(means)} == {
        "beta mixture",
        "predictive",
        "expected loss",
    }


def uneven() -> tuple[Looks, list[tuple[np.ndarray, np.ndarray]]]:
    """Three comparisons with 4, 1 and 3 looks at uneven times, padded; and each as plain (units, mean) arrays."""
    random = np.random.default_rng(5)
    plain, length = [], 4
    arrays = {name: np.full((3, length, 2), np.nan) for name in ("mean", "variance", "units")}
    information = np.full((3, length), np.nan)
    for row, looks in enumerate((4, 1, 3)):
        units = np.sort(random.integers(200, 5000, size=(looks, 2)), axis=0).astype(float)
        mean = random.normal(size=(looks, 2)) * 0.05
        harmonic = 1 / (1 / units).sum(axis=1)
        for name, values in (("mean", mean), ("variance", np.ones_like(mean)), ("units", units)):
            arrays[name][row, :looks] = values
        information[row, :looks] = harmonic / harmonic[-1]
        plain.append((units, mean))
    return mean_looks(arrays["mean"], arrays["variance"], arrays["units"], information), plain


def test_decisions_against_a_loop_over_uneven_tests() -> None:
    looks, plain = uneven()
    for name in ("fixed horizon", "naive peeking", "O'Brien-Fleming", "Pocock"):
        got = decide(rules(CONFIG)[name].answer(looks, CONFIG), looks)
        for row, (units, mean) in enumerate(plain):
            harmonic = 1 / (1 / units[:, 0] + 1 / units[:, 1])
            spending = {"O'Brien-Fleming": "obrien-fleming", "Pocock": "pocock"}.get(name)
            critical = [1.959963984540054] * len(units)
            if name == "fixed horizon":
                critical = [math.inf] * (len(units) - 1) + critical[:1]
            elif spending is not None:
                critical = list(group_sequential_design(harmonic / harmonic[-1], spending=spending).boundaries)  # type: ignore[arg-type]
            expected = (len(units) - 1, 0)
            for look in range(len(units)):
                z = (mean[look, 1] - mean[look, 0]) * math.sqrt(harmonic[look])
                if abs(z) >= critical[look]:
                    expected = (look, 1 if z > 0 else -1)
                    break
            assert (got.look[row], got.side[row]) == expected, (name, row)


def test_padding_changes_nothing() -> None:
    clicks = simulated_clicks(6, 8, (0.1, 0.13), 150, seed=9)
    assert clicks.clicks is not None
    assert clicks.visitors is not None
    wider = [np.concatenate([values, np.zeros((6, 3, 2))], axis=1) for values in (clicks.clicks, clicks.visitors)]
    padded = click_looks(*wider, np.concatenate([clicks.information, np.full((6, 3), np.nan)], axis=1))
    for name, rule in rules(CONFIG).items():
        if rule.applies(clicks):
            alone, filled = (decide(rule.answer(looks, CONFIG), looks) for looks in (clicks, padded))
            np.testing.assert_array_equal(alone.look, filled.look, err_msg=name)
            np.testing.assert_array_equal(alone.side, filled.side, err_msg=name)


def test_mixture_and_expected_loss_wait_for_the_burn_in() -> None:
    looks = simulated_clicks(20, 4, (0.02, 0.9), 30)
    late = RulesConfig(burn_in=100)
    for name in ("mSPRT", "expected loss"):
        assert (decide(rules(late)[name].answer(looks, late), looks).look >= 3).all(), name
        assert (decide(rules(CONFIG)[name].answer(looks, CONFIG), looks).look == 1).all(), name


def test_where_nobody_clicked_there_is_no_winner() -> None:
    zero = np.zeros((1, 2, 2))
    looks = click_looks(zero, np.full((1, 2, 2), 500.0), np.array([[0.5, 1.0]]))
    for name in (
        "fixed horizon",
        "naive peeking",
        "O'Brien-Fleming",
        "Pocock",
        "mSPRT",
        "beta mixture",
        "expected loss",
    ):
        assert decide(rules(CONFIG)[name].answer(looks, CONFIG), looks).side.tolist() == [0], name


def test_boundaries_of_equal_rows_are_equal_and_end_with_the_row() -> None:
    information = np.array([[0.5, 1.0, np.nan], [0.2, 0.6, 1.0], [0.5, 1.0, np.nan]])
    got = boundaries(information, 0.05, "pocock")
    np.testing.assert_array_equal(got[0], got[2])
    assert np.isnan(got[0, 2])
    np.testing.assert_allclose(got[1], group_sequential_design([0.2, 0.6, 1.0], spending="pocock").boundaries)


def test_methods_say_their_level() -> None:
    for name, rule in rules(RulesConfig(alpha=0.01)).items():
        assert ("level 0.01" in rule.method) == (name != "expected loss"), name
