"""EB-NeRD: Parquet files of the published column types, counted by hand."""

from __future__ import annotations

import zipfile
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bandits.reward_models import read_click_log

ARTICLES = {
    "article_id": pa.array([11, 12, 13], pa.int32()),
    "title": pa.array(["Bødker får nyt job", "Vejret i dag", "Mål!"], pa.large_string()),
    "subtitle": pa.array(["", None, ""], pa.large_string()),
    "category_str": pa.array(["nyheder", "vejr", "sport"], pa.large_string()),
    "total_pageviews": pa.array([5, None, 7], pa.int32()),
}
HISTORY = {
    "user_id": pa.array([1, 2], pa.uint32()),
    "article_id_fixed": pa.array([[13, 13, 11, 99], []], pa.large_list(pa.int32())),
    "read_time_fixed": pa.array([[1.0, 2.0, 3.0, 4.0], []], pa.large_list(pa.float32())),
}
NIGHT, MORNING = datetime(2023, 5, 18, 23, 59, 59), datetime(2023, 5, 19, 7, 0)
BEHAVIORS = {
    "impression_id": pa.array([1, 2, 3, 4], pa.uint32()),
    "article_id": pa.array([None, 11, None, None], pa.int32()),
    "impression_time": pa.array([NIGHT, MORNING, MORNING, MORNING], pa.timestamp("us")),
    "read_time": pa.array([1.0, 2.0, 3.0, 4.0], pa.float32()),
    "article_ids_inview": pa.array([[11, 12], [12, 11, 12], [13], [11, 13]], pa.large_list(pa.int32())),
    "article_ids_clicked": pa.array([[12], [11, 13], [13], []], pa.large_list(pa.int32())),
    "user_id": pa.array([1, 1, 2, 3], pa.uint32()),
    "age": pa.array([None, None, 50, None], pa.int8()),
}
READS = "Reads sport, nyheder"
EXPECTED = {
    (READS, "Bødker får nyt job", "2023-05-18"): (1, 0),
    (READS, "Vejret i dag", "2023-05-18"): (1, 1),
    (READS, "Bødker får nyt job", "2023-05-19"): (1, 1),
    (READS, "Vejret i dag", "2023-05-19"): (1, 0),
    ("", "Bødker får nyt job", "2023-05-19"): (1, 0),
    ("", "Mål!", "2023-05-19"): (2, 1),
}


def write(root: Path, part: str = "train", **columns: pa.Array) -> Path:
    (root / part).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(ARTICLES), root / "articles.parquet")
    pq.write_table(pa.table(HISTORY), root / part / "history.parquet")
    pq.write_table(pa.table(BEHAVIORS | columns), root / part / "behaviors.parquet")
    return root


def test_root_part_file_and_zip_give_the_counts_made_by_hand(tmp_path, counted):
    root = write(tmp_path / "ebnerd_demo")
    with zipfile.ZipFile(tmp_path / "ebnerd_demo.zip", "w") as archive:
        for file in root.rglob("*.parquet"):
            archive.write(file, file.relative_to(root))
    for path in (root, root / "train", root / "train" / "behaviors.parquet", tmp_path / "ebnerd_demo.zip"):
        log = read_click_log(path)
        assert counted(log) == EXPECTED
        assert log.facts["clicks outside the view"] == 1
        assert log.facts["rows"] == 7, "an article listed twice in one view counts once"


def test_both_parts_of_the_root_are_added_up(tmp_path, counted):
    write(write(tmp_path, "train"), "validation")
    assert counted(read_click_log(tmp_path)) == {key: (2 * n, 2 * clicks) for key, (n, clicks) in EXPECTED.items()}


@pytest.mark.faults
def test_bad_files_are_named(tmp_path):
    unknown = pa.array([[11, 12], [77], [13], [13]], pa.large_list(pa.int32()))
    with pytest.raises(
        ValueError, match=r"train/behaviors.parquet.*`article_ids_inview`.* lists. Got '\[77\]' in row 2"
    ):
        read_click_log(write(tmp_path, article_ids_inview=unknown))
    with pytest.raises(ValueError, match=r"`impression_time` must be a date and time. Got 'None' in row 1"):
        read_click_log(write(tmp_path, impression_time=pa.nulls(4, pa.timestamp("us"))))
    with pytest.raises(ValueError, match=r"`impression_time` must be a date and time. Got '5' in row 1"):
        read_click_log(write(tmp_path, impression_time=pa.array([5, 6, 7, 8])))
    with pytest.raises(ValueError, match=r"`user_id` must be a whole number. Got '\[1\]' in row 1"):
        read_click_log(write(tmp_path, user_id=pa.array([[1], [2], [3], [4]])))
    with pytest.raises(ValueError, match=r"`user_id` must be a whole number. Got 'None' in row 3"):
        read_click_log(write(tmp_path, user_id=pa.array([1, 2, None, 3], pa.uint32())))
    with pytest.raises(ValueError, match=r"`article_ids_clicked` must be a list of article ids. Got '1' in row 1"):
        read_click_log(write(tmp_path, article_ids_clicked=pa.array([1, 2, 3, 4])))
    write(tmp_path)
    pq.write_table(pa.table(BEHAVIORS).drop_columns("article_ids_clicked"), tmp_path / "train" / "behaviors.parquet")
    with pytest.raises(ValueError, match=r"must have the columns article_ids_clicked. Got impression_id"):
        read_click_log(tmp_path)
    (tmp_path / "train" / "behaviors.parquet").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"train/behaviors.parquet` must be a Parquet file"):
        read_click_log(tmp_path)
    write(tmp_path)
    (tmp_path / "articles.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"`articles.parquet` must lie beside train/behaviors.parquet"):
        read_click_log(tmp_path)
