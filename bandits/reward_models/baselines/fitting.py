"""Fits every baseline that suits a log."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from bandits.reward_models.baselines.boosting import BoostedClicks
from bandits.reward_models.baselines.embeddings import EmbeddingFeatures
from bandits.reward_models.baselines.factorization import FactorizedClicks, OneHot
from bandits.reward_models.baselines.item_rate import ItemRates
from bandits.reward_models.baselines.linear import LinearClicks, LinearWithinTests
from bandits.reward_models.baselines.rows import ClickBaseline, WithinTestsBaseline
from bandits.reward_models.baselines.tfidf import TfidfClicks, TfidfWithinTests

MAX_ROWS = 100_000
TFIDF = "TF-IDF + logistic regression"
EMBEDDINGS = "embeddings + logistic regression"
ITEM_RATE, BOOSTING = "item rate", "embeddings + boosted trees"
FACTORIZATION, TOWERS = "matrix factorization", "two towers"


class Parts(NamedTuple):
    """Rows of `ClickLog.pairs` that baselines are made from.

    Attributes:
        train: Rows to fit.
        validation: Rows to choose penalties and numbers of trees by.
        asked: All further rows that predictions will be asked for.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    asked: pd.DataFrame


def click_baselines(
    parts: Parts, *, weights: str, device: str = "auto", seed: int = 0
) -> tuple[dict[str, ClickBaseline], dict[str, str]]:
    """Baselines of a log of pairs, the simpler first.

    Args:
        parts: The rows.
        weights: Encoder of the embeddings, as in `resolve_weights`.
        device: As in `FitConfig`.
        seed: Of what is random in them.

    Returns:
        Name to fitted baseline, and name to the reason why one was left out.
    """
    train, validation, asked = parts
    features = EmbeddingFeatures(train, validation, asked, weights=weights, device=device)
    fitted: dict[str, ClickBaseline] = {
        ITEM_RATE: ItemRates(train),
        TFIDF: TfidfClicks(train, validation),
        EMBEDDINGS: LinearClicks(features, train, validation),
        BOOSTING: BoostedClicks(features, train, validation, seed=seed),
    }
    if not features.has_users:
        return fitted, dict.fromkeys((FACTORIZATION, TOWERS), "the log has no users")
    names = OneHot(train["user_text"]), OneHot(train["item_text"])
    fitted[FACTORIZATION] = FactorizedClicks(*names, train, validation, seed=seed)
    fitted[TOWERS] = FactorizedClicks(features.of_texts, features.of_texts, train, validation, seed=seed)
    return fitted, {}


def within_test_baselines(
    parts: Parts, *, overdispersion: float, weights: str, device: str = "auto"
) -> tuple[dict[str, WithinTestsBaseline], dict[str, str]]:
    """Baselines of a log of tests; arguments and results as for `click_baselines`.

    Args:
        parts: The rows.
        overdispersion: As in `FitConfig`.
        weights: Encoder of the embeddings.
        device: As in `FitConfig`.
    """
    train, validation, asked = parts
    features = EmbeddingFeatures(train, validation, asked, weights=weights, device=device)
    fitted: dict[str, WithinTestsBaseline] = {
        TFIDF: TfidfWithinTests(train, validation, overdispersion=overdispersion),
        EMBEDDINGS: LinearWithinTests(features, train, validation, overdispersion=overdispersion),
    }
    return fitted, {
        ITEM_RATE: "held-out items are new, so it says that they do not differ",
        BOOSTING: "scikit-learn's trees have no likelihood of differences inside a test",
        FACTORIZATION: "the log has no users",
        TOWERS: "the log has no users",
    }
