"""The parts that a round is made of: normal and Beta numbers, and the choice of LinUCB, against NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandits import Problem, ScalarContext, State
from bandits.machine_code import jit
from bandits.random import RandomState
from bandits.variates import betas, normals
from benchmarks.measure import Settings, Times, aligned, race, say, settings_of
from benchmarks.report import Target, at_least, conditions, table, targets_table
from benchmarks.worlds import posterior
from policies import LinUCB

FloatArray = NDArray[np.float64]
_ROWS = 1000  # NumPy draws so many times K numbers in one call
_ARMS = 10


class Match(NamedTuple):
    """Our way and NumPy's to do the same.

    Attributes:
        what: What is done.
        size: For how many arms and features.
        ours: Does it for K arms, so many times.
        numpys: Does it for `rows` times K arms, so many times.
        rows: How much more NumPy does in one call.
        per_round: How many draws or choices one of ours counts for.
        asked: How many times as fast ours should be; None where nothing was asked.
    """

    what: str
    size: str
    ours: Callable[[int], object]
    numpys: Callable[[int], object]
    rows: int
    per_round: int
    asked: float | None = None


@jit
def _many_normals(times: int, out: FloatArray, random: RandomState) -> None:
    for _ in range(times):
        normals(out, random)


@jit
def _many_betas(times: int, a: FloatArray, b: FloatArray, out: FloatArray, random: RandomState) -> None:
    for _ in range(times):
        betas(a, b, out, random)


def _repeated(call: Callable[[], object]) -> Callable[[int], object]:
    def repeat(times: int) -> None:
        for _ in range(times):
            call()

    return repeat


def _normals(arms: int) -> Match:
    out, random, rng = aligned(np.zeros(arms)), _random(), np.random.default_rng(1)
    ours, numpys = lambda times: _many_normals(times, out, random), lambda: rng.standard_normal((_ROWS, arms))
    return Match("normal number", f"K = {arms}", ours, _repeated(numpys), _ROWS, arms)


def _betas(what: str, a: FloatArray, b: FloatArray, asked: float | None = None) -> Match:
    arms = len(a)
    a, b, out = map(aligned, (a, b, np.zeros(arms)))
    random, rng = _random(), np.random.default_rng(1)
    ours, numpys = lambda times: _many_betas(times, a, b, out, random), lambda: rng.beta(a, b, (_ROWS, arms))
    return Match(f"Beta number, {what}", f"K = {arms}", ours, _repeated(numpys), _ROWS, arms, asked)


def _choices(dimensions: int) -> Match:
    """LinUCB's choice with `D` features and a constant, against a product of `K` matrices (D, D) and a vector."""
    policy, rng = LinUCB(), np.random.default_rng(1)
    layout = policy.layout(Problem(1, _ARMS, user_dim=dimensions))
    shapes = ((layout.arm, _ARMS), (layout.shared,), (layout.work,))
    state = State(np.array(layout.params), *(aligned(np.zeros(shape)) for shape in shapes))
    user, available = rng.normal(size=dimensions), np.ones(_ARMS, dtype=np.bool_)
    context = ScalarContext(0, -1, 0.0, user, np.zeros((_ARMS, 0)), available, np.zeros(0))
    random, kernel = _random(), policy.kernel.link(jit)
    assert kernel.start is not None
    kernel.start(state, random)
    select = kernel.select

    @jit
    def choose(times: int, state: State, context: ScalarContext, random: RandomState) -> int:
        chosen = 0
        for _ in range(times):
            chosen += select(state, context, random)
        return chosen

    matrices, x = rng.normal(size=(_ARMS, dimensions, dimensions)), rng.normal(size=dimensions)
    ours, numpys = lambda times: choose(times, state, context, random), lambda: matrices.reshape(-1, dimensions) @ x
    return Match("choice of LinUCB, disjoint", f"K = {_ARMS}, D = {dimensions}", ours, _repeated(numpys), 1, 1, 1.0)


def _target(match: Match, ours: Times, numpys: Times) -> Target:
    bound = f"{1e9 * ours.median:.3g} ns each, NumPy's {1e9 * numpys.median:.3g} ns."
    what = f"{match.what}, {match.size}: times as fast as NumPy's"
    assert match.asked is not None
    return at_least(what, match.asked, numpys.median / ours.median, bound)


def report(settings: Settings) -> str:
    """Measure everything here, and write it in Markdown."""
    thompsons, small = "as Thompson sampling draws it", np.full(_ARMS, 0.3)
    results = []
    for match in (
        _normals(10),
        _normals(100),
        _betas(thompsons, *posterior(10), asked=3.0),
        _betas(thompsons, *posterior(100), asked=3.0),
        _betas("a = 0.3 and b = 5", small, np.full(_ARMS, 5.0)),
        _betas("a = 0.3 and b = 0.6", small, 2.0 * small),
        _choices(32),
        _choices(64),
    ):
        say(f"  {match.what}, {match.size}")
        times = race({"ours": match.ours, "numpys": match.numpys}, settings)
        ours, numpys = times["ours"].per(match.per_round), times["numpys"].per(match.per_round * match.rows)
        results.append((match, ours, numpys))
    rows = [
        (match.what, match.size, ours.nanoseconds(), numpys.nanoseconds(), f"{numpys.median / ours.median:.2f}")
        for match, ours, numpys in results
    ]
    return "\n\n".join(
        [
            conditions(settings),
            "Nanoseconds for each number or choice, on one thread. NumPy draws with `Generator.standard_normal` and "
            f"`Generator.beta`, {_ROWS:,} times K numbers in one call; beside LinUCB's choice stands "
            "`A.reshape(K * D, D) @ x`, of which the choice needs as much and more.",
            table(("what", "size", "ours", "NumPy", "times as fast"), rows, text_columns=2),
            targets_table([_target(*result) for result in results if result[0].asked]),
        ]
    )


def _random() -> RandomState:
    return np.array([1, 0], dtype=np.uint64)


if __name__ == "__main__":
    print(report(settings_of(__doc__)))
