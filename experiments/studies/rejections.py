"""Which replications of a policy end with a rejection of "no difference", by the policy's own test."""

from __future__ import annotations

from bandits import KernelPolicy
from experiments.studies.decisions import BoolArray, Decisions
from experiments.studies.estimators import naive_rejections
from policies import ABTest

FIXED = "pooled z tests of every arm against the control, two-sided, Holm over the arms, for one look at a fixed length"


def rejections(policy: KernelPolicy, seen: Decisions, alpha: float) -> tuple[BoolArray | None, str]:
    """Whether each replication rejects, shape (R,), and by which test.

    Args:
        policy: What collected the data.
        seen: What it had seen at its decision.
        alpha: Level of the fixed-length test that is applied to the data of a bandit.

    Returns:
        None for a design that decides without a test.
    """
    if not seen.decides:
        return naive_rejections(seen, alpha), f"{FIXED}, level {alpha:g}, although a bandit collected the data"
    if isinstance(policy, ABTest):
        return naive_rejections(seen, policy.alpha) & seen.decided, f"{FIXED}, level {policy.alpha:g}"
    return None, "decides without a test that is known here"
