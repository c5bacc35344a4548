"""Linear Thompson sampling for many replications at once, bound by the memory's speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from bandits.core import Problem
from bandits.torch_engine import TorchContext, TorchFeedback, TorchPolicy, TorchStreams, argmax
from policies.checks import require_number
from policies.neural.features import with_constant

# Single precision is enough: after 10,000 updates of 65 features, variances were off by a share of 2e-6 with ridge 1,
# and by 2e-4 at worst with ridge 0.01 (Sherman and Morrison's formula against a fresh inverse in double precision).
_PRECISION = torch.float32

# On a CPU what lies between the steps stays in the cache when so many replications go through all of them at a time.
_CPU_BLOCK = 256

F = TypeVar("F", bound=Callable[..., Any])


class TorchLinearThompson(TorchPolicy):
    """Draws the click rate of each arm from its linear model's posterior, and shows the arm with the highest draw.

    Each arm has a Gaussian posterior of its own over the coefficients of x, the constant 1 and the user's features:
    mean mu and covariance `scale`**2 times the inverse of A = `ridge` I + sum x x'. The draw of x'theta is a single
    normal number with mean x'mu and variance `scale`**2 x'A^-1 x, which is the same law as drawing theta.

    Inverses are symmetric, so only their upper halves are kept, as rows of P (P + 1) / 2 numbers with P = D + 1. Then
    x'A^-1 x is the product of such a row with that of x x', and a round reads every number once: N K P (P + 1) / 2 of
    4 bytes. On a GPU the arithmetic is compiled, so that nothing of that size is written on the way.

    Args:
        scale: Standard deviation of the noise in the posterior, at least 0.
        ridge: Weight of the penalty on the coefficients, above 0.

    References:
        Agrawal and Goyal (2013), "Thompson sampling for contextual bandits with linear payoffs", algorithm 1, with
        separate arms as in the disjoint model of Li, Chu, Langford and Schapire (2010).
    """

    capturable = True

    def __init__(self, scale: float = 0.5, ridge: float = 1.0) -> None:
        require_number("scale", scale, 0.0)
        require_number("ridge", ridge, 0.0, strict=True)
        self.scale, self.ridge = scale, ridge

    def bytes_needed(self, problem: Problem) -> int:
        size = problem.user_dim + 1
        packed = size * (size + 1) // 2
        lasting = problem.num_arms * (packed + size)
        passing = 4 * packed + size * size  # of one arm, when it learns
        return problem.num_envs * (lasting + passing) * _PRECISION.itemsize

    def reset_on(self, problem: Problem, random: TorchStreams) -> None:
        device, size = random.device, problem.user_dim + 1
        self._random = random
        self._num_arms = problem.num_arms
        self._packing = _Packing.of(size, device)
        start = (self._packing.row == self._packing.column).to(_PRECISION) / self.ridge
        models = problem.num_envs * problem.num_arms
        self._inverse = start.repeat(models, 1)
        self._coefficients = torch.zeros(models, size, dtype=_PRECISION, device=device)
        self._block = _CPU_BLOCK if device.type == "cpu" else problem.num_envs
        self._variances = _fast(_variances, device)
        self._learn = _fast(_learn, device)

    def choose(self, context: TorchContext) -> Tensor:
        x = with_constant(context.user, _PRECISION)
        per_replication = (len(x), self._num_arms, -1)
        mean = torch.bmm(self._coefficients.view(per_replication), x[:, :, None])[:, :, 0]
        inverses = torch.split(self._inverse.view(per_replication), self._block)
        blocks = zip(inverses, torch.split(x, self._block), strict=True)
        variance = torch.cat([self._variances(inverse, part, self._packing) for inverse, part in blocks])
        deviation = self.scale * variance.clamp_min(0.0).sqrt()
        draws = mean.double() + deviation.double() * self._random.normals(self._num_arms)
        return argmax(draws, context.available, self._random)

    def learn(self, feedback: TorchFeedback) -> None:
        x = with_constant(feedback.context.user, _PRECISION)
        model = feedback.rows * self._num_arms + feedback.chosen
        reward = feedback.reward.to(_PRECISION)
        blocks = (torch.split(part, self._block) for part in (model, x, reward))
        for models, rows, rewards in zip(*blocks, strict=True):
            self._learn(self._inverse, self._coefficients, models, rows, rewards, self._packing)


class _Packing(NamedTuple):
    """How the upper half of a symmetric matrix (P, P) lies in a row of M = P (P + 1) / 2 numbers.

    Attributes:
        row: Row in the matrix of each number, shape (M,).
        column: Column of each number, shape (M,).
        times: How often each number stands in the matrix: 1 on the diagonal, else 2, shape (M,).
        place: Where each entry of the matrix is found, row by row, shape (P * P,).
    """

    row: Tensor
    column: Tensor
    times: Tensor
    place: Tensor

    @classmethod
    def of(cls, size: int, device: torch.device) -> _Packing:
        """Of matrices of `size` P."""
        row, column = torch.triu_indices(size, size, device=device)
        place = torch.zeros(size, size, dtype=torch.int64, device=device)
        place[row, column] = place[column, row] = torch.arange(len(row), device=device)
        return cls(row, column, torch.where(row == column, 1.0, 2.0).to(_PRECISION), place.flatten())


def _variances(inverse: Tensor, x: Tensor, packing: _Packing) -> Tensor:
    """The variances x' A^-1 x for the arms' packed inverses (N, K, M) and feature vectors (N, P); shape (N, K)."""
    product = x.index_select(1, packing.row).mul_(x.index_select(1, packing.column)).mul_(packing.times)
    return torch.bmm(inverse, product[:, :, None])[:, :, 0]


def _learn(inverse: Tensor, coefficients: Tensor, model: Tensor, x: Tensor, reward: Tensor, packing: _Packing) -> None:
    """Ridge regression with one more row in the models (B,), in place, by Sherman and Morrison's formula.

    Args:
        inverse: Packed inverses of all models, shape (N * K, M).
        coefficients: Coefficients of all models, shape (N * K, P).
        model: Which models learn, each at most once, shape (B,).
        x: Feature vectors, shape (B, P).
        reward: Rewards, shape (B,).
        packing: How inverses are packed.
    """
    old, weights = inverse.index_select(0, model), coefficients.index_select(0, model)
    matrix = old.index_select(1, packing.place).view(len(x), x.shape[1], x.shape[1])
    gain = torch.bmm(matrix, x[:, :, None])[:, :, 0]
    shrink = 1.0 / (1.0 + (gain * x).sum(dim=1, keepdim=True))
    error = reward[:, None] - (weights * x).sum(dim=1, keepdim=True)
    change = gain.index_select(1, packing.row).mul_((shrink * gain).index_select(1, packing.column))
    inverse.index_copy_(0, model, old - change)
    coefficients.index_copy_(0, model, weights + shrink * error * gain)


def _fast(function: F, device: torch.device) -> F:
    """The function, on a GPU compiled into few kernels that keep what lies between them in registers."""
    if device.type != "cuda":
        return function
    # With this option a matrix times a vector becomes a sum of products, which the making of the vector is fused into.
    return cast(F, torch.compile(function, options={"coordinate_descent_tuning": True}))
