"""The chance of each arm to have the highest of independent Beta draws: what Thompson sampling chooses with."""

from __future__ import annotations

from math import exp, inf, log, log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from bandits.machine_code import jit
from bandits.special import betainc, gammaln

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Edges of the panels of integration around each arm's centre, in standard deviations on the logit scale: a large Beta
# is nearly normal there, and a small one has exponential tails.
_EDGES = np.array([-20.0, -9.0, -5.0, -3.0, -1.5, 0.0, 1.5, 3.0, 5.0, 9.0, 20.0])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)
# Fields of the scratch, K long each: distribution function at the panel's start (-1 for arms that are out), log of the
# density's constant, distribution function at a node; then densities at the nodes (K, 10) and the edges of all panels.
_START, _CONSTANT, _BELOW, _FIELDS = range(4)


def _up_to_nodes() -> FloatArray:
    """Row i integrates the polynomial through the values at the nodes from -1 to node i."""
    result = np.empty((len(_NODES), len(_NODES)))
    for j, node in enumerate(_NODES):
        others = np.delete(_NODES, j)
        basis = np.polynomial.Polynomial.fromroots(others) / np.prod(node - others)
        result[:, j] = basis.integ(lbnd=-1)(_NODES)
    return result


_UP_TO_NODE = _up_to_nodes()


@jit
def scratch_size(arms: int) -> int:
    """Length of the `scratch` that `chance_of_best` needs."""
    return int((_FIELDS + _NODES.shape[0] + _EDGES.shape[0]) * arms)


@jit
def chance_of_best(a: FloatArray, b: FloatArray, available: BoolArray, scratch: FloatArray, out: FloatArray) -> None:
    """Probability that each arm's draw is the highest of all available arms', into `out` (K,); they sum to 1.

    `P_k` is the integral of `f_k(x) prod_{j != k} F_j(x)`, on the logit scale, where the density of every Beta is
    smooth. The distribution functions are integrated along with the densities, panel by panel, with 10 Gauss-Legendre
    nodes in each; to about 1e-9. Takes about 20 microseconds for two arms and 0.2 milliseconds for ten.

    Args:
        a: First parameters, above 0, shape (K,).
        b: Second parameters, above 0, shape (K,).
        available: Arms that are drawn for; at least one, shape (K,). The others get 0.
        scratch: Memory of length `scratch_size(K)`.
        out: Where the probabilities go, shape (K,).
    """
    arms = a.shape[0]
    # An arm whose draw practically never reaches what some other arm's draw practically always exceeds is out.
    floor = -inf
    for k in range(arms):
        out[k] = 0.0
        if available[k]:
            center, sd = log(a[k] / b[k]), sqrt(1.0 / a[k] + 1.0 / b[k])
            floor = max(floor, center - (8.0 + 15.0 / sqrt(a[k])) * sd)
    first = (_FIELDS + _NODES.shape[0]) * arms
    edges = 0
    for k in range(arms):
        center, sd = log(a[k] / b[k]), sqrt(1.0 / a[k] + 1.0 / b[k])
        scratch[_START * arms + k] = -1.0
        if available[k] and center + (8.0 + 15.0 / sqrt(b[k])) * sd > floor:
            scratch[_START * arms + k] = betainc(a[k], b[k], 1.0 / (1.0 + exp(-floor)))
            scratch[_CONSTANT * arms + k] = gammaln(a[k] + b[k]) - gammaln(a[k]) - gammaln(b[k])
            for i in range(_EDGES.shape[0]):
                edge = max(center + _EDGES[i] * sd, floor)
                at = first + edges  # sorted in as it comes
                while at > first and scratch[at - 1] > edge:
                    scratch[at] = scratch[at - 1]
                    at -= 1
                scratch[at] = edge
                edges += 1
    for panel in range(edges - 1):
        left = scratch[first + panel]
        half = (scratch[first + panel + 1] - left) / 2.0
        if half > 0.0:
            _add_panel(a, b, left, half, scratch, out)
    total = 0.0
    for k in range(arms):
        total += out[k]
    for k in range(arms):
        out[k] /= total


@jit
def _add_panel(a: FloatArray, b: FloatArray, left: float, half: float, scratch: FloatArray, out: FloatArray) -> None:
    """Add one panel's part of the integrals, and carry the distribution functions to its end."""
    arms = a.shape[0]
    nodes = _NODES.shape[0]
    for i in range(nodes):
        y = left + half * (1.0 + _NODES[i])
        log_sum = log1p(exp(-abs(y)))
        log_x, log_rest = min(y, 0.0) - log_sum, -max(y, 0.0) - log_sum
        for k in range(arms):
            if scratch[_START * arms + k] >= 0.0:
                density = exp(scratch[_CONSTANT * arms + k] + a[k] * log_x + b[k] * log_rest)
                scratch[_FIELDS * arms + k * nodes + i] = density
    for i in range(nodes):
        product = 1.0
        zeros = 0
        for k in range(arms):
            if scratch[_START * arms + k] >= 0.0:
                below = scratch[_START * arms + k]
                for j in range(nodes):
                    below += half * _UP_TO_NODE[i, j] * scratch[_FIELDS * arms + k * nodes + j]
                scratch[_BELOW * arms + k] = below
                product *= below if below > 0.0 else 1.0
                zeros += 0 if below > 0.0 else 1
        for k in range(arms):
            below = scratch[_BELOW * arms + k]
            if scratch[_START * arms + k] >= 0.0 and (zeros == 0 or (zeros == 1 and below <= 0.0)):
                others = product / below if below > 0.0 else product
                out[k] += half * _WEIGHTS[i] * scratch[_FIELDS * arms + k * nodes + i] * others
    for k in range(arms):
        if scratch[_START * arms + k] >= 0.0:
            for j in range(nodes):
                scratch[_START * arms + k] += half * _WEIGHTS[j] * scratch[_FIELDS * arms + k * nodes + j]
