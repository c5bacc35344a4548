"""KuaiRec and KuaiRand: files as published, counted by hand."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from bandits.reward_models import read_click_log

USERS = """user_id,user_active_degree,is_live_streamer,follow_user_num,follow_user_num_range,fans_user_num_range,\
friend_user_num_range,register_days_range,onehot_feat0
1,full_active,0,12,"(10,50]","[1,10)",0,61-90,3
2,middle_active,1,0,0,0,0,730+,
"""
ACTIVE = "full active viewer, follows (10,50], [1,10) fans, 0 friends, registered 61-90 days"
MIDDLE = "middle active viewer, follows 0, 0 fans, 0 friends, registered 730+ days"

MATRIX = """user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio
1,10,5000,10000,2020-07-05 05:27:48.378,20200705.0,1593898068.378,0.5
1,10,30000,10000,2020-07-05 07:27:48.378,20200705.0,1593905268.0,3.0
2,10,20000,10000,,,,2.0
2,11,1,10000,2020-07-06 00:00:01,20200706.0,1593993601.0,2.5
3,12,1,10000,2020-07-06 00:00:01,20200706.0,1593993601.0,9.0
"""
_LEVELS = "first_level_category_id,first_level_category_name,second_level_category_id,second_level_category_name"
CAPTIONS = f"""video_id,manual_cover_text,caption,topic_tag,{_LEVELS},third_level_category_id,third_level_category_name
10,UNKNOWN,"做饭, 快
#美食",[美食],8,生活,-124,UNKNOWN,-124,UNKNOWN
11,封面,,"[旅行,海]",9,旅行,-124,UNKNOWN,-124,UNKNOWN
这一行坏了,3
a,UNKNOWN,坏,[],8,生活,-124,UNKNOWN,-124,UNKNOWN
12,UNKNOWN,,[],-124,UNKNOWN,-124,UNKNOWN,-124,UNKNOWN
"""
COOKING, TRAVEL = "做饭, 快\n#美食 生活", "封面 旅行 海"


def kuairec(folder: Path, matrix: str = MATRIX, users: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small_matrix.csv").write_text(matrix, encoding="utf-8")
    (folder / "kuairec_caption_category.csv").write_text(CAPTIONS, encoding="utf-8")
    if users:
        (folder / "user_features.csv").write_text(USERS, encoding="utf-8")
    return folder


def test_kuairec_counts_what_was_watched_longer_than_the_threshold(tmp_path, counted):
    log = read_click_log(kuairec(tmp_path / "data"))
    assert counted(log) == {
        (ACTIVE, COOKING, "2020-07-04"): (2, 1),  # the days are UTC
        (MIDDLE, COOKING, "NaT"): (1, 0),  # 2.0 does not exceed 2
        (MIDDLE, TRAVEL, "2020-07-06"): (1, 1),
    }
    assert log.name == "data/small_matrix.csv (watch_ratio > 2)"
    found = {"rows": 5, "missing time": 1, "impressions without a text": 1, "broken captions": 2}
    assert log.facts == found
    lower = read_click_log(tmp_path / "data" / "small_matrix.csv", watch_ratio=0.4)
    assert lower.rows["clicks"].tolist() == [2, 1, 1]


def test_kuairec_without_user_features_and_from_the_zip(tmp_path, counted):
    folder = kuairec(tmp_path / "data", users=False)
    (folder / "big_matrix.csv").write_text(MATRIX.replace("2.0\n", "2.1\n"), encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "KuaiRec.zip", "w") as archive:
        for name in ("small_matrix.csv", "big_matrix.csv"):
            archive.write(folder / name, f"KuaiRec 2.0/data/{name}")
    (folder / "kuairec_caption_category.csv").rename(tmp_path / "kuairec_caption_category.csv")  # beside the zip
    for format, clicks in (("kuairec-small", 0), ("kuairec-big", 1)):
        for path in (folder, tmp_path / "KuaiRec.zip"):
            counts = counted(read_click_log(path, format=format))
            assert counts[("", COOKING, "NaT")] == (1, clicks)
            assert counts[("", COOKING, "2020-07-04")] == (2, 1)
    with pytest.raises(ValueError, match=r"`format` must say what to read.*kuairec-small, kuairec-big"):
        read_click_log(tmp_path / "KuaiRec.zip")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("3.0\n2,", "three\n2,", "`watch_ratio` must be a number. Got 'three' in row 2"),
        ("3.0\n2,", "inf\n2,", "`watch_ratio` must be a finite number. Got 'inf' in row 2"),
        ("3.0\n2,", "-1\n2,", "`watch_ratio` must be 0 or more. Got '-1' in row 2"),
        ("3.0\n2,", "\n2,", "`watch_ratio` must be a number. Got '' in row 2"),
        ("1593905268.0", "soon", "`timestamp` must be a number. Got 'soon' in row 2"),
        ("3,12,", "3.5,12,", "`user_id` must be a whole number. Got '3.5' in row 5"),
        ("3,12,", "99999999999999999999,12,", "`user_id` must be a whole number. Got '99999999999999999999' in row 5"),
        ("3,12,", "1_000,12,", "`user_id` must be a whole number. Got '1_000' in row 5"),
        (",3.0\n2,", "\n2,", "[Ee]xpected 8 columns, got 7"),
        ("watch_ratio", "ratio", "must have the columns watch_ratio separated by ','. Got user_id, video_id"),
        ("play_duration", "user_id", "must have the column user_id once. Got it 2 times"),
        (",", ";", "must have the columns user_id, .* separated by ','. Got user_id;video_id"),
    ],
)
def test_bad_rows_of_kuairec_are_named(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=f"data/small_matrix.csv`.*{message}"):
        read_click_log(kuairec(tmp_path / "data", MATRIX.replace(old, new)))


@pytest.mark.faults
def test_bad_arguments_and_companions_of_kuairec_are_named(tmp_path):
    folder = kuairec(tmp_path / "data")
    with pytest.raises(ValueError, match=r"`watch_ratio` must be a number, 0 or more. Got -1"):
        read_click_log(folder, watch_ratio=-1)
    with pytest.raises(ValueError, match="`tabs` must be left out for kuairec-small"):
        read_click_log(folder, tabs=[1])
    (folder / "user_features.csv").write_text(USERS + USERS.splitlines()[1] + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"data/user_features.csv` must list each user once. Got user_id 1 twice"):
        read_click_log(folder)
    (folder / "user_features.csv").write_bytes(b"user_id,\xff\n")
    with pytest.raises(ValueError, match=r"data/user_features.csv` must be UTF-8 text. Got byte 0xff"):
        read_click_log(folder)
    (folder / "kuairec_caption_category.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"`kuairec_caption_category.csv` must lie beside"):
        read_click_log(folder)


SIGNALS = "is_like,is_follow,is_comment,is_forward,is_hate,long_view,play_time_ms,duration_ms,profile_stay_time"
HEADER = f"user_id,video_id,date,hourmin,time_ms,is_click,{SIGNALS},comment_stay_time,is_profile_enter,is_rand,tab"
MIDNIGHT = 1650844800000  # 25 April 2022 UTC


def event(user: int, video: int, time: int, click: int | str, tab: int) -> str:
    return f"{user},{video},20220425,800,{time},{click},0,0,0,0,0,0,1500,9000,0,0,0,1,{tab}"


PART1 = [event(1, 5, MIDNIGHT - 1, 1, 1), event(1, 5, MIDNIGHT, 0, 1), event(2, 6, MIDNIGHT, 1, 0)]
PART2 = [event(9, 6, MIDNIGHT, 1, 1), event(9, 7, MIDNIGHT, 1, 1), event(9, 6, MIDNIGHT + 1, 0, 1)]
VIDEO_TEXTS = 'final_video_id,caption,show_cover_text,duration\n5,"唱歌, 跳舞",唱歌,9.0\n6,,山,9.0\n8,别的,,1\n7,,,2\n'


def kuairand(root: Path, part1: list[str] = PART1) -> Path:
    data = root / "KuaiRand-27K" / "data"
    data.mkdir(parents=True, exist_ok=True)
    for part, rows in enumerate((part1, PART2), start=1):
        text = "\n".join([HEADER, *rows]) + "\n"
        (data / f"log_standard_4_22_to_5_08_27k_part{part}.csv").write_text(text, encoding="utf-8")
    (data / "log_random_4_22_to_5_08_27k.csv").write_text(f"{HEADER}\n{event(1, 6, MIDNIGHT, 1, 1)}\n{PART1[0]}\n")
    (root / "kuairand_video_captions.csv").write_text(VIDEO_TEXTS, encoding="utf-8")
    (data / "user_features_27k.csv").write_text(USERS, encoding="utf-8")
    return root


STANDARD = {
    (ACTIVE, "唱歌, 跳舞", "2022-04-24"): (1, 1),
    (ACTIVE, "唱歌, 跳舞", "2022-04-25"): (1, 0),
    (MIDDLE, "山", "2022-04-25"): (1, 1),
    ("", "山", "2022-04-25"): (2, 1),
}


def test_kuairand_parts_are_added_up_and_logs_kept_apart(tmp_path, counted):
    root = kuairand(tmp_path)
    log = read_click_log(root, format="kuairand-standard")
    assert counted(log) == STANDARD
    assert log.facts["impressions without a text"] == 1
    assert (log.facts["rows of tab 0"], log.facts["rows of tab 1"]) == (1, 5)
    random = read_click_log(root / "KuaiRand-27K" / "data" / "log_random_4_22_to_5_08_27k.csv")
    assert counted(random) == {(ACTIVE, "山", "2022-04-25"): (1, 1), (ACTIVE, "唱歌, 跳舞", "2022-04-24"): (1, 1)}
    with pytest.raises(ValueError, match="Got several: kuairand-random, kuairand-standard"):
        read_click_log(root)


def test_kuairand_tabs_can_be_chosen(tmp_path, counted):
    log = read_click_log(kuairand(tmp_path), format="kuairand-standard", tabs=[1])
    assert counted(log) == {key: count for key, count in STANDARD.items() if key[0] != MIDDLE}
    assert log.facts["rows of other tabs"] == 1
    assert log.name.endswith("(tab 1)")
    with pytest.raises(ValueError, match=r"`tabs` must hold tabs of the log: 0 \(1 rows\), 1 \(5 rows\). Got \[4\]"):
        read_click_log(tmp_path, format="kuairand-standard", tabs=[4])


def test_kuairand_from_packed_files(tmp_path, counted):
    root = kuairand(tmp_path / "unpacked")
    with tarfile.open(tmp_path / "KuaiRand-27K.tar.gz", "w:gz") as archive:
        archive.add(root / "KuaiRand-27K", "KuaiRand-27K")
    (tmp_path / "kuairand_video_captions.csv.gz").write_bytes(gzip.compress(VIDEO_TEXTS.encode()))
    assert counted(read_click_log(tmp_path / "KuaiRand-27K.tar.gz", format="kuairand-standard")) == STANDARD
    for file in (root / "KuaiRand-27K" / "data").glob("log_standard*"):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    with pytest.raises(ValueError, match="packed and unpacked"):
        read_click_log(root, format="kuairand-standard")
    for file in (root / "KuaiRand-27K" / "data").glob("log_standard*.csv"):
        file.unlink()
    assert counted(read_click_log(root, format="kuairand-standard")) == STANDARD


@pytest.mark.faults
def test_bad_files_of_kuairand_are_named(tmp_path):
    data = kuairand(tmp_path, [*PART1, event(1, 5, MIDNIGHT, "yes", 1)]) / "KuaiRand-27K" / "data"
    with pytest.raises(ValueError, match=r"part1.csv`: column `is_click` must be a whole number. Got 'yes' in row 4"):
        read_click_log(tmp_path, format="kuairand-standard")
    kuairand(tmp_path, [*PART1, event(1, 5, MIDNIGHT, 2, 1)])
    with pytest.raises(ValueError, match=r"`is_click` must be one of 0, 1. Got '2' in row 4"):
        read_click_log(tmp_path, format="kuairand-standard")
    packed = gzip.compress((data / "log_random_4_22_to_5_08_27k.csv").read_bytes())
    (data / "log_random_4_22_to_5_08_27k.csv").unlink()
    (data / "log_random_4_22_to_5_08_27k.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match=r"`log_random_4_22_to_5_08_27k.csv.gz` must be an intact file"):
        read_click_log(tmp_path, format="kuairand-random")
    (tmp_path / "again.tar.gz").write_bytes(io.BytesIO(b"no archive").read())
    with pytest.raises(ValueError, match=r"`again.tar.gz` must be an intact archive"):
        read_click_log(tmp_path / "again.tar.gz")
