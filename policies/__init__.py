"""Bandit policies and A/B designs."""

from typing import TYPE_CHECKING, Any

from policies.ab import (
    ABDesign,
    ABTest,
    AlwaysValidABTest,
    BayesianABTest,
    BranchTest,
    GroupSequentialABTest,
    RampUpABTest,
)
from policies.epsilon_greedy import EpsilonGreedy
from policies.exp3 import Exp3
from policies.fixed_split import FixedSplit
from policies.linear_thompson import LinearThompson
from policies.linucb import LinUCB
from policies.matrix_factorization import MatrixFactorization
from policies.no_recommendation import NoRecommendation
from policies.prior_greedy import PriorGreedy
from policies.prior_thompson import PriorThompson
from policies.prior_ucb import PriorUCB
from policies.refitted import RefittedModel
from policies.registry import PolicyRegistry
from policies.thompson import BetaThompson
from policies.ucb import UCB1

if TYPE_CHECKING:
    from policies.neural import NeuralGreedy

POLICIES = PolicyRegistry(
    {
        "FixedSplit": "policies.fixed_split:FixedSplit",
        "ABTest": "policies.ab:ABTest",
        "GroupSequentialABTest": "policies.ab:GroupSequentialABTest",
        "AlwaysValidABTest": "policies.ab:AlwaysValidABTest",
        "BayesianABTest": "policies.ab:BayesianABTest",
        "RampUpABTest": "policies.ab:RampUpABTest",
        "EpsilonGreedy": "policies.epsilon_greedy:EpsilonGreedy",
        "UCB1": "policies.ucb:UCB1",
        "BetaThompson": "policies.thompson:BetaThompson",
        "Exp3": "policies.exp3:Exp3",
        "LinearThompson": "policies.linear_thompson:LinearThompson",
        "LinUCB": "policies.linucb:LinUCB",
        "MatrixFactorization": "policies.matrix_factorization:MatrixFactorization",
        "PriorGreedy": "policies.prior_greedy:PriorGreedy",
        "PriorThompson": "policies.prior_thompson:PriorThompson",
        "PriorUCB": "policies.prior_ucb:PriorUCB",
        "RefittedModel": "policies.refitted:RefittedModel",
        "NoRecommendation": "policies.no_recommendation:NoRecommendation",
        "BranchTest": "policies.ab:BranchTest",
        "NeuralGreedy": "policies.neural:NeuralGreedy",
    }
)

__all__ = [
    "POLICIES",
    "UCB1",
    "ABDesign",
    "ABTest",
    "AlwaysValidABTest",
    "BayesianABTest",
    "BetaThompson",
    "BranchTest",
    "EpsilonGreedy",
    "Exp3",
    "FixedSplit",
    "GroupSequentialABTest",
    "LinUCB",
    "LinearThompson",
    "MatrixFactorization",
    "NeuralGreedy",
    "NoRecommendation",
    "PriorGreedy",
    "PriorThompson",
    "PriorUCB",
    "RampUpABTest",
    "RefittedModel",
]


def __getattr__(name: str) -> Any:
    """The policy that needs torch, which is loaded when the policy is first asked for."""
    if name == "NeuralGreedy":
        return POLICIES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
