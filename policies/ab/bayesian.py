"""A/B tests that stop when a wrong decision would cost little: Bayesian expected loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bandits.core import Problem
from bandits.kernel import Layout, ScalarFeedback, State
from bandits.statistics.kernels import expected_loss
from policies.ab import state as ab
from policies.ab.design import ABDesign, IfNone, IfWinner, design_kernel
from policies.checks import checked_prior, require_integer, require_number

# Own parameters: the largest expected loss, the prior's a and b, how often to look, the most results (0: no end).
_MAX_LOSS, _A, _B, _LOOK_EVERY, _MOST = range(5)


def _update(state: State, feedback: ScalarFeedback, random: Any) -> None:
    if not ab.count(state, feedback):
        return
    own = ab.own_params(state)
    results = state.shared[ab.RESULTS]
    most = state.params[own + _MOST]
    over = 0.0 < most <= results
    if not over and results % state.params[own + _LOOK_EVERY] != 0.0:
        return
    a, b = state.params[own + _A], state.params[own + _B]
    best = -1
    highest = 0.0
    for k in range(state.arm.shape[1]):
        mean = (a + state.arm[ab.CLICKS, k]) / (a + b + state.arm[ab.VISITORS, k])
        if state.arm[ab.TOOK_PART, k] > 0.0 and (best < 0 or mean > highest):
            best = k
            highest = mean
    loss = expected_loss(state.arm[ab.CLICKS], state.arm[ab.VISITORS], state.arm[ab.TOOK_PART], best, a, b)
    if loss <= state.params[own + _MAX_LOSS]:
        ab.decide(state, best)
    elif over:
        ab.decide(state, -1)


class BayesianABTest(ABDesign):
    """Stops as soon as the expected loss of shipping the arm with the highest posterior mean is small.

    The rates have independent Beta posteriors. The expected loss of an arm is the mean, over the posterior, of how much
    the best arm's rate is above its own. The control is an arm like the others: it can win. Nothing here bounds how
    often an arm wins that is no better than the control; looking often makes that more likely.

    Args:
        max_loss: Largest expected loss that is acceptable, as an absolute click rate, above 0.
        visitors: Visitors after which the test ends without a winner; None lets it go on.
        prior: Parameters of the Beta prior of each rate, above 0.
        look_every: Look after every so many results, at least 1. A look takes about 0.05 ms for two arms.
        control, weights, if_winner, if_none: See `ABDesign`, also for the records. Visits are divided, not users: the
            posterior takes visits for independent.

    References:
        Stucchio (2015), "Bayesian A/B testing at VWO", section 3 (expected loss as a stopping rule).
    """

    kernel = design_kernel(_update)

    def __init__(
        self,
        max_loss: float,
        visitors: int | None = None,
        prior: Sequence[float] = (1.0, 1.0),
        look_every: int = 1000,
        control: int = 0,
        weights: Sequence[float] | None = None,
        if_winner: IfWinner = "ship",
        if_none: IfNone = "control",
    ) -> None:
        super().__init__(control, weights, "visit", if_winner, if_none)
        require_number("max_loss", max_loss, 0.0, 1.0, strict=True)
        if visitors is not None:
            require_integer("visitors", visitors, 2)
        require_integer("look_every", look_every, 1)
        self.max_loss, self.visitors, self.look_every = max_loss, visitors, look_every
        self.prior = checked_prior(prior)

    def length(self, num_arms: int) -> int | None:
        return self.visitors

    def decision_rule(self, num_arms: int) -> str:
        end = (
            "It may never end." if self.visitors is None else f"It ends after {self.visitors:,} visitors at the latest."
        )
        return (
            f"After every {self.look_every:,} results it computes the expected loss of shipping the arm with the "
            f"highest posterior mean (prior Beta({self.prior[0]:g}, {self.prior[1]:g})), and that arm wins once the "
            f"loss is at most {self.max_loss:.3g} clicks per visitor. This bounds no error rate. {end}"
        )

    def layout(self, problem: Problem) -> Layout:
        own = (self.max_loss, *self.prior, float(self.look_every), float(self.visitors or 0))
        return self._layout(problem, own_params=own)
