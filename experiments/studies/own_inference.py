"""The inference that belongs to an A/B design: whether it rejected, and the interval that allows for its looks."""

from __future__ import annotations

import numpy as np

from bandits import KernelPolicy
from bandits.core import FloatArray
from bandits.statistics import (
    ConfidenceSequence,
    adjust_p_values,
    beta_mixture_difference,
    normal_mixture_sequence,
    rate_moments,
    two_proportion_test,
)
from experiments.studies.decisions import BoolArray, Decisions, IntArray
from experiments.studies.watched import CONTROL
from policies.ab import ABDesign, ABTest, AlwaysValidABTest, GroupSequentialABTest, RampUpABTest

FIXED = "pooled z tests of every arm against the control, two-sided, Holm over the arms, for one look at a fixed length"


class Counts:
    """Clicks and visitors of an arm and of the control in every replication, each of shape (R,).

    Args:
        seen: What the policy had seen.
        arms: The arm of each replication, shape (R,).
    """

    def __init__(self, seen: Decisions, arms: IntArray) -> None:
        rows = np.arange(len(arms))
        self.clicks, self.visitors = seen.clicks[rows, arms], seen.visitors[rows, arms]
        self.control_clicks, self.control_visitors = seen.clicks[:, CONTROL], seen.visitors[:, CONTROL]

    @property
    def all(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """In the order in which the functions of `bandits.statistics` take them."""
        return self.clicks, self.visitors, self.control_clicks, self.control_visitors

    def difference(self) -> tuple[FloatArray, FloatArray]:
        """Difference of the sample means and its standard error with separate variances; nan without visitors."""
        arm, control = (
            rate_moments(self.clicks, self.visitors),
            rate_moments(self.control_clicks, self.control_visitors),
        )
        with np.errstate(invalid="ignore", divide="ignore"):  # an arm without visitors has no rate
            error = np.sqrt(arm.variance / self.visitors + control.variance / self.control_visitors)
        return arm.mean - control.mean, error

    def z(self) -> FloatArray:
        """Z of the pooled test; nan where either has no visitors."""
        some = (self.visitors > 0) & (self.control_visitors > 0)
        tested = two_proportion_test(*(np.where(some, count, 1.0) for count in self.all))
        return np.where(some, tested.statistic, np.nan)


def naive_rejections(seen: Decisions, alpha: float) -> BoolArray:
    """Whether the pooled z tests of all arms against the control reject any at level `alpha` after Holm, shape (R,).

    Replications in which an arm or the control had no visitors leave that comparison out.
    """
    p_values = []
    for k in range(seen.visitors.shape[1]):
        if k != CONTROL:
            counts = Counts(seen, np.full(len(seen.visitors), k))
            some = (counts.visitors > 0) & (counts.control_visitors > 0)
            tested = two_proportion_test(*(np.where(some, count, 1.0) for count in counts.all))
            p_values.append(np.where(some, tested.p_value, np.nan))
    adjusted = adjust_p_values(np.stack(p_values, axis=1), "holm").p_values
    found: BoolArray = np.any(adjusted <= alpha, axis=1)
    return found


def rejections(policy: KernelPolicy, seen: Decisions, alpha: float) -> tuple[BoolArray | None, str]:
    """Whether each replication rejects "no difference" for some arm, by the policy's own test.

    Args:
        policy: What collected the data.
        seen: What it had seen at its decision.
        alpha: Level of the fixed-length test that is applied to the data of a bandit.

    Returns:
        Shape (R,), and the test in words; None for a design that decides without a test.
    """
    if not seen.decides:
        return naive_rejections(seen, alpha), f"{FIXED}, level {alpha:g}, although a bandit collected the data"
    if isinstance(policy, ABTest):
        return naive_rejections(seen, policy.alpha) & seen.decided, f"{FIXED}, level {policy.alpha:g}"
    # nan, so False, for a design that goes on dividing. With two arms the rest tells it all the same, except for a harm
    # that an always-valid design finds with the very last visitor.
    lost = seen.dropped > 0
    if isinstance(policy, RampUpABTest):
        words = f"removal by the guardrail, or at the end {FIXED}, on the last stage alone, level {policy.alpha:g}"
        at_the_end = seen.in_test >= policy.length(len(seen.rates))
        return seen.decided & (lost | (at_the_end & naive_rejections(seen, policy.alpha))), words
    if isinstance(policy, GroupSequentialABTest):
        critical = _critical_values(policy, seen)
        arms = [k for k in range(len(seen.rates)) if k != CONTROL]
        far = np.any([np.abs(Counts(seen, np.full(len(lost), k)).z()) >= critical for k in arms], axis=0)
        return lost | (seen.decided & far), f"{_looks(policy)}, two-sided, {_shared(policy, seen)}"
    if isinstance(policy, AlwaysValidABTest):
        words = f"{policy.method} evidence at all looks, two-sided, {_shared(policy, seen)}"
        enough = seen.in_test < (policy.visitors or np.inf)
        if policy.if_none != "best":
            enough |= seen.shipped != CONTROL
        return lost | (seen.decided & enough), words
    return None, "decides without a test"


def own_interval(policy: KernelPolicy, seen: Decisions, arms: IntArray) -> ConfidenceSequence | None:
    """Interval for the difference between an arm and the control that allows for the design's looks.

    Args:
        policy: What collected the data.
        seen: What it had seen at its decision.
        arms: The arm of each replication, shape (R,), not the control.

    Returns:
        Arrays of shape (R,), nan where a design with a few looks had not decided, or where, with more than two arms,
        some arm had left it, perhaps this one; at the design's own level, shared by Bonferroni
        among its comparisons. None for designs to which no such interval belongs.
    """
    if not isinstance(policy, ABDesign):
        return None
    counts = Counts(seen, arms)
    left = (seen.dropped > 0) & (arms != seen.shipped) & (len(seen.rates) > 2)
    if isinstance(policy, GroupSequentialABTest) and policy.spending != "naive":
        level = _level(policy.alpha, seen)
        estimate, error = counts.difference()
        half_width = np.where((error > 0) & ~left, _critical_values(policy, seen) * error, np.nan)
        method = f"repeated confidence interval, {_looks(policy)}"
        return ConfidenceSequence(estimate, estimate - half_width, estimate + half_width, 1 - level, method)
    if isinstance(policy, AlwaysValidABTest) and policy.method != "predictive":
        confidence = 1 - _level(policy.alpha, seen)
        if policy.method == "beta-mixture":
            return beta_mixture_difference(*counts.all, confidence=confidence, prior=policy.prior)
        estimate, error = counts.difference()
        some = error > 0
        ratio = policy.tau**2 / np.where(some, error, 1.0) ** 2  # `count rho^2` of the mixture
        mixture = normal_mixture_sequence(estimate, error, ratio, rho=1.0, confidence=confidence)
        ready = some & (np.minimum(counts.visitors, counts.control_visitors) >= policy.burn_in)
        return mixture._replace(
            low=np.where(ready, mixture.low, -1.0),
            high=np.where(ready, mixture.high, 1.0),
            method=f"normal mixture with tau {policy.tau:g} after {policy.burn_in} visitors per arm, asymptotic",
        )
    return None


def _level(alpha: float, seen: Decisions) -> float:
    return alpha / (len(seen.rates) - 1)


def _shared(policy: GroupSequentialABTest | AlwaysValidABTest, seen: Decisions) -> str:
    comparisons = len(seen.rates) - 1
    among = f", shared among {comparisons} comparisons (Bonferroni)" if comparisons > 1 else ""
    return f"level {policy.alpha:g}{among}"


def _critical_values(policy: GroupSequentialABTest, seen: Decisions) -> FloatArray:
    """Critical value of the look at which each replication was decided, shape (R,); nan where it was not."""
    arms = len(seen.rates)
    length = policy.length(arms)
    planned = np.array([max(1, round(share * length)) for share in policy.information])
    look = np.minimum(np.searchsorted(planned, seen.in_test), len(planned) - 1)
    return np.where(seen.decided, np.array(policy.critical_values(arms))[look], np.nan)


def _looks(policy: GroupSequentialABTest) -> str:
    spending = "no correction for the looks" if policy.spending == "naive" else f"{policy.spending} spending"
    return f"z tests at {len(policy.information)} looks, {spending}"
