"""Pairs that only a teacher tells of: which are drawn, what they weigh, and whether a student comes nearer by them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy.special import logit

from bandits.reward_models import ClickLog, FitConfig, RewardModel, Split, click_log_from_frame, split_log
from bandits.reward_models.calibration import Calibrator
from bandits.reward_models.unlabelled import unlabelled_pairs

pytestmark = pytest.mark.model

TOPICS = ("sport", "music", "money", "travel", "science")
USERS = [f"Loves {best}, then {next}, then {last}" for best, next, last in permutations(TOPICS, 3)]
ITEMS = [f"News about {topic} today" for topic in TOPICS]
CONFIG = FitConfig(
    weights="tiny",
    architecture="bi",
    tuning="head",
    epochs=20,
    patience=20,
    learning_rate=2e-2,
    batch_size=8,
    dropout=0.0,
    precision="float32",
    device="cpu",
)


def of_rows(rows: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(rows["user_text"], rows["item_text"], strict=True))


def sparse_log(rates: np.ndarray, seed: int) -> tuple[ClickLog, Split]:
    """Every user was shown the topic that she loves and the next one only, and clicked at the given rates, (60, 5)."""
    random = np.random.default_rng(seed)
    shown = [(user, (user // 12 + further) % 5) for user in range(60) for further in range(2)]
    rows = [(USERS[u], ITEMS[i], 2000, random.binomial(2000, rates[u, i])) for u, i in shown]
    log = click_log_from_frame(pd.DataFrame(rows, columns=["user_text", "item_text", "impressions", "clicks"]))
    return log, split_log(log, fractions=(0.7, 0.1, 0.1, 0.1))


def taught(folder: Path, seed: int) -> tuple[Callable[..., RewardModel], RewardModel, Split]:
    """A fit of a student, and its teacher: the network that students begin with, but for a random head.

    The log's clicks have the teacher's rates, and only heads are fitted, so that every student could be its teacher.
    """
    import torch

    from bandits.reward_models.network import Network
    from bandits.reward_models.weights import resolve_weights

    weights = resolve_weights("tiny", texts=USERS + ITEMS)
    network = Network.from_weights(
        weights, max_length=32, device=torch.device("cpu"), seed=CONFIG.seed, architecture="bi", dropout=0.0
    )
    head = np.random.default_rng(seed).normal(size=(32, 32))
    with torch.no_grad():
        network.model.users.weight.copy_(torch.from_numpy(head))
    z = network.logits(network.pair_tokenizer.product(USERS, ITEMS))
    calibrator = Calibrator("platt", float(1 / z.std()), float(-1 - z.mean() / z.std()))
    log, split = sparse_log(calibrator(z).reshape(60, 5), seed)

    def fit(**changes: Any) -> RewardModel:
        return RewardModel.fit(log, split, CONFIG.model_copy(update=changes), cache=folder)

    teacher = RewardModel(network, calibrator, "pairs", fit(epochs=1).info)
    teacher.save(folder / "teacher")
    return fit, teacher, split


def test_pairs_are_drawn_from_all_that_the_log_does_not_hold() -> None:
    log, split = sparse_log(np.full((60, 5), 0.2), 0)
    rows = split.train[:40]
    free = set(product(rows["user_text"].unique(), rows["item_text"].unique())) - of_rows(log.pairs)
    assert of_rows(unlabelled_pairs(split, rows, len(free), 1.0, 0)) == free
    counts = dict.fromkeys(free, 0)
    for seed in range(200):
        drawn = unlabelled_pairs(split, rows, 10, 1.0, seed)
        assert len(of_rows(drawn)) == 10
        for pair in of_rows(drawn):
            counts[pair] += 1
    expected = 2000 / len(free)
    spread = np.sqrt(expected * (1 - 10 / len(free)))
    assert max(abs(count - expected) for count in counts.values()) < 4.5 * spread
    pd.testing.assert_frame_equal(unlabelled_pairs(split, rows, 10, 1.0, 3), unlabelled_pairs(split, rows, 10, 1.0, 3))
    with pytest.raises(ValueError, match=rf"`teacher_pairs` must be at most {len(free)}, .* Got {len(free) + 1}\."):
        unlabelled_pairs(split, rows, len(free) + 1, 1.0, 0)


def test_a_visit_without_a_user_makes_no_pair() -> None:
    _, split = sparse_log(np.full((60, 5), 0.2), 0)
    rows = split.train.assign(user_text=[*[""] * 10, *split.train["user_text"][10:]])
    assert "" not in set(unlabelled_pairs(split, rows, 50, 1.0, 0)["user_text"])


def test_further_pairs_weigh_as_much_as_the_teacher_does_in_a_row_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bandits.reward_models import reward_model

    fit, teacher, split = taught(tmp_path, 1)
    train, seen = reward_model.train, []
    monkeypatch.setattr(reward_model, "train", lambda *a, **options: (seen.append(a[1]), train(*a, **options))[1])
    fit(epochs=1, teacher=str(tmp_path / "teacher"), teacher_weight=0.25, teacher_pairs=30)
    (rows,) = seen
    known, further = rows[:-30], rows[-30:]
    expected = teacher.teach(split.train, 0.25)[list(rows.columns)]
    pd.testing.assert_frame_equal(known, expected, check_dtype=False)
    np.testing.assert_allclose(further["impressions"], 0.25 * 2000)
    rates = [teacher.propensities([user], [item])[0, 0] for user, item in of_rows(further)]
    np.testing.assert_allclose(np.sort(further["clicks"]), 0.25 * 2000 * np.sort(rates), rtol=1e-5)


def test_student_comes_nearer_to_its_teacher_where_neither_was_taught(tmp_path: Path) -> None:
    fit, teacher, split = taught(tmp_path, 1)
    train = split.train
    free = set(product(train["user_text"], train["item_text"])) - set.union(*map(of_rows, split.parts.values()))
    count = len(free) * 2 // 3
    rest = sorted(free - of_rows(unlabelled_pairs(split, train, count, 1.0, CONFIG.seed)))
    assert len(rest) > 30
    users, items = zip(*rest, strict=True)
    wanted = logit(teacher.calibrator(teacher.scores(users, items)))
    without, with_pairs = (
        np.std(fit(teacher=str(tmp_path / "teacher"), teacher_pairs=pairs).scores(users, items) - wanted)
        for pairs in (0, count)
    )
    assert with_pairs < 0.75 * without < 0.3 * np.std(wanted)


@pytest.mark.faults
def test_further_pairs_without_users_or_teacher_are_refused(
    pairs_frame: pd.DataFrame, tests_frame: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(
        ValidationError, match=r"must be 0 without a `teacher`, who alone knows their click rates. Got 5"
    ):
        FitConfig(teacher_pairs=5)
    items = pairs_frame.groupby("item_text", as_index=False)[["impressions", "clicks"]].sum()
    items = pd.concat([items.assign(item_text=items["item_text"] + f" {number}") for number in range(20)])
    for frame, loss in ((tests_frame, "within_test"), (items, "binomial")):
        log = click_log_from_frame(frame)
        config = FitConfig(weights="tiny", teacher=str(tmp_path), teacher_pairs=5, loss=loss, device="cpu")
        with pytest.raises(
            ValueError, match=r"`teacher_pairs` must be 0 but for a log of pairs with users, .* Got 5 for"
        ):
            RewardModel.fit(log, split_log(log), config, cache=tmp_path)
