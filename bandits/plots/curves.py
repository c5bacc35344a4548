"""Curves over the rounds of a run, and over the lengths of a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from bandits.plots.figures import (
    GRID_COLOR,
    MUTED_COLOR,
    SMALL_SIZE,
    axes_or_new,
    label_right,
    set_labels,
    write_counts,
)
from bandits.plots.styles import COLORS, PolicyStyle, style_of
from bandits.statistics import Interval, mean_interval


def plot_curves(
    rounds: ArrayLike,
    curves: Mapping[str, ArrayLike],
    ylabel: str,
    ax: Axes | None = None,
    *,
    bands: bool = True,
    phases: Mapping[str, tuple[float, float]] | None = None,
    styles: Mapping[str, PolicyStyle] | None = None,
    world: ArrayLike | None = None,
    references: Mapping[str, ArrayLike] | None = None,
    xscale: Literal["linear", "log"] = "linear",
) -> Axes:
    """Mean of each policy over the replications, with pointwise 95 percent bands and its name at the line end.

    Args:
        rounds: Snapshots, shape (C,).
        curves: Regret, extra clicks, ... by policy, each of shape (C, N).
        ylabel: What the curves are, with unit.
        ax: Axes to draw on; None makes a figure.
        bands: Whether to draw the bands. A single replication has none.
        phases: Stretches of rounds to shade, such as `{"A/B test": (0, 20_000)}`.
        styles: Style of each policy; by default `style_of(curves)`.
        world: World of each replication, shape (N,); see `bandits.statistics.mean_interval`.
        references: Lines that no policy played, such as a bound, by name, each of shape (C,); drawn dotted.
        xscale: Scale of the horizontal axis.
    """
    ax = axes_or_new(ax, 7.2, 4.2)
    styles = styles or style_of(curves)
    rounds = np.asarray(rounds, dtype=np.float64)
    ends = []
    for position, (name, values) in enumerate(curves.items()):
        style = styles[name]
        mean, low, high = mean_interval(values, world)
        ends.append(float(mean[-1]))
        # Staggered, so that the markers of curves that lie together do not hide each other.
        first_marker = 0.12 * position / len(curves)
        ax.plot(
            rounds,
            mean,
            color=style.color,
            linestyle=style.linestyle,
            linewidth=1.4,
            marker=style.marker,
            markersize=4,
            markevery=(first_marker, 0.12),
            label=name,
        )
        if bands and np.all(np.isfinite(low)):
            ax.fill_between(rounds, low, high, color=style.color, alpha=0.15, linewidth=0)
    lines = {name: np.asarray(values, dtype=np.float64) for name, values in (references or {}).items()}
    for name, line in lines.items():
        ax.plot(rounds, line, color=MUTED_COLOR, linestyle=(0, (1, 1.5)), linewidth=1.4, label=name)
    ax.set_xscale(xscale)
    ax.set_xlim(rounds[0] if xscale == "log" else 0.0, rounds[-1])
    ax.set_ylim(*ax.get_ylim())
    ax.grid(color=GRID_COLOR, linewidth=0.6)
    write_counts(ax.xaxis)
    write_counts(ax.yaxis)
    set_labels(ax, "visitors", ylabel)
    for phase, (start, end) in (phases or {}).items():
        _shade(ax, phase, start, end)
    ends += [float(line[-1]) for line in lines.values()]
    colors = [styles[name].color for name in curves] + [MUTED_COLOR] * len(lines)
    label_right(ax, [*curves, *lines], ends, colors)
    return ax


def plot_test_length(
    n: ArrayLike,
    reward: Interval,
    ax: Axes | None = None,
    *,
    ylabel: str = "clicks",
    planned: float | None = None,
    references: Mapping[str, float] | None = None,
) -> Axes:
    """What an A/B test earns in all, by its length: the best length, which hindsight alone knows, and the planned one.

    Args:
        n: Visitors in the test, shape (M,), increasing.
        reward: Reward over the whole horizon at each length, arrays of shape (M,).
        ax: Axes to draw on; None makes a figure.
        ylabel: What the reward is, with unit.
        planned: Length that the config computed, marked with a vertical line.
        references: Rewards of other policies, drawn as horizontal lines.
    """
    ax = axes_or_new(ax, 5.6, 3.6)
    n = np.asarray(n, dtype=np.float64)
    best = int(np.argmax(reward.estimate))
    ax.plot(n, reward.estimate, color=COLORS[0], marker="o", markersize=4, linewidth=1.4)
    if np.all(np.isfinite(reward.low)):
        ax.fill_between(n, reward.low, reward.high, color=COLORS[0], alpha=0.15, linewidth=0)
    ax.plot(n[best], reward.estimate[best], marker="o", markersize=9, color=COLORS[0], markerfacecolor="none")
    ax.set_xscale("log")
    for value in (references or {}).values():
        ax.axhline(value, color=MUTED_COLOR, linewidth=0.9, linestyle=(0, (4, 2)))
    ax.margins(y=0.15)
    ax.set_ylim(*ax.get_ylim())
    if planned is not None:
        ax.axvline(planned, color="black", linewidth=0.9, linestyle=":")
        place = ax.get_xaxis_transform()
        ax.text(
            planned, 0.02, f" planned: {planned:,.0f}", transform=place, fontsize=SMALL_SIZE, rotation=90, ha="right"
        )
    write_counts(ax.xaxis)
    write_counts(ax.yaxis)
    ax.grid(color=GRID_COLOR, linewidth=0.6)
    set_labels(ax, "length of the A/B test in visitors", ylabel)
    names, values = list(references or {}), list((references or {}).values())
    label_right(
        ax,
        [f"best in hindsight: {n[best]:,.0f}", *names],
        [float(reward.estimate[best]), *values],
        [COLORS[0], *[MUTED_COLOR] * len(names)],
    )
    return ax


def _shade(ax: Axes, name: str, start: float, end: float) -> None:
    ax.axvspan(start, end, color="#888888", alpha=0.13, linewidth=0)
    ax.text(
        end,
        0.99,
        f"{name} ",
        transform=ax.get_xaxis_transform(),
        ha="right",
        va="top",
        rotation=90,
        fontsize=SMALL_SIZE,
        color=MUTED_COLOR,
        parse_math=False,
    )
