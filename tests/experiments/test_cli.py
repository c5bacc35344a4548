import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments import installation, runner
from experiments.cli import app

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "transformers", "numba", "pandas", "scipy", "matplotlib", "gymnasium"]


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom experiments.cli import main\nsys.argv = ['bandits', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('loaded', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "loaded []" in done.stdout
    assert "check-log" in done.stdout


def test_a_run_prints_where_the_report_is(small: Path, tmp_path: Path) -> None:
    code, out, _ = call("run", str(small), "--out", str(tmp_path / "run"), "--set", "simulation.horizon=50")
    assert code == 0
    assert out.strip() == str(tmp_path / "run" / "report.html")
    (tmp_path / "run" / "report.html").unlink()
    code, out, _ = call("report", str(tmp_path / "run"))
    assert code == 0
    assert Path(out.strip()).is_file()


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("policies", "UCB1(width=2.0): Shows the arm"),
        ("envs", "BernoulliBandit(means=None, prior=None"),
        ("experiments", "bernoulli: Ten arms"),
    ],
)
def test_lists_have_one_line_each(what: str, line: str) -> None:
    code, out, _ = call("list", what)
    assert code == 0
    assert any(found.startswith(line) for found in out.splitlines())
    assert all(": " in found for found in out.splitlines())


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.yaml"], "must be a config file or the name of a bundled experiment"),
        (["run", "bernoulli", "--set", "seeed=1"], "seeed: unknown key. Did you mean `seed`?"),
        (["run", "upworthy"], "data.path: must be the archive's CSV file"),
        (["run", "upworthy", "--set", "data.path=nowhere.csv"], "data.path: must be a file. Got"),
        (
            ["run", "bernoulli", *(f"--set=simulation.{key}=1000000000000" for key in ("replications", "chunk"))],
            "Results of 1,000,000,000,000 replications with 200 snapshots and 2 arms must fit into memory",
        ),
        (["run", "bernoulli", "--threads", "0"], "greater than or equal to 1"),
        (["report", "nowhere"], "nowhere must be a run folder"),
        (["check-log", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_bad_input_gives_one_message_and_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err + out


@pytest.mark.faults
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "clicks.csv"),
        (b"item_text,impressions,click\na,1,1\n", "clicks"),
        (b"item_text,impressions,clicks\na,1,2\nb,5,1\n", "clicks"),
        (b"item_text,impressions,clicks\na,-1,0\nb,5,1\n", "impressions"),
        (b"item_text,impressions,clicks\na,5,0\n", "clicks.csv"),
        ("item_text,impressions,clicks\né,5,0\nb,5,1\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_bad_logs_are_refused_before_anything_trains(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clicks.csv").write_bytes(content)
    Path("c.yaml").write_text(
        "name: bad\ndata: {source: click_log, path: clicks.csv}\nbaseline: FixedSplit\npolicies: {FixedSplit: }\n"
    )
    for arguments in (["check-log", "clicks.csv"], ["run", "c.yaml"]):
        code, _, err = call(*arguments)
        assert code == 2
        assert message in err
        assert "Traceback" not in err


@pytest.mark.faults
def test_ctrl_c_says_how_to_go_on(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "simulate", interrupted)
    code, _, err = call("run", str(small), "--out", str(tmp_path / "run"))
    assert code == 130
    assert "the same command goes on from here" in err


@pytest.mark.faults
def test_unexpected_errors_keep_their_traceback_in_the_run_folder(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(runner, "simulate", broken)
    code, _, err = call("run", str(small), "--out", str(tmp_path / "run"))
    assert code == 1
    assert "RuntimeError: a bug" in err
    assert "Traceback" not in err
    assert "in broken" in (tmp_path / "run" / "error.txt").read_text()


def test_packages_of_another_installation_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installation.check_one_installation()
    elsewhere = {"envs": Path("/elsewhere")}
    own = Path(installation.__file__).resolve().parent.parent
    monkeypatch.setattr(installation, "_home", lambda name: elsewhere.get(name, own))
    with pytest.raises(ValueError, match=r"envs: /elsewhere \(provided by"):
        installation.check_one_installation()
