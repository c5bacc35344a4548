"""Calibrators: from logits to click probabilities, fitted on rows that nothing else used."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from bandits.reward_models.within_test import FloatArray, IntArray, conditional_log_loss

Method = Literal["identity", "temperature", "platt", "within_test"]


@dataclass(frozen=True)
class Calibrator:
    """Probability `sigmoid(slope * logit + intercept)`: the one sigmoid between the network and the coin.

    `identity` leaves logits as they are, `temperature` fits the slope, `platt` both numbers (so it can move the base
    rate). `within_test` first takes the mean over the items of a test off: scores of such a model have no level, so the
    slope is fitted by the conditional likelihood and the intercept is the log-odds of the log's base rate.

    Args:
        method: One of the four above.
        slope: Factor on the logit, at least 0.
        intercept: Added log-odds.

    References:
        Platt (1999), "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
        methods". Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks".
    """

    method: Method
    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slope) and self.slope >= 0 and np.isfinite(self.intercept)):
            raise ValueError(
                f"`slope` must be at least 0 and finite, like `intercept`. Got {self.slope}, {self.intercept}."
            )

    def __call__(self, logits: FloatArray) -> FloatArray:
        """Probabilities of logits of shape (..., K); `within_test` takes the last axis to be the items of one test.

        >>> Calibrator("platt", slope=0.0, intercept=0.0)(np.array([3.0, -3.0]))
        array([0.5, 0.5])
        """
        if self.method == "within_test":
            logits = logits - logits.mean(axis=-1, keepdims=True)
        probabilities: FloatArray = expit(self.slope * logits + self.intercept)
        return probabilities

    @classmethod
    def fit(
        cls,
        method: Literal["identity", "temperature", "platt"],
        logits: FloatArray,
        impressions: FloatArray,
        clicks: FloatArray,
    ) -> Calibrator:
        """Fit by the binomial likelihood of `clicks` in `impressions`; all arrays have shape (n,).

        Raises:
            ValueError: When there are no clicks, or nothing but clicks.
        """
        if not 0 < clicks.sum() < impressions.sum():
            raise ValueError(
                f"The calibration rows must have clicks and impressions without a click. "
                f"Got {clicks.sum():.0f} clicks in {impressions.sum():.0f} impressions."
            )
        if method == "identity":
            return cls("identity")
        moves_level = method == "platt"
        rate = clicks.sum() / impressions.sum()
        start = np.array([1.0, logit(rate) - np.average(logits, weights=impressions)])[: 1 + moves_level]

        def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
            z = parameters[0] * logits + (parameters[1] if moves_level else 0.0)
            value = np.sum(impressions * np.logaddexp(0, z) - clicks * z) / impressions.sum()
            error = (impressions * expit(z) - clicks) / impressions.sum()
            return float(value), np.array([np.sum(error * logits), np.sum(error)])[: 1 + moves_level]

        bounds = [(0.0, None), (None, None)][: 1 + moves_level]  # a negative slope would turn the ranking round
        best = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10})
        return cls(method, float(best.x[0]), float(best.x[1]) if moves_level else 0.0)

    @classmethod
    def fit_within_tests(
        cls, scores: FloatArray, impressions: FloatArray, clicks: FloatArray, contrast: IntArray, *, base_rate: float
    ) -> Calibrator:
        """Fit the slope to differences inside contrasts; the level is `base_rate`. Arrays have shape (n,).

        Raises:
            ValueError: When there are no clicks, or `base_rate` is not inside (0, 1).
        """
        if clicks.sum() <= 0 or not 0 < base_rate < 1:
            raise ValueError(f"The calibration rows must have clicks. Got {clicks.sum():.0f}, base rate {base_rate}.")

        def loss(slope: FloatArray) -> float:
            return conditional_log_loss(slope[0] * scores, impressions, clicks, contrast)

        best = minimize(loss, np.array([1.0]), bounds=[(0.0, None)], method="L-BFGS-B", options={"ftol": 1e-15})
        return cls("within_test", float(best.x[0]), float(logit(base_rate)))

    @property
    def content_hash(self) -> str:
        """SHA-256 of the method and its numbers, as 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the method, its numbers and their hash as JSON."""
        path.write_text(json.dumps(asdict(self) | {"content_hash": self.content_hash}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Calibrator:
        """Read what `save` wrote.

        Raises:
            ValueError: When the numbers do not have the hash stored with them.
        """
        stored = json.loads(path.read_text(encoding="utf-8"))
        expected = stored.pop("content_hash")
        calibrator = cls(**stored)
        if calibrator.content_hash != expected:
            raise ValueError(f"{path} must have hash {expected}. Got {calibrator.content_hash}: damaged?")
        return calibrator
