from pathlib import Path

import pytest

from experiments.config import bundled_configs, differences, load_config
from experiments.problems import ConfigError

BAD = """
nme: x
seed: -1
data: {source: newsroom, impresions: 5, users: many}
simulation: {horizn: 5, chunk: 0}
reward_model: {epoch: 2, loss: binomal}
world: {late_items: {a: 1.5}}
policies:
  LinUBC: {}
  UCB1: {widht: 3}
  E: {policy: EpsilonGreedy, epsilon: 3, stream: -1}
  too much: {policy: EpsilonGreedy, epsilon: 3}
  split: {policy: BranchTest, design: {policy: ABTest, visitors: 9}, branches: {UCB1: {wdth: 2}, ucb: {policy: UCB2}}}
  number: 7
"""


def problems_of(text: str, tmp_path: Path, *overrides: str) -> dict[str, str]:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    assert all(str(problem) in str(caught.value) for problem in caught.value.problems)
    return {problem.path: problem.text for problem in caught.value.problems}


def test_all_problems_are_reported_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    found = problems_of(BAD, tmp_path, "simulation.replications.x=1", "seed")
    assert found == {
        "name": "required, but missing.",
        "nme": "unknown key. Did you mean `name`?",
        "seed": "must be greater than or equal to 0. Got -1.",
        "data.impresions": "unknown key. Did you mean `impressions`?",
        "data.users": "must be a valid integer. Got 'many'.",
        "simulation.horizn": "unknown key. Did you mean `horizon`?",
        "simulation.chunk": "must be greater than or equal to 1. Got 0.",
        "simulation.replications": "must be a valid integer. Got {'x': 1}.",
        "reward_model.epoch": "unknown key. Did you mean `epochs`?",
        "reward_model.loss": "must be 'binomial', 'within_test' or 'both'. Got 'binomal'. Did you mean `binomial`?",
        "--set": "must look like a.b.c=value. Got 'seed'.",
        "policies.LinUBC": "unknown policy `LinUBC`. Did you mean `LinUCB`?",
        "policies.UCB1.widht": "`UCB1` has no such parameter. Did you mean `width`?",
        "policies.E.stream": "must be an integer, 0 or more. Got -1.",
        "policies.too much": "`epsilon` must lie in [0.0, 1.0]. Got 3.",
        "policies.split.branches.UCB1.wdth": "`UCB1` has no such parameter. Did you mean `width`?",
        "policies.split.branches.ucb.policy": "unknown policy `UCB2`. Did you mean `UCB1`?",
        "policies.number": "must be a section with the policy's parameters. Got 7.",
    }


def test_what_is_asked_of_a_model_is_checked(small: Path) -> None:
    text = small.read_text().replace("policies:", "reward_model: {loss: within_test}\npolicies:", 1)
    for band in ("[0.5, 0.9]", "[1.1, 2]", "[-1, 2]", "[0.9]"):
        found = problems_of(text, small.parent, f"reward_model.evaluation.band={band}")
        assert found["reward_model.evaluation.band"].startswith("must be two numbers around 1, the lower at least 0.")
    found = problems_of(text, small.parent, "reward_model.evaluation.threshold=0.1")
    assert found["reward_model.evaluation"].startswith("must have no `threshold` where `loss` is 'within_test'")
    found = problems_of(text, small.parent, "reward_model.evaluation.treshold=0.1", "reward_model.calibration=isotonc")
    assert found["reward_model.evaluation.treshold"] == "unknown key. Did you mean `threshold`?"
    assert found["reward_model.calibration"].endswith("Got 'isotonc'. Did you mean `isotonic`?")


def test_problems_between_sections(small: Path) -> None:
    overrides = ["baseline=UCB", "world.late_items.a=1.5", "world.arrival=log", "reward_model.epochs=1"]
    found = problems_of(small.read_text(), small.parent, *overrides)
    assert found == {
        "baseline": "must be the label of a policy. Got `UCB`. Did you mean `UCB1`?",
        "world.late_items.a": "must be a round, or a share of the horizon between 0 and 1. Got 1.5.",
        "world.arrival": "'log' needs a click log as data source.",
        "reward_model": "has nothing to learn from with data source `bernoulli`.",
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2\n", "not valid YAML in line 2, column 1: the key 'a' is given twice."),
        ("a: [1", "not valid YAML in line 1, column 6"),
        ("just words", "must be a mapping of keys to values. Got 'just words'."),
        ("", "must be a mapping of keys to values. Got None."),
    ],
)
def test_files_that_are_no_config(text: str, problem: str, tmp_path: Path) -> None:
    assert problems_of(text, tmp_path)[""].startswith(problem)


def test_a_config_must_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: é".encode("latin-1"))
    with pytest.raises(ConfigError, match="must be UTF-8 text"):
        load_config(path)


def test_an_unknown_source_is_named_with_the_nearest(small: Path) -> None:
    found = problems_of(small.read_text(), small.parent, "data={source: upworty}")
    assert found == {"data": "unknown source `upworty`. Did you mean `upworthy`?"}
    assert problems_of(small.read_text(), small.parent, "data={}")["data"].startswith("must have a key 'source'")


def test_overrides_reach_policies_by_their_label(small: Path) -> None:
    small.write_text(small.read_text() + '  "Epsilon 0.1": {policy: EpsilonGreedy}\n')
    overrides = ["policies.UCB1.width=1e-2", "policies.Epsilon 0.1.epsilon=0.3", "simulation.horizon=99"]
    config = load_config(small, [*overrides, "data.means.2=0.25"]).config
    assert config.policies["UCB1"] == {"policy": "UCB1", "stream": 0, "width": 0.01}
    assert config.policies["Epsilon 0.1"]["epsilon"] == 0.3
    assert config.simulation.horizon == 99
    assert config.data.model_dump()["means"] == [0.5, 0.3, 0.25]


def test_defaults_of_policies_are_filled_in(small: Path) -> None:
    config = load_config(small).config
    assert config.policies["FixedSplit"] == {"policy": "FixedSplit", "stream": 0, "weights": None}
    assert list(config.policies) == ["ABTest", "UCB1", "FixedSplit"]


def test_quick_is_smaller_under_another_name() -> None:
    config = load_config("newsroom", quick=True).config
    assert config.name == "newsroom-quick"
    assert config.simulation.horizon == 2_000
    assert config.simulation.replications == 20
    assert config.reward_model is not None
    assert config.reward_model.epochs == 1


@pytest.mark.parametrize("name", bundled_configs())
def test_bundled_configs_are_valid(name: str) -> None:
    overrides = [f"data.path={__file__}"] if name == "upworthy" else []
    config = load_config(name, overrides).config
    assert config.name == name
    assert name != "newsroom" or len(config.policies) >= 12


def test_upworthy_says_how_to_set_its_path() -> None:
    with pytest.raises(
        ConfigError, match=r"data\.path: must be the archive's CSV file\. Say --set data\.path=FILE\.csv"
    ):
        load_config("upworthy")


def test_a_name_that_is_neither_file_nor_experiment() -> None:
    with pytest.raises(FileNotFoundError, match=r"`newsrom` must be a config file .* Did you mean `newsroom`"):
        load_config("newsrom")


def test_paths_of_data_are_relative_to_the_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "configs"
    folder.mkdir()
    text = "name: t\ndata: {source: click_log, path: clicks.csv}\nbaseline: FixedSplit\npolicies: {FixedSplit: }\n"
    (folder / "mine.yaml").write_text(text)
    (folder / "clicks.csv").touch()
    (tmp_path / "other.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert load_config("configs/mine.yaml").config.data.model_dump()["path"] == str(folder / "clicks.csv")
    overridden = load_config("configs/mine.yaml", ["data.path=other.csv"]).config.data.model_dump()
    assert overridden["path"] == str(tmp_path / "other.csv")


def test_differences_name_both_sides() -> None:
    old, new = {"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": [1], "e": 0}
    assert differences(old, new) == ["a.b: was 1, is now 3", "a.c: is gone", "e: is new"]


@pytest.mark.model
@pytest.mark.faults
@pytest.mark.parametrize(
    ("overrides", "problems"),
    [
        (["simulation.engine=fused"], {"simulation.engine": "must be 'auto' or 'torch'. Got 'fused'."}),
        (
            ["simulation.engine=torch"],
            {"simulation.engine": "must be auto where no policy has a version for torch. Got"},
        ),
        (
            ["simulation.device=cpu"],
            {"simulation.device": "must be left out where no policy plays on a device. Got cpu"},
        ),
        (
            ["simulation.engine=torch", "data={source: bernoulli, prior: [1, 1], arms: 3}", "policies.NeuralGreedy={}"],
            {"simulation.engine": "must be left out where replications draw their own click rates"},
        ),
    ],
)
def test_engines_and_devices_that_do_not_fit(small: Path, overrides: list[str], problems: dict[str, str]) -> None:
    found = problems_of(small.read_text(), small.parent, *overrides)
    assert found.keys() == problems.keys()
    assert all(found[path].startswith(text) for path, text in problems.items())


@pytest.mark.model
def test_a_gpu_must_be_there(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    found = problems_of(small.read_text(), small.parent, "simulation.device=cuda", "policies.NeuralGreedy={}")
    assert found == {
        "simulation.device": "`device` must be 'auto', 'cpu', or 'cuda' on a machine with a GPU. Got 'cuda'."
    }
    assert load_config(small, ["simulation.device=cpu", "policies.NeuralGreedy={}"]).config.simulation.device == "cpu"
