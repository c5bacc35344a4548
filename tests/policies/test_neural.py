"""The policies over torch tensors, each against its formula in NumPy or against torch's own gradients."""

import numpy as np
import pytest
import torch

from bandits import Context, Feedback, Problem, PropensityTable, RandomStreams, simulate
from envs import BernoulliBandit, SimulatedUsers
from policies import POLICIES, FixedSplit, NeuralGreedy
from policies.neural import TorchLinearThompson
from policies.neural.neural_greedy import _gradients

pytestmark = pytest.mark.model
K, D = 3, 4


def context_of_users(user, available=None):
    size = len(user)
    return Context(
        round=np.zeros(size, dtype=np.int64),
        user_id=np.full(size, -1),
        time=np.zeros(size),
        user=user,
        arms=np.broadcast_to(np.zeros((1, K, 0)), (size, K, 0)),
        available=np.ones((size, K), dtype=np.bool_) if available is None else available,
    )


def taught(policy, size, users, chosen, reward):
    """The policy in `size` replications, each taught the same visits (T, D) in the same order."""
    policy.reset(Problem(size, K, user_dim=users.shape[1]), RandomStreams(1, size))
    everyone = np.arange(size)
    for x, arm, r in zip(users, chosen, reward, strict=True):
        rewards = np.full(size, r)
        context = context_of_users(np.tile(x, (size, 1)))
        policy.update(Feedback(everyone, context, np.full(size, arm), rewards[:, None], rewards))
    return policy


def lessons(count, seed=0):
    """Visits whose rewards differ by arm and user; arm 2 is rarely chosen."""
    rng = np.random.default_rng(seed)
    users = rng.normal(size=(count, D)) * [1.0, 0.5, 2.0, 0.1] + [0, 1, 0, 0]
    chosen = rng.choice(K, count, p=[0.5, 0.4, 0.1])
    reward = (users @ rng.normal(size=(D, K)))[np.arange(count), chosen] * 0.2 + 0.5 * chosen
    return users, chosen, reward


@pytest.mark.parametrize(("scale", "ridge"), [(0.5, 1.0), (1.5, 0.1)])
def test_linear_thompson_chooses_as_often_as_draws_of_whole_vectors_would(scale, ridge):
    """Choice probabilities against a textbook that draws theta from its multivariate normal posterior."""
    size = 20_000
    users, chosen, reward = lessons(40)
    policy = taught(TorchLinearThompson(scale, ridge), size, users, chosen, reward)
    rng = np.random.default_rng(5)
    for x, gone in ((np.array([0.3, 1.0, -0.4, 0.2]), None), (np.array([-1.0, 0.2, 1.0, 0.0]), 0)):
        available = np.ones((size, K), dtype=np.bool_)
        if gone is not None:
            available[:, gone] = False
        counts = np.bincount(policy.select(context_of_users(np.tile(x, (size, 1)), available)), minlength=K)
        values = np.empty((size, K))
        for k in range(K):
            rows = np.column_stack([np.ones(np.sum(chosen == k)), users[chosen == k]])
            precision = ridge * np.eye(D + 1) + rows.T @ rows
            mean = np.linalg.solve(precision, rows.T @ reward[chosen == k])
            theta = rng.multivariate_normal(mean, scale**2 * np.linalg.inv(precision), size=size)
            values[:, k] = theta @ np.append(1.0, x)
        values[~available] = -np.inf
        expected = np.bincount(np.argmax(values, axis=1), minlength=K)
        assert np.count_nonzero(expected > 200) >= 2  # the question is not an easy one
        error = np.sqrt(2 * size * expected / size * (1 - expected / size))
        np.testing.assert_array_less(np.abs(counts - expected), 5 * error + 1)


def test_linear_thompson_keeps_the_posterior_of_a_fresh_inverse():
    """Precision of single precision: 3,000 updates of 33 features against NumPy's inverse in double precision."""
    rng = np.random.default_rng(2)
    size, count, dim = 2, 3000, 32
    users, chosen, reward = rng.normal(size=(count, dim)), rng.choice(K, count, p=[0.6, 0.3, 0.1]), rng.random(count)
    policy = taught(TorchLinearThompson(), size, users, chosen, reward)
    rows = np.column_stack([np.ones(count), users])
    packing = policy._packing
    for k in range(K):
        mine = rows[chosen == k]
        inverse = np.linalg.inv(np.eye(dim + 1) + mine.T @ mine)
        coefficients = inverse @ mine.T @ reward[chosen == k]
        for n in range(size):
            kept = policy._inverse[n * K + k][packing.place].view(dim + 1, dim + 1).numpy()
            np.testing.assert_allclose(kept, inverse, atol=2e-6 * np.abs(inverse).max())
            np.testing.assert_allclose(policy._coefficients[n * K + k], coefficients, atol=2e-5)


def test_linear_thompson_breaks_ties_at_random():
    policy = TorchLinearThompson(scale=0.0)
    policy.reset(Problem(3000, K, user_dim=1), RandomStreams(0, 3000))
    counts = np.bincount(policy.select(context_of_users(np.ones((3000, 1)))), minlength=K)
    np.testing.assert_allclose(counts, 1000, atol=5 * np.sqrt(3000 * 2 / 9))


def test_the_gradients_by_hand_are_those_of_autograd():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    envs, size, features, hidden = 3, 5, 4, 6
    layers = [normal(envs, features, hidden).requires_grad_(), normal(envs, K, hidden + 1).requires_grad_()]
    x, reward = normal(envs, size, features), normal(envs, size)
    chosen = torch.randint(K, (envs, size), generator=generator)
    weight = torch.rand(envs, size, generator=generator, dtype=torch.float64)
    loss = torch.zeros((), dtype=torch.float64)
    for n in range(envs):
        for s in range(size):
            units = torch.clamp(layers[0][n].T @ x[n, s], min=0)
            output = layers[1][n, chosen[n, s], :-1] @ units + layers[1][n, chosen[n, s], -1]
            loss = loss + weight[n, s] * (output - reward[n, s]) ** 2 / 2
    expected = torch.autograd.grad(loss, layers)
    with torch.no_grad():
        for got, wanted in zip(_gradients(layers, x, chosen, reward, weight), expected, strict=True):
            torch.testing.assert_close(got, wanted)


def test_neural_greedy_steps_are_adams():
    """A policy whose steps see one and the same visit, beside torch.optim.Adam on the same network."""
    policy = NeuralGreedy(epsilon=0.0, hidden=5, learning_rate=0.01, batch=1)
    policy.reset(Problem(1, K, user_dim=D), RandomStreams(3, 1))
    start = [layer.clone() for layer in policy._layers]
    x, arm, reward = np.array([[0.5, -1.0, 2.0, 0.3]]), np.array([2]), np.array([0.7])
    context = context_of_users(x)
    policy.update(Feedback(np.array([0]), context, arm, reward[:, None], reward))
    for _ in range(20):
        policy.select(context)
    layers = [layer.requires_grad_() for layer in start]
    adam = torch.optim.Adam(layers, lr=0.01)
    row = torch.tensor([[1.0, 0.5, -1.0, 2.0, 0.3]])
    for _ in range(20):
        adam.zero_grad()
        units = torch.relu(row @ layers[0][0])
        output = units @ layers[1][0, 2, :-1] + layers[1][0, 2, -1]
        ((output - 0.7) ** 2 / 2).sum().backward()
        adam.step()
    for got, wanted in zip(policy._layers, layers, strict=True):
        torch.testing.assert_close(got, wanted.detach(), atol=1e-5, rtol=1e-4)


def test_neural_greedy_keeps_its_latest_visits():
    users, chosen, reward = lessons(25)
    policy = taught(NeuralGreedy(replay=10), 2, users, chosen, reward)
    kept = policy._reward.view(2, 10)
    np.testing.assert_allclose(np.sort(kept, axis=1), np.tile(np.sort(reward[-10:]), (2, 1)), rtol=1e-6)
    place = int(np.argmin(np.abs(kept[1].numpy() - reward[24])))
    np.testing.assert_allclose(policy._x.view(2, 10, -1)[1, place], np.append(1.0, users[24]), rtol=1e-6)
    assert int(policy._chosen.view(2, 10)[1, place]) == chosen[24]


def test_epsilon_is_the_share_of_arms_at_random():
    size = 20_000
    users, chosen, reward = lessons(20)
    policy = taught(NeuralGreedy(epsilon=0.3, hidden=4, replay=20, batch=2), size, users, chosen, reward)
    for layer in policy._layers:
        layer.zero_()
    policy._layers[1][:, 1, -1] = 5.0  # every network likes arm 1 best by far
    counts = np.bincount(policy.select(context_of_users(np.zeros((size, D)))), minlength=K)
    expected = size * np.array([0.1, 0.8, 0.1])
    np.testing.assert_allclose(counts, expected, atol=5 * np.sqrt(size * 0.8 * 0.2))


@pytest.mark.parametrize("policy", [TorchLinearThompson(), NeuralGreedy()], ids=repr)
def test_regret_is_far_below_that_of_a_uniform_split(policy):
    """Users whose best arm depends on them: a policy without features would lose as much as a split."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 4))
    p = 1 / (1 + np.exp(-features @ rng.normal(size=(4, 4))))
    env = SimulatedUsers(PropensityTable.single_world(p), num_envs=40, user_features=features)
    split = simulate(env, FixedSplit(), horizon=600, seed=1).regret[-1].mean()
    regret = simulate(env, policy, horizon=600, seed=1, device="cpu").regret[-1].mean()
    assert regret < 0.5 * split


def test_no_features_and_bounds_of_the_state():
    for policy in (TorchLinearThompson(), NeuralGreedy()):
        trace = simulate(BernoulliBandit([0.2, 0.8], num_envs=20), policy, horizon=300, seed=0, device="cpu")
        assert trace.pulls[:, 1].mean() > 200
        problem = Problem(1000, 7, user_dim=3)
        policy.reset(problem, RandomStreams(0, 1000))
        held = {id(t): t for value in vars(policy).values() for t in (value if isinstance(value, list) else [value])}
        lasting = sum(t.nbytes for t in held.values() if isinstance(t, torch.Tensor))
        assert lasting <= policy.bytes_needed(problem) <= 3 * lasting


def test_the_registry_knows_the_class():
    assert POLICIES["NeuralGreedy"] is NeuralGreedy
    assert "NeuralGreedi" not in POLICIES
    assert len(POLICIES) == len(set(POLICIES)) == len(dict(POLICIES))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TorchLinearThompson(scale=-1.0), r"`scale` must lie in \[0.0, inf\). Got -1.0"),
        (lambda: TorchLinearThompson(ridge=0.0), r"`ridge` must lie in \(0.0, inf\). Got 0.0"),
        (lambda: NeuralGreedy(epsilon=1.5), r"`epsilon` must lie in \[0.0, 1.0\]. Got 1.5"),
        (lambda: NeuralGreedy(batch=0), "`batch` must be at least 1. Got 0"),
        (lambda: NeuralGreedy(learning_rate=0.0), "`learning_rate` must lie in"),
    ],
)
def test_hyperparameters_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.faults
def test_a_policy_in_lockstep_says_what_does_not_fit():
    with pytest.raises(ValueError, match=r"TorchLinearThompson.* in 10,000,000 replications of 100 arms with 500 user"):
        TorchLinearThompson().reset(Problem(10**7, 100, user_dim=500), RandomStreams(0, 1))
