from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bandits import PropensityTable
from experiments.audience import arrivals, segments_of, with_null_item
from experiments.config import ExperimentConfig, load_config
from experiments.learned_worlds import _inputs_hash, read_source
from experiments.plan import plan_cells
from experiments.progress import Reporter
from experiments.provenance import sources_hash
from experiments.run_folder import RunFolder
from experiments.worlds import prepare_worlds

P = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])
TABLE = PropensityTable.single_world(P, item_texts=("one", "two", "three"))


def test_items_arrive_by_id_or_text() -> None:
    rounds = arrivals(TABLE, (("item-1", 50), ("three", 70)))
    assert rounds is not None
    assert rounds.tolist() == [[0, 50, 70]]
    assert arrivals(TABLE, ()) is None


def test_an_unknown_late_item_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"`world\.late_items` must name items\. Got `itm-1`\. Did you mean `item-1`"):
        arrivals(TABLE, (("itm-1", 50),))


def config_of(folder: Path, *overrides: str) -> ExperimentConfig:
    TABLE.save(folder / "table")
    (folder / "c.yaml").write_text(
        "name: t\ndata: {source: table, path: table}\nsimulation: {horizon: 100, replications: 3}\n"
        "baseline: ABTest\npolicies: {ABTest: {visitors: 20}, UCB1: }\n"
    )
    return load_config(folder / "c.yaml", overrides).config


def test_worlds_differ_where_their_settings_do(tmp_path: Path) -> None:
    def key(*overrides: str) -> object:
        (world,) = prepare_worlds(config_of(tmp_path, *overrides), RunFolder(tmp_path / "run"), Reporter())
        return world.key

    assert key() == key()
    assert key() != key("world.late_items.item-2=0.5")
    assert key("world.late_items.item-2=0.5") == key("world.late_items.item-2=50")
    assert key() != key("world.visitors_per_day=5")


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    np.save(tmp_path / "table" / "p.npy", TABLE.p + 0.01)
    with pytest.raises(ValueError, match=r"damaged"):
        prepare_worlds(config, RunFolder(tmp_path / "run"), Reporter())


def test_the_plan_has_every_policy_in_every_world_and_the_tests_of_other_lengths(tmp_path: Path) -> None:
    config = config_of(tmp_path, "simulation.test_lengths=[5, 10]", "simulation.chunk=2")
    plan = plan_cells(config, {"model": {"a": 1}, "planted": {"a": 2}}, lambda policy: "source")
    whole = [(p.label, p.kind, p.cell.first_replication, p.cell.replications) for p in plan if p.test_length is None]
    expected = [
        (label, kind, *chunk)
        for kind in ("model", "planted")
        for label in ("ABTest", "UCB1")
        for chunk in ((0, 2), (2, 1))
    ]
    assert whole == expected
    lengths = [(p.test_length, p.cell.policy["visitors"], p.kind) for p in plan if p.test_length is not None]
    assert lengths == [(n, n, "model") for n in (5, 5, 10, 10)]
    assert len({p.cell.key for p in plan}) == len(plan)


def test_the_hash_of_sources_sees_the_content_of_own_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("a = 1\n")
    before = sources_hash([file])
    assert before == sources_hash([file])
    file.write_text("a = 2\n")
    assert before != sources_hash([file])
    assert before != sources_hash()


def test_other_weights_in_the_same_folder_are_noticed(tmp_path: Path) -> None:
    """What was prepared with a folder's weights must not serve when the folder's content has changed."""
    overrides = [f"reward_model.weights={tmp_path}"]
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = _inputs_hash(load_config("newsroom", overrides).config)
    assert _inputs_hash(load_config("newsroom", overrides).config) == before
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert _inputs_hash(load_config("newsroom", overrides).config) != before


def click_log_config(tmp_path: Path, nothing: str) -> ExperimentConfig:
    pd.DataFrame(LOG_ROWS, columns=["user_text", "item_text", "impressions", "clicks"]).to_csv(
        tmp_path / "log.csv", index=False
    )
    (tmp_path / "c.yaml").write_text(
        f"name: c\ndata: {{source: click_log, path: log.csv}}\nworld: {{no_recommendation: {nothing}}}\n"
        "baseline: ABTest\npolicies: {ABTest: {visitors: 20}, NoRecommendation: }\n"
    )
    return load_config(tmp_path / "c.yaml").config


LOG_ROWS = [("u", "one", 50, 5), ("u", "two", 50, 7), ("u", "no teaser", 80, 2), ("v", "no teaser", 120, 4)]


@pytest.mark.model
def test_the_rate_without_a_recommendation_comes_from_the_log(tmp_path: Path) -> None:
    """Its impressions teach the reward model nothing."""
    source = read_source(click_log_config(tmp_path, "no teaser"))
    assert source.null_rate == 6 / 200
    assert source.log.items == ("one", "two")
    assert source.log.base_rate == 12 / 100
    assert read_source(click_log_config(tmp_path, "0.25")).null_rate == 0.25


@pytest.mark.model
@pytest.mark.faults
def test_a_text_that_is_not_in_the_log_stands_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Got 'no teasers'. Did you mean `no teaser`"):
        read_source(click_log_config(tmp_path, "no teasers"))


def test_nothing_is_one_more_item_for_everybody() -> None:
    table = PropensityTable.single_world(np.array([[0.1, 0.2], [0.3, 0.4]]), user_texts=("a baker", "a pilot"))
    wider = with_null_item(table, 0.05)
    np.testing.assert_allclose(wider.p[0], [[0.1, 0.2, 0.05], [0.3, 0.4, 0.05]])
    assert wider.item_texts[0, 2] == "(nothing recommended)"
    assert wider.num_items.tolist() == [3]
    two = PropensityTable.interleaved({"m": table, "n": table})
    assert with_null_item(two, 0.05).p[:, :, 2].tolist() == [[np.float32(0.05)] * 2] * 2
    unlike = replace(two, num_items=np.array([2, 1]), p=two.p * [[[1, 1]], [[1, 0]]])
    with pytest.raises(ValueError, match=r"must be left out where worlds differ in their number of items"):
        with_null_item(unlike, 0.05)
    assert segments_of(table, {"flies": "PILOT", "bakes": "bak"}) == {"flies": [1], "bakes": [0]}
    assert segments_of(table, {"bakes": "bak"}) == {"bakes": [0], "others": [1]}
    assert segments_of(table, {}) is None
    with pytest.raises(ValueError, match=r"must each fit some user\. Got none for bakes\."):
        segments_of(table, {"anybody": "^a", "bakes": "bak"})
