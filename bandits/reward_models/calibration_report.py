"""How far predicted click rates are from observed ones, with intervals whose unit is what a split kept together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bandits.reward_models.metrics import bins_of_rows, equal_mass, expected_calibration_error, top_pick
from bandits.reward_models.within_test import FloatArray, IntArray
from bandits.statistics import clustered_ratio

DECILES = 10


@dataclass(frozen=True)
class Ratio:
    """Clicks over predicted clicks, with its 95 percent interval.

    Attributes:
        ratio: 1 is right, above 1 the prediction is too low; None where no clicks are predicted.
        low: Lower end of a t interval over units; None with a single unit, or where units do not differ.
        high: Upper end.
    """

    ratio: float | None
    low: float | None
    high: float | None


def observed_over_predicted(
    p: FloatArray, impressions: FloatArray, clicks: FloatArray, unit: Sequence[str] | IntArray
) -> Ratio:
    """Clicks over predicted clicks of rows; all arrays of shape (n,).

    >>> observed_over_predicted(np.array([0.1]), np.array([100.0]), np.array([12.0]), ["a reader"])
    Ratio(ratio=1.2, low=None, high=None)
    """
    found = clustered_ratio(clicks, p * impressions, np.asarray(unit))
    return Ratio(*(float(value) if np.isfinite(value) else None for value in (found.estimate, found.low, found.high)))


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error with equal-mass bins, and how much of it chance explains.

    Attributes:
        ece: Mean distance of predicted and observed rate over bins, weighted by impressions.
        low: Lower end of a 95 percent bootstrap interval over units; 0 where `ece` is at most `by_chance`; None with a
            single unit.
        high: Upper end.
        by_chance: What calibrated predictions would stay below in 95 of 100 such samples; None with a single unit.
    """

    ece: float
    low: float | None
    high: float | None
    by_chance: float | None


def calibration_error(
    p: FloatArray,
    impressions: FloatArray,
    clicks: FloatArray,
    unit: Sequence[str] | IntArray,
    *,
    bins: int = DECILES,
    resamples: int = 1000,
    seed: int = 0,
) -> CalibrationError:
    """ECE with a percentile bootstrap over whole units; bins are made anew in every resample.

    An ECE is a sum of distances, so noise adds to it: calibrated predictions have one above 0, and a plain percentile
    interval never reaches 0. So the error by chance is found as well, by giving the surplus of clicks of all rows of a
    unit a random sign (the wild bootstrap, which keeps whatever dependence there is inside units), and the interval
    begins at 0 where the error is no larger.

    Args:
        p: Predicted rates, shape (n,).
        impressions: Shape (n,).
        clicks: Shape (n,).
        unit: What is drawn: rows of a unit may depend on one another, shape (n,).
        bins: Bins of equal impressions.
        resamples: Resampled data sets of each kind.
        seed: Key of the resampling; the same seed gives the same interval.

    References:
        Davidson, Flachaire (2008), "The wild bootstrap, tamed at last". Kumar, Liang, Ma (2019), "Verified uncertainty
        calibration", on the bias of the plain ECE.
    """
    estimate = expected_calibration_error(p, impressions, clicks, bins=bins)
    names, of_unit = np.unique(np.asarray(unit), return_inverse=True)
    if len(names) < 2:
        return CalibrationError(estimate, None, None, None)
    place = np.unique(p, return_inverse=True)[1]
    surplus = clicks - p * impressions
    random = np.random.Generator(np.random.Philox(key=[seed, len(names)]))
    drawn, by_chance = np.empty(resamples), np.empty(resamples)
    for index in range(resamples):
        times = np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))[of_unit]
        sign = random.choice([-1.0, 1.0], size=len(names))[of_unit]
        drawn[index] = _error(place, impressions * times, surplus * times, bins)
        by_chance[index] = _error(place, impressions, surplus * sign, bins)
    low, high = np.quantile(drawn, [0.025, 0.975])
    chance = float(np.quantile(by_chance, 0.95))
    return CalibrationError(estimate, 0.0 if estimate <= chance else float(low), float(high), chance)


def calibration_report(
    p: FloatArray,
    impressions: FloatArray,
    clicks: FloatArray,
    unit: Sequence[str] | IntArray,
    owner: IntArray,
    parts: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Observed over predicted overall, for the top pick, by decile of prediction and by part; the ECE; plain values.

    Args:
        p: Predicted rates, shape (n,).
        impressions: Shape (n,).
        clicks: Shape (n,).
        unit: Unit of the intervals, such as the groups of the split, shape (n,).
        owner: Number of the user or contrast that the top pick is made for, shape (n,).
        parts: What rows are grouped by (`segment`, say), to the name of each row's group, length n; "" for none.

    Returns:
        `ece`, `overall` and `top_pick` (fields of `CalibrationError` and `Ratio`), `deciles` (`predicted` and
        `observed` rate, `impressions` and the fields of `Ratio`, in order of prediction; fewer than ten where many rows
        are predicted alike), `parts` (the same with `by` and `name`, in order of names), `units` (how many).
    """
    units, top = np.asarray(unit), top_pick(p, owner)

    def ratio(rows: IntArray) -> dict[str, float | None]:
        return asdict(observed_over_predicted(p[rows], impressions[rows], clicks[rows], units[rows]))

    def part(rows: IntArray) -> dict[str, float | None]:
        shown = float(impressions[rows].sum())
        rates = {"predicted": float((p * impressions)[rows].sum()), "observed": float(clicks[rows].sum())}
        return {name: clicked / shown for name, clicked in rates.items()} | {"impressions": shown} | ratio(rows)

    place = bins_of_rows(p, impressions, bins=DECILES)
    return {
        "units": len(np.unique(units)),
        "ece": asdict(calibration_error(p, impressions, clicks, units)),
        "overall": ratio(np.arange(len(p))),
        "top_pick": ratio(top),
        "deciles": [part(np.flatnonzero(place == number)) for number in range(place.max() + 1)],
        "parts": [
            {"by": by, "name": name} | part(np.flatnonzero(np.asarray(names) == name))
            for by, names in (parts or {}).items()
            for name in sorted({*names} - {""})
        ],
    }


def _error(place: IntArray, impressions: FloatArray, surplus: FloatArray, bins: int) -> float:
    """ECE from the rank of each row's prediction, its impressions, and its clicks above those predicted."""
    shown: FloatArray = np.bincount(place, weights=impressions).astype(np.float64)
    bin_of = equal_mass(shown, bins)
    return float(np.abs(np.bincount(bin_of, weights=np.bincount(place, weights=surplus))).sum() / shown.sum())
