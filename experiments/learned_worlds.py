"""From a click log to worlds: split, fine-tune, evaluate, score, embed; what a run folder holds is not redone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bandits import reward_models as models  # by name, so that a log is read before torch is loaded
from bandits.compiled.specialize import cache_folder
from bandits.propensity_table import PropensityTable
from experiments import provenance
from experiments.audience import Audience, late_rounds, with_null_item
from experiments.cells import file_hash, hash_of
from experiments.config import ClickLogData, ExperimentConfig, NewsroomData, UpworthyData
from experiments.members import members_of
from experiments.newsroom import Newsroom, make_newsroom
from experiments.problems import did_you_mean
from experiments.progress import Reporter
from experiments.run_folder import RunFolder

Tables = dict[str, PropensityTable]


class Source(NamedTuple):
    """A click log and where it came from.

    Attributes:
        log: The log.
        newsroom: The planted world it was sampled from; None for real logs.
        null_rate: Click rate where nothing is shown; None where that is not simulated.
    """

    log: models.ClickLog
    newsroom: Newsroom | None
    null_rate: float | None


def prepare_learned_worlds(config: ExperimentConfig, run: RunFolder, reporter: Reporter) -> tuple[Tables, Audience]:
    """Propensity tables by kind of world, the one that the report is about first, and what policies see.

    Raises:
        FileNotFoundError: When the log or BERT's weights are not there.
        ValueError: When the log cannot be used, or the model's level is for certain outside its band.
    """
    key = _inputs_hash(config)
    if stored := _stored(run, key, reporter):
        reporter.say("Reward model, tables and features are there and intact")
        return stored
    fit = config.reward_model
    assert fit is not None
    with reporter.stage("Reading the click log"):
        source = read_source(config)
        split = models.split_log(source.log, seed=fit.seed)
    with reporter.stage("Fitting the reward model"):
        model = models.fit_reward_model(
            source.log, split, fit, cache=cache_folder(), show_progress=reporter.on_terminal
        )
    with reporter.stage("Evaluating it on held-out rows"):
        evaluation = models.evaluate(model, split, fit.evaluation, segments=config.world.segments)
        model.save(run.path / "reward_model", evaluation=evaluation)
        if config.world.kinds is None or "model" in config.world.kinds:
            played = evaluation["members"] if config.world.members else [evaluation["calibration"]]
            for one in played:
                require_band(one["overall"], fit.evaluation.band)
    with reporter.stage("Filling the propensity table"):
        tables = _tables(config, source, split, model, reporter)
        scored = {name: tables["model"].provenance[name] for name in ("precision", "scored")}
        reporter.say(f"  {scored['scored']}")
    with reporter.stage("Embedding texts for the policies"):
        encoder = config.world.encoder or fit.weights
        kind, table = next(iter(tables.items()))
        user, arms = models.table_features(table, weights=encoder, dim=config.world.features)
        arms = arms[:: members_of(config, kind)]  # the items of a test are those of all its members' worlds
    weights, late, null_item = _weights(config, source.log, tables), _late(config, source), None
    if source.null_rate is not None:
        tables = {kind: with_null_item(table, source.null_rate) for kind, table in tables.items()}
        null_item = arms.shape[1]
        arms = np.concatenate([arms, np.zeros((len(arms), 1, arms.shape[2]))], axis=1)
    audience = Audience(user, arms, weights, late, null_item)
    made = {"info": model.info, "scoring": scored, "encoder": encoder, "fingerprint": model.fingerprint()}
    run.write_json("model", evaluation | made)
    _store(run, key, tables, audience)
    return tables, audience


def require_band(overall: Mapping[str, float | None], band: Sequence[float] | None) -> None:
    """Refuse a world whose observed over predicted clicks are for certain outside `band`.

    Args:
        overall: `ratio` and the ends `low`, `high` of its interval; where these are None the ratio alone decides.
        band: Its two ends; None lets everything pass.

    Raises:
        ValueError: When all of the interval lies below the band, or above it.
    """
    ratio, low, high = (overall[name] for name in ("ratio", "low", "high"))
    if band is None or ratio is None:
        return
    ends = (ratio, ratio) if low is None or high is None else (low, high)
    if ends[0] > band[1] or ends[1] < band[0]:
        raise ValueError(
            f"The reward model's observed over predicted clicks must lie in `reward_model.evaluation.band`, "
            f"{band[0]:g} to {band[1]:g}, as far as held-out rows can tell. Got {ratio:.3f} (95 percent interval "
            f"{ends[0]:.3f} to {ends[1]:.3f}): click rates of such a world are wrong. Its numbers are in "
            "reward_model/README.md of the run folder; `--set reward_model.evaluation.band=null` with another --out "
            "simulates all the same."
        )


def read_source(config: ExperimentConfig) -> Source:
    """The click log of an experiment that learns from one.

    Raises:
        FileNotFoundError: When it is not there.
        ValueError: When it cannot be used.
    """
    data, nothing = config.data, config.world.no_recommendation
    if isinstance(data, NewsroomData):
        newsroom = make_newsroom(data.seed, data.users, data.headlines)
        frame = newsroom.sample_log(data.impressions, data.seed)
        log = models.click_log_from_frame(frame, name="newsroom")
        return Source(log, newsroom, None if nothing is None else float(nothing))
    assert isinstance(data, ClickLogData | UpworthyData)
    assert data.path is not None
    if isinstance(data, UpworthyData):
        log = models.read_click_log(data.path, format="upworthy", faulty_weeks=data.faulty_weeks)
    else:
        log = models.read_click_log(
            data.path,
            format=data.format,
            watch_ratio=data.watch_ratio,
            tabs=data.tabs,
            numbers=data.numbers,
            embeddings=data.embeddings,
            user_numbers=data.user_numbers,
            user_embeddings=data.user_embeddings,
            conversions=data.conversions,
            value=data.value,
        )
    if not isinstance(nothing, str):
        return Source(log, None, nothing)
    empty = log.rows["item_text"] == nothing
    if not log.rows["impressions"][empty].sum():
        raise ValueError(
            f"`world.no_recommendation` must be an item text with impressions in {log.name}, or a number. "
            f"Got {nothing!r}. {did_you_mean(nothing, log.items)}"
        )
    rate = float(log.rows["clicks"][empty].sum() / log.rows["impressions"][empty].sum())
    return Source(replace(log, rows=log.rows[~empty]), None, rate)


def _tables(
    config: ExperimentConfig, source: Source, split: models.Split, model: models.AnyRewardModel, reporter: Reporter
) -> Tables:
    log, newsroom, _ = source
    assert config.reward_model is not None
    by_member = config.world.members
    how: dict[str, Any] = {
        "scoring": config.reward_model.scoring,
        "cache": cache_folder(),
        "show_progress": reporter.on_terminal,
    }
    if newsroom is not None:
        true = newsroom.true_table()
        items = [str(text) for text in true.item_texts[0]]
        ids: dict[str, Any] = {"user_ids": true.user_ids, "item_ids": newsroom.item_ids}
        score = partial(models.score_users_by_items, user_texts=true.user_texts, item_texts=items, **ids, **how)
        return {"model": _model_table(model, score, by_member=by_member), "planted": true}
    if log.kind == "tests":
        score = partial(models.score_tests, pairs=split.test, **how)
        observed = models.observed_tests(log, split.test)
        return {"model": _model_table(model, score, by_member=by_member), "observed": observed}
    users = log.users or ("",)
    limit = config.data.max_users if isinstance(config.data, ClickLogData) else len(users)
    if len(users) > limit:
        reporter.say(f"  {limit:,} of {len(users):,} users are drawn at random to be simulated (`data.max_users`)")
        drawn = np.random.default_rng(config.seed).choice(len(users), size=limit, replace=False)
        users = tuple(users[row] for row in np.sort(drawn))
    score = partial(models.score_users_by_items, user_texts=users, item_texts=log.items, **how)
    return {"model": _model_table(model, score, by_member=by_member)}


def _model_table(
    model: models.AnyRewardModel, score: Callable[[models.AnyRewardModel], PropensityTable], *, by_member: bool
) -> PropensityTable:
    """What the model believes; or the beliefs of its members side by side."""
    if not by_member or not isinstance(model, models.RewardEnsemble):
        return score(model)
    return PropensityTable.interleaved({f"member-{m}": score(member) for m, member in enumerate(model.members)})


def _weights(config: ExperimentConfig, log: models.ClickLog, tables: Tables) -> np.ndarray | None:
    if config.world.arrival == "uniform":
        return None
    impressions = log.pairs.groupby("user_text")["impressions"].sum()
    users = next(iter(tables.values())).user_texts
    return np.array([float(impressions.get(text, 0.0)) for text in users])


def _late(config: ExperimentConfig, source: Source) -> tuple[tuple[str, int], ...]:
    late = late_rounds(config)
    if source.newsroom is not None and isinstance(config.data, NewsroomData) and config.data.late_arrival > 0:
        item = source.newsroom.item_ids[source.newsroom.late_item]
        late += ((item, round(config.data.late_arrival * config.simulation.horizon)),)
    return late


def _inputs_hash(config: ExperimentConfig) -> str:
    """Hash of what the worlds are made from: settings, the log's bytes, and the code that reads and fits."""
    described = config.model_dump(mode="json", include={"seed", "data", "reward_model", "world"})
    described["horizon"] = config.simulation.horizon
    if isinstance(config.data, ClickLogData | UpworthyData):
        format = "upworthy" if isinstance(config.data, UpworthyData) else config.data.format
        files = models.log_source_files(str(config.data.path), format)
        described["files"] = [file_hash(file) for file in files]
    fit = config.reward_model
    for name in (fit.weights if fit else None, config.world.encoder):
        described |= weights_in(name)
    if fit and fit.teacher:
        described |= weights_in(fit.teacher, "reward_model.json")
    return hash_of([described, provenance.modeling_hash()])


def weights_in(name: str | None, file: str = "model.safetensors") -> dict[str, str]:
    """Hash of the weights where `name` is a folder: its content may change, while a model's name says it all."""
    if name and (path := Path(name) / file).is_file():
        return {f"weights in {name}": file_hash(path)}
    return {}


def _store(run: RunFolder, key: str, tables: Tables, audience: Audience) -> None:
    for kind, table in tables.items():
        run.save_table(kind, table)
    arrays: dict[str, Any] = {
        "user_features": audience.user_features,
        "arm_features": audience.arm_features,
        "weights": audience.weights,
    }
    np.savez(run.features_file, **{name: array for name, array in arrays.items() if array is not None})
    content = {
        "inputs": key,
        "tables": {kind: table.content_hash for kind, table in tables.items()},
        "features": file_hash(run.features_file),
        "late_items": [list(late) for late in audience.late_items],
        "null_item": audience.null_item,
    }
    run.write_json("prepared", content)


def _stored(run: RunFolder, key: str, reporter: Reporter) -> tuple[Tables, Audience] | None:
    """What an earlier run of the same inputs prepared; None when there is nothing, or when it is damaged."""
    prepared = run.read_json("prepared")
    if prepared.get("inputs") != key:
        return None
    try:
        tables = {kind: PropensityTable.load(run.table_folder(kind)) for kind in prepared["tables"]}
        if {kind: table.content_hash for kind, table in tables.items()} != prepared["tables"]:
            raise ValueError("a table is not the one that was stored.")
        if file_hash(run.features_file) != prepared["features"]:
            raise ValueError(f"{run.features_file.name} does not have the hash that was stored.")
    except (OSError, ValueError, KeyError) as error:
        reporter.warn(f"the stored tables cannot be used and are made again: {error}")
        return None
    with np.load(run.features_file) as arrays:
        audience = Audience(
            arrays["user_features"],
            arrays["arm_features"],
            arrays.get("weights"),
            tuple((str(item), int(start)) for item, start in prepared["late_items"]),
            prepared["null_item"],
        )
    return tables, audience
