"""The device that torch computes on."""

from __future__ import annotations

import torch

from bandits.memory import free_memory


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` is a GPU when there is one.

    Raises:
        ValueError: When there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"`device` must be 'auto', 'cpu' or 'cuda'. Got {name!r}.") from error
    if device.type not in ("cpu", "cuda") or (device.index or 0) >= max(_count(device), 1) or not _count(device):
        raise ValueError(f"`device` must be 'auto', 'cpu', or 'cuda' on a machine with a GPU. Got {name!r}.")
    return device


def free_device_memory(device: torch.device) -> int:
    """Bytes that can still be had on the device."""
    if device.type == "cpu":
        return free_memory()
    free: int = torch.cuda.mem_get_info(device)[0]
    return free


def _count(device: torch.device) -> int:
    """How many devices of this type there are."""
    return torch.cuda.device_count() if device.type == "cuda" else 1
