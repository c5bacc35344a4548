"""Figures of a replay, from its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bandits.plots import PolicyStyle, save_figure, style_of
from bandits.plots.figures import (
    FONT_SIZE,
    GRID_COLOR,
    MUTED_COLOR,
    SMALL_SIZE,
    axes_or_new,
    label_right,
    set_labels,
    write_percents,
)

PANELS = {
    "declared": "declares a winner,\nshare of all tests",
    "unproven": "winner not significant\nat the end, share of winners",
    "worse": "winner behind\nat the end, share of winners",
}
COMPARED = ("naive peeking", "O'Brien-Fleming")
_WIDEST = 98.0  # percent of the points that the axes of the scatter must hold; the others lie on its edge


def draw_replay(frame: pd.DataFrame, summary: pd.DataFrame, folder: Path, test_length: str) -> list[str]:
    """Write the figures of one metric as PNG and SVG.

    Args:
        frame: Its judged decisions.
        summary: Its rows of the summary.
        folder: Where to.
        test_length: What a test's length is counted in, for the axis.

    Returns:
        The figures' names, in the order of the page.
    """
    styles = style_of(summary["rule"])
    save_figure(plot_shares(summary, styles), folder / "shares")
    timing = plot_timing(frame, test_length, styles).get_figure(root=True)
    assert isinstance(timing, Figure)
    save_figure(timing, folder / "timing")
    save_figure(plot_promises(frame, styles), folder / "promises")
    return ["shares", "timing", "promises"]


def plot_shares(summary: pd.DataFrame, styles: Mapping[str, PolicyStyle]) -> Figure:
    """How often each rule declares a winner, and how often that winner does not hold, with intervals.

    Args:
        summary: Rows of one metric from `summarised`.
        styles: Style of each rule.
    """
    figure = Figure(figsize=(8.4, 1.5 + 0.3 * len(summary)), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, (name, label) in zip(np.ravel(figure.subplots(1, len(PANELS), sharey=True)), PANELS.items(), strict=True):
        axes_or_new(ax, 0, 0)
        for height, row in enumerate(reversed(summary.to_dict("records"))):
            style = styles[str(row["rule"])]
            low, share, high = (row[f"{name}{end}"] for end in ("_low", "", "_high"))
            if np.isnan(share):
                ax.annotate("no winner", xy=(0.02, height), va="center", fontsize=SMALL_SIZE, color=MUTED_COLOR)
                continue
            if not np.isnan(low):
                ax.plot([low, high], [height, height], color=style.color, linewidth=2, solid_capstyle="butt")
            ax.plot(
                share, height, marker=style.marker, markersize=6, color=style.color, linestyle="none", clip_on=False
            )
        ax.set_yticks(range(len(summary)), summary["rule"].tolist()[::-1], fontsize=FONT_SIZE)
        ax.set_ylim(-0.6, len(summary) - 0.4)
        ax.set_xlim(left=0.0)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color=GRID_COLOR, linewidth=0.6)
        write_percents(ax.xaxis)
        set_labels(ax, label, "")
    return figure


def plot_timing(
    frame: pd.DataFrame, test_length: str, styles: Mapping[str, PolicyStyle], ax: Axes | None = None
) -> Axes:
    """Share of the tests with a declared winner, by how much of the test had passed.

    Args:
        frame: Judged decisions of one metric.
        test_length: What a test's length is counted in.
        styles: Style of each rule.
        ax: Axes to draw on; None makes a figure.
    """
    ax = axes_or_new(ax, 7.2, 4.2)
    passed = np.linspace(0, 1, 201)
    ends = []
    names = list(frame["rule"].unique())
    for position, name in enumerate(names):
        rows = frame[frame["rule"] == name]
        times = np.sort(rows.loc[rows["declared"] > 0, "time_used"])
        share = np.searchsorted(times, passed + 1e-12, side="right") / len(rows)
        style = styles[name]
        ax.step(
            passed,
            share,
            where="post",
            color=style.color,
            linestyle=style.linestyle,
            linewidth=1.4,
            marker=style.marker,
            markersize=4,
            markevery=(position * 3 + 6, 26),
            clip_on=False,
        )
        ends.append(float(share[-1]))
    ax.set_xlim(0, 1)
    ax.set_ylim(0, max(ends) * 1.08 or 1.0)
    ax.grid(color=GRID_COLOR, linewidth=0.6)
    write_percents(ax.xaxis)
    write_percents(ax.yaxis)
    set_labels(ax, f"share of the test's {test_length} that have passed", "share of tests with a declared winner")
    label_right(ax, names, ends, [styles[name].color for name in names])
    return ax


def plot_promises(frame: pd.DataFrame, styles: Mapping[str, PolicyStyle]) -> Figure:
    """The declared winner's lead when it was declared against its lead at the end, one dot for each test.

    Args:
        frame: Judged decisions of one metric; of several random orders the first is drawn.
        styles: Style of each rule.
    """
    if "order" in frame:
        frame = frame[frame["order"] == 0]
    shown = frame[(frame["promised"] > 0) & frame["rule"].isin(COMPARED)]
    figure = Figure(figsize=(8.4, 4.3), layout="constrained")
    FigureCanvasAgg(figure)
    reach = float(np.percentile(shown["promised"], _WIDEST)) * 1.05 if len(shown) else 1.0
    depth = min(float(shown["delivered"].min()), 0.0) if len(shown) else 0.0
    panels = np.ravel(figure.subplots(1, len(COMPARED), sharex=True, sharey=True))
    for ax, name in zip(panels, COMPARED, strict=True):
        axes_or_new(ax, 0, 0)
        rows, style = shown[shown["rule"] == name], styles[name]
        for proven, face in ((True, style.color), (False, "white")):
            part = rows[(rows["unproven"] == 0) == proven]
            ax.plot(
                part["promised"].clip(upper=reach),
                part["delivered"].clip(upper=reach),
                marker="o",
                markersize=4.5,
                color=style.color,
                markerfacecolor=face,
                linestyle="none",
                alpha=0.75,
                label="significant at the end" if proven else "not significant at the end",
            )
        ax.plot([0, reach], [0, reach], color="black", linewidth=0.8, linestyle=(0, (4, 2)))
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_xlim(0, reach * 1.03)
        ax.set_ylim(max(depth, -reach) * 1.1 - 0.02 * reach, reach * 1.03)
        ax.grid(color=GRID_COLOR, linewidth=0.6)
        ax.set_title(name, fontsize=FONT_SIZE)
        ax.legend(fontsize=SMALL_SIZE, frameon=False, loc="upper left")
        write_percents(ax.xaxis)
        write_percents(ax.yaxis)
        set_labels(ax, "winner's lead when declared, relative", "its lead at the end, relative")
    return figure
