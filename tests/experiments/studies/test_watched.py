from functools import partial

import numpy as np
import pytest

from bandits import ScalarPolicy, simulate
from bandits.core import Context, Feedback, Problem
from bandits.random_streams import RandomStreams
from bandits.statistics import aipw_contrast
from bandits.testing import POLICY_CHECKS
from envs import BernoulliBandit
from experiments.studies.watched import Watched
from policies import UCB1, ABTest, BetaThompson, EpsilonGreedy, Exp3, FixedSplit

CHILDREN = {
    "test": partial(ABTest, visitors=60),
    "greedy": partial(EpsilonGreedy, 0.2),
    "ucb": partial(UCB1, 0.5),
    "thompson": BetaThompson,
    "exp3": partial(Exp3, 0.2),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_the_watched_policy_plays_as_it_does_alone(name: str) -> None:
    env = BernoulliBandit([0.2, 0.5, 0.3], num_envs=20)
    alone = simulate(env, CHILDREN[name](), horizon=200, seed=4, snapshots=(200,))
    watched = simulate(env, Watched(CHILDREN[name]()), horizon=200, seed=4, snapshots=(200,))
    assert np.array_equal(alone.pulls, watched.pulls)
    assert np.array_equal(alone.reward, watched.reward)
    assert np.array_equal(alone.recommended, watched.recommended)
    if name != "test":  # regret is what the counted visitors lost
        visitors = np.stack([watched.records[f"visitors[{k}]"][-1] for k in range(3)], axis=1)
        np.testing.assert_allclose(visitors @ [0.3, 0.0, 0.2], alone.regret[-1], rtol=1e-9)


@pytest.mark.parametrize("name", ["test", "greedy"])
def test_engines_agree(name: str) -> None:
    env = BernoulliBandit([0.2, 0.5, 0.3], num_envs=4)
    fused, lockstep, python = (
        simulate(env, Watched(CHILDREN[name]()), horizon=80, seed=2, snapshots=(10, 80), engine=engine)
        for engine in ("fused", "lockstep", "python")
    )
    for other in (lockstep, python):
        for record, values in fused.records.items():
            assert np.array_equal(values, other.records[record], equal_nan=True), record


@pytest.mark.parametrize("check", POLICY_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ["test", "greedy"])
def test_a_watched_policy_is_a_policy(name: str, check: object) -> None:
    check(lambda: Watched(CHILDREN[name]()))  # type: ignore[operator]


def played(policy: Watched, rates: list[float], rounds: int, seed: int) -> dict[str, np.ndarray]:
    """A textbook loop that keeps a log of everything, shapes (N, T) and (N, T, K)."""
    num_envs, arms = 5, len(rates)
    random = np.random.default_rng(seed)
    problem = Problem(num_envs, arms, horizon=rounds)
    policy.reset(problem, RandomStreams(seed, num_envs))
    log: dict[str, list[np.ndarray]] = {"chosen": [], "reward": [], "propensities": []}
    for t in range(rounds):
        context = Context(
            np.full(num_envs, t),
            np.full(num_envs, -1),
            np.zeros(num_envs),
            np.zeros((num_envs, 0)),
            np.zeros((num_envs, arms, 0)),
            np.ones((num_envs, arms), dtype=bool),
        )
        propensities = policy.propensities(context)
        chosen = policy.select(context)
        reward = (random.random(num_envs) < np.array(rates)[chosen]).astype(float)
        policy.update(Feedback(np.arange(num_envs), context, chosen, reward[:, None], reward))
        for name, values in (("chosen", chosen), ("reward", reward), ("propensities", propensities)):
            log[name].append(values)
    return {name: np.stack(values, axis=1) for name, values in log.items() if values[0] is not None}


@pytest.mark.parametrize("name", ["greedy", "exp3"])
def test_sums_give_the_estimates_of_the_whole_log(name: str) -> None:
    policy = Watched(CHILDREN[name]())
    log = played(policy, [0.3, 0.5, 0.1], 400, seed=6)
    records = policy.record()
    for weights in ("uniform", "sqrt"):
        for arm in (1, 2):
            expected = aipw_contrast(log["chosen"], log["reward"], log["propensities"], (arm, 0), weights=weights)
            np.testing.assert_allclose(records[f"{weights}[{arm}]"], expected.estimate, rtol=1e-9)
            np.testing.assert_allclose(records[f"{weights}_error[{arm}]"], expected.standard_error, rtol=1e-9)
        assert np.isnan(records[f"{weights}[0]"]).all()
    for arm in range(3):
        mine = log["chosen"] == arm
        assert np.array_equal(records[f"visitors[{arm}]"], mine.sum(axis=1))
        assert np.array_equal(records[f"clicks[{arm}]"], (mine * log["reward"]).sum(axis=1))
    assert (records["decided"] == 0).all()


def test_what_comes_after_the_decision_is_not_counted() -> None:
    child = ABTest(visitors=60)
    policy = Watched(child)
    log = played(policy, [0.1, 0.8], 150, seed=3)
    records = policy.record()
    assert (records["decided"] == 60).all()
    for arm in (0, 1):
        mine = log["chosen"][:, :60] == arm
        assert np.array_equal(records[f"visitors[{arm}]"], mine.sum(axis=1))
        assert np.array_equal(records[f"clicks[{arm}]"], (mine * log["reward"][:, :60]).sum(axis=1))
    assert not policy.weighs


def test_a_deterministic_policy_has_no_weighted_estimate() -> None:
    trace = simulate(BernoulliBandit([0.2, 0.5], num_envs=10), Watched(UCB1()), horizon=100, seed=1, snapshots=(100,))
    assert np.isnan(trace.records["sqrt[1]"]).all()
    assert np.isnan(trace.records["uniform_error[1]"]).all()
    assert (trace.records["visitors[1]"] > 0).all()


def test_an_arm_that_was_never_shown_has_no_estimate() -> None:
    trace = simulate(
        BernoulliBandit([0.2, 0.5, 0.5], num_envs=200), Watched(FixedSplit()), horizon=3, seed=1, snapshots=(3,)
    )
    unseen = trace.records["visitors[2]"][0] == 0
    assert unseen.any()
    assert np.isnan(trace.records["uniform[2]"][0, unseen]).all()


@pytest.mark.faults
def test_only_kernel_policies_can_be_watched() -> None:
    class Mine(ScalarPolicy):
        def reset(self, problem: object, random: object) -> None: ...

        def select(self, context: object) -> int:
            return 0

        def update(self, feedback: object) -> None: ...

    with pytest.raises(TypeError, match="`policy` must be a kernel policy"):
        Watched(Mine())  # type: ignore[arg-type]
