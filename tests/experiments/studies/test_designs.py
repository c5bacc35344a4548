"""Designs that look more than once, in studies, against formulas of their own."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from bandits import simulate
from bandits.core import Problem
from bandits.statistics import (
    bayesian_comparison,
    exit_probabilities,
    expected_information,
    group_sequential_design,
    sequential_power,
)
from envs import BernoulliBandit
from experiments.progress import Reporter
from experiments.studies.config import load_study
from experiments.studies.effects import measure
from experiments.studies.estimators import OWN
from experiments.studies.folder import StudyFolder
from experiments.studies.observed import observe
from experiments.studies.results import TARGET, WINNER, look_up
from experiments.studies.thompson import chance_above
from experiments.studies.watched import Watched
from policies import BetaThompson
from policies.ab import ABTest, AlwaysValidABTest, GroupSequentialABTest, RampUpABTest

BASE, VISITORS, EFFECTS = 0.3, 1500, (0.0, 0.05, 0.08)
LOOKS = np.arange(1, 6) / 5


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A study of sequential designs with thousands of replications."""
    folder = tmp_path_factory.mktemp("sequential")
    (folder / "s.yaml").write_text(
        "study: effects\nname: s\nseed: 5\nbaseline: fixed\n"
        f"world: {{base_rate: {BASE}, visitors: {VISITORS}, effects: {list(EFFECTS)}}}\n"
        "simulation: {replications: 1500, chunk: 1500, fewer: {bayes: 200}}\n"
        "policies:\n"
        f"  fixed: {{policy: ABTest, visitors: {VISITORS}}}\n"
        f"  obrien-fleming: {{policy: GroupSequentialABTest, visitors: {VISITORS}}}\n"
        f"  pocock: {{policy: GroupSequentialABTest, visitors: {VISITORS}, spending: pocock}}\n"
        f"  peeking: {{policy: GroupSequentialABTest, visitors: {VISITORS}, spending: naive}}\n"
        "  msprt: {policy: AlwaysValidABTest, method: msprt, tau: 0.1, look_every: 5, visitors: 1400}\n"
        "  mixture: {policy: AlwaysValidABTest, method: beta-mixture, look_every: 5}\n"
        "  predictive: {policy: AlwaysValidABTest}\n"
        "  ramp: {policy: RampUpABTest, stage_visitors: 100, visitors: 1000, tau: 0.1}\n"
        "  bayes: {policy: BayesianABTest, max_loss: 0.005, look_every: 500}\n"
    )
    loaded = load_study(folder / "s.yaml")
    return measure(loaded, StudyFolder.start(folder / "out", loaded.config), 1, Reporter())[1]


def drift(effect: float) -> float:
    other, n = BASE + effect, VISITORS / 2
    return effect / np.sqrt((BASE * (1 - BASE) + other * (1 - other)) / n)


@pytest.mark.statistics
@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock"])
def test_group_sequential_power_and_length(found: pd.DataFrame, spending: str, effect: float) -> None:
    design = group_sequential_design(LOOKS, spending=spending)
    power = look_up(found, spending, effect, "rejects")
    assert abs(power.value - sequential_power(design, drift(effect))) <= 4 * power.error + 0.006
    length = look_up(found, spending, effect, "visitors_mean")
    assert abs(length.value / VISITORS - expected_information(design, drift(effect))) <= 0.01


@pytest.mark.statistics
@pytest.mark.parametrize("effect", EFFECTS)
def test_peeking_errs_as_often_as_the_integral_says(found: pd.DataFrame, effect: float) -> None:
    rejected = look_up(found, "peeking", effect, "rejects")
    boundaries = np.full(5, -special.ndtri(0.025))
    assert (
        abs(rejected.value - exit_probabilities(boundaries, LOOKS, drift(effect)).sum()) <= 4 * rejected.error + 0.006
    )
    if effect == 0:
        assert rejected.value > 0.12
        assert look_up(found, "peeking", 0, "coverage", "naive, Wald", TARGET).value < 0.9


@pytest.mark.statistics
@pytest.mark.parametrize("policy", ["obrien-fleming", "pocock", "msprt", "mixture"])
def test_intervals_that_allow_for_the_looks_cover(found: pd.DataFrame, policy: str) -> None:
    for effect in EFFECTS:
        covered = look_up(found, policy, effect, "coverage", OWN, TARGET)
        assert covered.value >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 1500) - 0.005
        undecided = look_up(found, policy, effect, "undecided").value
        assert look_up(found, policy, effect, "no_interval", OWN, TARGET).value <= undecided
    assert look_up(found, "fixed", 0, "coverage", OWN, TARGET).replications == 0


@pytest.mark.statistics
@pytest.mark.parametrize("policy", ["msprt", "mixture", "predictive", "ramp"])
def test_always_valid_designs_keep_their_level(found: pd.DataFrame, policy: str) -> None:
    level = 0.1 if policy == "ramp" else 0.05  # the guardrail has five percent of its own
    rejected = look_up(found, policy, 0, "rejects")
    assert rejected.value <= level + 4 * np.sqrt(level * (1 - level) / 1500)
    assert look_up(found, policy, 0.08, "rejects").value > 3 * rejected.value


@pytest.mark.statistics
def test_stopping_early_saves_visitors_and_makes_winners_look_better(found: pd.DataFrame) -> None:
    lengths = [look_up(found, "msprt", effect, "visitors_mean").value for effect in EFFECTS]
    assert lengths == sorted(lengths, reverse=True)
    assert look_up(found, "msprt", 0, "visitors_mean").value <= 1400
    assert look_up(found, "fixed", 0.08, "saving").replications == 0
    assert look_up(found, "obrien-fleming", 0.08, "saving").low > 0.1
    assert look_up(found, "pocock", 0.05, "bias", "difference of sample means", WINNER).low > 0
    assert np.isnan(look_up(found, "bayes", 0, "rejects").value)
    assert look_up(found, "mixture", 0, "undecided").value > 0.9
    middle, last = (look_up(found, "pocock", 0.08, f"visitors_{q}").value for q in ("q50", "q90"))
    assert middle in VISITORS * LOOKS
    assert last == VISITORS


@pytest.mark.parametrize(
    "policy",
    [
        ABTest(visitors=150),
        GroupSequentialABTest(visitors=200, if_none="best"),
        AlwaysValidABTest(look_every=10),
        RampUpABTest(stage_visitors=50, visitors=100),
    ],
    ids=lambda policy: type(policy).__name__,
)
def test_what_is_lost_after_shipping_needs_no_simulation(policy: GroupSequentialABTest) -> None:
    rates, horizon = np.array([0.3, 0.5, 0.2]), 400
    env = BernoulliBandit(rates, num_envs=50)
    whole = simulate(env, policy, horizon=horizon, seed=3, snapshots=(horizon,))
    way = observe(policy, 3)
    short = simulate(env, way.policy, horizon=horizon, seed=3, snapshots=(horizon,))
    assert way.way == "until it ships"
    assert np.array_equal(whole.recommended, short.recommended)
    decided = short.recommended >= 0
    assert decided.any()
    assert np.array_equal(decided, short.stopped >= 0)
    rest = np.where(decided, horizon - short.stopped, 0) * (0.5 - rates[short.recommended])
    np.testing.assert_allclose(short.regret[-1] + rest, whole.regret[-1], rtol=1e-9)
    for k in range(3):
        assert np.array_equal(short.records[f"visitors[{k}]"], whole.records[f"visitors[{k}]"])


def test_a_design_that_goes_on_splitting_is_played_to_the_end() -> None:
    policy = ABTest(visitors=100, if_none="split")
    way = observe(policy, 2)
    assert way.way == "to the end"
    assert way.decides
    trace = simulate(BernoulliBandit([0.3, 0.3], num_envs=20), way.policy, horizon=300, seed=1, snapshots=(300,))
    assert (trace.records["decided"] == 100).all()
    assert trace.pulls.sum() == 20 * 300


def test_chances_of_two_arms_are_those_of_the_quadrature() -> None:
    random = np.random.default_rng(0)
    trials = random.integers(0, 5000, (200, 2))
    clicks = random.binomial(trials, random.uniform(0, 0.3, (200, 2)))
    expected = bayesian_comparison(clicks, trials).chance_to_win[:, 0]
    a, b = 1.0 + clicks, 1.0 + trials - clicks
    found = [chance_above(a[i, 0], b[i, 0], a[i, 1], b[i, 1]) for i in range(200)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert chance_above(1.0, 1.0, 1.0, 1.0) == pytest.approx(0.5)
    assert chance_above(1.0, 3.0, 1.0, 2.0) == pytest.approx(0.4)  # 2 / (2 + 3)
    assert chance_above(4000.0, 1.0, 3000.0, 2.0) == pytest.approx(1 - chance_above(3000.0, 2.0, 4000.0, 1.0))


def test_thompson_sampling_of_two_arms_is_weighted_by_its_own_chances() -> None:
    way = observe(BetaThompson(), 2)
    trace = simulate(BernoulliBandit([0.3, 0.5], num_envs=30), way.policy, horizon=200, seed=1, snapshots=(200,))
    alone = simulate(BernoulliBandit([0.3, 0.5], num_envs=30), BetaThompson(), horizon=200, seed=1, snapshots=(200,))
    assert np.array_equal(trace.pulls, alone.pulls)
    assert np.isfinite(trace.records["sqrt[1]"]).all()
    slow = simulate(
        BernoulliBandit([0.3, 0.5], num_envs=3), Watched(BetaThompson()), horizon=200, seed=1, snapshots=(200,)
    )
    for name in ("uniform[1]", "sqrt[1]", "sqrt_error[1]"):
        np.testing.assert_allclose(slow.records[name], trace.records[name][:, :3], rtol=1e-5)
    assert "sqrt[1]" not in observe(BetaThompson(), 2, weigh=False).policy.record_names(Problem(1, 2))


@pytest.mark.statistics
def test_several_arms_share_the_level_and_harmful_ones_leave(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "study: effects\nname: s\nseed: 8\nbaseline: fixed\n"
        "world: {base_rate: 0.3, visitors: 1200, effects: [-0.15, 0, 0.1], arms: 3, profile: [0, 0.5, 1]}\n"
        "simulation: {replications: 3000, chunk: 3000}\n"
        "policies:\n"
        "  fixed: {policy: ABTest, visitors: 1200}\n"
        "  pocock: {policy: GroupSequentialABTest, visitors: 1200, spending: pocock}\n"
        "  best: {policy: GroupSequentialABTest, visitors: 1200, spending: pocock, if_none: best}\n"
        "  msprt: {policy: AlwaysValidABTest, method: msprt, tau: 0.1, look_every: 5, visitors: 1200}\n"
    )
    loaded = load_study(tmp_path / "s.yaml")
    found = measure(loaded, StudyFolder.start(tmp_path / "out", loaded.config), 1, Reporter())[1]
    chance = 4 * np.sqrt(0.05 * 0.95 / 3000)
    for policy in ("fixed", "pocock", "msprt"):
        assert look_up(found, policy, 0, "rejects").value <= 0.05 + chance
        assert look_up(found, policy, 0, "rejects").value >= look_up(found, policy, 0, "ships_new").value
        # Two harmful arms: the test finds them, ships neither, and loses less once they have left.
        assert look_up(found, policy, -0.15, "rejects").value > 0.8
        assert look_up(found, policy, -0.15, "ships_best").value > 0.99
    assert look_up(found, "pocock", -0.15, "saving").low > 0.2
    assert look_up(found, "best", 0, "ships_new").value > 0.5
    assert look_up(found, "best", 0, "rejects").value == look_up(found, "pocock", 0, "rejects").value
    # Where some arm has left, only the interval of the shipped arm belongs to the look of the decision.
    assert look_up(found, "pocock", -0.15, "no_interval", OWN, TARGET).value > 0.5
    for effect in (0, 0.1):
        covered = look_up(found, "pocock", effect, "coverage", OWN, TARGET)
        assert covered.value >= 0.975 - 4 * np.sqrt(0.975 * 0.025 / 3000) - 0.005


def test_what_happens_afterwards_does_not_change_what_is_found(tmp_path: Path) -> None:
    designs = {
        "pocock": "policy: GroupSequentialABTest, visitors: 600, spending: pocock",
        "msprt": "policy: AlwaysValidABTest, method: msprt, tau: 0.1, look_every: 5, visitors: 600",
        "fixed": "policy: ABTest, visitors: 600",
    }
    lines = [f"  {name}: {{{spec}}}\n  {name}, split: {{{spec}, if_none: split}}\n" for name, spec in designs.items()]
    (tmp_path / "s.yaml").write_text(
        "study: effects\nname: s\nseed: 8\nbaseline: fixed\n"
        "world: {base_rate: 0.3, visitors: 800, effects: [-0.1, 0, 0.1]}\n"
        "simulation: {replications: 300, chunk: 300}\npolicies:\n" + "".join(lines).replace(", split:", " split:")
    )
    loaded = load_study(tmp_path / "s.yaml")
    found = measure(loaded, StudyFolder.start(tmp_path / "out", loaded.config), 1, Reporter())[1]
    for name in designs:
        for effect in (-0.1, 0, 0.1):
            for measured in ("rejects", "ships_new", "visitors_mean", "lost_in_test"):
                ships, splits = (look_up(found, label, effect, measured) for label in (name, f"{name} split"))
                late = 0.01 if name == "msprt" and measured == "rejects" else 0.0  # found with the very last visitor
                assert splits.value == pytest.approx(ships.value, rel=1e-12, abs=late), (name, effect, measured)
        assert look_up(found, f"{name} split", -0.1, "lost").value > look_up(found, name, -0.1, "lost").value + 1
