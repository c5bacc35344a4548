"""The loop on the device plays what lockstep plays, and what the compiled loop plays where no policy draws."""

import dataclasses
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from bandits import PropensityTable, RandomStreams, Trace, simulate
from bandits.core import Context, Feedback, Problem
from bandits.engine.simulation import choose_engine
from bandits.kernel_policy import KernelPolicy
from bandits.testing import PracticeWorld
from bandits.torch_device import choose_device
from bandits.torch_engine import TorchPolicy, nth_true, play
from envs import BernoulliBandit, GaussianBandit, SimulatedUsers
from policies import UCB1, FixedSplit
from policies.neural import NeuralGreedy, TorchLinearThompson

pytestmark = pytest.mark.model
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


def users(num_envs):
    return SimulatedUsers(
        TABLE,
        num_envs=num_envs,
        user_features=USERS,
        arm_features=ARMS,
        weights=[0, 2, *[1] * 17, 0],
        available_from=[0, 0, 0, 0, 60],
        prior=TABLE.p * 0.5,
        visitors_per_day=50,
    )


ENVS = {
    "users": users,
    "one world": lambda n: SimulatedUsers(
        PropensityTable.single_world(TABLE.p[0]), num_envs=n, user_features=USERS, arm_features=ARMS[0]
    ),
    "bernoulli": lambda n: BernoulliBandit([[0.1, 0.5, 0.3], [0.7, 0.2, 0.1]], num_envs=n),
}


class Split(TorchPolicy):
    """Shows any available arm, and keeps what it sees: `FixedSplit` on the device."""

    capturable = True

    def reset_on(self, problem, random):
        self.random, self.seen = random, []
        self.visits = torch.zeros(problem.num_envs, dtype=torch.float64, device=random.device)

    def choose(self, context):
        self.seen.append(context)
        share = self.random.uniform() * context.available.sum(dim=1)
        return (context.available.cumsum(dim=1) > share[:, None]).byte().argmax(dim=1)

    def learn(self, feedback):
        self.visits[feedback.rows] += 1

    def record(self):
        return {"visits": self.visits.cpu().numpy()}

    def recommend(self):
        return (self.visits.cpu().numpy() % 3).astype(np.int64)


def assert_same(first, second, *but):
    for name in set(Trace.__dataclass_fields__) - set(but):
        one, two = getattr(first, name), getattr(second, name)
        if name == "records":
            assert one.keys() == two.keys()
            assert all(np.array_equal(one[key], two[key]) for key in one)
        else:
            assert np.array_equal(one, two), name


def on_cpu(env, policy, **arguments):
    settings = {"horizon": 150, "seed": 4, "snapshots": 12, "first_replication": 2} | arguments
    return simulate(env, policy, **({"engine": "torch", "device": "cpu"} | settings))


@pytest.mark.parametrize("env", ENVS)
def test_arrivals_and_clicks_are_those_of_the_compiled_loop(env):
    policy = Split()
    trace, fused = on_cpu(ENVS[env](9), policy), on_cpu(ENVS[env](9), FixedSplit(), engine="fused", device=None)
    assert_same(trace, fused, "records", "recommended", "regret", "regret_fixed")
    np.testing.assert_allclose(trace.regret, fused.regret, atol=1e-12)
    np.testing.assert_allclose(trace.regret_fixed, fused.regret_fixed, atol=1e-12)
    np.testing.assert_array_equal(trace.records["visits"], np.broadcast_to(trace.rounds[:, None], trace.regret.shape))
    np.testing.assert_array_equal(trace.recommended, 0)


def test_contexts_are_those_of_gymnasium():
    class Watched(Split):
        def reset(self, problem, random):
            super().reset(problem, random)

    device, lockstep = Split(), Watched()
    on_cpu(users(7), device)
    on_cpu(users(7), lockstep, engine="lockstep", device=None)
    assert len(device.seen) == len(lockstep.seen) == 150
    for one, two in zip(device.seen[::10], lockstep.seen[::10], strict=True):
        for name in one._fields:
            if name != "round":
                np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


@pytest.mark.parametrize("policy", [Split(), TorchLinearThompson(), NeuralGreedy(replay=40)], ids=repr)
@pytest.mark.parametrize("env", ENVS)
def test_engines_agree(env, policy):
    assert_same(on_cpu(ENVS[env](5), policy), on_cpu(ENVS[env](5), policy, engine="lockstep", device=None))


@pytest.mark.parametrize("policy", [TorchLinearThompson(), NeuralGreedy(replay=40)], ids=repr)
def test_the_same_chunk_gives_the_same_trace_and_streams_tell_copies_apart(policy):
    first = on_cpu(users(5), policy)
    assert_same(first, on_cpu(users(5), policy))
    other = type(policy)()
    other.stream = 1
    assert not np.array_equal(first.pulls, on_cpu(users(5), other).pulls)
    assert not np.array_equal(first.pulls, on_cpu(users(5), policy, seed=5).pulls)


class Rebinds(Split):
    """Breaks the promise of `capturable`: its state is a new tensor in every round."""

    def choose(self, context):
        self.visits = self.visits + 1.0
        return torch.where(self.visits < 20, 0, 1)

    def learn(self, feedback):
        pass


def recorded(play_round):
    """Records the torch operations of one round, on the tensors that they used: a CUDA graph for the CPU.

    As in a graph, Python does not run again, and state that was not changed in place is lost. Recording plays the
    round as well, so that the first replay is left out.
    """
    graph = make_fx(lambda: play_round())()  # a bound method would count as having an argument
    left_out = []

    def replay():
        if left_out:
            graph()
        left_out.append(True)

    return replay


@pytest.mark.parametrize(
    ("policy", "keeps_its_promise"),
    [(TorchLinearThompson(), True), (NeuralGreedy(replay=40, steps=2), True), (Rebinds(), False)],
    ids=repr,
)
def test_a_recorded_round_goes_on_as_calls_do(policy, keeps_its_promise):
    called = on_cpu(users(5), policy)

    class Recording(play._Rounds):
        def __init__(self, play_round, record):
            assert record is None  # there is no graph on a CPU
            super().__init__(play_round, recorded)

    with patch.object(play, "_Rounds", Recording):
        replayed = on_cpu(users(5), policy)
    if keeps_its_promise:
        assert_same(called, replayed)
    else:
        assert not np.array_equal(called.pulls, replayed.pulls)


class Twin(KernelPolicy):
    """A kernel policy with a version for the device."""

    kernel = FixedSplit.kernel
    layout = FixedSplit.layout
    weights = None

    def torch_twin(self):
        return Split()


def test_which_engine_plays():
    bernoulli, drawn = BernoulliBandit([0.1, 0.2]), BernoulliBandit(prior=(1.0, 1.0), num_arms=2)

    class Stops(Split):
        def stop(self):
            return np.zeros(1, dtype=np.bool_)

    assert choose_engine(bernoulli, Split()) == "torch"
    assert choose_engine(drawn, Split()) == "lockstep"
    assert choose_engine(PracticeWorld(3), Split()) == "lockstep"
    assert choose_engine(bernoulli, Stops()) == "lockstep"
    assert choose_engine(bernoulli, Twin()) == "fused"
    assert choose_engine(bernoulli, Twin(), "torch") == "torch"
    assert_same(on_cpu(users(3), Twin()), on_cpu(users(3), Split()))


def test_feedback_that_repeats_replications_is_learned_in_order():
    """One row at a time must come to the same as all at once."""
    size, rng = 4, np.random.default_rng(3)
    rows = np.array([2, 0, 2, 3, 2, 0])
    context = Context(
        round=np.arange(6),
        user_id=np.full(6, -1),
        time=np.zeros(6),
        user=rng.normal(size=(6, 3)),
        arms=np.zeros((6, 2, 0)),
        available=np.ones((6, 2), dtype=np.bool_),
    )
    chosen, reward = np.array([0, 1, 0, 1, 1, 1]), rng.random(6)
    feedback = Feedback(rows, context, chosen, reward[:, None], reward, reward)
    at_once, one_by_one = TorchLinearThompson(), TorchLinearThompson()
    for policy in (at_once, one_by_one):
        policy.reset(Problem(size, 2, user_dim=3), RandomStreams(1, size))
    at_once.update(feedback)
    for i in range(6):
        row = [i]
        one_by_one.update(
            Feedback(rows[row], context.take(np.array(row)), chosen[row], reward[row][:, None], reward[row])
        )
    torch.testing.assert_close(at_once._inverse, one_by_one._inverse)
    torch.testing.assert_close(at_once._coefficients, one_by_one._coefficients)
    assert not torch.equal(at_once._coefficients[5], torch.zeros(4))  # arm 1 of replication 2


class Wrong(Split):
    """Chooses `arm` in round 5 of replication 2."""

    def __init__(self, arm: int = 9):
        self.arm = arm

    def choose(self, context):
        choice = torch.zeros_like(context.user_id)
        choice[2] = torch.where(context.round[2] == 5, self.arm, 0)
        choice[3] = torch.where(context.round[3] == 6, self.arm, 0)
        return choice


@pytest.mark.faults
@pytest.mark.parametrize("engine", ["torch", "lockstep"])
@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (9, r"Wrong\(arm=9\) must choose an available arm of 0..4. Got 9 \(replication 12, round 5\)."),
        (-1, r"Got -1 \(replication 12, round 5\)."),
        (4, r"Got 4, which is not available \(replication 12, round 5\)."),
    ],
)
def test_a_wrong_arm_is_named(engine, arm, message):
    device = "cpu" if engine == "torch" else None
    with pytest.raises(ValueError, match=message):
        on_cpu(users(5), Wrong(arm), engine=engine, device=device, first_replication=10)


@pytest.mark.faults
def test_what_is_no_arm_is_refused():
    class Floats(Split):
        def choose(self, context):
            return context.time

    with pytest.raises(ValueError, match=r"must choose an int64 tensor of shape \(5,\). Got torch.float64"):
        on_cpu(users(5), Floats())


@pytest.mark.faults
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "meta", "gpu", "cpu:1"])
def test_a_device_that_is_not_there(name):
    with pytest.raises(ValueError, match=rf"`device` must be 'auto', 'cpu'.* Got '{name}'"):
        choose_device(name)
    with pytest.raises(ValueError, match="`device` must be 'auto', 'cpu'"):
        on_cpu(users(2), Split(), device=name, horizon=10**9)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("env", "policy", "arguments", "message"),
    [
        (
            users,
            Split,
            {"engine": "lockstep"},
            "`device` must be None unless the engine is torch. Got 'cpu' for engine",
        ),
        (users, UCB1, {}, "`engine` must not be torch where the `torch_twin` of the policy is None.*UCB1"),
        (lambda n: GaussianBandit([0.0, 1.0], num_envs=n), Split, {}, "where the `table_world` of the environment is"),
        (lambda n: BernoulliBandit(prior=(1.0, 1.0), num_arms=2), Split, {}, "the `table_world` of the environment is"),
        (users, Split, {"engine": "cuda"}, "`engine` must be auto, fused, lockstep, python or torch. Got 'cuda'"),
    ],
)
def test_pairs_that_the_engine_cannot_play(env, policy, arguments, message):
    with pytest.raises(ValueError, match=message):
        on_cpu(env(2), policy(), **arguments)


@pytest.mark.faults
@pytest.mark.parametrize("engine", ["torch", "lockstep"])
def test_what_does_not_fit_is_refused_before_it_begins(engine):
    """Sizes whose arrays would take terabytes; nothing of that size is touched before the refusal."""
    env = users(5)
    env._problem = dataclasses.replace(env._problem, num_envs=10**9)
    device = "cpu" if engine == "torch" else None
    with pytest.raises(
        ValueError, match=r"1,000,000,000 replications of 5 arms.*must fit into memory.*Got [\d,.]+ GiB"
    ):
        on_cpu(env, TorchLinearThompson(), engine=engine, device=device)


@pytest.mark.faults
def test_ctrl_c_ends_the_loop():
    class Interrupts(Split):
        def choose(self, context):
            if len(self.seen) == 20:
                raise KeyboardInterrupt
            return super().choose(context)

    with pytest.raises(KeyboardInterrupt):
        on_cpu(users(2), Interrupts(), horizon=10**6)


def test_nth_true_is_uniform():
    allowed = torch.tensor([[True, False, True, True]]).expand(30_000, -1)
    from bandits.torch_engine import TorchStreams

    chosen = nth_true(allowed, TorchStreams.of(RandomStreams(0, 30_000), torch.device("cpu")))
    counts = np.bincount(chosen, minlength=4)
    assert counts[1] == 0
    np.testing.assert_allclose(counts[[0, 2, 3]], 10_000, atol=5 * np.sqrt(30_000 * 2 / 9))
