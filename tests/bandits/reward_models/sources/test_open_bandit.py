"""The Open Bandit Dataset: files as published, counted by hand, and the shared sample."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bandits.reward_models import read_click_log

HASHES = {name: f"{name}{'0123456789abcdef' * 2}"[:32] for name in ("aa", "bb", "cc", "dd")}
FEATURES = ",".join(f"user_feature_{i}" for i in range(4))
HEADER = f",timestamp,item_id,position,click,{{propensity}},{FEATURES},user-item_affinity_0,user-item_affinity_1"


def row(number: int, time: str, item: int, click: object, user: str) -> str:
    features = ",".join(HASHES[name] for name in user.split())
    return f"{number},{time},{item},{1 + number % 3},{click},0.5,{features},0.0,1.0"


ROWS = [
    row(0, "2019-11-24 00:00:11.135000+00:00", 1, 0, "aa bb cc dd"),
    row(1, "2019-11-24 23:59:59+00:00", 1, 1, "aa bb cc dd"),
    row(2, "2019-11-25 00:00:00.5+00:00", 0, 1, "bb bb cc dd"),
]
ITEMS = ",item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3\n" + "".join(
    f"{i},{i},-0.4,{HASHES['aa']},{HASHES['bb']},{HASHES['cc']}\n" for i in (0, 1)
)
USERS = "user aa0123 bb0123 cc0123 dd0123", "user bb0123 bb0123 cc0123 dd0123"
EXPECTED = {
    (USERS[0], "item 1 aa0123 bb0123 cc0123", "2019-11-24"): (2, 1),
    (USERS[1], "item 0 aa0123 bb0123 cc0123", "2019-11-25"): (1, 1),
}


def write(folder: Path, rows: list[str] = ROWS, propensity: str = "propensity_score") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([HEADER.format(propensity=propensity), *rows]) + "\n"
    (folder / f"{folder.name}.csv").write_text(text)
    (folder / "item_context.csv").write_text(ITEMS)
    return folder


@pytest.mark.parametrize("propensity", ["propensity_score", "action_prob"])
def test_campaign_gives_the_counts_made_by_hand(tmp_path, counted, propensity):
    folder = write(tmp_path / "random" / "men", propensity=propensity)
    for path in (folder, folder / "men.csv"):
        assert counted(read_click_log(path)) == EXPECTED


@pytest.mark.faults
def test_one_campaign_must_be_chosen(tmp_path):
    write(tmp_path / "random" / "men")
    write(tmp_path / "bts" / "all")
    with pytest.raises(ValueError, match=r"one log of open-bandit. Got several in .*: all/all.csv, men/men.csv"):
        read_click_log(tmp_path)


@pytest.mark.faults
def test_bad_files_are_named(tmp_path):
    folder = write(tmp_path / "men", [*ROWS, row(3, "2019-11-25", 7, 1, "aa bb cc dd")])
    with pytest.raises(ValueError, match=r"men/men.csv`: column `item_id` must be an item.* Got '7' in row 4"):
        read_click_log(folder)
    write(folder, [*ROWS, row(3, "yesterday", 1, 1, "aa bb cc dd")])
    with pytest.raises(ValueError, match=r"`timestamp` must be a date and time like ISO8601. Got 'yesterday' in row 4"):
        read_click_log(folder)
    (folder / "item_context.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"`item_context.csv` must lie beside men/men.csv"):
        read_click_log(folder, format="open-bandit")
    with pytest.raises(ValueError, match="`item_text` is missing"):
        read_click_log(folder / "men.csv")  # without it, any men.csv is a log like others


def test_shared_sample_agrees_with_pandas():
    file = Path(__file__).parents[5] / "shared" / "data" / "obd" / "random" / "men" / "men.csv"
    if not file.is_file():
        pytest.skip("the shared Open Bandit sample is not on this machine")
    log, frame = read_click_log(file.parent), pd.read_csv(file)
    assert (log.facts["rows"], log.rows["clicks"].sum()) == (10_000, 46)
    shown = frame.groupby("item_id")["click"].agg(["size", "sum"])
    ours = log.rows.groupby(log.rows["item_text"].str.split().str[1].astype(int))[["impressions", "clicks"]].sum()
    assert (ours.sort_index().to_numpy() == shown.to_numpy()).all()
    features = frame[[f"user_feature_{i}" for i in range(4)]]
    assert len(log.users) == len(features.drop_duplicates()), "six digits tell these users apart"
