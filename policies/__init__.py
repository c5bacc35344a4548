"""Bandit policies and A/B designs."""

from bandits.core import Policy
from policies.ab_test import ABTest
from policies.epsilon_greedy import EpsilonGreedy
from policies.exp3 import Exp3
from policies.fixed_split import FixedSplit
from policies.linear_thompson import LinearThompson
from policies.linucb import LinUCB
from policies.policy_split import PolicySplit
from policies.thompson import BetaThompson
from policies.ucb import UCB1

POLICIES: dict[str, type[Policy]] = {
    "FixedSplit": FixedSplit,
    "ABTest": ABTest,
    "EpsilonGreedy": EpsilonGreedy,
    "UCB1": UCB1,
    "BetaThompson": BetaThompson,
    "Exp3": Exp3,
    "LinUCB": LinUCB,
    "LinearThompson": LinearThompson,
    "PolicySplit": PolicySplit,
}

__all__ = [
    "POLICIES",
    "UCB1",
    "ABTest",
    "BetaThompson",
    "EpsilonGreedy",
    "Exp3",
    "FixedSplit",
    "LinUCB",
    "LinearThompson",
    "PolicySplit",
]
