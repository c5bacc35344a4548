"""Replays headline tests of the Upworthy archive, their visitors in random orders, under each stopping rule.

The archive keeps totals only: how many saw each headline, how many clicked. A replay puts the visitors of a test into
a random order that these totals allow. If click rates did not change while a test ran, every such order was as likely
as the true one, so what a rule does on average over the orders is what it would have done on average. The end of every
order is the test's true result.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.reward_models.click_log import ClickLog, read_click_log
from bandits.statistics import predictive_test
from experiments.cells import hash_of
from experiments.progress import Reporter
from experiments.studies.folder import StudyFolder
from experiments.studies.replay_config import UpworthyStudy
from experiments.studies.replay_page import Replay, write_replay
from experiments.studies.replay_parts import sources, stored_part
from experiments.studies.replay_results import replay_rules
from experiments.studies.stopping_rules import click_looks

FloatArray = NDArray[np.float64]

METRIC = "click rate"
CHUNK = 50  # tests that are computed and stored together
_VISITS_AT_ONCE = 2**20  # so that memory does not grow with the number of orders


class HeadlineTest(NamedTuple):
    """Two headlines of one test and one image.

    Attributes:
        name: Test and image.
        story: Tests of one story share texts or images; they are not independent.
        number: Place in the archive; keys the random orders.
        clicks: Of the first and the second headline.
        impressions: Likewise.
    """

    name: str
    story: str
    number: int
    clicks: tuple[int, int]
    impressions: tuple[int, int]


class Orders(NamedTuple):
    """The visitors of one test in O random orders, as they stand at L looks.

    Attributes:
        clicks: Of the first and the second headline so far, shape (O, L, 2).
        visitors: Likewise, shape (O, L, 2).
        predictive_p: Always-valid p-value of `predictive_test`, which sees every visitor, shape (O, L).
    """

    clicks: FloatArray
    visitors: FloatArray
    predictive_p: FloatArray


def run_upworthy(config: UpworthyStudy, out: Path, reporter: Reporter | None = None) -> Path:
    """Replay the study and write its folder.

    Args:
        config: The study, with a path that `replay_problems` has nothing against.
        out: Folder of the results; a second run takes up what is there.
        reporter: Where progress is told.

    Returns:
        The page, `report.html`.

    Raises:
        ValueError: When the file is not the archive, or holds no test of two headlines.
    """
    reporter = reporter or Reporter()
    StudyFolder.start(out, config)
    log = read_click_log(Path(str(config.data.path)), format="upworthy")
    found = headline_tests(log, config.looks)
    tests = drawn_tests(found, config.data.max_tests, config.seed)
    common = config.model_dump(exclude={"name": True, "data": True}) | {"sources": sources()}
    parts = []
    with reporter.stage("replaying tests"), reporter.bar("tests", len(tests)) as advance:
        for start in range(0, len(tests), CHUNK):
            chunk = tests[start : start + CHUNK]
            key = hash_of(common | {"tests": chunk})
            parts.append(stored_part(out / "parts", key, partial(_replayed, chunk, config)))
            for test in chunk:
                advance(f"test {test.name.partition('/')[0]}")
    replay = Replay(
        title=f"{config.name}: real headline tests under {parts[0]['rule'].nunique()} stopping rules",
        decisions=pd.concat(parts, ignore_index=True),
        metrics=[METRIC],
        time_unit="visitors",
        test_words="A test is the first two headlines of one test that were shown with the same image.",
        notes=_notes(log, len(tests), len(found), config),
        source="Upworthy Research Archive (Matias, Munger, Aubin Le Quere & Ebersole 2021)",
    )
    return write_replay(replay, config, out, reporter)


def headline_tests(log: ClickLog, looks: int) -> list[HeadlineTest]:
    """The first two headlines of every test and image, in the archive's order.

    Args:
        log: The archive, from `read_click_log`.
        looks: Number of looks; tests with fewer visitors are left out, and so are tests without any click.

    Raises:
        ValueError: When no test is left.
    """
    first_two = log.pairs.groupby("contrast", sort=False).head(2)
    tests = [
        HeadlineTest(
            name=str(name),
            story=str(rows["group"].iloc[0]),
            number=number,
            clicks=(int(rows["clicks"].iloc[0]), int(rows["clicks"].iloc[1])),
            impressions=(int(rows["impressions"].iloc[0]), int(rows["impressions"].iloc[1])),
        )
        for number, (name, rows) in enumerate(first_two.groupby("contrast", sort=False))
    ]
    tests = [test for test in tests if sum(test.clicks) > 0 and sum(test.impressions) >= looks]
    if not tests:
        raise ValueError(f"`{log.name}` must hold two headlines with clicks and {looks} visitors. Got no such test.")
    return tests


def drawn_tests(tests: list[HeadlineTest], max_tests: int | None, seed: int) -> list[HeadlineTest]:
    """At most `max_tests` of the tests, drawn at random under the key `seed` and kept in order."""
    if max_tests is None or len(tests) <= max_tests:
        return tests
    random = np.random.Generator(np.random.Philox(key=[seed, 0]))
    return [tests[index] for index in np.sort(random.choice(len(tests), size=max_tests, replace=False))]


def random_orders(
    test: HeadlineTest, *, orders: int, looks: int, seed: int, prior: tuple[float, float] = (1.0, 1.0)
) -> Orders:
    """The visitors of a test in random orders, each as likely as any other that gives the totals.

    Args:
        test: The test.
        orders: Number of orders, O.
        looks: Number of looks, L, after equal numbers of visitors; the last is the end.
        seed: Key of the orders, together with the test's number.
        prior: Beta prior of the predictive test.
    """
    (s_0, s_1), (n_0, n_1) = test.clicks, test.impressions
    kinds = np.repeat(np.array([0, 1, 2, 3], dtype=np.int8), [n_0 - s_0, s_0, n_1 - s_1, s_1])
    random = np.random.Generator(np.random.Philox(key=[seed, 1 + test.number]))
    last = np.rint(len(kinds) * np.arange(1, looks + 1) / looks).astype(np.int64) - 1
    at_once = max(1, _VISITS_AT_ONCE // len(kinds))
    pieces = []
    for start in range(0, orders, at_once):
        rows = min(at_once, orders - start)
        visits = random.permuted(np.broadcast_to(kinds, (rows, len(kinds))), axis=1)
        treated, clicked = visits >= 2, visits % 2 == 1
        clicks, visitors = (
            np.stack([np.cumsum(mine & counted, axis=1)[:, last] for mine in (~treated, treated)], axis=2)
            for counted in (clicked, np.True_)
        )
        p_value = predictive_test(treated, clicked, n_1 / (n_0 + n_1), prior=prior).p_value[:, last]
        pieces.append(Orders(clicks.astype(np.float64), visitors.astype(np.float64), p_value))
    return Orders(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))


def _replayed(tests: list[HeadlineTest], config: UpworthyStudy) -> pd.DataFrame:
    prior = (config.rules.prior[0], config.rules.prior[1])
    played = [
        random_orders(test, orders=config.orders, looks=config.looks, seed=config.seed, prior=prior) for test in tests
    ]
    clicks, visitors, p_value = (np.concatenate(columns) for columns in zip(*played, strict=True))
    information = np.broadcast_to(np.arange(1, config.looks + 1) / config.looks, p_value.shape)
    looks = click_looks(clicks, visitors, information)._replace(predictive_p=p_value)
    # Neither headline is a control by right, so differences are relative to the rate of both together.
    rates = np.repeat([sum(test.clicks) / sum(test.impressions) for test in tests], config.orders)
    names = pd.DataFrame(
        {
            "metric": METRIC,
            "test": np.repeat([test.name for test in tests], config.orders),
            "cluster": np.repeat([test.story for test in tests], config.orders),
            "order": np.tile(np.arange(config.orders), len(tests)),
        }
    )
    time = visitors.sum(axis=2)
    scale = np.broadcast_to(rates[:, None], time.shape)
    return replay_rules(looks, names, time=time, scale=scale, config=config.rules)


def _notes(log: ClickLog, tests: int, found: int, config: UpworthyStudy) -> list[str]:
    drawn = f", {tests:,} of them drawn at random" if tests < found else ""
    return [
        f"{log.facts['faulty randomization']:,} rows of tests from weeks with faulty randomization are left out; so "
        f"are images with a single headline ({log.facts['headline does not vary']:,} rows).",
        f"{found:,} pairs of headlines can be replayed{drawn}. Pairs without any click, or with fewer visitors than "
        f"looks ({config.looks}), are left out.",
        "A replay puts the visitors of a test into random order. If click rates changed over the day or the week, the "
        "true order was less even than this, for both headlines alike. The predictive test takes the shares of the two "
        "headlines in the totals for the chances with which visitors were assigned.",
        "Every rule is told when the test will end, and the end of the data is that end. The archive does not say why "
        "a test ended when it did.",
        "The end of the data is itself uncertain: the fixed test, too, declares a winner in 5 of 100 tests in which "
        "both headlines are equally good. So `not significant at the end` is no proof of no difference.",
        "Tests that share texts or images (a story) are the unit of all intervals. Levels are per pair of headlines.",
    ]
