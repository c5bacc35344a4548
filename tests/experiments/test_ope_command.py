from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bandits.ope import LoggedFeedback, evaluate_policy, read_log, write_log
from experiments.cli import app


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["ope", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a log, `log.parquet`, and columns of a policy in it."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    chosen = random.integers(0, 2, 300)
    reward = (random.random(300) < 0.3 + 0.3 * chosen).astype(float)
    log = LoggedFeedback(chosen, reward, np.full(300, 0.5), 2, False, np.full((300, 2), 0.5), name="shop")
    write_log(log, "log.parquet")
    frame = pd.read_parquet("log.parquet")
    frame.assign(mine_0=0.25, mine_1=0.75).to_parquet("plain.parquet", index=False)
    Path("uniform.yaml").write_text("uniform\n")
    Path("split.yaml").write_text("policy: FixedSplit\nweights: [0.25, 0.75]\n")
    Path("columns.yaml").write_text("probabilities: mine_\n")
    return tmp_path


def line(page: str, method: str) -> str:
    return next(found for found in page.splitlines() if found.startswith(method))


def test_the_page_says_what_the_library_says(folder: Path) -> None:
    code, page, _ = call("log.parquet", "--policy", "split.yaml")
    assert code == 0
    found = evaluate_policy(read_log("log.parquet"), [0.25, 0.75])
    for method in ("SNIPS", "DR "):
        value = found.values[method.strip()]
        assert f"{value.estimate:.4g}" in line(page, method)
        assert f"{value.low:.4g} to {value.high:.4g}" in line(page, method)
    assert "FixedSplit(weights=(0.25, 0.75))" in page
    assert "Log: shop, 300 rounds, 2 arms, collected by a policy that did not learn" in page


def test_columns_and_a_plain_file(folder: Path) -> None:
    code, page, _ = call("plain.parquet", "--policy", "columns.yaml", "--independent")
    assert code == 0
    _, same, _ = call("log.parquet", "--policy", "split.yaml")
    assert line(page, "SNIPS") == line(same, "SNIPS")
    code, page, _ = call("plain.parquet", "--policy", "columns.yaml", "--adaptive", "--confidence", "0.9")
    assert code == 0
    assert "martingale normal" in line(page, "adaptively weighted DR")
    assert "90% interval" in page


def test_uniform_and_warnings(folder: Path) -> None:
    code, page, _ = call("log.parquet", "--policy", "uniform.yaml", "--interval", "bootstrap", "--seed", "3")
    assert code == 0
    assert "Policy: uniform" in page
    assert "percentile bootstrap over rounds" in line(page, "IPS")
    assert "Warning" not in page
    assert "Each interval covers 95% by itself, for a log whose length was fixed beforehand." in page


def test_a_policy_of_ones_own(folder: Path) -> None:
    Path("own_rule.py").write_text(
        "import numpy as np\n"
        "class Second:\n"
        "    def select(self, context):\n"
        "        return np.ones(len(context.round), dtype=int)\n"
        "    def propensities(self, context):\n"
        "        return np.tile([0.0, 1.0], (len(context.round), 1))\n"
    )
    Path("own.yaml").write_text("policy: own_rule:Second\n")
    code, page, _ = call("log.parquet", "--policy", "own.yaml")
    assert code == 0
    log = read_log("log.parquet")
    assert f"{log.reward[log.chosen == 1].mean():.4g}" in line(page, "replay")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("log", "policy", "options", "message"),
    [
        ("nowhere.parquet", "uniform", [], "LOG must be a Parquet file or a folder"),
        (".", "uniform", [], "item_context.csv"),
        ("plain.parquet", "uniform", [], "`adaptive` must be given"),
        ("log.parquet", "probabilities: his_", [], "prefix of columns such as his_0"),
        ("log.parquet", "probabilities: 3", [], "probabilities: must be the prefix of columns, as text. Got 3"),
        ("log.parquet", "{probabilities: mine_, wait: 1}", [], "wait: unknown key"),
        ("log.parquet", "{policy: FixedSplit, weights: [0.5, 0.6]}", [], "`weights` must sum to 1"),
        ("log.parquet", "{policy: FixedSplit, weights: [0.5, 0.2, 0.3]}", [], "one entry for each of 2 arms"),
        ("log.parquet", "{policy: FixedSplit, weihgts: [1.0]}", [], "Did you mean `weights`?"),
        ("log.parquet", "{policy: FixdSplit}", [], "Did you mean `FixedSplit`?"),
        ("log.parquet", "policy: UCB1", [], "policy: must not learn"),
        ("log.parquet", "[1, 2]", [], "must be uniform, or a section"),
        ("log.parquet", "{policy: [", [], "not valid YAML"),
        ("log.parquet", "uniform", ["--clip", "0"], "`clip` must be positive"),
        ("log.parquet", "uniform", ["--unit", "user"], "does not name its visitors"),
        ("log.parquet", "uniform", ["--confidence", "95"], "`confidence` must lie strictly between 0 and 1"),
    ],
)
def test_bad_input_gives_one_message_and_code_2(
    folder: Path, log: str, policy: str, options: list[str], message: str
) -> None:
    Path("policy.yaml").write_text(policy)
    code, out, err = call(log, "--policy", "policy.yaml", *options)
    assert code == 2
    assert message in err
    assert "Traceback" not in out + err


@pytest.mark.faults
def test_a_missing_policy_file_is_named(folder: Path) -> None:
    code, _, err = call("log.parquet", "--policy", "nowhere.yaml")
    assert code == 2
    assert "--policy must be a YAML file. Got nowhere.yaml" in err
