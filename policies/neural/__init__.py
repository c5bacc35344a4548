"""Policies over torch tensors: neural ones, and linear ones for many replications on a GPU."""

from policies.neural.linear_thompson import TorchLinearThompson
from policies.neural.neural_greedy import NeuralGreedy

__all__ = ["NeuralGreedy", "TorchLinearThompson"]
