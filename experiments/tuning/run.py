"""Runs a search: every trial, then the best values beside the experiment's own under a seed that chose nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd
import yaml

from bandits.compiled.specialize import cache_folder
from experiments.config import LoadedConfig
from experiments.problems import ConfigError
from experiments.progress import Reporter
from experiments.run_folder import RunFolder, claim_folder, write_text
from experiments.tuning.compared import Compared, written, written_choice
from experiments.tuning.config import LoadedTuning, override
from experiments.tuning.model_trials import ModelTrials
from experiments.tuning.page import write_page
from experiments.tuning.policy_trials import PolicyTrials
from experiments.tuning.search import proposals
from experiments.tuning.space import Values
from experiments.worlds import prepare_worlds


class Trial(NamedTuple):
    """One trial.

    Attributes:
        values: What was tried, by path.
        value: What it came to; None where it failed.
        note: Why it failed.
    """

    values: Values
    value: float | None
    note: str = ""


class Trials(Protocol):
    """What judges values of one kind, policies' or the reward model's; all that it computes it keeps."""

    def value(self, loaded: LoadedConfig) -> float | None:
        """What an experiment's policies or reward model come to under the search's seed; None where a fit diverges."""

    def evaluate(self, best: LoadedConfig, base: LoadedConfig) -> list[Compared]:
        """Two experiments side by side under the evaluation's seed."""


def run_tuning(
    loaded: LoadedTuning, out: Path, *, threads: int | None = None, reporter: Reporter | None = None
) -> Path:
    """Run a search, or go on with one that was interrupted.

    What trials came to is stored under the hash of all that decides it, so a search that begins anew gets to where it
    was in a moment, and goes on as if it had never stopped. `search.trials` may grow.

    Args:
        loaded: The search.
        out: Its folder.
        threads: Threads that simulate; all cores when None. They do not change any number.
        reporter: Who tells the progress.

    Returns:
        The report.

    Raises:
        FileExistsError: When `out` holds something else.
        ValueError: When the experiment's data cannot be used, or every trial failed.
    """
    config, reporter = loaded.config, reporter or Reporter()
    claim_folder(out, config.model_dump(mode="json"), "tuning", free=["search.trials"])
    judge = _judge(loaded, out, threads, reporter)
    with reporter.stage("Searching"):
        own = judge.value(loaded.experiment)
        if own is None:
            raise ValueError("The experiment's own reward model diverged: there is nothing to compare with.")
        reporter.say(f"  {config.metric} of the experiment's own values: {written(config.metric, own)}")
        trials = search(loaded, judge, out, reporter)
    best = min((t for t in trials if t.value is not None), key=lambda t: _score(config.metric, t.value), default=None)
    if best is None:
        raise ValueError(f"Every one of the {len(trials)} trials failed; the first one: {trials[0].note}")
    found = loaded.with_values(best.values | loaded.evaluated | {"name": f"{config.name}-best"})
    text = yaml.safe_dump(found.config.model_dump(mode="json"), allow_unicode=True, sort_keys=False)
    write_text(out / "best.yaml", f"# {config.experiment} with the best values that `{config.name}` found.\n" + text)
    with reporter.stage("Evaluating the best values"):
        rows = judge.evaluate(found, loaded.with_values(loaded.evaluated))
    results = {
        "labels": list(loaded.labels) if loaded.of_policies else [],
        "trials": len(trials),
        "failed": sum(trial.value is None for trial in trials),
        "own_values": {path: value_at(loaded.experiment.config.model_dump(mode="json"), path) for path in loaded.space},
        "best_values": best.values,
        "own": own,
        "best": best.value,
        "evaluation": [row._asdict() for row in rows],
        "overrides": [override(path, value) for path, value in best.values.items()],
    }
    write_text(out / "results.json", json.dumps(results, indent=1, ensure_ascii=False))
    with reporter.stage("Drawing and reporting"):
        return write_page(out, reporter)


def search(loaded: LoadedTuning, judge: Trials, out: Path, reporter: Reporter) -> list[Trial]:
    """All trials, in order; after each, `trials.csv` in `out` has one row more."""
    config = loaded.config
    proposed = proposals(loaded.space, config.search.method, config.search.trials, config.search.seed)
    trials: list[Trial] = []
    score = None
    while True:
        try:
            values = proposed.send(score)
        except StopIteration:
            return trials
        trials.append(_trial(loaded, judge, values))
        value = trials[-1].value
        score = None if value is None else _score(config.metric, value)
        table = trials_table(trials, config.metric)
        write_text(out / "trials.csv", table.to_csv(index=False))
        words = ", ".join(f"{path}={written_choice(value)}" for path, value in values.items())
        what = trials[-1].note if value is None else f"{config.metric} {written(config.metric, value)}"
        best = written(config.metric, table["best_so_far"].iloc[-1])
        reporter.say(f"  {len(trials)}: {words}: {what} (best so far {best})")


def trials_table(trials: list[Trial], metric: str) -> pd.DataFrame:
    """One row per trial: `trial` from 1, a column per path, `value`, `best_so_far`, `note`."""
    frame = pd.DataFrame([{"trial": n} | _scalars(t.values) for n, t in enumerate(trials, start=1)])
    frame["value"] = pd.Series([t.value for t in trials], dtype="float64")
    best = frame["value"].cummax() if metric == "reward" else frame["value"].cummin()
    return frame.assign(best_so_far=best.ffill(), note=[t.note for t in trials])


def value_at(section: Any, path: str) -> Any:
    """What a resolved config says at a path, whose keys may contain dots; None where it says nothing.

    >>> value_at({"policies": {"UCB 0.1": {"width": 0.1}}}, "policies.UCB 0.1.width")
    0.1
    """
    if isinstance(section, list):
        head, _, rest = path.partition(".")
        return value_at(section[int(head)], rest) if rest else section[int(head)]
    if not isinstance(section, Mapping) or path in section:
        return section[path] if isinstance(section, Mapping) else None
    key = max((key for key in section if path.startswith(f"{key}.")), key=len, default=None)
    return None if key is None else value_at(section[key], path[len(key) + 1 :])


def _judge(loaded: LoadedTuning, out: Path, threads: int | None, reporter: Reporter) -> Trials:
    if not loaded.of_policies:
        return ModelTrials(loaded, out / "storage", cache_folder(), reporter)
    run = RunFolder(out / "world")
    run.path.mkdir(exist_ok=True)
    worlds = prepare_worlds(loaded.with_values(loaded.evaluated).config, run, reporter)
    return PolicyTrials(loaded, {world.kind: world for world in worlds}, out / "storage", threads, reporter)


def _trial(loaded: LoadedTuning, judge: Trials, values: Values) -> Trial:
    try:
        value = judge.value(loaded.with_values(values))
    except ConfigError as error:  # each value by itself was taken: it is the combination that is not
        return Trial(values, None, "; ".join(map(str, error.problems)))
    except ValueError as error:  # the experiment's own values were judged before, so the data are not to blame
        return Trial(values, None, str(error))
    return Trial(values, value) if value is not None else Trial(values, None, "the fit diverged")


def _score(metric: str, value: float | None) -> float:
    """The value, such that less is better."""
    assert value is not None
    return -value if metric == "reward" else value


def _scalars(values: Values) -> Values:
    return {path: json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v for path, v in values.items()}
