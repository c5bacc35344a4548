"""The wheel, as a stranger installs it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.install
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for package in ("bandits", "envs", "policies", "experiments"):  # a copy, so that nothing is left in the checkout
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel)],
        check=True,
    )
    return folder


def run(installed, *arguments, cwd):
    """`bandits` from the installed wheel, far from the checkout."""
    code = "import sys; from experiments.cli import main; sys.argv[0] = 'bandits'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_holds_the_four_packages_and_their_data(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert tops == {"bandits", "envs", "policies", "experiments"}
    for wanted in ("experiments/configs/newsroom.yaml", "experiments/templates/report.html.j2", "bandits/py.typed"):
        assert wanted in names
    python = {
        str(path.relative_to(ROOT))
        for top in tops
        for path in (ROOT / top).rglob("*.py")
        if "__pycache__" not in str(path)
    }
    assert python <= set(names)


def test_the_installed_command_works_away_from_the_checkout(installed, tmp_path):
    listed = run(installed, "list", "policies", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "EpsilonGreedy" in listed.stdout
    done = run(installed, "run", "bernoulli", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "runs" / "bernoulli-quick" / "report.html").is_file()
