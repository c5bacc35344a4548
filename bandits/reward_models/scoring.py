"""Fills propensity tables: all pairs once, in length-sorted batches, with shards cached on disk."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import track

from bandits.propensity_table import PropensityTable
from bandits.reward_models.click_log import ClickLog
from bandits.reward_models.reward_model import RewardModel

FloatArray = NDArray[np.float64]

_SHARD_ROWS = 1024


def score_users_by_items(
    model: RewardModel,
    user_texts: Sequence[str],
    item_texts: Sequence[str],
    *,
    user_ids: Sequence[str] = (),
    item_ids: Sequence[str] = (),
    cache: Path | None = None,
    show_progress: bool = False,
) -> PropensityTable:
    """Click probability of every user on every item: one world.

    Args:
        model: A model fitted on a log of pairs.
        user_texts: Length U; `[""]` for one anonymous user.
        item_texts: Length K.
        user_ids: Ids of the users; `user-0 ...` by default.
        item_ids: Ids of the items; `item-0 ...` by default.
        cache: Folder for scores that are computed; a second call with the same model and texts reads them.
        show_progress: Show a progress bar.

    Raises:
        ValueError: When there are no users or no items, or when the model was fitted on tests.
    """
    if model.kind != "pairs":
        raise ValueError(
            "`model` must be fitted on a log of pairs: use `score_tests` for tests. Got one fitted on tests."
        )
    if not user_texts or not item_texts:
        raise ValueError(
            f"`user_texts` and `item_texts` must not be empty. Got {len(user_texts)} and {len(item_texts)}."
        )
    users = [user for user in user_texts for _ in item_texts]
    scores = cached_scores(model, users, list(item_texts) * len(user_texts), cache, show_progress=show_progress)
    return PropensityTable.single_world(
        model.calibrator(scores.reshape(len(user_texts), len(item_texts))),
        user_texts=tuple(user_texts),
        item_texts=tuple(item_texts),
        user_ids=tuple(user_ids),
        item_ids=tuple(item_ids),
        provenance=_provenance(model),
    )


def score_tests(
    model: RewardModel, pairs: pd.DataFrame, *, cache: Path | None = None, show_progress: bool = False
) -> PropensityTable:
    """One world per test, whose arms are its items and whose single user is anonymous.

    Scores of such a model have no level, so the mean over a world's items is anchored at the base rate of the log:
    `logit(p) = log-odds of the base rate + slope * (score - mean score in the test)`.

    Args:
        model: A model fitted on a log of tests.
        pairs: Rows of `ClickLog.pairs`, such as `split.test`.
        cache: As in `score_users_by_items`.
        show_progress: Show a progress bar.

    Raises:
        ValueError: When the model was not fitted on tests, or `pairs` holds no test.
    """
    if model.kind != "tests":
        raise ValueError(
            "`model` must be fitted on a log of tests: use `score_users_by_items`. Got one fitted on pairs."
        )
    worlds = _tests(pairs)
    items = sorted({item for texts in worlds.values() for item in texts})
    scores = dict(
        zip(items, cached_scores(model, [""] * len(items), items, cache, show_progress=show_progress), strict=True)
    )
    rates = [model.calibrator(np.array([scores[item] for item in texts])) for texts in worlds.values()]
    return _table_of_tests(worlds, rates, _provenance(model))


def observed_tests(log: ClickLog, pairs: pd.DataFrame) -> PropensityTable:
    """The same worlds as `score_tests`, with the click rates that were really observed.

    A test's rows of one item are added up over images: viewers were randomized over all of them. With some thousand
    viewers per item these rates are noisy, but free of any model.

    Args:
        log: The log that the rows are from.
        pairs: Rows of `log.pairs`, such as `split.test`.
    """
    worlds = _tests(pairs)
    total = pairs.groupby(["world", "item_text"])[["impressions", "clicks"]].sum()
    rate = total["clicks"] / total["impressions"]
    rates = [np.array([rate[world, item] for item in texts]) for world, texts in worlds.items()]
    return _table_of_tests(worlds, rates, {"log": log.content_hash, "rates": "observed"})


def cached_scores(
    model: RewardModel, users: Sequence[str], items: Sequence[str], cache: Path | None, *, show_progress: bool = False
) -> FloatArray:
    """Logits of rows of user and item text, shape (n,), computed in shards that are kept on disk.

    A shard's file is named by the hash of its content, in a folder named by the hash of the network and all texts. A
    shard that does not have its hash is reported and computed again.
    """
    rows = len(items)
    size = np.array([len(user) + len(item) for user, item in zip(users, items, strict=True)])
    order = np.argsort(size, kind="stable")
    folder = None if cache is None else cache / f"scores-{_texts_hash(model.network_fingerprint, users, items)[:20]}"
    scores = np.empty(rows)
    starts = range(0, rows, _SHARD_ROWS)
    for shard, start in enumerate(track(starts, description="scoring", disable=not show_progress, transient=True)):
        part = order[start : start + _SHARD_ROWS]
        stored = None if folder is None else _read_shard(folder, shard, len(part))
        if stored is None:
            stored = model.scores([users[row] for row in part], [items[row] for row in part])
            if folder is not None:
                _write_shard(folder, shard, stored)
        scores[part] = stored
    return scores


def _read_shard(folder: Path, shard: int, rows: int) -> FloatArray | None:
    for path in sorted(folder.glob(f"{shard:06d}-*.f64")):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:32] == path.stem.split("-")[1] and len(content) == 8 * rows:
            return np.frombuffer(content, dtype="<f8").astype(np.float64)
        warnings.warn(f"Cached scores {path} are damaged and will be computed again.", stacklevel=3)
        path.unlink()
    return None


def _write_shard(folder: Path, shard: int, scores: FloatArray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = scores.astype("<f8").tobytes()
    unfinished = folder / f"{shard:06d}.unfinished"
    unfinished.write_bytes(content)
    unfinished.replace(folder / f"{shard:06d}-{hashlib.sha256(content).hexdigest()[:32]}.f64")


def _texts_hash(fingerprint: str, users: Sequence[str], items: Sequence[str]) -> str:
    digest = hashlib.sha256(fingerprint.encode())
    digest.update(json.dumps([list(users), list(items), _SHARD_ROWS]).encode())
    return digest.hexdigest()


def _provenance(model: RewardModel) -> dict[str, str]:
    return {
        "model": model.fingerprint(),
        "network": model.network_fingerprint,
        "calibrator": model.calibrator.content_hash,
        "weights": model.info["weights"]["sha256"],
        "log": model.info["log"]["content_hash"],
    }


def _tests(pairs: pd.DataFrame) -> dict[str, list[str]]:
    worlds = {str(world): list(rows["item_text"].unique()) for world, rows in pairs.groupby("world", sort=False)}
    if not worlds or "" in worlds:
        raise ValueError(
            "`pairs` must be rows of a log of tests. Got none." if not worlds else "`pairs` must name tests."
        )
    return worlds


def _table_of_tests(
    worlds: dict[str, list[str]], rates: list[FloatArray], provenance: dict[str, str]
) -> PropensityTable:
    most = max(len(texts) for texts in worlds.values())
    p = np.zeros((len(worlds), 1, most), dtype=np.float32)
    for world, values in enumerate(rates):
        p[world, 0, : len(values)] = values
    padded = [texts + [""] * (most - len(texts)) for texts in worlds.values()]
    ids = [[f"item-{k}" if text else "" for k, text in enumerate(texts)] for texts in padded]
    return PropensityTable(
        p=p,
        user_ids=("user-0",),
        user_texts=("",),
        item_ids=np.array(ids, dtype=np.str_),
        item_texts=np.array(padded, dtype=np.str_),
        num_items=np.array([len(texts) for texts in worlds.values()], dtype=np.int64),
        world_ids=tuple(worlds),
        provenance=provenance,
    )
