"""Sequential draws from other distributions than the uniform: normal, gamma, beta and exponential numbers.

All are exact: rejection from cheap envelopes, in which nearly every first attempt is accepted. `betas` and `normals`
make the first attempt for all arms at once, in a loop without branches that the compiler turns into vector
instructions, and then finish the few attempts that were not obviously good, one by one, from the same words.
"""

from __future__ import annotations

from math import erfc, exp, log, log1p, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.machine_code import jit
from bandits.random import GOLDEN, RandomState, hashed_word, mix, next_word, open_unit, unit

FloatArray = NDArray[np.float64]

# The ziggurat of Marsaglia and Tsang (2000), "The ziggurat method for generating random variables", with 256 layers of
# equal area under exp(-x**2 / 2). _EDGE[i] is the right end of layer i; layer 0 holds the tail beyond _TAIL as well,
# and its width is that of a rectangle of the same area. Layers are drawn from other bits than the position inside
# them (Doornik 2005, "An improved ziggurat method to generate normal random samples").
_LAYERS = 256
_TAIL = 3.6541528853610088  # as published for 256 layers


def _ziggurat() -> tuple[FloatArray, FloatArray]:
    area = _TAIL * exp(-0.5 * _TAIL * _TAIL) + sqrt(pi / 2) * erfc(_TAIL / sqrt(2))
    edge = np.zeros(_LAYERS + 1)
    edge[0], edge[1] = area / exp(-0.5 * _TAIL * _TAIL), _TAIL
    for i in range(2, _LAYERS):
        edge[i] = sqrt(-2.0 * log(area / edge[i - 1] + exp(-0.5 * edge[i - 1] * edge[i - 1])))
    return edge, np.exp(-0.5 * edge * edge)


_EDGE, _DENSITY = _ziggurat()
_LAYER_BITS, _SIGN_BIT, _LOW_HALF = np.uint64(_LAYERS - 1), np.uint64(_LAYERS), np.uint64(2**32 - 1)
_S11, _S32 = np.uint64(11), np.uint64(32)
_ULP, _HALF_ULP = 2.0**-53, 2.0**-32
_DIRECT = 0.5  # the smallest shape for which Marsaglia and Tsang's method seldom fails
_ONE, _TWO, _THREE = np.uint64(1), np.uint64(2), np.uint64(3)


@jit
def normal(random: RandomState) -> float:
    """A standard normal number."""
    return _normal_of(next_word(random), random)


@jit
def _normal_of(word: Any, random: RandomState) -> float:
    """A standard normal number whose first attempt uses `word`."""
    while True:
        layer = int(word & _LAYER_BITS)
        x = (word >> _S11) * _ULP * _EDGE[layer]
        inside = x < _EDGE[layer + 1]
        if not inside:
            if layer == 0:
                x = _tail(random)
                inside = True
            else:
                low, high = _DENSITY[layer], _DENSITY[layer + 1]
                inside = low + unit(next_word(random)) * (high - low) < exp(-0.5 * x * x)
        if inside:
            signed: float = -x if word & _SIGN_BIT else x
            return signed
        word = next_word(random)


@jit
def _tail(random: RandomState) -> float:
    """A normal number given that it exceeds _TAIL. Marsaglia (1964), "Generating a variable from the tail"."""
    while True:
        x = -log(open_unit(next_word(random))) / _TAIL
        y = -log(open_unit(next_word(random)))
        if y + y > x * x:
            return _TAIL + x


@jit
def normals(out: FloatArray, random: RandomState) -> None:
    """Independent standard normal numbers, into `out` (K,)."""
    key, counter = random[0], random[1]
    random[1] = counter + np.uint64(out.shape[0])
    missing = 0
    for k in range(out.shape[0]):
        word = mix(key + (counter + np.uint64(k)) * GOLDEN)
        layer = np.int64(word & _LAYER_BITS)
        x = np.float64(np.int64(word >> _S11)) * _ULP * _EDGE[layer]
        inside = x < _EDGE[layer + 1]
        signed = -x if word & _SIGN_BIT else x
        out[k] = signed if inside else np.nan
        missing += 0 if inside else 1
    if missing > 0:
        for k in range(out.shape[0]):
            if np.isnan(out[k]):
                out[k] = _normal_of(mix(key + (counter + np.uint64(k)) * GOLDEN), random)


@jit
def gamma(shape: float, random: RandomState) -> float:
    """A Gamma(shape, 1) number, `shape` above 1/3.

    Marsaglia and Tsang (2000), "A simple method for generating gamma variables". They ask for a shape of at least 1,
    where few attempts fail; the identity behind the method holds whenever d = shape - 1/3 is positive.
    """
    word = next_word(random)
    return _gamma_of(shape - 1.0 / 3.0, word, open_unit(next_word(random)), random)


@jit
def _gamma_of(d: float, word: Any, u: float, random: RandomState) -> float:
    """A Gamma(d + 1/3, 1) number whose first attempt uses the normal number of `word` and the uniform number `u`."""
    c = 1.0 / sqrt(9.0 * d)
    while True:
        x = _normal_of(word, random)
        root = 1.0 + c * x
        if not root <= 0.0:  # as `>`, but a `d` that is not a number ends the loop
            v = root * root * root
            if _is_certain(u, root, c * x * x) or not log(u) > 0.5 * x * x + d * (1.0 - v + log(v)):
                return d * v
        word = next_word(random)
        u = open_unit(next_word(random))


@jit
def _is_certain(u: float, root: float, square: float) -> bool:
    """Whether Marsaglia and Tsang's method accepts, without logarithms; it may accept where this is False.

    Their condition is log u < h(x) = d (3 log r + 1 - r**3) + x**2 / 2, where r = 1 + c x and c**2 = 1 / (9 d). The
    Taylor series of the logarithm gives h(x) >= -c**2 x**4 / (12 min(r, 1)): terms up to the fourth bound it from below
    for x > 0, and for x < 0 the rest is at most a geometric series. As exp(h) >= 1 + h, it is enough that
    u min(r, 1) < min(r, 1) - c**2 x**4 / 12.

    Args:
        u: The uniform number, or an upper bound.
        root: r.
        square: c x**2.
    """
    lower = min(root, 1.0)
    return u * lower < lower - square * square * (1.0 / 12.0)


@jit
def beta(a: float, b: float, random: RandomState) -> float:
    """A Beta(a, b) number, `a` and `b` > 0.

    The share of one Gamma number in the sum of two. Where a shape is small, its number is a Gamma(shape + 1) number
    times U**(1 / shape): together these powers stay in the exponent, where they cannot become too small for a float.
    """
    exponent = 0.0
    if a < _DIRECT:
        exponent -= log(open_unit(next_word(random))) / a
    if b < _DIRECT:
        exponent += log(open_unit(next_word(random))) / b
    first = gamma(a + 1.0 if a < _DIRECT else a, random)
    second = gamma(b + 1.0 if b < _DIRECT else b, random)
    if exponent == 0.0:
        return first / (first + second)
    return 1.0 / (1.0 + second / first * exp(exponent))


@jit
def betas(a: FloatArray, b: FloatArray, out: FloatArray, random: RandomState) -> None:
    """One Beta(a[k], b[k]) number for every arm, into `out` (K,).

    A Beta number is the share of one Gamma number in the sum of two. Each arm takes three words: one for each normal
    number of Marsaglia and Tsang's method, and one whose halves are the leading bits of the two uniform numbers.

    """
    key, counter = random[0], random[1]
    random[1] = counter + _THREE * np.uint64(out.shape[0])
    missing = 0
    for k in range(out.shape[0]):
        at = counter + _THREE * np.uint64(k)
        first, second = mix(key + at * GOLDEN), mix(key + (at + _ONE) * GOLDEN)
        halves = mix(key + (at + _TWO) * GOLDEN)
        # The upper ends of what u can be, once its other bits are drawn.
        u_a = (np.float64(np.int64(halves >> _S32)) + 1.0) * _HALF_ULP
        u_b = (np.float64(np.int64(halves & _LOW_HALF)) + 1.0) * _HALF_ULP
        gamma_a, good_a = _attempt(a[k] - 1.0 / 3.0, first, u_a)
        gamma_b, good_b = _attempt(b[k] - 1.0 / 3.0, second, u_b)
        good = good_a & good_b
        out[k] = gamma_a / (gamma_a + gamma_b) if good else np.nan
        missing += 0 if good else 1
    if missing > 0:
        for k in range(out.shape[0]):
            if np.isnan(out[k]):
                out[k] = _second_look(a[k], b[k], counter + _THREE * np.uint64(k), random)


@jit
def _attempt(d: float, word: Any, u: float) -> Any:
    """A Gamma(d + 1/3, 1) number, and whether it is certain to be one. Never certain when `d` is not positive."""
    layer = np.int64(word & _LAYER_BITS)
    distance = np.float64(np.int64(word >> _S11)) * _ULP * _EDGE[layer]
    x = -distance if word & _SIGN_BIT else distance
    c = 1.0 / sqrt(9.0 * d)
    root = 1.0 + c * x
    good = (distance < _EDGE[layer + 1]) & _is_certain(u, root, c * x * x)
    return d * root * root * root, good


@jit
def _second_look(a: float, b: float, at: Any, random: RandomState) -> float:
    """A Beta(a, b) number from the words at counter `at`, after the first attempt was not certain to be one."""
    d_a, d_b = a - 1.0 / 3.0, b - 1.0 / 3.0
    if not (d_a > 0.0 and d_b > 0.0):
        return beta(a, b, random)
    first, second = mix(random[0] + at * GOLDEN), mix(random[0] + (at + _ONE) * GOLDEN)
    halves = mix(random[0] + (at + _TWO) * GOLDEN)
    u_a = (np.float64(halves >> _S32) + open_unit(next_word(random))) * _HALF_ULP
    u_b = (np.float64(halves & _LOW_HALF) + open_unit(next_word(random))) * _HALF_ULP
    gamma_a = _gamma_of(d_a, first, u_a, random)
    return gamma_a / (gamma_a + _gamma_of(d_b, second, u_b, random))


@jit
def exponential(random: RandomState) -> float:
    """An exponential number with mean 1."""
    return -log1p(-unit(next_word(random)))


@jit
def hashed_exponential(salt: float, identity: int, index: int) -> float:
    """An exponential number with mean 1 that depends on `salt` in [0, 1), `identity` and `index` alone."""
    return -log1p(-unit(mix(hashed_word(salt, identity) + np.uint64(index))))
