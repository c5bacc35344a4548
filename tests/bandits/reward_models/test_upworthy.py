"""The archive's reader, on hand-made rows and on the real file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import click_log_from_frame, log_source_files, read_click_log, split_log
from bandits.reward_models.log_format import FaultyWeeks
from bandits.reward_models.split import seen_rate

FIRST, SECOND, THIRD = (
    "51c8f000" + "0" * 16,
    "546d88fb84ad38b2ce000024",
    "546d88fc84ad38b2ce000024",
)  # 25 Jun 2013, 2014


def archive_frame() -> pd.DataFrame:
    """Five packages of three tests; the second and third share an image."""
    return pd.DataFrame(
        {
            "clickability_test_id": [FIRST, FIRST, SECOND, SECOND, SECOND, THIRD, THIRD],
            "excerpt": "not shown",
            "headline": ["One", "Two", "Three", "Four", "Three", "Five", "Six"],
            "lede": [""] * 7,
            "eyecatcher_id": ["x", "x", "y", "y", "y", "y", ""],
            "impressions": [100, 110, 120, 130, 140, 150, 160],
            "clicks": [1, 2, 3, 4, 5, 6, 7],
            "significance": 50.0,
            "first_place": ["True", "False", "true", "FALSE", "t", "f", "x"],
            "winner": "False",
            "test_week": ["201326", "201326", "201446", "201446", "201446", "201446", "201446"],
        }
    )


def read(frame: pd.DataFrame, folder: Path, **options: FaultyWeeks) -> pd.DataFrame:
    frame.to_csv(folder / "archive.csv")
    return read_click_log(folder / "archive.csv", **options).pairs


def test_headlines_are_compared_within_test_and_image_and_added_up(tmp_path: Path) -> None:
    pairs = read(archive_frame(), tmp_path)
    assert pairs["item_text"].tolist() == ["Three", "Four"]
    assert pairs["impressions"].tolist() == [260, 130]
    assert pairs["contrast"].tolist() == [f"{SECOND}/y"] * 2
    assert pairs["group"].tolist() == [SECOND] * 2


def test_window_of_faulty_randomization_can_be_kept(tmp_path: Path) -> None:
    assert "One" not in read(archive_frame(), tmp_path)["item_text"].tolist()
    assert "One" in read(archive_frame(), tmp_path, faulty_weeks="include")["item_text"].tolist()


def test_weeks_of_faulty_randomization_are_learned_from_and_never_judged_by(tmp_path: Path) -> None:
    frame = archive_frame()
    tests = pd.concat([frame.assign(clickability_test_id=f"{number:08x}" + "0" * 16) for number in range(400)])
    tests["headline"] += tests["clickability_test_id"]
    tests["eyecatcher_id"] = tests["clickability_test_id"]
    tests["test_week"] = np.where(np.arange(len(tests)) % 7 < 2, "201330", "201446")
    tests.reset_index(drop=True).to_csv(tmp_path / "archive.csv")
    sound, both = (read_click_log(tmp_path / "archive.csv", faulty_weeks=how) for how in ("exclude", "train"))
    assert sound.confounded_pairs.empty
    assert both.pairs.equals(sound.pairs)
    assert both.content_hash != sound.content_hash
    split, plain = split_log(both), split_log(sound)
    for name in ("validation", "calibration", "test"):
        assert split.parts[name].equals(plain.parts[name])
    added = split.train[len(plain.train) :]
    assert split.train[: len(plain.train)].equals(plain.train)
    assert set(added["item_text"].str[:3]) == {"One", "Two"}
    assert set(added["group"]) == set(plain.train["group"])  # half of a test was faulty: its group stays together
    assert not set(added["contrast"]) & set(plain.train["contrast"])
    learned = pd.concat([plain.train, plain.validation, plain.calibration])
    assert seen_rate(both, split) == learned["clicks"].sum() / learned["impressions"].sum()


def test_unknown_treatment_of_faulty_weeks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`faulty_weeks` must be one of exclude, train, include\. Got .keep."):
        read(archive_frame(), tmp_path, faulty_weeks="keep")  # type: ignore[arg-type]


@pytest.mark.parametrize("column", ["problem", "created_at", "test_week"])
def test_window_by_whichever_column_is_there(tmp_path: Path, column: str) -> None:
    frame = archive_frame().drop(columns="test_week")
    frame[column] = {
        "problem": [1, 1, 0, 0, 0, 0, 0],
        "created_at": ["2014-01-10 23:59:59.5", "2013-06-25 00:00:00"] + ["2014-01-11 00:00:00"] * 5,
        "test_week": [201326, 201326, 201446, 201446, 201446, 201446, 201446],
    }[column]
    assert read(frame, tmp_path)["item_text"].tolist() == ["Three", "Four"]


def test_official_columns_in_official_order_are_accepted(tmp_path: Path) -> None:
    frame = archive_frame()
    frame["created_at"] = frame["updated_at"] = "2014-11-20 06:43:16.005"
    frame["slug"] = frame["share_text"] = frame["square"] = "s"
    order = (
        "created_at updated_at clickability_test_id excerpt headline lede slug eyecatcher_id impressions clicks "
        "significance first_place winner share_text square test_week"
    )
    pairs = read(frame[order.split()], tmp_path)
    assert len(pairs) == 4  # with creation times outside the window, the first test counts too
    assert (pairs["time"] == pd.Timestamp("2014-11-20 06:43:16.005", tz="UTC")).all()


@pytest.mark.faults
def test_misspelt_archive_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`eyecatcherid` is unknown: did you mean `eyecatcher_id`"):
        read(archive_frame().rename(columns={"eyecatcher_id": "eyecatcherid"}), tmp_path)
    with pytest.raises(ValueError, match="`test_week` must be a year and week"):
        read(archive_frame().assign(test_week="spring"), tmp_path)


def test_real_archive_agrees_with_its_documentation(archive: Path) -> None:
    log = read_click_log(archive)
    derived = pd.read_parquet(archive.with_name("upworthy_exploratory_train.parquet"))
    assert log.facts["rows"] == 18_104
    assert log.facts["faulty randomization"] == int(derived["problem"].sum()) == 3_537
    everything = read_click_log(archive.with_name("upworthy_exploratory_train.parquet"), faulty_weeks="include")
    assert everything.rows["impressions"].sum() == 64_664_715
    assert everything.rows["clicks"].sum() == 991_488
    stories = derived["story_id"].to_numpy()
    ours = everything.rows["group"].to_numpy()
    assert pd.Series(ours).groupby(stories).nunique().max() == 1, "no story may be cut in two"
    assert np.mean(ours == stories) > 0.999


def test_contrasts_of_the_real_archive_hold_no_repeated_headline(archive: Path) -> None:
    pairs = read_click_log(archive).pairs
    assert not pairs.duplicated(["contrast", "item_text"]).any()
    assert pairs.groupby("item_text")["group"].nunique().max() == 1
    assert pairs["contrast"].nunique() > 1_500


def test_archive_is_not_mistaken_for_a_log() -> None:
    with pytest.raises(ValueError, match="`item_text` is missing"):
        click_log_from_frame(archive_frame())


def test_folder_of_full_files_is_one_log_with_stories_across_files(tmp_path: Path) -> None:
    frame = archive_frame()
    names = [f"upworthy-archive-{part}-packages-03.12.2020.csv" for part in ("confirmatory", "exploratory")]
    frame[frame["clickability_test_id"] != THIRD].to_csv(tmp_path / names[0])
    frame[frame["clickability_test_id"] == THIRD].assign(eyecatcher_id="y").to_csv(tmp_path / names[1])
    log = read_click_log(tmp_path)
    assert log_source_files(tmp_path) == [tmp_path / name for name in names]
    assert log.pairs["item_text"].tolist() == ["Three", "Four", "Five", "Six"]
    assert log.pairs["group"].nunique() == 1, "the second and third test share an image"
    assert log.facts["rows"] == 7
    frame.to_csv(tmp_path / names[1])
    with pytest.raises(ValueError, match=f"must lie in one file.*Got {FIRST} in two of {names[0]}, {names[1]}"):
        read_click_log(tmp_path)
    with pytest.raises(FileNotFoundError, match="a folder with upworthy-archive"):
        read_click_log(tmp_path.parent, format="upworthy")
