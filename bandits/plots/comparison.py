"""Policies against a baseline, one line each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from bandits.plots.figures import FONT_SIZE, GRID_COLOR, SMALL_SIZE, axes_or_new, set_labels, write_counts
from bandits.plots.styles import PolicyStyle, style_of
from bandits.statistics import Interval


def plot_paired_differences(
    differences: Mapping[str, Interval],
    xlabel: str,
    ax: Axes | None = None,
    *,
    styles: Mapping[str, PolicyStyle] | None = None,
) -> Axes:
    """A forest plot, best on top: estimate and interval of each policy's difference to a baseline.

    A filled marker says that the interval excludes zero, a hollow one that nothing is certain.

    Args:
        differences: Scalar intervals by policy, from `bandits.statistics.paired_difference`.
        xlabel: What the difference is, to whom, with unit.
        ax: Axes to draw on; None makes a figure.
        styles: Style of each policy; by default `style_of(differences)`.
    """
    ax = axes_or_new(ax, 7.2, 1.0 + 0.28 * len(differences))
    styles = styles or style_of(differences)
    names = sorted(differences, key=lambda name: float(differences[name].estimate))
    for row, name in enumerate(names):
        estimate, low, high = (float(value) for value in differences[name])
        color = styles[name].color
        certain = low > 0 or high < 0
        if np.isfinite(low):
            ax.plot([low, high], [row, row], color=color, linewidth=2, solid_capstyle="butt")
        ax.plot(
            estimate,
            row,
            marker=styles[name].marker,
            markersize=6,
            color=color,
            markerfacecolor=color if certain else "white",
            linestyle="none",
        )
        interval = f"  [{low:+,.0f}, {high:+,.0f}]" if np.isfinite(low) else "  no interval"
        ax.annotate(
            f"{estimate:+,.0f}{interval}",
            xy=(1.02, row),
            xycoords=ax.get_yaxis_transform(),
            va="center",
            fontsize=SMALL_SIZE,
            annotation_clip=False,
        )
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(names)), names, fontsize=FONT_SIZE, parse_math=False)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GRID_COLOR, linewidth=0.6)
    write_counts(ax.xaxis)
    set_labels(ax, xlabel, "")
    return ax


def plot_estimates(
    estimates: Mapping[str, Mapping[str, Interval]],
    xlabel: str,
    ax: Axes | None = None,
    *,
    styles: Mapping[str, PolicyStyle] | None = None,
) -> Axes:
    """Several estimates of the same things side by side, a line for each thing.

    A filled marker says that the interval excludes zero.

    Args:
        estimates: Series to thing to scalar interval; series may lack things.
        xlabel: What is estimated, with unit.
        ax: Axes to draw on; None makes a figure.
        styles: Style of each series; by default `style_of(estimates)`.
    """
    things = list(dict.fromkeys(name for series in estimates.values() for name in series))
    ax = axes_or_new(ax, 7.2, 1.2 + 0.18 * len(things) * (1 + len(estimates)))
    styles = styles or style_of(estimates)
    step = 0.8 / len(estimates)
    for number, (series, intervals) in enumerate(estimates.items()):
        style = styles[series]
        for name, interval in intervals.items():
            row = len(things) - 1 - things.index(name) + 0.4 - step * (number + 0.5)
            estimate, low, high = (float(value) for value in interval)
            if np.isfinite(low):
                ax.plot([low, high], [row, row], color=style.color, linewidth=2, solid_capstyle="butt")
            filled = style.color if low > 0 or high < 0 else "white"
            ax.plot(
                estimate,
                row,
                marker=style.marker,
                markersize=6,
                color=style.color,
                markerfacecolor=filled,
                linestyle="none",
            )
        ax.plot([], [], marker=style.marker, color=style.color, markersize=6, linewidth=2, label=series)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(things)), things[::-1], fontsize=FONT_SIZE, parse_math=False)
    ax.set_ylim(-0.6, len(things) - 0.4)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GRID_COLOR, linewidth=0.6)
    legend = ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=SMALL_SIZE)
    for text in legend.get_texts():
        text.set_parse_math(False)
    set_labels(ax, xlabel, "")
    return ax
