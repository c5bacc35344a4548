"""What the designs promise, over thousands of tests: error rates, power, length."""

import numpy as np
import pytest
from scipy import stats

from bandits import simulate
from bandits.statistics import expected_information, group_sequential_design, sequential_power
from envs import BernoulliBandit
from policies import ABTest, AlwaysValidABTest, BayesianABTest, GroupSequentialABTest, RampUpABTest

pytestmark = pytest.mark.statistics
SIZE = 4000


def band(rate, size=SIZE):
    """Central 99 percent of a share of `size` draws."""
    return stats.binom.ppf([0.005, 0.995], size, rate) / size


def shares(policy, rates, horizon, seed=1):
    trace = simulate(BernoulliBandit(rates, num_envs=SIZE), policy, horizon=horizon, seed=seed, snapshots=2)
    length = sum(trace.records[f"visitors[{k}]"][-1] for k in range(len(rates)))
    return np.array([np.mean(trace.recommended == k) for k in range(len(rates))]), length.mean()


@pytest.mark.parametrize("spending", ["obrien-fleming", "pocock"])
def test_group_sequential_power_and_length_are_those_of_the_brownian_path(spending):
    """At large counts the z statistics at the looks are nearly a Brownian motion with drift."""
    length, design = 6000, group_sequential_design(np.arange(1, 6) / 5, spending=spending)
    policy = GroupSequentialABTest(length, spending=spending)
    for effect in (0.0, 0.03):
        p = np.array([0.3, 0.3 + effect])
        drift = effect / np.sqrt((p * (1 - p)).sum() / (length / 2))
        found, visitors = shares(policy, p, length)
        power = sequential_power(design, drift)
        low, high = band(float(power) / (2 if effect == 0 else 1))
        assert low <= found[1] <= high
        assert visitors == pytest.approx(length * float(expected_information(design, drift)), rel=0.02)


def test_naive_looks_reject_as_often_as_armitage_found():
    """Armitage, McPherson and Rowe (1969), table 2: 5 looks at 5 percent, 14.2 percent; half of them upwards."""
    found, _ = shares(GroupSequentialABTest(8000, spending="naive"), [0.4, 0.4], 8000)
    low, high = band(0.142 / 2)
    assert low <= found[1] <= high


@pytest.mark.parametrize(
    ("policy", "level"),
    [
        (AlwaysValidABTest("predictive", 2000, prior=(1, 3)), 0.05),
        (AlwaysValidABTest("msprt", 2000, tau=0.05), 0.05),
        (AlwaysValidABTest("beta-mixture", 2000), 0.05),
        (RampUpABTest(300, (0.1, 0.5), 1500, guardrail_alpha=0.5), 0.025),
        (ABTest(1500), 0.025),
    ],
    ids=lambda value: type(value).__name__ + getattr(value, "method", "") if not isinstance(value, float) else "",
)
def test_treatments_like_the_control_seldom_win(policy, level):
    found, _ = shares(policy, [0.3, 0.3], 2000)
    assert found[1] <= band(level)[1]
    assert found.sum() == 1


def test_several_arms_share_one_error_rate():
    """Four treatments like the control: anything ships in at most 5 percent, about 2.5 upwards by z tests."""
    for policy in (ABTest(3000), GroupSequentialABTest(3000), AlwaysValidABTest("msprt", 3000, tau=0.05)):
        found, _ = shares(policy, [0.3] * 5, 3000)
        assert 1 - found[0] <= band(0.05)[1]


def test_bayesian_stopping_bounds_the_loss_not_the_error():
    """Rates drawn from the prior: the mean loss of what it ships is at most what was asked for. And it errs often."""
    size, max_loss = 4000, 0.01
    policy = BayesianABTest(max_loss, prior=(5, 15), look_every=20)
    rates = np.random.default_rng(4).beta(5, 15, (size, 2))
    trace = simulate(BernoulliBandit(rates, num_envs=size), policy, horizon=6000, seed=2, snapshots=2)
    decided = trace.recommended >= 0
    assert decided.mean() > 0.99
    loss = rates.max(axis=1) - rates[np.arange(size), trace.recommended]
    assert loss[decided].mean() <= max_loss
    found, _ = shares(BayesianABTest(0.003, 5000, look_every=50), [0.3, 0.3], 5000)
    assert found[1] > 0.2


def test_the_guardrail_spares_the_harmless_and_stops_harm():
    policy = RampUpABTest(1000, (0.2, 0.5), 2000, guardrail_alpha=0.1, tau=0.05)
    for rate, low, high in ((0.3, 0.0, band(0.1)[1]), (0.15, 0.95, 1.0)):
        env = BernoulliBandit([0.3, rate], num_envs=SIZE)
        trace = simulate(env, policy, horizon=3000, seed=3, snapshots=2)
        seen = trace.records["visitors[0]"][-1] + trace.records["visitors[1]"][-1]
        removed = np.mean(seen < 2000)  # the last stage of those that were not removed is whole
        assert low <= removed <= high
