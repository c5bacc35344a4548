"""From a YAML file, or the name of a bundled one, to raw values: what experiments and studies have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from experiments.policy_specs import Resolved, resolve_policy
from experiments.problems import ConfigError, Problem, did_you_mean, shown
from experiments.yaml_file import apply_overrides, parse


class RawConfig(NamedTuple):
    """A file's values, not yet checked.

    Attributes:
        values: What it says, overrides applied, files of `data` absolute.
        origin: Where it came from, for messages.
        folder: What relative paths and the user's own modules begin at.
        problems: Overrides that could not be applied.
    """

    values: dict[str, Any]
    origin: str
    folder: Path
    problems: list[Problem]


def bundled_files(package: str) -> dict[str, str]:
    """Names and texts of the YAML files in the folder `configs` of a package, in order."""
    folder = resources.files(package) / "configs"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in files}


def read_raw(source: str, overrides: Sequence[str], bundled: Mapping[str, str], what: str) -> RawConfig:
    """Read a config and apply overrides.

    Args:
        source: A file, or one of the names in `bundled`.
        overrides: `a.b.c=value` each; values are YAML.
        bundled: Texts of the bundled configs by name.
        what: What they are, in the singular, for messages.

    Raises:
        FileNotFoundError: When there is neither such a file nor such a name.
        ConfigError: When the file does not hold keys and values.
    """
    text, origin, folder = _text(source, bundled, what)
    try:
        raw = parse(text)
    except ValueError as error:
        raise ConfigError(origin, [Problem("", str(error))]) from None
    if not isinstance(raw, dict):
        raise ConfigError(origin, [Problem("", f"must be a mapping of keys to values. Got {shown(raw)}.")])
    _place_path(raw, folder)
    problems = apply_overrides(raw, overrides)
    _place_path(raw, Path.cwd())
    return RawConfig(raw, origin, folder, problems)


def resolve_policies(raw: object, folder: Path) -> tuple[dict[str, Resolved], list[Problem]]:
    """The complete specifications of those policies of a section that have no problems, and all problems."""
    resolved, problems = {}, []
    for label, spec in raw.items() if isinstance(raw, Mapping) else ():
        policy, more = resolve_policy(spec, label=str(label), path=f"policies.{label}", folder=folder)
        problems += more
        if policy is not None:
            resolved[str(label)] = policy
    return resolved, problems


def _text(source: str, bundled: Mapping[str, str], what: str) -> tuple[str, str, Path]:
    if source in bundled:
        return bundled[source], source, Path.cwd()
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"`{source}` must be a config file or the name of a bundled {what}. {did_you_mean(source, bundled)}"
        )
    try:
        return path.read_text(encoding="utf-8"), str(path), path.resolve().parent
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [Problem("", f"must be UTF-8 text: {error}.")]) from None


def _place_path(raw: dict[str, Any], folder: Path) -> None:
    """Make the files of `data` absolute in place: relative ones belong to `folder`."""
    data = raw.get("data")
    if not isinstance(data, dict):
        return
    for key in ("path", "train", "test"):
        if isinstance(data.get(key), str):
            data[key] = str(folder / Path(data[key]).expanduser())
