"""The formats of click logs, by name."""

from __future__ import annotations

from typing import Literal, get_args

SourceFormat = Literal[
    "mind", "ebnerd", "kuairec-small", "kuairec-big", "kuairand-random", "kuairand-standard", "open-bandit", "jester"
]
FaultyWeeks = Literal["exclude", "train", "include"]
LogFormat = Literal["auto", "log", "upworthy", SourceFormat]

SOURCE_FORMATS: tuple[SourceFormat, ...] = get_args(SourceFormat)
LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)
