"""One line each: policies, environments and bundled experiments."""

from __future__ import annotations

import inspect
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

    return [f"{name}: {text.splitlines()[0].lstrip('# ')}" for name, text in bundled_configs().items()]


def _line(name: str, listed: Any) -> str:
    parameters = inspect.signature(listed).parameters.values()
    arguments = ", ".join(
        p.name if p.default is inspect.Parameter.empty else f"{p.name}={p.default!r}" for p in parameters
    )
    return f"{name}({arguments}): {(inspect.getdoc(listed) or '').partition(chr(10))[0]}"
