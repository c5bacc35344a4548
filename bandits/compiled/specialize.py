"""Compiling the loop for one pair of kernels, with a cache on disk that notices every edit.

Numba's own cache looks at the date of one file and so serves old code after an edit of any other. Here the compiled
copy of
the loop lies in a folder named by a hash of everything that went into it: the loop, every source file and constant
that the hooks reach, and the versions of Numba, SciPy and the processor.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import sysconfig
import tempfile
import types
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba
import numpy as np
import scipy
from filelock import FileLock, Timeout

from bandits.compiled import loop
from bandits.kernel import ComposedKernel, Hook, Kernel, WorldKernel
from bandits.machine_code import OPTIONS, jit

_LOG = logging.getLogger(__name__)
_HOOK_OPTIONS = OPTIONS | {"no_cpython_wrapper": True}
_LOCK = "lock"
_STAY_COMPILED = ("bandits.linear_algebra", "bandits.random", "bandits.special", "bandits.variates")
_ENTRY_POINTS = (
    "run",
    "start_rows",
    "select_rows",
    "update_rows",
    "propensities_rows",
    "report_rows",
    "world_start_rows",
    "arrive_rows",
    "respond_rows",
)


def cache_folder() -> Path:
    """Where compiled loops are kept: `$CLICK_BANDITS_CACHE`, else `click-bandits` in the user's cache folder."""
    if chosen := os.environ.get("CLICK_BANDITS_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "click-bandits"


@lru_cache(maxsize=256)
def specialized(policy: Kernel | ComposedKernel | None, world: WorldKernel | None) -> types.ModuleType:
    """The functions of `bandits.compiled.loop`, compiled for a policy, a world, or both.

    Functions that need a hook which is not there must not be called.
    """
    hooks = _hooks(policy, world, _compiled_hook)
    text = Path(loop.__file__).read_text(encoding="utf-8")
    sources = _Sources()
    sources.follow(_hooks(policy, world, _as_written).values())
    folder = _prepared_folder(text, sources)
    module = _instantiate(text, folder / "loop.py" if folder else Path(loop.__file__), hooks)
    vars(module)["context_row"] = jit(vars(module)["context_row"])
    for name in _ENTRY_POINTS:
        compiled = numba.njit(cache=folder is not None, **OPTIONS)(getattr(module, name))
        if folder:
            compiled.compile = _one_process_at_a_time(compiled.compile, folder / _LOCK)
        setattr(module, name, _explained(compiled, policy, world))
    return module


def awaits_compilation(policy: Kernel | ComposedKernel, world: WorldKernel) -> bool:
    """Whether the cache on disk can hold the fused loop of a policy and a world, and does not yet."""
    file = Path(str(specialized(policy, world).__file__))
    return file != Path(loop.__file__) and not any(file.parent.glob("**/loop.run-*.nbc"))


def _one_process_at_a_time(compile: Hook, lock: Path) -> Hook:
    """Compile or read the cache while no other process does.

    Numba numbers the files of one function by its argument types. Two processes that compile it for different types at
    the same time could take the same number, and each would find the other's code under its own types.
    """

    def locked(signature: Any) -> Any:
        with FileLock(lock):
            return compile(signature)

    return locked


def _explained(compiled: Hook, policy: Kernel | ComposedKernel | None, world: WorldKernel | None) -> Hook:
    """The same function, with an error that tells the author of a kernel what is wrong when it does not compile."""

    def call(*arguments: Any) -> Any:
        try:
            return compiled(*arguments)
        except numba.core.errors.NumbaError as error:
            raise TypeError(
                f"The kernel {policy or world} does not compile: hooks must use numbers and the arrays they are "
                f"given, functions compiled with `bandits.jit`, and `state.work` as scratch space, not new arrays. "
                f"Numba says: {error}"
            ) from error

    return call


@lru_cache(maxsize=256)
def as_python(policy: Kernel | ComposedKernel, world: WorldKernel | None) -> types.ModuleType:
    """The loop with the hooks as they are written, to be run by the Python interpreter."""
    text = Path(loop.__file__).read_text(encoding="utf-8")
    return _instantiate(text, Path(loop.__file__), _hooks(policy, world, interpreted))


def interpreted(function: Hook) -> Hook:
    """A function and everything that it calls, uncompiled, except the draws and special functions.

    Those stay as they are because libraries differ in the last bit of `log`, `lgamma` and the like.
    """
    result: Hook = _interpreted(function, {})
    return result


def _interpreted(value: Any, done: dict[int, Any]) -> Any:
    function = getattr(value, "py_func", value)
    if not isinstance(function, types.FunctionType) or function.__module__ in _STAY_COMPILED:
        return value
    if id(function) not in done:
        names = _names(function.__code__) & function.__globals__.keys()
        new = types.FunctionType(
            function.__code__,
            dict(function.__globals__),
            function.__name__,
            function.__defaults__,
            tuple(types.CellType(_interpreted(cell.cell_contents, done)) for cell in function.__closure__ or ()),
        )
        done[id(function)] = new
        new.__globals__.update({name: _interpreted(function.__globals__[name], done) for name in names})
    return done[id(function)]


def kernel_sources(*kernels: Kernel | ComposedKernel | WorldKernel) -> set[Path]:
    """Every source file outside the standard library and Numba that the hooks of some kernels reach."""
    sources = _Sources()
    for kernel in kernels:
        linked = kernel.link(_as_written)
        sources.follow(hook for field in fields(linked) if (hook := getattr(linked, field.name)))
    return sources.files | {Path(loop.__file__)}


@lru_cache(maxsize=1024)
def _compiled_hook(hook: Hook) -> Hook:
    """A hook for compiled callers only: no entrance from Python, and compiled once for all loops that use it."""
    compiled: Hook = numba.njit(**_HOOK_OPTIONS)(hook)
    return compiled


def _as_written(hook: Hook) -> Hook:
    return hook


def _hooks(
    policy: Kernel | ComposedKernel | None, world: WorldKernel | None, wrap: Callable[[Hook], Hook]
) -> dict[str, Hook]:
    """The loop's hooks by name; those that a kernel leaves out are the loop's own."""
    hooks: dict[str, Hook] = {}
    for prefix, blank, kernel in (("policy", Kernel, policy), ("world", WorldKernel, world)):
        linked = kernel.link(wrap) if kernel else None
        for field in fields(blank):
            name = f"{prefix}_{field.name}"
            own = getattr(linked, field.name) if linked else None
            hooks[name] = own or wrap(getattr(loop, name))
    return hooks


def _instantiate(text: str, path: Path, hooks: dict[str, Hook]) -> types.ModuleType:
    """A new module from the loop's text, in which the hooks are those given."""
    module = types.ModuleType("bandits.compiled.loop")
    module.__file__ = str(path)
    exec(compile(text, str(path), "exec"), module.__dict__)
    for name in ("Settings", "Buffers", "Results"):  # the types must be the ones that callers use
        setattr(module, name, getattr(loop, name))
    module.__dict__.update(hooks)
    return module


def _prepared_folder(text: str, sources: _Sources) -> Path | None:
    """The folder for this compilation, holding a copy of the loop; None when nothing can be cached."""
    if sources.obstacle:
        _say_once(f"Compiling without a cache, anew in every process: {sources.obstacle}.")
        return None
    digest = hashlib.sha256(text.encode())
    for path in sorted(sources.files):
        digest.update(path.read_bytes())
    for part in sorted(sources.constants):
        digest.update(part.encode())
    versions = (numba.__version__, llvmlite.__version__, np.__version__, scipy.__version__, sys.version)
    cpu = (platform.machine(), llvmlite.binding.get_host_cpu_name(), sorted(llvmlite.binding.get_host_cpu_features()))
    digest.update(repr((versions, cpu, OPTIONS)).encode())
    folder = cache_folder() / "loops" / digest.hexdigest()[:32]
    target = folder / "loop.py"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout), FileLock(folder / _LOCK, timeout=0):
            pass  # now is the time to find out that this file system has no locks, or lets nobody write
        if not target.exists():
            # Written once and moved into place: Numba's cache is void as soon as this file's date changes.
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
                file.write(text)
            os.replace(file.name, target)
    except (OSError, NotImplementedError) as error:
        _LOG.warning("Compiled loops cannot be kept in %s (%s): compiling anew in every process.", folder, error)
        return None
    return folder


@lru_cache(maxsize=128)
def _say_once(message: str) -> None:
    _LOG.warning(message)


class _Sources:
    """The files and constants that some functions depend on, found by following the names that they use.

    Attributes:
        files: Source files of all functions and classes that were reached.
        constants: Names and values of the constants that were reached.
        obstacle: Why the functions cannot be cached; empty when they can.
    """

    def __init__(self) -> None:
        self.files: set[Path] = set()
        self.constants: set[str] = set()
        self.obstacle = ""
        self._seen: set[int] = set()
        self._outside = _library_folders()

    def follow(self, functions: Iterable[Hook]) -> None:
        """Add what some functions depend on."""
        for function in functions:
            self._visit(getattr(function, "__name__", ""), function)

    def _visit(self, name: str, value: Any) -> None:
        # A compiled function or an intrinsic: look at what it was made from.
        value = getattr(value, "py_func", getattr(value, "_defn", value))
        if isinstance(value, types.FunctionType):
            if id(value) not in self._seen:
                self._seen.add(id(value))
                self._visit_function(value)
        elif isinstance(value, np.ndarray):
            self.constants.add(f"{name}={value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}")
        elif isinstance(value, int | float | str | bytes | np.generic | numba.types.Type | tuple | None):
            self.constants.add(f"{name}={value!r}")
        elif isinstance(value, type):
            self._add_file(getattr(sys.modules.get(value.__module__), "__file__", None), value.__name__)
        elif not isinstance(value, types.BuiltinFunctionType | np.ufunc):
            self.obstacle = self.obstacle or f"`{name}` is a {type(value).__name__}, whose changes cannot be noticed"

    def _visit_function(self, function: types.FunctionType) -> None:
        code = function.__code__
        if not self._add_file(code.co_filename, function.__qualname__):
            return
        if function.__module__ not in sys.modules:  # where another process would look for it
            self.obstacle = self.obstacle or f"`{function.__qualname__}` is in a module that cannot be imported"
        self.constants.add(f"{function.__module__}:{function.__qualname__}:{function.__defaults__!r}")
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self._visit(name, cell.cell_contents)
        for name in _names(code):
            value = function.__globals__.get(name)
            if isinstance(value, types.ModuleType):
                if self._is_library(value):
                    continue
                for attribute in _names(code):
                    if (found := getattr(value, attribute, None)) is not None:
                        self._visit(f"{name}.{attribute}", found)
            elif name in function.__globals__:
                self._visit(name, value)

    def _is_library(self, module: types.ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        return file is None or any(Path(file).resolve().is_relative_to(folder) for folder in self._outside)

    def _add_file(self, file: str | None, name: str) -> bool:
        """Add the file of a function or class; False when there is nothing in it to follow."""
        path = Path(file) if file else None
        if path is None or not path.is_file():
            if path is not None:
                self.obstacle = self.obstacle or f"`{name}` was not defined in a file"
            return False
        path = path.resolve()
        if any(path.is_relative_to(folder) for folder in self._outside):
            return False
        self.files.add(path)
        return True


def _names(code: types.CodeType) -> set[str]:
    """The global names and attributes that some code uses, nested functions included."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


@lru_cache(maxsize=1)
def _library_folders() -> tuple[Path, ...]:
    """Folders whose code is covered by a version number: NumPy, SciPy, Numba, llvmlite and the standard library."""
    libraries = [Path(str(module.__file__)).resolve().parent for module in (np, scipy, numba, llvmlite)]
    standard = Path(sysconfig.get_paths()["stdlib"]).resolve()
    return (*libraries, *(p for p in standard.iterdir() if p.name != "site-packages"))
