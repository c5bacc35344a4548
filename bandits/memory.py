"""Saying that something does not fit into memory before it is begun."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import psutil

_GIB = 2**30
# Where Linux says how much memory a container may use and uses: cgroups version 2, then 1.
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def array_bytes(shapes: Sequence[Sequence[int]], itemsize: int = 8) -> int:
    """Bytes of arrays of these shapes."""
    return itemsize * sum(math.prod(int(size) for size in shape) for shape in shapes)


def free_memory() -> int:
    """Bytes that this process can still have, in its container where there is one."""
    free: int = psutil.virtual_memory().available
    for limit, used in _CGROUPS:
        try:
            left = int(Path(limit).read_text()) - int(Path(used).read_text())
        except (OSError, ValueError):  # no such container, or one without a limit ("max")
            continue
        return max(0, min(free, left))
    return free


def require_memory(what: str, needed: int, free: int | None = None) -> None:
    """Raise unless there is room.

    Args:
        what: What needs the memory, with the sizes that it comes from: the start of the message.
        needed: How many bytes it needs.
        free: How many there are; by default those of this machine's memory.

    Raises:
        ValueError: When more is needed than there is.
    """
    room = free_memory() if free is None else free
    if needed > room:
        raise ValueError(f"{what} must fit into memory, {room / _GIB:.1f} GiB free. Got {needed / _GIB:,.1f} GiB.")
