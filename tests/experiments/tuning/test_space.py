import math

import numpy as np
import pytest
from scipy import stats

from experiments.tuning.space import Choices, Range, draw, grid, keyed, read_space

SPACE = {
    "a": Range(low=1e-4, high=1.0, log=True),
    "b": Range(low=-2, high=6),
    "c": Range(low=1, high=4, int=True),
    "d": Choices(("x", None, [1, 2])),
}


def test_a_draw_depends_on_seed_number_and_path_alone() -> None:
    whole = draw(SPACE, 7, 3)
    assert draw(dict(reversed(SPACE.items())), 7, 3) == whole
    assert draw({"c": SPACE["c"]}, 7, 3) == {"c": whole["c"]}
    assert draw(SPACE, 7, 4) != whole
    assert draw(SPACE, 8, 3) != whole


def test_draws_have_the_distributions_that_are_promised() -> None:
    drawn = [draw(SPACE, 1, number) for number in range(2_000)]
    logs = np.array([math.log(values["a"]) for values in drawn])
    assert stats.kstest(logs, stats.uniform(math.log(1e-4), -math.log(1e-4)).cdf).pvalue > 0.001
    assert stats.kstest([values["b"] for values in drawn], stats.uniform(-2, 8).cdf).pvalue > 0.001
    whole = [values["c"] for values in drawn]
    assert all(type(value) is int for value in whole)
    assert stats.chisquare([whole.count(value) for value in (1, 2, 3, 4)]).pvalue > 0.001
    chosen = [repr(values["d"]) for values in drawn]
    assert stats.chisquare([chosen.count(repr(value)) for value in SPACE["d"].ends]).pvalue > 0.001


def test_whole_numbers_on_a_logarithm_get_the_half_to_either_side() -> None:
    dimension = Range(low=1, high=3, log=True, int=True)
    drawn = [dimension.draw(keyed(1, number)) for number in range(4_000)]
    shares = np.diff(np.log([0.5, 1.5, 2.5, 3.5])) / math.log(7)
    observed = [drawn.count(value) for value in (1, 2, 3)]
    assert stats.chisquare(observed, 4_000 * shares).pvalue > 0.001


def test_a_grid_has_every_combination_once() -> None:
    found = list(grid({"a": Choices((1, 2, 3)), "b": Choices((True, False))}))
    assert found == [{"a": a, "b": b} for a in (1, 2, 3) for b in (True, False)]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([1], "at least two choices"),
        ([1, 2, 1], "all different"),
        ({"low": 1}, "space.p.high: required, but missing"),
        ({"low": 3, "high": 3}, "`low` must be less than `high`. Got 3 and 3"),
        ({"low": 0.5, "high": 3, "int": True}, "must be whole where `int` is true"),
        ({"low": 0, "high": 3, "log": True}, "`low` must be positive where `log` is true. Got 0"),
        ({"low": 0, "high": 3, "log": True, "int": True}, "`low` must be at least 1 where `log` is true"),
        ({"low": 0, "high": math.inf}, "space.p.high: must be a finite number"),
        ({"low": "a", "high": 3}, "space.p.low: must be a valid number. Got 'a'"),
        ({"low": 0, "high": 3, "logg": True}, "space.p.logg: unknown key. Did you mean `log`?"),
        ("1..3", "must be a list of choices, or a section with low and high. Got '1..3'"),
    ],
)
def test_a_dimension_that_cannot_be_used_is_named(raw: object, message: str) -> None:
    space, problems = read_space({"p": raw, "q": [1, 2]})
    assert list(space) == ["q"]
    assert message in "\n".join(map(str, problems))


def test_choices_that_only_python_finds_equal_differ() -> None:
    space, problems = read_space({"p": [1, True, 1.0]})
    assert problems == []
    assert space["p"].ends == (1, True, 1.0)
