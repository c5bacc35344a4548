from pathlib import Path

import pytest

EXPERIMENT = """
name: small
seed: 3
data: {source: bernoulli, means: [0.5, 0.4, 0.2]}
simulation: {horizon: 150, replications: 6, chunk: 4, snapshots: 12}
baseline: FixedSplit
policies:
  FixedSplit:
  UCB1: {width: 0.5}
  "EpsilonGreedy 0.1": {policy: EpsilonGreedy, epsilon: 0.1}
"""
TUNING = """
name: widths
experiment: small.yaml
search: {method: random, trials: 6, seed: 11}
space:
  policies.UCB1.width: {low: 0.01, high: 4, log: true}
  policies.EpsilonGreedy 0.1.epsilon: [0.05, 0.2]
"""


@pytest.fixture
def tuning(tmp_path: Path) -> Path:
    """A search that runs in a moment, with its experiment beside it."""
    (tmp_path / "small.yaml").write_text(EXPERIMENT, encoding="utf-8")
    path = tmp_path / "tuning.yaml"
    path.write_text(TUNING, encoding="utf-8")
    return path


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves the time that figures take."""
    monkeypatch.setattr("experiments.tuning.run.write_page", lambda out, reporter: out)
