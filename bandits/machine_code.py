"""The one way in which this project compiles scalar code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])

# `_nrt=False` leaves out reference counting, which code that allocates nothing does not need. With it, UCB1 plays less
# than half as many rounds: `make bench` without this option shows 16 million a second instead of 35.
# `error_model="numpy"` divides by zero as IEEE 754 says; nobody calls kernels from C, so there are no wrappers for it.
# Without `fastmath=False` a function would be compiled with the fast mathematics of whoever calls it first.
# `forceinline` puts hooks and their helpers into the loop: a call hands over every array of state and context as seven
# words, which costs more than what most helpers do. A/B designs play more than three times as many rounds with it, no
# policy fewer, and compiling takes no longer.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
    "no_cfunc_wrapper": True,
    "fastmath": False,
    "forceinline": True,
}


def jit(function: F) -> F:
    """Compile a function that kernels call, on its first use.

    The function may use numbers, tuples and the arrays that it is given, but it cannot make new arrays: kernels keep
    what they need in the state that `KernelPolicy.layout` asked for. Python may call it too, unless it returns an
    array.

    Args:
        function: A Python function that Numba understands.

    Returns:
        The compiled function.
    """
    return cast(F, numba.njit(**OPTIONS)(function))
