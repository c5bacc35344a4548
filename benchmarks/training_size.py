"""How well headlines are ordered, by the number of stories that a model learned from and by model.

`python -m benchmarks.training_size --set data.path=FILE.csv` fits the study's own model to growing shares of the
stories; every `--model WEIGHTS [KEY=VALUE ...]` adds one with other weights and keys of a fit, which learns from all
of them. The folds are those of the study `headlines`: each headline is judged by a model that saw nothing of its
story. Fits are cached and shared with the study's; an interruption loses nothing. `--write docs` puts the table into
`headlines.md` and the figure beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bandits.compiled.specialize import cache_folder
from bandits.plots import save_figure, style_of
from bandits.plots.figures import (
    FONT_SIZE,
    GRID_COLOR,
    SMALL_SIZE,
    axes_or_new,
    set_labels,
    write_counts,
    write_percents,
)
from bandits.reward_models import FitConfig, Split, fit_reward_model
from bandits.reward_models.baselines import TfidfWithinTests, contrasts, counts
from bandits.reward_models.comparison import lead_in_pairwise_accuracy
from bandits.reward_models.metrics import differing_pairs
from bandits.reward_models.split import keyed_place
from bandits.statistics import clustered_ratio
from benchmarks.measure import Settings, say
from benchmarks.report import conditions, replace_section, section_of, table
from experiments.studies.config import load_study
from experiments.studies.headlines.data import HeadlineLog, fold_splits, read_headlines
from experiments.studies.headlines.facts import in_points

FloatArray = NDArray[np.float64]

TFIDF = "TF-IDF"
PART, PAGE = "accuracy by training size", "headlines.md"


class Share(NamedTuple):
    """A share with its 95 percent t interval over stories."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} ({100 * self.low:.1f} to {100 * self.high:.1f})"


class Point(NamedTuple):
    """What a model came to with a share of the stories.

    Attributes:
        name: Of the model.
        weights: Number of its weights, all members together; 0 for TF-IDF.
        headlines: Mean number of headlines in training over folds.
        everywhere: Share of all pairs that it orders rightly.
        significant: The same of pairs that differ with p < 0.05.
        seconds: Mean seconds of training over folds, all members together, from whenever it was done.
        scores: Of all headlines, nan where none is judged, shape (n,).
    """

    name: str
    weights: int
    headlines: float
    everywhere: Share
    significant: Share
    seconds: float
    scores: FloatArray


def thinned(split: Split, share: float, seed: int) -> Split:
    """The split with a share of the training stories; those of a smaller share are among those of a larger one."""
    group = split.train["group"]
    place = group.map({name: keyed_place(f"size {name}", seed) for name in group.unique()})
    return replace(split, train=split.train[place < share].reset_index(drop=True))


def ordered_rightly(scores: FloatArray, rows: pd.DataFrame) -> tuple[Share, Share]:
    """Share of pairs in the right order, of all and of those with p < 0.05, whose unit is the story."""
    pairs = differing_pairs(*counts(rows), contrasts(rows))
    right, story = pairs.ordered_right(scores), rows["group"].to_numpy()[pairs.a]
    found = (
        clustered_ratio(right[chosen], np.ones(int(chosen.sum())), story[chosen])
        for chosen in (np.ones(len(right), dtype=np.bool_), pairs.significant)
    )
    everywhere, significant = (Share(float(one.estimate), float(one.low), float(one.high)) for one in found)
    return everywhere, significant


def point(name: str, fit: FitConfig | None, headlines: HeadlineLog, share: float, seed: int, noise: float) -> Point:
    """Fit in every fold and judge all headlines; without `fit` TF-IDF, which takes `noise` for its overdispersion."""
    scores = np.full(len(headlines.rows), np.nan)
    sizes, seconds, weights = [], [], 0
    for fold, split in enumerate(fold_splits(headlines, seed), 1):
        say(f"{name}, {share:g} of the stories, fold {fold}")
        part = thinned(split, share, seed)
        if fit is None:
            found = TfidfWithinTests(part.train, part.validation, overdispersion=noise).scores(part.test)
        else:
            model = fit_reward_model(headlines.log, part, fit, cache=cache_folder())
            found = model.scores([""] * len(part.test), part.test["item_text"].tolist())
            seconds.append(model.info["seconds"]["training"])
            weights = model.info["parameters"]["all"] * fit.members
        scores[split.test.index] = found
        sizes.append(len(part.train))
    judged = ~np.isnan(scores)
    shares = ordered_rightly(scores[judged], headlines.rows[judged])
    return Point(name, weights, float(np.mean(sizes)), *shares, float(np.mean(seconds)) if seconds else 0.0, scores)


def as_table(points: Sequence[Point], rows: pd.DataFrame) -> str:
    """A row for each model and size, with paired leads over TF-IDF that learned from the same stories."""
    tfidf = {one.headlines: one.scores for one in points if one.name == TFIDF}
    lines = []
    for one in points:
        judged = ~np.isnan(one.scores)
        part = rows[judged]
        units = part["group"].tolist()
        scores = one.scores[judged], tfidf[one.headlines][judged]
        leads = [
            lead_in_pairwise_accuracy(*scores, *counts(part), contrasts(part), units, significant=significant)
            for significant in (False, True)
        ]
        told = ["–" if one.name == TFIDF else in_points(lead) for lead in leads]
        millions, seconds = (f"{one.weights / 1e6:.1f}", f"{one.seconds:.0f}") if one.weights else ("–", "–")
        shares = [str(one.everywhere), told[0], str(one.significant), told[1]]
        lines.append([one.name, millions, f"{one.headlines:,.0f}", *shares, seconds])
    headers = ["model", "million weights", "headlines learned from", "all pairs", "lead over TF-IDF"]
    return table([*headers, "pairs with p < 0.05", "lead over TF-IDF", "seconds a fit"], lines)


def as_figure(points: Sequence[Point]) -> Figure:
    """Accuracy by headlines learned from, a line for each model with intervals over stories."""
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    names = list(dict.fromkeys(one.name for one in points))
    styles = style_of(names)
    left, right = figure.subplots(1, 2)
    for ax, title in ((left, "all pairs"), (right, "pairs with p < 0.05")):
        axes_or_new(ax, 0, 0)
        for number, name in enumerate(names):
            line, style = [one for one in points if one.name == name], styles[name]
            shares = [one.everywhere if ax is left else one.significant for one in line]
            # Side by side, so that intervals do not hide one another.
            at = np.array([one.headlines for one in line]) * 1.02 ** (number - (len(names) - 1) / 2)
            ax.vlines(
                at, [s.low for s in shares], [s.high for s in shares], color=style.color, linewidth=1.0, alpha=0.7
            )
            values = [s.value for s in shares]
            look = {"color": style.color, "linestyle": style.linestyle, "marker": style.marker}
            ax.plot(at, values, linewidth=1.4, markersize=5, label=name, **look)
        ax.set_xscale("log", base=2)
        write_counts(ax.xaxis)
        ax.set_xticks(sorted({round(one.headlines) for one in points}), minor=False)
        write_percents(ax.yaxis)
        ax.grid(color=GRID_COLOR, linewidth=0.6)
        ax.set_title(title, fontsize=FONT_SIZE)
        set_labels(ax, "headlines learned from", "ordered rightly" if ax is left else "")
    left.legend(fontsize=SMALL_SIZE, frameon=False)
    return figure


def _name(weights: str, *changes: str) -> str:
    """What a model is called in table and figure."""
    return ", ".join([Path(weights).name, *changes])


def _changed(fit: FitConfig, weights: str, *changes: str) -> FitConfig:
    """The fit with other weights, and with KEY=VALUE changed."""
    values = {key: yaml.safe_load(value) for key, _, value in (change.partition("=") for change in changes)}
    return FitConfig(**fit.model_dump() | {"weights": weights} | values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and write it and the figure where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--shares", nargs="+", type=float, default=[0.125, 0.25, 0.5, 1.0], help="of the stories")
    parser.add_argument(
        "--model", nargs="+", action="append", default=[], metavar="WEIGHTS", help="and KEY=VALUE of its fit"
    )
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="folder with headlines.md")
    options = parser.parse_args(arguments)
    if not all(0 < share <= 1 for share in options.shares):
        parser.error(f"--shares must be above 0 and at most 1. Got {options.shares}.")
    for _, *changes in options.model:
        for change in changes:
            if "=" not in change:
                parser.error(f"--model takes WEIGHTS, then KEY=VALUE. Got {change}.")
    options.shares.sort()
    config = load_study("headlines", options.overrides).config
    if options.write:
        section_of(PART, options.write / PAGE)
    headlines = read_headlines(config.data, folds=config.folds, seed=config.seed)
    own = config.reward_model
    names = [_name(own.weights), *(_name(*model) for model in options.model)]
    if len(set(names)) < len(names):
        parser.error(f"--model must differ in its folder's name or its keys from all others. Got {', '.join(names)}.")
    further = {_name(*model): _changed(own, *model) for model in options.model}
    tasks = [(name, fit, share) for name, fit in ((TFIDF, None), (names[0], own)) for share in options.shares]
    tasks += [(name, fit, max(options.shares)) for name, fit in further.items()]
    points = [point(name, fit, headlines, share, config.seed, own.overdispersion) for name, fit, share in tasks]
    where = conditions(Settings(runs=1, seconds=0.0, images=None)).partition(" Medians")[0]
    text = f"{where}\n\n{as_table(points, headlines.rows)}\n"
    print(text)
    if options.write:
        replace_section(PART, options.write / PAGE, text)
        save_figure(as_figure(points), options.write / "images" / "headlines-training-size")


if __name__ == "__main__":
    main()
