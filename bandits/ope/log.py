"""Logged feedback: what a policy chose, with which probability, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bandits.core import BoolArray, Context, FloatArray, IntArray

# Propensities are often written with few digits: what differs by less is taken for rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class LoggedFeedback:
    """A log of `n` rounds with the propensities of the policy that collected it, validated.

    Rows of one replication stand in the order in which they happened.

    Attributes:
        chosen: Arm that was shown, 0 .. K-1, shape (n,).
        reward: What it brought, shape (n,).
        propensity: Probability with which the logging policy had chosen it, in (0, 1], shape (n,).
        num_arms: Number of arms `K`.
        adaptive: Whether the logging policy learned from earlier rows of this log. Then rounds are not independent, and
            intervals must not pretend that they are.
        propensities: Probability of every arm, rows summing to 1, shape (n, K); None where only that of the chosen arm
            was kept. Without it, missing support cannot be seen.
        features: What was known of the visitor, shape (n, D); None where there is nothing.
        available: Whether each arm could be chosen, shape (n, K); None where all could, always.
        position: Place on the page, shape (n,); None where there is only one.
        user_id: Who visited, shape (n,); None where unknown.
        time: Calendar time in days, shape (n,); None where unknown.
        replication: Independent run that each row belongs to, shape (n,); None for a single one.
        arm_names: Names of the arms, length K; empty where they have none.
        name: Where the log came from.

    Raises:
        ValueError: When shapes disagree, a number is not finite, a propensity is 0 or above 1, a chosen arm is out of
            range or was not available, or propensities do not sum to 1 or contradict that of the chosen arm.
    """

    chosen: IntArray
    reward: FloatArray
    propensity: FloatArray
    num_arms: int
    adaptive: bool
    propensities: FloatArray | None = None
    features: FloatArray | None = None
    available: BoolArray | None = None
    position: IntArray | None = None
    user_id: IntArray | None = None
    time: FloatArray | None = None
    replication: IntArray | None = None
    arm_names: tuple[str, ...] = ()
    name: str = "log"

    def __post_init__(self) -> None:
        if self.num_arms < 1:
            raise ValueError(f"`num_arms` must be at least 1. Got {self.num_arms}.")
        for name in ("chosen", "position", "user_id", "replication"):
            self._convert(name, np.int64)
        for name in ("reward", "propensity", "propensities", "features", "time"):
            self._convert(name, np.float64)
        self._convert("available", np.bool_)
        n = len(self.chosen)
        if self.chosen.ndim != 1 or n == 0:
            raise ValueError(f"`chosen` must be a vector of at least one round. Got shape {self.chosen.shape}.")
        for name in ("reward", "propensity", "position", "user_id", "time", "replication"):
            self._require_shape(name, (n,))
        for name in ("propensities", "available"):
            self._require_shape(name, (n, self.num_arms))
        if self.features is not None and (self.features.ndim != 2 or len(self.features) != n):
            raise ValueError(f"`features` must have shape ({n}, D). Got {self.features.shape}.")
        if self.arm_names and len(self.arm_names) != self.num_arms:
            raise ValueError(f"`arm_names` must hold {self.num_arms} names. Got {len(self.arm_names)}.")
        self._check_values()

    def __len__(self) -> int:
        return len(self.chosen)

    def __repr__(self) -> str:
        size = f"{len(self):,} rounds, {self.num_arms} arms, {self.num_replications} replications"
        return f"LoggedFeedback({self.name!r}, {size}, adaptive={self.adaptive})"

    @property
    def num_replications(self) -> int:
        """Number of independent runs in the log."""
        return 1 if self.replication is None else len(np.unique(self.replication))

    @cached_property
    def round(self) -> IntArray:
        """Number of each row within its replication, from 0, shape (n,)."""
        if self.replication is None:
            return np.arange(len(self))
        order = np.argsort(self.replication, kind="stable")
        first = np.unique(self.replication[order], return_index=True, return_counts=True)[1:]
        numbers = np.empty(len(self), dtype=np.int64)
        numbers[order] = np.arange(len(self)) - np.repeat(*first)
        return numbers

    def context(self, rows: IntArray) -> Context:
        """What a policy would have seen in some rows (B,), without arm features."""
        count = len(rows)
        shape = (count, self.num_arms)
        return Context(
            round=self.round[rows],
            user_id=np.full(count, -1) if self.user_id is None else self.user_id[rows],
            time=np.zeros(count) if self.time is None else self.time[rows],
            user=np.zeros((count, 0)) if self.features is None else self.features[rows],
            arms=np.zeros((*shape, 0)),
            available=np.ones(shape, dtype=np.bool_) if self.available is None else self.available[rows],
        )

    def _convert(self, name: str, kind: type[np.generic]) -> None:
        value = getattr(self, name)
        if value is None:
            return
        array: NDArray[np.generic] = np.asarray(value)
        if kind is np.int64 and array.dtype.kind not in "iu":
            raise ValueError(f"`{name}` must hold integers. Got {array.dtype}.")
        if kind is np.bool_ and array.dtype != np.bool_:
            raise ValueError(f"`{name}` must hold true and false. Got {array.dtype}.")
        if kind is np.float64 and array.dtype.kind not in "biuf":
            raise ValueError(f"`{name}` must hold numbers. Got {array.dtype}.")
        array = array.astype(kind)
        if kind is np.float64 and not np.isfinite(array).all():
            raise ValueError(f"`{name}` must be finite. Got {array[~np.isfinite(array)][0]}.")
        object.__setattr__(self, name, array)

    def _require_shape(self, name: str, shape: tuple[int, ...]) -> None:
        value = getattr(self, name)
        if value is not None and value.shape != shape:
            raise ValueError(f"`{name}` must have shape {shape}. Got {value.shape}.")

    def _check_values(self) -> None:
        rows = np.arange(len(self))
        if self.chosen.min() < 0 or self.chosen.max() >= self.num_arms:
            outside = self.chosen[(self.chosen < 0) | (self.chosen >= self.num_arms)][0]
            raise ValueError(f"`chosen` must lie in 0 .. {self.num_arms - 1}. Got {outside}.")
        if not np.all((self.propensity > 0) & (self.propensity <= 1)):
            raise ValueError(
                "`propensity` must lie in (0, 1]: what was chosen was not impossible. "
                f"Got values in [{self.propensity.min()}, {self.propensity.max()}]."
            )
        if self.available is not None and not self.available[rows, self.chosen].all():
            raise ValueError("`chosen` must be available. Got an arm that was not.")
        if self.propensities is None:
            return
        require_probabilities("propensities", self.propensities)
        own = self.propensities[rows, self.chosen]
        wrong = np.abs(own - self.propensity) > _ROUNDING * np.maximum(own, self.propensity)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                "`propensities` must hold `propensity` at the chosen arm. "
                f"Got {own[row]} and {self.propensity[row]} in row {row}."
            )
        if self.available is not None and np.any(self.propensities[~self.available] > 0):
            raise ValueError("`propensities` must be 0 where an arm is not available. Got a positive one.")


def require_probabilities(name: str, values: FloatArray) -> None:
    """Raise unless the rows of `values` (n, K) are probabilities: at least 0 and summing to 1 but for rounding.

    Raises:
        ValueError: When they are not.
    """
    if not np.all(values >= 0):
        raise ValueError(f"`{name}` must be at least 0. Got {values.min()}.")
    sums = values.sum(axis=-1)
    wrong = np.abs(sums - 1) > _ROUNDING * np.sqrt(values.shape[-1])
    if wrong.any():
        raise ValueError(f"`{name}` must sum to 1 in every round. Got {sums[wrong][0]:.6g} in row {np.argmax(wrong)}.")
