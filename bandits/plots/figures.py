"""Making axes, labeling them, and writing figures to files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, NullFormatter
from scipy import optimize

from bandits.plots.fonts import fonts_for

FONT_SIZE = 9.0
SMALL_SIZE = 8.0
GRID_COLOR = "#DDDDDD"
MUTED_COLOR = "#666666"


def axes_or_new(ax: Axes | None, width: float, height: float) -> Axes:
    """`ax` itself, or the only axes of a new figure of `width` × `height` inches; without upper and right spines."""
    if ax is None:
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        ax = figure.add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=SMALL_SIZE)
    ax.set_axisbelow(True)
    return ax


def set_labels(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Name both axes. The texts are taken as they are: a dollar sign starts no formula."""
    ax.set_xlabel(xlabel, fontsize=FONT_SIZE, parse_math=False)
    ax.set_ylabel(ylabel, fontsize=FONT_SIZE, parse_math=False)


def write_counts(axis: Axis) -> None:
    """Write the ticks of an axis as whole numbers with thousands separators."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


def write_percents(axis: Axis) -> None:
    """Write the ticks of an axis of shares as percentages, without needless decimals."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))


def label_right(ax: Axes, labels: Sequence[str], heights: Sequence[float], colors: Sequence[str]) -> None:
    """Write each label to the right of the axes, as near to its height as the others allow, with a line to the height.

    Args:
        ax: Axes whose limits are final.
        labels: Texts, length M, taken as they are.
        heights: Where they belong, in data coordinates, length M.
        colors: Of the lines to them, length M.
    """
    low, high = ax.get_ylim()
    ends = np.clip((np.asarray(heights, dtype=np.float64) - low) / (high - low), 0.0, 1.0)
    inches = ax.get_window_extent().height / ax.get_figure(root=True).dpi  # type: ignore[union-attr]
    gap = 1.25 * SMALL_SIZE / 72 / inches
    order = np.argsort(ends, kind="stable")
    for index, position in zip(order, _spread(ends[order], gap), strict=True):
        ax.annotate(
            labels[index],
            xy=(1.0, float(ends[index])),
            xytext=(1.05, float(position)),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=SMALL_SIZE,
            annotation_clip=False,
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colors[index],
                "linewidth": 0.8,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 0,
            },
        )


def save_figure(figure: Figure, path_without_suffix: Path) -> None:
    """Write `figure` as PNG and as SVG; the same figure gives the same bytes.

    All its texts get fonts that have their glyphs (see `fonts_for`); in the SVG they are outlines, so the reader needs
    no fonts.

    Args:
        figure: What the plot functions' axes belong to.
        path_without_suffix: `.png` and `.svg` are appended; folders are created.
    """
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    families = fonts_for(text.get_text() for text in texts)
    for text in texts:
        text.set_fontfamily(families)
    path_without_suffix.parent.mkdir(parents=True, exist_ok=True)
    base = str(path_without_suffix)
    with mpl.rc_context({"svg.hashsalt": "click-bandits", "svg.fonttype": "path"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # `fonts_for` has said it, once
        figure.savefig(f"{base}.png", dpi=200, metadata={"Software": None})
        figure.savefig(f"{base}.svg", metadata={"Date": None, "Creator": None})


def _spread(
    positions: np.ndarray[tuple[int], np.dtype[np.float64]], gap: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The nearest positions (least squares) to sorted ones that keep `gap` apart, inside [0, 1] where they fit."""
    steps = gap * np.arange(len(positions))
    free = optimize.isotonic_regression(positions - steps).x
    room = max(1.0 - steps[-1], 0.0)
    return np.clip(free, min(0.0, room), room) + steps
