"""What a refitted model learns with: a logistic head, or a language model of its own."""

from __future__ import annotations

from typing import Protocol

from bandits.core import Context, FloatArray, IntArray
from policies.refitted.visit_log import Visits


class Learner(Protocol):
    """Fits the parameters of click models to visits, and scores arms by them.

    A model is a row of P numbers; those of N replications with H heads each have shape (N, H, P), and are 0 before the
    first fit, when all arms score alike.

    Attributes:
        size: Number of parameters P.
        user_dim: How many numbers of a visitor are kept in the log, U.
        arm_dim: How many numbers of the shown arm are kept in the log, A.
    """

    size: int
    user_dim: int
    arm_dim: int

    def seen(self, context: Context, chosen: IntArray) -> tuple[FloatArray, FloatArray]:
        """What the log keeps of visitors, shape (N, U), and of the arms (N,) they were shown, shape (N, A)."""

    def fit(self, visits: Visits, weight: FloatArray, start: FloatArray, seed: int) -> FloatArray:
        """The parameters of a model, shape (P,).

        Args:
            visits: Visits whose rewards are known, B of them.
            weight: Their weights, at least 0, shape (B,).
            start: Parameters of the model that is deployed, shape (P,).
            seed: Of whatever is drawn, at least 0: keyed by replication, refit and head.
        """

    def scores(self, models: FloatArray, context: Context) -> FloatArray:
        """Log-odds of a click for every head and arm, shape (N, H, K), by models of shape (N, H, P)."""

    def bytes_of_fit(self, visits: int) -> int:
        """Memory that a fit to so many visits takes."""
