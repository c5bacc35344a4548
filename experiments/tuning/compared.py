"""The best values beside the experiment's own, once the search is over, and how what is judged is written."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from experiments.html_page import number, signed
from experiments.problems import shown


class Compared(NamedTuple):
    """One comparison under the seed of the evaluation.

    Attributes:
        what: Label of the policy, or the reward model.
        where: Kind of world, or the rows.
        base: Mean with the experiment's own values.
        best: Mean with the best values.
        extra: Best minus base.
        low: Lower end of its 95 percent interval; nan where there is none.
        high: Upper end.
    """

    what: str
    where: str
    base: float
    best: float
    extra: float
    low: float
    high: float


def written(metric: str, value: float) -> str:
    """A value of a metric: log losses differ in late digits only.

    >>> written("regret", 123.4), written("validation_loss", 0.1234567)
    ('123', '0.12346')
    """
    return f"{value:.5f}" if metric == "validation_loss" and not math.isnan(value) else number(value)


def written_difference(metric: str, value: float) -> str:
    """A difference of two values of a metric, with its sign.

    >>> written_difference("regret", -12.34), written_difference("validation_loss", 0.0012345)
    ('-12.3', '+0.00123')
    """
    return f"{value:+.5f}" if metric == "validation_loss" else signed(value)


def written_choice(value: Any) -> str:
    """A value that was tried, for people to read: floats to four digits.

    >>> written_choice(0.0132929453), written_choice("platt")
    ('0.01329', "'platt'")
    """
    return f"{value:.4g}" if isinstance(value, float) else shown(value)
