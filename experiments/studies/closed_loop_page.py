"""Writes what the closed loop came to: a table, a text summary, figures and a self-contained page."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bandits.plots import save_figure, style_of
from bandits.plots.figures import FONT_SIZE, GRID_COLOR, axes_or_new, set_labels, write_percents
from experiments.html_page import inlined, number, percent, signed, template
from experiments.progress import Reporter
from experiments.run_folder import write_text
from experiments.studies.closed_loop_config import ClosedLoopStudy
from experiments.studies.closed_loop_results import ALL, MEASURES, look_up, tabulate
from experiments.studies.folder import StudyFolder
from experiments.studies.measures import Measured
from policies import RefittedModel

FIGURES = {
    "gain": ("gain",),
    "calibration": ("own_ratio", "uniform_ratio"),
    "forgotten": ("few", "never"),
}
OVERVIEW = ("clicks", "gain", "lost_to_oracle", "own_ratio", "uniform_ratio", "own_ece", "uniform_ece", "few", "never")
TESTS = ("won", "lost", "undecided", "refit_seconds", "seconds")
BY_DEPLOYMENT = ("gain", "clicks", "own_ratio", "uniform_ratio", "few", "never")
_SHARES = {"lost_to_oracle", "few", "never", "won", "lost", "undecided"}


def write_closed_loop(config: ClosedLoopStudy, frame: pd.DataFrame, folder: StudyFolder, reporter: Reporter) -> Path:
    """Write replications.parquet, results.csv, summary.txt, figures/ and report.html.

    Args:
        config: The study.
        frame: Rows of `closed_loop.played` with a column `policy`.
        folder: The study's folder.
        reporter: Where the summary is told.

    Returns:
        The page.
    """
    table = tabulate(frame, config.baseline)
    frame.to_parquet(folder.path / "replications.parquet", index=False)
    write_text(folder.path / "results.csv", table.to_csv(index=False))
    for name, shown in FIGURES.items():
        save_figure(plot_deployments(table, shown, config.baseline), folder.figures / name)
    spent = float(frame.drop_duplicates(["policy", "replication"])["seconds"].sum())
    content = {
        "title": f"{config.name}: models that learn from their own log, in a world that drifts",
        "verdict": verdict(config, table),
        "facts": _facts(config, spent),
        "overview": _grid(config, table, OVERVIEW),
        "tests": _grid(config, table, TESTS),
        "by_deployment": [
            {"measure": MEASURES[name], "rows": _rows_by_deployment(config, table, name)} for name in BY_DEPLOYMENT
        ],
        "deployments": list(range(1, config.deployments + 1)),
        "policies": [(label, _settings(config, label)) for label in config.variants],
        "notes": _notes(config),
        "figures": {name: inlined(folder.figures / f"{name}.svg") for name in FIGURES},
    }
    text = _text(content)
    write_text(folder.path / "summary.txt", text)
    reporter.say(text)
    page = folder.path / "report.html"
    write_text(page, template("closed_loop.html.j2").render(**content))
    return page


def verdict(config: ClosedLoopStudy, table: pd.DataFrame) -> str:
    """The main finding in words."""
    others = [label for label in config.variants if label != config.baseline]
    if not others:
        found = look_up(table, config.baseline, ALL, "lost_to_oracle")
        return f"Only {config.baseline} was played; it lost {written('lost_to_oracle', found)} of the oracle's clicks."
    gains = {label: look_up(table, label, ALL, "gain") for label in others}
    best, worst = max(gains, key=lambda label: gains[label].value), min(gains, key=lambda label: gains[label].value)
    own, uniform = (look_up(table, best, ALL, name) for name in ("own_ratio", "uniform_ratio"))
    words = (
        f"Over {config.deployments} deployments the refitted model that did best, {best}, earned "
        f"{written('gain', gains[best])} more clicks than {config.baseline} (negative: fewer)"
    )
    if worst != best:
        words += f"; the one that did worst, {worst}, {written('gain', gains[worst])}"
    return (
        f"{words}. On the log that it made itself, clicks over predicted clicks of {best} were "
        f"{written('own_ratio', own)}; had all arms been shown alike, {written('uniform_ratio', uniform)}. "
        "The best of several looks a little better than it is."
    )


def plot_deployments(table: pd.DataFrame, shown: tuple[str, ...], baseline: str) -> Figure:
    """Measures by deployment with their intervals, a panel for each, a line for each policy.

    Args:
        table: From `tabulate`.
        shown: Names of measures.
        baseline: Label of the policy that a gain is over; it has no line there.
    """
    figure = Figure(figsize=(4.2 * len(shown) + 2.2, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels: list[Axes] = list(np.ravel(np.array(figure.subplots(1, len(shown)))))
    labels = list(dict.fromkeys(table["policy"]))
    styles = style_of(labels)
    for ax, name in zip(panels, shown, strict=True):
        axes_or_new(ax, 0, 0)
        some = table[(table["measure"] == name) & (table["deployment"] != ALL)]
        for place, label in enumerate(labels):
            rows = some[(some["policy"] == label) & some["value"].notna()]
            if rows.empty:
                continue
            x = rows["deployment"].astype(float) + 0.05 * (place - (len(labels) - 1) / 2)
            off = np.stack([rows["value"] - rows["low"], rows["high"] - rows["value"]])
            style = styles[label]
            ax.errorbar(
                x, rows["value"], yerr=off, color=style.color, linestyle=style.linestyle, marker=style.marker,
                markersize=4, linewidth=1.2, elinewidth=0.8, label=label,
            )  # fmt: skip
        if name == "gain" or name.endswith("ratio"):
            ax.axhline(0.0 if name == "gain" else 1.0, color="black", linewidth=0.8)
        if name == "gain" or name in _SHARES:
            write_percents(ax.yaxis)
        ax.set_xticks(sorted({int(number) for number in some["deployment"]}))
        ax.grid(axis="y", color=GRID_COLOR, linewidth=0.6)
        title = f"clicks gained over {baseline}" if name == "gain" else MEASURES[name].title.lower()
        set_labels(ax, "deployment", textwrap.fill(title, 44))
    figure.legend(
        *max((ax.get_legend_handles_labels() for ax in panels), key=lambda found: len(found[0])),
        loc="outside right upper", fontsize=FONT_SIZE, frameon=False,
    )  # fmt: skip
    return figure


def written(name: str, found: Measured) -> str:
    """A number of a measure with its interval."""
    if not found.replications:
        return "none"
    write = _writer(name)
    if math.isnan(found.low) or found.low == found.high:  # all replications alike: nothing to estimate a spread from
        return write(found.value)
    return f"{write(found.value)} ({write(found.low)} to {write(found.high)})"


def _writer(name: str) -> Callable[[float], str]:
    if name == "gain":
        return lambda value: f"{signed(100 * value)} %"
    if name in _SHARES:
        return percent
    if name.endswith("ece"):
        return lambda value: f"{value:.4f}"
    return (lambda value: f"{value:.3f}") if name.endswith("ratio") else number


def _grid(config: ClosedLoopStudy, table: pd.DataFrame, names: tuple[str, ...]) -> dict[str, object]:
    heads = [MEASURES[name].title for name in names]
    rows = [(label, [written(name, look_up(table, label, ALL, name)) for name in names]) for label in config.variants]
    captions = [f"{MEASURES[name].title}: {MEASURES[name].caption}" for name in names]
    return {"heads": heads, "rows": rows, "captions": captions}


def _rows_by_deployment(config: ClosedLoopStudy, table: pd.DataFrame, name: str) -> list[tuple[str, list[str]]]:
    numbers = [str(d) for d in range(1, config.deployments + 1)]
    return [
        (label, [written(name, look_up(table, label, d, name)) for d in numbers])
        for label in config.variants
        if (name, label) != ("gain", config.baseline)
    ]


def _settings(config: ClosedLoopStudy, label: str) -> str:
    """The parameters of a policy that differ from the defaults."""
    policy = config.policy(label)
    parameters = inspect.signature(RefittedModel).parameters.values()
    chosen = {p.name: getattr(policy, p.name) for p in parameters if getattr(policy, p.name) != p.default}
    return f"RefittedModel({', '.join(f'{name}={value!r}' for name, value in chosen.items())})"


def _facts(config: ClosedLoopStudy, spent: float) -> str:
    world = config.world
    pairs = "pair of topics changes places" if world.swaps == 1 else "pairs of topics change places"
    return (
        f"{world.users:,} readers, {world.headlines} headlines; {config.visitors:,} visitors are shown headlines at "
        f"random, then come {config.deployments} deployments of {config.visitors:,} visitors each, and before each but "
        f"the first {world.swaps} {pairs} in what readers feel. {config.simulation.replications:,} replications, each "
        f"with shifts of its own; seed {config.seed}. All policies meet the same visitors with the same luck. "
        f"Intervals: 95 percent over replications. Playing took {number(spent)} seconds in all."
    )


def _notes(config: ClosedLoopStudy) -> list[str]:
    seen = "models read what they always read."
    if config.model.kind == "head":
        seen = f"features are those of {config.world.encoder}, frozen, {config.world.features} numbers a text at most."
    return [
        "Clicks are expected ones, of the planted rates: what an endless number of visitors like these would bring.",
        "The model of a deployment was fitted on the tastes before the shift. Refitting follows them one step behind.",
        f"One newsroom: intervals say nothing about other readers and headlines. Texts never change, so {seen}",
        "A model that never serves anybody makes no log. Calibration is that of whatever model served a visitor: while "
        "a test goes on, the new one for half of them and the last one for the other half.",
        "Nothing is corrected for the number of policies and measures on this page.",
    ]


def _text(content: Mapping[str, object]) -> str:
    lines = [str(content["title"]), "", *textwrap.wrap(str(content["verdict"]), 120), ""]
    lines += textwrap.wrap(str(content["facts"]), 120)
    for key in ("overview", "tests"):
        grid = content[key]
        assert isinstance(grid, dict)
        for index, caption in enumerate(grid["captions"]):
            lines += ["", *textwrap.wrap(caption, 120)]
            width = max(len(label) for label, _ in grid["rows"]) + 2
            lines += [f"  {label:<{width}}{cells[index]}" for label, cells in grid["rows"]]
    return "\n".join([*lines, ""])
