"""Who was shown what, over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from bandits.plots.figures import SMALL_SIZE, axes_or_new, label_right, set_labels, write_counts, write_percents
from bandits.plots.styles import COLORS

OTHERS_COLOR = "#D9D9D9"
HATCHES = ("", "////", "....", "\\\\\\\\", "----", "xxxx", "||||")


def plot_traffic(
    rounds: ArrayLike,
    traffic: ArrayLike,
    labels: Sequence[str],
    ax: Axes | None = None,
    *,
    named: int = 6,
    always: Sequence[int] = (),
    marks: Mapping[str, float] | None = None,
) -> Axes:
    """Share of the traffic per arm between one snapshot and the next, stacked to 100 percent.

    Arms of much traffic get a color, a hatch and their name; the others share one grey area.

    Args:
        rounds: Snapshots, shape (C,).
        traffic: Cumulative pulls of each arm, shape (C, K).
        labels: Names of the arms, length K; long ones are cut.
        ax: Axes to draw on; None makes a figure.
        named: Number of arms to name, `always` among them: those with most traffic.
        always: Arms to name in any case, such as one that arrived late.
        marks: Rounds to mark with a named vertical line, such as `{"new headline": 50_000}`.

    Raises:
        ValueError: When shapes disagree, or more arms are to be named than there are colors (7).
    """
    rounds, traffic = np.asarray(rounds, dtype=np.float64), np.asarray(traffic, dtype=np.float64)
    if traffic.shape != (len(rounds), len(labels)):
        expected = (len(rounds), len(labels))
        raise ValueError(f"`traffic` must have shape {expected} to match `rounds` and `labels`. Got {traffic.shape}.")
    ax = axes_or_new(ax, 8.0, 3.8)
    pulls = np.diff(traffic, axis=0, prepend=0.0)
    shares = pulls / pulls.sum(axis=1, keepdims=True)
    arms = _arms_to_name(pulls.sum(axis=0), named, always)
    others = np.delete(shares, arms, axis=1)
    areas = [shares[:, arm] for arm in arms]
    names = [_shorten(labels[arm]) for arm in arms]
    if others.shape[1]:
        areas.append(others.sum(axis=1))
        names.append(f"{others.shape[1]} other arms" if others.shape[1] > 1 else "1 other arm")
    colors = [*COLORS[: len(arms)], OTHERS_COLOR][: len(areas)]
    edges = np.concatenate([np.zeros((1, len(rounds))), np.cumsum(areas, axis=0)])
    edges = np.insert(edges, 0, edges[:, 0], axis=1)  # the first stretch begins with the first visitor
    rounds = np.insert(rounds, 0, 0.0)
    for area, (color, name) in enumerate(zip(colors, names, strict=True)):
        ax.fill_between(
            rounds,
            edges[area],
            edges[area + 1],
            step="pre",
            facecolor=color,
            edgecolor="white",
            hatch=HATCHES[area] if area < len(arms) else "",
            linewidth=0.4,
            label=name,
        )
    ax.set_xlim(0, rounds[-1])
    ax.set_ylim(0, 1)
    for name, moment in (marks or {}).items():
        ax.axvline(moment, ymax=1.04, color="black", linewidth=1.2, linestyle="--", clip_on=False)
        place = ax.get_xaxis_transform()
        ax.text(moment, 1.05, name, transform=place, ha="center", fontsize=SMALL_SIZE, parse_math=False)
    write_percents(ax.yaxis)
    write_counts(ax.xaxis)
    set_labels(ax, "visitors", "share of traffic")
    label_right(ax, names, list((edges[:-1, -1] + edges[1:, -1]) / 2), colors)
    return ax


def _arms_to_name(pulls: NDArray[np.float64], named: int, always: Sequence[int]) -> list[int]:
    """The arms of `always`, and those of most pulls until there are `named`; by index."""
    most = [int(arm) for arm in np.argsort(-pulls, kind="stable") if arm not in always]
    arms = [*always, *most[: max(named - len(always), 0)]]
    if len(arms) > len(COLORS):
        raise ValueError(f"`named` and `always` must name at most {len(COLORS)} arms. Got {len(arms)}.")
    return sorted(arms)


def _shorten(text: str, most: int = 44) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
