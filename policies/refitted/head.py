"""A logistic head on the features that contexts carry."""

from __future__ import annotations

import numpy as np

from bandits.core import Context, FloatArray, IntArray
from bandits.memory import array_bytes
from policies.refitted.logistic import fit_logistic
from policies.refitted.pairs import Pairs
from policies.refitted.visit_log import Visits


class HeadLearner:
    """The `Learner` whose parameters are the coefficients of a logistic regression with a ridge penalty.

    Args:
        pairs: Features of visitor and arm.
        ridge: Penalty on squared coefficients but the constant's.
    """

    def __init__(self, pairs: Pairs, ridge: float) -> None:
        self._pairs, self._penalty = pairs, pairs.penalty(ridge)
        self.size, self.user_dim, self.arm_dim = pairs.size, pairs.user, pairs.arm

    def seen(self, context: Context, chosen: IntArray) -> tuple[FloatArray, FloatArray]:
        """The components that the features are made of."""
        return context.user[:, : self.user_dim], context.arms[np.arange(len(chosen)), chosen, : self.arm_dim]

    def fit(self, visits: Visits, weight: FloatArray, start: FloatArray, seed: int) -> FloatArray:
        """The minimum of a convex loss: `start` saves time, nothing is drawn."""
        x = self._pairs.rows(visits.user, visits.arm, visits.chosen)
        return fit_logistic(x, visits.reward, weight, self._penalty, start)

    def scores(self, models: FloatArray, context: Context) -> FloatArray:
        """Features times coefficients."""
        return self._pairs.scores(models, context)

    def bytes_of_fit(self, visits: int) -> int:
        """Features of the visits, twice, and a matrix of second derivatives, twice."""
        return array_bytes([(2 * visits, self.size), (2 * self.size, self.size)])
