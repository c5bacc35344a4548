"""The page of a study of effects: tables as text, and report.html with the same tables and figures."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bandits import KernelPolicy
from experiments import provenance
from experiments.html_page import inlined, template
from experiments.progress import Reporter
from experiments.run_folder import write_text
from experiments.studies.config import EffectsStudy
from experiments.studies.estimators import OWN
from experiments.studies.figures import draw_figures
from experiments.studies.folder import StudyFolder
from experiments.studies.headline import headline
from experiments.studies.measures import Measured
from experiments.studies.results import QUANTILES, TARGET, WINNER, look_up
from policies.ab import ABDesign, ABTest

_LINE = 120


class Grid(NamedTuple):
    """A table with one column for each effect.

    Attributes:
        title: Of the table.
        caption: What its numbers are.
        columns: Heads of the columns of numbers.
        rows: Label, estimator (may be empty) and a text for each column.
    """

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, str, Sequence[str]]]


class Shown(NamedTuple):
    """A measure and how its numbers are written."""

    measure: str
    title: str
    caption: str
    factor: float = 1.0
    digits: int = 0


PERCENT = "Percent of the replications."
DECISIONS = (
    Shown(
        "rejects",
        "Finds a difference",
        f"{PERCENT} At effect 0 this is the type I error, elsewhere the power. Tests are two-sided. Bandits "
        "have none: theirs is the fixed-length test after the last visitor, which adaptive data do not allow.",
        100,
        1,
    ),
    Shown("ships_best", "Ships the best arm", f"{PERCENT} Not defined where all arms are equal.", 100, 1),
    Shown("ships_worse", "Ships an arm worse than the control", PERCENT, 100, 1),
    Shown("ships_new", "Ships an arm other than the control", PERCENT, 100, 1),
    Shown("undecided", "Has not decided by the last visitor", f"{PERCENT} The control is kept.", 100, 1),
)
COSTS = (
    Shown("visitors_mean", "Visitors to the decision, mean", "All visitors where there was no decision."),
    Shown(
        "lost_in_test", "Clicks lost until the decision", "Expected clicks against always showing the best arm.", 1, 2
    ),
    Shown("lost", "Clicks lost over all visitors", "Expected clicks against always showing the best arm.", 1, 2),
    Shown(
        "saving", "Clicks saved against the baseline", "Percent of the clicks that the baseline loses, paired.", 100, 1
    ),
)
ESTIMATES = (
    Shown("coverage", "Coverage", "Percent of the intervals that hold the true difference.", 100, 1),
    Shown("bias", "Bias", "Mean estimate minus true difference, in percentage points.", 100, 4),
    Shown("rmse", "Root mean squared error", "In percentage points.", 100, 4),
    Shown("half_width", "Half of the interval's width", "Mean, in percentage points.", 100, 4),
    Shown("no_interval", "Runs without an interval", f"{PERCENT} They do not count for the coverage.", 100, 1),
)


def write_page(
    config: EffectsStudy,
    policies: Mapping[str, KernelPolicy],
    table: pd.DataFrame,
    folder: StudyFolder,
    reporter: Reporter,
) -> Path:
    """Draw the figures, write summary.txt and report.html, tell the first of it, and say where the latter is."""
    figures = {name: inlined(folder.figures / f"{name}.svg") for name in draw_figures(config, table, folder.figures)}
    sections = list(_sections(config, table))
    content = {
        "title": f"{config.name}: what designs find, ship and lose",
        "facts": _facts(config),
        "verdict": headline(config, table),
        "designs": [
            (label, _settings(config.policies[label], policy), rule(policy, config.world.arms))
            for label, policy in policies.items()
        ],
        "notes": _notes(config, policies, table),
        "methods": _methods(table),
        "made_with": f"Made with {_version()}.",
    }
    write_text(folder.path / "summary.txt", "\n".join(_text(content, sections)) + "\n")
    reporter.say("\n".join(_outline(content, sections)))
    page = template("study.html.j2").render(**content, sections=sections, figures=figures)
    report = folder.path / "report.html"
    write_text(report, page)
    return report


def effect_heads(config: EffectsStudy) -> list[str]:
    """Effects in percentage points, as column heads."""
    return [f"{100 * effect:+g}" if effect else "0" for effect in config.world.effects]


def written(measured: Measured, shown: Shown) -> str:
    """A number with its Monte Carlo standard error.

    >>> written(Measured(0.0512, 0.0022, 0.047, 0.056, 10_000), DECISIONS[0])
    '5.1 ± 0.2'
    """
    if math.isnan(measured.value):
        return "–"
    value = f"{shown.factor * measured.value:,.{shown.digits}f}"
    if math.isnan(measured.error):
        return value
    return f"{value} ± {shown.factor * measured.error:,.{shown.digits}f}"


def _sections(config: EffectsStudy, table: pd.DataFrame) -> Iterator[tuple[str, str, list[Grid]]]:
    """Key, title and tables of each part of the page."""
    yield "decisions", "What it decides", [g for shown in DECISIONS if (g := _by_policy(config, table, shown)).rows]
    costs = [_by_policy(config, table, shown) for shown in COSTS]
    costs.insert(1, _quantiles(config, table))
    yield "costs", "What it costs", [grid for grid in costs if grid.rows]
    target = f"arm {config.world.target} minus the control"
    grids = [_by_estimator(config, table, shown, TARGET) for shown in ESTIMATES]
    yield "estimates", f"How well it estimates {target}", [grid for grid in grids if grid.rows]
    grids = [_by_estimator(config, table, shown, WINNER) for shown in ESTIMATES[:2]]
    title = "How well it estimates what it ships: the shipped arm minus the control, where a new arm is shipped"
    yield "winners", title, [grid for grid in grids if grid.rows]


def _by_policy(config: EffectsStudy, table: pd.DataFrame, shown: Shown) -> Grid:
    some = table[(table["measure"] == shown.measure) & table["value"].notna()]
    if shown.measure == "undecided" and not some["value"].any():
        some = some[:0]
    rows = [
        (
            label,
            "",
            [written(look_up(some, label, effect, shown.measure), shown) for effect in config.world.effects],
        )
        for label in config.policies
        if (some["policy"] == label).any()
    ]
    return Grid(shown.title, shown.caption, effect_heads(config), rows)


def _quantiles(config: EffectsStudy, table: pd.DataFrame) -> Grid:
    shown = Shown(
        "", "Visitors to the decision, quantiles", "One run in ten decides before the first, one after the last."
    )
    rows = []
    for label in config.policies:
        for level in QUANTILES:
            measure = f"visitors_q{100 * level:.0f}"
            if ((table["policy"] == label) & (table["measure"] == measure)).any():
                cells = [written(look_up(table, label, effect, measure), shown) for effect in config.world.effects]
                rows.append((label, f"{100 * level:.0f} percent", cells))
    return Grid(shown.title, shown.caption, effect_heads(config), rows)


def _by_estimator(config: EffectsStudy, table: pd.DataFrame, shown: Shown, of: str) -> Grid:
    some = table[(table["measure"] == shown.measure) & (table["of"] == of) & table["value"].notna()]
    if shown.measure == "no_interval":
        some = some[some["value"] > 0]
    rows = []
    for label in config.policies:
        mine = some[some["policy"] == label]
        for name in mine["estimator"].unique():
            numbers = [look_up(mine, label, effect, shown.measure, name, of) for effect in config.world.effects]
            rows.append((label, str(name), [written(number, shown) for number in numbers]))
    return Grid(shown.title, shown.caption, effect_heads(config), rows)


def _facts(config: EffectsStudy) -> str:
    world, counts = config.world, config.simulation
    few = "".join(f"; {label}: {count:,}" for label, count in counts.fewer.items())
    shape = ", ".join(f"{share:g}" for share in world.shape)
    return (
        f"{world.arms} arms, the first of them the control with a click rate of {100 * world.base_rate:g} percent; the "
        f"arms differ from it by {shape} times the effect. {world.visitors:,} visitors a replication; "
        f"{counts.replications:,} replications of every policy at every effect{few}. Seed {config.seed}. All policies "
        "meet the same visitors with the same luck, at all effects, so what one column got by chance the others share. "
        "± is one Monte Carlo standard error: what comes of having played so often and not for ever."
    )


def rule(policy: KernelPolicy, num_arms: int) -> str:
    """What a policy does, in words: a design's whole rule, of another policy the first sentence."""
    if isinstance(policy, ABDesign):
        return f"{policy.division(num_arms)} {policy.decision_rule(num_arms)}"
    return (type(policy).__doc__ or "").strip().partition("\n")[0]


def _settings(spec: Mapping[str, Any], policy: KernelPolicy) -> str:
    """The class of a policy and the parameters that differ from its defaults."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(type(policy)).parameters.items()}
    chosen = (f"{name}={value!r}" for name, value in spec.items() if name in defaults and value != defaults[name])
    return f"{type(policy).__name__}({', '.join(chosen)})"


def _notes(config: EffectsStudy, policies: Mapping[str, KernelPolicy], table: pd.DataFrame) -> list[str]:
    """What is not defined, and why."""
    notes = [
        "Each number is judged by itself: nothing is corrected for the number of policies or effects on this page.",
    ]
    for label, policy in policies.items():
        own = table[(table["policy"] == label) & (table["estimator"] == OWN)]
        tested = table[(table["policy"] == label) & (table["measure"] == "rejects")]
        if isinstance(policy, ABDesign) and not isinstance(policy, ABTest) and own.empty:
            notes.append(f"{label}: no interval of its own; the naive ones do not allow for its looks, the others do.")
        if tested["value"].isna().all():
            notes.append(f"{label}, finds a difference: {tested['method'].iloc[0]}.")
    missing = table[(table["measure"] == "no_interval") & (table["of"] == TARGET)]
    for label in config.policies:
        mine = missing[missing["policy"] == label]
        weighted = mine[mine["estimator"].str.startswith("AIPW")]
        bandit = table[(table["policy"] == label) & (table["measure"] == "undecided")].empty
        if not weighted.empty and (weighted["value"] == 1).any():
            notes.append(f"{label}: AIPW is not defined, because its propensities are 0 or 1.")
        elif bandit and weighted.empty:
            left_out = "left out by the config" if label in config.simulation.unweighted else "not known here"
            notes.append(f"{label}: no AIPW, because its propensities are {left_out}.")
        if bandit:
            notes.append(
                f"{label} never decides: all its numbers are those after the last visitor, and what it "
                "“ships” is the arm that it showed most often."
            )
    return notes


def _methods(table: pd.DataFrame) -> list[tuple[str, str]]:
    """What stands behind each number: policy or estimator, and method, level, family and looks in words."""
    tests = table[table["measure"] == "rejects"][["policy", "method"]].drop_duplicates()
    intervals = table[table["measure"] == "coverage"][["policy", "estimator", "method"]]
    own = intervals[intervals["estimator"] == OWN].drop_duplicates()
    others = intervals[intervals["estimator"] != OWN][["estimator", "method"]].drop_duplicates()
    rows = [(f"{label}, finds a difference", method) for label, method in tests.itertuples(index=False)]
    rows += [(f"{label}, {name}", method) for label, name, method in own.itertuples(index=False)]
    return rows + [(str(name), str(method)) for name, method in others.itertuples(index=False)]


def _version() -> str:
    version = provenance.describe()["versions"]["click-bandits"]
    return f"click-bandits {version}" if version else "a checkout of click-bandits"


def _outline(content: Mapping[str, Any], sections: Sequence[tuple[str, str, list[Grid]]]) -> Iterator[str]:
    """What fits on a screen or two: the sentence on top, what is decided, and what it costs."""
    yield from ("", *_filled(content["verdict"]))
    for key, _, grids in sections:
        for grid in grids if key in ("decisions", "costs") else ():
            yield from _text_table(grid)
    yield "\nEstimates, intervals, rules and methods are in summary.txt and on the page.\n"


def _text(content: Mapping[str, Any], sections: Sequence[tuple[str, str, list[Grid]]]) -> Iterator[str]:
    yield from (content["title"], "", *_filled(content["verdict"]), "", *_filled(content["facts"]), "")
    for label, call, sentence in content["designs"]:
        yield from _filled(f"{label}: {call}. {sentence}")
    for _, title, grids in sections:
        if grids:
            yield f"\n== {title} =="
        for grid in grids:
            yield from _text_table(grid)
    yield ""
    for note in content["notes"]:
        yield from _filled(f"Note: {note}")
    yield ""
    for name, method in content["methods"]:
        yield from _filled(f"{name}: {method}.")


def _filled(text: str) -> list[str]:
    return textwrap.wrap(text, _LINE, subsequent_indent="  ")


def _text_table(grid: Grid) -> Iterator[str]:
    yield from ("", *_filled(f"{grid.title}. {grid.caption}"))
    head = ["effect, percentage points", *grid.columns]
    lines = [head, *([", ".join(part for part in (label, name) if part), *cells] for label, name, cells in grid.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(widths[0]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(line)]
        yield "  ".join(cells).rstrip()
