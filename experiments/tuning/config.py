"""What a hyperparameter search is, as a YAML file: every key, its type, its default; all mistakes reported at once."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from experiments.config import LEARNED, ExperimentConfig, LoadedConfig, Section, bundled_configs, check_config
from experiments.config import load_config as load_experiment
from experiments.config_file import bundled_files, read_raw
from experiments.problems import ConfigError, Problem, did_you_mean, from_pydantic
from experiments.tuning.search import Method
from experiments.tuning.space import Choices, Space, Values, read_space
from experiments.yaml_file import apply_overrides

POLICIES, MODEL = "policies.", "reward_model."
QUICK_TRIALS = 5
# What a validation loss cannot choose: luck, what happens after the fit, and what changes no number.
_NOT_SEARCHED = {
    "seed": "it is luck, and decides the split",
    "calibration": "it is fitted after the network; say `calibration: auto`",
    "scoring": "it is no part of the fit",
    "evaluation": "it is no part of the fit",
    "trackers": "it changes no number",
    "members": "a search judges single fits",
    "checkpoint_steps": "it changes no number",
    "device": "it is no hyperparameter",
}


class SearchConfig(Section):
    """Which values are tried, and under which seed."""

    method: Method = Field(description="'grid': all combinations; 'random'; 'bayes': Optuna's TPE, an extra")
    trials: int | None = Field(None, ge=1, description="how many; a grid has a size of its own")
    seed: int = Field(ge=0, description="of what is drawn and of what trials are played or fitted with")
    replications: int | None = Field(None, ge=1, description="of each policy in a trial; default: the experiment's")


class EvaluationConfig(Section):
    """How the best values are compared with the experiment's own once the search is over."""

    seed: int | None = Field(
        None, ge=0, description="other than the search's; default: the experiment's, or its reward model's"
    )
    replications: int | None = Field(None, ge=1, description="of each policy; default: the experiment's")


class TuningConfig(Section):
    """One search, complete: with its experiment it determines every number of its report."""

    name: str = Field(pattern=r"^[\w][\w.-]*$", description="also the name of the folder")
    experiment: str = Field(description="a bundled experiment, or a config file; relative to this file")
    overrides: list[str] = Field(default_factory=list, description="changes of the experiment, as with `run --set`")
    search: SearchConfig
    metric: Literal["default", "regret", "regret_fixed", "reward", "validation_loss"] = Field(
        "default", description="what is judged; 'default': regret, or validation_loss for a reward model"
    )
    space: dict[str, Any] = Field(min_length=1, description="path in the experiment: choices, or low and high")
    evaluation: EvaluationConfig = EvaluationConfig()


class LoadedTuning(NamedTuple):
    """A valid search.

    Attributes:
        config: The search, with every default filled in.
        experiment: What is searched over, `overrides` applied.
        space: What may be tried, by path.
    """

    config: TuningConfig
    experiment: LoadedConfig
    space: Space

    @property
    def of_policies(self) -> bool:
        """Whether the search is over policies; else it is over the reward model."""
        return next(iter(self.space)).startswith(POLICIES)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the policies that the search touches, in the experiment's order."""
        known = self.experiment.config.policies
        touched = {_label(path, known) for path in self.space}
        return tuple(label for label in known if label in touched)

    @property
    def evaluated(self) -> Values:
        """What the evaluation changes in the experiment, by path: the seed and number of replications of policies."""
        evaluation = self.config.evaluation
        if not self.of_policies:
            return {}
        return {"seed": evaluation.seed, "simulation.replications": evaluation.replications}

    def with_values(self, values: Values) -> LoadedConfig:
        """The experiment with other values, by path.

        Raises:
            ConfigError: When it does not take them.
        """
        return _with_values(self.experiment, values)


def load_tuning(source: str | Path, overrides: Sequence[str] = (), *, quick: bool = False) -> LoadedTuning:
    """Read a search by file or bundled name, apply overrides, and check all of it.

    Every choice and both ends of every range are tried on the experiment, one path at a time. Of combinations only
    those that are tried show whether the experiment takes them; a trial that it refuses counts as failed.

    Args:
        source: A YAML file, or the name of a bundled search (`bundled_tunings`).
        overrides: `a.b.c=value` each; values are YAML.
        quick: The experiment scaled down, and at most 5 trials, under the name `NAME-quick`.

    Raises:
        FileNotFoundError: When there is neither such a file nor such a bundled search.
        ConfigError: With every problem at once.
    """
    raw, origin, folder, problems = read_raw(str(source), overrides, bundled_tunings(), "tuning")
    config = None
    try:
        config = TuningConfig.model_validate(raw, strict=True)
    except ValidationError as error:
        problems += from_pydantic(error, TuningConfig, raw)
    experiment, more = _experiment(raw, folder, quick)
    problems += more
    space, more = read_space(raw.get("space"))
    problems += more
    if experiment is not None:
        paths = raw["space"] if isinstance(raw.get("space"), Mapping) else ()
        problems += [problem for path in paths for problem in _path_problems(str(path), experiment)]
        problems += _value_problems(space, experiment)
    if config is not None:
        problems += _search_problems(config, space)
        if experiment is not None:
            problems += _seed_problems(config, experiment.config)
    if problems:
        raise ConfigError(origin, list(dict.fromkeys(problems)))
    assert config is not None
    assert experiment is not None
    return LoadedTuning(_completed(config, experiment.config, quick), experiment, space)


def bundled_tunings() -> dict[str, str]:
    """Names of the bundled searches and the text of each."""
    return bundled_files("experiments.tuning")


def _experiment(raw: Mapping[str, Any], folder: Path, quick: bool) -> tuple[LoadedConfig | None, list[Problem]]:
    name, overrides = raw.get("experiment"), raw.get("overrides", [])
    if not isinstance(name, str) or not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        return None, []  # the schema says what is wrong
    file = folder / Path(name).expanduser()
    if name not in bundled_configs() and not file.is_file():
        hint = did_you_mean(name, bundled_configs())
        return None, [Problem("experiment", f"must be a config file or a bundled experiment. Got `{name}`. {hint}")]
    try:
        return load_experiment(name if name in bundled_configs() else file, overrides, quick=quick), []
    except ConfigError as error:
        return None, [Problem("experiment", str(problem)) for problem in error.problems]


def _path_problems(path: str, experiment: LoadedConfig) -> list[Problem]:
    """Whether a path may be searched at all."""
    where, config = f"space.{path}", experiment.config
    if path.startswith(POLICIES):
        label = _label(path, config.policies)
        if label is None:
            hint = did_you_mean(path.removeprefix(POLICIES).partition(".")[0], config.policies)
            return [Problem(where, f"must begin with the label of a policy. {hint}")]
        if path == f"{POLICIES}{label}":
            return [Problem(where, f"must name a parameter, as in {path}.PARAMETER.")]
        if path.endswith(".stream"):
            return [Problem(where, "cannot be searched: it is luck.")]
    elif path.startswith(MODEL):
        if config.data.source not in LEARNED:
            return [Problem(where, f"the experiment has no reward model with data source `{config.data.source}`.")]
        reason = _NOT_SEARCHED.get(path.removeprefix(MODEL).partition(".")[0])
        if reason is not None:
            return [Problem(where, f"cannot be searched: {reason}.")]
    else:
        return [Problem(where, f"must begin with `{POLICIES}` or `{MODEL}`: what else there is makes another world.")]
    return []


def _value_problems(space: Space, experiment: LoadedConfig) -> list[Problem]:
    """What the experiment says of each value by itself."""
    problems = []
    for path, dimension in space.items():
        if _path_problems(path, experiment):
            continue
        for value in dimension.ends:
            try:
                _with_values(experiment, {path: value})
            except ConfigError as error:
                problems += [Problem("space", str(problem)) for problem in error.problems]
    return problems


def _search_problems(config: TuningConfig, space: Space) -> Iterator[Problem]:
    search = config.search
    of_policies = [path for path in config.space if path.startswith(POLICIES)]
    of_model = [path for path in config.space if path.startswith(MODEL)]
    if of_policies and of_model:
        text = "must be of policies or of the reward model, not of both: they are judged by different numbers. "
        yield Problem("space", f"{text}Got {of_policies[0]} and {of_model[0]}.")
    if search.method == "grid":
        for path, dimension in space.items():
            if not isinstance(dimension, Choices):
                yield Problem(f"space.{path}", "must be a list of choices where `search.method` is grid.")
        if search.trials is not None:
            yield Problem("search.trials", f"must be left out: a grid is tried whole. Got {search.trials}.")
    elif search.trials is None:
        yield Problem("search.trials", f"required where `search.method` is {search.method}, but missing.")
    if search.method == "bayes" and importlib.util.find_spec("optuna") is None:
        text = "'bayes' needs the package optuna: pip install click-bandits[search]. grid and random do without."
        yield Problem("search.method", text)
    if of_model and not of_policies:
        if config.metric not in ("default", "validation_loss"):
            yield Problem("metric", f"must be validation_loss for a reward model. Got {config.metric}.")
        for section in ("search", "evaluation"):
            replications = getattr(config, section).replications
            if replications is not None:
                text = f"must be left out: a reward model is fitted once. Got {replications}."
                yield Problem(f"{section}.replications", text)
    elif of_policies and config.metric == "validation_loss":
        yield Problem("metric", "must be regret, regret_fixed or reward for policies. Got validation_loss.")


def _seed_problems(config: TuningConfig, experiment: ExperimentConfig) -> Iterator[Problem]:
    seed, whose = _evaluation_seed(config, experiment), "`evaluation.seed`"
    if config.evaluation.seed is None:
        whose = f"the {'experiment' if _is_of_policies(config) else 'reward model'}'s own"
    if config.search.seed == seed:
        text = "must differ from the seed of the evaluation: luck that chose the best values must not judge them. "
        yield Problem("search.seed", f"{text}Got {seed}, which is {whose}.")


def _evaluation_seed(config: TuningConfig, experiment: ExperimentConfig) -> int:
    if config.evaluation.seed is not None:
        return config.evaluation.seed
    if experiment.reward_model is None or _is_of_policies(config):
        return experiment.seed
    return experiment.reward_model.seed


def _is_of_policies(config: TuningConfig) -> bool:
    return next(iter(config.space)).startswith(POLICIES)


def _completed(config: TuningConfig, experiment: ExperimentConfig, quick: bool) -> TuningConfig:
    search, evaluation = config.search, config.evaluation
    evaluation = evaluation.model_copy(update={"seed": _evaluation_seed(config, experiment)})
    if quick and search.trials is not None:
        search = search.model_copy(update={"trials": min(search.trials, QUICK_TRIALS)})
    metric = config.metric
    if metric == "default":
        metric = "regret" if _is_of_policies(config) else "validation_loss"
    if _is_of_policies(config):
        own = experiment.simulation.replications
        most = own if quick else max(own, search.replications or 0, evaluation.replications or 0)
        search = search.model_copy(update={"replications": min(search.replications or own, most)})
        evaluation = evaluation.model_copy(update={"replications": min(evaluation.replications or own, most)})
    name = f"{config.name}-quick" if quick else config.name
    return config.model_copy(update={"name": name, "search": search, "evaluation": evaluation, "metric": metric})


def _label(path: str, known: Mapping[str, Any]) -> str | None:
    """The longest label that a path goes on from; labels may contain dots."""
    rest = path.removeprefix(POLICIES)
    return max((label for label in known if rest == label or rest.startswith(f"{label}.")), key=len, default=None)


def _with_values(experiment: LoadedConfig, values: Values) -> LoadedConfig:
    raw = experiment.config.model_dump(mode="json")
    problems = apply_overrides(raw, [override(path, value) for path, value in values.items()])
    return check_config(raw, "the experiment", experiment.folder, problems)


def override(path: str, value: Any) -> str:
    """A value as `--set` takes it: JSON, which is YAML.

    >>> override("policies.UCB1.width", 1e-7)
    'policies.UCB1.width=1e-07'
    """
    return f"{path}={json.dumps(value, ensure_ascii=False)}"
