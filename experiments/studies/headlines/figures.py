"""Figures of the study `headlines`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bandits.plots import save_figure, style_of
from bandits.plots.figures import (
    FONT_SIZE,
    GRID_COLOR,
    SMALL_SIZE,
    axes_or_new,
    label_right,
    set_labels,
    write_counts,
    write_percents,
)
from experiments.studies.headlines.candidates import AB_TEST, BEST
from experiments.studies.headlines.results import COMPARISONS


def draw_headlines(results: pd.DataFrame, folder: Path) -> list[str]:
    """Write the figures as PNG and SVG.

    Args:
        results: All gains, with columns `truth` and `visitors`; the first truth is drawn in full.
        folder: Where to.

    Returns:
        The figures' names, in the order of the page.
    """
    gains = plot_gains(results[results["truth"] == results["truth"].iloc[0]]).get_figure(root=True)
    assert isinstance(gains, Figure)
    save_figure(gains, folder / "gains")
    save_figure(plot_remaining(results), folder / "remaining")
    return ["gains", "remaining"]


def plot_gains(results: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Gain over the A/B test by visitors per headline, a line for each policy, with intervals.

    Args:
        results: Gains under one truth.
        ax: Axes to draw on; None makes a figure.
    """
    ax = axes_or_new(ax, 8.0, 4.8)
    styles = style_of(results["policy"])
    names = [name for name in results["policy"].unique() if name not in (AB_TEST, BEST)]
    ends = []
    for place, name in enumerate(names):
        rows, style = results[results["policy"] == name].sort_values("visitors"), styles[name]
        # Side by side, so that intervals do not hide one another.
        at = rows["visitors"].to_numpy() * 1.03 ** (place - (len(names) - 1) / 2)
        ax.vlines(at, rows["over_ab_low"], rows["over_ab_high"], color=style.color, linewidth=0.9, alpha=0.7)
        ax.plot(
            at,
            rows["over_ab"],
            color=style.color,
            linestyle=style.linestyle,
            linewidth=1.4,
            marker=style.marker,
            markersize=5,
        )
        ends.append(float(rows["over_ab"].iloc[-1]))
    ax.axhline(0, color="black", linewidth=0.8)
    _finish(ax, results, "clicks relative to the A/B test")
    label_right(ax, names, ends, [styles[name].color for name in names])
    return ax


def plot_remaining(results: pd.DataFrame) -> Figure:
    """Gains of the best policy with a model, a panel for each comparison and a line for each truth, with intervals."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    best, truths = results[results["policy"] == BEST], list(results["truth"].unique())
    styles = style_of(truths)
    panels = np.ravel(figure.subplots(1, len(COMPARISONS), sharey=True))
    for ax, (comparison, words) in zip(panels, COMPARISONS.items(), strict=True):
        axes_or_new(ax, 0, 0)
        for place, truth in enumerate(truths):
            rows, style = best[best["truth"] == truth].sort_values("visitors"), styles[truth]
            at = rows["visitors"].to_numpy() * 1.05 ** (place - (len(truths) - 1) / 2)
            low, high = rows[f"{comparison}_low"], rows[f"{comparison}_high"]
            ax.vlines(at, low, high, color=style.color, linewidth=1.1, alpha=0.7)
            ax.plot(
                at,
                rows[comparison],
                color=style.color,
                linestyle=style.linestyle,
                linewidth=1.4,
                marker=style.marker,
                markersize=5,
                label=truth,
            )
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_title(f"over {words}", fontsize=FONT_SIZE)
        _finish(ax, results, "gain" if ax is panels[0] else "")
    panels[-1].legend(title="truth", fontsize=SMALL_SIZE, title_fontsize=SMALL_SIZE, frameon=False)
    return figure


def _finish(ax: Axes, results: pd.DataFrame, ylabel: str) -> None:
    visitors = np.sort(results["visitors"].unique())
    ax.set_xscale("log")
    ax.set_xlim(visitors[0] / 1.3, visitors[-1] * 1.3)
    write_counts(ax.xaxis)
    ax.set_xticks(visitors, minor=False)
    ax.set_xticks([], minor=True)
    ax.grid(color=GRID_COLOR, linewidth=0.6)
    write_percents(ax.yaxis)
    set_labels(ax, "visitors per headline", ylabel)
