"""Products with a weight whose untracked entries are regenerated from their key and never held.

W (O, I) is factor * kind(key, scale) of the flat index, as rng_ref.py defines it, with the tracked entries of
a Pattern laid over:

    matmul      y  = W x         (I, N) -> (O, N)
    rmatmul     dx = W^T dy      (O, N) -> (I, N)
    gradient    rows of dW = dy x^T, a tile at a time
    candidates  of such a tile, the entries at rest that it would move far enough

Memory beyond the operands is a tile of W and what pads the batch to whole vectors. Every sum is computed in one
order, so that results are the same whatever the number of threads.
"""

import operator
from collections.abc import Iterator

import numpy as np

from minisparse._core import rng_ref
from minisparse._core.pattern import Pattern
from minisparse._core.spmm_ref import check_operand, check_pattern, check_values

KINDS = ("constant", "uniform", "normal")
TILE = 1 << 19
"""Most entries that are regenerated at a time, in whole rows; a smaller weight is one tile, as if it were dense."""


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
    for rows in _tiles(*pattern.shape):
        y[rows] = _rows(kind, key, scale, factor, pattern, values, rows) @ x
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
    for rows in _tiles(*pattern.shape):
        dx += _rows(kind, key, scale, factor, pattern, values, rows).T @ dy[rows]
    return dx


def gradient(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy x^T for a tile of rows of dy: dy (R, N), x (I, N) -> (R, I); fastest where x.T is contiguous.

    Raises
    ------
    ValueError : shapes or dtypes that do not fit.
    """
    check_operand("dy", dy, dy.dtype)
    check_operand("x", x, dy.dtype, None, dy.shape[1])
    return dy @ x.T


def candidates(
    kind: str,
    key: int,
    scale: float,
    factor: float,
    pattern: Pattern,
    gradient: np.ndarray,
    first: int,
    rate: float,
    threshold: float,
    place: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a tile of dy x^T, the entries off the pattern that one step of gradient descent would move far enough:

        u = rest - rate g,    s = |u - rest|,    s > threshold, or s = threshold at a flat index below `place`

    Parameters
    ----------
    gradient : (R, I) float32 or float64, rows first to first + R - 1 of dy x^T
    rate, threshold : float, rounded to the gradient's dtype; threshold >= 0
    place : int

    Returns
    -------
    flat index (M,) int64, increasing; their g (M,) and s (M,) of the gradient's dtype

    Raises
    ------
    ValueError : a NaN score off the pattern, a tile or threshold out of range, and as for matmul.
    """
    check_tile(kind, key, pattern, gradient, first, rate, threshold, place)
    rows, columns = slice(first, first + len(gradient)), pattern.columns
    rest = _rest(kind, key, scale, factor, columns, rows).astype(gradient.dtype)
    # each operation is rounded
    score = np.abs((rest - gradient.dtype.type(rate) * gradient) - rest)
    score[_entries(pattern, rows)[:2]] = -1
    if np.isnan(score).any():
        raise ValueError(f"scores hold {np.isnan(score).sum()} NaN: a NaN has no rank")
    index = first * columns + np.arange(score.size).reshape(score.shape)
    least = score.dtype.type(threshold)
    chosen = (score > least) | ((score == least) & (index < place))
    return index[chosen], gradient[chosen], score[chosen]


def _tiles(rows: int, columns: int) -> Iterator[slice]:
    """Rows of each tile."""
    step = max(1, TILE // max(columns, 1))
    return (slice(first, min(first + step, rows)) for first in range(0, rows, step))


def _rest(kind, key, scale, factor, columns, rows: slice) -> np.ndarray:
    """Rows of factor * kind(key, scale), float32."""
    count = (rows.stop - rows.start) * columns
    if kind == "constant":
        w = np.full(count, scale, np.float32)
    else:
        w = getattr(rng_ref, kind)(key, rows.start * columns, count, scale)
    return (w * np.float32(factor)).reshape(-1, columns) if columns else w.reshape(rows.stop - rows.start, 0)


def _entries(pattern: Pattern, rows: slice) -> tuple[np.ndarray, np.ndarray, slice]:
    """Row within the tile and column of the tracked entries of these rows, and which entries they are."""
    borders = pattern.indptr[rows.start : rows.stop + 1]
    entries = slice(borders[0], borders[-1])
    return np.repeat(np.arange(len(borders) - 1), np.diff(borders)), pattern.indices[entries], entries


def _rows(kind, key, scale, factor, pattern, values, rows: slice) -> np.ndarray:
    """Rows of W."""
    w = _rest(kind, key, scale, factor, pattern.columns, rows).astype(values.dtype)
    row, column, entries = _entries(pattern, rows)
    w[row, column] = values[entries]
    return w


def check(kind: str, key: int, pattern: Pattern, values: np.ndarray) -> int:
    """The key as a Python integer; ValueError unless these describe a weight."""
    check_values(values, pattern)
    return _check_weight(kind, key, pattern)


def check_tile(kind, key, pattern: Pattern, gradient: np.ndarray, first: int, rate, threshold, place) -> int:
    """The key as a Python integer; ValueError unless these describe a weight, a tile of its gradient and a bound."""
    check_pattern(pattern)
    check_operand("gradient", gradient, gradient.dtype, None, pattern.columns)
    first, place = operator.index(first), operator.index(place)
    if not 0 <= first <= pattern.shape[0] - len(gradient):
        raise ValueError(f"first={first} and {len(gradient)} rows of a gradient pass {pattern.shape[0]}, those of W")
    if not threshold >= 0 or not abs(rate) < float("inf") or not -(2**63) <= place < 2**63:
        raise ValueError(f"rate={rate} must be finite, threshold={threshold} >= 0 and place={place} a 64-bit integer")
    return _check_weight(kind, key, pattern)


def _check_weight(kind: str, key: int, pattern: Pattern) -> int:
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown: use one of {KINDS}")
    key, _, _ = rng_ref.check_range(key, 0, 0)
    if not pattern.rises:
        raise ValueError("pattern must have columns that rise within each row: sort the entries")
    if pattern.wide:
        raise ValueError("pattern has indices of 64 bits: split the weight, rows, columns and entries below 2^31 each")
    return key


def magnitudes(function: str, *arguments) -> np.ndarray:
    """sum |terms| of each sum of a call, float64."""
    if function == "gradient":
        dy, x = arguments
        return np.abs(dy).astype(np.float64) @ np.abs(x.T)
    kind, key, scale, factor, pattern, values, operand = arguments
    w = np.abs(_rows(kind, key, scale, factor, pattern, values, slice(0, pattern.shape[0])))
    return (w if function == "matmul" else w.T) @ np.abs(operand).astype(np.float64)


def cases(generator: np.random.Generator):
    """Calls with the longest sum of each: (function, arguments, terms a sum)."""
    sizes = [(1, 1, 1), (0, 3, 2), (5, 0, 3), (4, 6, 0), (70, 300, 130), (33, 129, 64), (3, 9, 100)]
    sizes += [(5, 7, n) for n in (2, 15, 16, 17, 31)] + [(6, 700, 300)]
    for dtype in (np.float32, np.float64):
        for j, (o, i, n) in enumerate(sizes):
            mask = generator.random((o, i)) < 0.2
            pattern = Pattern(np.concatenate([[0], np.cumsum(mask.sum(1))]), np.nonzero(mask)[1], i)
            values = generator.normal(size=len(pattern.indices)).astype(dtype)
            weight = (KINDS[j % 3], int(generator.integers(2**63)), 0.7, (1.0, 0.3)[j % 2], pattern, values)
            yield "matmul", (*weight, generator.normal(size=(i, n)).astype(dtype)), i
            yield "rmatmul", (*weight, generator.normal(size=(o, n)).astype(dtype)), o
            dy, x = generator.normal(size=(o, n)).astype(dtype), generator.normal(size=(i, n)).astype(dtype)
            yield "gradient", (dy, x), max(n, 1)
            yield "gradient", (dy, np.asfortranarray(x)), max(n, 1)
            weight, g = weight[:5], generator.normal(size=(o, i)).astype(dtype)
            for threshold, place in ((0.0, o * i), (0.0, o * i // 2), (0.3, 0), (np.inf, o * i)):
                yield "candidates", (*weight, g, 0, 0.3, threshold, place)
            yield "candidates", (*weight, np.round(g)[o // 2 :], o // 2, 0.25, 0.25, o * i)
            yield "candidates", (*weight, np.where(g > 2, np.nan, g), 0, 0.3, 0.5, 0)
