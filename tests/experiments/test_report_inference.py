"""The report's words and tables about inference: the lower bound, finer intervals, adaptivity, methods."""

from math import log
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bandits import PropensityTable
from bandits.statistics import lai_robbins_constant
from experiments.config import load_config
from experiments.report_adaptivity import adaptive_policies, adaptivity_caveats
from experiments.report_lower_bound import lower_bound_constant, lower_bound_line, lower_bound_words
from experiments.report_precision import comparison_words, precision_section
from experiments.run_data import RunData
from experiments.run_folder import RunFolder
from experiments.runner import run_experiment


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunData, str]:
    """Three arms with given rates; five replications."""
    folder = tmp_path_factory.mktemp("inference")
    overrides = ["simulation.horizon=3000", "simulation.replications=5", "simulation.test_lengths=[100]"]
    overrides += ["data={source: bernoulli, means: [0.5, 0.2, 0.1]}", "policies.ABTest={control: 0, visitors: 200}"]
    run_experiment(load_config("bernoulli", overrides), folder / "run", threads=1)
    opened = RunFolder.open(folder / "run")
    return RunData(opened), opened.report_file.read_text(encoding="utf-8")


def test_the_bound_is_drawn_and_explained(run: tuple[RunData, str]) -> None:
    data, html = run
    constant = float(lai_robbins_constant([0.5, 0.2, 0.1]))
    assert lower_bound_constant(data) == (pytest.approx(constant), "")
    line = lower_bound_line(data)
    assert line is not None
    np.testing.assert_allclose(line, constant * np.log(data.rounds))
    assert (data.run.figures / "regret_log.svg").is_file()
    assert f"here {constant:.4g}, times the logarithm" in html
    assert "It is asymptotic" in html
    assert "with the lower bound, dotted" in html


def test_a_bound_that_flattens_all_curves_is_said_and_not_drawn(run: tuple[RunData, str]) -> None:
    data, _ = run
    arms = [0.5, 0.499, 0.498]
    given = data.config.model_copy(update={"data": data.config.data.model_copy(update={"means": arms})})
    near: Any = _with(data, config=given)
    assert lower_bound_line(near) is None
    at_the_end = float(lai_robbins_constant(arms)) * log(3000)
    assert f"It is not drawn: at 3,000 visitors it is at {at_the_end:,.0f} clicks" in lower_bound_words(near)


def test_where_there_is_no_bound_the_report_says_why(run: tuple[RunData, str]) -> None:
    data, _ = run
    own = load_config("bernoulli", ["data={source: bernoulli, prior: [1, 1], arms: 3}"]).config
    assert "draws click rates of its own" in lower_bound_words(_with(data, config=own))
    equal = load_config("bernoulli", ["data={source: bernoulli, means: [0.3, 0.3]}"]).config
    assert "no arm is worse than another" in lower_bound_words(_with(data, config=equal))
    two_users = PropensityTable.single_world(np.array([[0.1, 0.2], [0.3, 0.1]]))
    other = SimpleNamespace(data=None, world=SimpleNamespace(no_recommendation=None))
    assert "Graves and Lai 1997" in lower_bound_words(
        _with(data, config=other, table=two_users, manifest={"late_items": []})
    )
    nothing = SimpleNamespace(data=None, world=SimpleNamespace(no_recommendation=0.1))
    assert "showing nothing is one of the choices" in lower_bound_words(_with(data, config=nothing, table=two_users))
    assert "items arrive during the run" in lower_bound_words(
        _with(data, config=other, table=two_users, manifest={"late_items": [["b", 7]]})
    )


def test_several_worlds_have_the_mean_of_their_bounds(run: tuple[RunData, str]) -> None:
    """Padded arms take no part, and a world without replications none either."""
    table = PropensityTable(
        p=np.array([[[0.2, 0.1, 0.0]], [[0.3, 0.1, 0.2]], [[0.5, 0.4, 0.1]]], dtype=np.float32),
        user_ids=("all",),
        user_texts=("",),
        item_ids=np.array([["a", "b", ""], ["a", "b", "c"], ["a", "b", "c"]]),
        item_texts=np.full((3, 3), ""),
        num_items=np.array([2, 3, 3]),
        world_ids=("x", "y", "z"),
    )
    data: Any = SimpleNamespace(
        config=SimpleNamespace(data=None, world=SimpleNamespace(no_recommendation=None)),
        manifest={"late_items": []},
        table=table,
        world=np.array([0, 1, 0, 1]),
    )
    expected = (float(lai_robbins_constant([0.2, 0.1])) + float(lai_robbins_constant([0.3, 0.1, 0.2]))) / 2
    assert lower_bound_constant(data)[0] == pytest.approx(expected, rel=1e-6)


def test_numbers_of_replications_by_hand(run: tuple[RunData, str]) -> None:
    data, html = run
    section = precision_section(data)
    assert section is not None
    finals = {label: curve[-1] for label, curve in data.curves("reward").items()}
    clicks = finals["ABTest"].mean()
    assert [row["policy"] for row in section["rows"]] == [label for label in finals if label != "ABTest"]
    for row in section["rows"]:
        difference = finals[row["policy"]] - finals["ABTest"]
        sd = difference.std(ddof=1)
        half = stats.t.ppf(0.975, 4) * sd / np.sqrt(5)
        assert row["sd"] == pytest.approx(sd)
        assert row["half_width"] == pytest.approx(half)
        assert row["to_halve"] == np.ceil((stats.norm.ppf(0.975) * sd / (half / 2)) ** 2)
        assert row["to_share"] == max(2, np.ceil((stats.norm.ppf(0.975) * sd / (0.01 * clicks)) ** 2))
        assert row["to_tell"] == max(2, np.ceil((stats.norm.ppf(0.975) * sd / abs(difference.mean())) ** 2))
    best = max(section["rows"], key=lambda row: float((finals[row["policy"]] - finals["ABTest"]).mean()))
    assert f"To halve the interval of {best['policy']}, now ± {best['half_width']:,.3g} clicks" in section["words"]
    assert "may be off by some 139 percent" in section["words"]  # 1.96 sqrt(2 / 4)
    assert "How many replications finer intervals would take" in html


def test_one_replication_or_no_difference_needs_no_number(run: tuple[RunData, str]) -> None:
    data, _ = run
    assert precision_section(_with(data, num_units=1)) is None
    assert comparison_words(_with(data, num_units=1)) == (
        "Results of one replication: it has no intervals and no p-values."
    )
    same = {label: np.ones((2, 5)) for label in data.curves("reward")}
    summary = data.summary.assign(extra=0.0, extra_low=0.0, extra_high=0.0)
    section = precision_section(_with(data, curves=lambda column: same, summary=summary))
    assert section is not None
    assert all(row["to_halve"] is row["to_share"] is row["to_tell"] is None for row in section["rows"])
    assert "To halve" not in section["words"]


def test_the_table_says_method_level_family_and_looks(run: tuple[RunData, str]) -> None:
    data, html = run
    words = comparison_words(data)
    for part in (
        "Means over 5 replications with 95 percent t intervals, each by itself.",
        "two-sided paired t tests, adjusted by Holm's method over the family of all 6 comparisons",
        "any of them is a false alarm with probability 5% at most",
        "fixed beforehand; results were looked at once",
    ):
        assert part in words
    assert "over the family of all 6 comparisons" in html
    two = _with(data, summary=data.summary.head(2))
    assert "nothing to correct for, as there is only one" in comparison_words(two)


def test_bandits_are_named_and_designs_and_splits_are_not(run: tuple[RunData, str]) -> None:
    data, html = run
    assert data.manifest["adaptive"]["FixedSplit"] is False
    assert adaptive_policies(data) == ["EpsilonGreedy", "EpsilonGreedy decaying", "UCB1", "UCB1 narrow", "BetaThompson"]
    (words,) = adaptivity_caveats(data)
    assert words.startswith("Within a run, EpsilonGreedy, EpsilonGreedy decaying, UCB1 and 2 others choose by")
    assert "observed click rates are biased downwards" in html
    alone = _with(data, manifest={"adaptive": {"ABTest": True, "FixedSplit": False}})
    assert adaptivity_caveats(alone) == []
    one = _with(data, manifest={"adaptive": {"UCB1": True}}, traces=pd.DataFrame({"policy": ["UCB1"]}))
    assert adaptivity_caveats(one)[0].startswith("Within a run, UCB1 chooses by")


@pytest.mark.faults
def test_a_run_of_an_earlier_version_is_refused(run: tuple[RunData, str]) -> None:
    data, _ = run
    with pytest.raises(ValueError, match=r"must say which policies are adaptive\. Got one of an earlier version"):
        adaptive_policies(_with(data, manifest={"late_items": []}, run=data.run))


def _with(data: RunData, **changes: object) -> Any:
    """The same data with some attributes changed."""
    names = (
        "config",
        "rounds",
        "curves",
        "world",
        "clusters",
        "members",
        "same_arms",
        "table",
        "num_worlds",
        "num_units",
    )
    return SimpleNamespace(
        **({name: getattr(data, name) for name in (*names, "unit", "summary", "manifest", "traces")} | changes)
    )
