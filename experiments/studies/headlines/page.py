"""Writes what the study `headlines` found: results, tables, figures and a self-contained page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.html_page import inlined, template
from experiments.progress import Reporter
from experiments.run_folder import write_text
from experiments.studies.headlines.candidates import AB_TEST, BEST
from experiments.studies.headlines.config import HeadlinesStudy
from experiments.studies.headlines.data import SEPARATE, HeadlineLog
from experiments.studies.headlines.facts import facts
from experiments.studies.headlines.figures import draw_headlines
from experiments.studies.headlines.results import COMPARISONS, remaining, vanishing_point

PUBLISHED = (
    "Ye, Yoganarasimhan and Zheng (Marketing Science 2025, LOLA): UCB that begins with a language model's predictions "
    "earned about 4 to 5 percent more clicks than the A/B test and 2 to 3 percent more than the plain bandit."
)
TRUTHS = {
    "observed": "every headline's observed click rate is taken for the truth, as in the published study",
    "shrunken": "observed rates are drawn towards their test's rate, by as much as chance moves them (empirical Bayes)",
    "half-sample": "clicks are drawn from one random half of the visitors and counted at the rates of the other half, "
    "so that no policy earns anything by the noise of the rates that it learned from",
}
TOLD = 100  # visitors per headline that the verdict is about, where there are so many


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found.

    Attributes:
        headlines: The archive and the folds.
        rows: From `predicted_headlines`.
        results: From `gains`, of all truths and numbers of visitors.
        choices: What training tests chose: `visitors`, `policy`, `fold`, `chosen`.
    """

    headlines: HeadlineLog
    rows: pd.DataFrame
    results: pd.DataFrame
    choices: pd.DataFrame


def write_page(findings: Findings, config: HeadlinesStudy, out: Path, reporter: Reporter) -> Path:
    """Write results.csv, choices.csv, tables.md, figures/ and report.html.

    Args:
        findings: What was found.
        config: The study.
        out: Its folder.
        reporter: Where the tables are told.

    Returns:
        The page.
    """
    results = findings.results
    write_text(out / "results.csv", results.to_csv(index=False))
    write_text(out / "choices.csv", findings.choices.to_csv(index=False))
    text = tables(findings, config)
    write_text(out / "tables.md", text)
    reporter.say(text)
    names = draw_headlines(results, out / "figures")
    first = results[results["truth"] == config.truths[0]]
    content = {
        "title": f"{config.name}: what a language model adds to a bandit on real headline tests",
        "facts": facts(findings.rows, config),
        "verdict": verdict(results, config),
        "published": PUBLISHED,
        "truth": config.truths[0],
        "visitors": config.visitors,
        "comparisons": COMPARISONS,
        "sections": [
            {"visitors": n, "rows": first[first["visitors"] == n].to_dict("records")} for n in config.visitors
        ],
        "remaining": remaining(results).to_dict("records"),
        "truths": {name: TRUTHS[name] for name in config.truths},
        "choices": _chosen(findings.choices),
        "notes": notes(findings, config),
        "confidence": config.confidence,
        "baseline": AB_TEST,
        "best": BEST,
        "figures": {name: inlined(out / "figures" / f"{name}.svg") for name in names},
    }
    page = out / "report.html"
    write_text(page, template("headlines.html.j2", gain=gain, isnan=np.isnan).render(**content))
    return page


def gain(row: Mapping[Any, Any], name: str) -> str:
    """A relative gain with its interval, in percent.

    >>> gain({"over_ab": 0.061, "over_ab_low": 0.05, "over_ab_high": 0.072}, "over_ab")
    '+6.1 % (+5.0 to +7.2)'
    """
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if math.isnan(value):
        return ""
    ends = "" if math.isnan(low) else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * value:+.1f} %{ends}"


def verdict(results: pd.DataFrame, config: HeadlinesStudy) -> str:
    """The main finding in words, from the numbers."""
    first, n = config.truths[0], TOLD if TOLD in config.visitors else config.visitors[0]
    row = _best(results, first, n)
    words = (
        f"At {n:,} visitors per headline the best policy with a model, chosen on training tests, earns "
        f"{gain(row, 'over_ab')} clicks relative to the A/B test that ships its winner, and "
        f"{gain(row, 'over_without')} relative to the same policy without a model, with {first} rates as truth."
    )
    for name in config.truths[1:]:
        other = _best(results, name, n)
        found = [f"{gain(other, c)}{_share(other, row, c)}" for c in ("over_ab", "over_without")]
        words += f" With {name} rates it is {' and '.join(found)}."
    return f"{words} {vanishing(results, config)}"


def vanishing(results: pd.DataFrame, config: HeadlinesStudy) -> str:
    """Where the model's gains vanish, in words."""
    sentences = []
    for comparison in ("over_ab", "over_without"):
        truths_by_end: dict[int | None, list[str]] = {}
        for name in config.truths:
            end = vanishing_point(results[results["truth"] == name], comparison)
            truths_by_end.setdefault(end, []).append(name)
        parts = [f"{_until(end, config)} with {', '.join(names)} rates" for end, names in truths_by_end.items()]
        sentences.append(f"The gain over {COMPARISONS[comparison]} {', and '.join(parts)}.")
    return " ".join(sentences)


def tables(findings: Findings, config: HeadlinesStudy) -> str:
    """The page as text, in Markdown: verdict, the gains of every policy, and what remains of them."""
    results, first = findings.results, config.truths[0]
    head = " | ".join(f"{n:,}" for n in config.visitors)
    lines = [verdict(results, config), "", facts(findings.rows, config), ""]
    of_first = results[results["truth"] == first]
    for comparison, words in COMPARISONS.items():
        lines += [f"Clicks relative to {words}, by visitors per headline ({first} rates):", ""]
        lines += [f"| policy | {head} |", "| --- |" + " ---: |" * len(config.visitors)]
        for name in of_first["policy"].unique():
            rows = of_first[of_first["policy"] == name].set_index("visitors").loc[config.visitors]
            if rows[comparison].notna().any():
                cells = " | ".join(gain(row, comparison) for row in rows.to_dict("records"))
                lines.append(f"| {name} | {cells} |")
        lines.append("")
    lines += [f"The {BEST}, by what is taken for the truth:", ""]
    lines += [f"| relative to | truth | {head} |", "| --- | --- |" + " ---: |" * len(config.visitors)]
    for comparison, words in COMPARISONS.items():
        for name in config.truths:
            cells = " | ".join(gain(_best(results, name, n), comparison) for n in config.visitors)
            lines.append(f"| {words} | {name} | {cells} |")
    lines += ["", PUBLISHED, "", "Chosen on training tests (one value per fold where they differ):", ""]
    lines += [f"| policy | {head} |", "| --- |" + " --- |" * len(config.visitors)]
    for row in _chosen(findings.choices):
        lines.append(f"| {row['policy']} | {' | '.join(row['chosen'])} |")
    lines += ["", *(f"* {note}" for note in notes(findings, config)), ""]
    return "\n".join(lines)


_FAULTY_WEEKS = {
    "exclude": "left out",
    "train": "models learn from them, where nothing else is done with their story, and nothing is judged by them",
    "include": "taken as sound",
}


def notes(findings: Findings, config: HeadlinesStudy) -> list[str]:
    """How the study is made and what it assumes, sentences."""
    log, dropped = findings.headlines.log, findings.headlines.dropped
    if findings.headlines.cross_fitted:
        learned = (
            f"Stories are divided into {config.folds} folds by a hash of their name. The tests of a fold are predicted "
            "by a model that was fitted, stopped and calibrated on the stories of the others; values of policies are "
            "chosen on the tests of the others, with the predictions that those have from models which saw none of "
            "their stories."
        )
    else:
        learned = (
            f"The model learns from the training file only. It predicts {SEPARATE[3]:.0%} of its stories, held out, on "
            f"which values of policies are chosen, and the test file. {dropped:,} training tests share a story with "
            "the test file and are dropped."
        )
    grid = config.candidates
    return [
        "A test is the headlines that were shown under one image of one test; at least two.",
        f"{log.facts['faulty randomization']:,} rows are from weeks with faulty randomization: "
        f"{_FAULTY_WEEKS[config.data.faulty_weeks]}. Images with a single headline "
        f"({log.facts['headline does not vary']:,} rows) are left out.",
        learned,
        "At n visitors per headline a test of K headlines has K n visitors in all, for every policy. The A/B test "
        "divides a share of them evenly and ships the headline with the highest observed rate to the rest; `even "
        "split` divides them all.",
        f"Chosen on training tests, for each number of visitors and each fold anew, under {config.truths[0]} rates: "
        f"the A/B test's share ({_listed(grid.exploration)}), the width of UCB ({_listed(grid.widths)}), the visits m "
        f"that a prior is worth (UCB: {_listed(grid.weights)}; Thompson: {_listed(grid.thompson_weights)}), for "
        "policies with and without a model alike, and which policy with a model is the best. Under the other truths "
        "the same choices are played.",
        "`UCB, flat prior` and `Thompson` may begin with m visits at the click rate of the training stories, the same "
        "for every headline: the gain over it is what the texts add. With learned m, the weight is learned within each "
        "test, by how well the predictions hold.",
        "Visitors click with fixed rates, each independently; the clicks of a policy are the visits that it gave each "
        "headline times that headline's rate, averaged over simulated repetitions. All policies meet the same visitors "
        "with the same luck.",
        "A gain is a ratio of sums over all tests, less 1; its interval's unit is the story, whose tests may depend on "
        "one another. The fitted models and the choices are taken as given. Intervals are per comparison.",
        "A shrunken rate has less spread than the true one, and half-samples teach a policy rates with twice the "
        "noise: both understate what can be won.",
    ]


def _until(end: int | None, config: HeadlinesStudy) -> str:
    """Up to where a gain is certain, from `vanishing_point`."""
    if end is None:
        return f"is still certain at {config.visitors[-1]:,} visitors per headline"
    if end == config.visitors[0]:
        return "is nowhere certain"
    return f"vanishes from {end:,} visitors per headline on"


def _share(row: Mapping[Any, Any], first: Mapping[Any, Any], comparison: str) -> str:
    """How much a gain is of the first truth's; nothing where that is not certain."""
    return f", {row[comparison] / first[comparison]:.0%} of it" if first[f"{comparison}_low"] > 0 else ""


def _best(results: pd.DataFrame, truth: str, visitors: int) -> dict[Any, Any]:
    rows = results[(results["truth"] == truth) & (results["visitors"] == visitors) & (results["policy"] == BEST)]
    return rows.to_dict("records")[0]


def _chosen(choices: pd.DataFrame) -> list[dict[str, Any]]:
    """For each policy what was chosen at each number of visitors, with the number of folds where they differ."""
    rows = []
    for policy in choices["policy"].unique():
        cells = []
        for _, group in choices[choices["policy"] == policy].groupby("visitors", sort=True):
            counts = group["chosen"].value_counts()
            several = [f"{words} ({count} of {len(group)} folds)" for words, count in counts.items()]
            cells.append(str(counts.index[0]) if len(counts) == 1 else "; ".join(several))
        rows.append({"policy": policy, "chosen": cells})
    return rows


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
