"""What a replay of real A/B tests is, as a section of a study's YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from experiments.config import Section
from experiments.problems import Problem


class RulesConfig(Section):
    """Levels of the stopping rules."""

    alpha: float = Field(0.05, gt=0, lt=1, description="two-sided level of every rule that has one")
    max_loss: float = Field(
        0.01, gt=0, lt=1, description="expected loss at which the Bayesian rule stops, as a share of both arms' rate"
    )
    burn_in: int = Field(100, ge=1, description="units in either arm below which mSPRT and expected loss stay silent")
    prior: list[float] = Field(
        [1.0, 1.0], min_length=2, max_length=2, description="Beta prior of a click rate, each number at least 0.1"
    )


class AsosData(Section):
    """The ASOS Digital Experiments Dataset: cumulative summaries of each test."""

    path: str | None = Field(None, description="its Parquet or CSV file")
    metrics: list[int] = Field([1, 2, 3, 4], min_length=1, description="metric ids; the first is told in full")
    least_growth: float = Field(
        0.002,
        ge=0.0002,
        lt=0.5,
        description="a look counts when it adds at least this share of the final information to the look before",
    )


class AsosStudy(Section):
    """Replays every test of the ASOS Digital Experiments Dataset under each stopping rule."""

    study: Literal["asos"]
    name: str = Field("asos", pattern=r"^[\w][\w.-]*$", description="also the name of the folder")
    data: AsosData = AsosData()
    rules: RulesConfig = RulesConfig()


class UpworthyReplayData(Section):
    """The Upworthy archive's CSV."""

    path: str | None = Field(None, description="the archive's CSV file")
    max_tests: int | None = Field(None, ge=2, description="replay at most this many tests, drawn at random")


class UpworthyStudy(Section):
    """Replays headline tests of the Upworthy archive in random orders under each stopping rule."""

    study: Literal["upworthy"]
    name: str = Field("upworthy_peeking", pattern=r"^[\w][\w.-]*$", description="also the name of the folder")
    seed: int = Field(1, ge=0, description="of the random orders")
    data: UpworthyReplayData = UpworthyReplayData()
    rules: RulesConfig = RulesConfig()
    looks: int = Field(20, ge=1, le=500, description="looks at each test, after equal numbers of visitors")
    orders: int = Field(20, ge=1, description="random orders in which the visitors of each test come")


ReplayStudy = AsosStudy | UpworthyStudy


def replay_problems(config: ReplayStudy) -> list[Problem]:
    """What a valid schema can still get wrong."""
    problems = []
    path = config.data.path
    if path is None:
        name = "the ASOS dataset's file" if isinstance(config, AsosStudy) else "the Upworthy archive's CSV file"
        problems.append(Problem("data.path", f"must be {name}. Say --set data.path=FILE."))
    elif not Path(path).is_file():
        problems.append(Problem("data.path", f"must be a file. Got {path}."))
    if min(config.rules.prior) < 0.1:
        problems.append(Problem("rules.prior", f"must be two numbers of at least 0.1. Got {config.rules.prior}."))
    if isinstance(config, AsosStudy) and len(set(config.data.metrics)) < len(config.data.metrics):
        problems.append(Problem("data.metrics", f"must name each metric once. Got {config.data.metrics}."))
    return problems


def quick_replay(config: ReplayStudy) -> ReplayStudy:
    """The same study scaled down to a trial of seconds, under the name `NAME-quick`."""
    name = {"name": f"{config.name}-quick"}
    if isinstance(config, AsosStudy):
        data = config.data.model_copy(update={"metrics": config.data.metrics[:1], "least_growth": 0.05})
        return config.model_copy(update=name | {"data": data})
    few = config.data.model_copy(update={"max_tests": min(config.data.max_tests or 100, 100)})
    return config.model_copy(update=name | {"data": few, "orders": min(config.orders, 2)})
