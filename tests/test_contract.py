"""Every policy and every environment keeps the promises of `bandits.testing`."""

import importlib
from functools import partial

import numpy as np
import pytest

import policies
from bandits import PropensityTable, ScalarPolicy
from bandits.testing import ENV_CHECKS, POLICY_CHECKS, check_adaptive_is_said, check_learns
from envs import BernoulliBandit, GaussianBandit, SimulatedUsers
from policies import (
    POLICIES,
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
    NoRecommendation,
    PriorGreedy,
    PriorThompson,
    PriorUCB,
    RampUpABTest,
    RefittedModel,
)


class FollowTheLeader(ScalarPolicy):
    """Every tenth visit a random arm, else the best mean: a user's own scalar policy."""

    def reset(self, problem, random):
        self.rng = random.generator(0)
        self.pulls, self.sums, self.visits = np.ones(problem.num_arms), np.ones(problem.num_arms), 0

    def select(self, context):
        self.visits += 1
        if self.visits % 10 == 0:
            return int(self.rng.choice(np.flatnonzero(context.available)))
        return int(np.argmax(np.where(context.available, self.sums / self.pulls, -1)))

    def update(self, feedback):
        self.pulls[feedback.chosen] += 1
        self.sums[feedback.chosen] += feedback.reward


MAKERS = {
    "RefittedModel": partial(RefittedModel, every=50),
    "RefittedModel product": partial(RefittedModel, 60, features="product", memory="replay", memory_size=30),
    "RefittedModel ensemble": partial(RefittedModel, 40, exploration="ensemble", ensemble=3, weighting="ipw"),
    "RefittedModel guarded": partial(RefittedModel, 25, memory="window", memory_size=60, guard=0.3, if_none="keep"),
    "FixedSplit": FixedSplit,
    "ABTest": partial(ABTest, visitors=200),
    "ABTest by user": partial(ABTest, visitors=200, by="user", if_none="best"),
    "GroupSequentialABTest": partial(GroupSequentialABTest, 200),
    "AlwaysValidABTest": partial(AlwaysValidABTest, prior=(1, 3)),
    "AlwaysValidABTest msprt": partial(AlwaysValidABTest, "msprt", 300, tau=0.1, burn_in=10),
    "AlwaysValidABTest beta-mixture": partial(AlwaysValidABTest, "beta-mixture", look_every=10),
    "BayesianABTest": partial(BayesianABTest, 0.02, look_every=50),
    "RampUpABTest": partial(RampUpABTest, 40, (0.1, 0.5), 100, burn_in=10),
    "EpsilonGreedy": EpsilonGreedy,
    "EpsilonGreedy decaying": partial(EpsilonGreedy, epsilon=5.0, decay=1.0),
    "UCB1": partial(UCB1, width=0.5),
    "BetaThompson": BetaThompson,
    "Exp3": partial(Exp3, 0.1),
    "LinearThompson": LinearThompson,
    "LinearThompson product": partial(LinearThompson, features="product", user_components=2, arm_components=4),
    "LinUCB": LinUCB,
    "LinUCB product": partial(LinUCB, features="product", user_components=2, arm_components=4),
    "BranchTest": partial(BranchTest, {"ucb": UCB1(0.5), "thompson": BetaThompson()}, ABTest(100, by="user")),
    "BranchTest pooled": partial(
        BranchTest, {"greedy": EpsilonGreedy(), "linear": LinUCB()}, GroupSequentialABTest(100), learn="pooled"
    ),
    "MatrixFactorization": MatrixFactorization,
    "PriorGreedy": partial(PriorGreedy, 0.1),
    "PriorThompson": PriorThompson,
    "PriorThompson fixed": partial(PriorThompson, 20.0),
    "PriorUCB": partial(PriorUCB, width=0.5),
    "PriorUCB fixed": partial(PriorUCB, 20.0, 0.5),
    "scalar": FollowTheLeader,
    "NeuralGreedy": lambda: policies.NeuralGreedy(replay=100),
    "TorchLinearThompson": lambda: importlib.import_module("policies.neural").TorchLinearThompson(),
}
LEARNERS = set(MAKERS) - {"FixedSplit", "scalar"}
NEED_TORCH = {"NeuralGreedy", "TorchLinearThompson"}


def marked(names):
    return [pytest.param(name, marks=[pytest.mark.model] * (name in NEED_TORCH)) for name in sorted(names)]


RNG = np.random.default_rng(3)
TABLE = PropensityTable.single_world(RNG.uniform(0.05, 0.6, (7, 4)))
WORLDS = {
    "BernoulliBandit": lambda n: BernoulliBandit([0.2, 0.7, 0.4], num_envs=n),
    "BernoulliBandit worlds": lambda n: BernoulliBandit([[0.2, 0.7], [0.5, 0.1], [0.3, 0.3]], num_envs=n),
    "BernoulliBandit prior": lambda n: BernoulliBandit(prior=(2.0, 3.0), num_arms=4, num_envs=n),
    "GaussianBandit": lambda n: GaussianBandit([0.0, 1.0], scale=0.5, num_envs=n),
    "GaussianBandit prior": lambda n: GaussianBandit(prior=(0.0, 1.0), num_arms=3, num_envs=n),
    "SimulatedUsers": lambda n: SimulatedUsers(
        TABLE,
        num_envs=n,
        user_features=np.eye(7),
        arm_features=np.eye(4),
        weights=[1, 2, 3, 0, 1, 1, 1],
        available_from=[0, 0, 5, 12],
        prior=np.full((1, 7, 4), 0.2),
    ),
}


@pytest.mark.model
def test_every_bundled_policy_is_checked():
    """All but NoRecommendation, which needs an arm for showing nothing: tests/policies/ab/test_branches.py."""
    checked = {type(make()) for make in MAKERS.values()} | {NoRecommendation}
    assert checked >= set(POLICIES.values())


@pytest.mark.parametrize("check", POLICY_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", marked(MAKERS))
def test_policy(name, check):
    check(MAKERS[name])


def test_a_policy_that_hides_its_learning_is_caught():
    class Hiding(EpsilonGreedy):
        adaptive = False

    with pytest.raises(AssertionError, match="`adaptive` must be True"):
        check_adaptive_is_said(Hiding)


@pytest.mark.parametrize("name", marked(LEARNERS))
def test_policy_learns(name):
    check_learns(MAKERS[name])


@pytest.mark.parametrize("check", ENV_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", WORLDS)
def test_environment(name, check):
    check(WORLDS[name])
