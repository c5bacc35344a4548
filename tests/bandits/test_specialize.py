"""The cache of compiled loops notices every edit; kernels that cannot be cached still run."""

import os
import shutil
import subprocess
import sys
import textwrap
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

import bandits
from bandits import Kernel, KernelPolicy, Layout, jit, simulate
from bandits.compiled.specialize import kernel_sources, specialized
from envs import BernoulliBandit
from policies import UCB1, ABTest, BranchTest, LinUCB

ROOT = Path(bandits.__file__).parent.parent


def test_an_edit_of_a_helper_is_noticed(tmp_path):
    """In a copy of the packages: run, edit a function that a kernel calls two imports away, run again."""
    for package in ("bandits", "envs", "policies"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    script = textwrap.dedent("""
        from bandits import simulate
        from envs import BernoulliBandit
        from policies import UCB1
        print(simulate(BernoulliBandit([0.2, 0.7, 0.3]), UCB1(), horizon=50, seed=1).pulls[0].tolist())
    """)
    environment = {**os.environ, "CLICK_BANDITS_CACHE": str(tmp_path / "cache")}

    def run():
        return subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    before = run()
    kept = set((tmp_path / "cache" / "loops").iterdir())
    assert run() == before
    assert set((tmp_path / "cache" / "loops").iterdir()) == kept
    assert all(list((folder / "__pycache__").glob("*.nbc")) for folder in kept)  # Numba did keep the machine code
    choice = tmp_path / "bandits" / "choice.py"
    edited = choice.read_text().replace("score > best", "score > best + 1e9")
    assert edited != choice.read_text()
    choice.write_text(edited)
    assert run() != before


def test_sources_reach_helpers_and_branches():
    names = {path.name for path in kernel_sources(BranchTest({"a": UCB1(), "b": LinUCB()}, ABTest(9)).kernel)}
    assert {"branch_test.py", "ucb.py", "linucb.py", "choice.py", "random.py"} <= names
    assert not any("numba" in str(path.parent) for path in kernel_sources(UCB1().kernel))


def test_constants_are_part_of_the_key():
    """Two kernels that differ in a constant of a closure only are compiled apart."""

    def policy_with(constant):
        def select(state, context, random):
            return constant

        def update(state, feedback, random):
            pass

        class Constant(KernelPolicy):
            kernel = Kernel(select=select, update=update)

            def layout(self, problem):
                return Layout()

        return Constant()

    env = BernoulliBandit([0.1, 0.2, 0.3])
    for arm in (2, 0, 1):
        assert simulate(env, policy_with(arm), horizon=5, seed=0).pulls[0, arm] == 5
    folders = {specialized(policy_with(arm).kernel, env.kernel).__file__ for arm in (0, 1, 2)}
    assert len(folders) == 3


def test_a_kernel_without_a_file_runs_uncached():
    code = textwrap.dedent("""
        def select(state, context, random):
            return 1

        def update(state, feedback, random):
            state.shared[0] += feedback.reward
    """)
    hooks = {}
    exec(compile(code, "<notebook cell>", "exec"), hooks)

    class FromNotebook(KernelPolicy):
        kernel = Kernel(select=hooks["select"], update=hooks["update"])

        def layout(self, problem):
            return Layout(shared=1)

    trace = simulate(BernoulliBandit([0.1, 1.0]), FromNotebook(), horizon=20, seed=0)
    assert trace.reward[-1, 0] == 20


def test_a_kernel_of_a_module_that_cannot_be_imported_runs_uncached(tmp_path, caplog):
    """Numba's cache would be read back once, and then fail: it looks for the module by its name."""
    file = tmp_path / "elsewhere.py"
    file.write_text(
        "def select(state, context, random):\n    return 1\n\ndef update(state, feedback, random):\n    pass\n"
    )
    module = types.ModuleType("elsewhere")
    exec(compile(file.read_text(), str(file), "exec"), module.__dict__)

    class Elsewhere(KernelPolicy):
        kernel = Kernel(select=module.select, update=module.update)

        def layout(self, problem):
            return Layout()

    trace = simulate(BernoulliBandit([0.1, 1.0]), Elsewhere(), horizon=20, seed=0)
    assert trace.reward[-1, 0] == 20
    assert "in a module that cannot be imported" in caplog.text


@jit
def _helper_that_allocates(size):
    return np.zeros(size)[0]


def _allocating_select(state, context, random):
    return int(_helper_that_allocates(3))


def _plain_update(state, feedback, random):
    pass


@pytest.mark.faults
def test_a_kernel_that_allocates_is_explained():
    class Allocates(KernelPolicy):
        kernel = Kernel(select=_allocating_select, update=_plain_update)

        def layout(self, problem):
            return Layout()

    with pytest.raises(TypeError, match=r"_allocating_select.*does not compile.*scratch space"):
        simulate(BernoulliBandit([0.1, 0.2]), Allocates(), horizon=5, seed=0)


def test_processes_compile_one_after_the_other(tmp_path, monkeypatch):
    """Numba's cache mixes up the code of two argument types that two processes compile at the same time."""
    monkeypatch.setenv("CLICK_BANDITS_CACHE", str(tmp_path))
    specialized.cache_clear()
    env, policy = BernoulliBandit([0.2, 0.3]), UCB1()
    specialized(policy.kernel, env.kernel)  # prepares the folder, compiles nothing
    (folder,) = {path.parent for path in tmp_path.rglob("loop.py")}
    with ThreadPoolExecutor(1) as pool:
        with FileLock(folder / "lock"):
            running = pool.submit(simulate, env, policy, horizon=10, seed=1, threads=1)
            with pytest.raises(TimeoutError):
                running.result(timeout=0.5)
            assert not list(folder.glob("**/*.nbc"))
        running.result()
    assert list(folder.glob("**/*.nbc"))
    specialized.cache_clear()


@pytest.mark.faults
@pytest.mark.parametrize("error", [PermissionError("read-only"), NotImplementedError("no flock here")])
def test_a_cache_that_cannot_be_locked_is_not_used(error, tmp_path, monkeypatch, caplog):
    def refuse(*arguments, **options):
        raise error

    monkeypatch.setenv("CLICK_BANDITS_CACHE", str(tmp_path))
    monkeypatch.setattr("bandits.compiled.specialize.FileLock", refuse)
    specialized.cache_clear()
    env = BernoulliBandit([0.2, 0.3])
    assert simulate(env, UCB1(), horizon=10, seed=1).pulls.sum() == 10
    assert f"cannot be kept in {tmp_path}" in caplog.text
    assert not list(tmp_path.rglob("*.nbc"))
    specialized.cache_clear()
