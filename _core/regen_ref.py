"""Products with a weight whose untracked entries are regenerated from their key and never held.

W (O, I) is factor * kind(key, scale) of the flat index, as rng_ref.py defines it, with the tracked entries of
a Pattern laid over:

    matmul    y  = W x           (I, N) -> (O, N)
    rmatmul   dx = W^T dy        (O, N) -> (I, N)

Memory beyond the operands is a tile of W and what pads the batch to whole vectors. Every sum is computed in one
order, so that results are the same whatever the number of threads.
"""

import numpy as np

from minisparse._core import rng_ref
from minisparse._core.pattern import Pattern
from minisparse._core.spmm_ref import check_operand, check_values

KINDS = ("constant", "uniform", "normal")
ROWS = 64
"""Rows that the twin regenerates at a time."""


def matmul(
    kind: str, key: int, scale: float, factor: float, pattern: Pattern, values: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """y = W x.

    Parameters
    ----------
    kind : "normal", "uniform" or "constant" (every entry is `scale`)
    key : int in [0, 2^64)
    scale, factor : float; a regenerated value is rounded to float32 before and after `factor` is multiplied in
    pattern : of shape (O, I), columns rising within each row;  values (K,), x (I, N) : float32 or float64

    Raises
    ------
    ValueError : an unknown kind, a key out of range, columns that do not rise, shapes or dtypes that do not fit.
    """
    check(kind, key, pattern, values)
    check_operand("x", x, values.dtype, pattern.columns)
    y = np.empty((pattern.shape[0], x.shape[1]), x.dtype)
    for first in range(0, len(y), ROWS):
        y[first : first + ROWS] = _rows(kind, key, scale, factor, pattern, values, first) @ x
    return y


def rmatmul(
    kind: str, key: int, scale: float, factor: float, pattern: Pattern, values: np.ndarray, dy: np.ndarray
) -> np.ndarray:
    """dx = W^T dy.

    Raises
    ------
    ValueError : as for matmul.
    """
    check(kind, key, pattern, values)
    check_operand("dy", dy, values.dtype, pattern.shape[0])
    dx = np.zeros((pattern.columns, dy.shape[1]), dy.dtype)
    for first in range(0, len(dy), ROWS):
        dx += _rows(kind, key, scale, factor, pattern, values, first).T @ dy[first : first + ROWS]
    return dx


def _rows(kind, key, scale, factor, pattern, values, first) -> np.ndarray:
    """Rows first to first + ROWS - 1 of W, or to the last."""
    last, columns = min(first + ROWS, pattern.shape[0]), pattern.columns
    if kind == "constant":
        w = np.full((last - first) * columns, scale, np.float32)
    else:
        w = getattr(rng_ref, kind)(key, first * columns, (last - first) * columns, scale)
    w = (w * np.float32(factor)).astype(values.dtype).reshape(last - first, columns)
    entries = slice(pattern.indptr[first], pattern.indptr[last])
    w[pattern.row_of[entries] - first, pattern.indices[entries]] = values[entries]
    return w


def check(kind: str, key: int, pattern: Pattern, values: np.ndarray) -> int:
    """The key as a Python integer; ValueError unless these describe a weight."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown: use one of {KINDS}")
    key, _, _ = rng_ref.check_range(key, 0, 0)
    check_values(values, pattern)
    if not pattern.rises:
        raise ValueError("pattern must have columns that rise within each row: sort the entries")
    if pattern.wide:
        raise ValueError("pattern has indices of 64 bits: split the weight, rows, columns and entries below 2^31 each")
    return key


def magnitudes(function: str, kind, key, scale, factor, pattern: Pattern, values, operand) -> np.ndarray:
    """sum |terms| of each sum of a call, float64."""
    rows = [_rows(kind, key, scale, factor, pattern, values, o) for o in range(0, pattern.shape[0], ROWS)]
    w = np.abs(np.concatenate([np.zeros((0, pattern.columns)), *rows]))
    return (w if function == "matmul" else w.T) @ np.abs(operand).astype(np.float64)


def cases(generator: np.random.Generator):
    """Calls with the longest sum of each: (function, arguments, terms a sum)."""
    sizes = [(1, 1, 1), (0, 3, 2), (5, 0, 3), (4, 6, 0), (70, 300, 130), (33, 129, 64), (3, 9, 100)]
    sizes += [(5, 7, n) for n in (2, 15, 16, 17, 31)]
    for dtype in (np.float32, np.float64):
        for j, (o, i, n) in enumerate(sizes):
            mask = generator.random((o, i)) < 0.2
            pattern = Pattern(np.concatenate([[0], np.cumsum(mask.sum(1))]), np.nonzero(mask)[1], i)
            values = generator.normal(size=len(pattern.indices)).astype(dtype)
            weight = (KINDS[j % 3], int(generator.integers(2**63)), 0.7, (1.0, 0.3)[j % 2], pattern, values)
            yield "matmul", (*weight, generator.normal(size=(i, n)).astype(dtype)), i
            yield "rmatmul", (*weight, generator.normal(size=(o, n)).astype(dtype)), o
