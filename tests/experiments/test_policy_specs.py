from pathlib import Path

import pytest

from experiments.policy_specs import build_policy, find_policy, resolve_policy, user_sources
from policies import UCB1, BranchTest

MINE = """
from my_helper_of_specs import choose
from bandits import ScalarPolicy


class Favorite(ScalarPolicy):
    def __init__(self, arm=0):
        self.arm = arm

    def reset(self, problem, random):
        pass

    def select(self, context):
        return choose(self.arm)

    def update(self, feedback):
        pass
"""


def resolved(raw: object, folder: Path, label: str = "label") -> dict[str, object]:
    spec, problems = resolve_policy(raw, label=label, path=f"policies.{label}", folder=folder)
    assert not problems
    assert spec is not None
    return spec


@pytest.fixture
def own_policy(tmp_path: Path) -> Path:
    (tmp_path / "my_policy_of_specs.py").write_text(MINE)
    (tmp_path / "my_helper_of_specs.py").write_text("def choose(arm):\n    return arm\n")
    return tmp_path


def test_nested_policies_are_built_with_their_own_parameters(tmp_path: Path) -> None:
    branches = {"UCB1": {"width": 0.3}, "other": {"policy": "UCB1", "stream": 2}}
    spec = resolved(
        {"policy": "BranchTest", "design": {"policy": "ABTest", "visitors": 9}, "branches": branches}, tmp_path
    )
    policy = build_policy(spec, tmp_path)
    assert isinstance(policy, BranchTest)
    first, second = policy.branches.values()
    assert isinstance(first, UCB1)
    assert (first.width, first.stream) == (0.3, 0)
    assert (second.width, second.stream) == (2.0, 2)


def test_a_stream_number_reaches_the_policy(tmp_path: Path) -> None:
    assert build_policy(resolved({"stream": 5}, tmp_path, "BetaThompson"), tmp_path).stream == 5


def test_own_policies_come_from_the_folder_of_the_config(own_policy: Path) -> None:
    spec = resolved({"policy": "my_policy_of_specs:Favorite", "arm": 2}, own_policy)
    policy = build_policy(spec, own_policy)
    assert type(policy).__name__ == "Favorite"
    assert policy.arm == 2
    names = {path.name for path in user_sources({"policy": "BranchTest", "branches": {"a": spec}}, own_policy)}
    assert names == {"my_policy_of_specs.py", "my_helper_of_specs.py"}


def test_what_fits_a_language_model_is_part_of_a_specification(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    settings = {"policy": "RefittedModel", "model": "lora", "lora": {"weights": str(tmp_path)}}
    found = user_sources(resolved(settings, tmp_path), tmp_path)
    assert {"training.py", "adapters.py", "model.safetensors"} < {path.name for path in found}
    assert user_sources(resolved({"policy": "RefittedModel"}, tmp_path), tmp_path) == set()


def test_names_of_own_policies_are_checked(own_policy: Path) -> None:
    with pytest.raises(ValueError, match=r"has no policy `Favourite`\. Did you mean `Favorite`"):
        find_policy("my_policy_of_specs:Favourite", own_policy)
    with pytest.raises(ValueError, match="cannot import the module `no_such_module`"):
        find_policy("no_such_module:Favorite", own_policy)
    with pytest.raises(ValueError, match=r"must be the name of a policy\. Got 3"):
        find_policy(3, own_policy)


def test_missing_parameters_are_named(tmp_path: Path) -> None:
    _, problems = resolve_policy({}, label="BranchTest", path="policies.BranchTest", folder=tmp_path)
    assert [str(problem) for problem in problems] == [
        "policies.BranchTest.branches: required by `BranchTest`, but missing.",
        "policies.BranchTest.design: required by `BranchTest`, but missing.",
    ]
