"""Predicted against observed click rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from bandits.plots.figures import GRID_COLOR, MUTED_COLOR, SMALL_SIZE, axes_or_new, set_labels, write_percents
from bandits.plots.styles import COLORS


def plot_reliability(bins: Sequence[Mapping[str, float]], ax: Axes | None = None) -> Axes:
    """Observed click rate of each bin, with its 95 percent Wilson interval, by the predicted: a reliability diagram.

    Points on the diagonal are calibrated: of the impressions that the model gives 5 percent, 5 in 100 are clicked.

    Args:
        bins: For each bin `predicted`, `observed`, `low` and `high`, as `bandits.reward_models` evaluates them.
        ax: Axes to draw on; None makes a figure.
    """
    ax = axes_or_new(ax, 4.2, 4.0)
    predicted, observed, low, high = (
        np.array([values[name] for values in bins]) for name in ("predicted", "observed", "low", "high")
    )
    top = 1.08 * float(max(high.max(), predicted.max()))
    ax.plot([0, top], [0, top], color=MUTED_COLOR, linewidth=0.9, linestyle=(0, (4, 2)))
    # Rounding can put the end of an interval a hair inside its rate, where a bin has no clicks.
    errors = np.maximum([observed - low, high - observed], 0.0)
    ax.errorbar(predicted, observed, yerr=errors, fmt="o", markersize=4.5, color=COLORS[0], elinewidth=1.3, capsize=2.5)
    ax.text(
        0.96 * top, 0.93 * top, "calibrated", ha="right", va="top", fontsize=SMALL_SIZE, color=MUTED_COLOR, rotation=45
    )
    ax.set_xlim(0, top)
    ax.set_ylim(0, top)
    ax.set_aspect("equal")
    write_percents(ax.xaxis)
    write_percents(ax.yaxis)
    ax.grid(color=GRID_COLOR, linewidth=0.6)
    set_labels(ax, "predicted click rate", "observed click rate")
    return ax
