"""Do the user scripts play the same policies as the engine? Their mean regrets must agree."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from bandits import KernelPolicy, simulate
from benchmarks import user_scripts
from benchmarks.report import table
from benchmarks.worlds import Audience, bernoulli, click_rates
from envs import KernelEnv
from policies import UCB1, BetaThompson, EpsilonGreedy, Exp3, LinearThompson, LinUCB

_ENGINE_REPLICATIONS = 1000
_MOST_STANDARD_ERRORS = 5.0
_ARMS, _HORIZON, _REPLICATIONS = 10, 1000, 50
_SMALL = Audience(users=50, arms=4, dimensions=4)  # small, so that linear policies learn within the horizon
_SMALL_HORIZON, _SMALL_REPLICATIONS = 300, 40


class _Pair(NamedTuple):
    name: str
    policy: KernelPolicy
    world: Callable[[int], KernelEnv]
    script: Callable[[int, int], float]
    horizon: int
    replications: int


def _anonymous(name: str, policy: KernelPolicy, script: Callable[..., float]) -> _Pair:
    bound = partial(script, means=click_rates(_ARMS))
    return _Pair(name, policy, partial(bernoulli, _ARMS), bound, _HORIZON, _REPLICATIONS)


def _linear(name: str, policy: KernelPolicy, script: Callable[..., float]) -> _Pair:
    bound = partial(script, p=_SMALL.p, features=_SMALL.features)
    return _Pair(name, policy, _SMALL.world, bound, _SMALL_HORIZON, _SMALL_REPLICATIONS)


_PAIRS = (
    _anonymous("UCB1", UCB1(), user_scripts.ucb1),
    _anonymous("EpsilonGreedy", EpsilonGreedy(0.1), user_scripts.epsilon_greedy),
    _anonymous("BetaThompson", BetaThompson(), user_scripts.beta_thompson),
    _anonymous("Exp3", Exp3(0.1), user_scripts.exp3),
    _linear("LinUCB, as written", LinUCB(), user_scripts.linucb),
    _linear("LinUCB, inverses kept", LinUCB(), user_scripts.linucb_with_inverses),
    _linear("LinearThompson, as written", LinearThompson(), user_scripts.linear_thompson),
    _linear("LinearThompson, projected", LinearThompson(), user_scripts.linear_thompson_by_projection),
)


def agreement_table() -> str:
    """Mean regret of every user script and of the engine, in Markdown.

    Raises:
        RuntimeError: When a script and the engine differ by more than five standard errors.
    """
    rows, wrong = [], []
    for pair in _PAIRS:
        script = np.array([pair.script(pair.horizon, seed) for seed in range(pair.replications)])
        env = pair.world(_ENGINE_REPLICATIONS)
        engine = simulate(env, pair.policy, horizon=pair.horizon, seed=0, snapshots=2).regret[-1]
        errors = [regret.std(ddof=1) / np.sqrt(len(regret)) for regret in (script, engine)]
        distance = abs(script.mean() - engine.mean()) / np.hypot(*errors)
        rows.append(
            (
                pair.name,
                f"{script.mean():.2f} ± {errors[0]:.2f}",
                f"{engine.mean():.2f} ± {errors[1]:.2f}",
                f"{distance:.1f}",
            )
        )
        if not distance <= _MOST_STANDARD_ERRORS:
            wrong.append(pair.name)
    result = table(("user script", "regret, script", "regret, engine", "standard errors apart"), rows)
    if wrong:
        raise RuntimeError(f"User scripts and engine play differently: {', '.join(wrong)}.\n\n{result}")
    return result
