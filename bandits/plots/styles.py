"""Which color, line and marker stands for which policy, in all figures of a report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

LineStyle = str | tuple[float, tuple[float, ...]]

# The palette of Okabe & Ito, "Color universal design" (2008), without yellow, which vanishes on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#56B4E9", "#E69F00")
LINES: tuple[LineStyle, ...] = (
    "-",
    (0.0, (5.0, 1.5)),
    (0.0, (1.0, 1.2)),
    (0.0, (6.0, 1.5, 1.0, 1.5)),
    (0.0, (2.5, 1.0)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")


class PolicyStyle(NamedTuple):
    """How to draw a policy.

    Attributes:
        color: As `#RRGGBB`.
        linestyle: As matplotlib takes it.
        marker: As matplotlib takes it.
    """

    color: str
    linestyle: LineStyle
    marker: str


def style_of(names: Iterable[str]) -> dict[str, PolicyStyle]:
    """A style for each name, by its position in the sorted list.

    Hand in all policies of a config, also for a figure of a few: then a policy looks the same in every figure. The
    lengths of the three cycles have no common factor, so the first 385 styles differ, neighbors in all three; line and
    marker alone, which is what greyscale leaves, tell 55 apart.

    >>> style_of(["UCB1", "ABTest"])["ABTest"].color
    '#0072B2'
    """
    return {
        name: PolicyStyle(COLORS[i % len(COLORS)], LINES[i % len(LINES)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(sorted(set(names)))
    }
