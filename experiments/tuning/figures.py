"""Figures of a search: the value of each trial in order, and by each of the values that were tried."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bandits.plots import save_figure
from bandits.plots.figures import GRID_COLOR, MUTED_COLOR, SMALL_SIZE, axes_or_new, set_labels
from bandits.plots.styles import COLORS

_PANELS_PER_ROW = 3
_MOST_RATIO = 30  # of largest to least value, above which an axis is logarithmic


def draw_figures(trials: pd.DataFrame, results: Mapping[str, Any], ylabel: str, folder: Path) -> list[str]:
    """Write every figure as PNG and SVG; returns their names in the order of the page."""
    done = trials[trials["value"].notna()]
    ax = plot_history(done, results["own"], ylabel)
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    save_figure(figure, folder / "history")
    save_figure(_slices(done, results, ylabel), folder / "slices")
    return ["history", "slices"]


def plot_history(trials: pd.DataFrame, own: float, ylabel: str, ax: Axes | None = None) -> Axes:
    """The value of each trial, the best so far, and the experiment's own."""
    ax = axes_or_new(ax, 7.2, 3.6)
    ax.plot(trials["trial"], trials["value"], "o", color=COLORS[5], markersize=4.5, label="trial")
    ax.step(trials["trial"], trials["best_so_far"], where="post", color=COLORS[0], linewidth=1.4, label="best so far")
    ax.axhline(own, color=MUTED_COLOR, linewidth=0.9, linestyle=(0, (4, 2)), label="the experiment's own values")
    if trials["value"].min() > 0 and trials["value"].max() > _MOST_RATIO * trials["value"].min():
        ax.set_yscale("log")
    ax.grid(color=GRID_COLOR, linewidth=0.6)
    set_labels(ax, "trial", ylabel)
    ax.legend(fontsize=SMALL_SIZE, frameon=False)
    return ax


def _slices(trials: pd.DataFrame, results: Mapping[str, Any], ylabel: str) -> Figure:
    """One panel for each path: what each trial came to by the value that it tried, the best one marked."""
    paths = list(results["best_values"])
    rows = -(-len(paths) // _PANELS_PER_ROW)
    columns = min(len(paths), _PANELS_PER_ROW)
    figure = Figure(figsize=(max(3.2 * columns, 4.2), 2.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    best = trials["value"].eq(results["best"]).to_numpy()
    for index, path in enumerate(paths):
        ax = axes_or_new(figure.add_subplot(rows, columns, index + 1), 0, 0)
        places = _places(ax, trials[path])
        ax.plot(places, trials["value"], "o", color=COLORS[5], markersize=4)
        ax.plot(places[best], trials["value"][best], "D", color=COLORS[1], markersize=6)
        ax.grid(color=GRID_COLOR, linewidth=0.6)
        set_labels(ax, path, ylabel if index % _PANELS_PER_ROW == 0 else "")
        ax.xaxis.label.set_fontsize(SMALL_SIZE)
    return figure


def _places(ax: Axes, tried: pd.Series[Any]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Where the values stand: numbers where they are, on a logarithmic axis if they spread far, others side by side."""
    if pd.api.types.is_numeric_dtype(tried) and not pd.api.types.is_bool_dtype(tried) and tried.notna().all():
        values = tried.to_numpy(dtype=np.float64)
        if values.min() > 0 and values.max() > _MOST_RATIO * values.min():
            ax.set_xscale("log")
        return values
    names, places = np.unique(tried.astype(str), return_inverse=True)
    ax.set_xticks(range(len(names)), names, parse_math=False)
    return places.astype(np.float64)
