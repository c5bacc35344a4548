"""Columns beside the text: read and refused, added up by hand, learned, saved, and needed for every text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import (
    FitConfig,
    RewardModel,
    Split,
    click_log_from_frame,
    read_click_log,
    score_users_by_items,
    split_log,
)
from bandits.reward_models.text_columns import COLUMNS_FILE, PairColumns, Side, TextColumns

CONFIG = FitConfig(
    weights="tiny", tuning="head", epochs=6, learning_rate=1e-3, columns_learning_rate=3e-2, batch_size=16, device="cpu"
)
NAMES: dict[str, Any] = {"numbers": ["price", "noise"], "embeddings": ["image"]}


def planted(users: int = 30, items: int = 24) -> pd.DataFrame:
    """Items whose log-odds of a click fall with the price and follow one direction of their images."""
    random = np.random.default_rng(5)
    price, noise, image = random.uniform(5, 25, items), random.normal(size=items), random.normal(size=(items, 4))
    rate = 1 / (1 + np.exp(0.1 * price - 0.5 * image[:, 2]))
    return pd.DataFrame(
        [
            {
                "user_text": f"reader {u}",
                "item_text": f"thing {k}",
                "impressions": 200,
                "clicks": random.binomial(200, rate[k]),
                "price": price[k],
                "noise": noise[k],
                "image": image[k].tolist(),
                "age": 20 + u,
            }
            for u in range(users)
            for k in range(items)
        ]
    )


def fit(frame: pd.DataFrame, cache: Path, names: dict[str, Any] = NAMES, **changes: Any) -> tuple[RewardModel, Split]:
    log = click_log_from_frame(frame, **names)
    split = split_log(log, fractions=(0.4, 0.2, 0.2, 0.2))
    return RewardModel.fit(log, split, CONFIG.model_copy(update=changes), cache=cache), split


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[RewardModel, Split]:
    return fit(planted(), tmp_path_factory.mktemp("fit"))


def test_columns_are_read_from_parquet_and_csv(tmp_path: Path) -> None:
    frame = planted(users=3)
    frame.to_parquet(tmp_path / "log.parquet")
    frame.drop(columns="image").to_csv(tmp_path / "log.csv", index=False)
    log = read_click_log(tmp_path / "log.parquet", **NAMES)
    assert log.columns is not None
    (items,) = log.columns.sides
    expected = frame.set_index("item_text").loc["thing 7"].iloc[0]
    np.testing.assert_array_equal(
        items.values[items.rows(["thing 7"])[0]], [expected["price"], expected["noise"], *expected["image"]]
    )
    text = read_click_log(tmp_path / "log.csv", numbers=["price"])
    assert text.columns is not None
    (items,) = text.columns.sides
    np.testing.assert_array_equal(items.values[items.rows(["thing 7"])[0]], [expected["price"]])
    assert len({log.content_hash, text.content_hash, read_click_log(tmp_path / "log.csv").content_hash}) == 3


@pytest.mark.faults
@pytest.mark.parametrize(
    ("column", "value", "names", "message"),
    [
        ("price", np.nan, NAMES, "`price` must be a finite number. Got: row 2"),
        ("price", np.inf, NAMES, "`price` must be a finite number. Got: row 2"),
        ("price", 1.0, NAMES, "`price` must be the same in all rows of the same `item_text`. Got: row"),
        ("image", [1.0, 2.0], NAMES, "`image` must be a list of finite numbers, as long as"),
        ("image", [1.0, 2.0, None, 3.0], NAMES, "`image` must be a list of finite numbers"),
        ("image", "0.1 0.2", NAMES, "`image` must be a list of finite numbers"),
        ("noise", 0.0, {"user_numbers": ["noise"]}, "`noise` must be the same in all rows of the same `user_text`"),
        ("user_text", "", {"user_numbers": ["age"]}, "`user_text` must not be empty where columns are known of it"),
        ("age", np.nan, {"user_numbers": ["age"]}, "`age` must be a finite number. Got: row 2"),
        ("noise", 0.0, {"user_numbers": ["prize"]}, "column `prize` is missing"),
        ("noise", 0.0, {"user_numbers": ["price"], "numbers": ["price"]}, "must be different columns of their own"),
        ("test", "t", {"user_embeddings": ["image"]}, "`user_embeddings` must be left out for a log of tests"),
        ("noise", 0.0, {"numbers": ["prize"]}, "column `prize` is missing"),
        ("noise", 0.0, {"numbers": ["clicks"]}, "must be different columns of their own"),
        ("noise", 0.0, {"numbers": ["price"], "embeddings": ["price"]}, "must be different columns of their own"),
        ("test", "t", {"numbers": ["price"]}, "`numbers` must be left out for a log of tests"),
    ],
)
def test_bad_columns_are_refused(column: str, value: Any, names: dict[str, Any], message: str) -> None:
    frame = planted(users=2)
    frame[column] = frame[column].astype(object) if column in frame.columns else "t"
    frame.at[1, column] = value
    with pytest.raises(ValueError, match=message):
        click_log_from_frame(frame, **names)


@pytest.mark.faults
def test_a_public_data_set_has_no_columns(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`embeddings` must be left out for a public data set"):
        read_click_log(tmp_path, format="mind", embeddings=["image"])


def test_standardised_over_training_rows() -> None:
    values = np.array([[1.0, 0, 0], [3.0, 4, 0], [9.0, 9, 9]])
    columns = TextColumns("item", ("a", "b", "c"), values, ("n",), {"e": 2})
    rows = columns.standardised(["a", "b", "a", "b"]).values
    np.testing.assert_allclose(rows[:, 0], [-1, 1, 7])
    np.testing.assert_allclose(
        rows[:2, 1:], np.array([[-2, 0], [2, 0]]) / np.sqrt(2)
    )  # one scale: the root of (4 + 0) / 2
    with pytest.raises(ValueError, match=r"must vary over the training rows. Got constant \['n', 'e'\]"):
        columns.standardised(["a", "a"])


def pair_columns(*sides: tuple[Side, list[str]]) -> PairColumns:
    """Two numbers, and embeddings of 3 and of 2 numbers, of each text, at random."""
    random, names = np.random.default_rng(0), (("n", "m"), {"e": 3, "f": 2})
    return PairColumns(
        tuple(TextColumns(of, (*ts, "?"), random.normal(size=(len(ts) + 1, 7)), *names) for of, ts in sides)
    )


@pytest.mark.model
@pytest.mark.parametrize("architecture", ["cross", "bi"])
@pytest.mark.parametrize("of", [("item",), ("user",), ("user", "item")])
def test_logits_are_those_of_texts_plus_the_formula(architecture: Any, of: tuple[Side, ...]) -> None:
    import torch

    from bandits.reward_models.network import Network
    from bandits.reward_models.weights import resolve_weights

    users = ["reader one", "one" if "user" in of else "", "two readers"]
    items = ["thing a", "thing b longer than the other", "reader one"]
    texts = {"user": users, "item": items}
    columns = pair_columns(*((side, texts[side][::-1]) for side in of))
    how: dict[str, Any] = {"max_length": 16, "device": torch.device("cpu"), "seed": 1, "architecture": architecture}
    network = Network.from_weights(resolve_weights("tiny", texts=users + items), columns=columns, **how)
    head = network.model.columns
    assert head is not None
    with torch.no_grad():
        head.head.weight.normal_()
    pairs = network.pair_tokenizer.product(users, items)
    together = network.logits(pairs)
    frozen = network.inference("float32").frozen(pairs)(np.arange(9)).detach().numpy()
    trained = network.model.eval().of_rows(pairs, np.arange(9), network.device).detach().numpy()
    network.model.columns = None
    alone = network.logits(pairs)

    weight = head.head.weight.detach().numpy()[0]
    projections = [projection.weight.detach().numpy() for projection in head.projections]
    beside = np.zeros((3, 3))
    for place, side in enumerate(columns.sides):
        x = side.values[:3][::-1]
        first = 2 * len(of) + 64 * place  # behind all numbers
        own = x[:, :2] @ weight[2 * place : 2 * place + 2]
        own = own + x[:, 2:5] @ projections[2 * place].T @ weight[first : first + 32]
        own = own + x[:, 5:] @ projections[2 * place + 1].T @ weight[first + 32 : first + 64]
        beside += own[:, np.newaxis] if side.of == "user" else own
    assert np.ptp(beside) > 0.1
    for found in (together, frozen, trained):
        np.testing.assert_allclose(found.reshape(3, 3), alone.reshape(3, 3) + beside, atol=1e-5)


@pytest.mark.model
def test_a_fit_finds_what_the_columns_say(fitted: tuple[RewardModel, Split], tmp_path: Path) -> None:
    model, _ = fitted
    head = model.network.model.columns
    assert head is not None
    price, noise = head.head.weight.detach().numpy()[0, :2]
    frame = planted().drop_duplicates("item_text")
    assert price == pytest.approx(-0.1 * frame["price"].std(ddof=0), rel=0.25)
    assert abs(noise) < 0.2 * abs(price)
    rates = model.propensities(["reader 0"], frame["item_text"].tolist())[0]
    true = 1 / (1 + np.exp(0.1 * frame["price"] - 0.5 * np.stack(list(frame["image"]))[:, 2]))
    assert np.corrcoef(rates, true)[0, 1] > 0.95
    without, _ = fit(planted(), tmp_path, names={})
    assert np.corrcoef(without.propensities(["reader 0"], frame["item_text"].tolist())[0], true)[0, 1] < 0.8
    chosen = model.info["selection"]["item"]["chosen"]
    assert chosen["price"] > chosen["noise"]


@pytest.mark.model
def test_tables_files_and_cards(fitted: tuple[RewardModel, Split], tmp_path: Path) -> None:
    model, _ = fitted
    users, items = ["reader 0", "a stranger"], ["thing 3", "thing 1"]
    table = score_users_by_items(model, users, items, cache=tmp_path / "scores")
    np.testing.assert_allclose(table.p[0], model.propensities(users, items), rtol=2e-5)
    model.save(tmp_path / "saved")
    loaded = RewardModel.load(tmp_path / "saved", device="cpu")
    assert loaded.fingerprint() == model.fingerprint()
    np.testing.assert_array_equal(loaded.propensities(users, items), model.propensities(users, items))
    card = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    assert "`price`, `noise`, `image` (an embedding of 4 numbers)" in card
    assert "of 100 random halves of the 24 items" in card


@pytest.mark.model
@pytest.mark.faults
def test_unknown_items_and_damaged_columns_are_refused(fitted: tuple[RewardModel, Split], tmp_path: Path) -> None:
    model, _ = fitted
    with pytest.raises(ValueError, match=r"needs their `price`, `noise`, `image`. Got 'thing 99'"):
        model.propensities(["reader 0"], ["thing 1", "thing 99"])
    model.save(tmp_path / "saved")
    columns = model.network.columns
    assert columns is not None
    PairColumns((replace(columns.sides[0], values=columns.sides[0].values + 1e-9),)).save(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"The columns in .* must have hash"):
        RewardModel.load(tmp_path / "saved")
    (tmp_path / "saved" / COLUMNS_FILE).unlink()
    with pytest.raises(ValueError, match=r"must have hash .* Got None"):
        RewardModel.load(tmp_path / "saved")


@pytest.mark.model
def test_other_columns_are_another_fit(tmp_path: Path) -> None:
    frame = planted(users=20)  # with a column of lists that nobody asked for
    short: dict[str, Any] = {"epochs": 1}
    first, _ = fit(frame, tmp_path, {"numbers": ["price"]}, **short)
    again, _ = fit(frame, tmp_path, {"numbers": ["price"]}, **short)
    other, _ = fit(frame.assign(price=-frame["price"]), tmp_path, {"numbers": ["price"]}, **short)
    faster, _ = fit(frame, tmp_path, {"numbers": ["price"]}, columns_learning_rate=0.3, **short)
    assert first.fingerprint() == again.fingerprint()
    assert len({first.fingerprint(), other.fingerprint(), faster.fingerprint()}) == 3
    weights = [abs(float(model.network.model.columns.head.weight.detach())) for model in (first, faster)]  # type: ignore[union-attr]
    assert weights[1] > 2 * weights[0]
