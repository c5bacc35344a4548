"""What an experiment is, as a YAML file: every key, its type, its default; all mistakes reported at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bandits.reward_models.fit_config import FitConfig
from bandits.reward_models.log_format import FaultyWeeks, LogFormat
from experiments.config_file import bundled_files, read_raw, resolve_policies
from experiments.policy_specs import build_policy, torch_twin
from experiments.problems import ConfigError, Problem, did_you_mean, from_pydantic, shown


class Section(BaseModel):
    """A part of a config: unknown keys are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NewsroomData(Section):
    """The bundled world: personas and headlines whose true click rates are planted, and a log sampled from them."""

    source: Literal["newsroom"]
    users: int = Field(240, ge=2, description="personas")
    headlines: int = Field(18, ge=2, description="headlines, the one that arrives late among them")
    impressions: int = Field(600_000, ge=1, description="impressions in the click log, shown uniformly at random")
    late_arrival: float = Field(0.5, ge=0, lt=1, description="share of the horizon after which one headline arrives")
    seed: int = Field(1, ge=0, description="of the world and its log; apart from the seed of the simulation")


class ClickLogData(Section):
    """A click log of your own, CSV or Parquet, or a public data set; `bandits check-log` says what it can answer."""

    source: Literal["click_log"]
    path: str = Field(description="the file, or a data set's folder or archive; relative to the config file")
    format: LogFormat = Field("auto", description="how it is written; 'auto' tells by names and columns")
    watch_ratio: float | None = Field(
        None, ge=0, description="KuaiRec: watching a larger share of a video counts as a click; default: 2"
    )
    tabs: list[int] | None = Field(None, min_length=1, description="KuaiRand: tabs of the app to read; default: all")
    numbers: list[str] = Field(
        [], description="further columns with a number that is a property of the item; a log of pairs of your own"
    )
    embeddings: list[str] = Field(
        [], description="the same: columns of a Parquet file with a list of numbers, such as an image's embedding"
    )
    user_numbers: list[str] = Field([], description="as `numbers`, of users")
    user_embeddings: list[str] = Field([], description="as `embeddings`, of users")
    conversions: str | None = Field(
        None, description="the column with the conversions that followed the clicks; a log of pairs of your own"
    )
    value: str | None = Field(None, description="with `conversions`: the column with their total value")
    max_users: int = Field(2_000, ge=1, description="simulate at most this many of its users, drawn at random")


class UpworthyData(Section):
    """The Upworthy archive's CSV: each held-out test becomes a world whose arms are its headlines."""

    source: Literal["upworthy"]
    path: str | None = Field(None, description="the archive's CSV file")
    faulty_weeks: FaultyWeeks = Field(
        "train", description="tests whose randomization was faulty: 'train' only, 'exclude' them, or 'include' them"
    )


class TableData(Section):
    """A propensity table that `PropensityTable.save` wrote."""

    source: Literal["table"]
    path: str = Field(description="its folder; relative to the config file")


class BernoulliData(Section):
    """Arms with fixed click rates and no users: no reward model, done in seconds."""

    source: Literal["bernoulli"]
    means: list[float] | None = Field(None, min_length=2, description="click rate of each arm, in [0, 1]")
    arms: int | None = Field(None, ge=2, description="number of arms whose rates each replication draws from `prior`")
    prior: list[float] | None = Field(None, min_length=2, max_length=2, description="a and b of that Beta prior")


Data = Annotated[NewsroomData | ClickLogData | UpworthyData | TableData | BernoulliData, Field(discriminator="source")]


class WorldConfig(Section):
    """How the simulated users behave, and what policies see of them."""

    visitors_per_day: float = Field(1000.0, gt=0, description="visitors per day: turns rounds into calendar time")
    features: int = Field(32, ge=1, description="numbers that policies see of each text, at most")
    encoder: str | None = Field(None, description="text encoder behind the features; default: the reward model's start")
    arrival: Literal["uniform", "log"] = Field("uniform", description="'log': users visit as often as in the click log")
    late_items: dict[str, int | float] = Field(
        default_factory=dict, description="item id: the round it arrives in, or a share of the horizon below 1"
    )
    kinds: list[Literal["model", "planted", "observed"]] | None = Field(
        None, min_length=1, description="kinds of world to play in, the report's first; default: all that there are"
    )
    members: bool = Field(
        False, description="replication r lives in the world of member r mod `reward_model.members` of the ensemble"
    )
    prior: Literal["model"] | None = Field(
        None,
        description="'model': policies see the reward model's predictions, in worlds where these are not the truth",
    )
    no_recommendation: float | str | None = Field(
        None, description="click rate when nothing is shown; or the item text that stands for it in the click log"
    )
    segments: dict[str, str] = Field(
        default_factory=dict, description="segment of users: pattern in their texts; the first that fits, else 'others'"
    )


class SimulationConfig(Section):
    """How long, how often, and what is kept."""

    horizon: int = Field(20_000, ge=1, description="visitors per replication")
    replications: int = Field(200, ge=1, description="independent repetitions of every policy")
    chunk: int = Field(100, ge=1, description="replications that are computed and stored together")
    snapshots: int = Field(200, ge=2, description="points of each curve, geometrically spaced")
    engine: Literal["auto", "torch"] = Field(
        "auto", description="'torch': policies that have a version for torch play on its device; others as with 'auto'"
    )
    device: Literal["cpu", "cuda"] | None = Field(
        None, description="device of the policies that play on one; default: a GPU when there is one"
    )
    test_lengths: list[int] | None = Field(
        None, description="lengths of the A/B test to compare in hindsight; default: a few shares of the horizon"
    )
    log_events: list[str] | Literal["all"] | None = Field(
        None, description="policies whose every round is written down with all propensities, or 'all' that know theirs"
    )

    @field_validator("log_events", mode="before")
    @classmethod
    def _labels_or_all(cls, value: Any) -> Any:
        if value is None or value == "all" or (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            return value
        raise ValueError(f"must be all, or a list of labels of policies. Got {shown(value)}.")


class ExplainConfig(Section):
    """Which click and which choice the report takes apart."""

    user: str | None = Field(None, description="id or text of a user; default: the first")
    item: str | None = Field(
        None, description="id or text of an item; default: the one that the best policy shows most"
    )


class ReportConfig(Section):
    """What the report shows beyond what it always shows."""

    traffic: list[str] | None = Field(None, description="policies whose traffic is drawn; default: a telling few")
    sample_users: int = Field(6, ge=0, description="simulated users to introduce")
    explain: ExplainConfig | None = Field(
        ExplainConfig(), description="a user and an item: why she clicks, and why policies show it; null: nothing"
    )


class ExperimentConfig(Section):
    """One experiment, complete: it determines every number of its run.

    Attributes:
        policies: Label to complete specification, `{policy, stream, **parameters}`.
        baseline: Label of the policy that the others are compared with.
    """

    name: str = Field(pattern=r"^[\w][\w.-]*$", description="also the name of the run folder")
    seed: int = Field(1, ge=0, description="of the simulation: users, clicks, and the policies' own draws")
    data: Data
    reward_model: FitConfig | None = Field(None, description="how BERT is fitted; only where there are texts to learn")
    world: WorldConfig = WorldConfig()
    simulation: SimulationConfig = SimulationConfig()
    baseline: str = "ABTest"
    policies: dict[str, Any] = Field(min_length=1)
    report: ReportConfig = ReportConfig()


class LoadedConfig(BaseModel):
    """A valid config and where it came from.

    Attributes:
        config: The experiment, with every default filled in.
        folder: Folder of its file: modules of the user's own policies are looked for here first.
    """

    model_config = ConfigDict(frozen=True)

    config: ExperimentConfig
    folder: Path


LEARNED = ("newsroom", "click_log", "upworthy")
KINDS = {"newsroom": ("model", "planted"), "upworthy": ("model", "observed"), "click_log": ("model",)}
QUICK = {"horizon": 2_000, "replications": 20, "chunk": 20}


def load_config(source: str | Path, overrides: Sequence[str] = (), *, quick: bool = False) -> LoadedConfig:
    """Read a config by file or bundled name, apply overrides, and check all of it.

    Args:
        source: A YAML file, or the name of a bundled experiment (`bundled_configs`).
        overrides: `a.b.c=value` each; values are YAML, `policies.LABEL.alpha=0.5` addresses a policy by its label.
        quick: Scale down to a trial of a minute under the name `NAME-quick`.

    Raises:
        FileNotFoundError: When there is neither such a config file nor such a bundled experiment.
        ConfigError: With every problem of the config at once.
    """
    checked = check_config(*read_raw(str(source), overrides, bundled_configs(), "experiment"))
    return LoadedConfig(config=_quick(checked.config), folder=checked.folder) if quick else checked


def check_config(raw: Mapping[str, Any], origin: str, folder: Path, problems: Sequence[Problem] = ()) -> LoadedConfig:
    """Check a config's values, and fill in the defaults.

    Args:
        raw: Its values; those of a config that was resolved before are as good as a file's.
        origin: Where they came from, for messages.
        folder: Folder where modules of the user's own policies are looked for first.
        problems: What is already known to be wrong.

    Raises:
        ConfigError: With every problem at once.
    """
    policies, policy_problems = resolve_policies(raw.get("policies"), folder)
    problems = [*problems, *policy_problems]
    try:
        config = ExperimentConfig.model_validate({**raw, "policies": policies or raw.get("policies")}, strict=True)
    except ValidationError as error:
        problems = from_pydantic(error, ExperimentConfig, raw) + problems
        raise ConfigError(origin, problems) from None
    problems += _cross_problems(config, [str(label) for label in raw["policies"]]) + _device_problems(config, folder)
    if problems:
        raise ConfigError(origin, problems)
    return LoadedConfig(config=_completed(config), folder=folder)


def bundled_configs() -> dict[str, str]:
    """Names of the bundled experiments and the text of each."""
    return bundled_files("experiments")


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two resolved configs differ, one line each.

    >>> differences({"seed": 1, "name": "a"}, {"seed": 2, "name": "a"})
    ['seed: was 1, is now 2']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        nothing = object()
        pairs = [(f"{path}.{key}" if path else str(key), old.get(key, nothing), new.get(key, nothing)) for key in keys]
        lines = [f"{where}: is new" for where, before, _ in pairs if before is nothing]
        lines += [f"{where}: is gone" for where, _, after in pairs if after is nothing]
        both = [pair for pair in pairs if nothing not in pair[1:]]
        return [line for where, before, after in both for line in differences(before, after, where)] + lines
    return [] if old == new else [f"{path}: was {shown(old)}, is now {shown(new)}"]


def _cross_problems(config: ExperimentConfig, labels: Sequence[str]) -> list[Problem]:
    """What values say of each other; `labels` has all policies, those too that have problems of their own."""
    problems = []
    if config.baseline not in labels:
        hint = did_you_mean(config.baseline, labels)
        problems.append(Problem("baseline", f"must be the label of a policy. Got `{config.baseline}`. {hint}"))
    for label in config.report.traffic or ():
        if label not in labels:
            hint = did_you_mean(label, labels)
            problems.append(Problem("report.traffic", f"must hold labels of policies. Got `{label}`. {hint}"))
    for label in () if config.simulation.log_events == "all" else config.simulation.log_events or ():
        if label not in labels:
            hint = did_you_mean(label, labels)
            problems.append(Problem("simulation.log_events", f"must hold labels of policies. Got `{label}`. {hint}"))
    path = getattr(config.data, "path", None)
    if isinstance(config.data, UpworthyData) and path is None:
        problems.append(Problem("data.path", "must be the archive's CSV file. Say --set data.path=FILE.csv."))
    elif isinstance(config.data, ClickLogData):
        if not Path(config.data.path).exists():
            problems.append(Problem("data.path", f"must be a file, or a data set's folder or archive. Got {path}."))
    elif (
        path is not None and not (Path(path) / "table.json" if config.data.source == "table" else Path(path)).is_file()
    ):
        wanted = "the folder of a table" if config.data.source == "table" else "a file"
        problems.append(Problem("data.path", f"must be {wanted}. Got {path}."))
    if config.data.source not in LEARNED:
        if config.reward_model is not None:
            problems.append(
                Problem("reward_model", f"has nothing to learn from with data source `{config.data.source}`.")
            )
        if config.world.arrival == "log":
            problems.append(Problem("world.arrival", "'log' needs a click log as data source."))
    problems += _world_problems(config)
    for item, arrival in config.world.late_items.items():
        if arrival <= 0 or (isinstance(arrival, float) and arrival >= 1):
            text = f"must be a round, or a share of the horizon between 0 and 1. Got {arrival}."
            problems.append(Problem(f"world.late_items.{item}", text))
    return problems


def _world_problems(config: ExperimentConfig) -> list[Problem]:
    world, source = config.world, config.data.source
    problems = []
    there = KINDS.get(source, ())
    kinds = tuple(world.kinds or there)
    if wrong := [kind for kind in kinds if kind not in there]:
        having = f"must be among {', '.join(there)}" if there else "must be left out"
        problems.append(Problem("world.kinds", f"{having} with data source `{source}`. Got {', '.join(wrong)}."))
    if len(set(kinds)) < len(kinds):
        problems.append(Problem("world.kinds", f"must name each kind once. Got {', '.join(kinds)}."))
    members = 1 if config.reward_model is None else config.reward_model.members
    if world.members and members == 1:
        problems.append(Problem("world.members", "needs `reward_model.members` above 1. Got 1."))
    elif world.members and kinds[:1] != ("model",):
        problems.append(Problem("world.members", f"needs `model` first in `world.kinds`. Got {', '.join(kinds)}."))
    elif world.members and config.simulation.replications < members:
        text = f"must be at least the {members} members whose worlds are played. Got {config.simulation.replications}."
        problems.append(Problem("simulation.replications", text))
    if world.prior and ("model" in kinds or "model" not in there):
        hint = "In the model's own world its predictions are the truth: name the other kind in `world.kinds`."
        problems.append(Problem("world.prior", f"must be left out here. {hint} Got {world.prior}."))
    rate = world.no_recommendation
    if rate is not None and source in ("upworthy", "bernoulli"):
        problems.append(Problem("world.no_recommendation", f"needs a world of users and items. Got {rate}."))
    elif isinstance(rate, str) and source != "click_log":
        problems.append(Problem("world.no_recommendation", f"must be a number without a click log. Got {shown(rate)}."))
    elif isinstance(rate, float) and not 0 <= rate <= 1:
        problems.append(Problem("world.no_recommendation", f"must lie in [0, 1]. Got {rate}."))
    for label, pattern in world.segments.items():
        try:
            re.compile(pattern)
        except re.error as error:
            text = f"must be a regular expression: {error}. Got {shown(pattern)}."
            problems.append(Problem(f"world.segments.{label}", text))
    if world.segments and source in ("upworthy", "bernoulli"):
        problems.append(Problem("world.segments", f"needs users with texts. Got data source `{source}`."))
    return problems


def _device_problems(config: ExperimentConfig, folder: Path) -> list[Problem]:
    engine, device = config.simulation.engine, config.simulation.device
    if engine == "auto" and device is None:
        return []
    path, got = ("simulation.engine", engine) if engine == "torch" else ("simulation.device", device)
    problems = []
    twins = [(policy, torch_twin(policy)) for policy in (build_policy(s, folder) for s in config.policies.values())]
    if isinstance(config.data, BernoulliData) and config.data.means is None:
        text = f"must be left out where replications draw their own click rates: no device plays them. Got {got}."
        problems.append(Problem(path, text))
    elif engine == "torch" and not any(twin for _, twin in twins):
        problems.append(Problem(path, "must be auto where no policy has a version for torch. Got torch."))
    elif engine == "auto" and not any(twin is policy for policy, twin in twins):
        problems.append(Problem(path, f"must be left out where no policy plays on a device. Got {got}."))
    if device is not None:
        from bandits.torch_device import choose_device  # here, so that other configs do not wait for torch

        try:
            choose_device(device)
        except ValueError as error:
            problems.append(Problem("simulation.device", str(error)))
    return problems


def _completed(config: ExperimentConfig) -> ExperimentConfig:
    if config.data.source in LEARNED and config.reward_model is None:
        loss: Literal["binomial", "within_test"] = "within_test" if config.data.source == "upworthy" else "binomial"
        return config.model_copy(update={"reward_model": FitConfig(loss=loss)})
    return config


def _quick(config: ExperimentConfig) -> ExperimentConfig:
    smaller = {key: min(value, getattr(config.simulation, key)) for key, value in QUICK.items()}
    update: dict[str, Any] = {
        "name": f"{config.name}-quick",
        "simulation": config.simulation.model_copy(update=smaller),
    }
    if config.data.source in LEARNED:
        fit = config.reward_model
        assert fit is not None
        limit = min(fit.max_train_rows or 500, 500)
        least = {"epochs": 1, "max_train_rows": limit, "members": min(fit.members, 2)}
        update["reward_model"] = fit.model_copy(update=least)
    return config.model_copy(update=update)
