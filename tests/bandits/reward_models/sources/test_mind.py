"""MIND: files as published, counted by hand."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from bandits.reward_models import read_click_log

# Titles with quotation marks that never close: the files are not quoted.
NEWS = [
    'N1\tsports\tfootball_nfl\t"Fins trade\tabs\thttps://x\t[{"Label": "a"}]\t[]',
    "N2\tnews\tnewsus\tSay what? A tab's end\t\thttps://x\t[]\t[]",
    "N3\tautos\tautosnews\tCars, cheap\t\thttps://x\t[]\t",
]
BEHAVIORS = [
    "1\tU1\t11/11/2019 9:05:58 AM\tN1 N3 N1\tN2-1 N3-0",
    "2\tU1\t11/11/2019 11:59:59 PM\tN1 N3 N1\tN2-0",
    "3\tU1\t11/12/2019 12:00:01 AM\tN1 N3 N1\tN2-1",
    "4\tU2\t11/12/2019 1:00:00 PM\t\tN1-0 N2-0 N3-1",
]
READS = "Reads football nfl, autosnews"
EXPECTED = {
    (READS, "Say what? A tab's end", "2019-11-11"): (2, 1),
    (READS, "Cars, cheap", "2019-11-11"): (1, 0),
    (READS, "Say what? A tab's end", "2019-11-12"): (1, 1),
    ("", '"Fins trade', "2019-11-12"): (1, 0),
    ("", "Say what? A tab's end", "2019-11-12"): (1, 0),
    ("", "Cars, cheap", "2019-11-12"): (1, 1),
}


def write(folder: Path, behaviors: list[str] = BEHAVIORS, news: list[str] = NEWS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "behaviors.tsv").write_text("\n".join(behaviors) + "\n", encoding="utf-8")
    (folder / "news.tsv").write_text("\n".join(news) + "\n", encoding="utf-8")
    (folder / "entity_embedding.vec").write_text("Q1\t0.5\n")
    return folder


def test_folder_file_and_zip_give_the_counts_made_by_hand(tmp_path, counted):
    folder = write(tmp_path / "MINDsmall_train")
    with zipfile.ZipFile(tmp_path / "MINDsmall_train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    for path in (folder, folder / "behaviors.tsv", tmp_path / "MINDsmall_train.zip"):
        log = read_click_log(path)
        assert counted(log) == EXPECTED
        assert (log.kind, log.facts["rows"]) == ("pairs", 7)


def test_training_and_development_parts_are_added_up(tmp_path, counted):
    write(tmp_path / "MINDsmall_train")
    write(tmp_path / "MINDsmall_dev", behaviors=BEHAVIORS[:1], news=NEWS[1:])  # does not list N1, which she read
    counts = counted(read_click_log(tmp_path, format="mind"))
    assert counts[("Reads autosnews", "Say what? A tab's end", "2019-11-11")] == (1, 1)
    assert {key: counts[key] for key in EXPECTED} == EXPECTED


@pytest.mark.faults
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("5\tU2\t11/12/2019 1:00:00 PM\t\tN1 N2", "`impressions` must be news with their clicks.*Got 'N1 N2' in row 5"),
        ("5\tU2\t11/12/2019 1:00:00 PM\t\tN1-2", "`impressions` must be news with their clicks.*Got 'N1-2' in row 5"),
        ("5\tU2\t11/12/2019 1:00:00 PM\t\t", "`impressions` must be .* Got '' in row 5"),
        (
            "5\tU2\t11/12/2019 1:00:00 PM\t\tN9-1",
            "`impressions` must be news that part/news.tsv lists, not N9. Got 'N9-1'",
        ),
        ("5\tU2\t2019-11-12 13:00\t\tN1-1", "`time` must be a date and time like .* Got '2019-11-12 13:00' in row 5"),
        ("5\tU2\t11/12/2019 1:00:00 PM\tN1-1", "5 columns separated by '.t'.*[Ee]xpected 5 columns, got 4"),
        ("5,U2,11/12/2019 1:00:00 PM,,N1-1", "5 columns separated by '.t'.*[Ee]xpected 5 columns, got 1"),
    ],
)
def test_bad_rows_are_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=f"part/behaviors.tsv.*{message}"):
        read_click_log(write(tmp_path / "part", behaviors=[*BEHAVIORS, line]))


@pytest.mark.faults
def test_missing_and_damaged_files_are_named(tmp_path):
    folder = write(tmp_path / "part", news=[*NEWS, NEWS[0]])
    with pytest.raises(ValueError, match=r"part/news.tsv` must list each news once. Got 'N1' twice"):
        read_click_log(folder)
    (folder / "news.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"`news.tsv` must lie beside part/behaviors.tsv"):
        read_click_log(folder)
    (tmp_path / "MINDsmall_train.zip").write_bytes(b"PK not a zip")
    with pytest.raises(ValueError, match=r"`MINDsmall_train.zip` must be an intact archive"):
        read_click_log(tmp_path / "MINDsmall_train.zip")
