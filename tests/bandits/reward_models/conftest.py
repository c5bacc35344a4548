"""Small planted logs for the tests of reward models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SHARED = Path(__file__).parents[4] / "shared" / "data" / "upworthy"
TOPICS = ("sport", "music", "money", "travel", "science")


def planted_pairs(users: int = 60, impressions: int = 400, seed: int = 3) -> pd.DataFrame:
    """Readers who click on their topic with probability 0.3 and on others with 0.1."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        likes = TOPICS[user % len(TOPICS)]
        for topic in TOPICS:
            rate = 0.3 if topic == likes else 0.1
            rows.append(
                {
                    "user_text": f"Reader {user} loves {likes}",
                    "item_text": f"News about {topic} today",
                    "impressions": impressions,
                    "clicks": random.binomial(impressions, rate),
                }
            )
    return pd.DataFrame(rows)


def planted_tests(tests: int = 60, impressions: int = 2000, seed: int = 4) -> pd.DataFrame:
    """Tests of three texts; those that say `amazing` get half as many clicks again as the others of their test."""
    random = np.random.default_rng(seed)
    rows = []
    for test in range(tests):
        level = random.uniform(0.05, 0.15)
        for arm, word in enumerate(random.permutation(["amazing", "plain", "other"])):
            rate = level * (1.5 if word == "amazing" else 1.0)
            rows.append(
                {
                    "test": f"test-{test}",
                    "item_text": f"{word} story {test} {arm}",
                    "impressions": impressions,
                    "clicks": random.binomial(impressions, rate),
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture
def pairs_frame() -> pd.DataFrame:
    return planted_pairs()


@pytest.fixture
def tests_frame() -> pd.DataFrame:
    return planted_tests()


@pytest.fixture
def archive() -> Path:
    """The archive's CSV among the shared data; the test is skipped where there is none."""
    path = SHARED / "upworthy-archive-exploratory-packages-03.12.2020.train80.csv"
    if not path.is_file():
        pytest.skip("the shared Upworthy data are not on this machine")
    return path
