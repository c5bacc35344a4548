"""The benchmark of accuracy by training size: its numbers against a loop over pairs, its splits, and its command."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from benchmarks import training_size
from experiments.studies.headlines.config import HeadlinesData
from experiments.studies.headlines.data import HeadlineLog, fold_splits, read_headlines

WORDS = ("amazing", "shocking", "quiet", "plain", "blue", "seven", "mother", "river", "ordinary", "late")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests of three headlines each, of which those with `secret` are clicked on twice as often."""
    random = np.random.default_rng(3)
    rows = []
    for test in range(90):
        words = [" ".join(random.choice(WORDS, 3, replace=False)) + f" {test} {arm}" for arm in range(3)]
        words[test % 3] += " secret"
        for text in words:
            rate = 0.06 if text.endswith("secret") else 0.03
            clicks = random.binomial(3000, rate)
            rows.append((f"{0x53000000 + test:08x}{test:016x}", text, f"image {test}", 3000, clicks, "201446"))
    names = ["clickability_test_id", "headline", "eyecatcher_id", "impressions", "clicks", "test_week"]
    path = tmp_path_factory.mktemp("archive") / "archive.csv"
    pd.DataFrame(rows, columns=names).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def headlines(archive: Path) -> HeadlineLog:
    return read_headlines(HeadlinesData(path=str(archive)), folds=3, seed=1)


def test_shares_of_pairs_and_their_intervals_against_a_loop(headlines: HeadlineLog) -> None:
    rows = headlines.rows
    scores = np.random.default_rng(5).normal(size=len(rows))
    right, story = [], []
    for _, test in rows.groupby("contrast"):
        for a, b in combinations(test.index, 2):
            difference = rows["clicks"][a] / rows["impressions"][a] - rows["clicks"][b] / rows["impressions"][b]
            if difference != 0:
                right.append(float((scores[a] > scores[b]) == (difference > 0)))
                story.append(rows["group"][a])
    everywhere, significant = training_size.ordered_rightly(scores, rows)
    assert everywhere.value == pytest.approx(np.mean(right))
    numbers = pd.factorize(pd.Series(story))[0]
    robust = sm.OLS(right, np.ones(len(right))).fit(cov_type="cluster", cov_kwds={"groups": numbers}, use_t=True)
    assert (everywhere.low, everywhere.high) == pytest.approx(tuple(robust.conf_int()[0]), abs=2e-3)
    assert significant.low < significant.value < significant.high
    assert significant.high - significant.low > everywhere.high - everywhere.low


def test_smaller_shares_are_part_of_larger_ones_and_judge_the_same(headlines: HeadlineLog) -> None:
    split = next(fold_splits(headlines, 1))
    parts = {share: training_size.thinned(split, share, 1) for share in (0.25, 0.5, 1.0)}
    stories = [set(part.train["group"]) for part in parts.values()]
    assert stories[0] < stories[1] < stories[2] == set(split.train["group"])
    assert 0.1 < len(stories[0]) / len(stories[2]) < 0.4
    assert all(part.test.equals(split.test) and part.validation.equals(split.validation) for part in parts.values())


@pytest.mark.model
def test_command_tells_more_stories_from_fewer(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLICK_BANDITS_CACHE", str(tmp_path / "cache"))
    begin, end = f"<!-- {training_size.PART}: written by the benchmarks -->", f"<!-- end of {training_size.PART} -->"
    page = tmp_path / training_size.PAGE
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    fit = [f"reward_model.{change}" for change in ("members=1", "weights=tiny", "epochs=1", "device=cpu")]
    small = [word for change in (f"data.path={archive}", "folds=3", *fit) for word in ("--set", change)]
    model = ["--model", "tiny", "max_length=16", "epochs=2"]
    training_size.main([*small, "--shares", "1", "0.1", *model, "--write", str(tmp_path)])
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line[:2] == "| "]
    found = {name: [row for row in lines if row[0].startswith(name)] for name in (training_size.TFIDF, "tiny")}
    few, all_of_them = found[training_size.TFIDF]
    assert float(few[2]) < float(all_of_them[2])
    assert float(all_of_them[3].split("%")[0]) > max(75.0, float(few[3].split("%")[0])), "it learned what `secret` does"
    assert [row[0].strip() for row in found["tiny"]] == ["tiny", "tiny", "tiny, max_length=16, epochs=2"]
    assert [row[2] for row in found["tiny"]] == [few[2], all_of_them[2], all_of_them[2]], "headlines learned from"
    assert few[4].strip() == "–"
    lead = float(found["tiny"][1][3].split("%")[0]) - float(all_of_them[3].split("%")[0])
    assert float(found["tiny"][1][4].split(" points")[0]) == pytest.approx(lead, abs=0.11)
    assert page.read_text().startswith("before")
    assert "old" not in page.read_text()
    assert (tmp_path / "images" / "headlines-training-size.png").stat().st_size > 10_000


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shares", "0", "1"], "--shares must be above 0 and at most 1. Got [0.0, 1.0]."),
        (["--model", "tiny", "epochs"], "--model takes WEIGHTS, then KEY=VALUE. Got epochs."),
        (["--model", "all-MiniLM-L6-v2"], "Got all-MiniLM-L6-v2, all-MiniLM-L6-v2."),
    ],
)
def test_impossible_options_are_refused(
    archive: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        training_size.main(["--set", f"data.path={archive}", *arguments])
    assert message in " ".join(capsys.readouterr().err.split())
