"""Does one world rank policies as another does?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bandits.statistics.intervals import FloatArray, mean_interval, paired_difference


class RankingAgreement(NamedTuple):
    """How well a model world ranks policies; see `ranking_agreement`.

    Attributes:
        num_pairs: Pairs of policies that differ for certain in the true world.
        num_same: Those of them that the model world orders the same way.
        share: `num_same / num_pairs`; nan when no pair differs.
        tau_b: Kendall's tau-b of the mean results of all policies; nan when either world ties them all.
    """

    num_pairs: int
    num_same: int
    share: float
    tau_b: float


def kendall_tau_b(a: ArrayLike, b: ArrayLike) -> float:
    """Kendall's rank correlation of two vectors of shape (M,), corrected for ties; nan when a vector is constant.

    >>> round(kendall_tau_b([1, 2, 3, 4], [1, 2, 4, 3]), 4)
    0.6667
    """
    from scipy import stats

    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"`a` and `b` must be vectors of one length. Got shapes {a.shape} and {b.shape}.")
    if len(np.unique(a)) < 2 or len(np.unique(b)) < 2:
        return float("nan")
    return float(stats.kendalltau(a, b, variant="b").statistic)


def ranking_agreement(
    true_results: Mapping[str, ArrayLike],
    model_results: Mapping[str, ArrayLike],
    *,
    model_world: ArrayLike | None = None,
    confidence: float = 0.95,
) -> RankingAgreement:
    """Compare the order of policies in a true world with their order in a model of it.

    Of the pairs whose paired interval in the true world excludes zero, count those that the model world's means order
    the same way. Pairs that the true world itself cannot tell apart carry no information and are left out; a tie in the
    model world counts as a different order.

    Args:
        true_results: Final result of each replication by policy, each of shape (N,); replication n shares its luck.
        model_results: The same policies in the model world, each of shape (M,).
        model_world: World of each replication of `model_results`, shape (M,), where there are several models.
        confidence: Coverage of the interval of one pair, in (0, 1); pairs are not corrected for their number.

    Raises:
        ValueError: When the two mappings name different policies, or fewer than two.
    """
    if true_results.keys() != model_results.keys():
        expected, got = sorted(true_results), sorted(model_results)
        raise ValueError(f"`model_results` must name the policies of `true_results`, {expected}. Got {got}.")
    if len(true_results) < 2:
        raise ValueError(f"`true_results` must hold at least two policies. Got {sorted(true_results)}.")
    model_means = {name: mean_interval(values, model_world).estimate for name, values in model_results.items()}
    signs: list[tuple[float, float]] = []
    for a, b in combinations(true_results, 2):
        difference = paired_difference(true_results[a], true_results[b], confidence=confidence)
        if difference.low > 0 or difference.high < 0:
            signs.append((float(np.sign(difference.estimate)), float(np.sign(model_means[a] - model_means[b]))))
    same = sum(true == model for true, model in signs)
    true_means: FloatArray = np.array([np.mean(np.asarray(values)) for values in true_results.values()])
    tau_b = kendall_tau_b(true_means, [float(model_means[name]) for name in true_results])
    return RankingAgreement(len(signs), same, same / len(signs) if signs else float("nan"), tau_b)
