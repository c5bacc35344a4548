"""One trace, whatever engine, thread or chunk made it; and the same as a textbook loop."""

import dataclasses
import itertools
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from bandits import Policy, PropensityTable, ScalarPolicy, Trace, simulate
from bandits.random import CLICKS, stream_key, world_uniform
from bandits.testing import PracticeWorld
from envs import BernoulliBandit, GaussianBandit, SimulatedUsers
from policies import (
    UCB1,
    ABTest,
    AlwaysValidABTest,
    BayesianABTest,
    BetaThompson,
    BranchTest,
    EpsilonGreedy,
    Exp3,
    FixedSplit,
    GroupSequentialABTest,
    LinearThompson,
    LinUCB,
    MatrixFactorization,
    PriorThompson,
    PriorUCB,
    RampUpABTest,
)

RNG = np.random.default_rng(1)
TABLE = PropensityTable(
    p=RNG.uniform(0, 0.4, (3, 20, 5)).astype(np.float32),
    user_ids=tuple(map(str, range(20))),
    user_texts=("",) * 20,
    item_ids=np.array([list("abcde")] * 3),
    item_texts=np.array([list("abcde")] * 3),
    num_items=np.array([5, 4, 5]),
    world_ids=("x", "y", "z"),
)
USERS, ARMS = RNG.normal(size=(20, 3)), RNG.normal(size=(3, 5, 2))
PREDICTIONS = RNG.uniform(0, 0.4, (3, 20, 5))


def users(n):
    return SimulatedUsers(
        TABLE,
        num_envs=n,
        user_features=USERS,
        arm_features=ARMS,
        available_from=[0, 0, 0, 0, 150],
        visitors_per_day=50,
        prior=PREDICTIONS,
    )


ENVS = {
    "bernoulli": lambda n: BernoulliBandit([0.1, 0.5, 0.3], num_envs=n),
    "users": users,
}
POLICIES = {
    "FixedSplit": FixedSplit(),
    "ABTest": ABTest(visitors=100),
    "ABTest by user": ABTest(visitors=100, by="user"),
    "GroupSequentialABTest": GroupSequentialABTest(100, alpha=0.5),
    "AlwaysValidABTest": AlwaysValidABTest(prior=(1, 3), alpha=0.3),
    "AlwaysValidABTest msprt": AlwaysValidABTest("msprt", tau=0.1, burn_in=10, alpha=0.3, by="user"),
    "AlwaysValidABTest beta-mixture": AlwaysValidABTest("beta-mixture", look_every=5, alpha=0.5),
    "BayesianABTest": BayesianABTest(0.02, look_every=20),
    "RampUpABTest": RampUpABTest(30, (0.1, 0.5), 100, burn_in=5, by="user"),
    "EpsilonGreedy": EpsilonGreedy(0.2, 0.3),
    "UCB1": UCB1(),
    "BetaThompson": BetaThompson(),
    "Exp3": Exp3(),
    "LinearThompson": LinearThompson(),
    "LinearThompson product": LinearThompson(features="product", user_components=2, arm_components=2),
    "LinUCB": LinUCB(),
    "LinUCB product": LinUCB(features="product", user_components=2, arm_components=2),
    "BranchTest": BranchTest(
        {"a": UCB1(), "b": BranchTest({"c": EpsilonGreedy(), "d": UCB1(0.5)}, ABTest(50))},
        RampUpABTest(30, (0.1, 0.5), 100, by="user"),
    ),
    "BranchTest pooled": BranchTest({"a": LinUCB(), "b": MatrixFactorization()}, ABTest(100), learn="pooled"),
    "PriorThompson": PriorThompson(),
    "PriorThompson fixed": PriorThompson(30),
    "PriorUCB": PriorUCB(width=0.2),
    "PriorUCB fixed": PriorUCB(30),
}
PAIRS = [pair for pair in itertools.product(ENVS, POLICIES) if pair[0] == "users" or not pair[1].startswith("Prior")]


def assert_same(first, second):
    for name in Trace.__dataclass_fields__:
        one, two = getattr(first, name), getattr(second, name)
        if name == "records":
            assert one.keys() == two.keys()
            assert all(np.array_equal(one[key], two[key]) for key in one)
        else:
            assert np.array_equal(one, two), name


@pytest.mark.parametrize("engine", ["lockstep", "python"])
@pytest.mark.parametrize(("env", "policy"), PAIRS)
def test_engines_agree_bit_for_bit(env, policy, engine):
    arguments = {"horizon": 300, "seed": 4, "snapshots": 20, "first_replication": 2}
    fused = simulate(ENVS[env](4), POLICIES[policy], engine="fused", **arguments)
    assert_same(fused, simulate(ENVS[env](4), POLICIES[policy], engine=engine, **arguments))


def test_gaussian_engines_agree():
    env = GaussianBandit(prior=(0.0, 1.0), num_arms=4, num_envs=3)
    traces = [simulate(env, UCB1(), horizon=200, seed=1, engine=engine) for engine in ("fused", "lockstep", "python")]
    assert_same(traces[0], traces[1])
    assert_same(traces[0], traces[2])


@pytest.mark.parametrize("policy", ["BetaThompson", "BranchTest"])
def test_threads_and_chunks_change_nothing(policy):
    whole = simulate(users(11), POLICIES[policy], horizon=200, seed=3, threads=1)
    assert_same(whole, simulate(users(11), POLICIES[policy], horizon=200, seed=3, threads=4))
    chunks = [
        simulate(users(size), POLICIES[policy], horizon=200, seed=3, first_replication=first)
        for first, size in ((0, 4), (4, 1), (5, 6))
    ]
    assert_same(whole, Trace.concat(chunks))


def test_snapshots_may_be_chosen():
    all_rounds = simulate(users(3), UCB1(), horizon=40, seed=3, snapshots=range(1, 41))
    some = simulate(users(3), UCB1(), horizon=40, seed=3, snapshots=[7, 39, 40])
    np.testing.assert_array_equal(some.regret, all_rounds.regret[[6, 38, 39]])
    np.testing.assert_array_equal(some.traffic, all_rounds.traffic[[6, 38, 39]])


def test_streams_tell_copies_apart():
    env = BernoulliBandit([0.4, 0.5], num_envs=5)
    other = BetaThompson()
    other.stream = 1
    assert_same(simulate(env, BetaThompson(), horizon=50, seed=0), simulate(env, BetaThompson(), horizon=50, seed=0))
    traces = [simulate(env, policy, horizon=50, seed=0) for policy in (BetaThompson(), other)]
    assert not np.array_equal(traces[0].pulls, traces[1].pulls)


def test_clicks_are_the_keyed_words_and_regret_the_gaps():
    """The whole world of one replication, written down once more in plain Python, for a policy without choice."""
    means, horizon, seed = [0.35, 0.6], 400, 9
    for replication in range(3):
        trace = simulate(
            BernoulliBandit(means), FixedSplit([1, 0]), horizon=horizon, seed=seed, first_replication=replication
        )
        key = np.uint64(stream_key(seed, CLICKS, replication))
        clicks = np.cumsum([world_uniform(key, t, 0) < 0.35 for t in range(horizon)])
        np.testing.assert_array_equal(trace.reward[:, 0], clicks[trace.rounds - 1])
        np.testing.assert_allclose(trace.regret[:, 0], 0.25 * trace.rounds)


def test_regret_is_gap_times_pulls():
    trace = simulate(BernoulliBandit([0.2, 0.5, 0.1], num_envs=6), EpsilonGreedy(), horizon=400, seed=2)
    np.testing.assert_allclose(trace.regret[-1], trace.pulls @ [0.3, 0.0, 0.4])
    np.testing.assert_array_equal(trace.traffic[-1], trace.pulls.sum(axis=0))
    np.testing.assert_array_equal(trace.traffic.sum(axis=1), trace.rounds * 6)


def test_uniform_split_has_its_exact_expected_regret():
    means = np.array([0.1, 0.4, 0.25])
    trace = simulate(BernoulliBandit(means, num_envs=400), FixedSplit(), horizon=1000, seed=5)
    gaps = 0.4 - means
    error = np.sqrt(1000 * gaps.var() / 400)
    assert abs(trace.regret[-1].mean() - 1000 * gaps.mean()) < 4 * error


def test_regret_per_user_and_against_the_fixed_arm():
    """Two users who like different arms: the best arm per user beats the best single arm by what the table says."""
    p = np.array([[0.9, 0.1], [0.2, 0.6]])
    env = SimulatedUsers(PropensityTable.single_world(p), num_envs=200, weights=[3, 1])
    trace = simulate(env, FixedSplit([1, 0]), horizon=500, seed=1)
    # Arm 0 is the best single arm (0.725 against 0.225); it loses 0.4 on every visit of user 1, a quarter of all.
    assert np.all(trace.regret_fixed == 0)
    assert abs(trace.regret[-1].mean() / 500 - 0.1) < 4 * 0.4 * np.sqrt(0.1875 / (200 * 500))


def test_common_random_numbers_pair_the_policies():
    env = BernoulliBandit([0.3, 0.3], num_envs=50)
    left, right = (simulate(env, FixedSplit(w), horizon=200, seed=1).reward[-1] for w in ([1, 0], [0, 1]))
    np.testing.assert_array_equal(left, right)  # equal means, shared thresholds: the very same clicks


class FirstAvailable(Policy):
    """A user's batched policy."""

    def reset(self, problem, random):
        self.random, self.problem = random, problem

    def select(self, context):
        return np.argmax(context.available, axis=1)

    def update(self, feedback):
        self.last = feedback


class Broken(ScalarPolicy):
    """Chooses an arm that does not exist in round 5."""

    def __init__(self, arm: int = 3):
        self.arm = arm

    def reset(self, problem, random):
        self.visits = 0

    def select(self, context):
        self.visits += 1
        return self.arm if self.visits == 6 else 0

    def update(self, feedback):
        pass


def test_batched_policies_and_foreign_environments_run_in_lockstep():
    trace = simulate(PracticeWorld(6, absent=True), FirstAvailable(), horizon=30, seed=0)
    assert np.all(trace.pulls[:, 0] == 30)
    np.testing.assert_allclose(trace.regret[-1], 30 * 0.6)
    kernel = simulate(PracticeWorld(6, absent=True), UCB1(), horizon=300, seed=0)
    assert kernel.pulls.sum() == 6 * 300


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, "`horizon` must be at least 1. Got 0."),
        ({"seed": -1}, "`seed` must be at least 0. Got -1."),
        ({"seed": 2**63}, "`seed` must be below"),
        ({"threads": 0}, "`threads` must be at least 1. Got 0."),
        ({"snapshots": [3, 2, 10]}, "`snapshots` must be increasing rounds"),
        ({"snapshots": [1, 9]}, "up to the horizon 10"),
        ({"snapshots": [0, 10]}, "from 1 or more"),
        ({"snapshots": 1}, "`snapshots` must be at least 2. Got 1."),
        ({"first_replication": -2}, "`first_replication` must be at least 0. Got -2."),
        ({"engine": "gpu"}, "`engine` must be auto, fused, lockstep, python or torch. Got 'gpu'."),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate(BernoulliBandit([0.1, 0.2]), UCB1(), **({"horizon": 10, "seed": 0} | arguments))


@pytest.mark.faults
def test_an_arm_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"Broken\(arm=3\) must choose an available arm of 0..2. Got 3 .*round 5"):
        simulate(BernoulliBandit([0.1, 0.2, 0.3]), Broken(), horizon=10, seed=0)
    with pytest.raises(ValueError, match=r"Got 4, which is not available \(replication 0, round 5\)"):
        simulate(users(2), Broken(4), horizon=10, seed=0)


@pytest.mark.faults
def test_fused_needs_kernels():
    with pytest.raises(ValueError, match="`engine` must be lockstep or auto"):
        simulate(BernoulliBandit([0.1, 0.2]), FirstAvailable(), horizon=10, seed=0, engine="fused")


@pytest.mark.faults
def test_ctrl_c_ends_a_long_simulation_quickly():
    """Hours of work in one thread, interrupted after a moment: Python hears it between two replications."""
    code = textwrap.dedent("""
        import os, signal, threading, time
        from bandits import simulate
        from envs import BernoulliBandit
        from policies import FixedSplit
        env = BernoulliBandit([0.1, 0.2], num_envs=200_000)
        simulate(BernoulliBandit([0.1, 0.2]), FixedSplit(), horizon=10, seed=0)
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        started = time.perf_counter()
        try:
            simulate(env, FixedSplit(), horizon=1_000_000, seed=0, threads=1)
        except KeyboardInterrupt:
            print(time.perf_counter() - started)
    """)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert float(result.stdout) < 10


def _stop(state):
    return state.arm[1, 0] >= 5.0


def _recommend(state):
    return 0 if state.arm[1, 0] >= 5.0 else -1


def _record(state, out):
    out[0] = state.shared[0]


class StopsAtFiveClicks(EpsilonGreedy):
    """Has seen enough when arm 0 has been clicked five times."""

    kernel = dataclasses.replace(EpsilonGreedy.kernel, stop=_stop, recommend=_recommend, record=_record)

    def record_names(self, problem):
        return ("visits",)


@pytest.mark.parametrize("engine", ["lockstep", "python"])
def test_a_policy_that_stops_is_frozen_there(engine):
    env, policy = BernoulliBandit([0.3, 0.25], num_envs=6), StopsAtFiveClicks(0.5)
    fused = simulate(env, policy, horizon=60, seed=3, snapshots=30)
    assert_same(fused, simulate(env, policy, horizon=60, seed=3, snapshots=30, engine=engine))
    done = fused.stopped > 0
    assert done.any()
    assert not done.all()
    np.testing.assert_array_equal(fused.recommended, np.where(done, 0, -1))
    np.testing.assert_array_equal(fused.pulls.sum(axis=1), np.where(done, fused.stopped, 60))
    np.testing.assert_array_equal(fused.records["visits"][-1], fused.pulls.sum(axis=1))
    after = fused.rounds[:, None] >= fused.stopped[None, done]
    frozen = np.where(after, fused.reward[:, done], fused.reward[-1, done])
    np.testing.assert_array_equal(frozen, np.broadcast_to(fused.reward[-1, done], frozen.shape))
