"""Calibrators: from logits to click probabilities, fitted on rows that nothing else used."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit
from sklearn.isotonic import IsotonicRegression

from bandits.reward_models.within_test import FloatArray, IntArray, conditional_log_loss

LevelMethod = Literal["identity", "temperature", "platt", "beta", "isotonic"]
Method = Literal["identity", "temperature", "platt", "beta", "isotonic", "within_test"]
LEVEL_METHODS: tuple[LevelMethod, ...] = get_args(LevelMethod)  # the simpler first


@dataclass(frozen=True)
class Calibrator:
    """A map from logits to probabilities that never turns their order round: the one between network and coin.

    | method | log-odds of a click at logit z, with s = sigmoid(z) |
    |---|---|
    | `identity` | z |
    | `temperature` | slope * z |
    | `platt` | slope * z + intercept: it can move the base rate |
    | `beta` | slope * ln s - upper_slope * ln(1 - s) + intercept: Platt's line where both slopes are the same |
    | `isotonic` | any increasing steps, joined by straight lines between their ends (in probability) |
    | `within_test` | slope * (z - mean of z over the test's items) + intercept |

    Where s is small, ln s is nearly z and ln(1 - s) nearly 0, so `beta` is nearly a line there, and bends towards
    another where s is large. `isotonic` follows any shape given thousands of clicks, but gives equal
    probabilities to all logits of a step: items that it ties are tied in every simulation. Scores of a model of tests
    have no level, so in `within_test` the slope is fitted by the conditional likelihood and the intercept is the
    log-odds of the log's base rate.

    Args:
        method: One of the six above.
        slope: Factor on the logit (`beta`: on ln s), at least 0.
        intercept: Added log-odds.
        upper_slope: `beta` only: factor on -ln(1 - s), at least 0.
        knots: `isotonic` only: increasing logits.
        rates: `isotonic` only: probabilities at the knots in [0, 1], never decreasing.

    References:
        Platt (1999), "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
        methods". Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks". Kull, Silva Filho,
        Flach (2017), "Beta calibration: a well-founded and easily implemented improvement on logistic calibration for
        binary classifiers". Zadrozny, Elkan (2002), "Transforming classifier scores into accurate multiclass
        probability estimates" (isotonic).
    """

    method: Method
    slope: float = 1.0
    intercept: float = 0.0
    upper_slope: float | None = None
    knots: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slope) and self.slope >= 0 and np.isfinite(self.intercept)):
            raise ValueError(
                f"`slope` must be at least 0 and finite, like `intercept`. Got {self.slope}, {self.intercept}."
            )
        if self.method not in get_args(Method):
            raise ValueError(f"`method` must be one of {', '.join(get_args(Method))}. Got {self.method!r}.")
        upper = self.upper_slope
        if (upper is not None) != (self.method == "beta") or (upper is not None and not 0 <= upper < np.inf):
            raise ValueError(f"`upper_slope` must be at least 0 and finite for `beta`, None for others. Got {upper}.")
        if bool(self.knots) != (self.method == "isotonic") or len(self.knots) != len(self.rates):
            raise ValueError(
                "`knots` and `rates` must be of one length, and there for `isotonic` only. "
                f"Got {len(self.knots)} and {len(self.rates)} for `{self.method}`."
            )
        steps, levels = np.array(self.knots), np.array(self.rates)
        if not (np.all(np.isfinite(steps)) and np.all(np.diff(steps) > 0)):
            raise ValueError("`knots` must be finite and increase. Got others.")
        if not (np.all((levels >= 0) & (levels <= 1)) and np.all(np.diff(levels) >= 0)):
            raise ValueError("`rates` must lie in [0, 1] and never decrease. Got others.")

    def __call__(self, logits: FloatArray) -> FloatArray:
        """Probabilities of logits of shape (..., K); `within_test` takes the last axis to be the items of one test.

        >>> Calibrator("platt", slope=0.0, intercept=0.0)(np.array([3.0, -3.0]))
        array([0.5, 0.5])
        """
        probabilities: FloatArray
        if self.method == "isotonic":
            probabilities = np.interp(logits, self.knots, self.rates)
            return probabilities
        if self.upper_slope is not None:
            odds = self.slope * log_expit(logits) - self.upper_slope * log_expit(-logits)
            probabilities = expit(odds + self.intercept)
            return probabilities
        if self.method == "within_test":
            logits = logits - logits.mean(axis=-1, keepdims=True)
        probabilities = expit(self.slope * logits + self.intercept)
        return probabilities

    @classmethod
    def fit(cls, method: LevelMethod, logits: FloatArray, impressions: FloatArray, clicks: FloatArray) -> Calibrator:
        """Fit by the binomial likelihood of `clicks` in `impressions`; all arrays have shape (n,).

        The likelihood of `isotonic` is greatest where pooled adjacent violators put it. That may be at a rate of 0 or 1
        at the ends, where no click was seen or nothing else: such a step of m impressions gets the rate (c + 1/2) /
        (m + 1), but never passes its neighbour.

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
        if method == "isotonic":
            knots, rates = _steps(logits, impressions, clicks)
            return cls("isotonic", knots=knots, rates=rates)
        if method == "beta":
            features = np.column_stack([log_expit(logits), -log_expit(-logits)])
            (lower, upper), intercept = _logistic(features, impressions, clicks, moves_level=True)
            return cls("beta", lower, intercept, upper)
        (slope,), intercept = _logistic(logits[:, np.newaxis], impressions, clicks, moves_level=method == "platt")
        return cls(method, slope, intercept)

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
        return hashlib.sha256(json.dumps(self._numbers(), sort_keys=True).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the method, its numbers and their hash as JSON."""
        path.write_text(json.dumps(self._numbers() | {"content_hash": self.content_hash}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Calibrator:
        """Read what `save` wrote.

        Raises:
            ValueError: When the numbers do not have the hash stored with them.
        """
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        expected = stored.pop("content_hash")
        for name in {"knots", "rates"} & stored.keys():
            stored[name] = tuple(stored[name])
        calibrator = cls(**stored)
        if calibrator.content_hash != expected:
            raise ValueError(f"{path} must have hash {expected}. Got {calibrator.content_hash}: damaged?")
        return calibrator

    @classmethod
    def load_expected(cls, path: Path, content_hash: str) -> Calibrator:
        """Read the calibrator of a model that says which one it must be.

        Raises:
            ValueError: When it is damaged, or belongs to another model.
        """
        calibrator = cls.load(path)
        if calibrator.content_hash != content_hash:
            raise ValueError(
                f"The calibrator in {path.parent} must have hash {content_hash}. Got {calibrator.content_hash}: was it "
                "fitted on another model?"
            )
        return calibrator

    def _numbers(self) -> dict[str, Any]:
        """What the method has of its own; names that only other methods use never enter a hash."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != ()}


def _logistic(
    features: FloatArray, impressions: FloatArray, clicks: FloatArray, *, moves_level: bool
) -> tuple[list[float], float]:
    """Slopes at least 0 of features of shape (n, k), and the intercept, of a binomial regression."""
    # A negative slope would turn the ranking round. Features of mean 0 and like scales make the search round.
    center = np.average(features, axis=0, weights=impressions) * moves_level
    scale = np.sqrt(np.average((features - center) ** 2, axis=0, weights=impressions))
    scale[scale == 0] = 1.0
    x, total, slopes = (features - center) / scale, impressions.sum(), features.shape[1]
    start = np.append(scale, logit(clicks.sum() / total))[: slopes + moves_level]

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        z = x @ parameters[:slopes] + (parameters[slopes] if moves_level else 0.0)
        value = np.sum(impressions * np.logaddexp(0, z) - clicks * z) / total
        error = (impressions * expit(z) - clicks) / total
        return float(value), np.append(error @ x, error.sum())[: slopes + moves_level]

    bounds = [(0.0, None)] * slopes + [(None, None)] * moves_level
    best = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10}).x
    found = best[:slopes] / scale
    intercept = float(best[slopes] - found @ center) if moves_level else 0.0
    return [float(slope) for slope in found], intercept


def _steps(
    logits: FloatArray, impressions: FloatArray, clicks: FloatArray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Knots and rates of the steps by pooled adjacent violators, their ends off 0 and 1."""
    shown = impressions > 0
    z, n, c = logits[shown], impressions[shown], clicks[shown]
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(z, c / n, sample_weight=n)
    knots, rates = fitted.X_thresholds_.astype(np.float64), fitted.y_thresholds_.astype(np.float64)
    at_rows = np.interp(z, knots, rates)
    inside = rates[(rates > 0) & (rates < 1)]
    for end, neighbour in ((0.0, np.min), (1.0, np.max)):
        if np.any(rates == end):
            m = n[at_rows == end].sum()
            rate = (end * m + 0.5) / (m + 1)
            limits = np.append(inside, rate)
            rates[rates == end] = neighbour(limits)
    if len(knots) > 1 and np.all(rates == rates[0]):
        knots, rates = knots[:1], rates[:1]
    return tuple(knots.tolist()), tuple(rates.tolist())
