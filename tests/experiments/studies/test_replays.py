"""Replays of A/B tests: made-up files with known answers, bad files, resuming, and the real data where they lie."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError
from scipy import stats as reference
from typer.testing import CliRunner

from bandits.reward_models import read_click_log
from experiments.cli import app
from experiments.studies import asos, upworthy
from experiments.studies.asos import prepare, read_asos, run_asos
from experiments.studies.replay_config import AsosStudy, UpworthyStudy, quick_replay, replay_problems
from experiments.studies.replay_page import verdict
from experiments.studies.replay_results import judged, summarised
from experiments.studies.upworthy import HeadlineTest, drawn_tests, headline_tests, random_orders, run_upworthy

SHARED = Path(__file__).parents[4] / "shared" / "data"
CONFIGS = Path(asos.__file__).parent / "configs"


def asos_rows(
    experiment: str, variant: int, treated: list[float], metric: int = 1, per_look: int = 10_000, control: float = 0.1
) -> pd.DataFrame:
    """A test with one look a day; `treated` are the cumulative rates of the treatment, exact in the counts."""
    count = per_look * np.arange(1.0, len(treated) + 1)
    rate = np.array(treated)
    return pd.DataFrame(
        {
            "experiment_id": experiment,
            "variant_id": variant,
            "metric_id": metric,
            "time_since_start": np.arange(1.0, len(treated) + 1),
            "count_c": count,
            "count_t": count,
            "mean_c": control,
            "mean_t": rate,
            "variance_c": control * (1 - control),
            "variance_t": rate * (1 - rate),
        }
    )


# At 10,000 users an arm and day the pooled standard error is about 0.0042 after one day and 0.0021 after four.
LOSER = [0.11, 0.104, 0.1, 0.098]  # z of +2.3 on day 1, -0.9 at the end
WINNER = [0.103, 0.108, 0.11, 0.11]  # z of +4.6 at the end
NOTHING = [0.1, 0.101, 0.1, 0.1]


def asos_file(folder: Path, *tests: pd.DataFrame) -> Path:
    file = folder / "asos.parquet"
    pd.concat(tests, ignore_index=True).to_parquet(file)
    return file


def asos_config(file: Path, **options: object) -> AsosStudy:
    return AsosStudy.model_validate({"study": "asos", "data": {"path": str(file), "metrics": [1], **options}})


def three_tests(folder: Path) -> Path:
    return asos_file(folder, asos_rows("a", 1, LOSER), asos_rows("b", 1, WINNER), asos_rows("c", 1, NOTHING))


def test_a_planted_loser_is_shipped_by_peeking_and_not_by_spending(tmp_path: Path) -> None:
    page = run_asos(asos_config(three_tests(tmp_path)), tmp_path / "out")
    frame = pd.read_parquet(tmp_path / "out" / "decisions.parquet").set_index(["rule", "test"])
    assert frame.loc[("naive peeking", "a/1"), ["side", "look", "worse", "unproven"]].tolist() == [1, 1, 1, 1]
    assert frame.loc[("naive peeking", "b/1"), ["side", "found", "worse"]].tolist() == [1, 1, 0]
    assert frame.loc[("O'Brien-Fleming", "a/1"), "side"] == 0
    assert (frame.xs("c/1", level="test").drop("expected loss")["side"] == 0).all()
    results = pd.read_csv(tmp_path / "out" / "results.csv").set_index("rule")
    assert results.loc["naive peeking", ["worse_count", "worse_of", "worse"]].tolist() == [1, 2, 0.5]
    assert math.isnan(results.loc["fixed horizon", "worse_low"])  # 0 by definition
    html = page.read_text(encoding="utf-8")
    assert "a/1" in html
    assert "Lan-DeMets" in html
    assert "data:image/svg+xml" in html
    assert all((tmp_path / "out" / "figures" / f"shares.{kind}").is_file() for kind in ("png", "svg"))


def test_what_the_final_data_say_by_hand() -> None:
    decisions = pd.DataFrame(
        {
            "rule": "naive peeking",
            "test": ["a", "b", "c", "d"],
            "cluster": ["a", "b", "c", "d"],
            "looks": 10,
            "look": [2, 10, 5, 10],
            "time": [2.0, 10.0, 5.0, 10.0],
            "last_time": 10.0,
            "side": [1, -1, -1, 0],
            "lift": [0.2, -0.1, -0.3, 0.01],
            "final_lift": [-0.05, -0.1, 0.2, 0.0],
            "final_z": [-1.0, -3.0, 2.5, 2.2],
        }
    )
    row = summarised(judged(decisions, 0.05), by={"metric": "m"}).iloc[0]
    assert row[["declared", "early", "unproven", "worse", "clearly_worse"]].tolist() == pytest.approx(
        [3 / 4, 2 / 4, 2 / 3, 2 / 3, 1 / 3]
    )
    assert row["found"] == pytest.approx(1 / 3)  # b; c went the wrong way, d was missed
    assert row["chance_worse"] == pytest.approx(reference.norm.cdf([1.0, -3.0, 2.5]).mean())
    assert row["time_used"] == pytest.approx(2.7 / 4)
    assert row["promise_kept"] == pytest.approx((-0.05 + 0.1 - 0.2) / 0.6)
    assert row["median_time"] == 5.0


def test_other_metrics_use_their_variance(tmp_path: Path) -> None:
    rows = asos_rows("a", 1, [1.0, 1.3], metric=4, control=1.0)
    rows[["variance_c", "variance_t"]] = 400.0  # a standard error of 0.2 at the end, so z = 1.5
    run_asos(asos_config(asos_file(tmp_path, rows, asos_rows("b", 1, NOTHING)), metrics=[1, 4]), tmp_path / "out")
    frame = pd.read_parquet(tmp_path / "out" / "decisions.parquet")
    other = frame[frame["metric"] == "metric 4"]
    np.testing.assert_allclose(other["final_z"], 0.3 / math.sqrt(2 * 400 / 20_000))
    assert set(other["rule"]) == {"fixed horizon", "naive peeking", "O'Brien-Fleming", "Pocock", "mSPRT"}


def test_what_is_set_aside_is_said(tmp_path: Path) -> None:
    falling = asos_rows("a", 1, LOSER)
    falling.loc[2, ["count_c", "count_t"]] = [50_000, 50_000]  # more than at the end
    empty = asos_rows("b", 1, WINNER)
    empty.loc[:1, "variance_t"] = np.nan
    lost = asos_rows("c", 1, WINNER)
    lost["variance_c"] = np.nan
    file = asos_file(tmp_path, falling, empty, lost, asos_rows("d", 1, [0.1]))
    comparisons, notes = prepare(read_asos(file), [1], 0.002)
    assert [(c.experiment, c.days.tolist()) for c in comparisons] == [
        ("a", [1.0, 2.0, 4.0]),
        ("b", [3.0, 4.0]),
        ("d", [1.0]),
    ]
    text = "\n".join(notes)
    assert "6 looks have no variance" in text
    assert "1 looks added less" in text
    assert "c/1, metric 1" in text
    assert "1 tests have a single look, so that no rule can stop them early: d/1, metric 1." in text


def test_an_interrupted_replay_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, out = asos_config(three_tests(tmp_path)), tmp_path / "out"
    played: list[str] = []
    real = asos._replayed

    def watched(comparisons: list[asos.Comparison], study: AsosStudy) -> pd.DataFrame:
        if len(played) == 2:
            raise KeyboardInterrupt
        played.append(comparisons[0].experiment)
        return real(comparisons, study)

    monkeypatch.setattr(asos, "_replayed", watched)
    with pytest.raises(KeyboardInterrupt):
        run_asos(config, out)
    assert played == ["a", "b"]
    played.clear()
    run_asos(config, out)
    assert played == ["c"]
    resumed = (out / "results.csv").read_bytes()
    monkeypatch.undo()
    run_asos(config, tmp_path / "whole")
    assert (tmp_path / "whole" / "results.csv").read_bytes() == resumed


def test_a_folder_of_another_study_is_refused(tmp_path: Path) -> None:
    config, out = asos_config(three_tests(tmp_path)), tmp_path / "out"
    run_asos(config, out)
    other = config.model_copy(update={"rules": config.rules.model_copy(update={"alpha": 0.01})})
    with pytest.raises(FileExistsError, match=r"rules\.alpha: was 0\.05, is now 0\.01"):
        run_asos(other, out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(FileExistsError, match="is not a study"):
        run_asos(config, tmp_path / "full")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda rows: rows.drop(columns=["mean_t", "variance_c"]), "Missing: mean_t, variance_c"),
        (lambda rows: rows.iloc[:0], "it must have rows"),
        (lambda rows: rows.assign(mean_c="much"), r"`mean_c` must be a number\. Got row 1 \(much\)"),
        (lambda rows: rows.assign(count_t=-1.0), "`count_t` must be a number, not below 0"),
        (lambda rows: rows.assign(count_t=np.nan), "`count_t` must be a number"),
        (lambda rows: rows.assign(variant_id=1.5), "`variant_id` must be a whole number"),
        (lambda rows: rows.assign(mean_t=2.0), r"metric 1 must lie in \[0, 1\]"),
        (lambda rows: rows.assign(time_since_start=1.0), "must be there once"),
        (lambda rows: rows.assign(variance_c=np.nan), "must hold a test with variances"),
        (lambda rows: rows.assign(metric_id=3), "`data.metrics` must be metrics of the file"),
    ],
)
def test_bad_files_get_one_clear_message(tmp_path: Path, change: object, text: str) -> None:
    file = tmp_path / "bad.parquet"
    change(asos_rows("a", 1, LOSER)).to_parquet(file)  # type: ignore[operator]
    with pytest.raises(ValueError, match=text):
        run_asos(asos_config(file), tmp_path / "out")


@pytest.mark.faults
def test_all_problems_of_a_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    asos_rows("a", 1, LOSER).assign(mean_c="x", count_c="y").to_csv(file, index=False)
    with pytest.raises(ValueError, match=r"`bad\.csv` is not the ASOS dataset") as caught:
        read_asos(file)
    assert "`mean_c`" in str(caught.value)
    assert "`count_c`" in str(caught.value)


def test_csv_and_parquet_are_read_alike(tmp_path: Path) -> None:
    rows = asos_rows("a", 1, LOSER)
    rows.loc[0, "variance_c"] = np.nan
    rows.to_csv(tmp_path / "asos.csv", index=False)
    pd.testing.assert_frame_equal(read_asos(tmp_path / "asos.csv"), read_asos(asos_file(tmp_path, rows)))


@pytest.mark.faults
@pytest.mark.parametrize("study", [AsosStudy, UpworthyStudy])
def test_configs_are_strict(study: type[AsosStudy | UpworthyStudy], tmp_path: Path) -> None:
    kind = "asos" if study is AsosStudy else "upworthy"
    with pytest.raises(ValidationError, match="extra_forbidden"):
        study.model_validate({"study": kind, "rules": {"alpa": 0.05}})
    with pytest.raises(ValidationError, match="less than 1"):
        study.model_validate({"study": kind, "rules": {"alpha": 5}})
    assert "must be" in str(replay_problems(study.model_validate({"study": kind}))[0])
    gone = study.model_validate(
        {"study": kind, "data": {"path": str(tmp_path / "gone")}, "rules": {"prior": [0.0, 1.0]}}
    )
    assert [problem.path for problem in replay_problems(gone)] == ["data.path", "rules.prior"]


@pytest.mark.parametrize(("name", "study"), [("asos", AsosStudy), ("upworthy_peeking", UpworthyStudy)])
def test_bundled_configs_are_valid(name: str, study: type[AsosStudy | UpworthyStudy]) -> None:
    config = study.model_validate(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")), strict=True)
    assert config.name == name
    assert [problem.path for problem in replay_problems(config)] == ["data.path"]
    assert quick_replay(config).name == f"{name}-quick"


def test_random_orders_against_enumeration() -> None:
    """Three visitors in each arm, one click each: after three visitors the counts are multivariate hypergeometric."""
    test = HeadlineTest("t", "s", 3, (1, 1), (3, 3))
    orders = random_orders(test, orders=20_000, looks=2, seed=1)
    np.testing.assert_array_equal(orders.visitors[:, 1], np.full((20_000, 2), 3))
    np.testing.assert_array_equal(orders.clicks[:, 1], np.ones((20_000, 2)))
    law = reference.multivariate_hypergeom([2, 1, 2, 1], 3)  # no click and click of the first, then of the second
    halves = np.concatenate([orders.visitors[:, 0] - orders.clicks[:, 0], orders.clicks[:, 0]], axis=1)[:, [0, 2, 1, 3]]
    values, counts = np.unique(halves.astype(np.int64), axis=0, return_counts=True)
    chances = law.pmf(values)
    assert chances.sum() == pytest.approx(1.0)
    assert reference.chisquare(counts, chances * 20_000).pvalue > 0.001


def test_random_orders_are_keyed_by_seed_and_test(monkeypatch: pytest.MonkeyPatch) -> None:
    test = HeadlineTest("t", "s", 3, (40, 50), (300, 300))
    first, again = (random_orders(test, orders=4, looks=5, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.clicks, again.clicks)
    assert (random_orders(test, orders=4, looks=5, seed=2).clicks != first.clicks).any()
    assert (random_orders(test._replace(number=4), orders=4, looks=5, seed=1).clicks != first.clicks).any()
    assert (np.diff(first.predictive_p, axis=1) <= 0).all()
    monkeypatch.setattr(upworthy, "_VISITS_AT_ONCE", 1300)  # two orders at a time
    for whole, pieces in zip(first, random_orders(test, orders=4, looks=5, seed=1), strict=True):
        np.testing.assert_array_equal(whole, pieces)


@pytest.mark.statistics
def test_random_orders_of_equal_headlines_keep_the_predictive_level() -> None:
    """Totals drawn where both headlines are alike, then put into random order: as if the visitors had come in turn."""
    random, rejected = np.random.default_rng(4), 0
    for number in range(1500):
        n = random.binomial(600, 0.5)
        clicks = random.binomial([n, 600 - n], 0.1)
        test = HeadlineTest("t", "s", number, (int(clicks[0]), int(clicks[1])), (int(n), 600 - int(n)))
        rejected += random_orders(test, orders=1, looks=1, seed=1, prior=(5.0, 45.0)).predictive_p[0, 0] <= 0.05
    assert 0 < rejected <= reference.binom.ppf(0.995, 1500, 0.05)


def archive(folder: Path) -> Path:
    """Three tests of two headlines each; in the last nobody clicked."""
    frame = pd.DataFrame(
        {
            "clickability_test_id": np.repeat([f"546d88fb84ad38b2ce0000{n}" for n in (24, 25, 26)], 2),
            "headline": [f"headline {n}" for n in range(6)],
            "eyecatcher_id": np.repeat(["x", "y", "z"], 2),
            "impressions": 1500,
            "clicks": [20, 70, 30, 31, 0, 0],
            "test_week": "201446",
        }
    )
    frame.to_csv(folder / "archive.csv")
    return folder / "archive.csv"


def upworthy_config(file: Path, **options: object) -> UpworthyStudy:
    return UpworthyStudy.model_validate({"study": "upworthy", "data": {"path": str(file)}, **options})


def test_headline_tests_are_replayed_in_random_orders(tmp_path: Path) -> None:
    page = run_upworthy(upworthy_config(archive(tmp_path), looks=10, orders=6), tmp_path / "out")
    frame = pd.read_parquet(tmp_path / "out" / "decisions.parquet")
    assert frame.groupby("rule")["test"].nunique().eq(2).all()
    assert frame.groupby(["rule", "test"])["order"].nunique().eq(6).all()
    z = frame[frame["rule"] == "fixed horizon"].groupby("test")["final_z"].first()
    difference = np.array([50, 1]) / 1500
    pooled = np.array([90, 61]) / 3000
    np.testing.assert_allclose(z, difference / np.sqrt(pooled * (1 - pooled) * 2 / 1500))
    clear = frame[frame["test"] == z.idxmax()]
    assert (clear["side"] == 1).all()  # z of 5.4: every rule, in every order
    assert "random order" in page.read_text(encoding="utf-8")
    assert "2 pairs of headlines" in (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")


def test_tests_without_clicks_or_with_few_visitors_are_left_out(tmp_path: Path) -> None:
    log = read_click_log(archive(tmp_path))
    tests = headline_tests(log, 20)
    assert [test.clicks for test in tests] == [(20, 70), (30, 31)]
    assert len(drawn_tests(tests, 1, seed=1)) == 1
    with pytest.raises(ValueError, match="must hold two headlines with clicks and 5000 visitors"):
        headline_tests(log, 5000)


def test_verdict_without_any_winner(tmp_path: Path) -> None:
    run_asos(asos_config(asos_file(tmp_path, asos_rows("a", 1, NOTHING), asos_rows("b", 1, NOTHING))), tmp_path / "out")
    summary = pd.read_csv(tmp_path / "out" / "results.csv")
    assert verdict(summary, "days") == "Naive peeking declared no winner in any of 2 tests, so it shipped no loser."
    assert "no winner" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def shared(*parts: str) -> Path:
    file = SHARED.joinpath(*parts)
    if not file.is_file():
        pytest.skip(f"the shared {parts[0]} data are not on this machine")
    return file


@pytest.mark.statistics
def test_real_shop_tests(tmp_path: Path) -> None:
    """Facts of the published data: 58 experiments with 71 treatments; more looks ship more."""
    file = shared("asos_experiments", "asos_digital_experiments_dataset.train80.parquet")
    config = quick_replay(asos_config(file, metrics=[1]))
    assert isinstance(config, AsosStudy)
    run_asos(config, tmp_path / "out")
    results = pd.read_csv(tmp_path / "out" / "results.csv").set_index("rule")
    assert results.loc["naive peeking", ["tests", "clusters"]].tolist() == [71, 58]
    assert results.loc["naive peeking", "declared"] > results.loc["fixed horizon", "declared"]
    assert results.loc["naive peeking", "worse_count"] > results.loc["O'Brien-Fleming", "worse_count"]


@pytest.mark.statistics
def test_real_headline_tests(tmp_path: Path) -> None:
    file = shared("upworthy", "upworthy-archive-exploratory-packages-03.12.2020.train80.csv")
    config = quick_replay(upworthy_config(file))
    assert isinstance(config, UpworthyStudy)
    run_upworthy(config, tmp_path / "out")
    results = pd.read_csv(tmp_path / "out" / "results.csv").set_index("rule")
    assert results.loc["naive peeking", "tests"] == 100
    assert results.loc["naive peeking", "unproven"] > results.loc["O'Brien-Fleming", "unproven"]


def test_the_command_replays_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three_tests(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ["study", "asos", "--set", "data.path=asos.parquet", "--set", "data.metrics=[1]", "--out", "here"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "here" / "report.html").is_file()
    assert str(tmp_path / "asos.parquet") in (tmp_path / "here" / "config.yaml").read_text(encoding="utf-8")
    missing = CliRunner().invoke(app, ["study", "asos"])
    assert missing.exit_code == 2
    assert "data.path: must be the ASOS dataset's file. Say --set data.path=FILE." in missing.output
