"""Writes what a replay found: tables, a text summary, figures and a self-contained page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.html_page import inlined, interval, percent, template
from experiments.progress import Reporter
from experiments.run_folder import write_text
from experiments.studies.replay_config import ReplayStudy
from experiments.studies.replay_figures import draw_replay
from experiments.studies.replay_results import judged, summarised
from experiments.studies.stopping_rules import rules

NAIVE, CAREFUL = "naive peeking", "O'Brien-Fleming"
_LOSERS = 20  # rows of the table of losers


@dataclass(frozen=True)
class Replay:
    """A replay's decisions and what the page must say of them.

    Attributes:
        title: Of the page.
        decisions: From `replay_rules`, with a column `metric`.
        metrics: Metrics in the order of the page; the first is told in full.
        time_unit: What a test's length is counted in.
        test_words: What a test is, a sentence.
        notes: What was set aside and assumed, sentences.
        source: The data, with its citation.
    """

    title: str
    decisions: pd.DataFrame
    metrics: list[str]
    time_unit: str
    test_words: str
    notes: list[str]
    source: str


def write_replay(replay: Replay, config: ReplayStudy, out: Path, reporter: Reporter) -> Path:
    """Write decisions.parquet, results.csv, summary.txt, figures/ and report.html.

    Args:
        replay: What was found.
        config: The study.
        out: Its folder.
        reporter: Where the summary is told.

    Returns:
        The page.
    """
    alpha = config.rules.alpha
    frame = judged(replay.decisions, alpha)
    by_metric = {metric: frame[frame["metric"] == metric] for metric in replay.metrics}
    by_metric = {metric: rows for metric, rows in by_metric.items() if len(rows)}
    summaries = {metric: summarised(rows, by={"metric": metric}) for metric, rows in by_metric.items()}
    out.mkdir(parents=True, exist_ok=True)
    frame.drop(columns="all").to_parquet(out / "decisions.parquet", index=False)
    write_text(out / "results.csv", pd.concat(summaries.values(), ignore_index=True).to_csv(index=False))
    first = next(iter(by_metric))
    names = draw_replay(by_metric[first], summaries[first], out / "figures", replay.time_unit)
    text = summary_text(replay, summaries, alpha)
    write_text(out / "summary.txt", text)
    reporter.say(text)
    looks = by_metric[first].groupby("test")["looks"].first()
    content = {
        "title": replay.title,
        "source": replay.source,
        "facts": _facts(summaries[first], looks),
        "verdict": verdict(summaries[first], replay.time_unit),
        "test_words": replay.test_words,
        "time_unit": replay.time_unit,
        "alpha": alpha,
        "metrics": [{"name": metric, "rows": rows.to_dict("records")} for metric, rows in summaries.items()],
        "methods": [
            {"name": name, "method": rule.method}
            for name, rule in rules(config.rules).items()
            if name in set(frame["rule"])
        ],
        "losers": _losers(by_metric[first]),
        "notes": replay.notes,
        "figures": {name: inlined(out / "figures" / f"{name}.svg") for name in names},
    }
    page = out / "report.html"
    write_text(page, template("replay.html.j2", span=_span, isnan=np.isnan).render(**content))
    return page


def verdict(summary: pd.DataFrame, time_unit: str) -> str:
    """The main finding in words, from the numbers of one metric.

    Args:
        summary: From `summarised`.
        time_unit: What a test's length is counted in.
    """
    rows = {str(row["rule"]): row for row in summary.to_dict("records")}
    naive, careful = rows[NAIVE], rows[CAREFUL]
    tests = f"{naive['tests']:,}"
    if math.isnan(naive["worse"]):
        return f"Naive peeking declared no winner in any of {tests} tests, so it shipped no loser."
    words = (
        f"An uncorrected test at every look would have declared a winner in "
        f"{_share(naive, 'declared')} of {tests} tests. Of these winners {_share(naive, 'worse')} were behind in "
        f"the final data, losers that would have been shipped, and {_share(naive, 'unproven')} were not significantly "
        "ahead."
    )
    if math.isnan(careful["worse"]):
        return f"{words} O'Brien-Fleming boundaries declared no winner."
    saved = 1 - careful["time_used"]
    return (
        f"{words} With O'Brien-Fleming boundaries at the same looks the two shares are {_share(careful, 'worse')} and "
        f"{_share(careful, 'unproven')}; they find {_share(careful, 'found')} of the differences that are significant "
        f"at the end, and still save {percent(saved)} of the {time_unit}."
    )


def summary_text(replay: Replay, summaries: dict[str, pd.DataFrame], alpha: float) -> str:
    """The page as plain text: verdict, then a table for each metric."""
    first = next(iter(summaries.values()))
    lines = [replay.title, "", verdict(first, replay.time_unit), ""]
    for metric, summary in summaries.items():
        lines.append(f"{metric}: {summary['tests'].iloc[0]:,} tests; shares with 95 percent intervals")
        lines.append(
            f"  {'rule':<16}{'declares a winner':>26}{'not significant at end':>26}{'behind at end':>26}"
            f"{replay.time_unit + ' used':>16}"
        )
        for row in summary.to_dict("records"):
            cells = "".join(f"{_cell(row, name):>26}" for name in ("declared", "unproven", "worse"))
            lines.append(f"  {row['rule']:<16}{cells}{percent(row['time_used']):>16}")
        lines.append("")
    lines.append(
        f"Not significant, behind: in the final data, as shares of the winners that were declared; level {alpha:g} per "
        "comparison, not adjusted for several comparisons."
    )
    lines += ["", *(f"- {note}" for note in replay.notes), ""]
    return "\n".join(lines)


def _cell(row: Any, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if math.isnan(row[name]):
        return "no winner"
    if math.isnan(low):
        return f"{100 * row[name]:g} % by definition"
    return f"{100 * row[name]:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def _share(row: Any, name: str) -> str:
    """A share in words with its interval."""
    if math.isnan(row[name]):
        return "none"
    return f"{percent(row[name])} ({interval(row[f'{name}_low'], row[f'{name}_high'], percent)})"


def _span(low: float, high: float) -> str:
    """Both ends of an interval of shares, in percent without the sign."""
    return " to ".join(percent(value).removesuffix(" %") for value in (low, high))


def _facts(summary: pd.DataFrame, looks: pd.Series[int]) -> str:
    row = summary.iloc[0]
    orders = f", each in {row['repetitions']:.0f} random orders" if row["repetitions"] > 1 else ""
    spread = f"{looks.min():,} to {looks.max():,} looks a test" if looks.min() < looks.max() else f"{looks.min()} looks"
    return f"{row['tests']:,} tests in {row['clusters']:,} independent units{orders}; {spread}."


def _losers(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Tests in which naive peeking declared a winner that was behind at the end, the worst first."""
    if "order" in frame:
        return []
    rows = frame[(frame["rule"] == NAIVE) & (frame["worse"] > 0)].assign(ahead=lambda part: part["delivered"])
    return [
        {str(key): value for key, value in row.items()} for row in rows.nsmallest(_LOSERS, "ahead").to_dict("records")
    ]
