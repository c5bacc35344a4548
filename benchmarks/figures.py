"""Figures of costs on log-log axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bandits.plots.figures import GRID_COLOR, SMALL_SIZE, axes_or_new, set_labels, write_counts
from bandits.plots.styles import style_of

_HEIGHT = 3.3  # inches


class Line(NamedTuple):
    """A cost by a size, both above 0, and the slope of the line through their logarithms.

    Attributes:
        name: Of the policy.
        x: Sizes, length M.
        y: Costs, length M.
        exponent: The slope.
    """

    name: str
    x: Sequence[int]
    y: Sequence[float]
    exponent: float


class Panel(NamedTuple):
    """A pair of axes and what is drawn between them.

    Attributes:
        xlabel: What the lower axis shows.
        ylabel: What the left axis shows, with its unit.
        lines: The lines.
        ticks: Numbers at the lower axis; powers of ten where none are given.
    """

    xlabel: str
    ylabel: str
    lines: Sequence[Line]
    ticks: Sequence[int] = ()


def log_log_figure(panels: Sequence[Panel], path: Path, title: str) -> str:
    """Draw panels side by side, each with its points, the lines fitted to them and their exponents.

    Args:
        panels: From left to right.
        path: Where to write the SVG; its folder is created.
        title: What the figure shows, for readers who cannot see it.

    Returns:
        The Markdown that shows it from the folder above.
    """
    figure = Figure(figsize=(max(4.5, 3.4 * len(panels)), _HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    styles = style_of(line.name for panel in panels for line in panel.lines)
    for ax, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes_or_new(ax, 0, 0)
        ax.set(xscale="log", yscale="log")
        ax.grid(color=GRID_COLOR, linewidth=0.6)
        set_labels(ax, panel.xlabel, panel.ylabel)
        for line in panel.lines:
            style, x = styles[line.name], np.asarray(line.x, dtype=np.float64)
            center = np.exp(np.mean(np.log(line.y)) - line.exponent * np.mean(np.log(x)))
            ax.plot(x, line.y, linestyle="none", marker=style.marker, color=style.color, markersize=4)
            ax.plot(x, center * x**line.exponent, linestyle=style.linestyle, color=style.color, linewidth=1.2)
            # Only for the legend: the marker upon the line.
            label = f"{line.name}: {line.exponent:.2f}"
            ax.plot(
                [], [], linestyle=style.linestyle, marker=style.marker, color=style.color, markersize=4, label=label
            )
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        if panel.ticks:
            ax.set_xticks(panel.ticks)
            write_counts(ax.xaxis)
        ax.legend(
            title="policy: exponent",
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            fontsize=SMALL_SIZE,
            title_fontsize=SMALL_SIZE,
            frameon=False,
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "click-bandits", "svg.fonttype": "path"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    return f"![{title}]({path.parent.name}/{path.name})"
