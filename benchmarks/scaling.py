"""What a simulation costs as N, T and K grow."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np

from bandits import KernelPolicy, simulate
from benchmarks.figures import Line, Panel, log_log_figure
from benchmarks.measure import Settings, race, say, settings_of, size_for
from benchmarks.report import Target, conditions, table, targets_table
from benchmarks.worlds import Audience, bernoulli
from envs import KernelEnv
from policies import UCB1, BetaThompson, LinUCB

_REPLICATIONS, _TEN_ARMS = 8, 10
_MULTIPLES = (1, 2, 3, 5, 8)
_ARMS = (5, 10, 20, 50, 100, 200)
_FEATURES = 32
_ALLOWED = 0.03


class Player(NamedTuple):
    """A policy and the worlds that it is timed in: `world(K, N)`."""

    name: str
    policy: KernelPolicy
    world: Callable[[int, int], KernelEnv]


class Growth(NamedTuple):
    """How the cost of one policy grows with one size.

    Attributes:
        what: The letter of that size.
        line: Medians over the runs, and the slope of the least-squares line through their logarithms.
        exponents: The slope of each run alone.
    """

    what: str
    line: Line
    exponents: tuple[float, ...]


def _users(arms: int, num_envs: int) -> KernelEnv:
    return Audience(users=200, arms=arms, dimensions=_FEATURES).world(num_envs)


_PLAYERS = (
    Player("UCB1", UCB1(), bernoulli),
    Player("BetaThompson", BetaThompson(), bernoulli),
    Player(f"LinUCB, D = {_FEATURES}", LinUCB(), _users),
)


def growth_with_replications_and_rounds(player: Player, settings: Settings) -> tuple[Growth, Growth]:
    """By N seconds per 1,000 rounds, by T seconds, of simulations with ten arms on one thread.

    The shortest takes half of `settings.seconds`. By T a single replication is played, so that T is long beside the
    rounds in which a policy knows little: drawing from a wide posterior costs more.
    """
    single, base = player.world(_TEN_ARMS, 1), player.world(_TEN_ARMS, _REPLICATIONS)
    horizon = size_for(lambda rounds: _seconds(base, player.policy, rounds), settings.seconds / 2)
    horizons = [multiple * _REPLICATIONS * horizon for multiple in _MULTIPLES]
    worlds = [player.world(_TEN_ARMS, multiple * _REPLICATIONS) for multiple in _MULTIPLES]
    thousands = horizon / 1000
    by_replications, by_rounds = [], []
    for _ in range(settings.runs):
        by_replications.append([_seconds(world, player.policy, horizon) / thousands for world in worlds])
        by_rounds.append([_seconds(single, player.policy, rounds) for rounds in horizons])
    return (
        _growth("N", player, [multiple * _REPLICATIONS for multiple in _MULTIPLES], by_replications),
        _growth("T", player, horizons, by_rounds),
    )


def growth_with_arms(player: Player, settings: Settings) -> Growth:
    """Nanoseconds per round on one thread."""
    worlds = {arms: player.world(arms, _REPLICATIONS) for arms in _ARMS}

    def contestant(world: KernelEnv) -> Callable[[int], object]:
        return lambda horizon: _seconds(world, player.policy, horizon)

    times = race({str(arms): contestant(world) for arms, world in worlds.items()}, settings)
    runs = np.array([times[str(arms)].seconds for arms in _ARMS]).T * 1e9 / _REPLICATIONS
    return _growth("K", player, _ARMS, runs.tolist())


def _seconds(world: KernelEnv, policy: KernelPolicy, horizon: int) -> float:
    started = perf_counter()
    simulate(world, policy, horizon=horizon, seed=1, threads=1)
    return perf_counter() - started


def _growth(what: str, player: Player, sizes: Sequence[int], runs: Sequence[Sequence[float]]) -> Growth:
    """Growth from the costs (R, M) of `R` runs at `M` sizes."""
    medians = [statistics.median(costs) for costs in zip(*runs, strict=True)]
    return Growth(
        what, Line(player.name, sizes, medians, _slope(sizes, medians)), tuple(_slope(sizes, c) for c in runs)
    )


def _slope(sizes: Sequence[int], costs: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def _row(growth: Growth) -> tuple[str, ...]:
    line = growth.line
    return (
        line.name,
        growth.what,
        f"{line.x[0]:,} to {line.x[-1]:,}",
        f"{line.exponent:.3f} ({min(growth.exponents):.3f} to {max(growth.exponents):.3f})",
    )


def _target(growth: Growth) -> Target:
    exponent = growth.line.exponent
    smallest, *others = (y / x for x, y in zip(growth.line.x, growth.line.y, strict=True))
    costs = ", ".join(f"{other / smallest - 1.0:+.1%}" for other in others)
    sizes = ", ".join(f"{x:,}" for x in growth.line.x[1:])
    return Target(
        f"{growth.line.name}: exponent of {growth.what}",
        f"1.00 ± {_ALLOWED}",
        f"{exponent:.3f}",
        abs(exponent - 1.0) <= _ALLOWED,
        f"beside that at {growth.line.x[0]:,}, a round at {sizes} costs {costs}.",
    )


def report(settings: Settings) -> str:
    """Measure everything here, draw it, and write it in Markdown."""
    growths: list[Growth] = []
    for player in _PLAYERS:
        say(f"  {player.name} by N and T")
        growths += growth_with_replications_and_rounds(player, settings)
    for player in _PLAYERS:
        say(f"  {player.name} by K")
        growths.append(growth_with_arms(player, settings))
    parts = [
        f"{conditions(settings)} One thread; ten arms where K does not vary; one replication where T "
        f"varies, {_REPLICATIONS} where K does.",
        "Cost = constant × size ^ exponent, fitted by least squares to the logarithms of the medians; in brackets the "
        "exponents of single runs. By K it is the cost of a round, of which a part does not depend on K.",
        table(("policy", "size", "from, to", "exponent"), [_row(growth) for growth in growths], text_columns=2),
        targets_table([_target(growth) for growth in growths if growth.what != "K"]),
    ]
    if settings.images:
        of = {what: [growth.line for growth in growths if growth.what == what] for what in "NTK"}
        panels = [
            Panel("replications N", "seconds per 1,000 rounds", of["N"], of["N"][0].x),
            Panel("rounds T", "seconds", of["T"]),
            Panel("arms K", "nanoseconds per round", of["K"], _ARMS),
        ]
        parts.append(log_log_figure(panels, settings.images / "scaling.svg", "Cost against N, T and K"))
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(report(settings_of(__doc__)))
