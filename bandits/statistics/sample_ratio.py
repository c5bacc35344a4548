"""Sample ratio mismatch: were the arms assigned as the design, or the bandit's logged propensities, say?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bandits.statistics.checks import require_fraction
from bandits.statistics.intervals import FloatArray

FEWEST = 5.0  # expected count, or variance, below which the limiting distributions are no guide


class SampleRatioTest(NamedTuple):
    """Result of `sample_ratio_test` and `logged_propensity_test`; `arm_statistic` has one more axis, the arms.

    Attributes:
        statistic: Chi-square; inf where the impossible happened, nan where there is too little data.
        p_value: Of an assignment as stated; 0 where the impossible happened, nan where there is too little data.
        degrees: Degrees of freedom.
        arm_statistic: Observed minus expected count in standard errors, shape (..., K); nan for arms left out.
        mismatch: Whether `p_value < alpha`.
        alpha: Level of the alarm.
        method: Name of the method in words.
    """

    statistic: FloatArray
    p_value: FloatArray
    degrees: NDArray[np.int64]
    arm_statistic: FloatArray
    mismatch: NDArray[np.bool_]
    alpha: float
    method: str


def sample_ratio_test(counts: ArrayLike, weights: ArrayLike, *, alpha: float = 0.001) -> SampleRatioTest:
    """Chi-square test of the visitors per arm against the weights of a fixed split.

    A mismatch means that assignment or logging is broken, and that no estimate of the experiment can be trusted. The
    usual level is low, since the test runs on every experiment. It is for designs whose weights were fixed: a bandit
    moves its traffic on purpose; see `logged_propensity_test`.

    Args:
        counts: Visitors of each arm, shape (..., K).
        weights: Share of each arm in the design, same shape or (K,), not negative; scaled to sum to 1. Arms of weight 0
            are not live: they cost no degree of freedom, and a visitor in one of them makes the p-value 0.
        alpha: Level of the alarm, in (0, 1).

    Returns:
        Arrays of shape (...). Statistic and p-value are nan where fewer than two arms are live, or where a live arm
        expects fewer than 5 visitors, for which the chi-square distribution is no guide.

    References:
        Fabijan et al., "Diagnosing sample ratio mismatch in online controlled experiments" (2019).

    >>> sample_ratio_test([5000, 5200, 0], [0.5, 0.5, 0.0]).p_value.round(3)
    np.float64(0.048)
    """
    require_fraction("alpha", alpha)
    observed = np.asarray(counts, dtype=np.float64)
    if observed.ndim == 0 or not np.all((observed >= 0) & np.isfinite(observed)):
        raise ValueError(f"`counts` must be finite and not negative, one per arm. Got {counts!r}.")
    share = np.asarray(weights, dtype=np.float64)
    if not np.all((share >= 0) & np.isfinite(share)) or share.shape[-1:] != observed.shape[-1:]:
        raise ValueError(f"`weights` must be finite and not negative, one per arm. Got {weights!r}.")
    observed, share = np.broadcast_arrays(observed, share)
    sum_of_weights = share.sum(axis=-1, keepdims=True)
    if not np.all(sum_of_weights > 0):
        raise ValueError("`weights` must not all be 0. Got a design without live arms.")
    share = share / sum_of_weights
    live = share > 0
    expected = observed.sum(axis=-1, keepdims=True) * share
    surplus = observed - expected
    squares = np.divide(surplus**2, expected, out=np.zeros(expected.shape), where=expected > 0)
    spread = np.sqrt(expected * (1 - share))
    arm_statistic = np.divide(surplus, spread, out=np.full(expected.shape, np.nan), where=spread > 0)
    enough = np.all(~live | (expected >= FEWEST), axis=-1)
    impossible = np.any(~live & (observed > 0), axis=-1)
    return _result(
        squares.sum(axis=-1), live.sum(axis=-1) - 1, enough, impossible, arm_statistic, alpha, "chi-square, live arms"
    )


def logged_propensity_test(chosen: ArrayLike, propensities: ArrayLike, *, alpha: float = 0.001) -> SampleRatioTest:
    """Test of the arms that a bandit played against the probabilities it logged.

    `M_k = sum_t (1{A_t = k} - e_t(k))` is a martingale whatever the policy learned on the way, with predictable
    covariance `V = sum_t (diag(e_t) - e_t e_t')`; `M' V^- M` is asymptotically chi-square, and `M_k / sqrt(V_kk)`
    standard normal. It finds logged propensities that are not those of the draws, the commonest fault that spoils
    off-policy evaluation.

    Args:
        chosen: Arm of each round, shape (..., T), integers in [0, K).
        propensities: Probability of every arm at each round, given the past, shape (..., T, K); rows sum to 1.
        alpha: Level of the alarm, in (0, 1).

    Returns:
        Arrays of shape (...). An arm whose count has a variance `V_kk` below 5 is left out: the normal distribution is
        no guide for it. Statistic and p-value are nan where that leaves none, as for a deterministic policy, unless a
        round chose an arm of probability 0: then they are inf and 0.

    References:
        Hall & Heyde, "Martingale Limit Theory and its Application" (1980), corollary 3.1 and theorem 3.2.
    """
    require_fraction("alpha", alpha)
    e = np.asarray(propensities, dtype=np.float64)
    arm = np.asarray(chosen)
    if e.ndim < 2 or e.shape[:-1] != arm.shape:
        raise ValueError(f"`propensities` must have shape {(*arm.shape, 'K')} to match `chosen`. Got {e.shape}.")
    if not np.all(e >= 0) or not np.allclose(e.sum(axis=-1), 1.0, rtol=0, atol=1e-6):
        raise ValueError("`propensities` must not be negative and must sum to 1 in each round. Got some that do not.")
    arms = e.shape[-1]
    if not np.issubdtype(arm.dtype, np.integer) or not np.all((arm >= 0) & (arm < arms)):
        raise ValueError(f"`chosen` must be integers in [0, {arms}). Got {chosen!r}.")
    of_chosen = np.take_along_axis(e, arm[..., None].astype(np.int64), axis=-1)[..., 0]
    surplus = (arm[..., None] == np.arange(arms)).sum(axis=-2) - e.sum(axis=-2)
    diagonal = (e * (1 - e)).sum(axis=-2)
    covariance = -(np.swapaxes(e, -1, -2) @ e)
    np.einsum("...kk->...k", covariance)[...] = diagonal
    kept = diagonal >= FEWEST
    arm_statistic = np.divide(surplus, np.sqrt(diagonal), out=np.full(surplus.shape, np.nan), where=kept)
    # As correlations, so that the rank does not depend on how rarely an arm is played; arms left out become a 0 row.
    scale = np.where(kept, 1 / np.sqrt(np.where(kept, diagonal, 1.0)), 0.0)
    correlation = covariance * scale[..., :, None] * scale[..., None, :]
    values, vectors = np.linalg.eigh(correlation)
    counted = values > 1e-8
    along = np.einsum("...kr,...k->...r", vectors, np.where(kept, arm_statistic, 0.0))
    statistic = np.divide(along**2, values, out=np.zeros(values.shape), where=counted).sum(axis=-1)
    degrees = counted.sum(axis=-1)
    impossible = np.any(of_chosen == 0, axis=-1)
    return _result(
        statistic, degrees, degrees > 0, impossible, arm_statistic, alpha, "martingale chi-square, logged propensities"
    )


def _result(
    statistic: FloatArray,
    degrees: NDArray[np.int64],
    enough: NDArray[np.bool_],
    impossible: NDArray[np.bool_],
    arm_statistic: FloatArray,
    alpha: float,
    method: str,
) -> SampleRatioTest:
    enough = enough & (degrees > 0)
    statistic = np.where(impossible, np.inf, np.where(enough, statistic, np.nan))
    p_value = special.chdtrc(np.maximum(degrees, 1), statistic)
    return SampleRatioTest(statistic, p_value, np.asarray(degrees), arm_statistic, p_value < alpha, alpha, method)
