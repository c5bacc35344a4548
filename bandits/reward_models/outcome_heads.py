"""What follows a click: heads for a conversion given a click, and for the value of a conversion."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from bandits.reward_models.calibration import Calibrator
from bandits.reward_models.calibration_report import observed_over_predicted
from bandits.reward_models.metrics import log_loss
from bandits.reward_models.split import Split

FloatArray = NDArray[np.float64]
Loss = Callable[[FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]

OUTCOMES_FILE = "outcomes.json"
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def binomial(z: FloatArray, trials: FloatArray, successes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Negative log-likelihood of each row at logit `z`, and its derivative; all of shape (n,)."""
    return trials * np.logaddexp(0, z) - successes * z, trials * expit(z) - successes


def gamma(z: FloatArray, count: FloatArray, total: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same of `count` gamma numbers with sum `total` and mean exp(z), without what `z` does not change."""
    share = total * np.exp(-z)
    return count * z + share, count - share


@dataclass(frozen=True)
class LinearHead:
    """A linear predictor of standardised vectors.

    Attributes:
        weights: Length H.
        intercept: Of the predictor.
        penalty: Half of it times the squared weights was added to the mean loss; the best one on validation rows.
    """

    weights: tuple[float, ...]
    intercept: float
    penalty: float

    def __call__(self, x: FloatArray) -> FloatArray:
        """The predictor, shape (n,), of vectors of shape (n, H)."""
        z: FloatArray = x @ np.array(self.weights) + self.intercept
        return z


def fit_head(
    loss: Loss, start: float, train: tuple[FloatArray, ...], validation: tuple[FloatArray, ...], penalty: float
) -> tuple[LinearHead, float]:
    """The head of one penalty, and its mean loss on validation rows.

    Args:
        loss: `binomial` or `gamma`.
        start: First value of the intercept.
        train: Vectors, shape (n, H), and the loss's two arrays, shape (n,).
        validation: The same of other rows.
        penalty: Of the squared weights.
    """
    x, count, total = train

    def objective(v: FloatArray) -> tuple[float, FloatArray]:
        value, slope = loss(x @ v[1:] + v[0], count, total)
        gradient = np.concatenate([[slope.sum()], x.T @ slope]) / count.sum()
        gradient[1:] += penalty * v[1:]
        return float(value.sum() / count.sum() + 0.5 * penalty * (v[1:] ** 2).sum()), gradient

    first = np.concatenate([[start], np.zeros(x.shape[1])])
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options={"ftol": 1e-13, "gtol": 1e-8}).x
    head = LinearHead(tuple(found[1:].tolist()), float(found[0]), penalty)
    held, held_count, held_total = validation
    return head, float(loss(head(held), held_count, held_total)[0].sum() / held_count.sum())


@dataclass(frozen=True)
class OutcomeHeads:
    """Heads on the vectors that the network makes of pairs when it has learned clicks.

    Attributes:
        mean: Of the training rows' vectors, length H.
        spread: Their standard deviation; 1 where it is 0.
        conversion: Logit of a conversion given a click.
        calibrator: Of that logit.
        value: Logarithm of a conversion's mean value; None where the log has no values.
        level: What mean values are multiplied by: observed over predicted value of the calibration rows.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    conversion: LinearHead
    calibrator: Calibrator
    value: LinearHead | None
    level: float

    @classmethod
    def fit(cls, vectors: Callable[[pd.DataFrame], FloatArray], split: Split, train_rows: pd.DataFrame) -> OutcomeHeads:
        """Fit on training rows, choose penalties on validation rows, calibrate on calibration rows.

        Args:
            vectors: Rows of `ClickLog.pairs` to vectors, shape (n, H).
            split: Its parts, with `conversions` and, if there are values, `value`.
            train_rows: Those of `split.train` that the network was fitted on.
        """
        parts = {"train": train_rows, "validation": split.validation, "calibration": split.calibration}
        raw = {name: vectors(rows) for name, rows in parts.items()}
        mean, spread = raw["train"].mean(axis=0), raw["train"].std(axis=0)
        spread[spread == 0] = 1.0
        x = {name: (found - mean) / spread for name, found in raw.items()}

        def best(loss: Loss, start: float, count: str, total: str) -> LinearHead:
            train, validation, _ = ((x[name], _numbers(parts[name], count), _numbers(parts[name], total)) for name in x)
            return min((fit_head(loss, start, train, validation, p) for p in PENALTIES), key=lambda fit: fit[1])[0]

        clicks, conversions = (float(train_rows[name].sum()) for name in ("clicks", "conversions"))
        conversion = best(binomial, float(np.log(conversions / (clicks - conversions))), "clicks", "conversions")
        held = parts["calibration"][parts["calibration"]["clicks"] > 0]
        logits = conversion(x["calibration"])[parts["calibration"]["clicks"].to_numpy() > 0]
        calibrator = Calibrator.fit("platt", logits, _numbers(held, "clicks"), _numbers(held, "conversions"))
        value, level = None, 1.0
        if "value" in train_rows:
            value = best(gamma, float(np.log(train_rows["value"].sum() / conversions)), "conversions", "value")
            rows = parts["calibration"]
            predicted = np.exp(value(x["calibration"])) * _numbers(rows, "conversions")
            level = float(rows["value"].sum() / predicted.sum())
        return cls(tuple(mean.tolist()), tuple(spread.tolist()), conversion, calibrator, value, level)

    def __call__(self, vectors: FloatArray) -> dict[str, FloatArray]:
        """Rates of `conversion` given a click and, if values are known, mean `value` of a conversion, shape (n,)."""
        x = (vectors - np.array(self.mean)) / np.array(self.spread)
        found = {"conversion": self.calibrator(self.conversion(x))}
        if self.value is not None:
            found["value"] = self.level * np.exp(self.value(x))
        return found

    @property
    def content_hash(self) -> str:
        """SHA-256 of all numbers, as 64 hexadecimal digits."""
        return hashlib.sha256(self._text().encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write `outcomes.json` into `folder`."""
        (folder / OUTCOMES_FILE).write_text(self._text(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> OutcomeHeads | None:
        """What `save` wrote into `folder`; None when there is nothing."""
        if not (folder / OUTCOMES_FILE).is_file():
            return None
        stored: dict[str, Any] = json.loads((folder / OUTCOMES_FILE).read_text(encoding="utf-8"))
        heads = {
            name: stored[name] and LinearHead(**stored[name] | {"weights": tuple(stored[name]["weights"])})
            for name in ("conversion", "value")
        }
        return cls(
            mean=tuple(stored["mean"]),
            spread=tuple(stored["spread"]),
            calibrator=Calibrator("platt", stored["calibrator"]["slope"], stored["calibrator"]["intercept"]),
            level=stored["level"],
            **heads,
        )

    def _text(self) -> str:
        return json.dumps(asdict(self))


def judge_outcomes(found: dict[str, FloatArray], clicks: FloatArray, split: Split) -> dict[str, dict[str, Any]]:
    """How well outcomes of the test rows are predicted, beside a constant that was learned from the training rows.

    Args:
        found: What `OutcomeHeads` says of the test rows.
        clicks: Predicted click rates of the test rows, shape (n,).
        split: Its parts.

    Returns:
        For each outcome `loss` and `constant`, the mean losses of the predictions and of the constant (log loss for
        conversions; for values the gamma loss, log mean plus value over mean), None for what is expected of an
        impression, and `overall`, the fields of `Ratio`: observed over predicted.
    """
    rows, units = split.test, split.test[split.by].tolist()
    count = {name: _numbers(rows, name) for name in ("impressions", "clicks", "conversions")}
    rate = float(split.train["conversions"].sum() / split.train["clicks"].sum())
    told = observed_over_predicted(found["conversion"], count["clicks"], count["conversions"], units)
    judged: dict[str, dict[str, Any]] = {
        "conversion": {
            "loss": log_loss(found["conversion"], count["clicks"], count["conversions"]),
            "constant": log_loss(np.full(len(rows), rate), count["clicks"], count["conversions"]),
            "overall": asdict(told),
        }
    }
    if "value" not in found:
        return judged
    value = _numbers(rows, "value")
    mean = float(split.train["value"].sum() / split.train["conversions"].sum())
    losses = [
        float(gamma(np.log(m), count["conversions"], value)[0].sum() / count["conversions"].sum())
        for m in (found["value"], np.full(len(rows), mean))
    ]
    told = observed_over_predicted(found["value"], count["conversions"], value, units)
    judged["value"] = {"loss": losses[0], "constant": losses[1], "overall": asdict(told)}
    expected = clicks * found["conversion"] * found["value"]
    told = observed_over_predicted(expected, count["impressions"], value, units)
    judged["expected value"] = {"loss": None, "constant": None, "overall": asdict(told)}
    return judged


def _numbers(rows: pd.DataFrame, column: str) -> FloatArray:
    return rows[column].to_numpy(dtype=np.float64)


def require_outcomes(part: str, rows: pd.DataFrame) -> None:
    """Refuse a part with no conversions, a conversion after every click, or no value, by a `ValueError`."""
    clicks, conversions = (int(rows[name].sum()) for name in ("clicks", "conversions"))
    if not 0 < conversions < clicks:
        raise ValueError(
            f"`conversions` must follow some clicks and not others in each part of the split. Got {conversions} after "
            f"{clicks} clicks in the part {part}."
        )
    if "value" in rows and not rows["value"].sum() > 0:
        raise ValueError(f"`value` must be above 0 for some conversion in each part of the split. Got none in {part}.")
