"""What no policy can avoid losing in the long run: the asymptotic lower bound on regret."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bandits.statistics.intervals import FloatArray


def bernoulli_divergence(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Kullback-Leibler divergence of a coin with rate `p` from one with rate `q`, in nats.

    `p log(p / q) + (1 - p) log((1 - p) / (1 - q))`, with 0 log 0 = 0.

    Args:
        p: Rates in [0, 1], any shape.
        q: Rates in [0, 1], broadcastable to `p`.

    Returns:
        Same shape; 0 where they are equal, inf where `q` is 0 or 1 and `p` is not.

    >>> bernoulli_divergence([0.5, 0.0, 0.3], [0.25, 0.5, 1.0]).round(6)
    array([0.143841, 0.693147,      inf])
    """
    p, q = (_rates(name, values) for name, values in (("p", p), ("q", q)))
    p, q = np.broadcast_arrays(p, q)
    with np.errstate(divide="ignore", invalid="ignore"):  # log1p keeps the digits that rates close together would lose
        click = np.where(p > 0, -p * np.log1p((q - p) / p), 0.0)
        none = np.where(p < 1, -(1 - p) * np.log1p((p - q) / (1 - p)), 0.0)
    divergence: FloatArray = np.maximum(click + none, 0.0)
    return divergence


def lai_robbins_constant(means: ArrayLike) -> FloatArray:
    """Regret per unit of log t that a policy which learns on every problem must have in the end.

    A policy is consistent when its regret grows slower than every power of t, whatever the click rates. For arms with
    fixed rates and no features, the regret of any consistent policy has

        lim inf regret(t) / log t >= sum of gap_k / kl(mean_k, mean_best) over arms with gap_k = mean_best - mean_k > 0

    The bound says nothing of a fixed t: there a policy may well lie below `constant * log(t)`. Policies that are not
    consistent (a fixed split, an A/B test that ships after a fixed number of visitors) are not bound by it.

    Args:
        means: Click rate of each arm in [0, 1], shape (..., K).

    Returns:
        Shape (...); 0 where no arm is worse than another, or all worse ones are told apart by a single miss of theirs
        (the best rate is 1).

    References:
        Lai and Robbins (1985), "Asymptotically efficient adaptive allocation rules", theorem 1.

    >>> float(lai_robbins_constant([0.5, 0.4]).round(4))    # 0.1 / kl(0.4, 0.5)
    4.9663
    """
    means = _rates("means", means)
    if means.ndim == 0 or means.shape[-1] == 0:
        raise ValueError(f"`means` must have at least one arm in its last axis. Got shape {means.shape}.")
    best = means.max(axis=-1, keepdims=True)
    gap = best - means
    needed = np.where(gap > 0, bernoulli_divergence(means, best), 1.0)
    constant: FloatArray = np.asarray((gap / needed).sum(axis=-1))
    return constant


def _rates(name: str, values: ArrayLike) -> FloatArray:
    rates = np.asarray(values, dtype=np.float64)
    if not np.all((rates >= 0) & (rates <= 1)):
        raise ValueError(f"`{name}` must lie in [0, 1]. Got {values!r}.")
    return rates
