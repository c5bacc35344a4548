"""Weighted logistic regression with a ridge penalty, by Newton's method."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from bandits.core import FloatArray

_MOST_STEPS, _MOST_HALVINGS = 100, 30
_CLOSE = 1e-10  # squared Newton decrement per row: the loss is that close to its minimum


def fit_logistic(
    x: FloatArray, y: FloatArray, weight: FloatArray, penalty: FloatArray, start: FloatArray | None = None
) -> FloatArray:
    """The coefficients b (P,) that minimise `sum weight (log(1 + exp(x b)) - y x b) + sum penalty b^2 / 2`.

    The loss is strictly convex, so where Newton's method begins changes the time that it takes and not the result.

    Args:
        x: Features, shape (B, P).
        y: Outcomes in [0, 1], shape (B,).
        weight: Weights of the rows, at least 0, shape (B,).
        penalty: Weights of the squared coefficients, all above 0, shape (P,).
        start: Where to begin, shape (P,); 0 by default.

    >>> fit_logistic(np.ones((4, 1)), np.array([1.0, 0, 0, 0]), np.ones(4), np.array([1e-9])).round(4)  # log(1 / 3)
    array([-1.0986])
    """

    def loss(coefficients: FloatArray) -> float:
        z = x @ coefficients
        return float(weight @ (np.logaddexp(0.0, z) - y * z) + penalty @ coefficients**2 / 2)

    found = np.zeros(x.shape[1]) if start is None else start.copy()
    reached = loss(found)
    for _ in range(_MOST_STEPS):
        p = expit(x @ found)
        gradient = x.T @ (weight * (p - y)) + penalty * found
        hessian = x.T @ (x * (weight * p * (1 - p))[:, np.newaxis]) + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        if gradient @ step <= _CLOSE * len(y):
            return found - step
        for _ in range(_MOST_HALVINGS):
            if (value := loss(found - step)) < reached:
                break
            step /= 2
        else:
            return found  # rounding hides what is left to gain
        found, reached = found - step, value
    return found
