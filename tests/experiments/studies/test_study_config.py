from pathlib import Path

import pytest

from experiments.problems import ConfigError
from experiments.studies.config import bundled_studies, load_study

pytestmark = pytest.mark.faults


def problems_of(text: str, tmp_path: Path, *overrides: str) -> dict[str, str]:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_study(path, overrides)
    return {problem.path: problem.text for problem in caught.value.problems}


def test_all_problems_of_a_file_at_once(tmp_path: Path) -> None:
    text = """
study: effects
nme: x
seed: -1
world: {base_rate: 2, visitors: many, effects: [], arm: 3}
simulation: {replications: 1, chunks: 5}
confidence: 95
policies: {ABTst: {visitors: 10}, UCB1: {widht: 3}, EpsilonGreedy: {epsilon: 3}}
"""
    assert problems_of(text, tmp_path, "headline.effct=1") == {
        "name": "required, but missing.",
        "nme": "unknown key. Did you mean `name`?",
        "seed": "must be greater than or equal to 0. Got -1.",
        "world.base_rate": "must be less than 1. Got 2.",
        "world.visitors": "must be a valid integer. Got 'many'.",
        "world.effects": "must be List should have at least 1 item after validation, not 0. Got [].",
        "world.arm": "unknown key. Did you mean `arms`?",
        "simulation.replications": "must be greater than or equal to 2. Got 1.",
        "simulation.chunks": "unknown key. Did you mean `chunk`?",
        "confidence": "must be less than 1. Got 95.",
        "headline.effct": "unknown key. Did you mean `effect`?",
        "policies.ABTst": "unknown policy `ABTst`. Did you mean `ABTest`?",
        "policies.UCB1.widht": "`UCB1` has no such parameter. Did you mean `width`?",
        "policies.EpsilonGreedy": "`epsilon` must lie in [0.0, 1.0]. Got 3.",
    }


@pytest.mark.parametrize(
    ("overrides", "where", "what"),
    [
        (["world.effects=[0.1, 0.1]"], "world.effects", "must increase. Got [0.1, 0.1]"),
        (["world.effects=[0.1, 0]"], "world.effects", "must increase"),
        (["world.effects=[-0.3, 0]"], "world.effects", "between 0 and 1. Got -0.3: rates [0.3, 0.0]"),
        (["world.effects=[0.7]"], "world.effects", "between 0 and 1. Got 0.7"),
        (["world.effects=[.nan]"], "world.effects", "between 0 and 1. Got nan"),
        (["world.profile=[0, 1, 1]"], "world.profile", "must be 2 numbers, one for each arm"),
        (["world.profile=[0.5, 1]"], "world.profile", "0 for the control (the first)"),
        (["world.profile=[0, 0]"], "world.profile", "must differ from 0 for some arm"),
        (["baseline=tst"], "baseline", "must be the label of a policy. Got `tst`. Did you mean `test`?"),
        (["simulation.fewer.UCB=10"], "simulation.fewer.UCB", "must be the label of a policy. Got `UCB`."),
        (["simulation.unweighted=[UCB]"], "simulation.unweighted", "must be the label of a policy. Got `UCB`."),
        (["simulation.fewer.UCB1=31"], "simulation.fewer.UCB1", "must lie in 2..30"),
        (["headline.policy=UCB"], "headline.policy", "Did you mean `UCB1`?"),
        (["headline.policy=test"], "headline.policy", "must be another policy than the baseline"),
        (["headline.effect=0.15"], "headline.effect", "must be one of `world.effects` [-0.1, 0"),
        (["policies.test.control=1"], "policies.test.control", "must be 0, the arm that effects are measured"),
        (["policies.test.weights=[0.2, 0.3, 0.5]"], "policies.test", "one entry for each of 2 arms. Got 3"),
        pytest.param(
            ["policies.NeuralGreedy={}"], "policies.NeuralGreedy", "must be a kernel policy", marks=pytest.mark.model
        ),
        (
            ["policies.r={policy: RampUpABTest, stage_visitors: 9, visitors: 50, if_none: split}"],
            "policies.r",
            "must ship what it decides: a study cannot tell its last stage from what comes after. Got if_winner='ship'",
        ),
        (["study=efects"], "study", "unknown kind of study 'efects'. Did you mean `effects`?"),
        (["study=3"], "study", "unknown kind of study 3. Known: "),
        (["policies=3"], "policies", "must be a section (keys and values). Got 3."),
        (["policies={}"], "policies", "at least 1"),
        (["world"], "--set", "must look like a.b.c=value"),
    ],
)
def test_each_mistake_is_named_with_its_place(small: Path, overrides: list[str], where: str, what: str) -> None:
    found = problems_of(small.read_text(), small.parent, *overrides)
    assert list(found) == [where]
    assert what in found[where]


@pytest.mark.parametrize("text", ["[1, 2]", "", "a: [", "a: 1\na: 2"])
def test_files_that_are_no_study(text: str, tmp_path: Path) -> None:
    assert list(problems_of(text, tmp_path)) == [""]


def test_a_missing_file_names_the_nearest_study(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Did you mean `two-arms`"):
        load_study("two-arm")
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: é".encode("latin-1"))
    with pytest.raises(ConfigError, match="must be UTF-8 text"):
        load_study(path)


def test_quick_is_smaller_under_another_name(small: Path) -> None:
    config = load_study(small, ["simulation.replications=1000", "simulation.fewer.greedy=500"], quick=True).config
    assert config.name == "small-quick"
    assert config.replications("UCB1") == config.replications("greedy") == 200
    assert load_study(small, quick=True).config.replications("greedy") == 20


def test_a_study_needs_no_effect_section_to_name_its_kind(tmp_path: Path) -> None:
    assert problems_of("name: x\n", tmp_path) == {"study": "required, but missing. Known: " + known() + "."}


def known() -> str:
    from experiments.studies.config import KINDS

    return ", ".join(KINDS)


@pytest.mark.parametrize("name", [name for name, text in bundled_studies().items() if "study: effects" in text])
def test_bundled_studies_are_valid(name: str) -> None:
    config = load_study(name).config
    assert config.name == name
    assert 0 in config.world.effects
    assert config.baseline in config.policies
