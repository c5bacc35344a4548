"""What is wrong with a config, in words: where, what it must be, what it was, and the nearest right name."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

_SHOWN = 80


@dataclass(frozen=True)
class Problem:
    """One mistake in a config.

    Attributes:
        path: Where it is, as keys joined by dots; "" for the whole file.
        text: What is wrong and what it must be.
    """

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


class ConfigError(ValueError):
    """A config that cannot be used; the message lists every problem, one a line.

    Args:
        source: The file or name of the config.
        problems: All that is wrong with it, at least one.
    """

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{source} has {count}:" + "".join(f"\n  {problem}" for problem in self.problems))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a question, else the list of known names.

    >>> did_you_mean("horizn", ["horizon", "chunk"])
    'Did you mean `horizon`?'
    >>> did_you_mean("zebra", ["horizon", "chunk"])
    'Known: chunk, horizon.'
    """
    names = sorted(known)
    by_lower = {candidate.lower(): candidate for candidate in names}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    if nearest:
        return f"Did you mean `{by_lower[nearest[0]]}`?"
    return f"Known: {', '.join(names)}." if names else "None is known here."


def shown(value: object) -> str:
    """A value as an error message shows it: its repr, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def from_pydantic(error: ValidationError, model: type[BaseModel], raw: Mapping[str, Any]) -> list[Problem]:
    """Every mistake that pydantic found, in this module's words.

    Args:
        error: What validation raised.
        model: The model that was validated.
        raw: The input it was validated from.
    """
    problems = []
    for detail in error.errors():
        path, owner = _locate(detail["loc"], model, raw)
        problems.append(Problem(".".join(map(str, path)), _wording(detail, path, owner)))
    return problems


def _wording(detail: Any, path: tuple[int | str, ...], owner: type[BaseModel] | None) -> str:
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return f"unknown key. {did_you_mean(str(path[-1]), _hints(owner) if owner else ())}"
    if kind == "missing":
        return "required, but missing."
    if kind == "union_tag_not_found":
        return f"must have a key {detail['ctx']['discriminator']}. Got {shown(value)}."
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in detail["ctx"]["expected_tags"].split(",")]
        return f"unknown source `{detail['ctx']['tag']}`. {did_you_mean(detail['ctx']['tag'], tags)}"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"must be a section (keys and values). Got {shown(value)}."
    if kind == "string_pattern_mismatch":
        return f"must match the pattern {detail['ctx']['pattern']}. Got {shown(value)}."
    requirement = detail["msg"].removeprefix("Input should be ")
    suggestion = ""
    if kind == "literal_error" and isinstance(value, str):
        suggestion = " " + did_you_mean(
            value, [name.strip(" '") for name in requirement.replace(" or ", ",").split(",")]
        )
    return f"must be {requirement}. Got {shown(value)}.{suggestion}"


def _locate(
    location: tuple[int | str, ...], model: type[BaseModel], raw: Mapping[str, Any]
) -> tuple[tuple[int | str, ...], type[BaseModel] | None]:
    """The path as the user wrote it (pydantic adds the tags of unions), and the class that owns its last key."""
    path: list[int | str] = []
    value: Any = raw
    annotation: Any = model
    owner: type[BaseModel] | None = None
    for part in location:
        if isinstance(value, Mapping) and part not in value and part == value.get("source"):
            annotation = next(c for c in _classes(annotation) if _is_tagged(c, part))
            continue
        candidates = _classes(annotation)
        owner = candidates[0] if candidates else None
        annotation = next((hint for c in candidates if (hint := _hints(c).get(str(part))) is not None), None)
        value = value.get(part) if isinstance(value, Mapping) else None
        path.append(part)
    return tuple(path), owner


def _is_tagged(candidate: type[BaseModel], tag: object) -> bool:
    return tag in typing.get_args(_hints(candidate).get("source"))


def _classes(annotation: Any) -> list[type[BaseModel]]:
    """The models inside an annotation: itself, or the arms of a union."""
    arguments = typing.get_args(annotation)
    if not arguments:
        return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
    return [found for argument in arguments for found in _classes(argument)]


def _hints(owner: type[BaseModel]) -> dict[str, Any]:
    return {name: field.annotation for name, field in owner.model_fields.items()}
