"""TF-IDF baselines find planted signal, and their fits are optimal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import click_log_from_frame, split_log
from bandits.reward_models.baselines import TfidfClicks, TfidfFeatures, TfidfWithinTests, counts, words_are_spaced
from bandits.reward_models.metrics import log_loss, pairwise_accuracy

FRACTIONS = (0.4, 0.2, 0.2, 0.2)


def item_log(rates: dict[str, float], impressions: int = 500) -> pd.DataFrame:
    random = np.random.default_rng(8)
    rows = [
        {"item_text": f"{word}{i}", "impressions": impressions, "clicks": random.binomial(impressions, rate)}
        for word, rate in rates.items()
        for i in range(40)
    ]
    return pd.DataFrame(rows)


def test_words_set_the_rate() -> None:
    split = split_log(
        click_log_from_frame(item_log({"shocking number": 0.2, "boring number": 0.05})), fractions=FRACTIONS
    )
    found = TfidfClicks(split.train, split.validation).rates(split.test)
    shocking = split.test["item_text"].str.startswith("shocking").to_numpy()
    # The numbers of unseen texts carry no weight, so predictions lie between the rates of the words and the mean.
    assert 0.16 < found[shocking].mean() < 0.21
    assert 0.04 < found[~shocking].mean() < 0.09


def test_weights_stand_for_single_impressions() -> None:
    """One row with 500 impressions equals two rows that share them."""
    frame = item_log({"shocking number": 0.2, "boring number": 0.05})
    half = frame.assign(impressions=frame["impressions"] // 2, clicks=frame["clicks"] // 2)
    rest = frame.assign(impressions=frame["impressions"] - half["impressions"], clicks=frame["clicks"] - half["clicks"])
    rates = [
        TfidfClicks(rows, frame.assign(user_text="")).rates(frame.assign(user_text=""))
        for rows in (frame.assign(user_text=""), pd.concat([half, rest]).assign(user_text=""))
    ]
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-2)


def test_chinese_is_cut_into_characters() -> None:
    assert not words_are_spaced(["震惊的新闻", "无聊的新闻"])
    assert words_are_spaced(["ordinary words", "обычные слова"])
    split = split_log(click_log_from_frame(item_log({"震惊的新闻": 0.2, "无聊的新闻": 0.05})), fractions=FRACTIONS)
    names = TfidfFeatures(split.train).vectorizers[0][1].get_feature_names_out()
    assert {"震", "惊", "震惊"} <= set(names)
    found = TfidfClicks(split.train, split.validation).rates(split.test)
    assert log_loss(found, *counts(split.test)) < log_loss(np.full(len(found), 0.125), *counts(split.test)) - 0.01


def test_within_tests_finds_the_word_that_works(tests_frame: pd.DataFrame) -> None:
    split = split_log(click_log_from_frame(tests_frame), fractions=FRACTIONS)
    scores = TfidfWithinTests(split.train, split.validation, overdispersion=0.1).scores(split.test)
    contrast = pd.factorize(split.test["contrast"])[0]
    assert pairwise_accuracy(scores, *counts(split.test), contrast).accuracy_significant == pytest.approx(1, abs=0.05)
