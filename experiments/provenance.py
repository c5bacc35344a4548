"""What a run was made with: sources, versions, commit, hardware."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import bandits
import envs
import policies

_LIBRARIES = (
    *("click-bandits", "gymnasium", "llvmlite", "matplotlib", "numba", "numpy", "pandas", "pyarrow", "scikit-learn"),
    *("scipy", "statsmodels", "torch", "transformers"),
)
_NOT_SIMULATING = ("reward_models", "plots")


def sources_hash(user_files: Iterable[Path] = ()) -> str:
    """Hash of the source code that a simulated number can depend on, 32 hexadecimal digits.

    It covers the engine, all policies, all environments and the user's own files; of `bandits`, the parts that fit
    or draw are left out (their work enters through the table's hash).

    Args:
        user_files: Source files of the user's own policies.
    """
    digest = hashlib.sha256()
    for package in (bandits, envs, policies):
        root = _folder(package)
        for file in sorted(root.rglob("*.py")):
            inside = file.relative_to(root)
            if not (package is bandits and inside.parts[0] in _NOT_SIMULATING):
                digest.update(f"{package.__name__}/{inside.as_posix()}\0".encode() + file.read_bytes())
    for file in sorted(user_files):
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:32]


def modeling_hash() -> str:
    """Hash of the source code that turns data into tables and features, 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for root in (_folder(bandits) / "reward_models", Path(__file__).resolve().parent / "newsroom"):
        for file in sorted(root.rglob("*.py")):
            digest.update(f"{root.name}/{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:32]


def describe() -> dict[str, Any]:
    """Versions, git commit and hardware, for the manifest; nothing of it decides what is computed."""
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _LIBRARIES},
        "git_commit": _git_commit(),
        "hardware": {
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": platform.platform(),
        },
    }


def _folder(package: Any) -> Path:
    return Path(package.__file__).resolve().parent


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the checkout that the code runs from, `+changes` where it was edited; None outside a checkout."""
    command = ["git", "-C", str(_folder(bandits)), "describe", "--always", "--abbrev=40", "--dirty=+changes"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
