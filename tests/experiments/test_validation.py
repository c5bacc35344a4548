"""Each part of a validation, against formulas, plain loops and other libraries; models are formulas, not networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import logit
from scipy.stats import kendalltau, ttest_rel
from statsmodels.stats.multitest import multipletests

from bandits.propensity_table import PropensityTable
from bandits.reward_models import ClickLog, RewardEnsemble, click_log_from_frame
from bandits.reward_models.calibration import Calibrator
from experiments.validation import worlds
from experiments.validation.agreement import Played, compare, play, policy_rank_agreement
from experiments.validation.config import LoadedValidation, Thresholds, ValidationConfig, load_validation
from experiments.validation.favourites import favourites
from experiments.validation.held_out import held_out
from experiments.validation.marginals import jensen_shannon, marginals
from experiments.validation.perturbations import PERTURBATIONS, perturbations
from experiments.validation.placebo import placebo
from experiments.validation.predictive import predictive
from experiments.validation.two_sample import two_sample_test
from experiments.validation.verdict import Line, _parts, answers, inside, verdict
from experiments.validation.worlds import Worlds

pytestmark = pytest.mark.model  # reward models load torch
Rate = Callable[[str, str], float]


class FormulaModel:
    """What is asked of a reward model, with a formula in place of a network."""

    def __init__(self, kind: str, rate: Rate) -> None:
        self.kind, self.rate = kind, rate
        level = Calibrator("within_test", 1.0, float(logit(0.1)))
        self.calibrator = level if kind == "tests" else Calibrator("identity")
        by, keys = ("group", ("group", "item_text")) if kind == "tests" else ("user_text", ("user_text",))
        self.info: dict[str, Any] = {"seen": {"by": by, "keys": dict.fromkeys(keys, ""), "until": None}}

    def scores(self, users: Sequence[str], items: Sequence[str]) -> np.ndarray:
        return np.array([logit(self.rate(user, item)) for user, item in zip(users, items, strict=True)])


class FormulaEnsemble(FormulaModel, RewardEnsemble):
    """The same of an ensemble."""

    kind = "pairs"

    def __init__(self, rate: Rate, members: Sequence[Any]) -> None:
        super().__init__(self.kind, rate)
        self.members = tuple(members)


def log_of_pairs(rate: Rate, users: int = 120, items: int = 5, impressions: int = 200, **columns: Any) -> ClickLog:
    """Every user sees every item; `rate` is the truth."""
    random = np.random.default_rng(1)
    rows = [(f"user {u}", f"item {k}") for u in range(users) for k in range(items)]
    frame = pd.DataFrame(rows, columns=["user_text", "item_text"])
    clicks = [random.binomial(impressions, rate(user, item)) for user, item in rows]
    return click_log_from_frame(frame.assign(impressions=impressions, clicks=clicks, **columns))


def log_of_tests(rate: Rate, tests: int = 80, arms: int = 3, impressions: int = 1000) -> ClickLog:
    random = np.random.default_rng(2)
    rows = [(f"test {t}", f"arm {k} of {t}") for t in range(tests) for k in range(arms)]
    frame = pd.DataFrame(rows, columns=["test", "item_text"])
    clicks = [random.binomial(impressions, rate("", item)) for _, item in rows]
    return click_log_from_frame(frame.assign(impressions=impressions, clicks=clicks))


def by_number(user: str, item: str) -> float:
    """Click rates of 5, 10, 15 .. percent by the item's number."""
    return 0.05 * (1 + int(re.findall(r"\d+", item)[0]))


def flat(user: str, item: str) -> float:
    return 0.15


def fitted(kind: str, rate: Rate) -> Any:
    return FormulaModel(kind, rate)


def test_simulated_clicks_have_the_predicted_means_and_keep_the_totals_of_contrasts() -> None:
    for model, log in (
        (fitted("pairs", by_number), log_of_pairs(by_number, users=4)),
        (fitted("tests", by_number), log_of_tests(by_number, tests=4)),
    ):
        data = held_out(model, log)
        random = np.random.default_rng(5)
        draws = np.stack([data.simulated_clicks(random) for _ in range(2000)])
        expected = data.rates * data.impressions
        error = draws.std(axis=0) / np.sqrt(len(draws))
        assert (np.abs(draws.mean(axis=0) - expected) < 5 * error).all()
        if model.kind == "tests":
            total = pd.DataFrame(draws.T).groupby(data.owner).sum()
            assert (total.to_numpy() == pd.Series(data.clicks).groupby(data.owner).sum().to_numpy()[:, None]).all()


def test_rates_of_tests_share_the_clicks_that_there_were() -> None:
    log = log_of_tests(by_number, tests=3)
    data = held_out(fitted("tests", by_number), log)
    for _, rows in data.rows.assign(rate=data.rates).groupby("contrast"):
        odds = np.array([by_number("", item) / (1 - by_number("", item)) for item in rows["item_text"]])
        np.testing.assert_allclose(rows["rate"], rows["clicks"].sum() * odds / odds.sum() / 1000)


@pytest.mark.faults
def test_what_cannot_be_validated_is_refused() -> None:
    log = log_of_pairs(by_number, users=8)
    with pytest.raises(ValueError, match="--data must be a log of tests"):
        held_out(fitted("tests", flat), log)
    model = fitted("pairs", flat)
    model.info["seen"] = {"by": "user_text", "keys": {"user_text": hashes(log.users)}, "until": None}
    with pytest.raises(ValueError, match=r"of its 40 pairs of texts 0 are new \(no shared user\)"):
        held_out(model, log)
    model.info["seen"]["keys"]["user_text"] = hashes(log.users[:5])
    assert held_out(model, log).left_out == 25
    del model.info["seen"]
    with pytest.raises(ValueError, match="must say what it was fitted on"):
        held_out(model, log)


def hashes(texts: Sequence[str]) -> str:
    import hashlib

    return "".join(sorted(hashlib.sha256(text.encode()).hexdigest()[:12] for text in texts))


def test_predictive_report_by_segment_and_later_in_time() -> None:
    days = [f"2026-01-{1 + (row % 5):02d}" for row in range(600)]  # item k is always shown on day k
    log = log_of_pairs(by_number, time=days)
    data = held_out(fitted("pairs", flat), log)
    found = predictive(data)
    clicks = data.rows.groupby("item_text")["clicks"].sum() / (0.15 * 200 * 120)
    ratios = sorted(part["ratio"] for name, part in found["segments"].items() if name.startswith("item"))
    np.testing.assert_allclose(ratios, sorted(clicks))
    later = data.rows[data.rows["item_text"].isin(["item 3", "item 4"])]
    assert found["later"]["ratio"] == pytest.approx(later["clicks"].sum() / (0.15 * 200 * 240))
    assert "later half" in found["later"]["rows"]
    model = fitted("pairs", flat)
    model.info["seen"]["until"] = "2026-01-04T00:00:00+00:00"
    assert predictive(held_out(model, log))["later"]["ratio"] == pytest.approx(clicks["item 4"])


def test_quarters_of_users_are_by_how_often_they_were_shown_something() -> None:
    frame = log_of_pairs(flat, users=8).rows.copy()
    frame["impressions"] += [10 * int(user.split()[1]) for user in frame["user_text"]]
    log = click_log_from_frame(frame[["user_text", "item_text", "impressions", "clicks"]])
    found = predictive(held_out(fitted("pairs", flat), log))["segments"]
    assert found["users shown least to most, first quarter"]["impressions"] == 5 * (200 + 210)
    assert found["users shown least to most, fourth quarter"]["impressions"] == 5 * (260 + 270)


def test_parts_of_tests_are_those_of_the_model_s_favourites() -> None:
    data = held_out(fitted("tests", by_number), log_of_tests(by_number, tests=8))
    parts = predictive(data)["segments"]
    assert parts == {}  # all tests were shown as often: there are no quarters
    frame = data.rows[["world", "item_text", "impressions", "clicks"]].rename(columns={"world": "test"})
    frame["impressions"] += [int(test.split()[1]) for test in frame["test"]]
    data = held_out(fitted("tests", by_number), click_log_from_frame(frame))
    part = predictive(data)["segments"]["favourites in tests shown least to most, first quarter"]
    best = [rows["clicks"].iloc[2] for _, rows in data.rows.groupby("world", sort=True)]
    odds = np.array([1 / 19, 1 / 9, 3 / 17])
    total = [rows["clicks"].sum() for _, rows in data.rows.groupby("world", sort=True)]
    assert part["ratio"] == pytest.approx(sum(best[:2]) / sum(total[:2]) / (odds[2] / odds.sum()))


def test_marginals_of_a_right_model_are_within_chance_and_of_a_wrong_one_are_not() -> None:
    first, second = np.array([5.0, 1.0, 4.0]), np.array([2.0, 2.0, 9.0])
    assert jensen_shannon(first, second) == pytest.approx(jensenshannon(first, second, base=2) ** 2)
    log = log_of_pairs(by_number)
    right = marginals(held_out(fitted("pairs", by_number), log), resamples=100, seed=1)
    wrong = marginals(held_out(fitted("pairs", flat), log), resamples=100, seed=1)
    assert right["item"]["js"]["value"] <= right["item"]["js"]["by_chance"]
    assert right["item"]["js"]["low"] == 0
    assert right["item"]["js"]["high"] < 0.001
    shares = np.arange(1, 6) / 15
    limit = jensenshannon(shares, np.full(5, 0.2), base=2) ** 2
    assert wrong["item"]["js"]["low"] < limit < wrong["item"]["js"]["high"]
    assert wrong["item"]["js"]["low"] > wrong["item"]["js"]["by_chance"]
    assert wrong["user"]["js"]["value"] < 0.01  # users do not differ, and the model says so


def test_hours_are_a_marginal_where_there_are_any() -> None:
    times = [f"2026-01-01T{row % 2:02d}:00" for row in range(600)]
    data = held_out(fitted("pairs", flat), log_of_pairs(flat, time=times))
    assert marginals(data, resamples=20, seed=1)["hour"]["categories"] == 2


def test_a_classifier_finds_what_the_model_does_not_know() -> None:
    log = log_of_pairs(by_number, users=60)
    settings: dict[str, Any] = {"max_rows": 1000, "resamples": 100, "null_draws": 20, "seed": 3}
    right = two_sample_test(held_out(fitted("pairs", by_number), log), **settings)
    wrong = two_sample_test(held_out(fitted("pairs", flat), log), **settings)
    assert right is not None
    assert wrong is not None
    assert right["null_low"] < right["auc"] < right["null_high"] < 0.53
    # Items ordered by their clicks: real shares 1/15 .. 5/15 against 1/5 each.
    real, simulated = np.arange(1, 6) / 15, np.full(5, 0.2)
    best = sum(
        r * s * (1.0 if i > j else 0.5 if i == j else 0.0) for i, r in enumerate(real) for j, s in enumerate(simulated)
    )
    assert wrong["auc"] == pytest.approx(best, abs=0.02)
    assert wrong["low"] < wrong["auc"] < wrong["high"]
    assert wrong["p_value"] == pytest.approx(1 / 21)
    told = {feature["name"]: feature["clicks"] for feature in wrong["features"]}
    assert told["item: 4"] == "more"
    assert told["item: 0"] == "fewer"
    assert two_sample_test(held_out(fitted("pairs", flat), log_of_pairs(flat, users=3)), **settings) is None


def test_favourites_by_a_plain_loop() -> None:
    def noisy(user: str, item: str) -> float:
        return 0.1 + 0.01 * (hash_of(user + item) % 10)

    data = held_out(fitted("pairs", noisy), log_of_pairs(flat, users=30))
    found = favourites(fitted("pairs", noisy), data)
    predicted = observed = 0.0
    for _, rows in data.rows.groupby("user_text"):
        best = max(rows.index, key=lambda row: noisy(rows["user_text"][row], rows["item_text"][row]))
        predicted += 200 * noisy(rows["user_text"][best], rows["item_text"][best])
        observed += rows["clicks"][best]
    assert found["each"]["predicted"] == pytest.approx(predicted / 6000, rel=0.01)  # ties may be broken otherwise
    assert found["each"]["ratio"] < 0.9  # everybody likes everything alike: the favourites are noise
    assert found["members"] is None


def hash_of(text: str) -> int:
    return sum(ord(letter) * place**2 for place, letter in enumerate(text, start=1))


def test_favourites_of_a_member_are_judged_by_the_others() -> None:
    high: Any = fitted("pairs", lambda user, item: 0.4 if item == "item 1" else 0.1)
    other: Any = fitted("pairs", lambda user, item: 0.3 if item == "item 2" else 0.2)
    model: Any = FormulaEnsemble(flat, [high, other])
    found = favourites(model, held_out(model, log_of_pairs(flat, users=10)))["members"]
    assert found["predicted"] == pytest.approx((0.4 + 0.3) / 2)
    assert found["observed"] == pytest.approx((0.2 + 0.1) / 2)


def test_perturbations_move_what_the_formula_says_and_rivals_stay() -> None:
    def shouting(user: str, item: str) -> float:
        return 0.3 if item.isupper() else 0.2

    found = perturbations(
        fitted("pairs", shouting), held_out(fitted("pairs", shouting), log_of_pairs(flat)), max_texts=50, seed=1
    )
    assert found["capitals"]["mean"] == pytest.approx(0.5)
    assert found["capitals"]["rows"] == 50
    assert found["emoji"]["largest_rise"] == found["keywords"]["mean_size"] == 0
    model = fitted("tests", shouting)
    found = perturbations(model, held_out(model, log_of_tests(flat)), max_texts=30, seed=1)
    gap = logit(0.3) - logit(0.2)
    alone = 1 / (1 + np.exp(-(logit(0.1) + gap * 2 / 3)))  # above the mean of three by two thirds of the gap
    assert found["capitals"]["largest_rise"] == pytest.approx(alone / 0.1 - 1)
    assert found["capitals"]["mean"] == pytest.approx(alone / 0.1 - 1)
    assert found["capitals"]["rows"] == 30
    assert all(change("A plain text.") != "A plain text." for change in PERTURBATIONS.values())
    model = fitted("pairs", shouting)
    model.info["columns"] = {"user": {}}
    assert (
        perturbations(model, held_out(model, log_of_pairs(flat)), max_texts=50, seed=1).keys() == PERTURBATIONS.keys()
    )
    model.info["columns"] = {"item": {}}  # an item of another text would have none
    assert perturbations(model, held_out(model, log_of_pairs(flat)), max_texts=50, seed=1) == {}


def small_config(**changes: Any) -> LoadedValidation:
    overrides = ["horizon=400", "replications=30", "resamples=200", "placebo=400"]
    loaded = load_validation(None, "pairs", overrides)
    labels = ("FixedSplit", "A/B test", "EpsilonGreedy 0.3", "Model, greedy")
    policies = {label: loaded.policies[label] for label in labels}
    policies["A/B test"] = policies["A/B test"] | {"visitors": 100}
    return loaded._replace(policies=policies, config=loaded.config.model_copy(update=changes))


def results(random: np.random.Generator, means: Sequence[float], units: int) -> Played:
    shared = random.normal(size=units)
    value = np.array(means)[:, None] + 0.05 * random.normal(size=(len(means), units)) + shared
    return Played(value, np.array(means))


def test_agreement_by_plain_loops_and_other_libraries() -> None:
    random = np.random.default_rng(7)
    real = results(random, [0.30, 0.32, 0.40, 0.50, 0.36], 60)
    model = results(random, [0.30, 0.36, 0.38, 0.45, 0.42], 50)
    config = small_config().config
    found = compare(model, real, 0, config, paired=False)
    pairs = list(combinations(range(5), 2))
    p_values = [ttest_rel(real.value[a], real.value[b]).pvalue for a, b in pairs]
    rejected = multipletests(p_values, alpha=0.05, method="holm")[0]
    m, r = model.value.mean(axis=1), real.value.mean(axis=1)
    wrong = [
        [a, b] for (a, b), counts in zip(pairs, rejected, strict=True) if counts and (m[a] - m[b]) * (r[a] - r[b]) < 0
    ]
    assert found["significant"] == rejected.sum()
    assert found["wrong"] == wrong == [[2, 4]]
    assert found["same"] == rejected.sum() - 1
    assert found["significant_uncorrected"] == sum(p <= 0.05 for p in p_values)
    assert found["tau_b"]["value"] == pytest.approx(kendalltau(m, r).statistic)
    x, y = (m - m[0]) / 0.3, (r - r[0]) / 0.3
    assert found["slope"]["value"] == pytest.approx(np.linalg.lstsq(x[:, None], y, rcond=None)[0][0])
    assert found["slope"]["low"] < found["slope"]["value"] < found["slope"]["high"]
    same = compare(real, real, 0, config, paired=True)
    alike = [same["share"]["value"], same["tau_b"]["value"], same["slope"]["value"], same["slope"]["low"]]
    np.testing.assert_allclose(alike, 1.0)
    turned = compare(Played(-real.value, real.level), real, 0, config, paired=True)
    assert turned["share"]["value"] == 0
    assert turned["tau_b"]["value"] == pytest.approx(-1)


def worlds_of(model: Any, real: Any) -> Worlds:
    tables = [PropensityTable.single_world(np.array(p)) for p in (model, real)]
    users = tables[0].p.shape[1]
    return Worlds(tables[0], tables[1], "planted", np.zeros((users, 1)), np.zeros((1, tables[0].p.shape[2], 1)))


def test_policies_play_the_real_world_with_the_model_s_predictions() -> None:
    model, real = [[0.2, 0.9, 0.1]], [[0.5, 0.3, 0.1]]
    loaded, worlds = small_config(), worlds_of(model, real)
    assert worlds.real is not None
    greedy = list(loaded.policies).index("Model, greedy")
    np.testing.assert_allclose(play(worlds.model, worlds, loaded).value[greedy], 0.0, atol=1e-6)
    np.testing.assert_allclose(play(worlds.real, worlds, loaded).value[greedy], 0.3 - 0.5, atol=1e-6)
    found = policy_rank_agreement(worlds, loaded)
    assert found is not None
    rows = {row["policy"]: row for row in found["policies"]}
    assert rows["FixedSplit"]["real"] == pytest.approx(np.mean(real), abs=0.01)
    assert rows["Model, greedy"]["predicted_uplift"] > 0.1
    assert rows["Model, greedy"]["real_uplift"] < rows["EpsilonGreedy 0.3"]["real_uplift"]
    assert policy_rank_agreement(worlds._replace(real=None), loaded) is None


def test_a_sparse_log_of_many_users_and_items_is_never_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    rows = [(f"user {number}", f"item {number}", 100, 15) for number in range(2000)]
    log = click_log_from_frame(pd.DataFrame(rows, columns=["user_text", "item_text", "impressions", "clicks"]))
    model, config = fitted("pairs", flat), small_config().config
    data = held_out(model, log)
    monkeypatch.setattr(worlds, "_scored", lambda *_: "a table")
    monkeypatch.setattr(worlds.models, "table_features", lambda *_, **__: (np.zeros(1), np.zeros(1)))
    tracemalloc.start()
    made = worlds.make_worlds(model, log, data, None, config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.real is None
    assert made.truth.startswith("unknown: 0 of 2,000 held-out users were shown every one of the 2,000 items")
    assert peak < 2000 * 2000  # bytes, where a table of all users and items takes 8 for each pair


def test_identical_arms_leave_nothing_to_find() -> None:
    loaded = small_config(horizon=2000)
    found = placebo(worlds_of([[0.2, 0.4, 0.6], [0.1, 0.1, 0.1]], [[0.0] * 3] * 2), loaded)
    assert found["largest_regret"] == 0
    assert found["low"] < 0.025 < found["high"]
    assert 0 < found["shipped"] < 0.06


def test_an_aspect_is_validated_when_all_its_lines_say_so() -> None:
    def lines(*given: str) -> list[Line]:
        return [Line("ranking", "", "", "", answer) for answer in given]  # type: ignore[arg-type]

    assert answers(lines("yes", "yes"))["ranking"] == "yes"
    assert answers(lines("yes", "cannot tell"))["ranking"] == "cannot tell"
    assert answers(lines("yes", "cannot tell", "no"))["ranking"] == "no"
    assert answers([])["dynamics"] == "cannot tell"
    assert inside(None, None, [0.9, 1.1]) == "cannot tell"


def test_the_verdict_holds_numbers_to_thresholds() -> None:
    model = fitted("pairs", by_number)
    data = held_out(model, log_of_pairs(by_number))
    truth = np.array([[by_number("", f"item {k}") for k in range(5)]])
    loaded = small_config()
    found: dict[str, Any] = {
        "truth": "planted",
        "predictive": predictive(data),
        "marginals": marginals(data, resamples=100, seed=1),
        "two_sample": two_sample_test(data, max_rows=1000, resamples=100, null_draws=20, seed=1),
        "agreement": policy_rank_agreement(worlds_of(truth, truth), loaded),
        "placebo": {"largest_regret": 0.0, "low": 0.01, "nominal": 0.025, "high": 0.04, "shipped": 0.02, "tests": 400},
        "favourites": favourites(model, data),
        "perturbations": perturbations(model, data, max_texts=20, seed=1),
    }
    few = Thresholds(policies=4, pairs=3)
    assert answers(verdict(found, "pairs", few)) == {"ranking": "yes", "level": "yes", "dynamics": "cannot tell"}
    assert answers(verdict(found, "pairs", Thresholds()))["ranking"] == "cannot tell"  # 4 policies are not 12
    assert answers(verdict(found, "tests", few))["level"] == "cannot tell"  # tests have no level
    (line,) = [
        line for line in verdict(found | {"perturbations": {}}, "pairs", few) if line.question == "texts changed"
    ]
    assert line.answer == "cannot tell"
    found["agreement"] = policy_rank_agreement(worlds_of(truth[:, ::-1], truth), loaded)
    assert answers(verdict(found, "pairs", few))["ranking"] == "no"
    found["favourites"] = favourites(fitted("pairs", flat), held_out(fitted("pairs", flat), log_of_pairs(by_number)))
    found["placebo"]["largest_regret"] = 0.5
    wrong = [line.question for line in verdict(found, "pairs", few) if line.answer == "no"]
    assert "identical arms" in wrong


def test_many_parts_are_held_to_the_band_at_once() -> None:
    part = {"ratio": 0.7, "low": 0.6, "high": 0.79}
    one = _parts("", [part], [0.8, 1.25])
    assert one.answer == "no"
    many = _parts("", [part, *[{"ratio": 1.0, "low": 0.99, "high": 1.01}] * 9], [0.8, 1.25])
    assert many.answer == "cannot tell"  # z rises from 1.96 to 2.81: 0.56 to 0.83
    assert "9 inside, 0 outside, 1 undecided" in many.found


@pytest.mark.parametrize("kind", ["pairs", "tests"])
def test_bundled_configs_hold_twelve_policies_or_more(kind: Any) -> None:
    loaded = load_validation(None, kind)
    assert len(loaded.policies) >= loaded.config.thresholds.policies == 12


@pytest.mark.faults
def test_mistakes_in_a_config_are_named() -> None:
    for overrides, message in (
        (["horizn=5"], "Did you mean `horizon`?"),
        (["reference=Nobody"], "reference: must be one of the policies. Got 'Nobody'"),
        (["thresholds.level=[2, 3]"], "must be two numbers around 1"),
        (["policies.UCB1.wdth=2"], "Did you mean `width`?"),
    ):
        with pytest.raises(ValueError, match="pairs has 1 problem") as caught:
            load_validation(None, "pairs", overrides)
        assert message in str(caught.value)
    assert isinstance(load_validation(None, "pairs").config, ValidationConfig)
