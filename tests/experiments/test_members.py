"""Experiments that are played in the worlds of an ensemble's members, from log to report."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bandits.reward_models import RewardEnsemble, load_reward_model
from experiments.config import load_config
from experiments.learned_worlds import prepare_learned_worlds
from experiments.members import members_of
from experiments.problems import ConfigError
from experiments.progress import Reporter
from experiments.report_members import across_members, members_section
from experiments.report_precision import precision_section
from experiments.run_data import RunData
from experiments.run_folder import RunFolder
from experiments.runner import run_experiment

FIT = "weights: tiny, epochs: 2, learning_rate: 2e-3, freeze_embeddings: false, members: 3, evaluation: {band: null}"
PAIRS = f"""
name: pairs
data: {{source: click_log, path: clicks.csv}}
reward_model: {{{FIT}}}
world: {{features: 4, members: true, no_recommendation: 0.02, segments: {{odd: "[13579]$"}},
  late_items: {{no news: 200}}}}
simulation: {{horizon: 400, replications: 10, chunk: 4, snapshots: 10, test_lengths: [20]}}
baseline: ABTest
policies: {{ABTest: {{visitors: 60}}, BetaThompson: , NoRecommendation: }}
"""
TESTS = f"""
name: tests
data: {{source: click_log, path: tests.csv}}
reward_model: {{{FIT}, loss: within_test}}
world: {{features: 4, members: true}}
simulation: {{horizon: 200, replications: 13, chunk: 5, snapshots: 10, test_lengths: [20]}}
baseline: ABTest
policies: {{ABTest: {{visitors: 60}}, BetaThompson: }}
"""
Run = tuple[RunData, str]


def run(folder: Path, text: str) -> Run:
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No installed font has")
        patch.setattr("experiments.learned_worlds.cache_folder", lambda: folder / "cache")
        run_experiment(load_config(folder / "c.yaml"), folder / "run", threads=1)
    opened = RunFolder.open(folder / "run")
    return RunData(opened), opened.report_file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    rows = [
        {"user_text": f"Reader {u}", "item_text": item, "impressions": 300, "clicks": random.binomial(300, rate)}
        for u in range(60)
        for item, rate in (("good news", 0.3), ("bad news", 0.1), ("no news", 0.4))
    ]
    pd.DataFrame(rows).to_csv(folder / "clicks.csv", index=False)
    return run(folder, PAIRS)


@pytest.fixture(scope="module")
def tests(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, random = tmp_path_factory.mktemp("tests"), np.random.default_rng(6)
    rows = [
        {
            "test": f"test-{test}",
            "item_text": f"{word} story {test} number {arm}",
            "impressions": 1000,
            "clicks": random.binomial(1000, 0.12 if word == "amazing" else 0.06),
        }
        for test in range(60)
        for arm, word in enumerate(random.permutation(["amazing", "plain", "quiet"])[: 2 + test % 2])
    ]
    pd.DataFrame(rows).to_csv(folder / "tests.csv", index=False)
    return run(folder, TESTS)


def extra_by_replication(data: RunData, label: str) -> dict[int, float]:
    """Clicks more than the baseline at the end of each replication, by a loop over the stored trace."""
    clicks: dict[tuple[str, int], float] = {}
    rows = data.run.read("traces")
    for row in rows[(rows["kind"] == "model") & (rows["round"] == rows["round"].max())].itertuples():
        clicks[str(row.policy), int(row.replication)] = float(row.reward)
    return {r: clicks[label, r] - clicks["ABTest", r] for policy, r in clicks if policy == label}


@pytest.mark.model
def test_each_replication_lives_in_one_members_world(pairs: Run) -> None:
    data, _ = pairs
    table, model = data.run.table("model"), load_reward_model(data.run.path / "reward_model", device="cpu")
    assert table is not None
    assert isinstance(model, RewardEnsemble)
    assert table.world_ids == ("world-0 member-0", "world-0 member-1", "world-0 member-2")
    for m, member in enumerate(model.members):
        users, items = list(table.user_texts[:4]), table.item_texts[m, :-1].tolist()
        np.testing.assert_allclose(table.p[m, :4, :-1], member.propensities(users, items), rtol=1e-4)
    np.testing.assert_allclose(table.p[:, :, -1], 0.02)  # showing nothing, in all of them
    assert len({p.tobytes() for p in table.p}) == 3
    worlds = data.run.read("replications")
    assert (worlds["world"] == worlds["replication"] % 3).all()


@pytest.mark.model
def test_regret_is_of_the_world_that_is_played(pairs: Run) -> None:
    """Showing nothing to everybody loses what the best item of one member's world would have earned, and no other's."""
    data, _ = pairs
    table = data.run.table("model")
    assert table is not None
    ((late, start),) = data.late_items
    assert start == 200
    best, later = (np.delete(table.p, gone, axis=2).max(axis=2) for gone in ((late, -1), -1))
    nothing = 0.02
    regret = data.curves("regret")["NoRecommendation"][-1]
    for r, lost in enumerate(regret):
        expected = 200 * (best[r % 3].mean() + later[r % 3].mean() - 2 * nothing)
        assert lost == pytest.approx(expected, rel=0.25)  # whoever happened to visit
    level = [regret[np.arange(10) % 3 == m].mean() for m in range(3)]
    assert np.argsort(level).tolist() == np.argsort((best + later).mean(axis=1)).tolist()


@pytest.mark.model
def test_holds_in_k_of_m_worlds_by_a_loop(pairs: Run) -> None:
    data, html = pairs
    section, summary = members_section(data), data.summary.set_index("policy")
    assert section is not None
    for row in section["rows"]:
        extra = extra_by_replication(data, row["policy"])
        groups = [[value for r, value in extra.items() if r % 3 == m] for m in range(3)]
        means = [sum(group) / len(group) for group in groups]
        overall = sum(means) / 3
        tests_of_worlds = [stats.ttest_1samp(group, 0) for group in groups]
        assert row["extra"] == pytest.approx(overall)
        assert row["holds"] == sum(mean * overall > 0 for mean in means)
        assert row["certain"] == sum(test.pvalue < 0.05 and test.statistic * overall > 0 for test in tests_of_worlds)
        half = stats.t.ppf(0.975, 2) * np.std(means, ddof=1) / np.sqrt(3)  # three members, not ten replications
        assert [row["low"], row["high"]] == pytest.approx([overall - half, overall + half])
        assert [row["least"], row["most"]] == pytest.approx([min(means), max(means)])
        noise = sum(np.var(group, ddof=1) / len(group) for group in groups) / 9
        variance = np.var(means, ddof=1) / 3
        assert row["between"] == pytest.approx(max(0.0, variance - noise) / variance)
        assert f"{row['holds']} of 3</td>" in html
        assert [row["low"], row["high"]] == pytest.approx(
            summary.loc[row["policy"], ["extra_low", "extra_high"]].tolist()
        )
        assert summary.loc[row["policy"], "p"] == pytest.approx(stats.ttest_1samp(means, 0).pvalue)


@pytest.mark.model
def test_the_report_of_pairs_says_what_its_worlds_are(pairs: Run) -> None:
    data, html = pairs
    best = data.summary[data.summary["policy"] != "ABTest"].nlargest(1, "extra")["policy"].iloc[0]
    holds = across_members(data, best).holds
    assert f"clicks than ABTest holds in {holds} of 3 worlds, one for each member of the ensemble" in html
    assert "in each of 3 worlds" in html
    assert "member r mod 3 believes in. A member&#39;s world is the unit" in html
    assert "What all of them have wrong is told by their calibration" in html
    assert "given one fitted reward model" not in html
    for kept in ("Who is shown what", "Who finds the late arrival, and when", "Some simulated users"):
        assert kept in html  # the items are the same in all members' worlds
    assert html.count("<td>member-") == 3
    assert len({one["log_loss"] for one in data.model["members"]}) == 3
    assert "ensemble of 3 such models" in (data.run.path / "reward_model" / "README.md").read_text(encoding="utf-8")


@pytest.mark.model
def test_tests_are_crossed_with_members(tests: Run) -> None:
    data, html = tests
    table, observed = data.run.table("model"), data.run.table("observed")
    assert table is not None
    assert observed is not None
    count = len(observed.world_ids)
    assert table.world_ids == tuple(f"{test} member-{m}" for test in observed.world_ids for m in range(3))
    replications = data.run.read("replications")
    model = replications[replications["kind"] == "model"]
    assert (model["world"] == model["replication"] % (3 * count)).all()
    assert (model["world"] % 3 == model["replication"] % 3).all()
    extra = extra_by_replication(data, "BetaThompson")
    cells: dict[tuple[int, int], list[float]] = {}
    for r, value in extra.items():
        cells.setdefault((r % (3 * count) // 3, r % 3), []).append(value)
    means = {cell: float(np.mean(values)) for cell, values in cells.items()}
    parts = []
    for axis in (0, 1):
        levels = sorted({cell[axis] for cell in means})
        own = [np.mean([mean for cell, mean in means.items() if cell[axis] == level]) for level in levels]
        parts.append((np.var(own, ddof=1) / len(own), len(own) - 1))
    variance = sum(part for part, _ in parts)
    degrees = variance**2 / sum(part**2 / df for part, df in parts)
    center, half = np.mean(list(means.values())), stats.t.ppf(0.975, degrees) * np.sqrt(variance)
    row = data.summary.set_index("policy").loc["BetaThompson"]
    assert row[["extra", "extra_low", "extra_high"]].tolist() == pytest.approx([center, center - half, center + half])
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(center) / np.sqrt(variance), degrees))
    found = across_members(data, "BetaThompson")
    by_member = [np.mean([v for (_, m), v in means.items() if m == member]) for member in range(3)]
    assert found.holds == sum(mean * center > 0 for mean in by_member)
    assert f"holds in the worlds of {found.holds} of 3 members of the ensemble of reward models, averaged" in html
    assert "Satterthwaite" in html
    assert "tests and members are the units" in html
    assert "Some simulated tests" in html
    assert precision_section(data) is None  # neither more tests nor more members alone would do
    mean = data.mean_table
    assert mean is not None
    np.testing.assert_allclose(mean.p[1], table.p[3:6].mean(axis=0))
    assert mean.world_ids[1].startswith(observed.world_ids[1])
    assert mean.item_texts[1].tolist() == observed.item_texts[1].tolist()


@pytest.mark.model
def test_without_the_key_an_ensemble_is_one_world(tmp_path: Path, pairs: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pairs[0].run.path.parent
    cached = folder / "cache"  # the members are fitted already
    before = sorted(path.name for path in cached.glob("fit-*"))
    monkeypatch.setattr("experiments.learned_worlds.cache_folder", lambda: cached)
    (folder / "mean.yaml").write_text(PAIRS.replace("members: true, ", ""), encoding="utf-8")
    config = load_config(folder / "mean.yaml").config
    tables, _ = prepare_learned_worlds(config, RunFolder.start(tmp_path / "run", config), Reporter())
    assert sorted(path.name for path in cached.glob("fit-*")) == before
    table, model = tables["model"], load_reward_model(tmp_path / "run" / "reward_model", device="cpu")
    assert isinstance(model, RewardEnsemble)
    p = model.propensities(table.user_texts[:3], table.item_texts[0, :-1].tolist())
    np.testing.assert_allclose(table.p[:, :3, :-1], p[np.newaxis], rtol=1e-4)
    assert members_of(config, "model") == members_of(pairs[0].config, "observed") == 1


@pytest.mark.faults
@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        (
            lambda text: text.replace("members: 3", "members: 1"),
            "world.members",
            "needs `reward_model.members` above 1",
        ),
        (
            lambda text: text.replace("features: 4", "features: 4, kinds: [planted, model]").replace(
                "source: click_log, path: clicks.csv", "source: newsroom"
            ),
            "world.members",
            "needs `model` first in `world.kinds`. Got planted, model.",
        ),
        (
            lambda text: text.replace("replications: 10", "replications: 2"),
            "simulation.replications",
            "must be at least the 3 members whose worlds are played. Got 2.",
        ),
    ],
)
def test_mistakes_about_members_are_told(tmp_path: Path, change: Callable[[str], str], path: str, message: str) -> None:
    (tmp_path / "clicks.csv").touch()
    (tmp_path / "c.yaml").write_text(change(PAIRS), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "c.yaml")
    assert path in str(error.value)
    assert message in str(error.value)


@pytest.mark.model
@pytest.mark.faults
def test_a_member_whose_level_is_wrong_is_refused(tmp_path: Path, pairs: Run) -> None:
    """Its world would be played, however right the members' mean is."""
    folder = pairs[0].run.path.parent
    (folder / "band.yaml").write_text(PAIRS.replace("band: null", "band: [0.95, 1.05]"), encoding="utf-8")
    config = load_config(folder / "band.yaml").config
    wrong = {"ratio": 1.5, "low": 1.4, "high": 1.6}
    right = {"ratio": 1.0, "low": 0.9, "high": 1.1}
    told = {"calibration": {"overall": right}, "members": [{"overall": right}, {"overall": wrong}, {"overall": right}]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.learned_worlds.cache_folder", lambda: folder / "cache")
        patch.setattr("bandits.reward_models.evaluation.evaluate", lambda *args, **rest: told)
        patch.setattr(RewardEnsemble, "save", lambda *args, **rest: None)
        with pytest.raises(ValueError, match=r"0\.95 to 1\.05, as far as held-out rows can tell\. Got 1\.500"):
            prepare_learned_worlds(config, RunFolder.start(tmp_path / "run", config), Reporter())
