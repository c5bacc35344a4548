"""`check_log`: numbers against statsmodels and by hand, and the page that people read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bandits.reward_models import check_log, click_log_from_frame, read_click_log
from bandits.reward_models.log_report import scripts
from bandits.statistics import minimum_detectable_effect


def test_hopeless_traffic_is_said_to_be_hopeless(pairs_frame: pd.DataFrame) -> None:
    text = check_log(click_log_from_frame(pairs_frame), weights="tiny", impressions_per_day=1.0).to_text()
    assert "7 days                   none: even a click rate of 100% would go unnoticed" in text


def test_scripts_are_counted_by_letters() -> None:
    assert scripts(["news 12!", "новости", "新闻ニ"]) == pytest.approx(
        {"Cyrillic": 7 / 14, "Latin": 4 / 14, "Cjk": 2 / 14, "Katakana": 1 / 14}
    )


def test_report_counts_what_is_in_the_log(pairs_frame: pd.DataFrame) -> None:
    pairs_frame["time"] = pd.date_range("2026-01-01", periods=len(pairs_frame), freq="3h")
    frame = pd.concat([pairs_frame, pairs_frame.iloc[:2]])
    report = check_log(click_log_from_frame(frame, name="clicks.csv"), weights="tiny")
    assert report.counts["rows"] == 302
    assert (report.counts["users"], report.counts["items"], report.counts["groups"]) == (60, 5, 60)
    assert report.facts["identical rows"] == report.facts["repeated pairs"] == 2
    assert report.impressions_per_day == pytest.approx(302 * 400 / 38)
    assert report.detectable["7 days"] == pytest.approx(
        minimum_detectable_effect(report.click_rate, report.impressions_per_day * 7 / 5)
    )
    assert [a.supported for a in report.answers] == [True, True, True, True, False, True, False]
    assert any("repeat another row" in warning for warning in report.warnings)
    page = report.to_text()
    for text in ("clicks.csv", "302 rows", "Latin 100.0%", "7 days", "28 days", "What this log can answer"):
        assert text in page
    assert len(page.splitlines()) < 45


def test_without_times_the_page_says_so_and_uses_what_it_has(pairs_frame: pd.DataFrame) -> None:
    log = click_log_from_frame(pairs_frame)
    report = check_log(log, weights="tiny")
    assert list(report.detectable) == ["the log's impressions"]
    assert "the log has no times" in report.to_text()
    given = check_log(log, weights="tiny", impressions_per_day=1_000.0)
    assert list(given.detectable) == ["7 days", "14 days", "28 days"]


def test_unknown_tokens_are_counted_and_warned_about(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordPiece({"[UNK]": 0, "known": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "model.safetensors").write_bytes(b"any")
    frame = pd.DataFrame({"item_text": ["known known known", "known strange"], "impressions": 9, "clicks": 1})
    report = check_log(click_log_from_frame(frame), weights=str(tmp_path))
    assert report.unknown_share == pytest.approx(1 / 5)
    assert any("20.0% of the tokens are unknown" in warning for warning in report.warnings)


def test_missing_tokenizer_is_said_not_hidden(pairs_frame: pd.DataFrame) -> None:
    report = check_log(click_log_from_frame(pairs_frame), weights="/nowhere/at/all")
    assert report.unknown_share is None
    assert "not counted" in report.to_text()


def test_thin_log_of_tests_is_described(tests_frame: pd.DataFrame) -> None:
    tests_frame["clicks"] //= 20
    report = check_log(click_log_from_frame(tests_frame), weights="tiny")
    assert (report.counts["tests"], report.counts["contrasts"], report.arms_per_choice) == (60, 60, 3)
    assert report.few_clicks == int((tests_frame["clicks"] < 30).sum())
    causal = next(a for a in report.answers if "causal" in a.question)
    assert causal.supported


def test_real_archive_fits_on_a_page(archive: Path) -> None:
    page = check_log(read_click_log(archive), weights="tiny").to_text()
    assert "50,735,590 impressions" in page


def test_checking_a_log_needs_no_torch(tmp_path: Path, pairs_frame: pd.DataFrame) -> None:
    pairs_frame.to_csv(tmp_path / "log.csv", index=False)
    code = (
        "import sys; from bandits.reward_models import check_log, read_click_log, split_log, FitConfig\n"
        f"log = read_click_log({str(tmp_path / 'log.csv')!r})\n"
        "check_log(log, weights='tiny').to_text(); split_log(log)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.faults
def test_traffic_must_be_positive(pairs_frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="`impressions_per_day` must be above 0"):
        check_log(click_log_from_frame(pairs_frame), weights="tiny", impressions_per_day=0)
