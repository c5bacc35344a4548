"""Rounds a second of the fused engine, and how many times an obvious NumPy script does. Run by `make bench`."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable
from time import perf_counter

import numpy as np

from bandits import KernelPolicy, PropensityTable, simulate
from bandits.engine.simulation import available_cores
from envs import BernoulliBandit, KernelEnv, SimulatedUsers
from policies import UCB1, ABTest, BetaThompson, EpsilonGreedy, FixedSplit, LinUCB, PolicySplit

MEANS = np.linspace(0.05, 0.5, 10)
REPETITIONS = 5


def users(dimensions: int) -> Callable[[int], KernelEnv]:
    """200 simulated users with features, and ten arms."""
    rng = np.random.default_rng(0)
    table = PropensityTable.single_world(rng.uniform(0, 0.2, (200, 10)))
    features, arms = rng.normal(size=(200, dimensions)), rng.normal(size=(10, 5))
    return lambda n: SimulatedUsers(table, num_envs=n, user_features=features, arm_features=arms)


def bernoulli(num_envs: int) -> KernelEnv:
    return BernoulliBandit(MEANS, num_envs=num_envs)


CASES: list[tuple[str, Callable[[int], KernelEnv], KernelPolicy, int]] = [
    ("fixed split", bernoulli, FixedSplit(), 500_000),
    ("A/B test", bernoulli, ABTest(visitors=1000), 500_000),
    ("epsilon-greedy", bernoulli, EpsilonGreedy(), 500_000),
    ("UCB1", bernoulli, UCB1(), 500_000),
    ("Beta Thompson", bernoulli, BetaThompson(), 50_000),
    ("split of UCB1 and UCB1", bernoulli, PolicySplit({"a": UCB1(), "b": UCB1(0.5)}, by="visit"), 500_000),
    ("LinUCB, disjoint, D = 32", users(31), LinUCB(), 10_000),
    ("LinUCB, product, P = 36", users(31), LinUCB(features="product"), 10_000),
]


def rounds_per_second(make: Callable[[int], KernelEnv], policy: KernelPolicy, horizon: int, threads: int) -> float:
    """Median over the repetitions, after a run that compiles."""
    env = make(8)
    simulate(env, policy, horizon=10, seed=0)
    rates = []
    for repetition in range(REPETITIONS):
        started = perf_counter()
        simulate(env, policy, horizon=horizon, seed=repetition, threads=threads)
        rates.append(8 * horizon / (perf_counter() - started))
    return statistics.median(rates)


def user_script_ucb1(horizon: int, seed: int) -> float:
    """UCB1 as a data scientist writes it in NumPy: one replication, arrays over the arms."""
    rng = np.random.default_rng(seed)
    pulls, rewards, regret = np.zeros(len(MEANS)), np.zeros(len(MEANS)), 0.0
    for t in range(horizon):
        arm = t if t < len(MEANS) else int(np.argmax(rewards / pulls + np.sqrt(2 * np.log(t) / pulls)))
        reward = rng.random() < MEANS[arm]
        pulls[arm] += 1
        rewards[arm] += reward
        regret += MEANS.max() - MEANS[arm]
    return regret


def main() -> None:
    """Print a Markdown table."""
    cores = available_cores()
    print(f"{platform.processor() or platform.machine()}, {cores} cores, Python {platform.python_version()}; ten arms,")
    print(f"median of {REPETITIONS} runs, millions of rounds a second.\n")
    print(f"| policy | 1 thread | {cores} threads | speed-up |\n|---|--:|--:|--:|")
    ucb = 0.0
    for name, make, policy, horizon in CASES:
        one, many = (rounds_per_second(make, policy, horizon, threads) for threads in (1, cores))
        ucb = one if name == "UCB1" else ucb
        print(f"| {name} | {one / 1e6:.3g} | {many / 1e6:.3g} | {many / one:.2f} |", flush=True)
    times = []
    for repetition in range(REPETITIONS):
        started = perf_counter()
        user_script_ucb1(20_000, repetition)
        times.append(20_000 / (perf_counter() - started))
    script = statistics.median(times)
    print(f"\nUCB1 as a NumPy script: {script:,.0f} rounds a second; the engine is {ucb / script:.0f} times as fast.")


if __name__ == "__main__":
    main()
