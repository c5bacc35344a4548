import math
import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bandits import PropensityTable
from bandits.statistics import sample_size_two_proportions, sample_sizes_two_proportions
from experiments import runner
from experiments.config import load_config
from experiments.figures import arms_in_test, planned_lengths
from experiments.html_page import number
from experiments.report_worlds import discovery, ideal_shares
from experiments.run_data import RunData
from experiments.run_folder import RunFolder
from experiments.runner import run_experiment

EVIL = "<script>alert('headline')</script> & $x_1$"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, str]:
    """A report about two users and three items, one of which arrives late and has a hostile text."""
    folder = tmp_path_factory.mktemp("report")
    p = np.array([[0.5, 0.2, 0.1], [0.3, 0.1, 0.6]])
    texts = ("An honest headline", "报道", EVIL)
    table = PropensityTable.single_world(p, user_texts=("reader <b>one</b>", "reader two"), item_texts=texts)
    table.save(folder / "table")
    (folder / "c.yaml").write_text(
        "name: evil\ndata: {source: table, path: table}\nworld: {late_items: {item-2: 100}}\nbaseline: A <i>\n"
        "simulation: {horizon: 200, replications: 4, snapshots: 60}\n"
        "policies: {A <i>: {policy: ABTest, visitors: 40}, UCB1: {width: 0.1}, FixedSplit: ,\n"
        "  split: {policy: BranchTest, design: {policy: ABTest, visitors: 150},\n"
        "    branches: {left: {policy: UCB1}, right: {policy: FixedSplit}}}}\n",
        encoding="utf-8",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No installed font has")
        run_experiment(load_config(folder / "c.yaml"), folder / "run", threads=1)
    run = RunFolder.open(folder / "run")
    return run, run.report_file.read_text(encoding="utf-8")


def test_every_text_is_escaped(report: tuple[RunFolder, str]) -> None:
    _, html = report
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#39;headline&#39;)&lt;/script&gt;" in html
    assert "reader &lt;b&gt;one&lt;/b&gt;" in html
    assert "A &lt;i&gt;" in html
    assert "<i>" not in html


def test_the_test_counts_the_arms_that_are_there_at_its_start(report: tuple[RunFolder, str]) -> None:
    run, html = report
    assert arms_in_test(RunData(run)).tolist() == [2]  # the third arrives in round 100
    assert "Visits are divided among the 2 arms that are there at the start" in html


def test_each_world_has_a_test_as_long_as_its_own_arms_need() -> None:
    """Three worlds of 2, 4 and 3 arms, padded to 4; one arm of the last is late, one arm has no share."""
    table = PropensityTable(
        p=np.full((3, 1, 4), 0.1, dtype=np.float32) * [[[1, 1, 0, 0]], [[1, 1, 1, 1]], [[1, 1, 1, 0]]],
        user_ids=("all",),
        user_texts=("",),
        item_ids=np.array([["a", "b", "", ""], ["a", "b", "c", "d"], ["a", "b", "late", ""]]),
        item_texts=np.full((3, 4), ""),
        num_items=np.array([2, 4, 3]),
        world_ids=("x", "y", "z"),
    )
    spec = {"policy": "ABTest", "stream": 0, "visitors": None, "minimum_effect": 0.1, "baseline": 0.1, "power": 0.8}
    for weights, arms in ((None, [2, 4, 2]), ([0.4, 0.3, 0.3, 0.0], [2, 3, 2])):
        policy = spec | {"alpha": 0.05, "control": 0, "weights": weights}
        config = SimpleNamespace(baseline="AB", policies={"AB": policy})
        traffic = {"AB": np.zeros((1, 4))}
        data: Any = SimpleNamespace(table=table, config=config, traffic=traffic, manifest={"late_items": [["late", 9]]})
        assert arms_in_test(data).tolist() == arms
        if weights is None:
            lengths = [m * sample_size_two_proportions(0.1, 0.1, alpha=0.05 / (m - 1)) for m in arms]
        else:  # the control's visitors, at three of a treatment's to four of its own, are 40 percent of all
            sizes = [sample_sizes_two_proportions(0.1, 0.1, alpha=0.05 / (m - 1), ratio=0.75).pooled for m in arms]
            lengths = [math.ceil(size / 0.4) for size in sizes]
        assert planned_lengths(data).tolist() == lengths  # type: ignore[union-attr]


def test_the_report_is_one_file(report: tuple[RunFolder, str]) -> None:
    _, html = report
    assert not re.findall(r'(?:src|href)="(?!data:image/svg)', html)
    assert "报道" in html


def test_the_first_paragraph_comes_first(report: tuple[RunFolder, str]) -> None:
    _, html = report
    body = html[html.index("<body>") :]
    first = re.findall(r"<p[^>]*>(.*?)</p>", body, flags=re.DOTALL)[1]
    assert re.search(r"won|Nothing is certain|No policy", first)


def test_the_rule_of_the_test_is_stated(report: tuple[RunFolder, str]) -> None:
    _, html = report
    assert "It looks at no result before all of its 40 visitors have been." in html
    assert "Arm 0 is “An honest headline”." in html
    assert "A winner gets all later visitors; without one, the control does." in html


def test_the_late_arrival_is_followed(report: tuple[RunFolder, str]) -> None:
    _, html = report
    assert "can be shown from round 100 on" in html
    assert "50.0 % of the visits" in html


def test_tests_between_policies_are_shown(report: tuple[RunFolder, str]) -> None:
    run, html = report
    traces = run.read("traces")
    last = traces[(traces["policy"] == "split") & (traces["round"] == 200)]
    assert (last["record.visitors[left]"] + last["record.visitors[right]"] == 150).all()
    assert "arm 0 is left, arm 1 is right" in html
    assert f'<td>right</td><td class="n">{number(last["record.visitors[right]"].mean())}</td>' in html


def test_discovery_joins_stretches_that_are_too_short_to_tell() -> None:
    rounds, pulls = np.array([10, 11, 12, 30]), np.array([[10, 0], [10, 1], [11, 1], [20, 10]])
    assert discovery(rounds, pulls, 1, 10, 0.4) == (20, 1.0, 0.5)
    assert discovery(rounds, pulls, 1, 10, 0.4, least=2) == (2, 0.5, 0.5)


def test_discovery_ignores_a_burst_that_passes() -> None:
    rounds = np.array([10, 20, 30, 40])
    burst = np.array([[10, 0], [12, 8], [22, 8], [32, 8]])
    assert discovery(rounds, burst, 1, 10, 0.25) == (None, 0.8, 0.0)
    found = np.array([[10, 0], [20, 0], [24, 6], [28, 12]])
    assert discovery(rounds, found, 1, 10, 0.25) == (20, 0.6, 0.6)


def test_nothing_is_found_before_it_arrives() -> None:
    assert discovery(np.array([10, 20]), np.array([[10, 0], [20, 0]]), 1, 20, 0.5) == (None, 0.0, 0.0)


def test_ideal_shares_follow_the_visits() -> None:
    p = np.array([[0.5, 0.2], [0.1, 0.3], [0.2, 0.4]])
    assert ideal_shares(p, np.array([0.5, 0.3, 0.2])).tolist() == pytest.approx([0.5, 0.5])


def test_a_report_of_an_unfinished_run_is_refused(tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "simulate", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(load_config(small), tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"is not finished: it has no traces\.parquet"):
        RunFolder.open(tmp_path / "run")


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
