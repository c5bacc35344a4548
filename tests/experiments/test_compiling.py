"""Compiling ahead: other processes fill the cache that this one reads."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from bandits.compiled.specialize import awaits_compilation, specialized
from envs import BernoulliBandit
from experiments.compiling import compile_missing
from experiments.policy_specs import build_policy
from experiments.progress import Reporter

OWN = """
from bandits import Kernel, KernelPolicy, Layout


def _select(state, context, random):
    return {select}


def _update(state, feedback, random):
    pass


class Last(KernelPolicy):
    kernel = Kernel(select=_select, update=_update)

    def __init__(self):
        pass

    def layout(self, problem):
        return Layout()
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLICK_BANDITS_CACHE", str(tmp_path / "cache"))
    specialized.cache_clear()
    yield
    specialized.cache_clear()


def ahead(folder: Path, specs, cores):
    console = Console(file=io.StringIO(), width=200)
    env = BernoulliBandit([0.1, 0.2])
    compile_missing(specs, folder, env, cores, Reporter(console))
    found = [not awaits_compilation(build_policy(spec, folder).kernel, env.kernel) for spec in specs]
    return found, console.file.getvalue()


def test_other_processes_fill_the_cache(tmp_path):
    (tmp_path / "mine.py").write_text(OWN.format(select="context.available.shape[0] - 1"))
    specs = [
        {"policy": "UCB1", "width": 1.0, "stream": 0},
        {"policy": "mine:Last", "stream": 0},
        {"policy": "UCB1", "width": 2.0, "stream": 0},
    ]
    assert ahead(tmp_path, specs, 1) == ([False] * 3, "  compiling 2 kinds of policies for the first time\n")
    found, said = ahead(tmp_path, specs, 2)
    assert found == [True] * 3
    assert said == "  compiling 2 kinds of policies for the first time, in 2 processes\n"
    assert ahead(tmp_path, specs, 2) == ([True] * 3, "")


@pytest.mark.faults
def test_what_does_not_compile_is_left_for_later(tmp_path):
    (tmp_path / "broken.py").write_text(OWN.format(select="[0, 'a'][1]"))
    specs = [{"policy": "broken:Last", "stream": 0}, {"policy": "FixedSplit", "weights": None, "stream": 0}]
    assert ahead(tmp_path, specs, 2)[0] == [False, True]


@pytest.mark.faults
def test_nothing_is_compiled_ahead_for_a_cache_that_cannot_be_kept(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder should be")
    specs = [{"policy": "UCB1", "width": 1.0, "stream": 0}, {"policy": "FixedSplit", "weights": None, "stream": 0}]
    assert ahead(tmp_path, specs, 2)[1] == ""
