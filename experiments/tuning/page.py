"""The report of a search, made from its folder alone."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.html_page import inlined, template
from experiments.progress import Reporter
from experiments.run_folder import write_text
from experiments.tuning.compared import Compared, written, written_choice, written_difference
from experiments.tuning.figures import draw_figures
from experiments.yaml_file import parse

MEASURES = {
    "regret": "regret against the best arm for each user, in clicks",
    "regret_fixed": "regret against the best single arm, in clicks",
    "reward": "clicks",
    "validation_loss": "log loss before calibration, in nats",
}
_AXES = {
    "regret": "mean regret, clicks",
    "regret_fixed": "mean regret, clicks",
    "reward": "mean clicks",
    "validation_loss": "validation loss, nats",
}
_METHODS = {
    "grid": "All combinations of a grid",
    "random": "Random search",
    "bayes": "Bayesian search by a tree-structured Parzen estimator",
}


def write_page(folder: Path, reporter: Reporter) -> Path:
    """Draw the figures, write `report.html`, tell its first sentences, and say where it is."""
    config = parse((folder / "config.yaml").read_text(encoding="utf-8"))
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    trials = pd.read_csv(folder / "trials.csv", dtype={"note": str}).fillna({"note": ""})
    rows = [Compared(**row) for row in results["evaluation"]]
    metric = config["metric"]
    figures = draw_figures(trials, results, _AXES[metric], folder / "figures")
    verdict = verdict_of(config, results, rows)
    content = {
        "title": f"{config['name']}: hyperparameter search",
        "verdict": verdict,
        "facts": _facts(config, results),
        "figures": {name: inlined(folder / "figures" / f"{name}.svg") for name in figures},
        "measure": MEASURES[metric],
        "values": [
            (path, written_choice(results["own_values"][path]), written_choice(best))
            for path, best in results["best_values"].items()
        ],
        "compared": [_cells(metric, row) for row in rows],
        "search": [
            written(metric, results["own"]),
            written(metric, results["best"]),
            written_difference(metric, results["best"] - results["own"]),
        ],
        "seeds": (config["search"]["seed"], config["evaluation"]["seed"]),
        "command": shlex.join(
            [
                *("bandits", "run", config["experiment"]),
                *(word for each in [*config["overrides"], *results["overrides"]] for word in ("--set", each)),
            ]
        ),
        "paths": list(results["best_values"]),
        "trials": [
            [row["trial"], *(written_choice(row[path]) for path in results["best_values"]), _value(metric, row)]
            for row in trials.to_dict("records")
        ],
    }
    page = folder / "report.html"
    write_text(page, template("tuning.html.j2").render(content))
    reporter.say(f"\n{verdict}\n")
    return page


def verdict_of(config: Mapping[str, Any], results: Mapping[str, Any], rows: list[Compared]) -> str:
    """The first sentences: what was found, and what of it holds under a seed that chose nothing."""
    metric, search = config["metric"], config["search"]["seed"]
    values = ", ".join(f"{path} = {written_choice(value)}" for path, value in results["best_values"].items())
    gain = written_difference(metric, results["best"] - results["own"])
    return " ".join(
        [
            f"Best of {results['trials']} trials: {values}.",
            f"Under the search's seed {search}, {metric} came to {written(metric, results['best'])}, {gain} against "
            "the experiment's own values. The best of numbers that are partly luck is too good; what counts is this.",
            *(_sentence(metric, config["evaluation"]["seed"], row) for row in rows),
        ]
    )


def _sentence(metric: str, seed: int, row: Compared) -> str:
    where = "On the test rows" if row.where == "test rows" else f"{row.what} in the {row.where}"
    ends = "no interval" if math.isnan(row.low) else f"95 percent interval {_interval(metric, row)}"
    low, high = (-row.high, -row.low) if metric == "reward" else (row.low, row.high)
    outcome = "the best values are better" if high < 0 else "they are worse" if low > 0 else "no difference is shown"
    return (
        f"{where}, under seed {seed}: {written(metric, row.best)} against {written(metric, row.base)}, "
        f"{written_difference(metric, row.extra)} ({ends}): {outcome}."
    )


def _cells(metric: str, row: Compared) -> list[str]:
    ends = "no interval" if math.isnan(row.low) else _interval(metric, row)
    numbers = [written(metric, row.base), written(metric, row.best), written_difference(metric, row.extra)]
    return [f"{row.what}, {row.where}", *numbers, ends]


def _interval(metric: str, row: Compared) -> str:
    return f"{written_difference(metric, row.low)} to {written_difference(metric, row.high)}"


def _value(metric: str, trial: Mapping[Any, Any]) -> str:
    return trial["note"] or written(metric, trial["value"])


def _facts(config: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    search, evaluation = config["search"], config["evaluation"]
    failed = f" {results['failed']} of the trials failed." if results["failed"] else ""
    begin = f"{_METHODS[search['method']]}, {results['trials']} trials.{failed} "
    if not results["labels"]:
        return begin + (
            f"Each is fitted on the training rows with seed {search['seed']} and judged on the validation rows; "
            "calibration and test rows take no part in the search. The best and the experiment's own values are then "
            f"fitted with seed {evaluation['seed']} and judged on the test rows, on the same split; the unit of the "
            "interval is what the split kept together. Each look at the test rows uses them up a little."
        )
    several = ", the mean over " + ", ".join(results["labels"]) if len(results["labels"]) > 1 else ""
    return begin + (
        f"Each plays {search['replications']:,} replications under seed {search['seed']}{several}. The best and the "
        f"experiment's own values then play {evaluation['replications']:,} replications under seed "
        f"{evaluation['seed']}: the same worlds with other luck, paired by replication. In another world the best "
        "values may be others."
    )
