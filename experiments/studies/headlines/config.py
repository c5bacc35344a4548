"""What the study `headlines` is, as a YAML file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bandits.reward_models.fit_config import FitConfig
from bandits.reward_models.log_format import FaultyWeeks
from experiments.config import Section
from experiments.problems import Problem

TruthName = Literal["observed", "shrunken", "half-sample"]
Scorer = Literal["reward_model", "tfidf"]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Width = Annotated[float, Field(ge=0)]
Visitors = Annotated[int, Field(ge=2)]

QUICK_TESTS, QUICK_VISITORS = 200, 100


class HeadlinesData(Section):
    """The Upworthy archive: one file, cross-fitted, or one to learn from and one to be judged by."""

    path: str | None = Field(None, description="one file: every test is predicted by a model of the other stories")
    train: str | None = Field(None, description="file to fit and tune with; then `test` too, and no `path`")
    test: str | None = Field(None, description="file to judge by; its stories are dropped from `train`")
    faulty_weeks: FaultyWeeks = Field(
        "train", description="tests whose randomization was faulty: 'train' only, 'exclude' them, or 'include' them"
    )
    max_tests: int | None = Field(None, ge=20, description="at most this many tests, drawn at random")


class Candidates(Section):
    """The values that training tests choose among, for each policy and each number of visitors anew."""

    exploration: list[Share] = Field(
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.7],
        min_length=1,
        description="share of all visitors that the A/B test divides evenly before it ships",
    )
    weights: list[Positive] = Field(
        [30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0],
        min_length=1,
        description="visits m that a prior is worth to UCB, increasing; where m is learned, then among all of them",
    )
    thompson_weights: list[Positive] = Field(
        [3.0, 10.0, 30.0, 100.0, 1000.0, 10000.0, 100000.0],
        min_length=1,
        description="visits m that a prior is worth to Thompson sampling, increasing; many make it draw less at random",
    )
    widths: list[Width] = Field([0.0, 0.0003, 0.001, 0.003, 0.01], min_length=1, description="`width` of UCB policies")


class HeadlinesStudy(Section):
    """Plays headline tests with and without a language model's predictions."""

    study: Literal["headlines"]
    name: str = Field("headlines", pattern=r"^[\w][\w.-]*$", description="also the name of the folder")
    seed: int = Field(1, ge=0, lt=2**31, description="of folds, half-samples and the simulated visitors")
    data: HeadlinesData = HeadlinesData()
    scorer: Scorer = Field("reward_model", description="who predicts: BERT, or TF-IDF with a linear score")
    reward_model: FitConfig = Field(FitConfig(loss="within_test"), description="how BERT is fitted")
    folds: int = Field(5, ge=2, description="with one file: number of models, each of which predicts what it never saw")
    visitors: list[Visitors] = Field(
        [25, 100, 400, 1600], min_length=1, description="visitors per headline, increasing: K times as many for a test"
    )
    truths: list[TruthName] = Field(
        ["observed", "shrunken", "half-sample"], min_length=1, description="what the click rates are taken to be"
    )
    candidates: Candidates = Candidates()
    tuning_visits: int = Field(
        400, ge=1, description="simulated visitors of each headline to choose a candidate, at least one play"
    )
    visits: int = Field(800, ge=1, description="simulated visitors of each headline to judge, at least two plays")
    confidence: float = Field(0.95, gt=0, lt=1, description="of all intervals")


def headlines_problems(config: HeadlinesStudy, folder: Path) -> list[Problem]:
    """What a valid schema can still get wrong."""
    data = config.data
    files = {name: value for name in ("path", "train", "test") if (value := getattr(data, name)) is not None}
    problems = [
        Problem(f"data.{name}", f"must be a file, or a folder of the archive's files. Got {file}.")
        for name, file in files.items()
        if not Path(file).exists()
    ]
    if set(files) not in ({"path"}, {"train", "test"}):
        text = "must be the Upworthy archive's file, or else both `data.train` and `data.test`. Say --set "
        problems.append(Problem("data.path", f"{text}data.path=FILE. Got {', '.join(files) or 'none of them'}."))
    if data.train is not None and data.test is not None and Path(data.train).resolve() == Path(data.test).resolve():
        problems.append(Problem("data.test", f"must be another file than `data.train`. Got {data.test} twice."))
    for path, values in (
        ("visitors", config.visitors),
        ("candidates.weights", config.candidates.weights),
        ("candidates.thompson_weights", config.candidates.thompson_weights),
        ("candidates.widths", config.candidates.widths),
        ("candidates.exploration", config.candidates.exploration),
    ):
        if any(later <= earlier for earlier, later in pairwise(values)):
            problems.append(Problem(path, f"must increase. Got {values}."))
    if len(set(config.truths)) < len(config.truths):
        problems.append(Problem("truths", f"must name each once. Got {config.truths}."))
    if config.reward_model.loss != "within_test":
        text = "must be 'within_test': only differences between the headlines of one test are causal. "
        problems.append(Problem("reward_model.loss", f"{text}Got {config.reward_model.loss!r}."))
    return problems


def quick_headlines(config: HeadlinesStudy) -> HeadlinesStudy:
    """The same study scaled down to a trial of a minute, under the name `NAME-quick`."""
    fit = config.reward_model
    return config.model_copy(
        update={
            "name": f"{config.name}-quick",
            "data": config.data.model_copy(
                update={"max_tests": min(config.data.max_tests or QUICK_TESTS, QUICK_TESTS)}
            ),
            "reward_model": fit.model_copy(update={"epochs": 1}),
            "folds": 2,
            "visitors": [n for n in config.visitors if n <= QUICK_VISITORS] or config.visitors[:1],
            "tuning_visits": min(config.tuning_visits, QUICK_VISITORS),
            "visits": min(config.visits, QUICK_VISITORS),
        }
    )
