"""`bandits ope`: what another policy would have earned, from a log, as one page of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bandits.ope import Evaluation, LoggedFeedback, evaluate_policy, read_log, read_obd, read_probabilities, uniform
from bandits.ope.targets import Target
from experiments.policy_specs import build_policy, resolve_policy
from experiments.problems import ConfigError, Problem, did_you_mean, shown
from experiments.yaml_file import parse


def ope_page(
    path: Path,
    policy_file: Path,
    *,
    adaptive: bool | None = None,
    confidence: float = 0.95,
    interval: Literal["normal", "bootstrap"] = "normal",
    unit: Literal["round", "user"] = "round",
    clip: float = 10.0,
    shrinkage: float = 100.0,
    seed: int = 0,
) -> str:
    """The page that `bandits ope` prints.

    Args:
        path: A Parquet log (`bandits.ope.log_file`), or a campaign's folder of the Open Bandit Dataset.
        policy_file: YAML; see `read_target`.
        adaptive: Whether the logging policy learned from the log's own rounds; None: as the log says.
        confidence: See `evaluate_policy`, as with the other arguments.
        interval: `normal` or `bootstrap`.
        unit: `round` or `user`.
        clip: Largest weight of clipped IPS and SWITCH-DR.
        shrinkage: Strength of DR with shrinkage.
        seed: Key of folds, bootstrap and replay.

    Raises:
        ValueError: When the log or the policy cannot be used.
        FileNotFoundError: When a file is missing.
    """
    if not path.exists():
        raise FileNotFoundError(f"LOG must be a Parquet file or a folder of the Open Bandit Dataset. Got {path}.")
    if path.is_dir():
        if adaptive is not None:
            raise ValueError("--adaptive and --independent are for Parquet logs. Got a folder, which says so itself.")
        log = read_obd(path)
    else:
        log = read_log(path, adaptive=adaptive)
    target, words = read_target(policy_file, log, path)
    found = evaluate_policy(
        log,
        target,
        confidence=confidence,
        interval=interval,
        unit=unit,
        clip=clip,
        shrinkage=shrinkage,
        seed=seed,
    )
    return "\n".join(_lines(log, words, found, confidence))


def read_target(file: Path, log: LoggedFeedback, path: Path) -> tuple[Target, str]:
    """The evaluated policy of a YAML file, and its name.

    One of: `uniform`; `{probabilities: PREFIX}`, the columns PREFIX0 .. of the log; `{policy: FixedSplit, weights:
    [...]}`; `{policy: "module:Class", ...}`, a policy of your own that knows its propensities and does not learn. The
    bundled policies that learn are refused: what they would do depends on the feedback that they would have had.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it says none of these.
    """
    if not file.is_file():
        raise FileNotFoundError(f"--policy must be a YAML file. Got {file}, which is no file.")
    try:
        raw = parse(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(str(file), [Problem("", str(error))]) from None
    if raw in ("uniform", {"policy": "uniform"}):
        return uniform(log), "uniform"
    if not isinstance(raw, Mapping) or not {"policy", "probabilities"} & set(raw):
        text = f"must be uniform, or a section with a key `policy` or `probabilities`. Got {shown(raw)}."
        raise ConfigError(str(file), [Problem("", text)])
    if "probabilities" in raw:
        return _columns(file, raw, path)
    return _policy(file, raw)


def _columns(file: Path, raw: Mapping[str, Any], path: Path) -> tuple[Target, str]:
    unknown = [str(key) for key in raw if key != "probabilities"]
    if unknown:
        problems = [Problem(key, f"unknown key. {did_you_mean(key, ['probabilities'])}") for key in unknown]
        raise ConfigError(str(file), problems)
    prefix = raw["probabilities"]
    if not isinstance(prefix, str) or not prefix:
        raise ConfigError(
            str(file), [Problem("probabilities", f"must be the prefix of columns, as text. Got {shown(prefix)}.")]
        )
    if path.is_dir():
        raise ConfigError(
            str(file), [Problem("probabilities", "must be columns of a Parquet log. Got a log without any.")]
        )
    return read_probabilities(path, prefix), f"probabilities in the columns {prefix}0, {prefix}1, ..."


def _policy(file: Path, raw: Mapping[str, Any]) -> tuple[Target, str]:
    name = raw["policy"]
    resolved, problems = resolve_policy(raw, label=str(name), path="", folder=file.parent)
    if resolved is not None and ":" not in name and name != "FixedSplit":
        text = (
            f"must not learn: what `{name}` would do depends on feedback that the log does not have. Give FixedSplit, "
            "a policy of your own as `module:Class`, or the probabilities as columns of the log."
        )
        problems = [Problem("policy", text)]
    if resolved is None or problems:
        raise ConfigError(str(file), [Problem(problem.path.lstrip("."), problem.text) for problem in problems])
    policy = build_policy(resolved, file.parent)
    if not hasattr(policy, "propensities"):
        raise ConfigError(str(file), [Problem("policy", f"must have a method `propensities`. Got {shown(policy)}.")])
    return policy, repr(policy)


def _lines(log: LoggedFeedback, words: str, found: Evaluation, confidence: float) -> Iterator[str]:
    collected = "by a policy that learned from it" if log.adaptive else "by a policy that did not learn from it"
    replications = f" in {log.num_replications:,} replications" if log.num_replications > 1 else ""
    yield f"Log: {log.name}, {len(log):,} rounds{replications}, {log.num_arms} arms, collected {collected}."
    yield f"Policy: {words}"
    weights = found.weights
    yield (
        f"Weights: mean {_number(weights.mean_weight)} (expected 1, z = {_number(weights.mean_weight_z)}), "
        f"largest {_number(weights.max_weight)}; worth {_number(weights.effective_sample_size)} rounds; "
        f"{int(weights.num_matches):,} rounds match."
    )
    yield ""
    head = [
        "method",
        "estimate",
        f"{100 * confidence:g}% interval",
        "kind",
        "ESS",
        "max w",
        "mean w",
        "clipped",
        "note",
    ]
    rows = [head]
    for value in (found.logged, *found.values.values()):
        interval = "-" if np.isnan(value.low) else f"{_number(value.low)} to {_number(value.high)}"
        numbers = [value.effective_sample_size, value.max_weight, value.mean_weight, value.share_clipped]
        rows.append(
            [value.method, _number(value.estimate), interval, value.interval, *map(_number, numbers), value.note]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
    yield (
        f"Each interval covers {100 * confidence:g}% by itself, for a log whose length was fixed beforehand. They are "
        "not corrected for their number: name the method before looking."
    )
    yield from (f"Warning: {warning}" for warning in found.warnings)


def _number(value: Any) -> str:
    """Four digits; "-" where there is no number."""
    return "-" if np.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
