"""The closed loop: shifts by hand, sequels of worlds, numbers of the page from the stored rows by plain loops."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference
from scipy.special import expit

from bandits import PropensityTable, simulate
from bandits.reward_models.metrics import expected_calibration_error
from bandits.testing import check_environment
from envs import BernoulliBandit, SimulatedUsers
from experiments.newsroom import make_newsroom
from experiments.newsroom.world import BASE, EFFECTS
from experiments.problems import ConfigError
from experiments.studies import closed_loop
from experiments.studies.closed_loop import Stage, played, run_closed_loop
from experiments.studies.closed_loop_config import ClosedLoopStudy, quick_closed_loop
from experiments.studies.closed_loop_page import verdict
from experiments.studies.closed_loop_results import MEASURES, look_up, tabulate
from experiments.studies.config import load_study
from experiments.studies.drifting_newsroom import Sequel, shifted_rates, table_of
from policies import FixedSplit

VARIANTS = {
    "never refitted": {"refits": 1},
    "all": {},
    "window, IPW": {"memory": "window", "weighting": "ipw", "epsilon": 0.3},
}


def config(**changes: object) -> ClosedLoopStudy:
    plain = {
        "study": "closed_loop",
        "world": {"users": 30, "headlines": 6, "encoder": "tiny", "features": 3},
        "deployments": 3,
        "visitors": 100,
        "few": 10,
        "simulation": {"replications": 3, "chunk": 2},
        "variants": VARIANTS,
        "model": {"guard": 0.8, "guard_prior": [1, 9]},
    }
    return ClosedLoopStudy.model_validate(plain | changes)


def stage(study: ClosedLoopStudy) -> Stage:
    random = np.random.default_rng(0)
    newsroom = make_newsroom(study.world.seed, study.world.users, study.world.headlines)
    return Stage(newsroom, random.normal(size=(study.world.users, 3)), random.normal(size=(study.world.headlines, 3)))


@pytest.fixture
def without_bert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_loop, "set_stage", stage)


def feeling(reader: object, topic: str) -> float:
    return sum(EFFECTS[degree] for degree, about in reader.traits if about == topic)  # type: ignore[attr-defined]


def test_a_shift_lets_two_topics_change_places() -> None:
    newsroom = make_newsroom(4, 60, 18)
    rates = shifted_rates(newsroom, shifts=3, swaps=1, seed=9, replication=5)
    felt_as = {headline.topic: headline.topic for headline in newsroom.headlines}
    for before, after in itertools.pairwise(rates):
        moved = {h.topic for k, h in enumerate(newsroom.headlines) if np.any(before[:, k] != after[:, k])}
        assert len(moved) == 2
        first, second = moved
        felt_as[first], felt_as[second] = felt_as[second], felt_as[first]
        for u, reader in enumerate(newsroom.readers):
            for k, headline in enumerate(newsroom.headlines):
                view = sum(EFFECTS[degree] for degree, about in reader.traits if not about) if headline.teases else 0.0
                logit = BASE + feeling(reader, felt_as[headline.topic]) + view + headline.appeal
                assert after[u, k] == pytest.approx(expit(logit))
    np.testing.assert_allclose(rates[0], newsroom.true_table().p[0], rtol=1e-6)


def test_shifts_belong_to_the_replication() -> None:
    newsroom = make_newsroom(4, 10, 12)
    first, again, other = (shifted_rates(newsroom, shifts=4, swaps=1, seed=9, replication=n) for n in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    still = shifted_rates(newsroom, shifts=2, swaps=0, seed=9, replication=2)
    np.testing.assert_array_equal(still[0], still[2])


def test_a_sequel_is_an_environment_and_changes_on_time() -> None:
    newsroom = make_newsroom(1, 8, 4)

    def make(size: int) -> Sequel:
        rates = np.stack([shifted_rates(newsroom, shifts=1, swaps=2, seed=1, replication=0)] * size, axis=1)
        return Sequel([SimulatedUsers(table_of(newsroom, part), num_envs=size) for part in rates], 13)

    check_environment(make)
    parts = [BernoulliBandit([0.0, 0.0], num_envs=2), BernoulliBandit([1.0, 1.0], num_envs=2)]
    trace = simulate(Sequel(parts, 5), FixedSplit(), horizon=20, seed=1, snapshots=[4, 5, 6, 10, 20])
    assert trace.reward[:, 0].tolist() == [0, 0, 1, 5, 15]


def test_each_part_of_a_sequel_has_its_own_luck() -> None:
    parts = [BernoulliBandit([0.5, 0.5], num_envs=40) for _ in range(2)]
    trace = simulate(Sequel(parts, 20), FixedSplit(), horizon=40, seed=2, snapshots=[20, 40])
    assert not np.array_equal(trace.reward[0], trace.reward[1] - trace.reward[0])


def test_what_a_part_stores_is_what_a_listener_counts() -> None:
    """The last part of three replications: its only replication lives in a table of its own shifts."""
    study = config()
    scene = stage(study)
    frame = played(study, scene, study.policy("window, IPW"), 2, 1).set_index("deployment")
    truth = shifted_rates(scene.newsroom, shifts=2, swaps=1, seed=1, replication=2)
    policy = study.policy("window, IPW")
    rows = []

    def listen(feedback, chances) -> None:  # type: ignore[no-untyped-def]
        now = feedback.context
        rows.append((int(now.round[0]), int(now.user_id[0]), int(feedback.chosen[0]), feedback.reward[0],
                     policy.rates(now)[0]))  # fmt: skip

    parts = [
        SimulatedUsers(
            PropensityTable.single_world(
                truth[max(d - 1, 0)],
                user_texts=("",) * 30,
                item_texts=tuple("abcdef"),
                user_ids=scene.newsroom.user_ids,
                item_ids=tuple("abcdef"),
            ),
            user_features=scene.user,
            arm_features=scene.arms,
        )
        for d in range(4)
    ]
    trace = simulate(Sequel(parts, 100), policy, horizon=400, seed=1, first_replication=2, events=listen,
                     snapshots=[100, 200, 300, 400])  # fmt: skip
    for d in (1, 2, 3):
        mine = [row for row in rows if row[0] // 100 == d]
        p = truth[d - 1]
        assert frame.loc[d, "expected"] == pytest.approx(sum(p[user, arm] for _, user, arm, _, _ in mine))
        assert frame.loc[d, "best"] == pytest.approx(sum(p[user].max() for _, user, *_ in mine), rel=1e-6)
        assert frame.loc[d, "clicks"] == sum(reward for _, _, _, reward, _ in mine)
        assert frame.loc[d, "predicted"] == pytest.approx(sum(rates[arm] for _, _, arm, _, rates in mine))
        shown = np.bincount([arm for _, _, arm, _, _ in mine], minlength=6)
        assert frame.loc[d, "few"] == np.mean(shown < 10)
        assert frame.loc[d, "never"] == np.mean(shown == 0)
        asked = [row for row in mine if row[0] % 10 == 0]
        assert frame.loc[d, "uniform_expected"] == pytest.approx(np.mean([p[user] for _, user, *_ in asked]))
        assert frame.loc[d, "uniform_predicted"] == pytest.approx(np.mean([row[4] for row in asked]))
        predicted, true = (np.array([x[arm] for x, arm in zip(of, [r[2] for r in mine], strict=True)])
                           for of in ([r[4] for r in mine], [p[r[1]] for r in mine]))  # fmt: skip
        assert frame.loc[d, "ece"] == pytest.approx(expected_calibration_error(predicted, np.ones(100), true))
        for name in ("won", "lost"):
            assert frame.loc[d, name] == trace.records[name][d, 0] - trace.records[name][d - 1, 0]
    assert frame["tested"].tolist() == [0, 1, 1]


def test_chunks_change_no_replication() -> None:
    study = config()
    scene = stage(study)
    whole = played(study, scene, study.policy("all"), 0, 3)
    parts = pd.concat(
        [played(study, scene, study.policy("all"), 0, 2), played(study, scene, study.policy("all"), 2, 1)]
    )
    order = ["replication", "deployment"]
    timed = ["seconds", "refit_seconds"]
    pd.testing.assert_frame_equal(
        whole.sort_values(order, ignore_index=True).drop(columns=timed),
        parts.sort_values(order, ignore_index=True).drop(columns=timed),
    )


@pytest.mark.usefixtures("without_bert")
def test_the_page_says_what_the_stored_rows_say(tmp_path: Path) -> None:
    study = config()
    page = run_closed_loop(study, tmp_path, closed_loop.Reporter())
    table = pd.read_csv(tmp_path / "results.csv", dtype={"deployment": str})
    assert set(table["deployment"]) == {"1", "2", "3", "all"}
    stored = pd.concat(pd.read_parquet(file) for file in (tmp_path / "parts").glob("*.parquet"))
    assert len(stored) == 3 * 3 * 3
    frame = pd.read_parquet(tmp_path / "replications.parquet")
    t = reference.t.ppf(0.975, 2)

    def of(label: str, deployment: int | None, column: str) -> list[float]:
        sums = []
        for n in range(3):
            rows = frame[(frame["policy"] == label) & (frame["replication"] == n)]
            sums.append(float(sum(rows[column][rows["deployment"] == d].iloc[0] for d in
                                  ([deployment] if deployment else (1, 2, 3)))))  # fmt: skip
        return sums

    for deployment in (2, None):
        name = str(deployment or "all")
        for label in VARIANTS:
            mine, best = of(label, deployment, "expected"), of(label, deployment, "best")
            visitors = 100 if deployment else 300
            rates = [1000 * value / visitors for value in mine]
            found = look_up(table, label, name, "clicks")
            assert found.value == pytest.approx(np.mean(rates))
            assert found.high - found.low == pytest.approx(2 * t * np.std(rates, ddof=1) / math.sqrt(3))
            assert look_up(table, label, name, "lost_to_oracle").value == pytest.approx(1 - sum(mine) / sum(best))
            predicted = of(label, deployment, "predicted")
            ratio = sum(mine) / sum(predicted)
            found = look_up(table, label, name, "own_ratio")
            residual = [a - ratio * b for a, b in zip(mine, predicted, strict=True)]
            error = np.std(residual, ddof=1) / math.sqrt(3) / np.mean(predicted)
            assert found.value == pytest.approx(ratio)
            assert (found.high - found.low) / 2 == pytest.approx(reference.norm.ppf(0.975) * error, rel=1e-6)
            share = np.mean(of(label, deployment, "few")) / (1 if deployment else 3)
            assert look_up(table, label, name, "few").value == pytest.approx(share)
            if label == "never refitted":
                assert look_up(table, label, name, "gain").replications == 0
                assert look_up(table, label, name, "won").replications == 0
            else:
                base = of("never refitted", deployment, "expected")
                assert look_up(table, label, name, "gain").value == pytest.approx(sum(mine) / sum(base) - 1)
                won, tested = sum(of(label, deployment, "won")), sum(of(label, deployment, "tested"))
                assert look_up(table, label, name, "won").value == pytest.approx(won / tested)
    html = page.read_text(encoding="utf-8")
    assert all(label in html for label in VARIANTS)
    assert html.count("data:image/svg+xml") == 3
    assert "nan" not in (tmp_path / "summary.txt").read_text(encoding="utf-8")


@pytest.mark.usefixtures("without_bert")
@pytest.mark.faults
def test_a_second_run_plays_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = config(variants={"never refitted": {"refits": 1}, "all": {}}, deployments=2)
    calls, found = [], []

    def kept(study: ClosedLoopStudy, frame: pd.DataFrame, *rest: object) -> Path:
        found.append(frame.drop(columns=["seconds", "refit_seconds"]))
        return tmp_path

    def counted(*arguments: object) -> pd.DataFrame:
        calls.append(arguments[3:])
        return played(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(closed_loop, "played", counted)
    monkeypatch.setattr(closed_loop, "write_closed_loop", kept)
    for expected in (4, 4, 5):  # 2 policies of 2 chunks; nothing; the one that is gone
        run_closed_loop(study, tmp_path, closed_loop.Reporter())
        assert len(calls) == expected
        pd.testing.assert_frame_equal(found[-1], found[0])
        if len(found) == 2:
            next((tmp_path / "parts").glob("*.parquet")).unlink()
    with pytest.raises(FileExistsError, match="another config"):
        run_closed_loop(config(seed=2), tmp_path, closed_loop.Reporter())


@pytest.mark.model
@pytest.mark.faults
def test_models_that_read_texts_play_without_features_and_again_alike(tmp_path: Path) -> None:
    lora = {"weights": "tiny", "epochs": 1, "rank": 2, "device": "cpu"}
    study = config(
        world={"users": 12, "headlines": 4, "encoder": "/nowhere"},
        variants={"never refitted": {"refits": 1}, "all": {}},
        deployments=2,
        simulation={"replications": 2, "chunk": 1},
        model={"kind": "lora", "lora": lora, "guard": 0.8, "guard_prior": [1, 9]},
    )
    page = run_closed_loop(study, tmp_path, closed_loop.Reporter()).read_text(encoding="utf-8")
    assert "models read what they always read" in page
    assert "model=&#39;lora&#39;" in page
    first = pd.read_parquet(tmp_path / "replications.parquet")
    assert first.groupby("policy")["predicted"].nunique().tolist() == [4, 4]
    assert (first["refit_seconds"] > 0).tolist() == [True, False] * 2 + [True] * 4
    gone = next((tmp_path / "parts").glob("*.parquet"))
    gone.unlink()
    run_closed_loop(study, tmp_path, closed_loop.Reporter())
    assert gone.is_file()
    timed = ["seconds", "refit_seconds"]
    again = pd.read_parquet(tmp_path / "replications.parquet")
    pd.testing.assert_frame_equal(first.drop(columns=timed), again.drop(columns=timed))


def test_a_study_of_the_baseline_alone_says_so() -> None:
    study = config(variants={"never refitted": {"refits": 1}})
    frame = played(study, stage(study), study.policy("never refitted"), 0, 2).assign(policy="never refitted")
    table = tabulate(frame, "never refitted")
    assert verdict(study, table).startswith("Only never refitted was played; it lost ")
    assert set(table["measure"]) == set(MEASURES)


def test_the_bundled_study_is_valid_and_has_a_small_version() -> None:
    study = load_study("closed_loop").config
    assert len(study.variants) == 9
    quick = quick_closed_loop(study)
    assert (quick.name, quick.visitors, quick.simulation.replications) == ("closed_loop-quick", 300, 4)
    assert quick.policy("window").memory_size == 300
    assert study.policy("never refitted").refits == 1
    assert study.policy("replay").refits == 5


@pytest.mark.faults
@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("baseline=never refited", "baseline: must be the label of a variant. Got `never refited`. Did you mean"),
        ("model.guard_prior=[0, 1]", "model.guard_prior: must be two numbers above 0."),
        ("variants.all.memory=latest", "variants.all.memory"),
        ("variants.all.memry=all", "variants.all.memry"),
        ("deployments=1", "deployments"),
        ("model.kind=bert", "model.kind: must be 'head' or 'lora'. Got 'bert'."),
        ("model.lora={rank: 2}", "model.lora: needs `model.kind` lora. Got {'rank': 2} for head."),
        ("model={kind: lora, lora: {rank: 0}}", "model: `lora.rank` must be greater than or equal to 1. Got 0."),
        ("model={kind: lora, lora: {loss: both}}", "model: `lora` must hold weights, .* only. Got 'loss'."),
    ],
)
def test_mistakes_are_named(override: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load_study("closed_loop", [override])
