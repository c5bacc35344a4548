"""The loop on the device: arrivals, features, policy, clicks and regret, without waiting between two snapshots."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from bandits.core import IntArray, Policy, Problem
from bandits.memory import array_bytes, require_memory
from bandits.results import empty_results, trace_of, wrong_arm
from bandits.table_world import TableWorld
from bandits.torch_device import free_device_memory
from bandits.torch_engine.policy import TorchFeedback, TorchPolicy
from bandits.torch_engine.random import TorchStreams, policy_keys
from bandits.torch_engine.world import DeviceWorld, world_bytes
from bandits.trace import Trace

Round = Callable[[], None]
Recorder = Callable[[Round], Round]

_WARM_UP = 3  # rounds before the capture, as torch's notes on CUDA graphs do it: libraries set themselves up in them


@torch.no_grad()
def play_on_device(
    table: TableWorld,
    problem: Problem,
    policy: TorchPolicy,
    rounds: IntArray,
    seed: int,
    first: int,
    stream: int,
    device: torch.device,
) -> Trace:
    """Play `problem.num_envs` replications of a table world on a device.

    Args:
        table: The world.
        problem: What the policy may know.
        policy: The policy; it keeps what it learned.
        rounds: Rounds after which a snapshot is taken, shape (C,); the last is the horizon.
        seed: Seed of the simulation.
        first: Number of the first replication.
        stream: Number of the policy's random stream.
        device: Where to play.

    Raises:
        ValueError: When memory does not suffice, the policy stops or cannot play this problem, or it chooses an arm
            that does not exist or is not available.
    """
    if type(policy).stop is not Policy.stop:
        raise ValueError(f"`engine` must be lockstep for a policy that stops. Got torch for {policy!r}.")
    _require_memory(table, problem, policy, len(rounds), device)
    with _side_stream(device):
        return _play(table, problem, policy, rounds, seed, first, stream, device)


def _play(
    table: TableWorld,
    problem: Problem,
    policy: TorchPolicy,
    rounds: IntArray,
    seed: int,
    first: int,
    stream: int,
    device: torch.device,
) -> Trace:
    world = DeviceWorld(table, problem.num_envs, seed, first, device)
    keys = policy_keys(seed, world.replications, stream)
    policy.reset_on(problem, TorchStreams(keys, torch.zeros_like(keys)))
    names = tuple(policy.record())
    results = empty_results(problem, len(rounds), len(names))
    game = _Game(world, problem, policy)
    player = _Rounds(game.play_round, _cuda_graph if device.type == "cuda" and policy.capturable else None)
    played = 0
    for snapshot, end in enumerate(rounds):
        player.play(int(end) - played)
        played = int(end)
        game.raise_wrong_arm(first)
        results.regret[snapshot] = game.regret.cpu().numpy()
        results.regret_fixed[snapshot] = game.regret_fixed.cpu().numpy()
        results.reward[snapshot] = game.reward.cpu().numpy()
        results.outcomes[snapshot, :, 0] = results.reward[snapshot]
        results.traffic[snapshot] = game.pulls.sum(dim=0).cpu().numpy()
        for row, value in enumerate(policy.record().values()):
            results.records[row, snapshot] = value
    results.pulls[:] = game.pulls.cpu().numpy()
    if (recommended := policy.recommend()) is not None:
        results.recommended[:] = recommended
    return trace_of(results, rounds, world.world.cpu().numpy(), first, problem, names)


class _Game:
    """The score of all replications, and one round of play. Everything changes in place, so a round can be captured."""

    def __init__(self, world: DeviceWorld, problem: Problem, policy: TorchPolicy) -> None:
        self._world, self._policy = world, policy
        self._size, self._num_arms = problem.num_envs, problem.num_arms
        device = world.world.device
        self._round = torch.zeros((), dtype=torch.int64, device=device)
        self._rows = torch.arange(self._size, device=device)
        self.regret, self.regret_fixed, self.reward = torch.zeros(3, self._size, dtype=torch.float64, device=device)
        self.pulls = torch.zeros(self._size, self._num_arms, dtype=torch.int64, device=device)
        self._wrong_round = torch.full_like(self._rows, -1)
        self._wrong_arm = torch.zeros_like(self._rows)

    def play_round(self) -> None:
        """Play the next round in every replication."""
        visit = self._world.arrive(self._round)
        chosen = self._checked(self._policy.choose(visit.context), visit.context.available)
        answer = self._world.respond(visit, chosen)
        outcomes = answer.click[:, None]
        self._policy.learn(TorchFeedback(self._rows, visit.context, chosen, outcomes, answer.click, None))
        self.regret += answer.best - answer.mean
        self.regret_fixed += answer.fixed - answer.mean
        self.reward += answer.click
        self.pulls.scatter_add_(1, chosen[:, None], torch.ones_like(chosen[:, None]))
        self._round += 1

    def _checked(self, chosen: Tensor, available: Tensor) -> Tensor:
        """The arms; where one must not be chosen, this is noted and play goes on with another until the snapshot."""
        if chosen.shape != (self._size,) or chosen.dtype != torch.int64:
            raise ValueError(
                f"{self._policy!r} must choose an int64 tensor of shape ({self._size},). "
                f"Got {chosen.dtype} of shape {tuple(chosen.shape)}."
            )
        exists = (chosen >= 0) & (chosen < self._num_arms)
        allowed = exists & available.gather(1, chosen.where(exists, 0)[:, None])[:, 0]
        news = ~allowed & (self._wrong_round < 0)
        self._wrong_round.copy_(self._round.where(news, self._wrong_round))
        self._wrong_arm.copy_(chosen.where(news, self._wrong_arm))
        return chosen.where(allowed, available.byte().argmax(dim=1))

    def raise_wrong_arm(self, first: int) -> None:
        """Raise for the first arm that must not have been chosen, if there was one."""
        rounds = self._wrong_round.cpu().numpy()
        if (rounds < 0).all():
            return
        round = int(rounds[rounds >= 0].min())
        n = int(np.flatnonzero(rounds == round)[0])
        arm = int(self._wrong_arm[n])
        exists = 0 <= arm < self._num_arms
        raise wrong_arm(repr(self._policy), arm, self._num_arms, first + n, round, exists=exists)


class _Rounds:
    """Plays rounds by calling a function, and, where there is a recorder, by replaying what it recorded of one call.

    Args:
        play_round: Plays one round.
        record: From `play_round` to a function that plays a round in its place; None to call it always.
    """

    def __init__(self, play_round: Round, record: Recorder | None) -> None:
        self._play_round, self._record, self._called = play_round, record, 0

    def play(self, count: int) -> None:
        """Play `count` rounds."""
        for _ in range(count):
            if self._called == _WARM_UP and self._record is not None:
                self._play_round = self._record(self._play_round)
            self._play_round()
            self._called += 1


def _cuda_graph(play_round: Round) -> Round:
    """A round as a CUDA graph, see "CUDA Graphs" in torch's notes on CUDA semantics. Capturing does not play it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        play_round()
    return graph.replay


def _side_stream(device: torch.device) -> AbstractContextManager[object]:
    """Where to play on a GPU: what a graph shall capture must not have begun on the default stream."""
    if device.type != "cuda":
        return nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]


def _require_memory(
    table: TableWorld, problem: Problem, policy: TorchPolicy, snapshots: int, device: torch.device
) -> None:
    """Say what does not fit, on the device and on the host, before anything is begun."""
    size, arms = problem.num_envs, problem.num_arms
    on_device = policy.bytes_needed(problem) + world_bytes(table, problem)
    on_host = array_bytes([(snapshots, size, 3 + len(problem.outcome_names)), (size, arms)])
    sizes = f"{size:,} replications of {arms:,} arms with {problem.user_dim} user features"
    if device.type == "cuda":
        require_memory(f"{policy!r} in {sizes} on {device}", on_device, free_device_memory(device))
        require_memory(f"{snapshots} snapshots of {sizes}", on_host)
    else:
        require_memory(f"{policy!r} and {snapshots} snapshots in {sizes}", on_device + on_host)
