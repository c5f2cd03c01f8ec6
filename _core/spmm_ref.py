"""The products of training for a sparse weight W (O, I), batch last.

    matmul    y  = W x           (I, N) -> (O, N)
    affine    y  = W x + b, and what is negative of it zero where `rectified`
    rmatmul   dx = W^T dy        (O, N) -> (I, N)
    sampled   dw = (dy x^T)[o, i] at the entries of W only: the gradient on the mask

W is a Pattern, the places of its entries, beside their values (K,). Values and operands share float32 or
float64; operands of any strides are taken. Every sum is computed in one order, so that results are the same
whatever the number of threads.
"""

import numpy as np

from minisparse._core import bias_ref
from minisparse._core.pattern import Pattern
from minisparse._core.relu_ref import REAL


def matmul(pattern: Pattern, values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """y = W x, eq. y[o] = sum_k values[k] x[indices[k]] over the entries k of row o.

    Parameters
    ----------
    pattern : of shape (O, I) with K entries;  values (K,), x (I, N) : float32 or float64

    Returns
    -------
    y (O, N)

    Raises
    ------
    ValueError : shapes or dtypes that do not fit.
    """
    check_values(values, pattern)
    check_operand("x", x, values.dtype, pattern.columns)
    y = np.zeros((pattern.shape[0], x.shape[1]), x.dtype)
    for o in range(len(y)):
        row = slice(pattern.indptr[o], pattern.indptr[o + 1])
        y[o] = values[row] @ x[pattern.indices[row]]
    return y


def affine(pattern: Pattern, values: np.ndarray, x: np.ndarray, b: np.ndarray, rectified: bool = False) -> np.ndarray:
    """y = W x + b, rectified: b (O,), of the dtype of x; the others as in matmul.

    Raises
    ------
    ValueError : as for matmul.
    """
    y = matmul(pattern, values, x)
    bias_ref.add(y, b, rectified)
    return y


def rmatmul(pattern: Pattern, values: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """dx = W^T dy, eq. dx[indices[k]] += values[k] dy[o]: dy (O, N) -> dx (I, N).

    Raises
    ------
    ValueError : as for matmul.
    """
    check_values(values, pattern)
    check_operand("dy", dy, values.dtype, pattern.shape[0])
    dx = np.zeros((pattern.columns, dy.shape[1]), dy.dtype)
    np.add.at(dx, pattern.indices, values[:, None] * dy[pattern.row_of])
    return dx


def sampled(pattern: Pattern, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dw[k] = sum_n dy[o, n] x[indices[k], n]: dy (O, N), x (I, N) -> (K,).

    Raises
    ------
    ValueError : as for matmul.
    """
    check_pattern(pattern)
    check_operand("dy", dy, dy.dtype, pattern.shape[0])
    check_operand("x", x, dy.dtype, pattern.columns, dy.shape[1])
    dw = np.zeros(len(pattern.indices), dy.dtype)
    for o in range(len(dy)):
        row = slice(pattern.indptr[o], pattern.indptr[o + 1])
        dw[row] = x[pattern.indices[row]] @ dy[o]
    return dw


def check_pattern(pattern: Pattern) -> None:
    """ValueError unless it is a Pattern: what else might hold places that nobody checked."""
    if not isinstance(pattern, Pattern):
        raise ValueError(f"pattern is a {type(pattern).__name__}, expected a Pattern")


def check_values(values: np.ndarray, pattern: Pattern) -> None:
    """ValueError unless there is one value an entry."""
    check_pattern(pattern)
    if values.shape != pattern.indices.shape:
        raise ValueError(f"values has shape {values.shape}, expected {pattern.indices.shape}: one an entry")


def check_operand(name: str, array: np.ndarray, dtype: np.dtype, rows: int | None = None, batch: int | None = None):
    """ValueError unless the array is a (rows, batch) matrix of this float dtype."""
    if array.ndim != 2 or rows not in (None, array.shape[0]) or batch not in (None, array.shape[1]):
        expected = ", ".join("any" if size is None else str(size) for size in (rows, batch))
        raise ValueError(f"{name} has shape {array.shape}, expected ({expected})")
    if array.dtype != dtype or dtype not in REAL:
        raise ValueError(f"{name} is {array.dtype} beside {dtype}: both must be float32 or both float64")


def cases(generator: np.random.Generator):
    """Calls with the longest sum of each: (function, arguments, terms a sum)."""
    sizes = ((1, 1, 1, 1.0), (5, 7, 3, 0.0), (16, 33, 20, 0.3), (4, 6, 0, 0.5), (9, 4, 130, 1.0), (0, 3, 2, 1.0))
    tiled = ((24, 100, 300, 0.5), (24, 100, 530, 0.2), (5, 1300, 130, 0.02))
    tails = [(5, 9, n, 0.6) for n in (*range(41), 127, 128, 129, 130, 300)]
    for dtype, index in ((np.float32, np.int32), (np.float64, np.int64)):
        for o, i, n, density in (*sizes, *tiled, *tails):
            mask = generator.random((o, i)) < density
            mask[o // 2 : o // 2 + 1] = False
            indptr = np.concatenate([[0], np.cumsum(mask.sum(1))]).astype(index)
            pattern = Pattern(indptr, np.nonzero(mask)[1].astype(index), i)
            values = generator.normal(size=indptr[-1]).astype(dtype)
            x, dy = generator.normal(size=(i, n)).astype(dtype), generator.normal(size=(o, n)).astype(dtype)
            yield "matmul", (pattern, values, x), i
            b = generator.normal(size=o).astype(dtype)
            yield "affine", (pattern, values, x, b), max(i, 1)
            yield "affine", (pattern, values, x, b, True), max(i, 1)
            yield "rmatmul", (pattern, values, dy), o
            yield "sampled", (pattern, dy, x), n
        yield "matmul", (pattern, values, np.asfortranarray(x)), i
