"""One line each: policies, environments, bundled experiments, studies and searches."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def policies() -> list[str]:
    """The policies by name, with parameters and defaults."""
    from policies import POLICIES

    return [_line(name, policy) for name, policy in sorted(POLICIES.items())]


def envs() -> list[str]:
    """The environments by name, with parameters and defaults."""
    from envs import ENVS

    return [_line(name, env) for name, env in sorted(ENVS.items())]


def experiments() -> list[str]:
    """The bundled experiments: the first comment line of each config."""
    from experiments.config import bundled_configs

    return _described(bundled_configs())


def studies() -> list[str]:
    """The bundled studies: the first comment line of each."""
    from experiments.studies.config import bundled_studies

    return _described(bundled_studies())


def tunings() -> list[str]:
    """The bundled searches: the first comment line of each."""
    from experiments.tuning.config import bundled_tunings

    return _described(bundled_tunings())


def _described(texts: Mapping[str, str]) -> list[str]:
    return [f"{name}: {text.splitlines()[0].lstrip('# ')}" for name, text in texts.items()]


def _line(name: str, listed: Any) -> str:
    parameters = inspect.signature(listed).parameters.values()
    arguments = ", ".join(
        p.name if p.default is inspect.Parameter.empty else f"{p.name}={p.default!r}" for p in parameters
    )
    return f"{name}({arguments}): {(inspect.getdoc(listed) or '').partition(chr(10))[0]}"
