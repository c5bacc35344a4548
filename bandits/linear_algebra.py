"""Small dense linear algebra for kernels: dot products, and symmetric matrices of which about half is stored.

Sums are added up in a fixed order, so that results do not depend on the processor or on what surrounds a call.

Everything goes by groups of eight numbers. Vectors are filled up with zeros to `padded(P)` numbers. A symmetric matrix
of size P is *packed* into the lower triangle of its 8 by 8 blocks, row after row: row i holds entries
0 .. 8 (i // 8) + 7, of which those beyond P are zeros.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from bandits.machine_code import jit

FloatArray = NDArray[np.float64]

_LANES = 8  # doubles in a vector; LLVM splits it where the processor's registers are shorter


@intrinsic
def _dot_of_vectors(typing_context: Any, a: Any, b: Any, size: Any) -> Any:
    """The dot product of the first `size` numbers of two contiguous arrays, `size` a multiple of _LANES.

    Written in LLVM's own language: its vectorizer leaves sums alone, since their order matters. Even and odd vectors
    are summed apart, so that one addition need not wait for the one before.
    """
    vector, word = ir.VectorType(ir.DoubleType(), _LANES), ir.IntType(64)
    nothing = ir.Constant(vector, [0.0] * _LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointers = [
            builder.bitcast(context.make_array(kind)(context, builder, value).data, vector.as_pointer())
            for kind, value in zip(signature.args[:2], arguments[:2], strict=True)
        ]

        def product(index: Any) -> Any:
            left, right = (builder.load(builder.gep(pointer, [index]), align=8) for pointer in pointers)
            return builder.fmul(left, right)

        vectors = builder.ashr(arguments[2], word(_LANES.bit_length() - 1))
        pairs = builder.and_(vectors, word(-2))
        even, odd = (
            cgutils.alloca_once_value(builder, nothing)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        with cgutils.for_range_slice(builder, word(0), pairs, word(2), inc=True) as (index, _):
            builder.store(builder.fadd(builder.load(even), product(index)), even)
            builder.store(builder.fadd(builder.load(odd), product(builder.add(index, word(1)))), odd)
        with builder.if_then(builder.icmp_signed("<", pairs, vectors)):
            builder.store(builder.fadd(builder.load(even), product(pairs)), even)
        lanes = builder.fadd(builder.load(even), builder.load(odd))
        for width in (4, 2, 1):  # add the upper half to the lower one until a single number is left
            halves = [
                builder.shuffle_vector(
                    lanes, lanes, ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(start, start + width)))
                )
                for start in (0, width)
            ]
            lanes = builder.fadd(*halves)
        return builder.extract_element(lanes, ir.IntType(32)(0))

    return numba.float64(a, b, numba.int64), generate


@jit
def dot(a: FloatArray, b: FloatArray) -> float:
    """The dot product of two contiguous arrays of the same length."""
    size = a.shape[0]
    whole = size // _LANES * _LANES
    total: float = _dot_of_vectors(a, b, whole)  # type: ignore[call-arg]  # Numba supplies the first one
    for i in range(whole, size):
        total += a[i] * b[i]
    return total


def padded(size: int) -> int:
    """Length of a vector of `size` numbers with its zeros."""
    return -(-size // _LANES) * _LANES


def packed_size(size: int) -> int:
    """Numbers in a packed symmetric matrix of `size` rows."""
    return int(packed_start(size))


@jit
def packed_start(row: int) -> int:
    """Where a row of a packed matrix begins."""
    block = row // _LANES
    return _LANES * (block + 1) * (row - _LANES * block // 2)


@jit
def packed_squares(x: FloatArray, out: FloatArray) -> None:
    """All products of two numbers of `x`, such that `dot(packed, out)` is the quadratic form x' A x.

    Args:
        x: A vector with its zeros.
        out: A packed matrix; the number of its rows is the number of entries of `x` that are not padding.
    """
    row = 0
    start = 0
    while start < out.shape[0]:
        before = row // _LANES * _LANES
        entries = out[start : start + before + _LANES]
        number = x[row]
        for j in range(before):
            entries[j] = 2.0 * number * x[j]
        for j in range(before, before + _LANES):
            entries[j] = number * x[j]
        start += before + _LANES
        row += 1


@jit
def packed_multiply(packed: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """`out` = A `x`, two vectors with their zeros."""
    out[:] = 0.0
    row = 0
    start = 0
    while start < packed.shape[0]:
        before = row // _LANES * _LANES
        entries = packed[start : start + before + _LANES]
        number = x[row]
        for j in range(before):
            out[j] += number * entries[j]
        start += before + _LANES
        row += 1
    row = 0
    start = 0
    while start < packed.shape[0]:
        before = row // _LANES * _LANES
        out[row] += dot(packed[start : start + before + _LANES], x[: before + _LANES])
        start += before + _LANES
        row += 1


@jit
def packed_add_square(packed: FloatArray, factor: float, x: FloatArray) -> None:
    """A += `factor` x x', for a vector with its zeros."""
    row = 0
    start = 0
    while start < packed.shape[0]:
        end = (row // _LANES + 1) * _LANES
        entries = packed[start : start + end]
        scaled = factor * x[row]
        for j in range(end):
            entries[j] += scaled * x[j]
        start += end
        row += 1


@jit
def multiply(matrix: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """`out` (P,) = A `x` (P,) for a symmetric matrix stored whole, row after row, shape (P * P,).

    The inner loop runs along memory, four rows at a time: entering it costs as much as several of its steps.
    """
    size = x.shape[0]
    for i in range(size):
        out[i] = 0.0
    blocks = size // 4 * 4
    for j in range(0, blocks, 4):
        first, second, third, fourth = x[j], x[j + 1], x[j + 2], x[j + 3]
        rows = matrix[j * size : (j + 4) * size]
        for i in range(size):
            pair = first * rows[i] + second * rows[size + i]
            out[i] += pair + (third * rows[2 * size + i] + fourth * rows[3 * size + i])
    for j in range(blocks, size):
        for i in range(size):
            out[i] += x[j] * matrix[j * size + i]


@jit
def cholesky(matrix: FloatArray, size: int) -> None:
    """Put the Cholesky factor of a positive semidefinite matrix, shape (size * size,), into its lower triangle."""
    for j in range(size):
        pivot = matrix[j * size + j]
        for i in range(j):
            pivot -= matrix[j * size + i] * matrix[j * size + i]
        pivot = sqrt(max(pivot, 0.0))
        matrix[j * size + j] = pivot
        for row in range(j + 1, size):
            total = matrix[row * size + j]
            for i in range(j):
                total -= matrix[row * size + i] * matrix[j * size + i]
            matrix[row * size + j] = total / pivot if pivot > 0.0 else 0.0
