"""Six numbers of two small worlds. A change of any of them changes published results: explain it in the changelog."""

import numpy as np
import pytest

from bandits import PropensityTable, simulate
from envs import BernoulliBandit, SimulatedUsers
from policies import UCB1, ABTest, BetaThompson, EpsilonGreedy, LinUCB

BERNOULLI = BernoulliBandit([0.3, 0.5, 0.45], num_envs=20)
USERS = SimulatedUsers(
    PropensityTable.single_world(np.outer([0.2, 0.5, 0.9], [0.1, 0.3, 0.6, 0.5]) + 0.05),
    num_envs=20,
    user_features=np.eye(3),
)


@pytest.mark.parametrize(
    ("env", "policy", "expected"),
    [
        (BERNOULLI, UCB1(), 59.29),
        (BERNOULLI, EpsilonGreedy(), 47.6875),
        (BERNOULLI, BetaThompson(), 22.9075),
        (BERNOULLI, ABTest(visitors=600), 67.8175),
        (USERS, LinUCB(), 48.849987669661644),
        (USERS, UCB1(0.5), 44.646492863819006),
    ],
)
def test_golden(env, policy, expected):
    trace = simulate(env, policy, horizon=2000, seed=12345)
    assert trace.regret[-1].mean() == pytest.approx(expected, rel=1e-12)
