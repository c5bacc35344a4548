"""Runs the study `headlines`: reads and predicts, lets training tests choose, plays, and writes the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.cells import hash_of
from experiments.progress import Reporter
from experiments.provenance import sources_hash
from experiments.studies.folder import StudyFolder
from experiments.studies.headlines.candidates import BEST, Candidate, Family, families
from experiments.studies.headlines.config import HeadlinesStudy, TruthName
from experiments.studies.headlines.data import LEARNS_ONLY, read_headlines
from experiments.studies.headlines.page import Findings, write_page
from experiments.studies.headlines.play import Group, make_groups, mean_visits
from experiments.studies.headlines.predictions import predicted_headlines
from experiments.studies.headlines.results import Choices, best_with_model, choose, gains, with_best
from experiments.studies.headlines.truths import Truth, make_truth
from experiments.studies.replay_parts import stored_part

FloatArray = NDArray[np.float64]

_TUNING, _JUDGING = range(2)  # their visitors share no luck


def run_headlines(
    config: HeadlinesStudy, out: Path, *, threads: int | None = None, reporter: Reporter | None = None
) -> Path:
    """Run the study, or go on with one that was interrupted.

    Args:
        config: The study, with data that `headlines_problems` has nothing against.
        out: Folder of the results.
        threads: Threads that simulate; all cores by default.
        reporter: Where progress is told.

    Returns:
        The page, `report.html`.

    Raises:
        FileNotFoundError: When BERT's weights are not to be found.
        ValueError: When the data are not the archive, or too few.
    """
    reporter = reporter or Reporter()
    with reporter.stage("Reading the archive"):
        headlines = read_headlines(config.data, folds=config.folds, seed=config.seed)
    StudyFolder.start(out, config)  # not before: a file that cannot be read leaves no folder behind
    rows = predicted_headlines(headlines, config, out / "predictions", reporter)
    rows.to_parquet(out / "predictions.parquet", index=False)
    numbers = (rows[name].to_numpy(dtype=np.int64) for name in ("impressions", "clicks", "test"))
    impressions, clicks, test = numbers
    truths = {name: make_truth(name, impressions, clicks, test, config.seed) for name in config.truths}
    stage = _Stage(rows, config, out / "parts", threads)
    policies = families(config.candidates)
    first = config.truths[0]
    with reporter.stage("Choosing values by training tests"):
        tuned = stage.tuned(policies, first, truths[first], reporter)
    with reporter.stage("Playing what was chosen"):
        results, plays = stage.judged(policies, tuned, truths, reporter)
    plays.to_parquet(out / "tests.parquet", index=False)
    findings = Findings(headlines, rows, results, _choices(policies, tuned))
    return write_page(findings, config, out, reporter)


@dataclass(frozen=True)
class _Tuned:
    """What training tests chose: by policy the candidate of each fold, and the best policy with a model of each."""

    chosen: dict[str, Choices]
    best: dict[int, str]


class _Stage:
    """Plays policies in all tests and keeps what was played."""

    def __init__(self, rows: pd.DataFrame, config: HeadlinesStudy, parts: Path, threads: int | None) -> None:
        self.rows, self.config, self.parts, self.threads = rows, config, parts, threads
        self.tests = rows.groupby("test", sort=True)[["contrast", "group", "fold"]].first()
        self.tests["headlines"] = rows.groupby("test", sort=True).size()
        self.fold = self.tests["fold"].to_numpy(dtype=np.int64)
        columns = rows[["test", "fold", "impressions", "clicks", "predicted", "base"]]
        ours = sources_hash(Path(__file__).with_name(f"{name}.py") for name in ("candidates", "play", "run", "truths"))
        self.key = {"seed": config.seed, "rows": hash_of(columns.to_csv()), "sources": ours}

    def tuned(self, policies: list[Family], name: TruthName, truth: Truth, reporter: Reporter) -> dict[int, _Tuned]:
        """The choices by number of visitors, from the clicks in the first truth."""
        by_visitors = {}
        with reporter.bar("tuning", len(self.config.visitors) * len(policies)) as advance:
            for visitors in self.config.visitors:
                repeats = max(1, round(self.config.tuning_visits / visitors))
                clicks: dict[str, FloatArray] = {}
                groups = cache(partial(make_groups, self.rows, truth.drawn, repeats, by_fold=False))
                for family in policies:
                    if len(family.candidates) > 1 or family.without is not None:
                        key = self._key("tuning", family, name, visitors, repeats)
                        play = partial(self._tuning_clicks, family, groups, truth, visitors)
                        made = stored_part(self.parts, key, play)
                        clicks[family.name] = made.to_numpy(dtype=np.float64).T
                    advance(f"{family.name}, {visitors} visitors")
                chosen = {policy: choose(values, self.fold) for policy, values in clicks.items()}
                by_visitors[visitors] = _Tuned(chosen, best_with_model(policies, clicks, chosen, self.fold))
        return by_visitors

    def judged(
        self, policies: list[Family], tuned: dict[int, _Tuned], truths: dict[TruthName, Truth], reporter: Reporter
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Gains of all policies, and the clicks of each in each judged test."""
        judged = self.fold != LEARNS_ONLY
        results, plays = [], []
        with reporter.bar("playing", len(truths) * len(tuned) * len(policies)) as advance:
            for name, truth in truths.items():
                for visitors, choices in tuned.items():
                    repeats = max(2, round(self.config.visits / visitors))
                    groups = cache(partial(self._judged_groups, truth, repeats))
                    wide = {}
                    for family in policies:
                        chosen = choices.chosen.get(family.name) or dict.fromkeys(choices.best, 0)
                        words = {fold: family.candidates[index].words for fold, index in chosen.items()}
                        key = self._key("judging", family, name, visitors, repeats, words)
                        play = partial(self._judged_clicks, family, chosen, groups, truth, visitors)
                        made = stored_part(self.parts, key, play)
                        wide[family.name] = made["clicks"].to_numpy(dtype=np.float64)[judged]
                        advance(f"{family.name}, {visitors} visitors, {name}")
                    tests = self.tests[judged]
                    clicks = with_best(pd.DataFrame(wide), self.fold[judged], choices.best, policies)
                    visits = visitors * tests["headlines"].to_numpy(dtype=np.float64)
                    where: dict[str, Any] = {"truth": name, "visitors": visitors}
                    stories = tests["group"].tolist()
                    results.append(gains(clicks, visits, stories, self.config.confidence).assign(**where))
                    described = tests.rename(columns={"contrast": "name", "group": "story"}).reset_index(drop=True)
                    plays.append(pd.concat([described.assign(**where), clicks], axis=1))
        frame = pd.concat(results, ignore_index=True)
        return frame[["truth", "visitors", *frame.columns.drop(["truth", "visitors"])]], pd.concat(plays)

    def _judged_groups(self, truth: Truth, repeats: int) -> list[Group]:
        groups = make_groups(self.rows, truth.drawn, repeats, by_fold=True)
        return [group for group in groups if self.fold[group.tests[0]] != LEARNS_ONLY]

    def _tuning_clicks(
        self, family: Family, groups: Callable[[], list[Group]], truth: Truth, visitors: int
    ) -> pd.DataFrame:
        """Clicks of each candidate, a column each, in each test."""
        clicks = np.zeros((len(self.tests), len(family.candidates)))
        for index, candidate in enumerate(family.candidates):
            for group in groups():
                clicks[group.tests, index] = self._clicks(group, candidate, truth, visitors, _TUNING)
        return pd.DataFrame(clicks, columns=[str(index) for index in range(clicks.shape[1])])

    def _judged_clicks(
        self, family: Family, chosen: Choices, groups: Callable[[], list[Group]], truth: Truth, visitors: int
    ) -> pd.DataFrame:
        """Clicks in each test with the candidate that its fold chose; nan in tests that are not judged."""
        clicks = np.full(len(self.tests), np.nan)
        for group in groups():
            candidate = family.candidates[chosen[int(self.fold[group.tests[0]])]]
            clicks[group.tests] = self._clicks(group, candidate, truth, visitors, _JUDGING)
        return pd.DataFrame({"clicks": clicks})

    def _clicks(self, group: Group, candidate: Candidate, truth: Truth, visitors: int, purpose: int) -> FloatArray:
        seed = int(np.random.SeedSequence([self.config.seed, purpose]).generate_state(1, np.uint64)[0] >> 1)
        visits = mean_visits(group, candidate, visitors, seed=seed, threads=self.threads)
        clicks: FloatArray = np.sum(visits * truth.counted[group.rows], axis=1)
        return clicks

    def _key(
        self, purpose: str, family: Family, truth: TruthName, visitors: int, repeats: int, words: Any = None
    ) -> str:
        candidates = [candidate.words for candidate in family.candidates]
        grid = self.config.candidates.model_dump(mode="json")
        return hash_of([self.key, purpose, family.name, candidates, grid, truth, visitors, repeats, words])


def _choices(policies: list[Family], tuned: dict[int, _Tuned]) -> pd.DataFrame:
    """What was chosen: a row for each number of visitors, policy and fold."""
    rows = []
    for visitors, choices in tuned.items():
        for family in policies:
            for fold, index in choices.chosen.get(family.name, {}).items():
                rows.append((visitors, family.name, fold, family.candidates[index].words))
        rows += [(visitors, BEST, fold, name) for fold, name in choices.best.items()]
    return pd.DataFrame(rows, columns=["visitors", "policy", "fold", "chosen"])
