"""Do policies rank in the model's world as they do in the real one?"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import ttest_1samp

from bandits.core import FloatArray
from bandits.engine import simulate
from bandits.propensity_table import PropensityTable
from bandits.statistics import adjust_p_values, kendall_tau_b
from envs import SimulatedUsers
from experiments.policy_specs import build_policy
from experiments.validation.config import LoadedValidation, ValidationConfig
from experiments.validation.worlds import Worlds


class Played(NamedTuple):
    """Results of all policies in one kind of world.

    Attributes:
        value: Expected clicks per visitor of each policy in each unit, up to a number that all policies of a unit have
            in common (that of the best arms), shape (P, B). A unit is a world where there are several, else a
            replication.
        level: Clicks per visitor of each policy, shape (P,).
    """

    value: FloatArray
    level: FloatArray


def play(table: PropensityTable, worlds: Worlds, loaded: LoadedValidation) -> Played:
    """Let all policies play; those that take a prior get the model's propensities, whichever world they are in."""
    config = loaded.config
    count = len(table.p)
    replications = count if count > 1 else config.replications
    values, levels = [], []
    for spec in loaded.policies.values():
        env = SimulatedUsers(
            table,
            num_envs=replications,
            user_features=worlds.user_features,
            arm_features=worlds.arm_features,
            prior=worlds.model.p,
        )
        policy = build_policy(spec, loaded.folder)
        trace = simulate(env, policy, horizon=config.horizon, seed=config.seed, snapshots=2)
        values.append(-trace.regret[-1] / config.horizon)
        levels.append(trace.reward[-1].mean() / config.horizon)
    return Played(np.stack(values), np.array(levels))


def policy_rank_agreement(worlds: Worlds, loaded: LoadedValidation) -> dict[str, Any] | None:
    """Sign agreement, tau-b and calibration of uplifts over all pairs of policies; None without a real world."""
    if worlds.real is None:
        return None
    model, real = play(worlds.model, worlds, loaded), play(worlds.real, worlds, loaded)
    names = list(loaded.policies)
    found = compare(model, real, names.index(loaded.config.reference), loaded.config, paired=len(worlds.real.p) > 1)
    table = [
        {"policy": name, "model": float(a), "real": float(b), "predicted_uplift": float(x), "real_uplift": float(y)}
        for name, a, b, x, y in zip(
            names, model.level, real.level, *(found.pop(key) for key in ("predicted", "happened")), strict=True
        )
    ]
    return found | {"units": real.value.shape[1], "worlds": len(worlds.real.p), "policies": table}


def compare(model: Played, real: Played, reference: int, config: ValidationConfig, *, paired: bool) -> dict[str, Any]:
    """Agreement of two sets of results of the same policies.

    A pair of policies counts when a paired t test over the units of the real world rejects that both earn the same, at
    5 percent with Holm's correction over all pairs; the same share without the correction is given beside it. Uplifts
    are relative to the reference policy; their slope is that of real on predicted uplifts through the origin: 1 is
    right, below 1 the model exaggerates. Intervals are percentiles of a bootstrap over units, with the set of pairs
    that count held fixed.

    Args:
        model: In the model's world.
        real: In the real one.
        reference: Index of the reference policy.
        config: Says how many bootstrap samples, and their seed.
        paired: Whether units of both are the same worlds, which are then drawn together.

    Returns:
        Plain values: `pairs`, `significant`, `same`, `share`, `share_uncorrected` (with `significant_uncorrected`),
        `tau_b` and `slope` with their intervals, `wrong` (indices of the pairs in the wrong order), `predicted` and
        `happened` (relative uplifts, P numbers each).
    """
    first, second = (np.array(index) for index in zip(*combinations(range(len(real.value)), 2), strict=True))
    difference = real.value[first] - real.value[second]
    constant = np.ptp(difference, axis=1) == 0
    p_value = np.where(constant, np.where(difference[:, 0] == 0, 1.0, 0.0), np.nan)
    p_value[~constant] = ttest_1samp(difference[~constant], 0.0, axis=1).pvalue
    counted = adjust_p_values(p_value).p_values <= 0.05
    uncorrected = p_value <= 0.05

    def signs(played: FloatArray) -> FloatArray:
        signs: FloatArray = np.sign(played[first] - played[second])
        return signs

    def share(model_mean: FloatArray, real_mean: FloatArray, which: Any) -> float:
        return float((signs(model_mean) == signs(real_mean))[which].mean()) if which.any() else float("nan")

    def uplift(mean: FloatArray, played: Played) -> FloatArray:
        relative: FloatArray = (mean - mean[reference]) / played.level[reference]
        return relative

    def slope(x: FloatArray, y: FloatArray) -> float:
        return float(x @ y / (x @ x)) if (x @ x) > 0 else float("nan")

    means = model.value.mean(axis=1), real.value.mean(axis=1)
    random = np.random.default_rng([config.seed, 4])
    drawn = np.empty((config.resamples, 3))
    for index in range(config.resamples):
        of_real = random.integers(real.value.shape[1], size=real.value.shape[1])
        of_model = of_real if paired else random.integers(model.value.shape[1], size=model.value.shape[1])
        a, b = model.value[:, of_model].mean(axis=1), real.value[:, of_real].mean(axis=1)
        drawn[index] = share(a, b, counted), kendall_tau_b(a, b), slope(uplift(a, model), uplift(b, real))
    told = counted.any() & ~np.isnan(drawn).all(axis=0)  # a model that sees no difference has neither tau nor slope
    low, high = np.full((2, 3), np.nan)
    low[told], high[told] = np.nanquantile(drawn[:, told], [0.025, 0.975], axis=0)
    right = signs(means[0]) == signs(means[1])
    predicted, happened = uplift(means[0], model), uplift(means[1], real)
    estimates = share(*means, counted), kendall_tau_b(*means), slope(predicted, happened)
    return {
        "pairs": len(first),
        "significant": int(counted.sum()),
        "same": int((right & counted).sum()),
        **{
            name: {"value": _plain(value), "low": _plain(start), "high": _plain(end)}
            for name, value, start, end in zip(("share", "tau_b", "slope"), estimates, low, high, strict=True)
        },
        "significant_uncorrected": int(uncorrected.sum()),
        "share_uncorrected": _plain(share(*means, uncorrected)),
        "wrong": [[int(a), int(b)] for a, b in zip(first[counted & ~right], second[counted & ~right], strict=True)],
        "predicted": predicted,
        "happened": happened,
    }


def _plain(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
