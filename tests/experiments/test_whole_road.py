import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import Calibrator
from experiments.config import load_config
from experiments.learned_worlds import require_band
from experiments.run_folder import RunFolder
from experiments.runner import run_experiment

pytestmark = pytest.mark.model

TOPICS = ("足球", "音乐", "股票", "旅行")
FIT = "reward_model: {weights: tiny, epochs: 2, learning_rate: 1e-3, max_length: 24, batch_size: 16"
REST = """
world: {features: 4}
simulation: {horizon: 300, replications: 4, snapshots: 20, test_lengths: [20]}
baseline: ABTest
policies:
  ABTest: {visitors: 60}
  BetaThompson:
  LinUCB: {features: product}
"""


def run(folder: Path, text: str) -> RunFolder:
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No installed font has")
        run_experiment(load_config(folder / "c.yaml"), folder / "run", threads=2)
    return RunFolder.open(folder / "run")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits go where nothing was fitted before; compiled loops stay where they are."""
    monkeypatch.setattr("experiments.learned_worlds.cache_folder", lambda: tmp_path / "cache")


def test_chinese_headlines_go_the_whole_road(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    rows = [
        {
            "user_text": f"第{user}位读者喜欢{TOPICS[user % 4]}",
            "item_text": f"今天的{topic}新闻",
            "impressions": 300,
            "clicks": random.binomial(300, 0.4 if topic == TOPICS[user % 4] else 0.1),
        }
        for user in range(40)
        for topic in TOPICS
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "clicks.csv", index=False)
    rest = REST.replace("features: 4", "features: 4, segments: {readers: 读者}")
    text = f"name: chinese\ndata: {{source: click_log, path: clicks.csv, max_users: 20}}\n{FIT}}}{rest}"
    folder = run(tmp_path, text)
    html = folder.report_file.read_text(encoding="utf-8")
    assert "今天的足球新闻" in html
    assert "喜欢" in html
    assert "TF-IDF" in html
    assert "two towers" in html
    assert "Lead of BERT in log loss per impression" in html
    assert ("What follows from its worlds deserves little trust" in html) == bool(folder.read_json("model")["unbeaten"])
    assert "segment: readers" in html
    table = folder.table("model")
    assert table is not None
    assert table.p.shape == (1, 20, 4)
    assert (folder.path / "reward_model" / "model.safetensors").is_file()
    traces = folder.read("traces")
    assert set(traces["policy"]) == {"ABTest", "BetaThompson", "LinUCB"}

    again = run(tmp_path, text)  # nothing is fitted again: the cache could not help
    assert again.table("model").content_hash == table.content_hash  # type: ignore[union-attr]


def test_a_log_of_tests_becomes_one_world_per_held_out_test(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    rows = []
    for test in range(80):
        for arm, word in enumerate(random.permutation(["amazing", "plain", "quiet"])[: 2 + test % 2]):
            rate = 0.12 if word == "amazing" else 0.06
            rows.append(
                {
                    "test": f"test-{test}",
                    "item_text": f"{word} story {test} number {arm}",
                    "impressions": 1000,
                    "clicks": random.binomial(1000, rate),
                }
            )
    pd.DataFrame(rows).to_csv(tmp_path / "tests.csv", index=False)
    folder = run(
        tmp_path, f"name: tests\ndata: {{source: click_log, path: tests.csv}}\n{FIT}, loss: within_test}}{REST}"
    )
    assert set(folder.read("traces")["kind"]) == {"model", "observed"}
    worlds = folder.read("replications")["world"].nunique()
    assert 1 < worlds <= 4
    html = folder.report_file.read_text(encoding="utf-8")
    assert "Pairs in the right order" in html
    assert "Left out: item rate (held-out items are new" in html
    assert "the world of observed click rates" in html
    assert folder.read_json("agreement")["num_pairs"] >= 0


def test_the_newsroom_has_a_true_world_beside_the_learned_one(tmp_path: Path) -> None:
    data = "data: {source: newsroom, users: 40, headlines: 6, impressions: 40000}"
    folder = run(tmp_path, f"name: newsroom\n{data}\n{FIT}}}{REST}")
    assert set(folder.read("traces")["kind"]) == {"model", "planted"}
    assert folder.read_json("model")["scoring"]["precision"] == "float32"  # too few pairs to check bfloat16 on
    agreement = folder.read_json("agreement")
    assert agreement["num_same"] <= agreement["num_pairs"] <= 3
    html = folder.report_file.read_text(encoding="utf-8")
    assert "Who finds the late arrival, and when" in html
    assert "can be shown from round 150 on" in html
    assert "Does the BERT world agree with the true world?" in html


@pytest.mark.faults
def test_a_world_whose_level_is_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrated to half of the clicks there are, a model predicts half of the test rows' clicks."""
    right = Calibrator.fit
    halved = classmethod(lambda cls, method, z, n, c: right(method, z, n, c / 2))
    monkeypatch.setattr("bandits.reward_models.calibration.Calibrator.fit", halved)
    rest = REST.split("  BetaThompson")[0]
    start = "name: low\ndata: {source: newsroom, users: 40, headlines: 6, impressions: 40000}\n"
    with pytest.raises(ValueError, match=r"`reward_model.evaluation.band`, 0.8 to 1.25.* Got [12]\.\d+ \(95 percent"):
        run(tmp_path, f"{start}{FIT}}}{rest}")
    card = (tmp_path / "run" / "reward_model" / "README.md").read_text(encoding="utf-8")
    assert "| all | | | " in card
    (tmp_path / "any").mkdir()
    folder = run(tmp_path / "any", f"{start}{FIT}, evaluation: {{band: null, threshold: 0.05}}}}{rest}")
    assert folder.read_json("model")["calibration"]["overall"]["low"] > 1.25
    html = folder.report_file.read_text(encoding="utf-8")
    assert "their units are the" in html
    assert "at least 0.05 is called a click" in html
    (tmp_path / "true").mkdir()  # where nobody plays in the model's world, its level harms nobody
    run(tmp_path / "true", f"{start}{FIT}}}{rest.replace('features: 4', 'features: 4, kinds: [planted]')}")


def test_a_band_is_left_only_for_certain() -> None:
    far = {"ratio": 1.5, "low": 1.2, "high": 1.8}
    require_band(far, (0.8, 1.25))
    require_band({"ratio": 1.0, "low": None, "high": None}, (0.8, 1.25))
    require_band({"ratio": 9.0, "low": 8.0, "high": 10.0}, None)
    for ratio, low, high in ((1.5, 1.3, 1.7), (0.6, 0.5, 0.79), (1.3, None, None)):
        with pytest.raises(ValueError, match=f"Got {ratio:.3f}"):
            require_band({"ratio": ratio, "low": low, "high": high}, (0.8, 1.25))
