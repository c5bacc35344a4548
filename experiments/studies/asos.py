"""Replays the tests of the ASOS Digital Experiments Dataset, look by look, under each stopping rule.

References:
    Liu, Cardoso, Couturier & McCoy, "Datasets for online controlled experiments" (2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.reward_models.log_files import read_frame
from experiments.cells import file_hash, hash_of
from experiments.progress import Reporter
from experiments.studies.folder import StudyFolder
from experiments.studies.replay_config import AsosStudy
from experiments.studies.replay_page import Replay, write_replay
from experiments.studies.replay_parts import sources, stored_part
from experiments.studies.replay_results import replay_rules
from experiments.studies.stopping_rules import Looks, click_looks, mean_looks

FloatArray = NDArray[np.float64]

BINARY = 1  # the metric that the dataset's paper calls binary; the others are counts or revenue
METRICS = {1: "metric 1 (binary)", 2: "metric 2", 3: "metric 3", 4: "metric 4"}
NUMBERS = ("time_since_start", "count_c", "count_t", "mean_c", "mean_t", "variance_c", "variance_t")
COLUMNS = ("experiment_id", "variant_id", "metric_id", *NUMBERS)
_SHOWN = 5


class Comparison(NamedTuple):
    """A treatment against the control of its experiment on one metric; time runs along the rows.

    Attributes:
        experiment: Id of the experiment.
        variant: Id of the treatment.
        metric: Id of the metric.
        days: Since the start, shape (L,).
        units: Control's and treatment's so far, shape (L, 2).
        mean: Same shape.
        variance: Of one unit, same shape.
        information: Share of the final information, shape (L,).
    """

    experiment: str
    variant: int
    metric: int
    days: FloatArray
    units: FloatArray
    mean: FloatArray
    variance: FloatArray
    information: FloatArray


def run_asos(config: AsosStudy, out: Path, reporter: Reporter | None = None) -> Path:
    """Replay the study and write its folder.

    Args:
        config: The study, with a path that `replay_problems` has nothing against.
        out: Folder of the results; a second run takes up what is there.
        reporter: Where progress is told.

    Returns:
        The page, `report.html`.

    Raises:
        ValueError: When the file does not hold the dataset's table.
    """
    reporter = reporter or Reporter()
    StudyFolder.start(out, config)
    path = Path(str(config.data.path))
    frame = read_asos(path)
    comparisons, notes = prepare(frame, config.data.metrics, config.data.least_growth)
    common = {"rules": config.rules.model_dump(), "file": file_hash(path), "sources": sources()}
    parts = []
    with reporter.stage("replaying tests"), reporter.bar("tests", len(comparisons)) as advance:
        for (experiment, metric), group in _grouped(comparisons):
            key = hash_of(common | {"test": [experiment, metric], "least_growth": config.data.least_growth})
            parts.append(stored_part(out / "parts", key, partial(_replayed, group, config)))
            for _ in group:
                advance(f"experiment {experiment}")
    replay = Replay(
        title=f"{config.name}: real A/B tests of a shop under {parts[0]['rule'].nunique()} stopping rules",
        decisions=pd.concat(parts, ignore_index=True),
        metrics=[METRICS.get(metric, f"metric {metric}") for metric in config.data.metrics],
        time_unit="days",
        test_words="A test is one treatment against the control of its experiment.",
        notes=[*notes, *_caveats()],
        source="ASOS Digital Experiments Dataset (Liu, Cardoso, Couturier & McCoy 2021)",
    )
    return write_replay(replay, config, out, reporter)


def read_asos(path: Path) -> pd.DataFrame:
    """The dataset's table, sorted by experiment, variant, metric and time.

    Raises:
        ValueError: With everything that is wrong with the file.
    """
    frame = read_frame(path)
    problems = []
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        problems.append(f"the columns {', '.join(COLUMNS)} must be there. Missing: {', '.join(missing)}.")
    elif frame.empty:
        problems.append("it must have rows. Got none.")
    else:
        frame = frame[list(COLUMNS)].copy()
        problems += _bad_numbers(frame)
    if problems:
        raise ValueError("\n".join([f"`{path.name}` is not the ASOS dataset:", *(f"- {text}" for text in problems)]))
    frame["experiment_id"] = frame["experiment_id"].astype("str")
    return frame.sort_values(["experiment_id", "variant_id", "metric_id", "time_since_start"], ignore_index=True)


def prepare(frame: pd.DataFrame, metrics: list[int], least_growth: float) -> tuple[list[Comparison], list[str]]:
    """The comparisons that can be replayed, and in words what was set aside.

    Looks without a variance or with fewer than two units in an arm allow no test. Of the others, a look counts when the
    look that counts next has at least `least_growth` of the final information more. That also leaves out looks before
    which the counts fell. The last look always counts.

    Args:
        frame: From `read_asos`.
        metrics: Metric ids.
        least_growth: Least growth between two looks, as a share of the final information.

    Raises:
        ValueError: When a metric is not in the file, or no test is left.
    """
    known = sorted(frame["metric_id"].unique())
    unknown = [metric for metric in metrics if metric not in known]
    if unknown:
        raise ValueError(f"`data.metrics` must be metrics of the file: {known}. Got {unknown}.")
    comparisons, no_variance, close, lost = [], 0, 0, []
    for metric in metrics:
        for (experiment, variant), rows in frame[frame["metric_id"] == metric].groupby(["experiment_id", "variant_id"]):
            usable = rows[list(NUMBERS)].notna().all(axis=1) & (rows[["count_c", "count_t"]] >= 2).all(axis=1)
            no_variance += int((~usable).sum())
            rows = rows[usable]
            if rows.empty:
                lost.append(f"{experiment}/{variant}, metric {metric}")
                continue
            counts = rows[["count_c", "count_t"]].to_numpy()
            harmonic = 1 / (1 / counts).sum(axis=1)
            kept = _growing(harmonic / harmonic[-1], least_growth)
            close += len(rows) - len(kept)
            rows = rows.iloc[kept]
            comparisons.append(
                Comparison(
                    experiment=str(experiment),
                    variant=int(rows["variant_id"].iloc[0]),
                    metric=metric,
                    days=rows["time_since_start"].to_numpy(),
                    units=rows[["count_c", "count_t"]].to_numpy(),
                    mean=rows[["mean_c", "mean_t"]].to_numpy(),
                    variance=rows[["variance_c", "variance_t"]].to_numpy(),
                    information=harmonic[kept] / harmonic[-1],
                )
            )
    if not comparisons:
        raise ValueError("`data.path` must hold a test with variances at one look at least. Got none.")
    single = [f"{c.experiment}/{c.variant}, metric {c.metric}" for c in comparisons if len(c.days) == 1]
    notes = [
        "In what follows a test counts once for each of its metrics.",
        f"{no_variance:,} looks have no variance or fewer than two units in an arm, and are left out.",
        f"{close:,} looks added less than {100 * least_growth:g} percent of the final data (some none, in a few the "
        "counts even fell), and do not count as looks.",
    ]
    if lost:
        notes.append(f"{len(lost)} tests have no variance at any look, and are left out: {'; '.join(lost)}.")
    if single:
        notes.append(
            f"{len(single)} tests have a single look, so that no rule can stop them early: {'; '.join(single)}."
        )
    unequal = [c for c in comparisons if abs(c.units[-1, 0] / c.units[-1, 1] - 1) > 0.02]
    if unequal:
        notes.append(
            f"The shares that the arms were meant to get are not in the data, so no sample ratio can be checked. In "
            f"{len(unequal)} tests the arms end with sizes that differ by more than 2 percent."
        )
    late = [comparison.days[0] for comparison in comparisons if comparison.days[0] > 7]
    if late:
        notes.append(
            f"In {len(late)} tests the first usable look is later than day 7 (the latest on day {max(late):g}); what a "
            "rule would have done before is not known."
        )
    return comparisons, notes


def _bad_numbers(frame: pd.DataFrame) -> list[str]:
    """Turns the columns of numbers into numbers, and says what is wrong with them."""
    problems = []
    for column in ("variant_id", "metric_id", *NUMBERS):
        given = frame[column]
        empty = given.isna() | (given.astype("str").str.strip() == "")
        numbers = pd.to_numeric(given.where(~empty), errors="coerce").astype(np.float64)
        may_lack = column.startswith("variance")
        bad = ~np.isfinite(numbers) & ~(empty if may_lack else False)
        must = "a number or empty" if may_lack else "a number"
        if column.endswith("_id"):
            bad |= numbers != np.floor(numbers)
            must = "a whole number"
        elif not column.startswith("mean"):
            bad |= numbers < 0
            must += ", not below 0"
        if bad.any():
            rows = np.flatnonzero(np.asarray(bad))
            shown = ", ".join(f"row {row + 1} ({given.iloc[row]})" for row in rows[:_SHOWN])
            more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
            problems.append(f"`{column}` must be {must}. Got {shown}{more}.")
        else:
            frame[column] = numbers.astype(np.int64) if column.endswith("_id") else numbers
    if problems:
        return problems
    key = ["experiment_id", "variant_id", "metric_id", "time_since_start"]
    twice = int(frame.duplicated(key).sum())
    if twice:
        problems.append(f"each of {', '.join(key)} must be there once. Got {twice} rows again.")
    binary = frame[(frame["metric_id"] == BINARY)]
    shares = binary[["mean_c", "mean_t"]].to_numpy()
    outside = np.count_nonzero((shares < 0) | (shares > 1))
    if outside:
        problems.append(f"the means of metric {BINARY} must lie in [0, 1], being shares. Got {outside} outside.")
    return problems


def _growing(information: FloatArray, least_growth: float) -> NDArray[np.int64]:
    """Indices of the looks that count, found from the last one backwards."""
    kept = [len(information) - 1]
    for look in range(len(information) - 2, -1, -1):
        if least_growth <= information[look] <= information[kept[-1]] - least_growth:
            kept.append(look)
    return np.array(kept[::-1])


def _grouped(comparisons: list[Comparison]) -> Iterator[tuple[tuple[str, int], list[Comparison]]]:
    """The comparisons of each experiment and metric, in order of appearance."""
    groups: dict[tuple[str, int], list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault((comparison.experiment, comparison.metric), []).append(comparison)
    yield from groups.items()


def _replayed(comparisons: list[Comparison], config: AsosStudy) -> pd.DataFrame:
    first, longest = comparisons[0], max(len(comparison.days) for comparison in comparisons)
    days, information = (
        np.stack([_filled(values, longest) for values in arrays])
        for arrays in ([c.days for c in comparisons], [c.information for c in comparisons])
    )
    units, mean, variance = (
        np.stack([_filled(values, longest) for values in arrays])
        for arrays in ([c.units for c in comparisons], [c.mean for c in comparisons], [c.variance for c in comparisons])
    )
    looks = looks_of(first.metric, units, mean, variance, information)
    names = pd.DataFrame(
        {
            "metric": METRICS.get(first.metric, f"metric {first.metric}"),
            "test": [f"{comparison.experiment}/{comparison.variant}" for comparison in comparisons],
            "cluster": first.experiment,
        }
    )
    return replay_rules(looks, names, time=days, scale=looks.control_mean, config=config.rules)


def looks_of(metric: int, units: FloatArray, mean: FloatArray, variance: FloatArray, information: FloatArray) -> Looks:
    """The looks of one metric: as click counts where it is binary, else as means.

    Args:
        metric: Its id.
        units: Control's and treatment's so far, shape (R, L, 2), nan beyond a row's looks; likewise the next two.
        mean: Means so far.
        variance: Variances of one unit so far.
        information: Share of the final information, shape (R, L).
    """
    if metric != BINARY:
        return mean_looks(mean, variance, units, information)
    visitors = np.nan_to_num(units)
    return click_looks(np.rint(np.nan_to_num(units * mean)), visitors, information)


def _filled(values: FloatArray, length: int) -> FloatArray:
    missing = np.full((length - len(values), *values.shape[1:]), np.nan)
    return np.concatenate([values, missing])


def _caveats() -> list[str]:
    return [
        "The planned end of a test is taken to be its last day in the data. Spending rules and mSPRT need a plan, and "
        "here hindsight gives it to them.",
        "A user's outcome keeps growing after the first visit, so the effect itself may change while a test runs. A "
        "change of sign between stopping and end is then a real change as well as luck.",
        "The metrics are anonymous. The higher mean is taken for the better one; results hold for the other sign too, "
        "as every rule is two-sided.",
        "The tests of one experiment share their control; intervals take the experiment as the unit. Levels are per "
        "comparison, not adjusted for several treatments or metrics.",
    ]
