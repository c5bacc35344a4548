"""Which package may need which, seen from outside: a subprocess with nothing loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

import bandits
import envs
import experiments
import policies

ROOT = Path(__file__).parent.parent


def test_imports_come_from_this_checkout():
    for package in (bandits, envs, policies, experiments):
        assert Path(package.__file__).parent.parent == ROOT


@pytest.mark.parametrize(
    ("imports", "forbidden"),
    [
        ("bandits, envs, policies", {"torch", "transformers", "matplotlib", "sklearn"}),
        ("experiments.cli", {"torch", "transformers", "numba", "pandas", "scipy", "matplotlib", "gymnasium", "numpy"}),
    ],
)
def test_importing_loads_no_more_than_it_needs(imports, forbidden):
    code = f"import sys, {imports}; print(sorted({forbidden!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_kernel_policy_with_a_version_for_torch_plays_without_it():
    code = (
        "import sys; from bandits import simulate; from envs import BernoulliBandit\n"
        "from policies import LinearThompson\n"
        "simulate(BernoulliBandit([0.1, 0.2]), LinearThompson(), horizon=5, seed=0); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
