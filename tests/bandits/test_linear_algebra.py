"""Products and packed matrices against NumPy."""

import numpy as np
import pytest

from bandits import linear_algebra as la


def symmetric(size, rng):
    root = rng.normal(size=(size, size))
    return root @ root.T


def pack(matrix):
    size = len(matrix)
    wide = np.zeros((size, la.padded(size)))
    wide[:, :size] = matrix
    return np.concatenate([wide[i, : 8 * (i // 8) + 8] for i in range(size)])


def lengthened(x):
    return np.concatenate([x, np.zeros(la.padded(len(x)) - len(x))])


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 23, 24, 40, 1001])
def test_dot(size):
    rng = np.random.default_rng(size)
    a, b = rng.normal(size=(2, size))
    assert la.dot(a, b) == pytest.approx(a @ b, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("start", range(4))
def test_dot_adds_in_the_same_order_wherever_the_numbers_lie(start):
    """Memory that begins elsewhere must not change the last bit."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 200))
    moved_a, moved_b = np.zeros(210), np.zeros(210)
    moved_a[start : start + 200], moved_b[3:203] = a, b
    assert la.dot(moved_a[start : start + 200], moved_b[3:203]) == la.dot(a, b)


@pytest.mark.parametrize("size", [1, 5, 8, 17, 33])
def test_packed_matrices(size):
    rng = np.random.default_rng(size)
    matrix, x = symmetric(size, rng), rng.normal(size=size)
    packed, long = pack(matrix), lengthened(x)
    assert len(packed) == la.packed_size(size)
    assert [la.packed_start(i) for i in range(size)] == [sum(8 * (j // 8) + 8 for j in range(i)) for i in range(size)]
    squares, out = np.full(len(packed), np.nan), np.full(len(long), np.nan)
    la.packed_squares(long, squares)
    assert la.dot(packed, squares) == pytest.approx(x @ matrix @ x)
    la.packed_multiply(packed, long, out)
    assert out[:size] == pytest.approx(matrix @ x)
    assert not out[size:].any()
    la.packed_add_square(packed, -0.5, long)
    assert packed == pytest.approx(pack(matrix - 0.5 * np.outer(x, x)))


@pytest.mark.parametrize("size", [1, 4, 6, 11])
def test_whole_matrices(size):
    rng = np.random.default_rng(size)
    matrix, x, out = symmetric(size, rng), rng.normal(size=size), np.empty(size)
    la.multiply(matrix.ravel(), x, out)
    assert out == pytest.approx(matrix @ x)
    factor = matrix.copy()
    la.cholesky(factor.ravel(), size)
    assert np.tril(factor) == pytest.approx(np.linalg.cholesky(matrix))


def test_cholesky_of_a_singular_matrix():
    matrix = np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    factor = matrix.copy()
    la.cholesky(factor.ravel(), 3)
    assert np.tril(factor) @ np.tril(factor).T == pytest.approx(matrix)
