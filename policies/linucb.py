"""Linear upper confidence bounds."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal

from bandits.choice import argmax, greedy_probabilities
from bandits.core import FloatArray, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from policies import linear_disjoint, linear_product
from policies.checks import require_linear_features, require_number


def _kernel(models: ModuleType) -> Kernel:
    """The hooks over one kind of linear models."""
    estimate, bound, learn, score = models.estimate, models.bound, models.learn, models.SCORE

    def select(state: State, context: ScalarContext, random: Any) -> int:
        bound(state, context)
        return argmax(state.arm[score], context.available, random)

    def update(state: State, feedback: ScalarFeedback, random: Any) -> None:
        learn(state, feedback.context, feedback.chosen, feedback.reward)

    def propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
        bound(state, context)
        greedy_probabilities(state.arm[score], context.available, out)

    def parts(state: State, context: ScalarContext, random: Any, out: FloatArray) -> None:
        estimate(state, context)
        for k in range(out.shape[1]):
            out[0, k] = state.arm[score, k]
        bound(state, context)
        for k in range(out.shape[1]):
            out[1, k] = state.arm[score, k] - out[0, k]

    return Kernel(select=select, update=update, start=models.start, propensities=propensities, parts=parts)


_DISJOINT = _kernel(linear_disjoint)
_PRODUCT = _kernel(linear_product)


class LinUCB(KernelPolicy):
    """Shows the arm with the highest linear estimate plus alpha standard errors.

    `disjoint` keeps one ridge regression per arm on the user's features. `product` keeps a single one, on the products
    of user and arm features, so that an arm never seen before already has an estimate. Both add a constant feature 1.
    With P = D + 1 features, a round of `disjoint` costs about K P**2 / 2 multiplications; one of `product`, with
    P = (user_components + 1)(arm_components + 1), about 3 P**2.

    Args:
        alpha: Number of standard errors added to the estimate, at least 0. With rewards in [0, 1] the noise has a
            standard deviation of at most 1/2, and that of rare clicks is about the root of their rate.
        ridge: Weight of the penalty on the coefficients, above 0.
        features: `disjoint` or `product`.
        user_components: How many of the first user features the product uses; at most all.
        arm_components: How many of the first arm features the product uses; at most all.

    References:
        Li, Chu, Langford and Schapire (2010), "A contextual-bandit approach to personalized news article
        recommendation", algorithm 1; the product features are those of their section 3.2.
    """

    part_names = ("estimate", "bonus")

    def __init__(
        self,
        alpha: float = 0.5,
        ridge: float = 1.0,
        features: Literal["disjoint", "product"] = "disjoint",
        user_components: int = 5,
        arm_components: int = 5,
    ) -> None:
        require_number("alpha", alpha, 0.0)
        require_number("ridge", ridge, 0.0, strict=True)
        require_linear_features(features, user_components, arm_components)
        self.alpha, self.ridge, self.features = alpha, ridge, features
        self.user_components, self.arm_components = user_components, arm_components
        self.kernel = _DISJOINT if features == "disjoint" else _PRODUCT

    def layout(self, problem: Problem) -> Layout:
        if self.features == "disjoint":
            return linear_disjoint.layout(problem, self.alpha, self.ridge)
        return linear_product.layout(problem, self.alpha, self.ridge, self.user_components, self.arm_components)
