"""Rounds a second of every policy: against NumPy scripts, against what a round must cost, and on several threads."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

from bandits import KernelPolicy, simulate
from bandits.engine.simulation import available_cores
from benchmarks import lower_bounds, user_scripts
from benchmarks.agreement import agreement_table
from benchmarks.measure import Settings, Times, race, say, settings_of
from benchmarks.report import Target, at_least, at_most, conditions, table, targets_table
from benchmarks.worlds import Audience, bernoulli, click_rates
from envs import KernelEnv
from policies import UCB1, ABTest, BetaThompson, BranchTest, EpsilonGreedy, Exp3, FixedSplit, LinearThompson, LinUCB

_CORES = available_cores()
_REPLICATIONS = max(8, 4 * _CORES)
_THREADS = sorted({1, min(2, _CORES), _CORES})
_USER_KERNELS = Path(__file__).parent.parent / "tests" / "policies" / "test_user_kernels.py"

Run = Callable[[int], object]


@dataclass(frozen=True)
class Case:
    """A policy in a world, and what it is measured against.

    Attributes:
        name: Of the policy.
        size: Of the problem.
        policy: The policy.
        env: The world, with the replications that are played.
        script: Plays rounds of the obvious NumPy script; None where there is none.
        better_script: Plays rounds of the better script.
        bound: Does for so many rounds what a round must cost.
    """

    name: str
    size: str
    policy: KernelPolicy
    env: KernelEnv
    script: Run | None = None
    better_script: Run | None = None
    bound: Run | None = None


@dataclass
class Result:
    """What was measured of a case: seconds per round by thread count, and of its rivals."""

    case: Case
    threads: dict[int, Times]
    rivals: dict[str, Times] = field(default_factory=dict)

    def times_as_fast(self, rival: str) -> float | None:
        """How many of the rival's rounds fit into one of the engine's on one thread, inverted."""
        return self.rivals[rival].median / self.threads[1].median if rival in self.rivals else None


def _script(play: Callable[..., float], **world: object) -> Run:
    return lambda rounds: play(rounds, 0, **world)


def _module_from(file: Path) -> ModuleType:
    """A module that lies outside of every package."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # where Numba looks for it when it reads compiled code from the cache
    spec.loader.exec_module(module)
    return module


def _bandit_cases() -> list[Case]:
    simple: tuple[tuple[KernelPolicy, Callable[..., float] | None, Callable[[int], Run]], ...] = (
        (UCB1(), user_scripts.ucb1, lower_bounds.ucb1),
        (EpsilonGreedy(0.1), user_scripts.epsilon_greedy, lower_bounds.epsilon_greedy),
        (BetaThompson(), user_scripts.beta_thompson, lower_bounds.beta_thompson),
        (Exp3(0.1), user_scripts.exp3, lower_bounds.exp3),
        (FixedSplit(), None, lower_bounds.fixed_split),
    )
    cases = []
    for arms in (10, 100):
        for policy, script, bound in simple:
            cases.append(
                Case(
                    type(policy).__name__,
                    f"K = {arms}",
                    policy,
                    bernoulli(arms, _REPLICATIONS),
                    script and _script(script, means=click_rates(arms)),
                    None,
                    bound(arms),
                )
            )
    plain = partial(Case, size="K = 10", env=bernoulli(10, _REPLICATIONS))
    return [
        *cases,
        plain("UCB1 as a user's kernel", policy=_module_from(_USER_KERNELS).UsersUCB1()),
        plain("ABTest", policy=ABTest(visitors=1000)),
        plain("BranchTest of two UCB1", policy=BranchTest({"a": UCB1(), "b": UCB1(0.5)}, ABTest(10**9))),
    ]


def _linear_cases() -> list[Case]:
    cases = []
    for dimensions in (32, 64):
        audience = Audience(users=200, arms=10, dimensions=dimensions)
        users = partial(_script, p=audience.p, features=audience.features)
        size, env = f"K = 10, D = {dimensions}", audience.world(_REPLICATIONS)
        cases += [
            Case(
                "LinUCB, disjoint",
                size,
                LinUCB(),
                env,
                users(user_scripts.linucb),
                users(user_scripts.linucb_with_inverses),
                lower_bounds.linucb(10, audience.features),
            ),
            Case(
                "LinearThompson, disjoint",
                size,
                LinearThompson(),
                env,
                users(user_scripts.linear_thompson),
                users(user_scripts.linear_thompson_by_projection),
                lower_bounds.linear_thompson(10, audience.features),
            ),
        ]
    audience = Audience(users=200, arms=10, dimensions=32)
    product = Case("LinUCB, product", "K = 10, P = 36", LinUCB(features="product"), audience.world(_REPLICATIONS))
    return [*cases, product]


def measured(case: Case, settings: Settings) -> Result:
    """Time a case and its rivals in turn."""

    def engine(threads: int) -> Run:
        return lambda horizon: simulate(case.env, case.policy, horizon=horizon, seed=1, threads=threads)

    rivals: Mapping[str, Run | None] = {
        "script": case.script,
        "better script": case.better_script,
        "bound": case.bound,
    }
    contestants = {str(threads): engine(threads) for threads in _THREADS}
    times = race(contestants | {name: run for name, run in rivals.items() if run}, settings)
    per_round = {threads: times[str(threads)].per(case.env.num_envs) for threads in _THREADS}
    return Result(case, per_round, {name: times[name] for name in rivals if name in times})


def _row(result: Result) -> tuple[str, ...]:
    one = result.threads[1]
    bound = result.times_as_fast("bound")
    return (
        result.case.name,
        result.case.size,
        *(times.millions_a_second() for times in result.threads.values()),
        *(f"{one.median / times.median:.2f}" for threads, times in result.threads.items() if threads > 1),
        _factor(result.times_as_fast("script")),
        _factor(result.times_as_fast("better script")),
        _factor(1.0 / bound if bound else None),
    )


def _factor(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _targets(results: Mapping[tuple[str, str], Result]) -> list[Target]:
    targets = []
    for name, size, asked in (
        ("UCB1", "K = 10", 120.0),
        ("EpsilonGreedy", "K = 10", 120.0),
        ("BetaThompson", "K = 10", 50.0),
        ("LinUCB, disjoint", "K = 10, D = 32", 60.0),
        ("LinearThompson, disjoint", "K = 10, D = 32", 1000.0),
    ):
        result = results[name, size]
        script = result.rivals["script"]
        bound = (
            f"the engine plays {1e-6 / result.threads[1].median:.3g} million rounds a second, "
            f"the script {1.0 / script.median:,.0f}."
        )
        targets.append(
            at_least(f"{name}: times the user script", asked, script.median / result.threads[1].median, bound)
        )
    for name in ("UCB1", "EpsilonGreedy"):
        result = results[name, "K = 10"]
        engine, least = result.threads[1].median, result.rivals["bound"].median
        bound = f"a round takes {1e9 * engine:.1f} ns, the bound {1e9 * least:.1f} ns."
        targets.append(at_most(f"{name}: times the lower bound", 3.0, engine / least, bound))
    if 2 in _THREADS:
        speed_up = {key: r.threads[1].median / r.threads[2].median for key, r in results.items()}
        worst = min(speed_up, key=lambda key: speed_up[key])
        rows = [key for key in speed_up if speed_up[key] < 1.8]
        bound = f"below 1.8: {'; '.join(f'{name} ({size}) {speed_up[name, size]:.2f}' for name, size in rows)}."
        targets.append(
            at_least(f"two threads: times one, the least ({worst[0]}, {worst[1]})", 1.8, speed_up[worst], bound)
        )
    users, ours = (results[name, "K = 10"].threads[1].median for name in ("UCB1 as a user's kernel", "UCB1"))
    targets.append(at_least("a user's UCB1: times the bundled one", 0.95, ours / users))
    return targets


def report(settings: Settings) -> str:
    """Measure everything here, and write it in Markdown."""
    say("  do the scripts agree with the engine?")
    agreement = agreement_table()
    results = {}
    for case in [*_bandit_cases(), *_linear_cases()]:
        say(f"  {case.name}, {case.size}")
        results[case.name, case.size] = measured(case, settings)
    several = [threads for threads in _THREADS if threads > 1]
    headers = (
        "policy",
        "size",
        "1 thread",
        *(f"{threads} threads" for threads in several),
        *(f"speed-up on {threads}" for threads in several),
        "× user script",
        "× better script",
        "× lower bound",
    )
    return "\n\n".join(
        [
            f"{conditions(settings)} {_REPLICATIONS} replications; a timed run takes at least {settings.seconds:g} s.",
            "Millions of rounds a second. *× user script*: how many times as fast as the NumPy script one thread is; "
            "*× lower bound*: how many times as long a round takes as what it must draw and touch.",
            table(headers, [_row(result) for result in results.values()], text_columns=2),
            targets_table(_targets(results)),
            "The user scripts play the same policies: mean regret with standard errors.",
            agreement,
        ]
    )


if __name__ == "__main__":
    print(report(settings_of(__doc__)))
