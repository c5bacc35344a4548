"""Epsilon-greedy choice with a neural network."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from bandits.core import Problem
from bandits.memory import array_bytes
from bandits.torch_engine import TorchContext, TorchFeedback, TorchPolicy, TorchStreams, argmax, nth_true
from policies.checks import require_integer, require_number
from policies.neural.features import with_constant

# Adam's decay rates and its guard against division by 0, as Kingma and Ba recommend them.
_FIRST, _SECOND, _GUARD = 0.9, 0.999, 1e-8


class NeuralGreedy(TorchPolicy):
    """Mostly shows the arm for which a small network expects most; with probability epsilon any arm at random.

    Every replication has its own network: the constant 1 and the user's features, one hidden layer of rectified linear
    units, one output per arm. It keeps its latest visits, and before each choice takes a few of Adam's steps down the
    squared error of the outputs of the shown arms, each step on a few visits drawn anew from those kept. Outputs begin
    at 0, so that the first visitors see any arm.

    Args:
        epsilon: Probability of an arm at random, in [0, 1].
        hidden: Hidden units, at least 1.
        learning_rate: Adam's step size, above 0.
        steps: Steps before each choice, at least 1.
        batch: Visits in a step, at least 1.
        replay: Number of latest visits that are kept, at least 1.

    References:
        Zhou, Li and Gu (2020), "Neural contextual bandits with UCB-based exploration", whose neural epsilon-greedy
        baseline this is, with one output per arm and training on replayed visits as in Riquelme, Tucker and Snoek
        (2018), "Deep Bayesian bandits showdown". Kingma and Ba (2015), "Adam: a method for stochastic optimization".
    """

    capturable = True

    def __init__(
        self,
        epsilon: float = 0.05,
        hidden: int = 32,
        learning_rate: float = 0.005,
        steps: int = 1,
        batch: int = 32,
        replay: int = 1000,
    ) -> None:
        require_number("epsilon", epsilon, 0.0, 1.0)
        require_number("learning_rate", learning_rate, 0.0, strict=True)
        for name, value in (("hidden", hidden), ("steps", steps), ("batch", batch), ("replay", replay)):
            require_integer(name, value, 1)
        self.epsilon, self.hidden, self.learning_rate = epsilon, hidden, learning_rate
        self.steps, self.batch, self.replay = steps, batch, replay

    def bytes_needed(self, problem: Problem) -> int:
        size, arms = problem.user_dim + 1, problem.num_arms
        weights = [(5, size, self.hidden), (5, arms, self.hidden + 1)]  # two moments, a gradient and a step besides
        visits = [(self.replay, size + 3), (self.batch, size + 4 * self.hidden + 4 * arms)]
        return problem.num_envs * array_bytes([*weights, *visits], itemsize=4)

    def reset_on(self, problem: Problem, random: TorchStreams) -> None:
        envs, size, device = problem.num_envs, problem.user_dim + 1, random.device
        self._random, self._num_arms = random, problem.num_arms
        # He and others (2015), "Delving deep into rectifiers": this scale keeps the variance from layer to layer.
        start = random.normals(size * self.hidden).view(envs, size, self.hidden) * sqrt(2.0 / size)
        self._layers = [start.float(), torch.zeros(envs, problem.num_arms, self.hidden + 1, device=device)]
        self._first = [torch.zeros_like(layer) for layer in self._layers]
        self._second = [torch.zeros_like(layer) for layer in self._layers]
        self._steps_done = torch.zeros((), device=device)
        self._visits = torch.zeros(envs, dtype=torch.int64, device=device)
        self._begin = torch.arange(envs, device=device)[:, None] * self.replay  # of each replication in what is kept
        self._x = torch.zeros(envs * self.replay, size, device=device)
        self._chosen = torch.zeros(envs * self.replay, dtype=torch.int64, device=device)
        self._reward = torch.zeros(envs * self.replay, device=device)

    def choose(self, context: TorchContext) -> Tensor:
        for _ in range(self.steps):
            self._train()
        _, outputs = _forward(self._layers, with_constant(context.user, torch.float32)[:, None])
        greedy = argmax(outputs[:, 0], context.available, self._random)
        anything = nth_true(context.available, self._random)
        return anything.where(self._random.uniform() < self.epsilon, greedy)

    def learn(self, feedback: TorchFeedback) -> None:
        places = self._begin[feedback.rows, 0] + self._visits[feedback.rows] % self.replay
        self._x[places] = with_constant(feedback.context.user, torch.float32)
        self._chosen[places] = feedback.chosen
        self._reward[places] = feedback.reward.float()
        self._visits.index_add_(0, feedback.rows, torch.ones_like(feedback.rows))

    def _train(self) -> None:
        """One of Adam's steps in every replication; without a visit yet, a step of length 0."""
        kept = self._visits[:, None].clamp(1, self.replay)
        places = self._begin + self._random.integers(kept, self.batch)
        weight = (self._visits > 0)[:, None] / self.batch
        gradients = _gradients(self._layers, self._x[places], self._chosen[places], self._reward[places], weight)
        self._steps_done += 1
        # Kingma and Ba (2015), algorithm 1 in the order that the end of their section 2 recommends.
        rate = self.learning_rate * (1 - _SECOND**self._steps_done).sqrt() / (1 - _FIRST**self._steps_done)
        for layer, first, second, gradient in zip(self._layers, self._first, self._second, gradients, strict=True):
            first.lerp_(gradient, 1 - _FIRST)
            second.lerp_(gradient.square(), 1 - _SECOND)
            layer -= rate * first / (second.sqrt() + _GUARD)


def _forward(layers: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden units with the constant 1 last, (N, S, H + 1), and outputs, (N, S, K), for features `x` (N, S, P)."""
    units = torch.nn.functional.pad(torch.bmm(x, layers[0]).relu(), (0, 1), value=1.0)
    return units, torch.bmm(units, layers[1].mT)


def _gradients(
    layers: list[Tensor], x: Tensor, chosen: Tensor, reward: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of half the weighted sum of squared errors of the chosen arms' outputs, by hand.

    Args:
        layers: Weights of the hidden units, (N, P, H), and of the outputs, (N, K, H + 1), the constant's last.
        x: Features, shape (N, S, P).
        chosen: Arms, shape (N, S).
        reward: Rewards, shape (N, S).
        weight: Weight of each visit, shape (N, S) or (N, 1).

    Returns:
        A gradient for each of the layers.
    """
    units, outputs = _forward(layers, x)
    place = chosen[:, :, None]
    error = torch.zeros_like(outputs)
    error.scatter_(2, place, (outputs.gather(2, place) - reward[:, :, None]) * weight[:, :, None])
    active = units[:, :, :-1] > 0
    back = torch.bmm(error, layers[1][:, :, :-1]) * active
    return torch.bmm(x.mT, back), torch.bmm(error.mT, units)
