"""Linear Thompson on a device: rounds a second, the share of the memory's speed, and the ratio to the CPU's cores.

`python -m benchmarks.device` is a small trial on a CPU; on a GPU the sizes of the target are
`python -m benchmarks.device --device cuda -N 100000 -K 20 -D 64`.
"""

from __future__ import annotations

import argparse
import statistics
from time import perf_counter

import numpy as np
import torch

import policies
from bandits import Policy, PropensityTable, simulate
from bandits.engine.simulation import available_cores
from bandits.torch_device import choose_device
from envs import SimulatedUsers
from policies.neural import NeuralGreedy, TorchLinearThompson

REPETITIONS = 5
USERS = 1000


def users(num_envs: int, num_arms: int, dimensions: int) -> SimulatedUsers:
    """Simulated users with features, and so many arms."""
    rng = np.random.default_rng(0)
    table = PropensityTable.single_world(rng.uniform(0, 0.2, (USERS, num_arms)))
    return SimulatedUsers(table, num_envs=num_envs, user_features=rng.normal(size=(USERS, dimensions)))


def seconds_a_round(env: SimulatedUsers, policy: Policy, rounds: int, device: str | None) -> float:
    """Median over the repetitions of what `rounds` more rounds cost: beginning, compiling and capturing cancel out."""
    engine = "auto" if device is None else "torch"

    def seconds(horizon: int) -> float:
        began = perf_counter()
        simulate(env, policy, horizon=horizon, seed=0, snapshots=2, engine=engine, device=device)
        return perf_counter() - began

    few = 10
    seconds(few)
    return statistics.median((seconds(few + rounds) - seconds(few)) / rounds for _ in range(REPETITIONS))


def read_speed(device: torch.device, size: int) -> float:
    """Bytes a second at which the device sums up a tensor of `size` bytes, the best of the repetitions."""
    tensor = torch.ones(size // 4, device=device)
    best = 0.0
    for _ in range(REPETITIONS):
        float(tensor.sum())
        began = perf_counter()
        for _ in range(10):
            total = tensor.sum()
        float(total)  # waits for the device
        best = max(best, 10 * tensor.nbytes / (perf_counter() - began))
    return best


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("-N", type=int, default=500, help="replications")
    parser.add_argument("-K", type=int, default=20, help="arms")
    parser.add_argument("-D", type=int, default=64, help="user features")
    parser.add_argument("--rounds", type=int, default=50, help="rounds of each measurement")
    parser.add_argument("--cpu-replications", type=int, default=64, help="replications of the CPU's compiled loop")
    sizes = parser.parse_args()
    device = choose_device(sizes.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{name}; N = {sizes.N}, K = {sizes.K}, D = {sizes.D}; median of {REPETITIONS} runs.\n")
    env = users(sizes.N, sizes.K, sizes.D)
    width = sizes.D + 1
    packed = sizes.N * sizes.K * width * (width + 1) // 2 * 4  # what is kept of the inverses, and read in a round
    whole = sizes.N * sizes.K * width * width * 4  # what full matrices would take
    speed = read_speed(device, min(packed, 2**33))
    linear = seconds_a_round(env, TorchLinearThompson(), sizes.rounds, sizes.device)
    neural = seconds_a_round(env, NeuralGreedy(), sizes.rounds, sizes.device)
    print("| policy | rounds a second | ms for a round of all replications |\n|---|--:|--:|")
    print(f"| linear Thompson | {sizes.N / linear:,.0f} | {linear * 1e3:.2f} |")
    print(f"| neural epsilon-greedy | {sizes.N / neural:,.0f} | {neural * 1e3:.2f} |\n")
    print(f"Reading memory: {speed / 1e9:,.1f} GB/s. Linear Thompson must read {packed / 1e9:.2f} GB in a round:")
    print(f"{packed / linear / speed:.0%} of that speed ({whole / linear / speed:.0%} if matrices were kept whole).")
    if hasattr(policies, "LinearThompson"):
        small = users(sizes.cpu_replications, sizes.K, sizes.D)
        compiled = seconds_a_round(small, policies.LinearThompson(), sizes.rounds * 20, None)
        rate = sizes.cpu_replications / compiled
        ratio = sizes.N / linear / rate
        print(f"The compiled loop on {available_cores()} cores: {rate:,.0f} rounds a second; the device is {ratio:.2f}")
        print("times as fast.")


if __name__ == "__main__":
    main()
