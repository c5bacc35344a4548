"""Figures of a study of effects: operating characteristics by effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from bandits.plots import PolicyStyle, save_figure, style_of
from bandits.plots.figures import (
    FONT_SIZE,
    GRID_COLOR,
    MUTED_COLOR,
    SMALL_SIZE,
    axes_or_new,
    label_right,
    set_labels,
    write_counts,
    write_percents,
)
from experiments.studies.config import EffectsStudy
from experiments.studies.measures import Measured
from experiments.studies.results import TARGET, look_up

_PANELS_PER_ROW = 3
_BAND = 0.99
CURVES = {
    "rejects": "runs that find a difference",
    "ships_best": "runs that ship the best arm",
    "ships_worse": "runs that ship a worse arm than the control",
    "visitors_mean": "mean visitors to the decision",
    "lost": "clicks lost over all visitors",
    "saving": "clicks saved against the baseline",
}
_COUNTED = ("visitors_mean", "lost")


def draw_figures(config: EffectsStudy, table: pd.DataFrame, folder: Path) -> list[str]:
    """Write every figure as PNG and SVG; returns their names in the order of the page."""
    styles = style_of(config.policies)
    effects, xlabel = config.world.effects, _xlabel(config)
    drawn = []
    for measure, ylabel in CURVES.items():
        curves = {
            label: [look_up(table, label, effect, measure) for effect in effects]
            for label in config.policies
            if not table[(table["policy"] == label) & (table["measure"] == measure)]["value"].isna().all()
        }
        if curves:
            ax = plot_by_effect(effects, curves, xlabel, ylabel, styles=styles, percent=measure not in _COUNTED)
            if measure == "rejects":
                ax.axhline(1 - config.confidence, color=MUTED_COLOR, linewidth=0.9, linestyle=(0, (4, 2)))
            figure = ax.get_figure(root=True)
            assert isinstance(figure, Figure)
            save_figure(figure, folder / measure)
            drawn.append(measure)
    save_figure(_coverage_figure(config, table, xlabel), folder / "coverage")
    return [*drawn, "coverage"]


def plot_by_effect(
    effects: Sequence[float],
    curves: Mapping[str, Sequence[Measured]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    *,
    styles: Mapping[str, PolicyStyle],
    percent: bool,
    named: bool = True,
) -> Axes:
    """One curve for each policy over the effects, with bars for the 95 percent Monte Carlo intervals.

    Args:
        effects: Differences of click rates, increasing.
        curves: Measured numbers by label, one for each effect; those that are not defined leave a gap.
        xlabel: What the effects are.
        ylabel: What the numbers are.
        ax: Axes to draw on; None makes a figure.
        styles: Style of each label.
        percent: Whether the numbers are shares.
        named: Whether to write the labels to the right of the axes.
    """
    ax = axes_or_new(ax, 7.2, 4.0)
    points = 100 * np.asarray(effects)
    ends = []
    for name, numbers in curves.items():
        value, low, high = (
            np.array([getattr(number, field) for number in numbers]) for field in ("value", "low", "high")
        )
        style = styles[name]
        ax.errorbar(
            points,
            value,
            yerr=np.maximum([value - low, high - value], 0.0),
            color=style.color,
            linestyle=style.linestyle,
            linewidth=1.3,
            marker=style.marker,
            markersize=4.5,
            elinewidth=1.0,
            label=name,
        )
        known = value[np.isfinite(value)]
        ends.append(float(known[-1]) if known.size else 0.0)
    if not percent:
        ax.set_ylim(bottom=0.0)
    ax.grid(color=GRID_COLOR, linewidth=0.6)
    (write_percents if percent else write_counts)(ax.yaxis)
    set_labels(ax, xlabel, ylabel)
    if named:
        ax.set_ylim(*ax.get_ylim())
        label_right(ax, list(curves), ends, [styles[name].color for name in curves])
    return ax


def _coverage_figure(config: EffectsStudy, table: pd.DataFrame, xlabel: str) -> Figure:
    """A panel for each policy: coverage of its intervals, the nominal line, and where chance would leave it."""
    some = table[(table["measure"] == "coverage") & (table["of"] == TARGET) & table["value"].notna()]
    estimators = [str(name) for name in some["estimator"].unique()]
    styles = style_of(estimators)
    labels = [label for label in config.policies if (some["policy"] == label).any()]
    rows = -(-len(labels) // _PANELS_PER_ROW)
    figure = Figure(figsize=(9.6, 0.7 + 2.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, _PANELS_PER_ROW, sharex=True, sharey=True, squeeze=False).ravel()
    for panel in panels[len(labels) :]:
        panel.remove()
    for panel in panels[max(len(labels) - _PANELS_PER_ROW, 0) : len(labels)]:
        panel.tick_params(labelbottom=True)
    handles: dict[str, Artist] = {}
    for panel, label in zip(panels, labels, strict=False):
        mine = some[some["policy"] == label]
        curves = {
            name: [look_up(mine, label, effect, "coverage", name, TARGET) for effect in config.world.effects]
            for name in estimators
            if (mine["estimator"] == name).any()
        }
        plot_by_effect(
            config.world.effects, curves, "", "", axes_or_new(panel, 0, 0), styles=styles, percent=True, named=False
        )
        low, high = binomial_band(config.confidence, config.replications(label))
        panel.axhspan(low, high, color=MUTED_COLOR, alpha=0.25, linewidth=0)
        panel.axhline(config.confidence, color="black", linewidth=0.8)
        panel.set_title(label, fontsize=FONT_SIZE, parse_math=False)
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    figure.legend(
        handles=list(handles.values()),
        labels=list(handles),
        loc="outside upper center",
        ncols=5,
        fontsize=SMALL_SIZE,
        frameon=False,
    )
    figure.supxlabel(xlabel, fontsize=FONT_SIZE)
    figure.supylabel("intervals that hold the true difference", fontsize=FONT_SIZE)
    return figure


def binomial_band(rate: float, count: int) -> tuple[float, float]:
    """Shares between which `count` replications of an event of probability `rate` fall with 99 percent probability.

    >>> binomial_band(0.95, 1000)
    (0.931, 0.967)
    """
    low, high = stats.binom.interval(_BAND, count, rate)
    return float(low) / count, float(high) / count


def _xlabel(config: EffectsStudy) -> str:
    return f"true effect: arm {config.world.target} minus the control, in percentage points of click rate"
