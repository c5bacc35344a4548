"""Checks that policy constructors share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bandits.core import Problem


def require_number(name: str, value: float, low: float, high: float = math.inf, *, strict: bool = False) -> None:
    """Raise unless `value` is a finite number in [low, high], or in (low, high) when `strict`.

    Raises:
        TypeError: When it is not a number.
        ValueError: When it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"`{name}` must be a number. Got {value!r}.")
    inside = low < value < high if strict else low <= value <= high
    if not (math.isfinite(value) and inside):
        left, right = ("(", ")") if strict else ("[", "]" if math.isfinite(high) else ")")
        raise ValueError(f"`{name}` must lie in {left}{low}, {high}{right}. Got {value}.")


def require_integer(name: str, value: int, low: int) -> None:
    """Raise unless `value` is an integer of at least `low`.

    Raises:
        TypeError: When it is not an integer.
        ValueError: When it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}` must be an integer. Got {value!r}.")
    if value < low:
        raise ValueError(f"`{name}` must be at least {low}. Got {value}.")


def checked_numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    """The values as finite floats.

    Raises:
        TypeError: When they are not a list of numbers.
        ValueError: When one is not finite.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"`{name}` must be a list of numbers. Got {values!r}.")
    for value in values:
        require_number(name, value, -math.inf)
    return tuple(float(value) for value in values)


def checked_prior(prior: Sequence[float], name: str = "prior") -> tuple[float, float]:
    """The parameters a and b of a Beta prior, which must be above 0.

    Raises:
        TypeError: When they are not a list of numbers.
        ValueError: When there are not two, or one is not above 0.
    """
    values = checked_numbers(name, prior)
    if len(values) != 2 or min(values) <= 0:
        raise ValueError(f"`{name}` must be two numbers above 0. Got {list(values)}.")
    return values[0], values[1]


def checked_weights(weights: Sequence[float]) -> tuple[float, ...]:
    """The weights of a split, which must be non-negative and sum to 1.

    Raises:
        TypeError: When they are not a list of numbers.
        ValueError: When they are not such weights.
    """
    values = checked_numbers("weights", weights)
    if any(not weight >= 0 for weight in values):
        raise ValueError(f"`weights` must be at least 0. Got {list(values)}.")
    if not math.isclose(sum(values), 1.0, abs_tol=1e-9):
        raise ValueError(f"`weights` must sum to 1. Got {list(values)}, which sum to {sum(values):.6g}.")
    return values


def require_linear_features(features: str, user_components: int, arm_components: int) -> None:
    """Raise unless these say which features a linear policy uses.

    Raises:
        TypeError: When a number of components is not an integer.
        ValueError: When it is negative, or `features` is not a kind of features.
    """
    if features not in ("disjoint", "product"):
        raise ValueError(f"`features` must be disjoint or product. Got {features!r}.")
    require_integer("user_components", user_components, 0)
    require_integer("arm_components", arm_components, 0)


def require_predictions(policy: str, problem: Problem) -> None:
    """Raise ValueError unless contexts carry predictions (`Context.prior`), naming the policy that needs them."""
    if not problem.has_prior:
        raise ValueError(
            f"{policy} needs an environment that hands out predictions (`world.prior` in a config, `prior` of "
            "SimulatedUsers). Got one without."
        )
