"""The A/B test as it is most often run: split, wait, test once, ship."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bandits.core import Problem
from bandits.kernel import Layout, ScalarFeedback, State
from policies.ab import state as ab
from policies.ab.design import ABDesign, IfNone, IfWinner, Unit, design_kernel, fixed_length, require_length
from policies.ab.evidence import holm_winner
from policies.checks import require_number

_ALPHA, _LENGTHS = 0, 1  # own parameters: the level, then the length of a test of 0 .. K arms


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    if not ab.count(state, feedback):
        return
    own = ab.own_params(state)
    if state.shared[ab.RESULTS] >= state.params[own + _LENGTHS + int(state.shared[ab.TAKING_PART])]:
        ab.decide(state, holm_winner(state, state.params[own + _ALPHA]))


class ABTest(ABDesign):
    """Divides a number of visitors among the arms, tests once, and then ships the winner or keeps the control.

    When the results of all of them are in, each arm is compared with the control in a two-sided z test of two rates,
    with Holm's correction over the arms. Of the arms that are significantly better than the control, the one with the
    highest observed rate wins.

    The length is either given, or computed so that each comparison finds a difference of `minimum_effect` with
    probability `power` at level `alpha` / (m - 1), with m arms in the test. It counts visits as independent, so where
    users are divided (`by`) and come often, the power is lower.

    Args:
        visitors: Length of the test in visitors, at least 2.
        minimum_effect: Smallest difference in click rate worth finding, absolute, above 0; instead of `visitors`.
        baseline: Click rate of the control that the computation assumes; with `minimum_effect`.
        power: Probability of finding that difference.
        alpha: Familywise error rate, two-sided.
        control, weights, by, if_winner, if_none: See `ABDesign`, also for the records.

    References:
        Fleiss, Levin and Paik (2003), "Statistical methods for rates and proportions", chapter 4 (length); Holm
        (1979), "A simple sequentially rejective multiple test procedure".
    """

    kernel = design_kernel(_update)

    def __init__(
        self,
        visitors: int | None = None,
        minimum_effect: float | None = None,
        baseline: float | None = None,
        power: float = 0.8,
        alpha: float = 0.05,
        control: int = 0,
        weights: Sequence[float] | None = None,
        by: Unit = "visit",
        if_winner: IfWinner = "ship",
        if_none: IfNone = "control",
    ) -> None:
        super().__init__(control, weights, by, if_winner, if_none)
        require_length(visitors, minimum_effect, baseline)
        require_number("power", power, 0.0, 1.0, strict=True)
        require_number("alpha", alpha, 0.0, 1.0, strict=True)
        self.visitors, self.minimum_effect, self.baseline = visitors, minimum_effect, baseline
        self.power, self.alpha = power, alpha

    def length(self, num_arms: int) -> int:
        """Length of the test in visitors when `num_arms` arms take part; with unequal `weights`, all of them do."""
        if self.visitors is not None:
            return self.visitors
        assert self.baseline is not None
        assert self.minimum_effect is not None
        return fixed_length(
            self._shares(max(num_arms, 1)),
            self.control if self.weights else 0,
            self.baseline,
            self.minimum_effect,
            self.power,
            self._comparisons_level(num_arms, self.alpha),
        )

    def decision_rule(self, num_arms: int) -> str:
        length = self.length(num_arms)
        sentences = [f"It looks at no result before all of its {length:,} visitors have been."]
        if self.minimum_effect is not None and self.baseline is not None:
            sentences.append(
                f"That length was computed so that a comparison of two arms tells a click rate of {self.baseline:.2%} "
                f"from one of {self.baseline + self.minimum_effect:.2%} with power {self.power:.0%}, at the level "
                f"{self.alpha:.3g} / {max(num_arms - 1, 1)} that Holm's correction begins with."
            )
        else:
            sentences.append("That length was set in the config.")
        variance = "pooled variance" if self.by == "visit" else "the variance between users"
        sentences.append(
            f"Then every arm is compared with the control, arm {self.control}, in a two-sided two-proportion z test "
            f"with {variance}, corrected by Holm over the arms at the familywise level {self.alpha:.3g}. Of the arms "
            "that are significantly better, the one with the highest observed click rate wins."
        )
        return " ".join(sentences)

    def layout(self, problem: Problem) -> Layout:
        self._layout(problem)
        lengths = (float(self.length(max(count, 1))) for count in range(problem.num_arms + 1))
        return self._layout(problem, own_params=(self.alpha, *lengths))
