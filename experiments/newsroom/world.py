"""The newsroom: who reads, what is on offer, and the planted truth about who clicks on what.

The probability that a reader clicks on a headline is planted on the logit:

    logit p = BASE + EFFECTS[how the reader feels about the headline's topic]
                   + EFFECTS[what she thinks of teasers], if the headline teases
                   + the headline's own appeal

The texts say all of this except the appeal, which a click log shows as a headline's overall rate. Probabilities lie
between 1 and 15 percent, as in real news.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from bandits.propensity_table import PropensityTable
from experiments.newsroom.grammar import TEASE, TOPICS, headline_texts, reader_text

BASE = -3.5
EFFECTS = {"passion": 1.2, "interest": 0.85, "curiosity": 0.4, "tired": -0.75, "fan": 0.3, "wary": -0.5}
LARGEST_APPEAL = 0.25
POPULARITY = (0.28, 0.22, 0.16, 0.12, 0.11, 0.11)  # share of readers whose passion is each of TOPICS
FIRST_DAY = np.datetime64("2026-09-01")
DAYS = 30
TEMPLATES_PER_TOPIC = 5
SECOND_TRAITS = {"interest": 0.3, "curiosity": 0.2, "tired": 0.2, "fan": 0.15, "wary": 0.15}  # how common each is

# What the random numbers are for: the second half of every generator's key.
_READERS, _HEADLINES, _LOG = range(3)


class Reader(NamedTuple):
    """A persona.

    Attributes:
        text: One sentence about her.
        traits: Pairs `(degree, topic)`, or `("fan" | "wary", "")` for her view of teasers.
    """

    text: str
    traits: tuple[tuple[str, str], ...]


class Headline(NamedTuple):
    """A headline.

    Attributes:
        text: The headline itself.
        topic: One of `TOPICS`.
        teases: Whether it holds back what it is about.
        appeal: What it adds to everybody's logit, in ±`LARGEST_APPEAL`.
    """

    text: str
    topic: str
    teases: bool
    appeal: float


@dataclass(frozen=True)
class Newsroom:
    """A planted world of `U` readers and `K` headlines, whose truth is known; `make_newsroom` makes one.

    Args:
        readers: The personas, length U.
        headlines: The headlines, length K.
        late_item: Index of the headline that is published at half-time: the one with the highest click rate of all.
        seed: What the world was made from.
    """

    readers: tuple[Reader, ...]
    headlines: tuple[Headline, ...]
    late_item: int
    seed: int

    @property
    def user_ids(self) -> tuple[str, ...]:
        """Names of the readers, length U."""
        return tuple(f"reader-{index:03d}" for index in range(len(self.readers)))

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Names of the headlines, length K."""
        return tuple(f"headline-{index:02d}" for index in range(len(self.headlines)))

    def true_table(self) -> PropensityTable:
        """The planted click probabilities as a table of one world."""
        return PropensityTable.single_world(
            click_probabilities(self.readers, self.headlines),
            user_texts=tuple(reader.text for reader in self.readers),
            item_texts=tuple(headline.text for headline in self.headlines),
            user_ids=self.user_ids,
            item_ids=self.item_ids,
            provenance={"world": "newsroom, planted", "seed": str(self.seed)},
        )

    def sample_log(self, impressions_total: int, seed: int) -> pd.DataFrame:
        """A month's click log under a uniform policy, one row per pair of reader and headline that was shown.

        Each impression falls on a uniform day, to a uniform reader, with a uniform one of the headlines published by
        then; the late headline is published on the first day of the month's second half. Clicks are binomial.

        Args:
            impressions_total: Number of impressions in the whole log, at least 1.
            seed: Of the log, not of the world: another seed is another month in the same newsroom.

        Returns:
            Columns `user_id`, `user_text`, `item_id`, `item_text`, `impressions`, `clicks`, and `time`: the date of
            one of the pair's impressions, drawn at random.
        """
        if impressions_total < 1:
            raise ValueError(f"`impressions_total` must be at least 1. Got {impressions_total}.")
        random = np.random.default_rng([seed, _LOG])
        p = click_probabilities(self.readers, self.headlines)
        users, items = p.shape
        published = np.ones((DAYS, items), dtype=bool)
        published[: DAYS // 2, self.late_item] = False
        share = published / (DAYS * published.sum(axis=1, keepdims=True))  # of all impressions, by day and headline
        per_pair = np.broadcast_to(share.sum(axis=0) / users, p.shape)
        impressions = random.multinomial(impressions_total, per_pair.ravel()).reshape(p.shape)
        clicks = random.binomial(impressions, p)
        days = np.column_stack([random.choice(DAYS, size=users, p=day / day.sum()) for day in share.T])
        user, item = np.nonzero(impressions)
        return pd.DataFrame(
            {
                "user_id": np.array(self.user_ids, dtype=object)[user],
                "user_text": np.array([reader.text for reader in self.readers], dtype=object)[user],
                "item_id": np.array(self.item_ids, dtype=object)[item],
                "item_text": np.array([headline.text for headline in self.headlines], dtype=object)[item],
                "impressions": impressions[user, item],
                "clicks": clicks[user, item],
                "time": FIRST_DAY + days[user, item],
            }
        )


def make_newsroom(seed: int, num_users: int = 240, num_headlines: int = 18) -> Newsroom:
    """Make a newsroom; the same arguments give the same bytes.

    Args:
        seed: Not negative.
        num_users: Number of readers `U`, 1 to 10,000; their texts differ.
        num_headlines: Number of headlines `K`, 2 to 30, spread evenly over the topics; a third of the first 18 tease.

    >>> make_newsroom(7).readers[0].text
    'Tailor who is mad about astronomy and clicks on every surprise.'
    """
    if not 1 <= num_users <= 10_000:
        raise ValueError(f"`num_users` must lie in [1, 10000]. Got {num_users}.")
    most = TEMPLATES_PER_TOPIC * len(TOPICS)
    if not 2 <= num_headlines <= most:
        raise ValueError(
            f"`num_headlines` must lie in [2, {most}], one per template of the grammar. Got {num_headlines}."
        )
    readers = _make_readers(num_users, np.random.default_rng([seed, _READERS]))
    headlines = _make_headlines(num_headlines, np.random.default_rng([seed, _HEADLINES]))
    late_item = int(click_probabilities(readers, headlines).mean(axis=0).argmax())
    return Newsroom(readers, headlines, late_item, seed)


def click_probabilities(readers: tuple[Reader, ...], headlines: tuple[Headline, ...]) -> NDArray[np.float64]:
    """The planted probabilities, shape (U, K); the formula is this module's docstring."""
    feeling = np.zeros((len(readers), len(TOPICS)))
    tease = np.zeros(len(readers))
    for user, reader in enumerate(readers):
        for degree, topic in reader.traits:
            if topic:
                feeling[user, TOPICS.index(topic)] = EFFECTS[degree]
            else:
                tease[user] = EFFECTS[degree]
    topics = [TOPICS.index(headline.topic) for headline in headlines]
    teases = np.array([headline.teases for headline in headlines], dtype=np.float64)
    appeal = np.array([headline.appeal for headline in headlines])
    probabilities: NDArray[np.float64] = special.expit(BASE + feeling[:, topics] + np.outer(tease, teases) + appeal)
    return probabilities


def _make_readers(count: int, random: np.random.Generator) -> tuple[Reader, ...]:
    readers: dict[str, Reader] = {}
    while len(readers) < count:
        traits = _draw_traits(random)
        text = reader_text(traits, random)
        readers.setdefault(text, Reader(text, traits))
    return tuple(readers.values())


def _draw_traits(random: np.random.Generator) -> tuple[tuple[str, str], ...]:
    """A passion for one topic, and either a feeling about another or a view of teasers."""
    loved, other = random.choice(TOPICS, size=2, replace=False, p=POPULARITY)
    degree = str(random.choice(list(SECOND_TRAITS), p=list(SECOND_TRAITS.values())))
    return (("passion", str(loved)), (degree, "" if degree in TEASE else str(other)))


def _make_headlines(count: int, random: np.random.Generator) -> tuple[Headline, ...]:
    """The first `count` of one headline per topic, then a second per topic, and so on; then shuffled."""
    texts = {topic: headline_texts(topic, random) for topic in TOPICS}
    in_rounds = [(topic, *texts[topic][index]) for index in range(TEMPLATES_PER_TOPIC) for topic in TOPICS][:count]
    appeals = random.permutation(np.linspace(-LARGEST_APPEAL, LARGEST_APPEAL, count))
    order = random.permutation(count)
    headlines = [Headline(text, topic, teases, float(appeals[i])) for i, (topic, text, teases) in enumerate(in_rounds)]
    return tuple(headlines[index] for index in order)
