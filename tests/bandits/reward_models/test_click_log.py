"""Reading logs: what is accepted, what is added up, and what every bad input is told."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bandits.reward_models import ClickLog, click_log_from_frame, read_click_log


def frame(**columns: list[object]) -> pd.DataFrame:
    default: dict[str, list[object]] = {"item_text": ["a", "b", "c"], "impressions": [10, 20, 30], "clicks": [1, 2, 3]}
    return pd.DataFrame(default | columns)


def test_rows_of_the_same_pair_are_added_up() -> None:
    log = click_log_from_frame(frame(item_text=["a", "b", "a"], user_text=["u", "u", "u"]))
    pairs = log.pairs.set_index(["user_text", "item_text"])
    assert pairs.loc[("u", "a"), ["impressions", "clicks"]].tolist() == [40, 4]
    assert log.facts["repeated pairs"] == 1
    assert (log.users, log.items, log.kind) == (("u",), ("a", "b"), "pairs")
    assert log.base_rate == pytest.approx(6 / 60)


def test_csv_and_parquet_give_the_same_log(tmp_path: Path, pairs_frame: pd.DataFrame) -> None:
    pairs_frame["time"] = pd.Timestamp("2026-03-01") + pd.to_timedelta(range(len(pairs_frame)), unit="h")
    pairs_frame.to_csv(tmp_path / "log.csv")  # with the unnamed index that pandas writes
    pairs_frame.to_parquet(tmp_path / "log.parquet")
    from_csv, from_parquet = read_click_log(tmp_path / "log.csv"), read_click_log(tmp_path / "log.parquet")
    assert from_csv.content_hash == from_parquet.content_hash
    assert from_csv.rows["time"].iloc[1] == pd.Timestamp("2026-03-01 01:00", tz="UTC")


def test_texts_survive_the_csv(tmp_path: Path) -> None:
    texts = ["NA", "null", 'says "yes", twice', "两个\n标题", "1.0"]
    frame(item_text=texts, impressions=[9] * 5, clicks=[1] * 5).to_csv(tmp_path / "log.csv", index=False)
    assert read_click_log(tmp_path / "log.csv").items == tuple(texts)


def test_mixed_iso_times_are_read_as_utc() -> None:
    log = click_log_from_frame(frame(time=["2014-11-20 06:43:16.005", "2015-03-12T18:04:35+02:00", ""]))
    assert log.rows["time"].tolist()[:2] == [
        pd.Timestamp("2014-11-20 06:43:16.005", tz="UTC"),
        pd.Timestamp("2015-03-12 16:04:35", tz="UTC"),
    ]
    assert log.facts["missing time"] == 1


def test_groups_that_share_a_pair_are_joined() -> None:
    log = click_log_from_frame(
        frame(item_text=["a", "a", "b"], user_text=["u", "u", "v"], group=["second", "first", "third"])
    )
    assert log.pairs.set_index("item_text")["group"].to_dict() == {"a": "first", "b": "third"}


def test_log_of_tests_keeps_only_contrasts_with_two_items() -> None:
    log = click_log_from_frame(frame(item_text=["a", "b", "c"], test=["x", "x", "y"]))
    assert log.kind == "tests"
    assert log.pairs["item_text"].tolist() == ["a", "b"]


def test_row_order_and_dtypes_do_not_depend_on_extra_columns() -> None:
    plain = click_log_from_frame(frame())
    assert click_log_from_frame(frame(editor=["x", "y", "z"])).content_hash == plain.content_hash


BAD = [
    ({"clicks": [1, 21, 31]}, ["`clicks` must not exceed `impressions`", "row 2 (21 of 20)", "row 3 (31 of 30)"]),
    ({"clicks": [-1, 2, 3]}, ["`clicks` must be a whole number", "row 1 (-1)"]),
    ({"impressions": [10.5, 20, 30]}, ["`impressions` must be a whole number", "row 1 (10.5)"]),
    ({"impressions": ["ten", "20", "30"]}, ["`impressions` must be a whole number", "row 1 (ten)"]),
    ({"item_text": ["a", " ", "c"]}, ["`item_text` must not be empty", "row 2"]),
    ({"item_text": ["a", "a", "a"]}, ["at least two different texts", "'a'"]),
    ({"group": ["g", "", "g"]}, ["`group` must not be empty", "row 2"]),
    ({"time": ["2026-01-01", "yesterday", ""]}, ["`time` must be a date", "row 2 (yesterday)"]),
    ({"item_id": ["1", "1", "2"]}, ["`item_id` '1' must carry one `item_text`", "'a' and 'b'"]),
    ({"user_id": ["1", "1", "2"], "user_text": ["x", "y", "z"]}, ["`user_id` '1' must carry one `user_text`"]),
    ({"impressions": [0, 0, 0], "clicks": [0, 0, 0]}, ["must have impressions"]),
]


@pytest.mark.faults
@pytest.mark.parametrize(("columns", "expected"), BAD, ids=[text[0][:40] for _, text in BAD])
def test_bad_rows_are_named(columns: dict[str, list[object]], expected: list[str]) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        click_log_from_frame(frame(**columns))
    for text in expected:
        assert text in str(raised.value)


@pytest.mark.faults
def test_all_problems_are_reported_at_once() -> None:
    bad = frame(clicks=[-1, 99, 3], item_text=["a", "", "c"], time=["never", "2026", "2026"])
    with pytest.raises(ValueError, match="not a valid click log") as raised:
        click_log_from_frame(bad, name="bad.csv")
    assert str(raised.value).count("\n- ") == 4


@pytest.mark.faults
def test_misspelt_and_missing_columns_are_named() -> None:
    bad = frame().rename(columns={"impressions": "impresions", "item_text": "headlines"})
    bad["user_txt"] = "u"
    with pytest.raises(ValueError, match="not a valid") as raised:
        click_log_from_frame(bad)
    message = str(raised.value)
    assert "`impresions` is unknown: did you mean `impressions`?" in message
    assert "`user_txt` is unknown: did you mean `user_text`?" in message
    assert "`item_text` is missing" in message


@pytest.mark.faults
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty file"),
        (b"item_text,impressions,clicks\n", "must have rows"),
        (b"item_text,impressions,clicks\nok,1,0\ncaf\xe9,2,1\n", "byte 0xe9 on line 3"),
        (b'item_text,impressions,clicks\n"open,1,0\n', "comma-separated"),
    ],
)
def test_bad_files_are_explained(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(ValueError, match=expected):
        read_click_log(tmp_path / "log.csv")


@pytest.mark.faults
def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        read_click_log(tmp_path / "nothing.csv")
    (tmp_path / "log.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match="must be a Parquet file"):
        read_click_log(tmp_path / "log.parquet")
    (tmp_path / "log.xlsx").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"\.csv or \.parquet"):
        read_click_log(tmp_path / "log.xlsx")


@pytest.mark.faults
def test_tests_without_anything_to_compare_are_refused() -> None:
    with pytest.raises(ValueError, match="two different items"):
        click_log_from_frame(frame(test=["x", "y", "z"]))


def test_repr_does_not_print_the_frame() -> None:
    log: ClickLog = click_log_from_frame(frame(), name="clicks.csv")
    assert repr(log) == "ClickLog('clicks.csv', kind='pairs', 3 rows, 60 impressions, 6 clicks)"
