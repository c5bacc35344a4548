"""Checks that the statistics share."""

from __future__ import annotations


def require_fraction(name: str, value: float) -> None:
    """Raise a `ValueError` that names the argument unless `value` lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"`{name}` must lie strictly between 0 and 1. Got {value}.")
