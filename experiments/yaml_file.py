"""Reading YAML without its traps, and writing values into it by dotted path."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import Any

import yaml

from experiments.problems import Problem, shown


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: `2e-5` is a number, and a key that is given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def parse(text: str) -> Any:
    """The value that a YAML text stands for.

    Raises:
        ValueError: When the text is not YAML, or gives a key twice.

    >>> parse("{rate: 2e-5}")
    {'rate': 2e-05}
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"not valid YAML{where}: {getattr(error, 'problem', None) or error}.") from None


def apply_overrides(config: dict[str, Any], overrides: Iterable[str]) -> list[Problem]:
    """Write `a.b.c=value` overrides into `config`, in place.

    Keys that contain dots are found as they stand: `policies.EpsilonGreedy 0.05.epsilon=0.1` reaches the policy
    labelled "EpsilonGreedy 0.05". Missing sections are made; whether they may exist is for the schema to say.

    Returns:
        What could not be done, one problem per override.

    >>> config = {"policies": {"LinUCB": None}}
    >>> apply_overrides(config, ["policies.LinUCB.alpha=0.5"])
    []
    >>> config
    {'policies': {'LinUCB': {'alpha': 0.5}}}
    """
    problems = []
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path.strip():
            problems.append(Problem("--set", f"must look like a.b.c=value. Got {shown(override)}."))
            continue
        try:
            _write(config, path.strip(), parse(text))
        except ValueError as error:
            problems.append(Problem(f"--set {path.strip()}", str(error)))
    return problems


def _write(config: dict[str, Any], path: str, value: Any) -> None:
    section: Any = config
    rest = path
    while True:
        if not isinstance(section, dict | list):
            raise ValueError(f"`{path.removesuffix(rest).rstrip('.')}` is a single value, not a section.")
        key, rest_after = _next_key(section, rest)
        if not rest_after:
            section[key] = value
            return
        if isinstance(section, dict) and section.get(key) is None:
            section[key] = {}
        section, rest = section[key], rest_after


def _next_key(section: dict[str, Any] | list[Any], rest: str) -> tuple[Any, str]:
    """The next key of a path, the longest that exists if any does, and what follows it."""
    if isinstance(section, list):
        head, _, tail = rest.partition(".")
        if not head.isdigit() or int(head) >= len(section):
            raise ValueError(f"`{head}` must be a position in a list of {len(section)}, counted from 0.")
        return int(head), tail
    existing = [key for key in map(str, section) if rest == key or rest.startswith(key + ".")]
    if existing:
        key = max(existing, key=len)
        return key, rest[len(key) + 1 :]
    head, _, tail = rest.partition(".")
    return head, tail
