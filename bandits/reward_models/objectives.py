"""What a fit makes small: negative log-likelihoods of clicks, for steps in torch and for validation in NumPy.

A log of tests can be fitted by the conditional likelihood inside tests alone, or by `both`: the binomial likelihood,
which also learns from differences between tests (traffic, season, story), plus `within_weight` times the conditional
one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from bandits.reward_models import within_test
from bandits.reward_models.examples import Examples
from bandits.reward_models.fit_config import FitConfig

FloatArray = NDArray[np.float64]


def binomial_loss(logits: torch.Tensor, impressions: torch.Tensor, clicks: torch.Tensor) -> torch.Tensor:
    """Negative binomial log-likelihood of the batch, without its constant; all of shape (B,)."""
    return binary_cross_entropy_with_logits(logits, clicks / impressions, weight=impressions, reduction="sum")


def within_test_loss(
    logits: torch.Tensor, impressions: torch.Tensor, clicks: torch.Tensor, contrast: torch.Tensor
) -> torch.Tensor:
    """Negative conditional log-likelihood of the batch (see `within_test`); all of shape (B,), contrasts from 0."""
    z = logits + impressions.log()
    contrasts = int(contrast.max()) + 1
    top = z.new_full((contrasts,), -torch.inf).scatter_reduce(0, contrast, z.detach(), "amax")
    total = z.new_zeros(contrasts).index_add(0, contrast, (z - top[contrast]).exp())
    return -(clicks * (z - top[contrast] - total.log()[contrast])).sum()


def outcome_loss(following: torch.Tensor, outcomes: torch.Tensor, totals: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of what follows clicks, per click and per conversion of all rows, in nats.

    Args:
        following: Logit of a conversion and logarithm of its mean value (gamma likelihood), shape (B, 2).
        outcomes: Clicks, conversions and value of the batch, shape (B, 3).
        totals: Their sums over all rows, shape (3,); a value of 0 means that there are none.
    """
    clicks, conversions, value = outcomes.unbind(1)
    known = clicks > 0
    loss = binomial_loss(following[known, 0], clicks[known], conversions[known]) / totals[0]
    if totals[2] > 0:
        log_mean = following[:, 1]
        loss = loss + (conversions * log_mean + value * torch.exp(-log_mean)).sum() / totals[1]
    return loss


def batch_loss(
    logits: torch.Tensor, impressions: torch.Tensor, clicks: torch.Tensor, contrast: torch.Tensor, config: FitConfig
) -> torch.Tensor:
    """The loss of a batch that `config.loss` asks for, in nats; all of shape (B,), contrasts from 0."""
    if config.loss == "binomial":
        return binomial_loss(logits, impressions, clicks)
    within = within_test_loss(logits, impressions, clicks, contrast)
    if config.loss == "within_test":
        return within
    return binomial_loss(logits, impressions, clicks) + config.within_weight * within


def mean_loss(scores: FloatArray, examples: Examples, config: FitConfig) -> float:
    """The same loss of all rows: nats per impression, or per click in a log of tests.

    Raises:
        FloatingPointError: When the scores are not finite.
    """
    if not np.isfinite(scores).all():
        raise FloatingPointError("The network's logits became infinite or undefined: lower `learning_rate`.")
    impressions, clicks = examples.impressions, examples.clicks
    binomial = np.sum(impressions * np.logaddexp(0, scores) - clicks * scores) / examples.weight
    if config.loss == "binomial":
        return float(binomial)
    within = within_test.conditional_log_loss(scores, impressions, clicks, examples.contrast)
    return within if config.loss == "within_test" else float(binomial) + config.within_weight * within
