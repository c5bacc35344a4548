"""Logistic factorization: gradients, planted tastes, and texts that nobody has seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit, logit

from bandits.reward_models.baselines import FactorizedClicks, ItemRates, OneHot, counts
from bandits.reward_models.baselines.factorization import _Sides
from bandits.reward_models.metrics import log_loss

TASTES = np.random.default_rng(0).normal(size=(40, 2))
KINDS = np.random.default_rng(1).normal(size=(12, 2))


def towers(vectors: np.ndarray) -> object:
    """Vectors of texts that end in a number."""
    return lambda texts: vectors[[int(text.split()[-1]) for text in texts]]


def shown(random: np.random.Generator, share: float, impressions: int = 200) -> pd.DataFrame:
    user, item = np.nonzero(random.random((40, 12)) < share)
    rates = expit(-2 + np.sum(TASTES[user] * KINDS[item], axis=1))
    return pd.DataFrame(
        {
            "user_text": [f"user {u}" for u in user],
            "item_text": [f"item {i}" for i in item],
            "impressions": impressions,
            "clicks": random.binomial(impressions, rates),
            "rate": rates,
        }
    )


@pytest.fixture(scope="module")
def logs() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    random = np.random.default_rng(2)
    return shown(random, 0.5), shown(random, 0.3), shown(random, 0.3)


def test_gradient_equals_finite_differences(logs: tuple[pd.DataFrame, ...]) -> None:
    rows = logs[0].head(30)
    n, c = counts(rows)
    for encoders in (
        (OneHot(rows["user_text"]), OneHot(rows["item_text"][:20])),
        (towers(TASTES), towers(KINDS)),
    ):
        sides = _Sides(encoders, rows)  # type: ignore[arg-type]
        at = np.random.default_rng(3).normal(0, 0.3, sides.ends[-1])

        def loss(parameters: np.ndarray, sides: _Sides = sides) -> float:
            z = sides.log_odds(parameters)
            return float(np.sum(n * np.logaddexp(0, z) - c * z))

        found = sides.gradient(at, n * expit(sides.log_odds(at)) - c)
        np.testing.assert_allclose(found, approx_fprime(at, loss, 1e-6), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("kind", ["names", "vectors"])
def test_planted_tastes_are_found(logs: tuple[pd.DataFrame, ...], kind: str) -> None:
    """Users like items for what they are: an item's own rate says little."""
    train, validation, test = logs
    encoders = (OneHot(train["user_text"]), OneHot(train["item_text"]))
    if kind == "vectors":
        encoders = (towers(TASTES), towers(KINDS))  # type: ignore[assignment]
    found = FactorizedClicks(*encoders, train, validation).rates(test)
    truth = log_loss(test["rate"].to_numpy(), *counts(test))
    excess = log_loss(found, *counts(test)) - truth
    assert excess < (0.03 if kind == "names" else 0.003)
    assert log_loss(ItemRates(train).rates(test), *counts(test)) - truth > 0.05


def test_vectors_make_up_the_log_odds(logs: tuple[pd.DataFrame, ...]) -> None:
    train, validation, test = logs
    model = FactorizedClicks(OneHot(train["user_text"]), OneHot(train["item_text"]), train, validation)
    users, items = model.vectors(test["user_text"].tolist(), test["item_text"].tolist())
    assert users.shape == items.shape == (len(test), 9)
    level = logit(model.rates(test)) - users[:, 0] - items[:, 0] - np.sum(users[:, 1:] * items[:, 1:], axis=1)
    np.testing.assert_allclose(level, level[0], atol=1e-9)
    assert not model.vectors(["nobody knows her"], ["item 1"])[0].any()


def test_unseen_users_have_the_level_and_the_items_effect(logs: tuple[pd.DataFrame, ...]) -> None:
    train, validation, test = logs
    model = FactorizedClicks(OneHot(train["user_text"]), OneHot(train["item_text"]), train, validation)
    strangers = test.assign(user_text="nobody knows her")
    rates = model.rates(strangers)
    assert strangers.assign(rate=rates).groupby("item_text")["rate"].nunique().eq(1).all()
    nothing = model.rates(strangers.assign(item_text="nor this"))
    assert np.ptp(nothing) == 0
    assert nothing[0] == pytest.approx(train["clicks"].sum() / train["impressions"].sum(), rel=0.25)


def test_seed_is_a_key(logs: tuple[pd.DataFrame, ...]) -> None:
    train, validation, test = logs
    names = OneHot(train["user_text"]), OneHot(train["item_text"])
    first, again, other = (FactorizedClicks(*names, train, validation, seed=seed).rates(test) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_one_user_and_one_item_have_their_rate() -> None:
    rows = pd.DataFrame({"user_text": ["u"], "item_text": ["i"], "impressions": [5000], "clicks": [250]})
    found = FactorizedClicks(OneHot(["u"]), OneHot(["i"]), rows, rows).rates(rows)
    np.testing.assert_allclose(found, 0.05, rtol=1e-3)


def test_one_hot_vectors_name_what_they_know() -> None:
    found = OneHot(["b", "a", "b"])(["a", "c", "b"])
    np.testing.assert_array_equal(found.toarray(), [[0, 1], [0, 0], [1, 0]])
