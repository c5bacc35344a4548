"""Thompson sampling with linear models."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal

from bandits.choice import argmax
from bandits.core import FloatArray, Policy, Problem
from bandits.kernel import Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.kernel_policy import KernelPolicy
from policies import linear_disjoint, linear_product
from policies.checks import require_linear_features, require_number


def _kernel(models: ModuleType) -> Kernel:
    """The hooks over one kind of linear models."""
    estimate, sample, learn, score = models.estimate, models.sample, models.learn, models.SCORE

    def select(state: State, context: ScalarContext, random: Any) -> int:
        sample(state, context, random)
        return argmax(state.arm[score], context.available, random)

    def update(state: State, feedback: ScalarFeedback, random: Any) -> None:
        learn(state, feedback.context, feedback.chosen, feedback.reward)

    def parts(state: State, context: ScalarContext, random: Any, out: FloatArray) -> None:
        estimate(state, context)
        for k in range(out.shape[1]):
            out[0, k] = state.arm[score, k]
        sample(state, context, random)
        for k in range(out.shape[1]):
            out[1, k] = state.arm[score, k] - out[0, k]

    return Kernel(select=select, update=update, start=models.start, parts=parts)


_DISJOINT = _kernel(linear_disjoint)
_PRODUCT = _kernel(linear_product)


class LinearThompson(KernelPolicy):
    """Draws coefficients from their posterior under a linear model with normal noise; shows the arm they favour.

    The posterior is normal around the ridge estimate with covariance scale**2 times the inverse Gram matrix. Only what
    the draw says about the user who is there matters: its projection is drawn instead of all coefficients, which is the
    same law at a fraction of the cost. See `LinUCB` for `disjoint` and `product` features and their cost.

    Args:
        scale: Standard deviation of the noise, at least 0: the larger, the more the policy explores.
        ridge: Precision of the coefficients before any data, in units of the noise's, above 0.
        features: `disjoint` or `product`.
        user_components: How many of the first user features the product uses; at most all.
        arm_components: How many of the first arm features the product uses; at most all.

    References:
        Agrawal and Goyal (2013), "Thompson sampling for contextual bandits with linear payoffs", algorithm 1, where
        `scale` is v and `ridge` is 1.
    """

    part_names = ("estimate", "draw")

    def __init__(
        self,
        scale: float = 0.5,
        ridge: float = 1.0,
        features: Literal["disjoint", "product"] = "disjoint",
        user_components: int = 5,
        arm_components: int = 5,
    ) -> None:
        require_number("scale", scale, 0.0)
        require_number("ridge", ridge, 0.0, strict=True)
        require_linear_features(features, user_components, arm_components)
        self.scale, self.ridge, self.features = scale, ridge, features
        self.user_components, self.arm_components = user_components, arm_components
        self.kernel = _DISJOINT if features == "disjoint" else _PRODUCT

    def torch_twin(self) -> Policy | None:
        """The policy on a device; disjoint features only."""
        if self.features != "disjoint":
            return None
        from policies.neural import TorchLinearThompson

        return TorchLinearThompson(self.scale, self.ridge)

    def layout(self, problem: Problem) -> Layout:
        if self.features == "disjoint":
            return linear_disjoint.layout(problem, self.scale, self.ridge)
        return linear_product.layout(problem, self.scale, self.ridge, self.user_components, self.arm_components)
