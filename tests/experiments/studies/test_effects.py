from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from bandits.statistics import power_two_proportions, proportion_difference, two_proportion_test
from experiments.cli import app
from experiments.progress import Reporter
from experiments.studies import effects as module
from experiments.studies.config import load_study
from experiments.studies.effects import measure, run_effects
from experiments.studies.folder import StudyFolder
from experiments.studies.results import TARGET, look_up


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["study", *arguments])
    return result.exit_code, result.stdout, result.stderr


def run(source: Path, out: Path, *overrides: str, threads: int = 1) -> pd.DataFrame:
    """The results of a study, without drawing its page."""
    loaded = load_study(source, overrides)
    return measure(loaded, StudyFolder.start(out, loaded.config), threads, Reporter())[1]


def enumerated(n: int, rates: tuple[float, float], statistic: object) -> float:
    """Expectation of `statistic(x1, n1, x0, n0)` over a split by visit of `n` visitors, term by term."""
    total = 0.0
    for n1 in range(n + 1):
        n0 = n - n1
        x1, x0 = np.meshgrid(np.arange(n1 + 1), np.arange(n0 + 1), indexing="ij")
        chance = stats.binom.pmf(n1, n, 0.5) * stats.binom.pmf(x1, n1, rates[1]) * stats.binom.pmf(x0, n0, rates[0])
        total += float((chance * statistic(x1, np.full_like(x1, n1), x0, np.full_like(x0, n0))).sum())  # type: ignore[operator]
    return total


def rejects(x1: np.ndarray, n1: np.ndarray, x0: np.ndarray, n0: np.ndarray) -> np.ndarray:
    if n1.flat[0] == 0 or n0.flat[0] == 0:
        return np.zeros(x1.shape)
    return (two_proportion_test(x1, n1, x0, n0).p_value <= 0.05).astype(float)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A study of short tests, whose operating characteristics can be enumerated."""
    folder = tmp_path_factory.mktemp("exact")
    (folder / "exact.yaml").write_text(
        "study: effects\nname: exact\nseed: 5\nbaseline: test\n"
        "world: {base_rate: 0.3, visitors: 50, effects: [-0.2, 0, 0.3]}\n"
        "simulation: {replications: 6000, chunk: 6000}\n"
        "policies: {test: {policy: ABTest, visitors: 40}, split: {policy: FixedSplit}}\n"
    )
    return run(folder / "exact.yaml", folder / "out")


@pytest.mark.statistics
@pytest.mark.parametrize("effect", [-0.2, 0, 0.3])
def test_rejections_equal_the_enumeration(exact: pd.DataFrame, effect: float) -> None:
    found = look_up(exact, "test", effect, "rejects")
    truth = enumerated(40, (0.3, 0.3 + effect), rejects)
    assert abs(found.value - truth) <= 4 * found.error

    def ships(x1: np.ndarray, n1: np.ndarray, x0: np.ndarray, n0: np.ndarray) -> np.ndarray:
        return rejects(x1, n1, x0, n0) * (x1 * n0 > x0 * n1)

    shipped = look_up(exact, "test", effect, "ships_new")
    truth = enumerated(40, (0.3, 0.3 + effect), ships)
    assert abs(shipped.value - truth) <= 4 * max(shipped.error, 1e-3)
    best = look_up(exact, "test", effect, "ships_best")
    worse = look_up(exact, "test", effect, "ships_worse")
    if effect > 0:
        assert best.value == shipped.value
        assert worse.value == 0
    elif effect < 0:
        assert worse.value == shipped.value
        assert best.value == pytest.approx(1 - shipped.value)
    else:
        assert best.replications == 0
        assert worse.value == 0


@pytest.mark.statistics
@pytest.mark.parametrize("effect", [-0.2, 0, 0.3])
def test_coverage_and_bias_equal_the_enumeration(exact: pd.DataFrame, effect: float) -> None:
    def covers(x1: np.ndarray, n1: np.ndarray, x0: np.ndarray, n0: np.ndarray) -> np.ndarray:
        if n1.flat[0] == 0 or n0.flat[0] == 0:
            return np.zeros(x1.shape)
        interval = proportion_difference(x1, n1, x0, n0)
        return ((interval.low <= effect) & (effect <= interval.high)).astype(float)

    for policy, length in (("test", 40), ("split", 50)):
        found = look_up(exact, policy, effect, "coverage", "naive, Newcombe", TARGET)
        assert abs(found.value - enumerated(length, (0.3, 0.3 + effect), covers)) <= 4 * found.error
        bias = look_up(exact, policy, effect, "bias", "difference of sample means", TARGET)
        assert abs(bias.value) <= 4 * bias.error


@pytest.mark.statistics
@pytest.mark.parametrize("effect", [-0.2, 0, 0.3])
def test_clicks_lost_equal_the_closed_forms(exact: pd.DataFrame, effect: float) -> None:
    split = look_up(exact, "split", effect, "lost")
    assert abs(split.value - 50 * abs(effect) / 2) <= 4 * split.error + 1e-12
    during = look_up(exact, "test", effect, "lost_in_test")
    assert abs(during.value - 40 * abs(effect) / 2) <= 4 * during.error + 1e-12
    after = look_up(exact, "test", effect, "lost").value - during.value
    wrong = 1 - look_up(exact, "test", effect, "ships_best").value if effect else 0.0
    assert after == pytest.approx(10 * abs(effect) * wrong, abs=1e-9)
    assert look_up(exact, "test", effect, "visitors_mean").value == 40
    saving = look_up(exact, "split", effect, "saving")
    if effect:
        assert saving.value == pytest.approx(1 - split.value / look_up(exact, "test", effect, "lost").value)
    else:
        assert saving.replications == 0


@pytest.mark.statistics
def test_power_of_a_long_test_is_what_the_formula_says(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(
        "study: effects\nname: long\nseed: 6\nbaseline: test\n"
        "world: {base_rate: 0.1, visitors: 4000, effects: [0, 0.02, 0.03]}\n"
        "simulation: {replications: 3000, chunk: 3000}\n"
        "policies: {test: {policy: ABTest, visitors: 4000}}\n"
    )
    found = run(tmp_path / "long.yaml", tmp_path / "out")
    for effect in (0, 0.02, 0.03):
        measured = look_up(found, "test", effect, "rejects")
        assert abs(measured.value - power_two_proportions(0.1, effect, 2000)) <= 4 * measured.error + 0.004


@pytest.mark.statistics
def test_holm_keeps_the_level_over_several_arms_and_the_winner_looks_better_than_it_is(tmp_path: Path) -> None:
    (tmp_path / "arms.yaml").write_text(
        "study: effects\nname: arms\nseed: 7\nbaseline: test\n"
        "world: {base_rate: 0.3, visitors: 600, effects: [0, 0.1], arms: 4, profile: [0, 0.5, -1, 1]}\n"
        "simulation: {replications: 4000, chunk: 4000}\n"
        "policies: {test: {policy: ABTest, visitors: 400}}\n"
    )
    found = run(tmp_path / "arms.yaml", tmp_path / "out")
    assert 0.02 <= look_up(found, "test", 0, "rejects").value <= 0.058
    assert look_up(found, "test", 0.1, "ships_worse").value < 0.01
    assert look_up(found, "test", 0.1, "ships_best").value < look_up(found, "test", 0.1, "ships_new").value
    bias = look_up(found, "test", 0.1, "bias", "difference of sample means", "shipped")
    assert bias.low > 0.02


def test_bandits_decide_at_the_end(small: Path, tmp_path: Path) -> None:
    run_effects(load_study(small), tmp_path / "out", threads=1)
    found = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert found[(found["policy"] == "UCB1") & (found["measure"] == "lost_in_test")].empty
    assert set(found["replications"][found["policy"] == "greedy"]) <= set(range(21))
    weighted = found[found["estimator"].str.startswith("AIPW") & (found["measure"] == "coverage")]
    assert weighted[weighted["policy"] == "UCB1"]["value"].isna().all()
    assert weighted[weighted["policy"] == "greedy"]["value"].notna().any()
    text = " ".join((tmp_path / "out" / "summary.txt").read_text().split())
    assert "UCB1: AIPW is not defined, because its propensities are 0 or 1." in text
    assert "is the arm that it showed most often" in text


def test_numbers_do_not_depend_on_chunks_threads_or_company(small: Path, tmp_path: Path) -> None:
    whole = run(small, tmp_path / "a")
    pd.testing.assert_frame_equal(whole, run(small, tmp_path / "b", "simulation.chunk=7"))
    pd.testing.assert_frame_equal(whole, run(small, tmp_path / "c", threads=2))
    more = run(small, tmp_path / "d", "policies.FixedSplit={}")
    pd.testing.assert_frame_equal(whole, more[more["policy"] != "FixedSplit"].reset_index(drop=True))
    other = run(small, tmp_path / "e", "seed=4")
    assert not whole["value"].equals(other["value"])


@pytest.mark.faults
def test_an_interrupted_study_goes_on_where_it_stopped(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(small, tmp_path / "whole")
    played, simulate = [], module.simulate

    def interrupted(*arguments: object, **options: object) -> object:
        if "first_replication" not in options:  # a policy is only tried
            return simulate(*arguments, **options)  # type: ignore[arg-type]
        played.append(options["first_replication"])
        if len(played) == 5:
            raise KeyboardInterrupt
        return simulate(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "simulate", interrupted)
    code, _, err = call(str(small), "--out", str(tmp_path / "out"), "--threads", "1")
    assert code == 130
    assert "the same command goes on from here" in err
    assert len(list((tmp_path / "out" / "cells").glob("[!.]*"))) == 4
    damaged = next((tmp_path / "out" / "cells").glob("*/curves.parquet"))
    damaged.write_bytes(b"nothing")
    code, out, err = call(str(small), "--out", str(tmp_path / "out"), "--threads", "1")
    assert code == 0
    assert "is damaged; it is computed again" in err
    assert len(played) == 5 + 24 - 4 + 1
    assert Path(out.splitlines()[-1]) == tmp_path / "out" / "report.html"
    pd.testing.assert_frame_equal(whole, pd.read_parquet(tmp_path / "out" / "results.parquet"))
    assert (tmp_path / "whole" / "results.csv").read_bytes() == (tmp_path / "out" / "results.csv").read_bytes()


@pytest.mark.faults
def test_a_folder_with_another_study_is_left_alone(small: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    code, _, err = call(str(small), "--out", str(tmp_path / "full"))
    assert code == 2
    assert "exists and is not a study" in err
    run(small, tmp_path / "out")
    code, _, err = call(str(small), "--out", str(tmp_path / "out"), "--set", "seed=9")
    assert code == 2
    assert "seed: was 3, is now 9" in err
    code, _, err = call("two-arm")
    assert code == 2
    assert "Did you mean `two-arms`?" in err


def test_the_page_is_one_file_and_names_its_methods(small: Path, tmp_path: Path) -> None:
    overrides = ["policies={'<b>': {policy: ABTest, visitors: 60}}", "baseline=<b>", "simulation.fewer={}"]
    run_effects(load_study(small, overrides), tmp_path / "out", threads=1)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>, finds" not in page
    assert "&lt;b&gt;" in page
    assert 'src="data:image/svg+xml;base64,' in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "pooled z tests of every arm against the control, two-sided, Holm over the arms" in page
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert table["method"].notna().all()
    assert {"value", "mc_error", "mc_low", "mc_high", "replications"} <= set(table.columns)


def test_bundled_studies_are_listed() -> None:
    result = CliRunner().invoke(app, ["list", "studies"])
    assert result.exit_code == 0
    assert {"two-arms", "several-arms"} <= {line.partition(": ")[0] for line in result.stdout.splitlines()}
