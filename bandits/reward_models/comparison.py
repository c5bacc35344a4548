"""Does a model beat its baselines? Paired differences on the same rows, whose unit is what a split kept together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from bandits.reward_models.metrics import differing_pairs
from bandits.reward_models.verdict import JUDGED
from bandits.reward_models.within_test import FloatArray, IntArray, log_shares
from bandits.statistics import clustered_ratio

Units = Sequence[str] | IntArray


@dataclass(frozen=True)
class Lead:
    """By how much a model is better than another on the same rows; above 0 it is better.

    Attributes:
        lead: The difference; None where nothing can be compared.
        low: Lower end of its 95 percent t interval over units; None with a single unit.
        high: Upper end.
    """

    lead: float | None
    low: float | None
    high: float | None

    @property
    def is_certain(self) -> bool:
        """Whether all of the interval lies above 0."""
        return self.low is not None and self.low > 0


def lead_in_log_loss(
    p: FloatArray, other: FloatArray, impressions: FloatArray, clicks: FloatArray, unit: Units
) -> Lead:
    """Log loss of rates `other` minus that of rates `p`, in nats per impression; arrays of shape (n,).

    >>> n, c = np.array([10.0, 10.0, 10.0]), np.array([1.0, 2.0, 4.0])
    >>> lead_in_log_loss(np.array([0.1, 0.2, 0.4]), np.full(3, 0.3), n, c, ["a", "b", "c"]).is_certain
    False
    """
    won = np.asarray(xlogy(clicks, p / other), dtype=np.float64)
    gained = won + np.asarray(xlogy(impressions - clicks, (1 - p) / (1 - other)), dtype=np.float64)
    return _lead(gained, impressions, unit)


def lead_in_conditional_loss(
    scores: FloatArray, other: FloatArray, impressions: FloatArray, clicks: FloatArray, contrast: IntArray, unit: Units
) -> Lead:
    """Conditional log loss of `other` minus that of `scores` (`conditional_log_loss`), in nats per click."""
    gained = log_shares(scores, impressions, contrast) - log_shares(other, impressions, contrast)
    return _lead(clicks * gained, clicks, unit)


def lead_in_pairwise_accuracy(
    scores: FloatArray,
    other: FloatArray,
    impressions: FloatArray,
    clicks: FloatArray,
    contrast: IntArray,
    unit: Units,
    *,
    significant: bool = False,
) -> Lead:
    """Pairwise accuracy of `scores` minus that of `other`; if asked, over pairs that differ with p < 0.05 only."""
    pairs = differing_pairs(impressions, clicks, contrast)
    chosen = pairs.significant if significant else np.ones(len(pairs.a), dtype=np.bool_)
    gained = (pairs.ordered_right(scores) - pairs.ordered_right(other))[chosen]
    return _lead(gained, np.ones(len(gained)), np.asarray(unit)[pairs.a[chosen]])


def unbeaten(leads: Mapping[str, Mapping[str, Lead]]) -> list[str]:
    """Baselines over which some lead (baseline to measure to lead) is not certain, of those in `JUDGED`.

    Where there are none, the model beats each one with 95 percent confidence, and so all of them: no correction for
    their number is needed.

    References:
        Berger (1982), "Multiparameter hypothesis testing and acceptance sampling" (the intersection-union test).
    """
    return [
        name
        for name, by_measure in leads.items()
        if not all(lead.is_certain for measure, lead in by_measure.items() if measure in JUDGED)
    ]


def _lead(gained: FloatArray, weight: FloatArray, unit: Units) -> Lead:
    if not len(gained):
        return Lead(None, None, None)
    found = clustered_ratio(gained, weight, np.asarray(unit))
    return Lead(*(float(value) if np.isfinite(value) else None for value in (found.estimate, found.low, found.high)))
