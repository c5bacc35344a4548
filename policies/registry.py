"""Policies by name, imported when they are asked for: some need torch, which takes seconds to load."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from bandits.core import Policy


class PolicyRegistry(Mapping[str, type[Policy]]):
    """Names and the classes that they stand for.

    Args:
        targets: Name to `module:Class`.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._targets = dict(targets)

    def __getitem__(self, name: str) -> type[Policy]:
        module, _, attribute = self._targets[name].partition(":")
        found: type[Policy] = getattr(importlib.import_module(module), attribute)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)
