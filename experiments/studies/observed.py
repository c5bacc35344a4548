"""How a policy is observed: an A/B design until it ships, anything else under a wrapper that counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

from bandits import KernelPolicy
from bandits.core import FloatArray, Problem
from bandits.kernel import Layout, State
from bandits.machine_code import jit
from experiments.studies.thompson import knows_two_arms, two_arm_propensities
from experiments.studies.watched import Watched
from policies.ab import ABDesign, state

_design_record = jit(state.record)
Way = Literal["until it ships", "to the end"]


class UntilItShips(KernelPolicy):
    """Plays an A/B design, and stops as soon as one arm gets all visitors: no simulation is needed for the rest.

    Args:
        design: The design, which must ship something when it decides.

    Records:
        Those of the design, and dropped: how many arms have left the test, because they were found worse.
    """

    def __init__(self, design: ABDesign) -> None:
        self.design, self.stream = design, design.stream
        self.kernel = replace(design.kernel.link(lambda hook: hook), stop=_ships, record=_record)

    def layout(self, problem: Problem) -> Layout:
        """The design's."""
        return self.design.layout(problem)

    def record_names(self, problem: Problem) -> tuple[str, ...]:
        """The design's and one more."""
        return (*self.design.record_names(problem), "dropped")


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


def observe(policy: KernelPolicy, num_arms: int, *, weigh: bool = True) -> Observed:
    """The way in which a study plays a policy.

    Args:
        policy: The policy, a kernel policy.
        num_arms: Number of arms of the study.
        weigh: Whether to compute the propensities of a bandit that knows them, and keep the sums of AIPW.
    """
    if isinstance(policy, ABDesign) and ships_for_good(policy):
        return Observed(UntilItShips(policy), "until it ships", True)
    quick = two_arm_propensities if knows_two_arms(policy, num_arms) else None
    watched = Watched(policy, weigh=weigh, weigh_by=quick)
    return Observed(watched, "to the end", watched.decides)


def ships_for_good(design: ABDesign) -> bool:
    """Whether every decision of a design gives all later visitors one arm."""
    return design.if_winner == "ship" and design.if_none != "split"


def _ships(design: State) -> bool:
    return bool(design.shared[state.SHIPPED] >= 0.0)


def _record(design: State, out: FloatArray) -> None:
    own = out.shape[0] - 1
    _design_record(design, out[:own])
    out[own] = 0.0
    for k in range(design.arm.shape[1]):
        out[own] += 1.0 if design.arm[state.LEFT, k] > 0.0 else 0.0
