"""The environments as Gymnasium sees them, and their behaviour against the numbers they were given."""

import gymnasium
import numpy as np
import pytest
import scipy.stats
from gymnasium.utils.env_checker import check_env

from bandits import PropensityTable, simulate
from bandits.random import ARRIVALS, stream_key, world_uniform
from envs import BernoulliBandit, GaussianBandit, SimulatedUsers, SingleEnv
from policies import FixedSplit

P = np.random.default_rng(0).uniform(0.1, 0.9, (5, 3))
TABLE = PropensityTable.single_world(P)
KWARGS = {
    "BernoulliBandit": {"means": [0.2, 0.5]},
    "GaussianBandit": {"means": [0.0, 1.0, 2.0]},
    "SimulatedUsers": {"table": TABLE, "user_features": np.eye(5), "prior": P[np.newaxis] * 0 + 0.5},
}


@pytest.mark.parametrize("name", KWARGS)
def test_gymnasium_makes_and_checks_them(name):
    env = gymnasium.make(f"click_bandits/{name}-v0", **KWARGS[name])
    check_env(env.unwrapped)
    vector = gymnasium.make_vec(
        f"click_bandits/{name}-v0", num_envs=4, vectorization_mode="vector_entry_point", **KWARGS[name]
    )
    observation, _ = vector.reset(seed=3)
    assert vector.observation_space.contains(observation | {"time": observation["time"]})
    observation, reward, terminated, truncated, info = vector.step(vector.action_space.sample())
    assert reward.shape == (4,)
    assert not terminated.any()
    assert not truncated.any()
    assert info["mean"].shape == (4,)


def test_a_single_env_is_row_zero():
    single, vector = SingleEnv(BernoulliBandit([0.4, 0.5])), BernoulliBandit([0.4, 0.5], num_envs=3)
    single.reset(seed=4)
    vector.reset(seed=4)
    for t in range(20):
        assert single.step(t % 2)[1] == vector.step(np.full(3, t % 2))[1][0]
    with pytest.raises(ValueError, match=r"`vector_env` must have num_envs 1\. Got 3"):
        SingleEnv(vector)


def test_step_needs_reset_and_arms_in_range():
    env = BernoulliBandit([0.1, 0.2])
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.array([0]))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"`actions` must be arms 0\.\.1"):
        env.step(np.array([2]))
    with pytest.raises(ValueError, match=r"`options` may hold first_replication only\. Got foo"):
        env.reset(options={"foo": 1})


@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 1], [0, 3, 0, 1e-9, 5], [1e6, 1, 0, 1, 0], [0, 0, 0, 0, 1]])
def test_who_comes_is_the_first_whose_cumulative_probability_exceeds_the_draw(weights):
    env = SimulatedUsers(TABLE, num_envs=300, weights=weights)
    cumulative = np.cumsum(weights) / np.sum(weights)
    keys = [np.uint64(stream_key(9, ARRIVALS, n)) for n in range(300)]
    observation, _ = env.reset(seed=9)
    for t in range(5):
        draws = np.array([world_uniform(key, t, 0) for key in keys])
        assert observation["user_id"].tolist() == np.searchsorted(cumulative, draws, side="right").tolist()
        observation = env.step(np.zeros(300, dtype=np.int64))[0]


def test_means_drawn_from_a_beta_prior():
    env = BernoulliBandit(prior=(2.0, [1.0, 3.0]), num_envs=4000)
    for arm, b in enumerate((1.0, 3.0)):
        env.reset(seed=1)
        _, _, _, _, info = env.step(np.full(4000, arm))
        assert scipy.stats.kstest(info["mean"], scipy.stats.beta(2.0, b).cdf).pvalue > 1e-3


def test_gaussian_rewards_have_the_stated_law():
    env = GaussianBandit([1.0, -2.0], scale=0.5, num_envs=5000)
    env.reset(seed=2)
    _, reward, *_ = env.step(np.ones(5000, dtype=int))
    assert scipy.stats.kstest(reward, scipy.stats.norm(-2.0, 0.5).cdf).pvalue > 1e-3
    prior = GaussianBandit(prior=(3.0, 2.0), num_arms=2, num_envs=5000)
    prior.reset(seed=2)
    assert scipy.stats.kstest(prior.step(np.ones(5000, int))[4]["mean"], scipy.stats.norm(3, 2).cdf).pvalue > 1e-3


def test_arrivals_follow_the_weights():
    weights = np.array([1.0, 2.0, 0.0, 4.0, 3.0])
    env = SimulatedUsers(TABLE, num_envs=3000, weights=weights)
    visits = np.zeros(5)
    observation, _ = env.reset(seed=5)
    for _ in range(10):
        visits += np.bincount(observation["user_id"], minlength=5)
        observation, *_ = env.step(np.zeros(3000, dtype=int))
    assert visits[2] == 0
    live = weights > 0
    assert scipy.stats.chisquare(visits[live], weights[live] / 10 * visits.sum()).pvalue > 1e-3


def test_clicks_of_each_user_follow_the_table():
    env = SimulatedUsers(TABLE, num_envs=4000)
    observation, _ = env.reset(seed=6)
    clicks, visits = np.zeros(5), np.zeros(5)
    for _ in range(5):
        users = observation["user_id"]
        observation, reward, *_ = env.step(np.full(4000, 1))
        clicks += np.bincount(users, reward, minlength=5)
        visits += np.bincount(users, minlength=5)
    error = np.sqrt(P[:, 1] * (1 - P[:, 1]) / visits)
    assert np.all(np.abs(clicks / visits - P[:, 1]) < 4.5 * error)


def test_arms_become_available_and_regret_counts_only_those_that_are():
    p = np.array([[0.2, 0.4, 0.9]])
    env = SimulatedUsers(PropensityTable.single_world(p), available_from=[0, 0, 60], visitors_per_day=30.0)
    trace = simulate(env, FixedSplit([1, 0, 0]), horizon=100, seed=0)
    assert trace.regret[-1, 0] == pytest.approx(60 * 0.2 + 40 * 0.7)
    # The fixed comparator is the best of the arms that are there throughout.
    assert trace.regret_fixed[-1, 0] == pytest.approx(100 * 0.2)
    observation, _ = env.reset(seed=0)
    for t in range(61):
        assert observation["time"][0] == pytest.approx(t / 30)
        assert observation["available"][0].tolist() == [1, 1, int(t >= 60)]
        observation, *_ = env.step(np.array([0]))


def test_policies_may_know_texts_that_are_the_same_in_all_worlds():
    texts = {"user_texts": ("", "b", "", "", ""), "item_texts": ("x", "", "z")}
    table, other = (
        PropensityTable.single_world(P, **texts | {"item_texts": items}) for items in (("x", "", "z"), ("x", "y", "z"))
    )
    problem = SimulatedUsers(PropensityTable.interleaved({"m": table, "n": table}), num_envs=3).problem(7)
    assert (problem.user_texts, problem.arm_texts) == (texts["user_texts"], texts["item_texts"])
    assert (SimulatedUsers(TABLE).problem().user_texts, SimulatedUsers(TABLE).problem().arm_texts) == ((), ())
    parts = vars(PropensityTable.interleaved({"m": table, "n": table})) | {
        "item_texts": np.concatenate([table.item_texts, other.item_texts])
    }
    assert SimulatedUsers(PropensityTable(**parts)).problem().arm_texts == ()


def test_worlds_are_dealt_by_replication_and_padding_is_never_played():
    table = PropensityTable(
        p=np.array([[[0.5, 0.6, 0.0]], [[0.1, 0.2, 0.3]]], dtype=np.float32),
        user_ids=("all",),
        user_texts=("",),
        item_ids=np.array([["a", "b", ""], ["c", "d", "e"]]),
        item_texts=np.array([["a", "b", ""], ["c", "d", "e"]]),
        num_items=np.array([2, 3]),
        world_ids=("one", "two"),
    )
    trace = simulate(SimulatedUsers(table, num_envs=7), FixedSplit(), horizon=90, seed=0, first_replication=1)
    assert trace.world.tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert np.all(trace.pulls[trace.world == 0, 2] == 0)
    assert np.all(trace.pulls[trace.world == 1, 2] > 0)
    # float32 holds the table: the gaps are those of the stored numbers.
    gaps = np.float32(0.6) - np.float32([0.5, 0.6])
    np.testing.assert_allclose(trace.regret[-1, 1], trace.pulls[1, :2] @ gaps, rtol=1e-5)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BernoulliBandit([0.5, 1.2]), r"`means` must lie in \[0, 1\]. Got values in \[0.5, 1.2\]."),
        (lambda: BernoulliBandit(), "Exactly one of `means` and `prior` must be given."),
        (lambda: BernoulliBandit(prior=(1.0, 1.0)), "`num_arms` must be given with a prior of two plain numbers."),
        (lambda: BernoulliBandit(prior=(1.0, -1.0), num_arms=3), "`prior` must hold positive numbers."),
        (lambda: BernoulliBandit(prior=([1, 2], 1.0), num_arms=3), "`prior` must be a pair"),
        (lambda: BernoulliBandit([0.1], num_arms=2), "`num_arms` must be 1, the number of `means`. Got 2."),
        (lambda: BernoulliBandit([0.1], num_envs=0), "`num_envs` must be at least 1. Got 0."),
        (lambda: BernoulliBandit([]), "`means` must be finite numbers of shape"),
        (lambda: GaussianBandit([1.0], scale=-1), "`scale` must be a finite number of at least 0. Got -1."),
        (lambda: GaussianBandit([np.nan]), "`means` must be finite numbers"),
        (lambda: GaussianBandit(prior=(0, 1)), "`num_arms` must be at least 1"),
        (lambda: GaussianBandit(prior=(0, -1), num_arms=2), "`prior` must be a mean and a standard deviation"),
        (lambda: SimulatedUsers(TABLE, user_features=np.eye(4)), r"`user_features` must be finite numbers of shape"),
        (lambda: SimulatedUsers(TABLE, weights=[1, 1, 1, 1, -1]), "`weights` must be at least 0 and not all 0."),
        (lambda: SimulatedUsers(TABLE, available_from=[1, 1, 1]), "`available_from` must be 0 for at least one arm"),
        (lambda: SimulatedUsers(TABLE, available_from=[0, 0, 0.5]), "`available_from` must hold whole rounds."),
        (lambda: SimulatedUsers(TABLE, visitors_per_day=0), "`visitors_per_day` must be a finite number above 0."),
        (lambda: PropensityTable.single_world(np.array([[1.5]])), r"`p` must lie in \[0, 1\]."),
        (lambda: PropensityTable.single_world(P, user_ids=("a",) * 5), "`user_ids` must be unique. Got 'a' twice."),
        (lambda: PropensityTable.single_world(P, item_ids=("a", "b", "a")), "must be unique. Got 'a' twice."),
        (lambda: PropensityTable.single_world(P[0]), r"`p` must have shape \(U, K\)."),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
