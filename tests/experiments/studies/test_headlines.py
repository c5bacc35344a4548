"""The study `headlines`: its truths, its play, its choices and intervals against independent ones; leaks; bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import yaml
from scipy import stats as reference
from scipy.stats import t as student
from typer.testing import CliRunner

from bandits.random import CLICKS, stream_key, world_uniform
from bandits.reward_models.split import seen_rate
from experiments.cli import app
from experiments.problems import ConfigError
from experiments.studies import headlines
from experiments.studies.config import load_study
from experiments.studies.headlines import play
from experiments.studies.headlines.candidates import BEST, Candidate, families
from experiments.studies.headlines.config import Candidates, HeadlinesData, HeadlinesStudy
from experiments.studies.headlines.data import (
    LEARNS_ONLY,
    SEPARATE,
    HeadlineLog,
    _parts_of,
    fold_splits,
    read_headlines,
)
from experiments.studies.headlines.facts import facts
from experiments.studies.headlines.play import make_groups, mean_visits
from experiments.studies.headlines.predictions import predicted_headlines, tfidf_rates
from experiments.studies.headlines.results import best_with_model, choose, gains, remaining, vanishing_point, with_best
from experiments.studies.headlines.run import run_headlines
from experiments.studies.headlines.truths import factor_variance, half_samples, make_truth, shrunken_rates
from policies import PriorUCB

CONFIG = Path(headlines.__file__).parents[1] / "configs" / "headlines.yaml"
WORDS = ("amazing", "shocking", "quiet", "plain", "blue", "seven", "mother", "river", "secret", "ordinary")


def archive(folder: Path, tests: int = 60, name: str = "archive.csv", seed: int = 0, first: int = 0) -> Path:
    """Tests of three headlines each; `secret` makes clicks twice as frequent, and every story is one test."""
    random = np.random.default_rng(seed)
    rows = []
    for test in range(first, first + tests):
        words = [" ".join(random.choice(WORDS, 3, replace=False)) + f" {test} {arm}" for arm in range(3)]
        for text in words:
            shown = int(random.integers(2000, 4000))
            rate = 0.03 * (2.0 if "secret" in text else 1.0)
            rows.append(
                (f"{0x53000000 + test:08x}{test:016x}", text, f"image {test}", shown, random.binomial(shown, rate))
            )
    columns = ["clickability_test_id", "headline", "eyecatcher_id", "impressions", "clicks"]
    frame = pd.DataFrame(rows, columns=columns).assign(test_week="201446")
    frame.to_csv(folder / name, index=False)
    return folder / name


def study(**changes: Any) -> HeadlinesStudy:
    small: dict[str, Any] = {
        "study": "headlines",
        "scorer": "tfidf",
        "folds": 3,
        "visitors": [20, 60],
        "candidates": {
            "exploration": [0.2, 0.5],
            "weights": [30.0, 300.0],
            "thompson_weights": [30.0, 3000.0],
            "widths": [0.0, 0.003],
        },
        "tuning_visits": 60,
        "visits": 120,
    }
    return HeadlinesStudy.model_validate(small | changes)


def rows_of(numbers: list[list[tuple[int, int]]], predicted: list[list[float]] | None = None) -> pd.DataFrame:
    """Rows as `predicted_headlines` makes them, of tests given as clicks and impressions of their headlines."""
    flat = [(test, *counts) for test, headlines in enumerate(numbers) for counts in headlines]
    rows = pd.DataFrame(flat, columns=["test", "clicks", "impressions"]).assign(fold=0, base=0.05)
    return rows.assign(predicted=np.concatenate(predicted) if predicted else 0.05)


def test_shrunken_rates_against_a_loop_and_the_planted_variance() -> None:
    random = np.random.default_rng(1)
    tests, arms, variance = 4000, 3, 0.07
    test = np.repeat(np.arange(tests), arms)
    level = np.repeat(random.uniform(0.01, 0.03, tests), arms)
    true = level * random.gamma(1 / variance, variance, tests * arms)
    impressions = random.integers(1000, 5000, tests * arms)
    clicks = random.binomial(impressions, true)
    found = factor_variance(impressions, clicks, test)
    assert found == pytest.approx(variance, rel=0.06)
    rates = shrunken_rates(impressions, clicks, test)
    for number in (0, 17):
        rows = np.flatnonzero(test == number)
        mu = clicks[rows].sum() / impressions[rows].sum()
        for row in rows:
            expected = mu * (1 / found + clicks[row]) / (1 / found + mu * impressions[row])
            assert rates[row] == pytest.approx(expected, rel=1e-12)
    assert np.mean((rates - true) ** 2) < 0.9 * np.mean((clicks / impressions - true) ** 2)


def test_rates_that_do_not_differ_are_shrunken_to_their_tests() -> None:
    """Chance alone would make these headlines differ by more."""
    impressions, clicks = np.array([1000, 1000, 500, 500, 100, 100]), np.array([20, 20, 5, 5, 0, 0])
    test = np.array([0, 0, 1, 1, 2, 2])
    assert factor_variance(impressions, clicks, test) == 0
    np.testing.assert_allclose(shrunken_rates(impressions, clicks, test), [0.02, 0.02, 0.01, 0.01, 0, 0])


def test_halves_add_up_and_err_independently() -> None:
    random = np.random.default_rng(2)
    impressions = random.integers(400, 900, 20_000)
    clicks = random.binomial(impressions, 0.1)
    truth = half_samples(impressions, clicks, seed=5)
    first = impressions // 2
    in_first, in_second = truth.drawn * first, truth.counted * (impressions - first)
    np.testing.assert_allclose(in_first + in_second, clicks)
    np.testing.assert_allclose(in_first, np.rint(in_first), atol=1e-9)
    # Given the true rate, what one half errs by says nothing of the other.
    assert reference.pearsonr(truth.drawn - 0.1, truth.counted - 0.1).pvalue > 0.001
    assert reference.pearsonr(truth.drawn - 0.1, clicks / impressions - 0.1).statistic > 0.6
    again, other = (half_samples(impressions, clicks, seed=seed).drawn for seed in (5, 6))
    np.testing.assert_array_equal(truth.drawn, again)
    assert (truth.drawn != other).any()
    once = half_samples(np.array([1, 1]), np.array([0, 1]), seed=1)
    np.testing.assert_array_equal(once.drawn, once.counted)


def test_play_is_the_textbook_loop() -> None:
    """UCB with a prior worth m visits, written out in plain Python for each replication of each test."""
    numbers = [[(30, 100), (50, 100), (10, 100)], [(5, 100), (25, 100), (20, 100)]]
    predicted = [[0.31, 0.27, 0.2], [0.12, 0.1, 0.15]]
    rows = rows_of(numbers, predicted)
    drawn = (rows["clicks"] / rows["impressions"]).to_numpy()
    m, width, visitors, repeats, seed = 40.0, 0.02, 30, 4, 9
    (group,) = make_groups(rows, drawn, repeats, by_fold=True)
    visits = mean_visits(group, Candidate("", lambda arms, n: PriorUCB(m, width)), visitors, seed=seed, threads=1)
    expected = np.zeros((2, 3))
    for replication in range(2 * repeats):
        test, key = replication % 2, np.uint64(stream_key(seed, CLICKS, replication))
        p = np.float32(drawn).astype(float).reshape(2, 3)[test]
        clicks, pulls, q = np.zeros(3), np.zeros(3), np.array(predicted[test])
        for t in range(3 * visitors):
            index = (m * q + clicks) / (m + pulls) + np.sqrt(width * np.log(t + 1) / (m + pulls))
            arm = int(np.argmax(index))
            pulls[arm] += 1
            clicks[arm] += world_uniform(key, t, 0) < p[arm]
        expected[test] += pulls / repeats
    np.testing.assert_allclose(visits, expected)


def test_everybody_has_the_same_visitors_and_the_ab_test_ships_for_the_rest() -> None:
    rows = rows_of([[(0, 100), (100, 100)], [(100, 100), (0, 100), (0, 100)]])
    drawn = (rows["clicks"] / rows["impressions"]).to_numpy()
    grid = Candidates(exploration=[0.4], weights=[10.0, 100.0], thompson_weights=[10.0], widths=[0.01])
    for family in families(grid):
        for group in make_groups(rows, drawn, 8, by_fold=False):
            visits = mean_visits(group, family.candidates[-1], 50, seed=1, threads=1)
            np.testing.assert_allclose(visits.sum(axis=1), 50 * group.rows.shape[1])
            if family.name == "A/B test":  # who never clicks is never shipped: seen in the test only
                tested = 0.4 * 50 * group.rows.shape[1]
                best = drawn[group.rows].argmax(axis=1)
                shipped = visits[np.arange(len(best)), best]
                assert np.all(shipped > 50 * group.rows.shape[1] - tested)
                assert visits.sum() - shipped.sum() < tested
                assert visits.min() > 0.2 * tested / group.rows.shape[1]


def test_groups_share_no_luck() -> None:
    rows = rows_of([[(5, 100)] * 2, [(5, 100)] * 3, [(5, 100)] * 2]).assign(fold=[0, 0, 0, 0, 0, 1, 1])
    groups = make_groups(rows, np.full(7, 0.05), 4, by_fold=True)
    spans = [range(group.first, group.first + 4 * len(group.tests)) for group in groups]
    assert sorted(number for span in spans for number in span) == list(range(12))
    assert [group.tests.tolist() for group in groups] == [[0], [1], [2]]


def test_choices_never_see_the_fold_that_they_are_for() -> None:
    random = np.random.default_rng(3)
    fold = random.integers(-1, 3, 40)
    clicks = {family.name: random.gamma(2.0, size=(len(family.candidates), 40)) for family in families(Candidates())}
    chosen = {name: choose(values, fold) for name, values in clicks.items()}
    policies = families(Candidates())
    best = best_with_model(policies, clicks, chosen, fold)
    assert set(best) == {0, 1, 2}
    for f in range(3):
        outside = {name: values[:, fold != f].sum(axis=1) for name, values in clicks.items()}
        assert all(chosen[name][f] == int(np.argmax(totals)) for name, totals in outside.items())
        informed = {policy.name: outside[policy.name].max() for policy in policies if policy.without}
        assert best[f] == max(informed, key=informed.__getitem__)
        spoilt = {
            name: np.where(fold == f, 1e6 * random.random(values.shape), values) for name, values in clicks.items()
        }
        again = {name: choose(values, fold) for name, values in spoilt.items()}
        assert all(again[name][f] == chosen[name][f] for name in clicks)
        assert best_with_model(policies, spoilt, again, fold)[f] == best[f]


def test_gains_against_a_weighted_regression_with_clustered_errors() -> None:
    """The ratio of sums is the slope of a regression through the origin, weighted by one over the denominator."""
    random = np.random.default_rng(4)
    policies, fold = families(Candidates()), random.integers(0, 2, 80)
    story = random.integers(0, 30, 80).astype(str)
    wide = pd.DataFrame({family.name: random.gamma(5.0, size=80) for family in policies})
    clicks = with_best(wide, fold, {0: "UCB + model", 1: "Thompson + model"}, policies)
    visits = np.full(80, 100.0)
    found = gains(clicks, visits, story.tolist(), 0.9).set_index("policy")
    expected_best = np.where(fold == 0, wide["UCB + model"], wide["Thompson + model"])
    cold = np.where(fold == 0, wide["UCB"], wide["Thompson"])
    flat = np.where(fold == 0, wide["UCB, flat prior"], wide["Thompson"])
    for comparison, base in {"over_ab": wide["A/B test"].to_numpy(), "over_without": cold, "over_flat": flat}.items():
        fit = sm.WLS(expected_best - base, base, weights=1 / base).fit(
            cov_type="cluster", cov_kwds={"groups": story, "use_correction": False}, use_t=True
        )
        units = len(np.unique(story))
        half = reference.t.ppf(0.95, units - 1) * fit.bse[0] * np.sqrt(units / (units - 1))
        row = found.loc[BEST]
        assert row[comparison] == pytest.approx(fit.params[0])
        assert row[f"{comparison}_low"] == pytest.approx(fit.params[0] - half)
        assert row[f"{comparison}_high"] == pytest.approx(fit.params[0] + half)
    assert found.loc[BEST, "clicks_per_1000"] == pytest.approx(1000 * expected_best.sum() / 8000)
    assert np.isnan(found.loc["UCB", "over_without"])
    assert np.isnan(found.loc["A/B test", "over_ab"])


def test_facts_of_a_model_that_is_always_right_beside_one_that_is_always_wrong() -> None:
    numbers = [[(20 + 3 * test, 1000), (60 + test, 1000), (110 + 5 * test, 1000)] for test in range(8)]
    rows = rows_of(numbers).assign(predicted=np.tile([0.02, 0.05, 0.1], 8), tfidf=np.tile([0.1, 0.05, 0.02], 8))
    rows["group"] = [f"story {test // 2}" for test in rows["test"]]
    told = facts(rows, study(scorer="reward_model"))
    assert "8 tests of 24 headlines in 4 stories are judged." in told
    assert "BERT (sentence-transformers/all-MiniLM-L6-v2) orders 100.0% of all 24 pairs" in told
    assert "TF-IDF with a linear score orders 0.0% of all 24 pairs" in told
    assert "BERT's lead is 100.0 points on all pairs and 100.0 points on those." in told  # stories do not differ
    mixed = rows.assign(tfidf=rows["tfidf"].where(rows["test"] >= 4, rows["predicted"]))  # 2 of 4 stories
    margin = 100 * student.ppf(0.975, 3) * np.std([0, 0, 1, 1], ddof=1) / 2
    interval = f"(-{margin - 50:.1f} to {50 + margin:.1f})"
    assert f"BERT's lead is 50.0 points {interval} on all pairs" in facts(mixed, study(scorer="reward_model"))
    expected = rows["predicted"] / (1 - rows["predicted"])  # clicks of a test fall where odds times impressions say
    expected *= (rows["clicks"].groupby(rows["test"]).transform("sum")) / expected.groupby(rows["test"]).transform(
        "sum"
    )
    order = np.argsort(expected / rows["impressions"], kind="stable")
    parts = np.floor((np.arange(24) + 0.5) / 2.4).astype(int)  # equal impressions: tenths of 24 rows by their middles
    ratio = [rows["clicks"][order[parts == n]].sum() / expected[order[parts == n]].sum() for n in range(10)]
    assert f"lie between {min(ratio):.3f} and {max(ratio):.3f} in the tenths" in told
    alone = facts(rows.assign(predicted=rows["tfidf"]), study())
    assert "BERT" not in alone
    assert "TF-IDF with a linear score orders 0.0%" in alone


def test_where_gains_vanish_and_what_remains() -> None:
    lows = {"observed": [0.02, 0.01, -0.01], "half-sample": [0.01, -0.01, -0.02]}
    rows = [
        {"truth": truth, "visitors": n, "policy": BEST}
        | {
            f"{c}{end}": low + add
            for c in ("over_ab", "over_without", "over_flat")
            for end, add in (("", 0.02), ("_low", 0), ("_high", 0.04))
        }
        for truth, values in lows.items()
        for n, low in zip((25, 100, 400), values, strict=True)
    ]
    results = pd.DataFrame(rows)
    assert vanishing_point(results[results["truth"] == "observed"], "over_ab") == 400
    assert vanishing_point(results[results["truth"] == "half-sample"], "over_ab") == 100
    assert vanishing_point(results[results["visitors"] == 25].head(1), "over_ab") is None
    table = remaining(results)
    half = table[(table["truth"] == "half-sample") & (table["comparison"] == "over_ab")].set_index("visitors")["share"]
    assert half[25] == pytest.approx(0.03 / 0.04)
    assert np.isnan(half[400])


def test_no_model_learns_from_a_story_that_it_predicts(tmp_path: Path) -> None:
    file = archive(tmp_path)
    frame = pd.read_csv(file)
    frame.loc[frame.index[3], "headline"] = frame.loc[frame.index[30], "headline"]  # tests 1 and 10 become one story
    frame.to_csv(file, index=False)
    found = read_headlines(HeadlinesData(path=str(file)), folds=3, seed=1)
    assert found.cross_fitted
    assert found.rows["group"].nunique() == 59
    assert found.rows.assign(fold=found.fold).groupby("group")["fold"].nunique().max() == 1
    splits = list(fold_splits(found, 1))
    assert sorted(name for split in splits for name in split.test["contrast"].unique()) == sorted(
        found.rows["contrast"].unique()
    )
    for split in splits:
        learned = pd.concat([split.train, split.validation, split.calibration])
        assert not set(learned["group"]) & set(split.test["group"])
        assert len(learned) + len(split.test) == len(found.rows)


@pytest.mark.parametrize("how", ["train", "exclude"])
def test_faulty_weeks_teach_of_no_story_that_is_used_otherwise(tmp_path: Path, how: str) -> None:
    sound = pd.read_csv(archive(tmp_path))
    faulty = pd.read_csv(archive(tmp_path, name="older.csv", seed=1, first=1000)).assign(test_week="201330")
    faulty["eyecatcher_id"] = sound["eyecatcher_id"].to_numpy()  # every faulty test is of the story of a sound one
    pd.concat([sound, faulty]).to_csv(tmp_path / "both.csv", index=False)
    config = study(data={"path": str(tmp_path / "both.csv"), "faulty_weeks": how})
    headlines = read_headlines(config.data, folds=3, seed=1)
    assert len(headlines.rows) == len(sound)
    for split in fold_splits(headlines, seed=1):
        older = split.train["item_text"].isin(faulty["headline"])
        assert older.any() == (how == "train")
        assert not any(part["item_text"].isin(faulty["headline"]).any() for part in list(split.parts.values())[1:])
        elsewhere = pd.concat([split.validation, split.calibration, split.test])
        assert not set(split.train["group"]) & set(elsewhere["group"])
        learned = pd.concat([split.train[~older], split.validation, split.calibration])
        assert seen_rate(headlines.log, split) == learned["clicks"].sum() / learned["impressions"].sum()


def test_predictions_do_not_depend_on_the_clicks_that_they_predict(tmp_path: Path) -> None:
    found = read_headlines(HeadlinesData(path=str(archive(tmp_path))), folds=3, seed=1)
    split = next(iter(fold_splits(found, 1)))
    spoilt = type(split)(split.train, split.validation, split.calibration, split.test.assign(clicks=0), "group")
    rates = tfidf_rates(split, 0.04, overdispersion=0.3)
    np.testing.assert_array_equal(rates, tfidf_rates(spoilt, 0.04, overdispersion=0.3))
    secret = split.test["item_text"].str.contains("secret").to_numpy()
    assert rates[secret].mean() > 1.3 * rates[~secret].mean()


def test_stories_of_the_test_file_are_dropped_from_the_training_file(tmp_path: Path) -> None:
    train, test = archive(tmp_path, 60), archive(tmp_path, 20, "test.csv", seed=7, first=100)
    frame = pd.read_csv(test)
    frame.loc[frame.index[0], "eyecatcher_id"] = "image 5"  # a picture of training test 5
    frame.to_csv(test, index=False)
    found = read_headlines(HeadlinesData(train=str(train), test=str(test)), folds=5, seed=1)
    assert found.dropped == 1
    assert found.folds == [0]
    assert not found.cross_fitted
    assert (found.fold == 0).sum() == 3 * 20 - 1  # a headline alone under its image is no test
    (split,) = fold_splits(found, 1)
    judged = set(found.rows.loc[found.fold == 0, "group"])
    tuning = split.test[~split.test["group"].isin(judged)]
    learned = pd.concat([split.train, split.validation, split.calibration])
    assert len(tuning) > 0
    assert not set(learned["group"]) & (judged | set(tuning["group"]))
    assert len(learned) + len(split.test) == len(found.rows) == 3 * 79 - 1


def test_the_study_from_file_to_page_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = archive(tmp_path, 70)
    frame = pd.read_csv(file)
    frame["headline"] = frame["headline"].str.replace("blue", "<b>blue</b>")
    frame.to_csv(file, index=False)
    config = study(data={"path": str(file)})
    out = tmp_path / "out"
    page = run_headlines(config, out, threads=1)
    results = pd.read_csv(out / "results.csv")
    assert len(results) == 3 * 2 * 11
    row = results[(results["truth"] == "observed") & (results["visitors"] == 20) & (results["policy"] == BEST)].iloc[0]
    assert row["over_ab_low"] > 0.05  # one word tells the winner: a model that reads it needs no visitors
    assert row["over_without_low"] > 0.05
    plays = pd.read_parquet(out / "tests.parquet")
    assert len(plays) == 3 * 2 * 70
    part = plays[(plays["truth"] == "half-sample") & (plays["visitors"] == 60)]
    gain = part[BEST].sum() / part["A/B test"].sum() - 1
    found = results[
        (results["truth"] == "half-sample") & (results["visitors"] == 60) & (results["policy"] == BEST)
    ].iloc[0]
    assert found["over_ab"] == pytest.approx(gain)
    choices = pd.read_csv(out / "choices.csv")
    assert set(choices["fold"]) == {0, 1, 2}
    text = page.read_text(encoding="utf-8")
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "LOLA" in text
    assert "| best with model |" in (out / "tables.md").read_text(encoding="utf-8")

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("everything was played already")

    monkeypatch.setattr(play, "simulate", refuse)
    run_headlines(config, out, threads=1)
    pd.testing.assert_frame_equal(pd.read_csv(out / "results.csv"), results)
    with pytest.raises(AssertionError, match="already"):
        run_headlines(config.model_copy(update={"seed": 2}), tmp_path / "other", threads=1)


def test_files_given_separately_are_judged_by_the_second(tmp_path: Path) -> None:
    train, test = archive(tmp_path, 80), archive(tmp_path, 30, "test.csv", seed=7, first=100)
    data = {"train": str(train), "test": str(test)}
    run_headlines(study(data=data, visitors=[20], truths=["observed"]), tmp_path / "out", threads=1)
    plays = pd.read_parquet(tmp_path / "out" / "tests.parquet")
    assert len(plays) == 30
    assert (plays["fold"] == 0).all()
    rows = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert set(rows["fold"]) == {0, LEARNS_ONLY}
    assert plays[BEST].notna().all()


@pytest.mark.model
def test_bert_predicts_each_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models import RewardModel
    from experiments.progress import Reporter

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fit = {"loss": "within_test", "weights": "tiny", "epochs": 1, "device": "cpu"}
    config = study(data={"path": str(archive(tmp_path, 45))}, scorer="reward_model", reward_model=fit, folds=2)
    found = read_headlines(config.data, folds=2, seed=1)
    rows = predicted_headlines(found, config, tmp_path / "out", Reporter())
    assert len(rows) == 135
    assert rows["predicted"].between(0, 1).all()
    fold = rows["fold"] == 1
    log_odds = np.log(rows["predicted"] / (1 - rows["predicted"]))
    base = np.log(rows["base"] / (1 - rows["base"]))
    np.testing.assert_allclose((log_odds - base).groupby(rows["test"]).mean(), 0, atol=1e-9)
    outside = rows[~fold]
    assert rows.loc[fold, "base"].iloc[0] == pytest.approx(outside["clicks"].sum() / outside["impressions"].sum())

    def refuse(*args: object) -> None:
        raise AssertionError("everything was scored already")

    monkeypatch.setattr(RewardModel, "scores", refuse)
    again = predicted_headlines(found, config, tmp_path / "out", Reporter())
    pd.testing.assert_frame_equal(again, rows)


def test_the_bundled_config_is_valid_and_has_the_defaults() -> None:
    raw = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config = HeadlinesStudy.model_validate(raw, strict=True)
    plain = HeadlinesStudy(study="headlines")
    assert config.model_copy(update={"reward_model": plain.reward_model}) == plain


@pytest.mark.faults
def test_bad_configs_are_refused_at_once(tmp_path: Path) -> None:
    file = archive(tmp_path)
    with pytest.raises(ConfigError) as error:
        load_study(
            "headlines",
            [
                f"data.train={file}",
                f"data.path={tmp_path / 'gone.csv'}",
                "visitors=[100, 25]",
                "candidates.widths=[0.1, 0.1]",
                "truths=[half-sample, half-sample]",
                "reward_model.loss=binomial",
            ],
        )
    paths = [problem.path for problem in error.value.problems]
    assert paths == ["data.path", "data.path", "visitors", "candidates.widths", "truths", "reward_model.loss"]
    with pytest.raises(ConfigError, match=r"data\.test: must be another file"):
        load_study("headlines", [f"data.train={file}", f"data.test={file}"])
    with pytest.raises(ConfigError, match=r"data\.path: must be the Upworthy archive's file"):
        load_study("headlines")
    with pytest.raises(ConfigError, match=r"candidates\.exploration.*less than 1"):
        load_study("headlines", [f"data.path={file}", "candidates.exploration=[1.0]"])


@pytest.mark.faults
def test_data_that_cannot_be_used(tmp_path: Path) -> None:
    few = archive(tmp_path, 2)
    with pytest.raises(ValueError, match=r"must have tests to judge in each of 5 folds"):
        read_headlines(HeadlinesData(path=str(few)), folds=5, seed=1)
    copy = tmp_path / "copy.csv"
    copy.write_bytes(few.read_bytes())
    with pytest.raises(ValueError, match="must lie in one file"):
        read_headlines(HeadlinesData(train=str(few), test=str(copy)), folds=5, seed=1)
    silent = archive(tmp_path, 30, "silent.csv")
    pd.read_csv(silent).assign(clicks=0).to_csv(silent, index=False)
    with pytest.raises(ValueError, match=r"must have stories with clicks to fit a model with"):
        list(fold_splits(read_headlines(HeadlinesData(path=str(silent)), folds=2, seed=1), 1))


def test_run_knows_that_it_is_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["run", "headlines", "--set", "data.path=gone.csv"])
    assert result.exit_code == 2
    assert "headlines is a study: this runs `bandits study headlines`." in result.stderr
    assert "data.path: must be a file" in result.stderr


def test_truths_by_name() -> None:
    counts = np.array([100, 200]), np.array([10, 30]), np.array([0, 0])
    np.testing.assert_allclose(make_truth("observed", *counts, seed=1).counted, [0.1, 0.15])
    shrunken = make_truth("shrunken", *counts, seed=1)
    np.testing.assert_array_equal(shrunken.drawn, shrunken.counted)
    half = make_truth("half-sample", *counts, seed=1)
    np.testing.assert_allclose(half.drawn * [50, 100] + half.counted * [50, 100], [10, 30])


def test_tests_are_drawn_whole(tmp_path: Path) -> None:
    file = archive(tmp_path)
    drawn = read_headlines(HeadlinesData(path=str(file), max_tests=25), folds=2, seed=1)
    assert isinstance(drawn, HeadlineLog)
    assert drawn.rows["contrast"].value_counts().tolist() == [3] * 25
    other = read_headlines(HeadlinesData(path=str(file), max_tests=25), folds=2, seed=2)
    assert set(other.rows["contrast"]) != set(drawn.rows["contrast"])


@pytest.mark.parametrize("count", [5, 40, 300])
def test_parts_are_shares_of_the_stories_and_none_is_empty(count: int) -> None:
    stories = [f"story {number}" for number in range(count)]
    parts = _parts_of(stories, SEPARATE, 1)
    held = [-(-percent * count // 100) for percent in (4, 6, 12)]  # rounded up
    assert np.bincount(list(parts.values())).tolist() == [count - sum(held), *held]
    assert _parts_of(stories[::-1], SEPARATE, 1) == parts, "whatever the order they come in"
    assert any(_parts_of(stories, SEPARATE, seed) != parts for seed in range(2, 12))
