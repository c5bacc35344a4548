"""Public data sets on the command line and in configs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli import app
from experiments.config import load_config
from experiments.learned_worlds import _inputs_hash, read_source
from experiments.problems import ConfigError

LEVELS = ",".join(f"{level}_level_category_name" for level in ("first", "second", "third"))
CONFIG = "name: k\ndata: {source: click_log, path: data%s}\nbaseline: FixedSplit\npolicies: {FixedSplit: }\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set in which every viewer watched video 1 once and video 2 three times."""
    data = tmp_path / "data"
    data.mkdir()
    rows = [f"{user},{video},1,1,,,1593898068,{ratio}" for user in range(30) for video, ratio in ((1, 1), (2, 3))]
    header = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio"
    (data / "small_matrix.csv").write_text("\n".join([header, *rows]) + "\n")
    captions = "1,,Rain again,[],a,b,c\n2,,Sun at last,[],a,b,c\n"
    (data / "kuairec_caption_category.csv").write_text(
        f"video_id,manual_cover_text,caption,topic_tag,{LEVELS}\n{captions}"
    )
    return tmp_path


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_check_log_takes_a_folder_a_format_and_what_counts_as_a_click(folder: Path) -> None:
    code, page, _ = call("check-log", str(folder / "data"))
    assert code == 0
    assert "data/small_matrix.csv (watch_ratio > 2): a log of pairs" in page
    assert "60 impressions, 30 clicks" in page
    code, page, _ = call("check-log", str(folder / "data"), "--format", "kuairec-small", "--watch-ratio", "0.5")
    assert code == 0
    assert "60 impressions, 60 clicks" in page


@pytest.mark.faults
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--format", "kuairec"], "`format` must be one of auto, log, upworthy"),
        (["--format", "kuairec-big"], "`path` must be or hold big_matrix.csv"),
        (["--tab", "1"], "`tabs` must be left out for kuairec-small. Got [1]"),
    ],
)
def test_check_log_says_what_is_wrong(folder: Path, more: list[str], message: str) -> None:
    code, out, err = call("check-log", str(folder / "data"), *more)
    assert code == 2
    assert message in err
    assert "Traceback" not in err + out


def test_a_config_names_folder_format_and_threshold(folder: Path) -> None:
    (folder / "k.yaml").write_text(CONFIG % ", format: kuairec-small, watch_ratio: 0.5")
    config = load_config(str(folder / "k.yaml")).config
    assert read_source(config).log.rows["clicks"].tolist() == [30, 30]
    default = load_config(str(folder / "k.yaml"), ["data.watch_ratio=null", "data.format=auto"]).config
    assert read_source(default).log.rows["clicks"].tolist() == [0, 30]
    assert _inputs_hash(default) != _inputs_hash(config)
    before = _inputs_hash(config)
    (folder / "data" / "unrelated.csv").write_text("x\n")
    assert _inputs_hash(config) == before
    captions = folder / "data" / "kuairec_caption_category.csv"
    captions.write_text(captions.read_text().replace("Sun at last", "Sun at long last"))
    assert _inputs_hash(config) != before, "texts decide what is fitted, as the impressions do"


@pytest.mark.faults
def test_a_config_with_a_wrong_format_or_path_is_refused(folder: Path) -> None:
    (folder / "k.yaml").write_text(CONFIG % ", format: mindd, tabs: []")
    with pytest.raises(ConfigError, match=r"(?s)data\.format.*data\.tabs"):
        load_config(str(folder / "k.yaml"))
    with pytest.raises(ConfigError, match=r"data\.path: must be a file, or a data set's folder or archive"):
        load_config(str(folder / "k.yaml"), ["data.path=nowhere", "data.format=auto", "data.tabs=null"])
