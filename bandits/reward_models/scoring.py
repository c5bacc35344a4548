"""Fills propensity tables: every pair once, in length-sorted batches, with shards cached on disk."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bandits.memory import array_bytes, require_memory
from bandits.propensity_table import PropensityTable
from bandits.reward_models.click_log import ClickLog
from bandits.reward_models.ensemble import AnyRewardModel, RewardEnsemble
from bandits.reward_models.fit_config import ScoringConfig
from bandits.reward_models.inference import Precision
from bandits.reward_models.pair_tokens import PairTokens
from bandits.reward_models.precision import choose_precision
from bandits.reward_models.reward_model import RewardModel
from bandits.reward_models.score_shards import ScoreShards

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_SHARD_BATCHES = 32
_BYTES_PER_PAIR = 64  # two numbers of texts, the order, scores, their mean, and what calibration makes of them


def score_users_by_items(
    model: AnyRewardModel,
    user_texts: Sequence[str],
    item_texts: Sequence[str],
    *,
    user_ids: Sequence[str] = (),
    item_ids: Sequence[str] = (),
    scoring: ScoringConfig | None = None,
    cache: Path | None = None,
    show_progress: bool = False,
) -> PropensityTable:
    """Click probability of every user on every item: one world.

    Args:
        model: A model, or an ensemble, fitted on a log of pairs. An ensemble's table is that of its mean score; the
            world that one member believes in is the table of that member.
        user_texts: Length U; `[""]` for one anonymous user.
        item_texts: Length K.
        user_ids: Ids of the users; `user-0 ...` by default.
        item_ids: Ids of the items; `item-0 ...` by default.
        scoring: In which precision; `ScoringConfig()` by default. The table's provenance says what was chosen and why.
        cache: Folder for scores that are computed; a second call with the same model and texts reads them.
        show_progress: Show a progress bar.

    Raises:
        ValueError: When there are no users or no items, when the table does not fit into memory, or when the model was
            fitted on tests.
    """
    if model.kind != "pairs":
        raise ValueError(
            "`model` must be fitted on a log of pairs: use `score_tests` for tests. Got one fitted on tests."
        )
    if not user_texts or not item_texts:
        raise ValueError(
            f"`user_texts` and `item_texts` must not be empty. Got {len(user_texts)} and {len(item_texts)}."
        )
    shape = len(user_texts), len(item_texts)
    require_memory(
        f"Scores of {shape[0]:,} users and {shape[1]:,} items", array_bytes([shape], itemsize=_BYTES_PER_PAIR)
    )
    scores, provenance = _scored(model, user_texts, item_texts, scoring, cache, show_progress)
    return PropensityTable.single_world(
        model.calibrator(scores.reshape(shape)),
        user_texts=tuple(user_texts),
        item_texts=tuple(item_texts),
        user_ids=tuple(user_ids),
        item_ids=tuple(item_ids),
        provenance=provenance,
    )


def score_tests(
    model: AnyRewardModel,
    pairs: pd.DataFrame,
    *,
    scoring: ScoringConfig | None = None,
    cache: Path | None = None,
    show_progress: bool = False,
) -> PropensityTable:
    """One world per test, whose arms are its items and whose single user is anonymous.

    Scores of such a model have no level, so the mean over a world's items is anchored at the base rate of the log:
    `logit(p) = log-odds of the base rate + slope * (score - mean score in the test)`.

    Args:
        model: A model, or an ensemble, fitted on a log of tests; as in `score_users_by_items`.
        pairs: Rows of `ClickLog.pairs`, such as `split.test`.
        scoring: As in `score_users_by_items`.
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
    logits, provenance = _scored(model, [""], items, scoring, cache, show_progress)
    scores = dict(zip(items, logits, strict=True))
    rates = [model.calibrator(np.array([scores[item] for item in texts])) for texts in worlds.values()]
    return _table_of_tests(worlds, rates, provenance)


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


def score_pairs(
    model: RewardModel, pairs: PairTokens, precision: Precision, cache: Path | None, *, show_progress: bool = False
) -> FloatArray:
    """Logits of all rows, shape (n,), in shards that are kept on disk.

    The shards lie in a folder named by the hash of network, tokens, precision, kind of device and batches, so that
    numbers of different origin never mix. A shard that does not have its hash is reported and computed again.
    """
    batches, inference = model.network.batches(pairs), None
    digest = hashlib.sha256(f"{model.network_fingerprint} {pairs.content_hash} {_SHARD_BATCHES}\n".encode())
    digest.update(f"{precision} {model.network.device.type}\n".encode() + batches.ends.tobytes())
    shards = None if cache is None else ScoreShards(cache / f"scores-{digest.hexdigest()[:20]}")
    scores = np.empty(len(batches.order))
    with _progress(pairs, show_progress) as advance:
        for shard, first in enumerate(range(0, len(batches), _SHARD_BATCHES)):
            parts = batches.rows(first, first + _SHARD_BATCHES)
            rows = np.concatenate(parts)
            stored = None if shards is None else shards.read(shard, len(rows))
            if stored is None:
                inference = inference or model.network.inference(precision)
                stored = inference.logits(pairs, parts)
                if shards is not None:
                    shards.write(shard, stored)
            scores[rows] = stored
            advance(rows)
    return scores


@contextmanager
def _progress(pairs: PairTokens, show: bool) -> Iterator[Callable[[IntArray], None]]:
    """A bar that counts tokens, because short pairs come first, and tells pairs and their rate."""
    columns = TextColumn("scoring"), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(*columns, disable=not show, transient=True) as progress:
        bar = progress.add_task("", total=int(pairs.lengths.sum()))
        started, done = time.perf_counter(), 0

        def advance(rows: IntArray) -> None:
            nonlocal done
            done += len(rows)
            rate = done / (time.perf_counter() - started)
            text = f"{done:,} of {len(pairs.item):,} pairs, {rate:,.0f} a second"
            progress.update(bar, advance=int(pairs.lengths[rows].sum()), description=text)

        yield advance


def _scored(
    model: AnyRewardModel,
    user_texts: Sequence[str],
    item_texts: Sequence[str],
    scoring: ScoringConfig | None,
    cache: Path | None,
    show_progress: bool,
) -> tuple[FloatArray, dict[str, str]]:
    """Scores of every user with every item, shape (U K,), and the provenance of a table made of them.

    Members of an ensemble are scored one after another, each in shards of its own.
    """
    members = model.members if isinstance(model, RewardEnsemble) else (model,)
    total, precisions, reasons = np.zeros(len(user_texts) * len(item_texts)), [], []
    for member in members:
        pairs = member.network.pair_tokenizer.product(user_texts, item_texts)
        choice = choose_precision(member, pairs, scoring or ScoringConfig())
        total += score_pairs(member, pairs, choice.precision, cache, show_progress=show_progress)
        precisions.append(choice.precision)
        reasons.append(choice.reason)
    return total / len(members), {
        "model": model.fingerprint(),
        "network": model.network_fingerprint,
        "calibrator": model.calibrator.content_hash,
        "weights": model.info["weights"]["sha256"],
        "log": model.info["log"]["content_hash"],
        "precision": " and ".join(sorted(set(precisions))),
        "scored": "; ".join(dict.fromkeys(reasons)),
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
