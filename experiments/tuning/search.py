"""Which values are tried: all of a grid, random ones, or those that Optuna's tree-structured Parzen estimator proposes.

A search is a function of its space, its seed and the scores that it is told. So it needs no memory of its own: after an
interruption it begins anew, is told the scores that are stored, and proposes what it would have proposed anyway.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Literal

from experiments.tuning.space import Choices, Dimension, Values, draw, grid, keyed

Method = Literal["grid", "random", "bayes"]
Proposals = Generator[Values, float | None, None]


def proposals(space: Mapping[str, Dimension], method: Method, trials: int | None, seed: int) -> Proposals:
    """Yields the values of each trial, and is sent its score: less is better, None where it failed.

    Args:
        space: What may be tried; for a grid, choices only.
        method: `grid`, `random`, or `bayes` (needs Optuna).
        trials: How many; None with a grid, which has a size of its own.
        seed: Decides what is drawn.

    References:
        Bergstra, Bardenet, Bengio & Kégl, "Algorithms for hyper-parameter optimization" (2011), on TPE; Bergstra &
        Bengio, "Random search for hyper-parameter optimization" (2012); Akiba et al., "Optuna" (2019).
    """
    if method == "grid":
        yield from grid(space)
        return
    assert trials is not None
    if method == "bayes":
        yield from _bayes(space, trials, seed)
        return
    for number in range(trials):
        yield draw(space, seed, number)


def _bayes(space: Mapping[str, Dimension], trials: int, seed: int) -> Proposals:
    import optuna  # here: an extra, and other searches need not wait for it

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would say that its study is in memory: so it should be
    sampler = optuna.samplers.TPESampler(seed=int(keyed(seed, "tpe").integers(2**32)))
    study = optuna.create_study(sampler=sampler, direction="minimize")
    distributions = {path: _distribution(dimension) for path, dimension in space.items()}
    for _ in range(trials):
        trial = study.ask(distributions)
        score = yield {path: _value(dimension, trial.params[path]) for path, dimension in space.items()}
        if score is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, score)


def _distribution(dimension: Dimension) -> Any:
    from optuna import distributions

    if isinstance(dimension, Choices):  # by number, since choices may be lists or sections
        return distributions.CategoricalDistribution(range(len(dimension.values)))
    low, high = dimension.ends
    if dimension.int:
        return distributions.IntDistribution(low, high, log=dimension.log)
    return distributions.FloatDistribution(low, high, log=dimension.log)


def _value(dimension: Dimension, drawn: Any) -> Any:
    return dimension.values[drawn] if isinstance(dimension, Choices) else drawn
