"""Counting in chunks, and what the catalog says of paths."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import log_source_files, read_click_log
from bandits.reward_models.sources import chunks, tally


def test_chunks_add_up_to_a_plain_count(monkeypatch):
    monkeypatch.setattr(tally, "_BUFFER", 50)  # many rounds of adding up
    random = np.random.default_rng(7)
    table = pd.DataFrame({name: random.integers(0, n, 3_000) for name, n in (("u", 6), ("i", 9), ("d", 3), ("c", 2))})
    counts = tally.Tally()
    for start in range(0, len(table), 37):
        part = table.iloc[start : start + 37]
        counts.add(part["u"], part["i"], part["d"], part["c"])
    user_texts = ["x", "y", "x", "", "z", "y"]  # users 0 and 2, and 1 and 5, have the same text
    item_texts = [f"item {i}" if i else "" for i in range(9)]
    rows, left_out = counts.rows(user_texts, item_texts)
    assert left_out == (table["i"] == 0).sum()
    table = table[table["i"] > 0].assign(u=table["u"].map(dict(enumerate(user_texts))))
    expected = table.groupby(["u", "i", "d"])["c"].agg(["size", "sum"]).reset_index()
    found = rows.assign(i=rows["item_text"].str[5:].astype(int), d=(rows["time"] - pd.Timestamp(0, tz="UTC")).dt.days)
    found = found.sort_values(["user_text", "i", "d"])[["user_text", "i", "d", "impressions", "clicks"]]
    assert found.to_numpy().tolist() == expected.to_numpy().tolist()


def test_small_blocks_give_the_same_log_and_name_the_right_row(tmp_path, monkeypatch):
    lines = [f"{u},{v},1,1,,,{1_600_000_000 + v},{u % 4}" for u in range(40) for v in range(25)]
    header = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio"
    (tmp_path / "small_matrix.csv").write_text("\n".join([header, *lines]) + "\n")
    levels = ",".join(f"{level}_level_category_name" for level in ("first", "second", "third"))
    captions = [f"{v},,video {v},[],a,b,c" for v in range(25)]
    text = "\n".join([f"video_id,manual_cover_text,caption,topic_tag,{levels}", *captions]) + "\n"
    (tmp_path / "kuairec_caption_category.csv").write_text(text)
    whole = read_click_log(tmp_path)
    monkeypatch.setattr(chunks, "_BLOCK", 1_000)
    assert read_click_log(tmp_path).content_hash == whole.content_hash
    assert whole.rows["clicks"].sum() == 250
    lines[777] += "x"
    (tmp_path / "small_matrix.csv").write_text("\n".join([header, *lines]) + "\n")
    with pytest.raises(ValueError, match=r"`watch_ratio` must be a number. Got '3x' in row 778"):
        read_click_log(tmp_path)


def test_rows_that_do_not_fit_into_memory_are_refused(monkeypatch):
    counts = tally.Tally()
    counts.add([0], [0], 1, 1)
    monkeypatch.setattr("bandits.memory.free_memory", lambda: 100)
    with pytest.raises(ValueError, match="The 1 distinct pairs of a user and an item must fit into memory"):
        counts.rows(["u"], ["i"])


@pytest.mark.faults
def test_paths_without_a_known_data_set_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must hold a known data set \(mind: behaviors.tsv; "):
        read_click_log(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"`path` must be or hold behaviors.tsv \(mind\)"):
        read_click_log(tmp_path, format="mind")
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        read_click_log(tmp_path / "behaviors.tsv")
    with pytest.raises(FileNotFoundError, match=r"nothing\.zip, which does not exist"):
        read_click_log(tmp_path / "nothing.zip")
    with pytest.raises(ValueError, match=r"`format` must be one of auto, log, upworthy, mind, .* Got 'mnd'"):
        read_click_log(tmp_path, format="mnd")
    (tmp_path / "log.csv").write_text("item_text,impressions,clicks\na,1,0\nb,2,1\n")
    with pytest.raises(ValueError, match="`watch_ratio` must be left out"):
        read_click_log(tmp_path / "log.csv", watch_ratio=1.0)
    assert log_source_files(tmp_path / "log.csv") == [tmp_path / "log.csv"]
