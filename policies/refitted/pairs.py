"""What a linear head sees of a visitor and an arm, and what many heads say of all arms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandits.core import Context, FloatArray, IntArray, Problem

# The constant is hardly penalised, so that predictions have the log's level, but enough to stay finite when nobody, or
# everybody, clicked.
CONSTANT_PENALTY = 0.01


@dataclass(frozen=True)
class Pairs:
    """Features of pairs of a visitor and an arm.

    With u = (1, user components) and a = (1, arm components), `product` takes all products of u and a; its first
    feature is the constant 1. `disjoint` takes the constant, and u once more for each arm: what an arm adds to
    the common level, which is nothing for an arm that was never seen.

    Attributes:
        kind: `disjoint` or `product`.
        user: Number of user components U.
        arm: Number of arm components A; 0 for `disjoint`.
        num_arms: Number of arms K.
    """

    kind: str
    user: int
    arm: int
    num_arms: int

    @classmethod
    def of(cls, problem: Problem, kind: str, user_components: int, arm_components: int) -> Pairs:
        """Of a problem's features: `disjoint` takes all of the user, `product` the first components of both."""
        if kind == "disjoint":
            return cls(kind, problem.user_dim, 0, problem.num_arms)
        return cls(kind, min(user_components, problem.user_dim), min(arm_components, problem.arm_dim), problem.num_arms)

    @property
    def size(self) -> int:
        """Number of features P."""
        if self.kind == "disjoint":
            return 1 + self.num_arms * (1 + self.user)
        return (1 + self.user) * (1 + self.arm)

    def penalty(self, ridge: float) -> FloatArray:
        """Penalty of each coefficient, shape (P,)."""
        penalty = np.full(self.size, ridge)
        penalty[0] = CONSTANT_PENALTY
        return penalty

    def rows(self, user: FloatArray, arm: FloatArray, chosen: IntArray) -> FloatArray:
        """Features of visits, shape (B, P).

        Args:
            user: User components, shape (B, U).
            arm: Components of the chosen arms, shape (B, A).
            chosen: The chosen arms, shape (B,).
        """
        u = _with_constant(user)
        if self.kind == "product":
            return (u[:, :, np.newaxis] * _with_constant(arm)[:, np.newaxis]).reshape(len(u), -1)
        x = np.zeros((len(u), self.size))
        x[:, 0] = 1.0
        x[np.arange(len(u))[:, np.newaxis], 1 + chosen[:, np.newaxis] * u.shape[1] + np.arange(u.shape[1])] = u
        return x

    def scores(self, heads: FloatArray, context: Context) -> FloatArray:
        """Log-odds of a click for every head and arm, shape (N, H, K), from coefficients of shape (N, H, P)."""
        u = _with_constant(context.user[:, : self.user])
        by_replication = (*heads.shape[:2], -1)
        if self.kind == "disjoint":
            per_arm = heads[:, :, 1:].reshape(*heads.shape[:2], self.num_arms, -1)
            scores: FloatArray = heads[:, :, :1] + np.einsum("nhku,nu->nhk", per_arm, u)
            return scores
        per_component = np.einsum("nhua,nu->nha", heads.reshape(*heads.shape[:2], u.shape[1], -1), u)
        arms = _with_constant(context.arms[:, :, : self.arm])
        scores = np.einsum("nha,nka->nhk", per_component.reshape(by_replication), arms)
        return scores


def _with_constant(components: FloatArray) -> FloatArray:
    """The constant 1 before the last axis' numbers."""
    return np.concatenate([np.ones((*components.shape[:-1], 1)), components], axis=-1)
