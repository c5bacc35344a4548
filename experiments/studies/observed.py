"""How a policy is observed: an A/B design until it ships, anything else under a wrapper that counts."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Literal, NamedTuple

from bandits import KernelPolicy
from bandits.kernel import State
from experiments.studies.thompson import knows_two_arms, two_arm_propensities
from experiments.studies.watched import Watched
from policies.ab import ABDesign, state

Way = Literal["until it ships", "to the end"]


class Observed(NamedTuple):
    """A policy as a study plays it.

    Attributes:
        policy: What is played.
        way: `until it ships`: the rest is one arm for everybody, whose expected loss needs no simulation.
        decides: Whether it decides at all, as a test does; a bandit goes on for ever.
    """

    policy: KernelPolicy
    way: Way
    decides: bool


def observe(policy: KernelPolicy, num_arms: int) -> Observed:
    """The way in which a study plays a policy.

    Args:
        policy: The policy, a kernel policy.
        num_arms: Number of arms of the study.
    """
    if isinstance(policy, ABDesign) and policy.if_winner == "ship" and policy.if_none != "split":
        stopping = copy.copy(policy)
        stopping.kernel = replace(policy.kernel.link(lambda hook: hook), stop=_ships)
        return Observed(stopping, "until it ships", True)
    watched = Watched(policy, two_arm_propensities if knows_two_arms(policy, num_arms) else None)
    return Observed(watched, "to the end", watched.decides)


def _ships(design: State) -> bool:
    return bool(design.shared[state.SHIPPED] >= 0.0)
