"""From a few lines of YAML to a policy: names looked up, parameters checked, defaults filled in."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bandits import reward_models
from bandits.core import Policy
from experiments.problems import Problem, did_you_mean, shown

Resolved = dict[str, Any]
_OWN_KEYS = ("policy", "stream")


def resolve_policy(raw: object, *, label: str, path: str, folder: Path) -> tuple[Resolved | None, list[Problem]]:
    """Check one policy of a config and fill in the defaults of its constructor.

    Args:
        raw: What the config says: `{policy: Name, stream: int, **parameters}`, or None for all defaults.
        label: Its label, which is also the name of its class where `policy` is not given.
        path: Where it stands in the config, for messages.
        folder: Where modules of the user's own policies are looked for first.

    Returns:
        The complete specification, `{policy, stream, **parameters}`, from which `build_policy` makes the policy; None
        where there are problems, which come second.
    """
    spec = {} if raw is None else raw
    if not isinstance(spec, Mapping):
        return None, [Problem(path, f"must be a section with the policy's parameters. Got {shown(raw)}.")]
    name, stream = spec.get("policy", label), spec.get("stream", 0)
    problems = []
    if isinstance(stream, bool) or not isinstance(stream, int) or stream < 0:
        problems.append(Problem(f"{path}.stream", f"must be an integer, 0 or more. Got {shown(stream)}."))
    try:
        policy_class = find_policy(name, folder)
    except ValueError as error:
        return None, [*problems, Problem(path if "policy" not in spec else f"{path}.policy", str(error))]
    parameters = {key: value for key, value in spec.items() if key not in _OWN_KEYS}
    resolved, more = _resolve_parameters(policy_class, parameters, path, folder)
    problems += more
    if problems:
        return None, problems
    resolved = {"policy": name, "stream": stream, **resolved}
    try:
        build_policy(resolved, folder)
    except (ValueError, TypeError) as error:
        return None, [Problem(path, str(error))]
    return resolved, []


def build_policy(resolved: Resolved, folder: Path) -> Any:
    """A new policy from a complete specification.

    Raises:
        ValueError: When the constructor refuses the parameters, or there is no such class.
    """
    policy_class = find_policy(resolved["policy"], folder)
    signature = inspect.signature(policy_class).parameters
    arguments: dict[str, Any] = {}
    for name, value in resolved.items():
        if name in _OWN_KEYS:
            continue
        if not _holds_policies(signature[name]) or value is None:
            arguments[name] = value
        elif "policy" in value:
            arguments[name] = build_policy(value, folder)
        else:
            arguments[name] = {label: build_policy(branch, folder) for label, branch in value.items()}
    policy = policy_class(**arguments)
    if resolved["stream"]:
        policy.stream = resolved["stream"]
    return policy


def torch_twin(policy: Any) -> Any:
    """What the torch engine plays in a policy's place; None where it cannot, as with every scalar policy."""
    return policy.torch_twin() if isinstance(policy, Policy) else None


def find_policy(name: object, folder: Path) -> Any:
    """The class that a config calls `name`: one of `policies.POLICIES`, or the user's own as `module:Class`.

    Raises:
        ValueError: When there is none, with the nearest right name.
    """
    from policies import POLICIES

    if not isinstance(name, str):
        raise ValueError(f"must be the name of a policy. Got {shown(name)}.")
    module_name, colon, class_name = name.partition(":")
    if not colon:
        if name not in POLICIES:
            raise ValueError(f"unknown policy `{name}`. {did_you_mean(name, POLICIES)}")
        return POLICIES[name]
    with _importable(folder):
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise ValueError(f"cannot import the module `{module_name}` of `{name}`: {error}.") from error
    classes = [key for key, value in vars(module).items() if inspect.isclass(value) and hasattr(value, "select")]
    if class_name not in classes:
        raise ValueError(
            f"the module `{module_name}` has no policy `{class_name}`. {did_you_mean(class_name, classes)}"
        )
    return getattr(module, class_name)


def user_sources(resolved: Resolved, folder: Path) -> set[Path]:
    """Files beside the simulator that a specification depends on.

    These are the sources of the user's own policies, with what they import from the same folder; and for a policy that
    fits a language model itself the code that fits it, and weights where they are a folder, whose content may change.
    """
    found: set[Path] = set()
    if resolved.get("model") == "lora":
        found |= set(Path(reward_models.__file__).parent.rglob("*.py"))
        weights = Path((resolved.get("lora") or {}).get("weights", "")) / "model.safetensors"
        found |= {weights} if weights.is_file() else set()
    for key, value in resolved.items():
        if key == "policy" and ":" in value:
            _collect_sources(sys.modules[find_policy(value, folder).__module__], found)
        elif isinstance(value, dict):
            found |= user_sources(value, folder)
    return found


def _collect_sources(module: object, found: set[Path]) -> None:
    file = getattr(module, "__file__", None)
    if file is None or (path := Path(file).resolve()) in found:
        return
    found.add(path)
    for value in list(vars(module).values()):
        imported = value if inspect.ismodule(value) else sys.modules.get(getattr(value, "__module__", None) or "")
        neighbor = getattr(imported, "__file__", None)
        if neighbor and Path(neighbor).resolve().parent == path.parent:
            _collect_sources(imported, found)


def _resolve_parameters(
    policy_class: Any, given: Mapping[str, Any], path: str, folder: Path
) -> tuple[Resolved, list[Problem]]:
    signature = inspect.signature(policy_class).parameters
    problems = [
        Problem(f"{path}.{name}", f"`{policy_class.__name__}` has no such parameter. {did_you_mean(name, signature)}")
        for name in given
        if name not in signature
    ]
    resolved: Resolved = {}
    for name, parameter in signature.items():
        if name not in given:
            if parameter.default is inspect.Parameter.empty:
                problems.append(Problem(f"{path}.{name}", f"required by `{policy_class.__name__}`, but missing."))
            else:
                resolved[name] = parameter.default
        elif _holds_policies(parameter):
            resolved[name], more = _resolve_nested(given[name], f"{path}.{name}", folder)
            problems += more
        else:
            resolved[name] = given[name]
    return resolved, problems


def _resolve_nested(raw: object, path: str, folder: Path) -> tuple[Any, list[Problem]]:
    if not isinstance(raw, Mapping):
        return None, [Problem(path, f"must be a section of policies. Got {shown(raw)}.")]
    if "policy" in raw:
        return resolve_policy(raw, label="", path=path, folder=folder)
    nested, problems = {}, []
    for label, branch in raw.items():
        nested[label], more = resolve_policy(branch, label=str(label), path=f"{path}.{label}", folder=folder)
        problems += more
    return nested, problems


def _holds_policies(parameter: inspect.Parameter) -> bool:
    return any(word in str(parameter.annotation) for word in ("Policy", "ABDesign"))


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
