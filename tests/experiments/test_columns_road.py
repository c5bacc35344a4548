"""Columns beside the text, from a config to the table and the report."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import load_reward_model
from experiments.config import load_config
from experiments.learned_worlds import read_source
from experiments.run_folder import RunFolder
from experiments.runner import run_experiment

CONFIG = """
name: columns
data: {source: click_log, path: clicks.parquet, numbers: [price], embeddings: [image]}
reward_model: {weights: tiny, tuning: head, epochs: 4, columns_learning_rate: 0.05, members: 2,
  evaluation: {band: null}}
world: {features: 4}
simulation: {horizon: 100, replications: 4, snapshots: 5, test_lengths: [20]}
baseline: FixedSplit
policies: {FixedSplit: }
"""


@pytest.mark.model
def test_from_config_to_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    price, image = random.normal(size=20), random.normal(size=(20, 3))
    rows = [
        {
            "user_text": f"reader {u}",
            "item_text": f"thing {k}",
            "impressions": 100,
            "clicks": random.binomial(100, 1 / (1 + np.exp(1 - price[k]))),
            "price": price[k],
            "image": image[k].tolist(),
        }
        for u in range(40)
        for k in range(20)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "clicks.parquet")
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.setattr("experiments.learned_worlds.cache_folder", lambda: tmp_path / "cache")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No installed font has")
        run_experiment(load_config(tmp_path / "c.yaml"), tmp_path / "run", threads=1)
    run = RunFolder.open(tmp_path / "run")
    table, model = run.table("model"), load_reward_model(run.path / "reward_model", device="cpu")
    assert table is not None
    items = table.item_texts[0].tolist()
    np.testing.assert_allclose(table.p[0, :5], model.propensities(list(table.user_texts[:5]), items), rtol=1e-4)
    order = [int(item.split()[1]) for item in items]
    assert np.corrcoef(table.p[0].mean(axis=0), price[order])[0, 1] > 0.8
    chosen = model.info["selection"]["item"]["chosen"]["price"]
    assert chosen > 0.9
    assert f"took each number: `price` {chosen:.2f}" in run.report_file.read_text(encoding="utf-8")


def test_a_config_names_what_follows_clicks(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"item_text": ["a", "b"], "impressions": 9, "clicks": 5, "orders": [2, 1], "revenue": [3.5, 1]}
    )
    frame.to_csv(tmp_path / "clicks.csv", index=False)
    data = "path: clicks.csv, conversions: orders, value: revenue}"
    text = CONFIG.replace("path: clicks.parquet, numbers: [price], embeddings: [image]}", data)
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    log = read_source(load_config(tmp_path / "c.yaml").config).log
    assert log.outcomes == ("conversions", "value")
    assert log.pairs["value"].tolist() == [3.5, 1.0]
