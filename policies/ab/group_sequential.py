"""A/B tests with a few looks that were planned: error spending."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import ndtri

from bandits.core import Problem
from bandits.kernel import Layout, ScalarFeedback, State
from bandits.statistics import GroupSequentialDesign, group_sequential_design, inflation_factor
from bandits.statistics.spending import Spending as SpendingFunction
from policies.ab import state as ab
from policies.ab.design import ABDesign, IfNone, IfWinner, Unit, design_kernel, fixed_length, require_length
from policies.ab.evidence import z_statistic
from policies.checks import checked_numbers, require_integer, require_number

Spending = Literal["obrien-fleming", "pocock", "naive"]

# Own parameters: the number of looks L, then for a test of 0 .. K arms the results after which each look comes (L,) and
# its critical value (L,). Own shared state: the next look, after the one stage's start.
_LOOKS, _PLANS = 0, 1
_NEXT_LOOK = ab.STARTS + 1


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    if not ab.count(state, feedback):
        return
    own = ab.own_params(state)
    looks = int(state.params[own + _LOOKS])
    look = int(state.shared[_NEXT_LOOK])
    plan = own + _PLANS + 2 * looks * int(state.shared[ab.TAKING_PART])
    if state.shared[ab.RESULTS] < state.params[plan + look]:
        return
    state.shared[_NEXT_LOOK] += 1.0
    critical = state.params[plan + looks + look]
    winner = -1
    going_on = 0
    for k in range(state.arm.shape[1]):
        if ab.competes(state, k):
            z = z_statistic(state, k)
            if z >= critical and (winner < 0 or ab.rate(state, k) > ab.rate(state, winner)):
                winner = k
            elif z <= -critical:
                ab.drop(state, k)
            else:
                going_on += 1
    if winner >= 0 or going_on == 0 or look == looks - 1:
        ab.decide(state, winner)


class GroupSequentialABTest(ABDesign):
    """Looks at the results a few times, at planned moments, and stops as soon as one look is clear enough.

    At look l each arm is compared with the control in a two-sided z test of two rates; the critical values c_l spend
    the error rate over the looks as Lan and DeMets do, at the level `alpha` / (m - 1) with m arms (Bonferroni). If arms
    have z >= c_l, the one of them with the highest observed rate wins. Arms with z <= -c_l leave the test. Without
    arms left beside the control, or after the last look, there is no winner.

    `rate difference ± c_l x standard error` at the last look taken is a repeated confidence interval.

    Args:
        visitors: Visitors at the last look, at least 2.
        minimum_effect: Smallest difference in click rate worth finding, absolute, above 0; instead of `visitors`. The
            length is then that of the fixed test (see `ABTest`) times the design's inflation factor.
        baseline: Click rate of the control that the computation assumes; with `minimum_effect`.
        looks: Number of looks, equally spaced, 2 to 100; or the share of the visitors at each, increasing to 1.
        spending: `obrien-fleming` spends little early, `pocock` evenly. `naive` corrects for nothing, which is what
            peeking at a fixed test does: its error rate is far above `alpha`.
        power: Probability of finding that difference.
        alpha: Familywise error rate over arms and looks, two-sided.
        control, weights, by, if_winner, if_none: See `ABDesign`, also for the records.

    References:
        Lan and DeMets (1983), "Discrete sequential boundaries for clinical trials"; Jennison and Turnbull (2000),
        "Group sequential methods with applications to clinical trials", chapters 7 and 9.
    """

    kernel = design_kernel(_update)

    def __init__(
        self,
        visitors: int | None = None,
        minimum_effect: float | None = None,
        baseline: float | None = None,
        looks: int | Sequence[float] = 5,
        spending: Spending = "obrien-fleming",
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
        if spending not in get_args(Spending):
            raise ValueError(f"`spending` must be {', '.join(get_args(Spending))}. Got {spending!r}.")
        if isinstance(looks, int):
            require_integer("looks", looks, 2)
            if looks > 100:
                raise ValueError(f"`looks` must be at most 100: for more, AlwaysValidABTest. Got {looks}.")
        else:
            shares = checked_numbers("looks", looks)
            if list(shares) != sorted(set(shares)) or not shares or shares[0] <= 0 or shares[-1] != 1:
                raise ValueError(f"`looks` must be a number, or shares that increase to 1. Got {looks!r}.")
        self.visitors, self.minimum_effect, self.baseline = visitors, minimum_effect, baseline
        self.looks, self.spending, self.power, self.alpha = looks, spending, power, alpha

    @property
    def information(self) -> tuple[float, ...]:
        """Share of the visitors at each look, shape (L,)."""
        if isinstance(self.looks, int):
            return tuple((look + 1) / self.looks for look in range(self.looks))
        return tuple(float(share) for share in self.looks)

    def critical_values(self, num_arms: int) -> tuple[float, ...]:
        """Critical value of |z| at each look of a test of `num_arms` arms, shape (L,)."""
        level = self._comparisons_level(num_arms, self.alpha)
        if self.spending == "naive":
            return (float(-ndtri(level / 2)),) * len(self.information)
        return tuple(_spend(self.information, level, self.spending).boundaries.tolist())

    def length(self, num_arms: int) -> int:
        """Visitors at the last look when `num_arms` arms take part; with unequal `weights`, all of them do."""
        if self.visitors is not None:
            return self.visitors
        assert self.baseline is not None
        assert self.minimum_effect is not None
        level = self._comparisons_level(num_arms, self.alpha)
        shares, control = self._shares(max(num_arms, 1)), self.control if self.weights else 0
        fixed = fixed_length(shares, control, self.baseline, self.minimum_effect, self.power, level)
        return int(np.ceil(fixed * _inflation(self.information, level, self.spending, self.power)))

    def decision_rule(self, num_arms: int) -> str:
        level = self._comparisons_level(num_arms, self.alpha)
        moments = ", ".join(f"{share:.0%}" for share in self.information)
        how = {
            "naive": "at every look again as if it were the only one, which is peeking and breaks the level",
            "obrien-fleming": "spent over the looks by the O'Brien-Fleming type function of Lan and DeMets",
            "pocock": "spent over the looks by the Pocock type function of Lan and DeMets",
        }
        length = f"The test takes at most {self.length(num_arms):,} visitors"
        if self.minimum_effect is not None and self.baseline is not None:
            length += (
                f", so that a comparison of two arms tells a click rate of {self.baseline:.2%} from one of "
                f"{self.baseline + self.minimum_effect:.2%} with power {self.power:.0%}"
            )
        criticals = ", ".join(f"{value:.3f}" for value in self.critical_values(num_arms))
        return (
            f"{length}. It looks {len(self.information)} times, after {moments} of them, and compares every arm with "
            f"the control, arm {self.control}, in a two-sided z test of two rates at the level {level:.3g} "
            f"({self.alpha:.3g} over {max(num_arms - 1, 1)} comparisons, Bonferroni), {how[self.spending]}: critical "
            f"values {criticals}. The test ends at the first look at which an arm is significantly better, and the "
            "best of these wins; arms that are significantly worse leave it."
        )

    def layout(self, problem: Problem) -> Layout:
        self._layout(problem)
        own = [float(len(self.information))]
        for taking_part in range(problem.num_arms + 1):
            length = self.length(max(taking_part, 1))
            own += [float(max(1, round(share * length))) for share in self.information]
            own += self.critical_values(max(taking_part, 1))
        return self._layout(problem, own_params=own, own_shared=1)


@lru_cache(maxsize=256)
def _spend(information: tuple[float, ...], alpha: float, spending: SpendingFunction) -> GroupSequentialDesign:
    return group_sequential_design(information, alpha=alpha, spending=spending)


@lru_cache(maxsize=256)
def _inflation(information: tuple[float, ...], alpha: float, spending: Spending, power: float) -> float:
    if spending == "naive":
        return 1.0
    return inflation_factor(_spend(information, alpha, spending), power)
