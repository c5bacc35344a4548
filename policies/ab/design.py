"""What all A/B designs have in common: how visitors are divided, how long, and what happens after."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

from bandits.core import Problem
from bandits.kernel import Hook, Kernel, Layout
from bandits.kernel_policy import KernelPolicy
from bandits.statistics import sample_sizes_two_proportions
from policies.ab import state
from policies.checks import checked_weights, require_integer, require_number

Unit = Literal["visit", "user"]
IfWinner = Literal["ship", "split"]
IfNone = Literal["control", "split", "best"]

_BUCKETS = 1024  # of users, where they are the unit; a power of two, and more than most simulated populations have
_IF_WINNER = {"ship": state.SHIP, "split": state.SPLIT}
_IF_NONE = {"control": state.KEEP_CONTROL, "split": state.KEEP_SPLIT, "best": state.SHIP_BEST}


def design_kernel(update: Hook) -> Kernel:
    """The kernel of a design: `update` counts results and decides, all else is the same for every design."""
    return Kernel(
        select=state.select,
        update=update,
        start=state.start,
        propensities=state.propensities,
        recommend=state.recommend,
        record=state.record,
    )


class ABDesign(KernelPolicy):
    """A design of an A/B test over the arms: a division of the visitors, a rule that ends it, and a decision.

    Arms that are not available at the first visit take no part. Results that come after the decision do not count.

    Args:
        control: Index of the control.
        weights: Share of each arm while the test runs, at least 0, summing to 1; equal shares by default.
        by: `visit` divides visits, `user` users, each of whom stays with her arm (anonymous visitors are divided by
            visit). Where users are divided, tests count them, not their visits, as independent.
        if_winner: What a winner leads to: `ship` gives it all later visitors, `split` goes on dividing them.
        if_none: What no winner leads to: all later visitors to the `control`, to the arm with the `best` observed rate,
            or a `split` as before. A test that goes on dividing still recommends its winner, or else the control.

    Records:
        testing: 1 while the test runs, else 0. shipped: the arm that gets all visitors; -1 when there is none.
        visitors[K] and clicks[K]: results of each arm that count, in the last stage where there are several.
    """

    def __init__(
        self,
        control: int,
        weights: Sequence[float] | None,
        by: Unit,
        if_winner: IfWinner,
        if_none: IfNone,
    ) -> None:
        require_integer("control", control, 0)
        for name, value, allowed in (
            ("by", by, Unit),
            ("if_winner", if_winner, IfWinner),
            ("if_none", if_none, IfNone),
        ):
            if value not in get_args(allowed):
                raise ValueError(f"`{name}` must be {' or '.join(get_args(allowed))}. Got {value!r}.")
        self.control, self.by, self.if_winner, self.if_none = control, by, if_winner, if_none
        self.weights = None if weights is None else checked_weights(weights)

    def length(self, num_arms: int) -> int | None:
        """Visitors after which the test ends at the latest when `num_arms` arms take part; None where it may not end.

        With unequal `weights`, all arms must take part.
        """
        return None

    @abstractmethod
    def decision_rule(self, num_arms: int) -> str:
        """When the test of `num_arms` arms ends and how it decides, in sentences for a report."""

    def division(self, num_arms: int) -> str:
        """How visitors are divided and what happens after the decision, in sentences for a report."""
        shares = "equal shares" if self.weights is None else f"shares of {', '.join(f'{w:.3g}' for w in self.weights)}"
        who = "Users are divided at random, and each stays with her arm" if self.by == "user" else "Visits are divided"
        winner = {"ship": "A winner gets all later visitors", "split": "With a winner the split goes on as before"}
        none = {
            "control": "without one, the control does" if self.if_winner == "ship" else "without one, all go to it",
            "best": "without one, the arm with the highest observed rate gets them",
            "split": "without one, the split goes on",
        }
        return (
            f"{who} among the {num_arms} arms that are there at the start, in {shares}. "
            f"{winner[self.if_winner]}; {none[self.if_none]}."
        )

    def record_names(self, problem: Problem) -> tuple[str, ...]:
        counts = (f"{what}[{k}]" for what in ("visitors", "clicks") for k in range(problem.num_arms))
        return ("testing", "shipped", *counts)

    def _layout(
        self,
        problem: Problem,
        *,
        own_params: Sequence[float] = (),
        own_fields: int = 0,
        own_shared: int = 0,
        stages: Sequence[Sequence[float]] | None = None,
    ) -> Layout:
        """The state of the design; `stages` are the shares of each (S, K) where they are not `weights` throughout."""
        arms = problem.num_arms
        problem.require_rewards_in_unit_interval(type(self).__name__)
        shares = stages or [self._shares(arms)]
        buckets = _BUCKETS if self.by == "user" else 0
        if len(shares[0]) != arms:
            raise ValueError(f"`weights` must have one entry for each of {arms} arms. Got {len(shares[0])}.")
        if self.control >= arms:
            raise ValueError(f"`control` must be an arm 0..{arms - 1}. Got {self.control}.")
        if shares[0][self.control] <= 0:
            raise ValueError(f"`weights` must give the control (arm {self.control}) a share. Got {list(shares[0])}.")
        header = (float(self.control), float(self.by == "user"), _IF_WINNER[self.if_winner], _IF_NONE[self.if_none])
        params = (*header, float(buckets), float(len(shares)), *(w for stage in shares for w in stage), *own_params)
        return Layout(
            arm=state.ARM_FIELDS + own_fields + 2 * buckets,
            shared=state.STARTS + len(shares) + own_shared,
            work=arms,
            params=params,
        )

    def _shares(self, num_arms: int) -> tuple[float, ...]:
        return self.weights or (1.0 / num_arms,) * num_arms

    def _comparisons_level(self, num_arms: int, alpha: float) -> float:
        """The level of each comparison with the control in a test of `num_arms`, by Bonferroni."""
        return alpha / max(num_arms - 1, 1)


def require_effect(minimum_effect: float | None, baseline: float | None) -> None:
    """Raise unless `minimum_effect` and `baseline` are given together and make two click rates, or neither is.

    Raises:
        ValueError: When they do not.
    """
    if (baseline is None) != (minimum_effect is None):
        raise ValueError(
            "`baseline` and `minimum_effect` must be given together. "
            f"Got baseline={baseline}, minimum_effect={minimum_effect}."
        )
    if baseline is not None and minimum_effect is not None:
        require_number("baseline", baseline, 0.0, 1.0, strict=True)
        require_number("minimum_effect", minimum_effect, 0.0, 1.0 - baseline, strict=True)


def require_length(visitors: int | None, minimum_effect: float | None, baseline: float | None) -> None:
    """Raise unless the length of a test is given, or else what it is computed from.

    Raises:
        ValueError: When both or neither are given, or a value is out of range.
    """
    if (visitors is None) == (minimum_effect is None):
        raise ValueError(
            "Exactly one of `visitors` and `minimum_effect` must be given. "
            f"Got visitors={visitors}, minimum_effect={minimum_effect}."
        )
    require_effect(minimum_effect, baseline)
    if visitors is not None:
        require_integer("visitors", visitors, 2)


def fixed_length(
    shares: Sequence[float], control: int, baseline: float, minimum_effect: float, power: float, alpha: float
) -> int:
    """Visitors of a test in which every comparison with the control finds the effect with probability `power`.

    Args:
        shares: Share of each arm; those without one take no part.
        control: The control.
        baseline: Its click rate.
        minimum_effect: The difference to find.
        power: Probability of finding it in one comparison.
        alpha: Two-sided level of one comparison.
    """
    base = shares[control]
    others = {share for k, share in enumerate(shares) if share > 0 and k != control} or {base}
    needed = (
        sample_sizes_two_proportions(baseline, minimum_effect, power=power, alpha=alpha, ratio=share / base).pooled
        / base
        for share in others
    )
    return math.ceil(max(needed) * (1 - 1e-12))
