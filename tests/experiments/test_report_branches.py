"""Tests between policies in a run and its report: numbers made again from the traces with pandas and statsmodels."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bandits import PropensityTable
from experiments.config import load_config
from experiments.problems import ConfigError
from experiments.report_adaptivity import adaptivity_caveats
from experiments.report_branches import biases, branch_tests
from experiments.run_data import RunData
from experiments.runner import run_experiment

USERS = tuple(f"{kind} number {n}" for n in range(20) for kind in ("Baker", "Sailor"))
CONFIG = """
name: branches
data: {source: table, path: table}
world: {no_recommendation: 0.05, segments: {bakers: "^bak(er|ing)"}}
simulation: {horizon: 600, replications: 30, chunk: 15, snapshots: 12}
baseline: test
policies:
  test:
    policy: BranchTest
    design:
      {policy: ABTest, visitors: 400, by: user, if_none: split, if_winner: split, weights: [0.3, 0.4, 0.3], control: 1}
    branches:
      learns: {policy: EpsilonGreedy, epsilon: 0.1}
      nothing: {policy: NoRecommendation}
      splits: {policy: FixedSplit}
  nothing: {policy: NoRecommendation}
  splits: {policy: FixedSplit}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("branches")
    rates = np.where(np.arange(40)[:, None] % 2 == 0, [0.5, 0.2, 0.3], [0.1, 0.2, 0.4])
    PropensityTable.single_world(rates, user_texts=USERS, item_texts=("a", "b", "c")).save(folder / "table")
    (folder / "branches.yaml").write_text(CONFIG)
    return run_experiment(load_config(folder / "branches.yaml"), folder / "run", threads=1)


@pytest.fixture
def data(run):
    from experiments.run_folder import RunFolder

    return RunData(RunFolder.open(run))


def final(data, column, label="test"):
    traces = data.traces
    rows = traces[(traces["policy"] == label) & (traces["round"] == 600)].sort_values("replication")
    return rows[f"record.{column}"].to_numpy()


def test_effects_are_those_of_the_records(data):
    (section,) = branch_tests(data)
    rates = {
        name: final(data, f"clicks[{name}]") / final(data, f"visitors[{name}]")
        for name in ("learns", "nothing", "splits")
    }
    rows = {row["branch"]: row for row in section["rows"]}
    assert rows["nothing"]["is_control"]
    raw = []
    for name in ("learns", "splits"):
        effect = rates[name] - rates["nothing"]
        assert float(rows[name]["effect"].estimate) == pytest.approx(effect.mean(), abs=1e-12)
        low, high = stats.t.interval(0.95, 29, effect.mean(), stats.sem(effect))
        assert (float(rows[name]["effect"].low), float(rows[name]["effect"].high)) == pytest.approx((low, high))
        assert rows[name]["single"] == pytest.approx(tuple(np.quantile(effect, [0.025, 0.975])))
        raw.append(stats.ttest_rel(rates[name], rates["nothing"]).pvalue)
    np.testing.assert_allclose([rows[name]["p"] for name in ("learns", "splits")], multipletests(raw, method="holm")[1])


def test_segments_have_their_own_effects_and_one_family(data):
    (section,) = branch_tests(data)
    rows = section["segments"]["rows"]
    assert [(row["branch"], row["segment"]) for row in rows] == [
        (branch, segment) for branch in ("learns", "splits") for segment in ("bakers", "others")
    ]
    raw = []
    for row in rows:
        mine, control = (
            final(data, f"clicks[{branch} | {row['segment']}]") / final(data, f"visitors[{branch} | {row['segment']}]")
            for branch in (row["branch"], "nothing")
        )
        there = np.isfinite(mine - control)
        assert row["missing"] == (~there).sum()
        assert float(row["effect"].estimate) == pytest.approx((mine - control)[there].mean())
        raw.append(stats.ttest_rel(mine[there], control[there]).pvalue)
    np.testing.assert_allclose([row["p"] for row in rows], multipletests(raw, method="holm")[1])
    # A third of the rates of each kind of user is what a uniform split earns; nothing earns 0.05.
    splits = {row["segment"]: float(row["effect"].estimate) for row in rows if row["branch"] == "splits"}
    assert splits["bakers"] == pytest.approx(1 / 3 - 0.05, abs=0.05)
    assert splits["others"] == pytest.approx(0.7 / 3 - 0.05, abs=0.05)


def test_what_learns_nothing_is_estimated_without_bias(data):
    found = biases(data)
    assert found.keys() == {"test"}
    assert found["test"].keys() == {"splits"}  # the learner does not run alone
    bias = found["test"]["splits"]
    assert float(bias.low) < 0 < float(bias.high)
    assert abs(float(bias.estimate)) < 3  # percentage points


def test_the_report_shows_it_all(run):
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "arm 0 is learns, arm 1 is nothing, arm 2 is splits" in html
    assert "the difference\nto nothing in percentage points" in html
    assert "(nothing recommended)" in html
    assert "adjusted by Holm for all 4 branches and segments" in html
    assert (run / "figures" / "branch_bias.png").stat().st_size > 5_000


@pytest.mark.faults
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("world.no_recommendation=1.5", "world.no_recommendation: must lie in [0, 1]. Got 1.5."),
        ("world.no_recommendation=empty", "world.no_recommendation: must be a number without a click log."),
        ("world.kinds=[planted]", "world.kinds: must be left out with data source `table`."),
        ("world.prior=model", "world.prior: must be left out here."),
        ("world.segments.odd=(", "world.segments.odd: must be a regular expression"),
    ],
)
def test_worlds_that_cannot_be_are_refused(run, override, message):
    with pytest.raises(ConfigError) as error:
        load_config(Path(run).parent / "branches.yaml", [override])
    assert message in str(error.value)


@pytest.mark.faults
def test_segments_without_users_are_refused(run, tmp_path):
    loaded = load_config(Path(run).parent / "branches.yaml", ["world.segments.pilots=pilot"])
    with pytest.raises(ValueError, match=r"`world.segments` must each fit some user. Got none for pilots."):
        run_experiment(loaded, tmp_path / "run", threads=1)


def test_learning_branches_are_named_as_what_the_test_is_not_made_for(data):
    (words,) = [text for text in adaptivity_caveats(data) if text.startswith("test tests policies")]
    assert "of which learns learns while the test runs" in words
    assert "is wrong at another rate than its level says" in words
    spec = data.config.policies["test"]
    still = {"policy": "BranchTest", "branches": {name: spec["branches"][name] for name in ("nothing", "splits")}}
    config = SimpleNamespace(policies={"test": still})
    assert adaptivity_caveats(SimpleNamespace(config=config, manifest={"adaptive": {}})) == []
