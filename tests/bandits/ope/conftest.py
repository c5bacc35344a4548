import numpy as np
import pytest

from bandits.ope import LoggedFeedback

K = 3


def simulated_log(n: int = 600, *, adaptive: bool = False, replications: int = 1, **changes: object) -> LoggedFeedback:
    """Rounds of a stochastic policy that looks at two features; rewards depend on the first one and the arm."""
    random = np.random.default_rng(5)
    features = random.normal(size=(n, 2))
    logits = np.column_stack([features[:, 0], np.zeros(n), -features[:, 1]])
    propensities = 0.1 + 0.7 * np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    chosen = np.array([random.choice(K, p=p) for p in propensities])
    rate = 1 / (1 + np.exp(0.5 - features[:, 0] * (chosen - 1)))
    fields: dict[str, object] = {
        "chosen": chosen,
        "reward": (random.random(n) < rate).astype(float),
        "propensity": propensities[np.arange(n), chosen],
        "num_arms": K,
        "adaptive": adaptive,
        "propensities": propensities,
        "features": features,
        "replication": None if replications == 1 else np.repeat(np.arange(replications), n // replications),
    }
    return LoggedFeedback(**(fields | changes))


@pytest.fixture(scope="session")
def make_log():
    return simulated_log
