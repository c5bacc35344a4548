"""`bandits fit`: from a click log to a saved reward model and one page about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bandits import reward_models as models
from bandits.compiled.specialize import cache_folder
from bandits.reward_models.fit_config import FitConfig
from bandits.reward_models.log_format import LogFormat
from experiments.config_file import read_raw
from experiments.opened_log import open_log
from experiments.problems import ConfigError, from_pydantic
from experiments.yaml_file import apply_overrides


def fit_page(
    source: str,
    out: Path,
    *,
    format: LogFormat = "auto",
    watch_ratio: float | None = None,
    tabs: Sequence[int] | None = None,
    rating: float | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    show_progress: bool = False,
) -> str:
    """Read, split, fit, calibrate, evaluate and save; what `bandits fit` prints.

    A fit that was interrupted goes on from its last checkpoint when it is asked for again, and one that was finished is
    read back.

    Args:
        source: See `open_log`, as with the other arguments about the log.
        out: Folder of the model. It must be new, empty, or hold a model, which is replaced.
        format: How the log is written.
        watch_ratio: KuaiRec only.
        tabs: KuaiRand only.
        rating: Jester only.
        columns: Names of columns beside the texts and of what follows a click, as in `open_log`.
        config: YAML with keys of `FitConfig`; all defaults when None. `loss` suits the log where nobody says otherwise.
        overrides: `key=value` each.
        show_progress: Show a progress bar.

    Raises:
        FileNotFoundError: When a file is missing, or BERT's weights are not to be found.
        ValueError: When the log, the config or the folder cannot be used.
    """
    saved = any((out / file).is_file() for file in ("reward_model.json", "ensemble.json"))
    if out.exists() and not saved and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"--out must be a new folder, or one with a reward model. Got {out}, which holds other things."
        )
    raw, origin = _raw_config(config, overrides)
    _checked(raw, origin)
    opened = open_log(source, format=format, watch_ratio=watch_ratio, tabs=tabs, rating=rating, columns=columns)
    log = opened.log
    settings = _checked({"loss": "within_test" if log.kind == "tests" else "binomial"} | raw, origin)
    split = models.split_log(log, seed=settings.seed)
    model = models.fit_reward_model(log, split, settings, cache=cache_folder(), show_progress=show_progress)
    evaluation = models.evaluate(model, split, settings.evaluation)
    model.save(out, evaluation=evaluation)
    texts = log.pairs[["user_text", "item_text"]].drop_duplicates()
    cut = models.num_cut(model, texts["user_text"].tolist(), texts["item_text"].tolist())
    return "\n".join(_lines(log, model.info, evaluation, cut, settings.max_length, out))


def _raw_config(config: Path | None, overrides: Sequence[str]) -> tuple[dict[str, Any], str]:
    if config is None:
        values: dict[str, Any] = {}
        origin, problems = "--set", apply_overrides(values, overrides)
    else:
        values, origin, _, problems = read_raw(str(config), overrides, {}, "configuration of a fit")
    if problems:
        raise ConfigError(origin, problems)
    return values, origin


def _checked(raw: Mapping[str, Any], origin: str) -> FitConfig:
    try:
        return FitConfig(**raw)
    except ValidationError as error:
        raise ConfigError(origin, from_pydantic(error, FitConfig, raw)) from None


def _lines(
    log: models.ClickLog,
    info: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    cut: int,
    max_length: int,
    out: Path,
) -> Iterator[str]:
    yield f"Log: {log.name}, a log of {log.kind}, click rate {log.base_rate:.3%}"
    rows = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in info["rows"].items())
    yield f"Rows: {rows}; split by {info['split_by']}"
    if cut:
        yield f"Cut: {cut:,} pairs of texts are longer than the {max_length} tokens that the model reads"
    history = info["history"]
    best = min(history, key=lambda epoch: epoch["validation_loss"])
    yield (
        f"Training: {len(history)} epochs, best validation loss {best['validation_loss']:.5f} after epoch "
        f"{best['epoch']}, {info['seconds']['training']:.0f} s"
    )
    yield f"Calibrator: {info['calibration']['method']}"
    yield ""
    columns = list(evaluation["models"])
    yield "On held-out rows:" + " " * 19 + "".join(f"  {name:>12}" for name in columns)
    for metric in evaluation["models"][columns[0]]:
        values = (_number(evaluation["models"][name][metric]) for name in columns)
        numbers = "".join(f"  {value:>{max(12, len(name))}}" for value, name in zip(values, columns, strict=True))
        yield f"  {metric.replace('_', ' '):<34}{numbers}"
    yield ""
    yield "Observed over predicted clicks, with 95 percent intervals:"
    calibration = evaluation["calibration"]
    yield f"  all rows {_ratio(calibration['overall'])}, top pick {_ratio(calibration['top_pick'])}"
    deciles = [row["ratio"] for row in calibration["deciles"] if row["ratio"] is not None]
    if deciles:
        yield f"  by decile of prediction {min(deciles):.3f} to {max(deciles):.3f}"
    for name, outcome in evaluation["outcomes"].items():
        yield f"  {name.replace('_', ' ')} {_ratio(outcome['overall'])}"
    yield ""
    yield f"Saved in {out}: weights, calibrator, README.md (the model card), metrics.json"


def _ratio(found: Mapping[str, float | None]) -> str:
    if found["ratio"] is None:
        return "none"
    ends = "" if found["low"] is None else f" ({found['low']:.3f} to {found['high']:.3f})"
    return f"{found['ratio']:.3f}{ends}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
