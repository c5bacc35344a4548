"""Policies written over torch tensors, for a GPU or a CPU."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bandits.core import Context, Feedback, IntArray, Policy, Problem
from bandits.memory import require_memory
from bandits.random_streams import RandomStreams
from bandits.torch_device import choose_device, free_device_memory
from bandits.torch_engine.random import TorchStreams


class TorchContext(NamedTuple):
    """What a policy sees when it chooses: `bandits.Context` as tensors of one device.

    Attributes:
        round: Number of the visit, int64, shape (N,).
        user_id: Index of the visiting user; -1 when she is anonymous, int64, shape (N,).
        time: Days since the start, float64, shape (N,).
        user: User features, float64, shape (N, D).
        arms: Arm features, float64, shape (N, K, E); an expanded view where they are the same for all.
        available: Whether each arm may be chosen, bool, shape (N, K).
        prior: Predicted mean rewards, float64, shape (N, K); None where there are none.
    """

    round: Tensor
    user_id: Tensor
    time: Tensor
    user: Tensor
    arms: Tensor
    available: Tensor
    prior: Tensor | None


class TorchFeedback(NamedTuple):
    """What comes back: `bandits.Feedback` as tensors, with at most one row for each replication.

    Attributes:
        rows: Replication (0 .. N-1) of each row, each at most once, int64, shape (B,).
        context: What the policy saw when it chose, `B` rows.
        chosen: Arms that were chosen, int64, shape (B,).
        outcomes: What happened, float64, shape (B, J).
        reward: The number to maximise, float64, shape (B,).
        propensity: Probability with which the policy had chosen as it did, float64, shape (B,); None when unknown.
    """

    rows: Tensor
    context: TorchContext
    chosen: Tensor
    outcomes: Tensor
    reward: Tensor
    propensity: Tensor | None


class TorchPolicy(Policy):
    """A policy over `N` replications whose state lies on a torch device.

    A subclass writes `reset_on`, `choose` and `learn`. The `torch` engine calls these and keeps the whole loop on the
    device; every other caller finds an ordinary `Policy`, which moves NumPy arrays to `device` and arms back.

    `choose` and `learn` must not wait for the device (no `.item()`, no `if` on a tensor, no masks as indices). A class
    that sets `capturable` promises two things more, which let a GPU replay one recorded round as a CUDA graph: state
    changes in place (`self.sums += ...`, never `self.sums = self.sums + ...`), and no Python number changes from round
    to round.

    Attributes:
        capturable: Whether a round can be captured.
        device: Where the policy computes when it is not the `torch` engine that calls it: `auto`, `cpu` or `cuda`.
    """

    capturable: bool = False
    device: str = "cpu"

    @abstractmethod
    def reset_on(self, problem: Problem, random: TorchStreams) -> None:
        """Forget everything and get ready for a problem, with all state on `random.device`.

        Args:
            problem: What may be known beforehand.
            random: The policy's own random draws; its only source of chance.

        Raises:
            ValueError: When the policy cannot play this problem.
        """

    @abstractmethod
    def choose(self, context: TorchContext) -> Tensor:
        """Choose an available arm in every replication, int64, shape (N,)."""

    @abstractmethod
    def learn(self, feedback: TorchFeedback) -> None:
        """Learn from `B` rows of feedback, at most one for each replication."""

    def bytes_needed(self, problem: Problem) -> int:
        """Bytes that the policy needs on its device for this problem, so that too large ones are refused at once."""
        return 0

    def torch_twin(self) -> Policy | None:
        """The policy itself."""
        return self

    def reset(self, problem: Problem, random: RandomStreams) -> None:
        """Forget everything and get ready for a problem on `device`."""
        device = choose_device(self.device)
        sizes = f"{problem.num_envs:,} replications of {problem.num_arms:,} arms with {problem.user_dim} user features"
        require_memory(f"{self!r} in {sizes}", self.bytes_needed(problem), free_device_memory(device))
        self._home = device
        with torch.no_grad():
            self.reset_on(problem, TorchStreams.of(random, device))

    def select(self, context: Context) -> IntArray:
        """Choose an available arm in every replication, shape (N,)."""
        with torch.no_grad():
            chosen: IntArray = self.choose(_context_on(context, self._home)).cpu().numpy()
        return chosen

    def update(self, feedback: Feedback) -> None:
        """Learn from `B` rows of feedback, in order."""
        with torch.no_grad():
            for part in _one_per_replication(feedback.rows):
                whole = len(part) == len(feedback.rows)
                self.learn(_feedback_on(feedback if whole else _rows_of(feedback, part), self._home))


def _one_per_replication(rows: IntArray) -> list[IntArray]:
    """Places in `rows` (B,), cut into pieces that hold each replication at most once, in order of arrival."""
    if np.all(np.diff(rows) > 0):
        return [np.arange(len(rows))]
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    start = np.maximum.accumulate(np.where(np.append(True, np.diff(ordered) > 0), np.arange(len(rows)), 0))
    turn = np.empty(len(rows), dtype=np.int64)
    turn[order] = np.arange(len(rows)) - start  # how often the same replication stands before
    return [np.flatnonzero(turn == number) for number in range(turn.max() + 1)]


def _rows_of(feedback: Feedback, part: IntArray) -> Feedback:
    return Feedback(
        feedback.rows[part],
        feedback.context.take(part),
        feedback.chosen[part],
        feedback.outcomes[part],
        feedback.reward[part],
        None if feedback.propensity is None else feedback.propensity[part],
    )


def _feedback_on(feedback: Feedback, device: torch.device) -> TorchFeedback:
    return TorchFeedback(
        tensor_on(feedback.rows, device),
        _context_on(feedback.context, device),
        tensor_on(feedback.chosen, device),
        tensor_on(feedback.outcomes, device),
        tensor_on(feedback.reward, device),
        None if feedback.propensity is None else tensor_on(feedback.propensity, device),
    )


def _context_on(context: Context, device: torch.device) -> TorchContext:
    size, *rest = context.arms.shape
    shared = size > 0 and context.arms.strides[0] == 0  # one copy for all replications: so it shall stay
    arms = tensor_on(context.arms[:1] if shared else context.arms, device)
    return TorchContext(
        tensor_on(context.round, device),
        tensor_on(context.user_id, device),
        tensor_on(context.time, device),
        tensor_on(context.user, device),
        arms.expand(size, *rest),
        tensor_on(context.available, device),
        None if context.prior is None else tensor_on(context.prior, device),
    )


def tensor_on(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """A NumPy array as a tensor; it shares memory where device and array allow it."""
    writable = array if array.flags.writeable else array.copy()  # torch refuses to promise that it will not write
    return torch.from_numpy(writable).to(device)
