"""A/B tests that may be watched at every visitor: always-valid inference."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any, Literal, get_args

from bandits.core import Problem
from bandits.kernel import Layout, ScalarFeedback, State
from bandits.machine_code import jit
from bandits.statistics.kernels import beta_mixture_test_evidence, normal_mixture_evidence, predictive_step
from policies.ab import state as ab
from policies.ab.design import ABDesign, IfNone, IfWinner, Unit, design_kernel
from policies.ab.evidence import variance_of_difference
from policies.checks import checked_prior, require_integer, require_number

Method = Literal["predictive", "msprt", "beta-mixture"]

# Own parameters: the method, the parameters a and b of the prior, tau, the burn-in per arm, how often to look, the most
# results (0: no end), then the log of the evidence that ends a test of 0 .. K arms. Own field: log evidence of an arm.
_METHOD, _A, _B, _TAU, _BURN_IN, _LOOK_EVERY, _MOST, _THRESHOLDS = range(8)
_PREDICTIVE, _MSPRT, _BETA_MIXTURE = 0.0, 1.0, 2.0
_METHODS = {"predictive": _PREDICTIVE, "msprt": _MSPRT, "beta-mixture": _BETA_MIXTURE}
_EVIDENCE = ab.ARM_FIELDS


@jit
def _bet(state: State, k: int, feedback: ScalarFeedback) -> None:
    """Add to the evidence of arm k what one more visitor, of k or of the control, has brought."""
    own = ab.own_params(state)
    control = int(state.params[ab.CONTROL])
    share = state.params[ab.SHARES + k]
    state.arm[_EVIDENCE, k] += predictive_step(
        feedback.reward > 0.0,
        feedback.chosen == k,
        share / (share + state.params[ab.SHARES + control]),
        state.arm[ab.CLICKS, k],
        state.arm[ab.VISITORS, k],
        state.arm[ab.CLICKS, control],
        state.arm[ab.VISITORS, control],
        state.params[own + _A],
        state.params[own + _B],
    )


@jit
def _evidence(state: State, k: int) -> float:
    """Log evidence that the rates of arm k and of the control differ."""
    own = ab.own_params(state)
    control = int(state.params[ab.CONTROL])
    seen, control_seen = state.arm[ab.VISITORS, k], state.arm[ab.VISITORS, control]
    if state.params[own + _METHOD] == _PREDICTIVE:
        return float(state.arm[_EVIDENCE, k])
    if state.params[own + _METHOD] == _BETA_MIXTURE:
        clicks, control_clicks = state.arm[ab.CLICKS, k], state.arm[ab.CLICKS, control]
        return beta_mixture_test_evidence(
            clicks, seen, control_clicks, control_seen, state.params[own + _A], state.params[own + _B]
        )
    if min(seen, control_seen) < state.params[own + _BURN_IN]:
        return 0.0
    difference = ab.rate(state, k) - ab.rate(state, control)
    return normal_mixture_evidence(difference, variance_of_difference(state, k), state.params[own + _TAU])


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    own = ab.own_params(state)
    control = int(state.params[ab.CONTROL])
    if state.params[own + _METHOD] == _PREDICTIVE and state.shared[ab.DECIDED] == 0.0:
        for k in range(state.arm.shape[1]):  # before the visitor is counted
            there = feedback.context.available[k] and feedback.context.available[control]
            if there and ab.competes(state, k) and (feedback.chosen == k or feedback.chosen == control):
                _bet(state, k, feedback)
    if not ab.count(state, feedback):
        return
    results = state.shared[ab.RESULTS]
    most = state.params[own + _MOST]
    over = 0.0 < most <= results
    if not over and results % state.params[own + _LOOK_EVERY] != 0.0:
        return
    threshold = state.params[own + _THRESHOLDS + int(state.shared[ab.TAKING_PART])]
    winner = -1
    going_on = 0
    for k in range(state.arm.shape[1]):
        if ab.competes(state, k):
            if _evidence(state, k) < threshold:
                going_on += 1
            elif ab.rate(state, k) <= ab.rate(state, control):
                ab.drop(state, k)
            elif winner < 0 or ab.rate(state, k) > ab.rate(state, winner):
                winner = k
    if winner >= 0 or going_on == 0 or over:
        ab.decide(state, winner)


class AlwaysValidABTest(ABDesign):
    """Watches the evidence as it comes in, and stops whenever it is strong enough: no look is one too many.

    Each arm has its evidence against having the control's rate, a nonnegative martingale that begins at 1 (or stays
    below one). When it reaches (m - 1) / `alpha`, with m arms, the arm leaves the test if its observed rate is below
    the control's, and else wins; of several winners the one with the highest rate does. The probability that an arm
    like the control ever gets there is at most `alpha` / (m - 1), whenever and however often one looks.

    Args:
        method: `predictive` bets on each click with the rates learnt so far; exact, needs clicks of 0 or 1, and is the
            sooner of the two exact ones. `beta-mixture` uses counts alone, exact, and finds far fewer differences.
            `msprt` is the normal mixture, asymptotic, for any reward in [0, 1]; the one that allows division by users.
        visitors: Visitors after which the test ends without a winner; None lets it go on.
        tau: Standard deviation of the differences that `msprt` expects, above 0: about the smallest one worth finding.
        burn_in: Results per arm before which `msprt` never stops, at least 1.
        prior: Parameters of the Beta prior of each rate, above 0, for the exact methods. Differences are found soonest
            with a mean near the true rates.
        look_every: Look only after every so many results, at least 1: saves time, never breaks the level.
        alpha: Familywise error rate over arms and all looks, two-sided.
        control, weights, by, if_winner, if_none: See `ABDesign`, also for the records.

    References:
        Turner, Ly and Grünwald (2024), "Generic E-variables for exact sequential k-sample tests that allow for optional
        stopping" (`predictive`); Johari, Koomen, Pekelis and Walsh (2022), "Always valid inference: continuous
        monitoring of A/B tests" (`msprt`); Robbins (1970), "Statistical methods related to the law of the iterated
        logarithm" (`beta-mixture`). The formulas are in `bandits.statistics`.
    """

    kernel = design_kernel(_update)

    def __init__(
        self,
        method: Method = "predictive",
        visitors: int | None = None,
        tau: float = 0.01,
        burn_in: int = 100,
        prior: Sequence[float] = (1.0, 1.0),
        look_every: int = 1,
        alpha: float = 0.05,
        control: int = 0,
        weights: Sequence[float] | None = None,
        by: Unit = "visit",
        if_winner: IfWinner = "ship",
        if_none: IfNone = "control",
    ) -> None:
        super().__init__(control, weights, by, if_winner, if_none)
        if method not in get_args(Method):
            raise ValueError(f"`method` must be {', '.join(get_args(Method))}. Got {method!r}.")
        if by == "user" and method != "msprt":
            raise ValueError(
                f"`by` must be visit for method {method}, which takes visits for independent. Got {by!r}; "
                "method msprt counts users."
            )
        if visitors is not None:
            require_integer("visitors", visitors, 2)
        require_number("tau", tau, 0.0, strict=True)
        require_integer("burn_in", burn_in, 1)
        require_integer("look_every", look_every, 1)
        require_number("alpha", alpha, 0.0, 1.0, strict=True)
        self.method, self.visitors, self.tau, self.burn_in = method, visitors, tau, burn_in
        self.prior, self.look_every, self.alpha = checked_prior(prior), look_every, alpha

    def length(self, num_arms: int) -> int | None:
        return self.visitors

    def decision_rule(self, num_arms: int) -> str:
        name = {
            "predictive": f"exact predictive bets with prior Beta({self.prior[0]:g}, {self.prior[1]:g})",
            "beta-mixture": f"exact beta mixtures with prior Beta({self.prior[0]:g}, {self.prior[1]:g})",
            "msprt": f"the mixture sequential probability ratio test with tau {self.tau:g}, asymptotic",
        }
        looks = "at every result" if self.look_every == 1 else f"after every {self.look_every:,} results"
        end = (
            "It may never end." if self.visitors is None else f"It ends after {self.visitors:,} visitors at the latest."
        )
        comparisons = max(num_arms - 1, 1)
        return (
            f"Evidence against the control's rate, that of arm {self.control}, is watched {looks} for each arm, by "
            f"{name[self.method]}. It ends the test when it reaches {comparisons / self.alpha:,.0f} for an arm that is "
            f"better, and removes an arm that is worse. That holds the familywise level {self.alpha:.3g} over "
            f"{comparisons} comparisons and all looks. {end}"
        )

    def layout(self, problem: Problem) -> Layout:
        thresholds = (-log(self._comparisons_level(count, self.alpha)) for count in range(problem.num_arms + 1))
        own = (
            _METHODS[self.method],
            *self.prior,
            self.tau,
            float(self.burn_in),
            float(self.look_every),
            float(self.visitors or 0),
            *thresholds,
        )
        return self._layout(problem, own_params=own, own_fields=1)
