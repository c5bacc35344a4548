import math

import numpy as np

from experiments.tuning.search import Method, proposals
from experiments.tuning.space import Choices, Range, Values, draw

SPACE = {"x": Range(low=-3, high=3), "n": Range(low=1, high=64, log=True, int=True), "kind": Choices(([1], "b", None))}


def score_of(values: Values) -> float:
    return (values["x"] - 1) ** 2 + math.log(values["n"] / 8) ** 2 + (values["kind"] != "b")


def played(method: Method, trials: int, seed: int, failing: int | None = None) -> list[Values]:
    found: list[Values] = []
    proposed = proposals(SPACE, method, trials, seed)
    score = None
    while True:
        try:
            found.append(proposed.send(score))
        except StopIteration:
            return found
        score = None if len(found) == failing else score_of(found[-1])


def test_random_trials_are_the_keyed_draws() -> None:
    assert played("random", 5, 9) == [draw(SPACE, 9, number) for number in range(5)]


def test_bayes_is_a_function_of_seed_and_scores() -> None:
    long = played("bayes", 20, 4)
    assert played("bayes", 15, 4) == long[:15]
    assert played("bayes", 20, 5) != long
    other = played("bayes", 20, 4, failing=3)
    assert other[:3] == long[:3]
    assert len(other) == 20


def test_bayes_stays_inside_the_space_and_learns() -> None:
    better = []
    for seed in range(5):
        guided = played("bayes", 60, seed)
        assert all(-3 <= v["x"] <= 3 and v["n"] in range(1, 65) and v["kind"] in ([1], "b", None) for v in guided)
        blind = [score_of(draw(SPACE, seed, number)) for number in range(60)]
        better.append(np.mean([score_of(values) for values in guided[30:]]) < np.mean(blind[30:]))
    assert all(better)
