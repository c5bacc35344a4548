"""The world that the model makes of held-out users or tests, and the real one beside it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bandits import reward_models as models
from bandits.compiled.specialize import cache_folder
from bandits.core import FloatArray
from bandits.propensity_table import PropensityTable
from experiments.newsroom import Newsroom
from experiments.validation.config import ValidationConfig
from experiments.validation.held_out import HeldOut


class Worlds(NamedTuple):
    """Two tables of the same users and items.

    Attributes:
        model: Click probabilities as the model has them.
        real: As they really are; None where nobody knows.
        truth: Where `real` comes from, or why it is missing.
        user_features: What policies see of users, shape (U, D).
        arm_features: What they see of items, shape (W, K, E).
    """

    model: PropensityTable
    real: PropensityTable | None
    truth: str
    user_features: FloatArray
    arm_features: FloatArray


def make_worlds(
    model: models.AnyRewardModel,
    log: models.ClickLog,
    data: HeldOut,
    newsroom: Newsroom | None,
    config: ValidationConfig,
) -> Worlds:
    """Worlds in which policies can be compared.

    * A log of tests: each held-out test is a world; real are its observed click rates.
    * The newsroom: held-out readers and all headlines; real is the planted truth.
    * Another log of pairs: held-out users for whom every item's reward was observed, as often as that happened; without
      enough of them there is no real world, and the model's is made of the users that there are.

    Args:
        model: The model.
        log: The log.
        data: Its held-out rows.
        newsroom: The planted world behind the log, if any.
        config: How many worlds or users at most, and which encoder makes features.
    """
    random = np.random.default_rng([config.seed, 3])
    if data.kind == "tests":
        made, real, truth = _of_tests(model, log, data, config, random)
    else:
        made, real, truth = _of_pairs(model, data, newsroom, config, random)
    user, arms = models.table_features(made, weights=config.encoder, dim=config.features)
    return Worlds(made, real, truth, user, arms)


def _of_tests(
    model: models.AnyRewardModel,
    log: models.ClickLog,
    data: HeldOut,
    config: ValidationConfig,
    random: np.random.Generator,
) -> tuple[PropensityTable, PropensityTable | None, str]:
    tests = data.rows["world"].unique()
    drawn = random.permutation(len(tests))[: config.max_worlds]
    rows = data.rows[data.rows["world"].isin(tests[np.sort(drawn)])]
    shown = rows.groupby(["world", "item_text"])["impressions"].sum()
    truth = (
        f"observed click rates of {len(drawn):,} held-out tests (median {shown.median():,.0f} impressions an item), "
        "which are noisy: differences between items look larger than they are"
    )
    return models.score_tests(model, rows, cache=cache_folder()), models.observed_tests(log, rows), truth


def _of_pairs(
    model: models.AnyRewardModel,
    data: HeldOut,
    newsroom: Newsroom | None,
    config: ValidationConfig,
    random: np.random.Generator,
) -> tuple[PropensityTable, PropensityTable | None, str]:
    items = data.rows["item_text"].unique().tolist()
    users = data.rows["user_text"].unique()
    if newsroom is not None:
        planted = newsroom.true_table()
        items = [str(text) for text in planted.item_texts[0]]
        places = [place for place, text in enumerate(planted.user_texts) if text in set(users)][: config.max_users]
        chosen = [planted.user_texts[place] for place in places]
        truth = f"the planted click probabilities of {len(chosen):,} held-out readers"
        return (
            _scored(model, chosen, items),
            _real(planted.p[0, places].astype(np.float64), chosen, items, "planted"),
            truth,
        )
    shown = data.rows.groupby("user_text").size()  # no table of all users and items, which may not fit into memory
    complete = shown.index[shown == len(items)]
    if len(complete) < config.min_users:
        truth = (
            f"unknown: {len(complete):,} of {len(users):,} held-out users were shown every one of the {len(items):,} "
            f"items, and at least {config.min_users} are needed"
        )
        chosen = users[np.sort(random.permutation(len(users))[: config.max_users])].tolist()
        return _scored(model, chosen, items), None, truth
    chosen = complete[np.sort(random.permutation(len(complete))[: config.max_users])].tolist()
    rows = data.rows[data.rows["user_text"].isin(chosen)]
    rows = rows.assign(rate=rows["clicks"] / rows["impressions"])
    rates = rows.pivot(index="user_text", columns="item_text", values="rate").loc[chosen, items].to_numpy(np.float64)
    truth = f"what {len(chosen):,} held-out users did when they were shown each of the {len(items):,} items"
    return _scored(model, chosen, items), _real(rates, chosen, items, "observed"), truth


def _scored(model: models.AnyRewardModel, users: list[str], items: list[str]) -> PropensityTable:
    return models.score_users_by_items(model, users, items, cache=cache_folder())


def _real(p: FloatArray, users: list[str], items: list[str], what: str) -> PropensityTable:
    return PropensityTable.single_world(p, user_texts=tuple(users), item_texts=tuple(items), provenance={"rates": what})
