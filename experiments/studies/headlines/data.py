"""The tests of the study, which stories a model learns from, and which it predicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.reward_models import ClickLog, Split, log_source_files, read_click_log
from bandits.reward_models.log_files import read_frame
from bandits.reward_models.split import keyed_place
from bandits.reward_models.upworthy import read_tests
from experiments.studies.headlines.config import HeadlinesData

IntArray = NDArray[np.int64]

LEARNS_ONLY = -1
# Shares of the stories that a model may learn from: to fit, to stop by, to calibrate, to tune policies by. With one
# file, policies are tuned by tests that other models predicted, and need no share.
CROSS_FITTED, SEPARATE = (0.9, 0.04, 0.06, 0.0), (0.78, 0.04, 0.06, 0.12)


@dataclass(frozen=True, eq=False)
class HeadlineLog:
    """Headline tests, and in which fold each is judged.

    Attributes:
        log: The archive.
        rows: One row per headline of a test, as in `ClickLog.pairs`; a test is a contrast, a story a group.
        fold: Of each row; all tests of a story lie in one. `LEARNS_ONLY`: models and policies may learn from it, and
            it is judged nowhere. Shape (n,).
        dropped: Tests of the training file that were set aside, for the test file has their story.
    """

    log: ClickLog
    rows: pd.DataFrame
    fold: IntArray
    dropped: int = 0

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds that are judged."""
        return [int(fold) for fold in np.unique(self.fold[self.fold != LEARNS_ONLY])]

    @property
    def cross_fitted(self) -> bool:
        """Whether every test is judged, each by what was learned from the other folds."""
        return LEARNS_ONLY not in self.fold


def read_headlines(data: HeadlinesData, *, folds: int, seed: int) -> HeadlineLog:
    """Read the archive and assign stories to folds by a keyed hash of their names.

    Args:
        data: With `path`, or with `train` and `test`. Of two files the second is fold 0, and stories that it shares
            with the first (a headline, an image, an opening) are dropped from the first.
        folds: Number of folds of one file.
        seed: Key of the folds and of the tests that are drawn.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When a file is not the archive's, both hold the same test, or a fold would be without tests.
    """
    if data.path is not None:
        log = read_click_log(data.path, format="upworthy", faulty_weeks=data.faulty_weeks)
        rows = _drawn(log.pairs, data.max_tests, seed).reset_index(drop=True)
        place = rows["group"].map({group: keyed_place(f"fold {group}", seed) for group in rows["group"].unique()})
        fold = np.floor(place.to_numpy(dtype=np.float64) * folds).astype(np.int64)
        headlines = HeadlineLog(log, rows, fold)
        expected = list(range(folds))
    else:
        headlines = _two_files(data, seed)
        expected = [0]
    if headlines.folds != expected:
        raise ValueError(
            f"`{headlines.log.name}` must have tests to judge in each of {len(expected)} folds, two headlines or more "
            f"under one image. Got tests of {headlines.rows['group'].nunique()} stories in {len(headlines.folds)}."
        )
    return headlines


def fold_splits(headlines: HeadlineLog, seed: int) -> Iterator[Split]:
    """By fold what its model learns from, and as `test` what it predicts: the fold, and tests to tune policies by.

    Tests of faulty weeks are learned from where nothing else is done with their story.

    Raises:
        ValueError: When a part of the stories has no clicks.
    """
    rows, shares = headlines.rows, CROSS_FITTED if headlines.cross_fitted else SEPARATE
    for fold in headlines.folds:
        outside, inside = rows[headlines.fold != fold], rows[headlines.fold == fold]
        part = outside["group"].map(_parts_of(outside["group"].unique(), shares, seed)).to_numpy(dtype=np.int64)
        train, validation, calibration, tuning = (outside[part == index] for index in range(4))
        for name, rows_of_part in {"fit": train, "validate": validation, "calibrate": calibration}.items():
            if rows_of_part["clicks"].sum() == 0:
                raise ValueError(
                    f"`{headlines.log.name}` must have stories with clicks to {name} a model with. Got none among "
                    f"{outside['group'].nunique()} stories outside fold {fold}."
                )
        predicted = pd.concat([tuning, inside])
        elsewhere = pd.concat([validation, calibration, predicted])["group"]
        confounded = headlines.log.confounded_pairs
        learned = pd.concat([train, confounded[~confounded["group"].isin(elsewhere)]], ignore_index=True)
        yield Split(learned, validation, calibration, predicted, by="group")


def _parts_of(stories: Iterable[str], shares: Sequence[float], seed: int) -> dict[str, int]:
    """Number of each story's part: shares of the stories in a keyed order, rounded up in all parts but the first."""
    order = sorted(stories, key=lambda story: keyed_place(f"part {story}", seed))
    held = np.ceil(np.asarray(shares[1:]) * len(order)).astype(np.int64)
    starts = len(order) - held[::-1].cumsum()[::-1]
    return {story: int(np.searchsorted(starts, rank, side="right")) for rank, story in enumerate(order)}


def _two_files(data: HeadlinesData, seed: int) -> HeadlineLog:
    train, test = Path(str(data.train)), Path(str(data.test))
    files = {path: [str(file) for file in log_source_files(path, "upworthy")] for path in (train, test)}
    frames = {file: read_frame(Path(file)) for names in files.values() for file in names}
    archive = read_tests(frames)
    sound = archive.rows if data.faulty_weeks != "include" else pd.concat([archive.rows, archive.faulty]).sort_index()
    faulty = archive.faulty if data.faulty_weeks == "train" else archive.faulty[:0]
    log = ClickLog(
        sound.reset_index(drop=True),
        "tests",
        f"{train.name} and {test.name}",
        archive.facts,
        faulty[~faulty["file"].isin(files[test])].reset_index(drop=True),
    )
    judged = log.pairs["world"].isin(sound.loc[sound["file"].isin(files[test]), "world"])
    shared = ~judged & log.pairs["group"].isin(log.pairs.loc[judged, "group"])
    rows = _drawn(log.pairs[~shared], data.max_tests, seed)
    fold = np.where(judged[rows.index], 0, LEARNS_ONLY).astype(np.int64)
    dropped = log.pairs.loc[shared, "contrast"].nunique()
    return HeadlineLog(log, rows.reset_index(drop=True), fold, int(dropped))


def _drawn(rows: pd.DataFrame, max_tests: int | None, seed: int) -> pd.DataFrame:
    """The rows of at most `max_tests` tests, drawn at random and in their order; the index is kept."""
    tests = rows["contrast"].unique()
    if max_tests is None or len(tests) <= max_tests:
        return rows
    drawn = np.random.default_rng([seed, 0xD4A]).choice(tests, size=max_tests, replace=False)
    return rows[rows["contrast"].isin(drawn)]
