"""Every decision of a design, made again from the log of its visits by the array functions of `bandits.statistics`."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from bandits import simulate
from bandits.statistics import (
    bayesian_comparison,
    beta_mixture_test,
    group_sequential_design,
    inflation_factor,
    msprt_test,
    predictive_test,
    sample_size_two_proportions,
    two_proportion_test,
)
from envs import BernoulliBandit
from policies import AlwaysValidABTest, BayesianABTest, GroupSequentialABTest, RampUpABTest

RATES = [0.3, 0.3, 0.42, 0.2]
UNDECIDED = -1


def z_statistics(visitors, clicks, control):
    """Of every arm against the control, by the tested function; 0 where there is nothing to compare."""
    z = np.zeros(len(visitors))
    for k in range(len(visitors)):
        if k != control and visitors[k] and visitors[control]:
            z[k] = two_proportion_test(clicks[k], visitors[k], clicks[control], visitors[control]).statistic
    return z


@pytest.mark.parametrize(("spending", "looks"), [("obrien-fleming", 4), ("pocock", [0.3, 0.5, 1.0]), ("naive", 5)])
def test_group_sequential_decides_as_the_boundaries_say(play, spending, looks):
    length, size, control, alpha = 600, 60, 1, 0.1
    policy = GroupSequentialABTest(length, looks=looks, spending=spending, control=control, alpha=alpha)
    visits = play(policy, BernoulliBandit(RATES, num_envs=size), length + 50)
    visitors, clicks = visits.counts(4)
    shares = np.arange(1, looks + 1) / looks if isinstance(looks, int) else np.array(looks)
    level = alpha / 3
    critical = (
        np.full(len(shares), stats.norm.isf(level / 2))
        if spending == "naive"
        else group_sequential_design(shares, alpha=level, spending=spending).boundaries
    )
    ends, decisions = [], []
    for n in range(size):
        left = {0, 2, 3}
        for look, c in zip(np.round(shares * length).astype(int), critical, strict=True):
            z = z_statistics(visitors[look - 1, n], clicks[look - 1, n], control)
            rates = clicks[look - 1, n] / np.maximum(visitors[look - 1, n], 1)
            winners = [k for k in sorted(left) if z[k] >= c]
            left -= {k for k in left if z[k] <= -c}
            if winners or not left or look == length:
                decisions.append(max(winners, key=lambda k: rates[k]) if winners else control)
                ends.append(look)
                break
            gone = sorted({0, 2, 3} - left)
            assert not np.isin(visits.arms[look:, n][: length // 10], gone).any()
    np.testing.assert_array_equal(policy.recommend(), decisions)
    assert len(set(decisions)) > 1
    assert len(set(ends)) > 1
    rows = np.arange(size)
    for k in range(4):
        np.testing.assert_array_equal(policy.record()[f"visitors[{k}]"], visitors[np.array(ends) - 1, rows, k])
        np.testing.assert_array_equal(policy.record()[f"clicks[{k}]"], clicks[np.array(ends) - 1, rows, k])
        np.testing.assert_array_equal(visits.arms[-40:, :] == k, np.array(decisions)[None, :].repeat(40, 0) == k)


def test_group_sequential_length_is_the_fixed_one_inflated():
    design = group_sequential_design(np.arange(1, 6) / 5, spending="pocock")
    expected = 2 * sample_size_two_proportions(0.1, 0.02) * inflation_factor(design)
    policy = GroupSequentialABTest(minimum_effect=0.02, baseline=0.1, spending="pocock")
    assert policy.length(2) == int(np.ceil(expected))


@pytest.mark.parametrize("method", ["predictive", "msprt", "beta-mixture"])
@pytest.mark.parametrize("look_every", [1, 10])
def test_always_valid_decides_when_the_evidence_is_there(play, method, look_every):
    """Three arms, one log: evidence of each pair by the array functions, which know nothing of a loop."""
    length, size, control, alpha, prior, tau = 700, 50, 0, 0.1, (1.0, 2.0), 0.1
    weights = [0.5, 0.3, 0.2]
    policy = AlwaysValidABTest(
        method, length, tau=tau, burn_in=30, prior=prior, look_every=look_every, alpha=alpha, weights=weights
    )
    visits = play(policy, BernoulliBandit([0.3, 0.4, 0.15], num_envs=size), length)
    visitors, clicks = visits.counts(3)
    decisions, dropped = [], 0
    for n in range(size):
        evidence = {}
        for k in (1, 2):
            counts = (clicks[:, n, k], visitors[:, n, k], clicks[:, n, 0], visitors[:, n, 0])
            if method == "predictive":
                pair = np.isin(visits.arms[:, n], (0, k))
                share = weights[k] / (weights[k] + weights[0])
                evidence[k] = predictive_test(
                    visits.arms[:, n] == k, visits.clicks[:, n], share, pair, prior=prior
                ).log_e_value
            elif method == "msprt":
                evidence[k] = msprt_test(*counts, tau=tau, burn_in=30).log_e_value
            else:
                evidence[k] = beta_mixture_test(*counts, prior=prior).log_e_value
        left, decision = [1, 2], None
        for t in range(length):
            if (t + 1) % look_every and t + 1 < length:
                continue
            rates = clicks[t, n] / np.maximum(visitors[t, n], 1)
            reached = [k for k in left if evidence[k][t] >= np.log(2 / alpha)]
            winners = [k for k in reached if rates[k] > rates[control]]
            for k in reached:
                if k not in winners:
                    left.remove(k)
                    dropped += 1
            if winners or not left or t + 1 == length:
                decision = max(winners, key=lambda k: rates[k]) if winners else control
                break
        decisions.append(decision)
        assert policy.record()["visitors[0]"][n] == visitors[t, n, 0]
    np.testing.assert_array_equal(policy.recommend(), decisions)
    assert len(set(decisions)) > 1
    assert dropped or method == "beta-mixture"


def test_bayesian_stops_when_the_expected_loss_is_small(play):
    length, size, max_loss, prior = 600, 40, 0.005, (1.0, 3.0)
    policy = BayesianABTest(max_loss, length, prior=prior, look_every=50, if_none="best")
    visits = play(policy, BernoulliBandit([0.3, 0.33, 0.25], num_envs=size), length)
    visitors, clicks = visits.counts(3)
    decisions, ends = [], []
    for n in range(size):
        for t in range(49, length, 50):
            found = bayesian_comparison(clicks[t, n], visitors[t, n], prior=prior)
            best = int(np.argmax((prior[0] + clicks[t, n]) / (sum(prior) + visitors[t, n])))
            if found.expected_loss[best] <= max_loss or t + 1 == length:
                small = found.expected_loss[best] <= max_loss
                rates = clicks[t, n] / visitors[t, n]
                decisions.append(best if small else int(np.argmax(rates)))
                ends.append(t + 1)
                break
    np.testing.assert_array_equal(policy.recommend(), decisions)
    np.testing.assert_array_equal(sum(policy.record()[f"visitors[{k}]"] for k in range(3)), ends)
    assert len(set(ends)) > 3


def test_ramp_up_climbs_turns_back_and_tests_the_last_stage_alone(play):
    stages, stage_visitors, last, size = (0.1, 0.3, 0.6), 150, 400, 60
    policy = RampUpABTest(stage_visitors, stages, last, tau=0.1, burn_in=10, guardrail_alpha=0.3, tolerance=0.02)
    visits = play(policy, BernoulliBandit([0.4, 0.45, 0.1], num_envs=size), 2 * stage_visitors + last + 20)
    edges = [0, stage_visitors, 2 * stage_visitors, 2 * stage_visitors + last]
    decisions, removed = [], 0
    for n in range(size):
        left, decision = [1, 2], None
        for stage, (first, end) in enumerate(pairwise(edges)):
            arms, y = visits.arms[first:end, n], visits.clicks[first:end, n]
            expected = np.array([1 - stages[stage], *(stages[stage] / 2 * (k in left) for k in (1, 2))])
            np.testing.assert_allclose(visits.propensities[first, n], expected / expected.sum())
            seen = np.cumsum(arms[:, None] == np.arange(3), axis=0)
            hits = np.cumsum((arms[:, None] == np.arange(3)) * y[:, None], axis=0)
            for t in range(end - first):
                for k in list(left):
                    # The published evidence, at the difference shifted by what is tolerated.
                    if min(seen[t, k], seen[t, 0]) < 10:
                        continue
                    p = hits[t] / np.maximum(seen[t], 1)
                    variance = p[k] * (1 - p[k]) / seen[t, k] + p[0] * (1 - p[0]) / seen[t, 0]
                    d = p[k] - p[0] + 0.02
                    if variance == 0 or d >= 0:
                        continue
                    mixture = np.sqrt(variance / (variance + 0.01)) * np.exp(
                        0.01 * d**2 / (2 * variance * (variance + 0.01))
                    )
                    if mixture >= 3 * 2 / 0.3:
                        left.remove(k)
                        removed += 1
                if not left:
                    decision = 0
                    break
            if decision is not None:
                break
        else:
            p_values = {k: 2 * stats.norm.sf(abs(z_statistics(seen[-1], hits[-1], 0)[k])) for k in left}
            rejected = []
            for rank, k in enumerate(sorted(left, key=lambda k: p_values[k])):
                if p_values[k] > 0.05 / (len(left) - rank):
                    break
                rejected.append(k)
            rates = hits[-1] / np.maximum(seen[-1], 1)
            better = [k for k in rejected if rates[k] > rates[0]]
            decision = max(better, key=lambda k: rates[k]) if better else 0
        decisions.append(decision)
    np.testing.assert_array_equal(policy.recommend(), decisions)
    assert removed > 20
    assert set(decisions) == {0, 1}


@pytest.mark.parametrize(("if_winner", "if_none"), [("ship", "control"), ("split", "split"), ("ship", "best")])
def test_what_happens_after(play, if_winner, if_none):
    policy = GroupSequentialABTest(200, looks=2, if_winner=if_winner, if_none=if_none)
    size = 80
    visits = play(policy, BernoulliBandit([0.3, 0.5], num_envs=size), 400)
    visitors, clicks = visits.counts(2)
    after = visits.arms[200:]
    picks, shipped = policy.recommend(), policy.record()["shipped"]
    won = picks == 1
    if if_none == "best":
        rates = clicks[199] / visitors[199]
        won = np.array([z_statistics(visitors[199, n], clicks[199, n], 0)[1] > 1.96 for n in range(size)])
        np.testing.assert_array_equal(picks[~won], (rates[~won, 1] > rates[~won, 0]).astype(int))
    assert 0 < won.sum() < size
    for n in range(size):
        goes_on = (if_winner if won[n] else if_none) == "split"
        assert shipped[n] == (-1 if goes_on else picks[n])
        share = np.mean(after[:, n] == 1)
        assert 0.3 < share < 0.7 if goes_on else share == picks[n]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupSequentialABTest(100, looks=1), "`looks` must be at least 2. Got 1."),
        (lambda: GroupSequentialABTest(100, looks=[0.5, 0.5, 1]), "`looks` must be a number, or shares that increase"),
        (lambda: GroupSequentialABTest(100, spending="even"), "`spending` must be obrien-fleming, pocock, naive."),
        (lambda: GroupSequentialABTest(), "Exactly one of `visitors` and `minimum_effect` must be given."),
        (lambda: AlwaysValidABTest("wald"), "`method` must be predictive, msprt, beta-mixture. Got 'wald'."),
        (lambda: AlwaysValidABTest(by="user"), "`by` must be visit for method predictive"),
        (lambda: AlwaysValidABTest(prior=(1, 0)), r"`prior` must be two numbers above 0. Got \[1.0, 0.0\]."),
        (lambda: AlwaysValidABTest(look_every=0), "`look_every` must be at least 1. Got 0."),
        (lambda: BayesianABTest(0.0), "`max_loss` must lie in"),
        (lambda: RampUpABTest(10, (0.5, 0.2), 100), "`stages` must be increasing shares"),
        (lambda: RampUpABTest(10, (0.5, 1.0), 100), "`stages` must be increasing shares"),
        (lambda: RampUpABTest(10, tolerance=-0.1, visitors=10), "`tolerance` must lie in"),
        (lambda: GroupSequentialABTest(100, if_none="stop"), "`if_none` must be control or split or best. Got 'stop'."),
        (lambda: GroupSequentialABTest(100, by="session"), "`by` must be visit or user. Got 'session'."),
    ],
)
@pytest.mark.faults
def test_bad_designs_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AlwaysValidABTest(prior=3), "`prior` must be a list of numbers. Got 3."),
        (lambda: AlwaysValidABTest(prior=["a", 1]), "`prior` must be a number. Got 'a'."),
        (lambda: GroupSequentialABTest(100, looks="abc"), "`looks` must be a list of numbers. Got 'abc'."),
        (lambda: RampUpABTest(10, [0.1, "x"], 100), "`stages` must be a number. Got 'x'."),
        (lambda: GroupSequentialABTest(100, weights=0.5), "`weights` must be a list of numbers. Got 0.5."),
    ],
)
def test_values_of_the_wrong_type_are_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    "policy",
    [
        GroupSequentialABTest(minimum_effect=0.02, baseline=0.1),
        AlwaysValidABTest(),
        BayesianABTest(1e-3, 5000),
        RampUpABTest(500, minimum_effect=0.02, baseline=0.1),
    ],
    ids=lambda policy: type(policy).__name__,
)
def test_rules_in_words_name_what_the_design_does(policy):
    words = f"{policy.division(3)} {policy.decision_rule(3)}"
    assert "A winner gets all later visitors; without one, the control does." in words
    length = policy.length(3)
    assert length is None or any(f"{n:,}" in words for n in (length, length - 3 * 500))


def test_one_arm_alone_is_kept():
    """With nothing to compare, every design ends with the control."""
    env = BernoulliBandit([0.3], num_envs=2)
    for policy in (GroupSequentialABTest(50), AlwaysValidABTest(visitors=50), BayesianABTest(1e-3, 50)):
        assert (simulate(env, policy, horizon=60, seed=1).recommended == 0).all()
