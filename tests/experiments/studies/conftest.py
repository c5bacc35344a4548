from pathlib import Path

import pytest

SMALL = """
study: effects
name: small
seed: 3
world: {base_rate: 0.3, visitors: 120, effects: [-0.1, 0, 0.2]}
simulation: {replications: 30, chunk: 12, fewer: {greedy: 20}}
baseline: test
policies:
  test: {policy: ABTest, visitors: 60}
  greedy: {policy: EpsilonGreedy, epsilon: 0.3}
  UCB1: {width: 0.5}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A study that is done in a moment."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path
