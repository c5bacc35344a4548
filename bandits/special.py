"""Special functions for kernels: scipy's own machine code, called by address.

`scipy.special.cython_special` publishes its functions as C pointers. Each is registered with LLVM under a name of
ours, so that compiled (and cached) kernels link to it and give exactly scipy's values, at about the price of a C call.
"""

from __future__ import annotations

import ctypes
import re
from typing import Any

import llvmlite.binding
from numba import types
from scipy.special import cython_special

from bandits.machine_code import jit


def _external(name: str, arguments: int) -> Any:
    """The variant of a cython_special function that takes and returns doubles, as a function for kernels."""
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    wanted = "double (" + ", ".join(["double"] * arguments)
    for symbol, capsule in cython_special.__pyx_capi__.items():
        if symbol == name or (symbol.startswith("__pyx_fuse_") and re.sub(r"^__pyx_fuse_\d+", "", symbol) == name):
            signature = name_of(capsule)
            # Public Cython functions take a last integer, "skip dispatch", which means nothing outside classes.
            if signature.decode() in (f"{wanted})", f"{wanted}, int __pyx_skip_dispatch)"):
                linked = f"click_bandits_{name}"
                llvmlite.binding.add_symbol(linked, pointer_of(capsule, signature))
                return types.ExternalFunction(linked, types.float64(*[types.float64] * arguments, types.int32))
    raise ImportError(f"scipy.special.cython_special must have `{name}` for doubles. This version of scipy has none.")


_ndtri = _external("ndtri", 1)
_ndtr = _external("ndtr", 1)
_betainc = _external("betainc", 3)
_betaincinv = _external("betaincinv", 3)
_gammaln = _external("gammaln", 1)
_NO_DISPATCH = 0


@jit
def ndtri(p: float) -> float:
    """Quantile of the standard normal distribution at `p` in (0, 1)."""
    return float(_ndtri(p, _NO_DISPATCH))


@jit
def ndtr(x: float) -> float:
    """Distribution function of the standard normal at `x`."""
    return float(_ndtr(x, _NO_DISPATCH))


@jit
def betainc(a: float, b: float, x: float) -> float:
    """Distribution function of Beta(a, b) at `x` in [0, 1]."""
    return float(_betainc(a, b, x, _NO_DISPATCH))


@jit
def betaincinv(a: float, b: float, p: float) -> float:
    """Quantile of Beta(a, b) at `p` in [0, 1]."""
    return float(_betaincinv(a, b, p, _NO_DISPATCH))


@jit
def gammaln(x: float) -> float:
    """Logarithm of the gamma function at `x` > 0."""
    return float(_gammaln(x, _NO_DISPATCH))
