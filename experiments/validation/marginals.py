"""Where clicks fall, in the log and in the simulation: by item, by user or test, by hour."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import rel_entr
from scipy.stats import ks_2samp

from bandits.core import FloatArray, IntArray
from experiments.validation.held_out import HeldOut


def marginals(data: HeldOut, *, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Distances between observed and simulated marginals, name to numbers.

    By item, by user and, where the log has times of day, by hour; in tests, where a contrast's clicks are given, by
    item alone:

    * `js`: Jensen-Shannon divergence of the shares of clicks that fall on each category, in bits.
    * `ks`: largest distance between the distributions of the categories' click rates.

    Both have a basic bootstrap interval over units (`low`, `high`), and `by_chance`, what a model that is right would
    stay below in 95 of 100 such logs: the same distance for clicks that the model itself draws. Noise adds to a
    distance, and once more to that of a bootstrap sample: the basic interval takes it off.

    References:
        Davison, Hinkley (1997), "Bootstrap methods and their application", section 5.2.
    """
    random = np.random.default_rng([seed, 1])
    draws = np.stack([data.simulated_clicks(random) for _ in range(resamples)])
    expected = data.rates * data.impressions
    found = {}
    for name, category in categories(data).items():
        found[name] = _distances(data, category, expected, draws, random)
    return found


def categories(data: HeldOut) -> dict[str, IntArray]:
    """Number of each row's category, from 0, by what is told apart."""
    if data.kind == "tests":
        keys = data.rows["contrast"].str.cat(data.rows["item_text"], sep="\x1f")
        return {"item of a test": pd.factorize(keys)[0].astype(np.int64)}
    found = {"item": pd.factorize(data.rows["item_text"])[0]}
    if data.rows["user_text"].nunique() > 1:
        found["user"] = data.owner
    time = data.rows["time"]
    if time.notna().all() and time.dt.hour.nunique() > 1:
        found["hour"] = pd.factorize(time.dt.hour)[0]
    return {name: np.asarray(numbers, dtype=np.int64) for name, numbers in found.items()}


def jensen_shannon(first: FloatArray, second: FloatArray) -> float:
    """Divergence of two vectors of counts, each taken as shares, in bits: 0 for equal shares, at most 1.

    >>> jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 3.0]))
    1.0

    References:
        Lin (1991), "Divergence measures based on the Shannon entropy".
    """
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2
    nats = (rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / 2
    return max(0.0, float(nats / np.log(2)))  # rounding may leave it just below 0


def _distances(
    data: HeldOut, category: IntArray, expected: FloatArray, draws: FloatArray, random: np.random.Generator
) -> dict[str, Any]:
    size = int(category.max()) + 1

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(category, weights=values, minlength=size).astype(np.float64)

    n, clicks = data.impressions, data.clicks
    simulated = draws[0]

    def ks(observed: FloatArray, other: FloatArray, shown: FloatArray) -> float:
        some = shown > 0
        return float(ks_2samp(observed[some] / shown[some], other[some] / shown[some], method="asymp").statistic)

    shown = total(n)
    units = data.unit
    of_unit = int(units.max()) + 1
    js_drawn, ks_drawn = np.empty(len(draws)), np.empty(len(draws))
    for index, draw in enumerate(draws):
        times = np.bincount(random.integers(of_unit, size=of_unit), minlength=of_unit)[units]
        js_drawn[index] = (
            jensen_shannon(total(clicks * times), total(expected * times)) if (clicks * times).any() else np.nan
        )
        ks_drawn[index] = ks(total(clicks * times), total(draw * times), total(n * times))
    by_chance_js = [jensen_shannon(total(draw), total(expected)) for draw in draws if draw.any()]
    by_chance_ks = [ks(total(draw), total(simulated), shown) for draw in draws[1:]]
    return {
        "categories": size,
        "js": _summary(jensen_shannon(total(clicks), total(expected)), js_drawn, by_chance_js),
        "ks": _summary(ks(total(clicks), total(simulated), shown), ks_drawn, by_chance_ks),
    }


def _summary(value: float, drawn: FloatArray, by_chance: list[float]) -> dict[str, float]:
    lower, upper = np.nanquantile(drawn, [0.025, 0.975])
    low, high = (max(0.0, float(2 * value - end)) for end in (upper, lower))
    return {"value": value, "low": low, "high": high, "by_chance": float(np.quantile(by_chance, 0.95))}
