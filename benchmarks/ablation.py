"""Ways to fit the reward model, one table: each changes one thing, on one split, beside full fine-tuning.

`python -m benchmarks.ablation newsroom` or `python -m benchmarks.ablation upworthy --set data.path=FILE.csv`; `--rows`
fits some of the variants only, `--write docs` puts the table into `fine-tuning.md`. Fits are cached and interrupted
ones go on, so that the command can be repeated until the table is complete.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.compiled.specialize import cache_folder
from bandits.reward_models import AnyRewardModel, ClickLog, FitConfig, Split, fit_reward_model, split_log
from bandits.reward_models.baselines import FactorizedClicks, OneHot, contrasts, counts
from bandits.reward_models.column_layers import EmbeddingsEnter
from bandits.reward_models.comparison import (
    lead_in_conditional_loss,
    lead_in_log_loss,
    lead_in_pairwise_accuracy,
)
from bandits.reward_models.metrics import log_loss, pairwise_accuracy
from bandits.reward_models.split import whole_groups
from bandits.reward_models.text_columns import SIDES, PairColumns, TextColumns
from bandits.reward_models.verdict import lead_in_words
from bandits.reward_models.within_test import conditional_log_loss
from benchmarks.measure import Settings, say
from benchmarks.report import conditions, replace_section, section_of, table
from benchmarks.text_variants import continued, read_synonyms, reads_capitals, said_otherwise, with_synonyms
from experiments.config import load_config
from experiments.learned_worlds import read_source

FloatArray = NDArray[np.float64]

FULL = "full"
SYNONYMS = Path(__file__).with_name("synonyms.csv")


class Setting(NamedTuple):
    """What a variant is fitted on and how."""

    log: ClickLog
    split: Split
    config: FitConfig

    def changed(self, **changes: Any) -> Setting:
        """With other values in the config."""
        return self._replace(config=FitConfig(**(self.config.model_dump() | changes)))


class Held(NamedTuple):
    """What a model says of the test rows, and how it was fitted."""

    scores: FloatArray  # click rates for a log of pairs, calibrated log-odds inside tests
    info: Mapping[str, Any]


# Adapters and heads want a higher learning rate than all weights; a head alone costs next to nothing an epoch.
CHANGES: dict[str, dict[str, Any]] = {
    FULL: {},
    "head": {"tuning": "head", "learning_rate": 1e-2, "epochs": 20},
    "lora": {"tuning": "lora", "learning_rate": 1e-3},
    "lora-all": {"tuning": "lora", "learning_rate": 1e-3, "targets": ["query", "key", "value", "dense"]},
    "adalora": {"tuning": "adalora", "learning_rate": 2e-3},
    "prefix": {"tuning": "prefix", "learning_rate": 5e-3},
    "ia3": {"tuning": "ia3", "learning_rate": 5e-3},
    "embeddings": {"freeze_embeddings": False},
    "freeze-layers": {"freeze_layers": 3},
    "layer-decay": {"layer_decay": 0.8},
    "slower": {"learning_rate": 5e-5},
    "cosine": {"schedule": "cosine"},
    "constant": {"schedule": "constant"},
    "plateau": {"schedule": "plateau"},
    "no-warmup": {"warmup": 0.0},
    "weight-decay": {"weight_decay": 0.1},
    "no-dropout": {"dropout": 0.0},
    "accumulation": {"accumulation": 4},
    "average": {"average_weights": True},
    "first": {"pooling": "first"},
    "pooler": {"pooling": "pooler"},
    "members": {"members": 3},
}
TESTS_ONLY: dict[str, dict[str, Any]] = {"both": {"loss": "both"}, "no-overdispersion": {"overdispersion": 0.0}}
USERS_ONLY: dict[str, dict[str, Any]] = {"bi": {"architecture": "bi"}}


def variants(log: ClickLog, teacher: Path, synonyms: Mapping[str, str]) -> dict[str, Callable[[Setting], Setting]]:
    """What each variant does to the setting of full fine-tuning, `full` first.

    Args:
        log: Of whose kind some variants depend.
        teacher: Where the fitted `full` will lie.
        synonyms: Words and what may stand in their place.
    """
    changes = CHANGES | (TESTS_ONLY if log.kind == "tests" else {}) | (USERS_ONLY if log.users else {})
    if log.users:
        changes |= {"bi-distilled": {"architecture": "bi", "teacher": str(teacher)}}
        changes |= {"bi-distilled-more": {"architecture": "bi", "teacher": str(teacher), "teacher_pairs": 20_000}}
    found: dict[str, Callable[[Setting], Setting]] = {
        name: partial(Setting.changed, **change) for name, change in changes.items()
    }
    if log.users:
        found |= {f"stacked-{enter}": partial(stacked, enter=enter) for enter in get_args(EmbeddingsEnter)}
    return found | {
        "continued": _continued,
        "synonyms": lambda setting: _otherwise(setting, partial(with_synonyms, synonyms=synonyms)),
        "case": _small_letters,
    }


def stacked(setting: Setting, enter: EmbeddingsEnter) -> Setting:
    """With the vectors of a matrix factorization of the training rows as embeddings of users and items.

    Who is not in these rows gets their mean.
    """
    setting = _trained_on(setting)
    log, train = setting.log, setting.split.train
    if log.columns is not None:
        raise ValueError("the log has columns of its own, so that two things would change.")
    names = OneHot(train["user_text"]), OneHot(train["item_text"])
    base = FactorizedClicks(*names, train, setting.split.validation, seed=setting.config.seed)
    sides = []
    for side, texts, vectors in zip(SIDES, (log.users, log.items), base.vectors(log.users, log.items), strict=True):
        rows = pd.Index(texts).get_indexer(pd.Index(train[f"{side}_text"]))
        unknown = np.setdiff1d(np.arange(len(texts)), rows)
        vectors[unknown] = vectors[rows].mean(axis=0)
        sides.append(TextColumns(side, texts, vectors, (), {f"{side} factors": vectors.shape[1]}))
    columns = PairColumns(tuple(sides))
    return setting._replace(log=replace(log, columns=columns)).changed(embeddings_enter=enter)


def _trained_on(setting: Setting) -> Setting:
    """The setting with its training rows already chosen."""
    config = setting.config
    rows = whole_groups(setting.split.train, setting.split.by, config.max_train_rows, config.seed)
    return setting._replace(split=replace(setting.split, train=rows)).changed(max_train_rows=None)


def _texts(rows: pd.DataFrame) -> list[str]:
    return sorted({*rows["user_text"], *rows["item_text"]} - {""})


def _continued(setting: Setting) -> Setting:
    config, texts = setting.config, _texts(_trained_on(setting).split.train)
    how: dict[str, Any] = {"max_length": config.max_length, "device": config.device, "seed": config.seed}
    return setting.changed(weights=str(continued(config.weights, texts, cache_folder(), **how)), sha256=None)


def _otherwise(setting: Setting, change: Callable[[str], str]) -> Setting:
    setting = _trained_on(setting)
    return setting._replace(split=said_otherwise(setting.split, change))


def _small_letters(setting: Setting) -> Setting:
    if not reads_capitals(setting.config.weights, _texts(setting.split.train)):
        raise ValueError(f"{setting.config.weights} reads no capitals, so that nothing would change.")
    return _otherwise(setting, str.lower)


def fitted(setting: Setting) -> AnyRewardModel:
    """The model, from the cache where it has been fitted before."""
    return fit_reward_model(setting.log, setting.split, setting.config, cache=cache_folder())


def held(model: AnyRewardModel, split: Split) -> Held:
    """What it says of the test rows."""
    scores = model.scores(split.test["user_text"].tolist(), split.test["item_text"].tolist())
    calibrated = model.calibrator(scores) if model.kind == "pairs" else model.calibrator.slope * scores
    return Held(calibrated, model.info)


def held_out(found: Mapping[str, Held], log: ClickLog, split: Split) -> str:
    """The table: a row for each variant, leads over `full` with 95 percent intervals over what the split kept whole."""
    rows, full = split.test, found[FULL]
    shown = counts(rows)
    units = rows[split.by].tolist()
    contrast = contrasts(rows)
    fields = ["variant", "weights trained", "of those of `full`", "seconds", "validation loss"]
    fields += (
        ["log loss", "lead over `full`"]
        if log.kind == "pairs"
        else ["loss per click", "lead", "pairwise accuracy", "lead", "of pairs with p < 0.05", "lead"]
    )
    lines = []
    for name, one in found.items():
        trained = one.info["parameters"]["trained"] * one.info.get("members", 1)
        share = trained / full.info["parameters"]["trained"]
        best = np.mean(best_losses(one.info["history"]))
        line = [name, f"{trained:,}", f"{share:.2%}", f"{one.info['seconds']['training']:.0f}", f"{best:.5f}"]
        if log.kind == "pairs":
            leads = [lead_in_log_loss(one.scores, full.scores, *shown, units)]
            values: list[float | None] = [log_loss(one.scores, *shown)]
        else:
            lead_in_accuracy = partial(lead_in_pairwise_accuracy, one.scores, full.scores, *shown, contrast, units)
            leads = [
                lead_in_conditional_loss(one.scores, full.scores, *shown, contrast, units),
                lead_in_accuracy(),
                lead_in_accuracy(significant=True),
            ]
            accuracy = pairwise_accuracy(one.scores, *shown, contrast)
            loss = conditional_log_loss(one.scores, *shown, contrast)
            values = [loss, accuracy.accuracy, accuracy.accuracy_significant]
        for value, lead in zip(values, leads, strict=True):
            line += ["–" if value is None else f"{value:.5f}", "–" if one is full else lead_in_words(asdict(lead))]
        lines.append(line)
    return table(fields, lines)


def best_losses(history: Sequence[Mapping[str, float]]) -> list[float]:
    """The lowest validation loss of each member.

    >>> best_losses([{"validation_loss": 2.0}, {"validation_loss": 1.5}])
    [1.5]
    """
    found: dict[float, float] = {}
    for epoch in history:
        member = epoch.get("member", 0)
        found[member] = min(found.get(member, float("inf")), epoch["validation_loss"])
    return list(found.values())


def changes_in_words(names: Sequence[str]) -> str:
    """What the named variants change in the config, one line each."""
    changes = CHANGES | TESTS_ONLY | USERS_ONLY
    lines = [
        f"* `{name}`: " + ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in changes[name].items())
        for name in names
        if changes.get(name)
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", nargs="?", default="newsroom", help="config with the log (default: newsroom)")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--rows", nargs="+", metavar="VARIANT", help="default: all")
    parser.add_argument("--synonyms", type=Path, default=SYNONYMS, help="CSV with the columns word,synonym")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="folder with fine-tuning.md")
    options = parser.parse_args(arguments)
    config = load_config(options.experiment, options.overrides).config
    assert config.reward_model is not None
    file, part = (options.write or Path()) / "fine-tuning.md", f"ablation on {config.name}"
    if options.write:
        section_of(part, file)
    log = read_source(config).log
    plain = Setting(log, split_log(log, seed=config.reward_model.seed), config.reward_model)
    found, left_out = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        teacher = Path(folder) / "teacher"
        known = variants(log, teacher, read_synonyms(options.synonyms))
        if unknown := set(options.rows or ()) - known.keys():
            parser.error(f"VARIANT must be one of {', '.join(known)}. Got {', '.join(sorted(unknown))}.")
        for name, change in known.items():
            if options.rows and name not in (FULL, *options.rows):
                continue
            say(f"{name} ...")
            try:
                model = fitted(change(plain))
            except (ModuleNotFoundError, ValueError) as error:
                if name == FULL:
                    raise
                left_out[name] = str(error)
                continue
            found[name] = held(model, plain.split)
            if name == FULL:
                model.save(teacher)
    where = conditions(Settings(runs=1, seconds=0.0, images=None)).partition(" Medians")[0]
    size = f"{len(plain.split.test):,} test rows of {plain.split.test[plain.split.by].nunique():,} `{plain.split.by}`"
    parts = [f"{where} {size}.", held_out(found, log, plain.split), changes_in_words(list(found))]
    parts += ["\n".join(f"* `{name}` was left out: {reason}" for name, reason in left_out.items())]
    text = "\n\n".join(part for part in parts if part)
    print(text)
    if options.write:
        replace_section(part, file, text + "\n")


if __name__ == "__main__":
    main()
