from pathlib import Path

import pytest

SMALL = """
name: small
seed: 3
data: {source: bernoulli, means: [0.5, 0.3, 0.2]}
simulation: {horizon: 120, replications: 5, chunk: 2, snapshots: 12, test_lengths: [10, 40]}
baseline: ABTest
policies:
  ABTest: {visitors: 30}
  UCB1: {width: 0.5}
  FixedSplit:
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A config that runs in a moment."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path
