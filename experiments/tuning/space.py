"""What a search may try: lists of choices and ranges, how they are read, drawn from and laid out as a grid."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from experiments.config import Section
from experiments.problems import Problem, from_pydantic, shown

Values = dict[str, Any]


@dataclass(frozen=True)
class Choices:
    """A list of values, without an order.

    Attributes:
        values: At least two, all different; anything that a config can hold.
    """

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that show whether the experiment takes them: all."""
        return self.values

    def draw(self, random: np.random.Generator) -> Any:
        """One of them, all equally likely."""
        return self.values[int(random.integers(len(self.values)))]


class Range(Section):
    """Numbers between two ends, both included."""

    low: float = Field(allow_inf_nan=False, description="the least value")
    high: float = Field(allow_inf_nan=False, description="the largest value")
    log: bool = Field(False, description="equal shares for equal ratios, as suits a learning rate")
    int: bool = Field(False, description="whole numbers only")

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that show whether the experiment takes them: the lowest and the highest."""
        return self._typed(self.low), self._typed(self.high)

    def draw(self, random: np.random.Generator) -> Any:
        """A number, uniform over the range, or over its logarithm; each whole number gets the half to either side."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.int else (self.low, self.high)
        share = float(random.random())
        if self.log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        return self._typed(min(max(round(value) if self.int else value, self.low), self.high))

    def _typed(self, value: float) -> Any:
        return round(value) if self.int else float(value)


Dimension = Choices | Range
Space = dict[str, Dimension]


def read_space(raw: object) -> tuple[Space, list[Problem]]:
    """The dimensions of a section `space` that can be used, and what is wrong with the others.

    >>> space, problems = read_space({"policies.UCB1.width": {"low": 2, "high": 1}, "seed": 3})
    >>> [str(problem) for problem in problems]  # doctest: +NORMALIZE_WHITESPACE
    ['space.policies.UCB1.width: `low` must be less than `high`. Got 2 and 1.',
     'space.seed: must be a list of choices, or a section with low and high. Got 3.']
    """
    if not isinstance(raw, Mapping):
        return {}, []
    space: Space = {}
    problems: list[Problem] = []
    for path, value in raw.items():
        where = f"space.{path}"
        if isinstance(value, list):
            dimension: Dimension | None = Choices(tuple(value))
            found = _choice_problems(value, where)
        elif isinstance(value, Mapping):
            dimension, found = _read_range(value, where)
        else:
            text = f"must be a list of choices, or a section with low and high. Got {shown(value)}."
            dimension, found = None, [Problem(where, text)]
        problems += found
        if dimension is not None and not found:
            space[str(path)] = dimension
    return space, problems


def grid(space: Mapping[str, Dimension]) -> Iterator[Values]:
    """All combinations of the choices; the last path changes fastest.

    >>> list(grid({"a": Choices((1, 2)), "b": Choices(("x", "y"))}))
    [{'a': 1, 'b': 'x'}, {'a': 1, 'b': 'y'}, {'a': 2, 'b': 'x'}, {'a': 2, 'b': 'y'}]
    """
    for values in itertools.product(*(dimension.ends for dimension in space.values())):
        yield dict(zip(space, values, strict=True))


def draw(space: Mapping[str, Dimension], seed: int, number: int) -> Values:
    """Trial `number` of a random search, which depends on nothing but the seed, the number and each path."""
    return {path: dimension.draw(keyed(seed, number, path)) for path, dimension in space.items()}


def keyed(*words: object) -> np.random.Generator:
    """A source of random numbers that depends on these words only."""
    digest = hashlib.sha256("\x1f".join(map(str, words)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _choice_problems(values: list[Any], where: str) -> list[Problem]:
    # By repr, since 1 and True, or 1 and 1.0, are not the same choice.
    if len(values) < 2 or len({repr(value) for value in values}) < len(values):
        return [Problem(where, f"must be at least two choices, all different. Got {shown(values)}.")]
    return []


def _read_range(raw: Mapping[Any, Any], where: str) -> tuple[Range | None, list[Problem]]:
    try:
        dimension = Range.model_validate(raw, strict=True)
    except ValidationError as error:
        return None, [Problem(f"{where}.{problem.path}", problem.text) for problem in from_pydantic(error, Range, raw)]
    low, high, problems = raw["low"], raw["high"], []
    if not low < high:
        problems.append(Problem(where, f"`low` must be less than `high`. Got {low} and {high}."))
    if dimension.int and not (dimension.low.is_integer() and dimension.high.is_integer()):
        problems.append(Problem(where, f"`low` and `high` must be whole where `int` is true. Got {low} and {high}."))
    if dimension.log and (low < 1 if dimension.int else low <= 0):
        least = "at least 1" if dimension.int else "positive"
        problems.append(Problem(where, f"`low` must be {least} where `log` is true. Got {low}."))
    return dimension, problems
