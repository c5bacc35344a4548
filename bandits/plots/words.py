"""What each word did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from bandits.plots.figures import FONT_SIZE, GRID_COLOR, SMALL_SIZE, axes_or_new, set_labels


def plot_word_effects(
    effects: Sequence[tuple[str, str, float]], xlabel: str, series: Sequence[str], ax: Axes | None = None
) -> Axes:
    """A bar for each word, in the order of the text from top to bottom.

    Args:
        effects: Word, the text that it stands in, and its effect.
        xlabel: What the effect is, with unit.
        series: The texts in the order of the legend: bars of the first are filled, of the second white and hatched.
        ax: Axes to draw on; None makes a figure.
    """
    ax = axes_or_new(ax, 7.2, 1.0 + 0.22 * len(effects))
    looks: tuple[dict[str, Any], ...] = (
        {"color": "#444444"},
        {"facecolor": "white", "edgecolor": "#444444", "hatch": "////"},
    )
    rows = range(len(effects) - 1, -1, -1)
    for name, look in zip(series, looks, strict=False):
        chosen = [(row, effect) for row, (_, of, effect) in zip(rows, effects, strict=True) if of == name]
        if chosen:
            ax.barh([row for row, _ in chosen], [effect for _, effect in chosen], height=0.7, label=name, **look)
    for row, (_, _, effect) in zip(rows, effects, strict=True):
        ax.annotate(
            f"{effect:+.3f}", xy=(1.02, row), xycoords=ax.get_yaxis_transform(), va="center", fontsize=SMALL_SIZE
        )
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(list(rows), [word for word, _, _ in effects], fontsize=FONT_SIZE, parse_math=False)
    ax.set_ylim(-0.6, len(effects) - 0.4)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GRID_COLOR, linewidth=0.6)
    legend = ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=SMALL_SIZE)
    for text in legend.get_texts():
        text.set_parse_math(False)
    set_labels(ax, xlabel, "")
    return ax
