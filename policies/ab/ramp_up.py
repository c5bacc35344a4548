"""A/B tests that begin with little traffic and turn back at the first sign of harm."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

from bandits.core import Problem
from bandits.kernel import Layout, ScalarFeedback, State
from bandits.machine_code import jit
from bandits.statistics.kernels import normal_mixture_evidence
from policies.ab import state as ab
from policies.ab.design import ABDesign, IfNone, IfWinner, Unit, design_kernel, fixed_length, require_length
from policies.ab.evidence import holm_winner, variance_of_difference
from policies.checks import checked_numbers, require_integer, require_number

# Own parameters: results of a stage before the last, tolerance, tau and burn-in of the guardrail, how often to look,
# the level of the final test; then for a test of 0 .. K arms the log evidence of harm, the results of the last stage.
_STAGE_RESULTS, _TOLERANCE, _TAU, _BURN_IN, _LOOK_EVERY, _ALPHA, _BY_ARMS = range(7)


@jit
def _harms(state: State, k: int, threshold: float) -> bool:
    """Whether arm k is worse than the control by more than is tolerated, in this stage."""
    own = ab.own_params(state)
    control = int(state.params[ab.CONTROL])
    if min(state.arm[ab.VISITORS, k], state.arm[ab.VISITORS, control]) < state.params[own + _BURN_IN]:
        return False
    difference = ab.rate(state, k) - ab.rate(state, control) + state.params[own + _TOLERANCE]
    evidence = normal_mixture_evidence(difference, variance_of_difference(state, k), state.params[own + _TAU])
    return bool(difference < 0.0 and evidence >= threshold)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    if not ab.count(state, feedback):
        return
    own = ab.own_params(state)
    by_arms = own + _BY_ARMS + 2 * int(state.shared[ab.TAKING_PART])
    last = state.shared[ab.STAGE] == state.params[ab.STAGES] - 1.0
    length = state.params[by_arms + 1] if last else state.params[own + _STAGE_RESULTS]
    over = state.shared[ab.RESULTS] >= length
    if not over and state.shared[ab.RESULTS] % state.params[own + _LOOK_EVERY] != 0.0:
        return
    going_on = 0
    for k in range(state.arm.shape[1]):
        if ab.competes(state, k):
            if _harms(state, k, state.params[by_arms]):
                ab.drop(state, k)
            else:
                going_on += 1
    if going_on == 0:
        ab.decide(state, -1)
    elif over and last:
        ab.decide(state, holm_winner(state, state.params[own + _ALPHA]))
    elif over:
        ab.next_stage(state)


class RampUpABTest(ABDesign):
    """Gives the treatments a small share of the visitors, then a larger one, and tests in the last stage.

    In every stage a guardrail watches whether a treatment is worse than the control by more than `tolerance`, with an
    always-valid test (normal mixture); a treatment for which the evidence reaches S (m - 1) / `guardrail_alpha`, with S
    stages and m arms, leaves the test. Without treatments left there is no winner. The last stage ends as `ABTest`
    does: z tests of each treatment with Holm's correction. Each stage is judged by its own visitors alone: pooled over
    stages with different shares, a drift in time would pass for an effect (Simpson's paradox).

    Where users are divided, they only ever move from the control to a treatment while the shares grow.

    Args:
        stages: Share of all treatments together in each stage, increasing, in (0, 1).
        stage_visitors: Visitors in each stage before the last, at least 1.
        visitors: Visitors in the last stage, at least 2.
        minimum_effect: Smallest difference in click rate worth finding, absolute; instead of `visitors`, see `ABTest`.
        baseline: Click rate of the control that the computation assumes; with `minimum_effect`.
        power: Probability of finding that difference.
        alpha: Familywise error rate of the final test, two-sided.
        guardrail_alpha: Probability at most that a treatment which is no worse than tolerated is ever removed.
        tolerance: Loss in click rate that is tolerated, absolute, at least 0.
        tau: Standard deviation of the differences that the guardrail expects, above 0.
        burn_in: Results per arm and stage before which the guardrail removes nothing, at least 1.
        look_every: Look at the guardrail only after every so many results, at least 1.
        control, by, if_winner, if_none: See `ABDesign`, also for the records.
        weights: Shares of the arms as in `ABDesign`; here only those of the treatments matter, relative to each other.

    References:
        Xu, Duan and Huang (2018), "SQR: balancing speed, quality and risk in online experiments" (ramp-up); Johari,
        Koomen, Pekelis and Walsh (2022), "Always valid inference" (guardrail).
    """

    kernel = design_kernel(_update)

    def __init__(
        self,
        stage_visitors: int,
        stages: Sequence[float] = (0.01, 0.05, 0.2, 0.5),
        visitors: int | None = None,
        minimum_effect: float | None = None,
        baseline: float | None = None,
        power: float = 0.8,
        alpha: float = 0.05,
        guardrail_alpha: float = 0.05,
        tolerance: float = 0.0,
        tau: float = 0.01,
        burn_in: int = 100,
        look_every: int = 1,
        control: int = 0,
        weights: Sequence[float] | None = None,
        by: Unit = "visit",
        if_winner: IfWinner = "ship",
        if_none: IfNone = "control",
    ) -> None:
        super().__init__(control, weights, by, if_winner, if_none)
        require_integer("stage_visitors", stage_visitors, 1)
        shares = checked_numbers("stages", stages)
        if not shares or list(shares) != sorted(set(shares)) or not 0 < shares[0] <= shares[-1] < 1:
            raise ValueError(f"`stages` must be increasing shares in (0, 1). Got {list(shares)}.")
        require_length(visitors, minimum_effect, baseline)
        require_number("power", power, 0.0, 1.0, strict=True)
        require_number("alpha", alpha, 0.0, 1.0, strict=True)
        require_number("guardrail_alpha", guardrail_alpha, 0.0, 1.0, strict=True)
        require_number("tolerance", tolerance, 0.0, 1.0)
        require_number("tau", tau, 0.0, strict=True)
        require_integer("burn_in", burn_in, 1)
        require_integer("look_every", look_every, 1)
        self.stage_visitors, self.stages = stage_visitors, shares
        self.visitors, self.minimum_effect, self.baseline = visitors, minimum_effect, baseline
        self.power, self.alpha, self.guardrail_alpha, self.tolerance = power, alpha, guardrail_alpha, tolerance
        self.tau, self.burn_in, self.look_every = tau, burn_in, look_every

    def length(self, num_arms: int) -> int:
        """Visitors of all stages together when `num_arms` arms take part; with unequal `weights`, all of them do."""
        return (len(self.stages) - 1) * self.stage_visitors + self._last_stage(num_arms)

    def decision_rule(self, num_arms: int) -> str:
        shares = ", ".join(f"{share:.0%}" for share in self.stages)
        comparisons = max(num_arms - 1, 1)
        return (
            f"The treatments together get {shares} of the visitors, {self.stage_visitors:,} visitors per stage and "
            f"{self._last_stage(num_arms):,} in the last. A guardrail removes a treatment once an always-valid test "
            f"(normal mixture, tau {self.tau:g}) says that it is worse than the control, arm {self.control}, by more "
            f"than {self.tolerance:.3g}, at the level {self.guardrail_alpha:.3g} over {comparisons} comparisons and "
            f"{len(self.stages)} stages (Bonferroni). At the end the last stage's visitors alone decide, in two-sided "
            f"z tests of two rates corrected by Holm at the familywise level {self.alpha:.3g}; of the treatments that "
            "are significantly better, the one with the highest observed rate wins."
        )

    def layout(self, problem: Problem) -> Layout:
        arms = problem.num_arms
        self._layout(problem)
        own = [
            float(self.stage_visitors),
            self.tolerance,
            self.tau,
            float(self.burn_in),
            float(self.look_every),
            self.alpha,
        ]
        for taking_part in range(arms + 1):
            level = self._comparisons_level(taking_part, self.guardrail_alpha) / len(self.stages)
            own += [-log(level), float(self._last_stage(max(taking_part, 1)))]
        stages = [self._stage_shares(arms, self.control, share) for share in self.stages]
        return self._layout(problem, own_params=own, stages=stages)

    def _last_stage(self, num_arms: int) -> int:
        if self.visitors is not None:
            return self.visitors
        assert self.baseline is not None
        assert self.minimum_effect is not None
        control = self.control if self.weights else 0
        shares = self._stage_shares(max(num_arms, 2), control, self.stages[-1])
        level = self._comparisons_level(num_arms, self.alpha)
        return fixed_length(shares, control, self.baseline, self.minimum_effect, self.power, level)

    def _stage_shares(self, num_arms: int, control: int, share: float) -> tuple[float, ...]:
        """The share of each arm when the treatments have `share` together."""
        weights = self._shares(num_arms)
        treatments = sum(weights) - weights[control]
        return tuple(1.0 - share if k == control else share * weight / treatments for k, weight in enumerate(weights))
