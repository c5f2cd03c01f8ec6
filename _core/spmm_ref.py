"""The three products of training for a weight W (O, I) kept as CSR, batch last.

    matmul    y  = W x           (I, N) -> (O, N)
    rmatmul   dx = W^T dy        (O, N) -> (I, N)
    sampled   dw = (dy x^T)[o, i] at the entries of W only: the gradient on the mask

CSR: the entries of row o are values[indptr[o]:indptr[o + 1]], their columns
indices[indptr[o]:indptr[o + 1]]; no order of columns is required, a repeated column adds up.
Index arrays are both int32 or both int64; values and operands share float32 or float64.

Every result is the same whatever the number of threads.
"""

import numpy as np


def matmul(indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """y = W x, eq. y[o] = sum_k values[k] x[indices[k]] over the entries k of row o.

    Parameters
    ----------
    indptr (O + 1,), indices (K,) : int32 or int64;  values (K,), x (I, N) : float32 or float64

    Returns
    -------
    y (O, N)

    Raises
    ------
    ValueError : malformed CSR, an index outside x, or dtypes that differ.
    """
    check_csr(indptr, indices, values)
    check_operand("x", x, values.dtype)
    check_columns(indices, x.shape[0])
    y = np.zeros((len(indptr) - 1, x.shape[1]), x.dtype)
    for o in range(len(y)):
        row = slice(indptr[o], indptr[o + 1])
        y[o] = values[row] @ x[indices[row]]
    return y


def rmatmul(indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, dy: np.ndarray, columns: int) -> np.ndarray:
    """dx = W^T dy, eq. dx[indices[k]] += values[k] dy[o]: dy (O, N) -> dx (columns, N).

    Raises
    ------
    ValueError : as for matmul.
    """
    check_csr(indptr, indices, values)
    check_operand("dy", dy, values.dtype, rows=len(indptr) - 1)
    check_columns(indices, columns)
    dx = np.zeros((columns, dy.shape[1]), dy.dtype)
    for o in range(len(dy)):
        row = slice(indptr[o], indptr[o + 1])
        np.add.at(dx, indices[row], values[row, None] * dy[o])
    return dx


def sampled(indptr: np.ndarray, indices: np.ndarray, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dw[k] = sum_n dy[o, n] x[indices[k], n]: dy (O, N), x (I, N) -> (K,).

    Raises
    ------
    ValueError : as for matmul.
    """
    check_csr(indptr, indices)
    check_operand("dy", dy, dy.dtype, rows=len(indptr) - 1)
    check_operand("x", x, dy.dtype, batch=dy.shape[1])
    check_columns(indices, x.shape[0])
    dw = np.zeros(len(indices), dy.dtype)
    for o in range(len(dy)):
        row = slice(indptr[o], indptr[o + 1])
        dw[row] = x[indices[row]] @ dy[o]
    return dw


def check_csr(indptr: np.ndarray, indices: np.ndarray, values: np.ndarray | None = None) -> None:
    """ValueError unless the arrays have the form of a CSR matrix."""
    if any(array is not None and array.ndim != 1 for array in (indptr, indices, values)) or len(indptr) < 1:
        raise ValueError("indptr, indices and values must be vectors, indptr with at least one entry")
    if indptr.dtype != indices.dtype or indptr.dtype not in (np.int32, np.int64):
        raise ValueError(f"indptr ({indptr.dtype}) and indices ({indices.dtype}) must both be int32 or both int64")
    if values is not None and len(indices) != len(values):
        raise ValueError(f"indices ({len(indices)}) and values ({len(values)}) must have one length")
    if indptr[0] != 0 or indptr[-1] != len(indices) or (indptr[1:] < indptr[:-1]).any():
        raise ValueError(f"indptr must rise from 0 to {len(indices)}, the number of entries")


def check_columns(indices: np.ndarray, columns: int) -> None:
    """ValueError unless every index is the number of a column."""
    if columns < 0 or (len(indices) and (indices.min() < 0 or indices.max() >= columns)):
        raise ValueError(f"indices must lie in [0, {columns}), the number of columns, which must be >= 0")


def check_operand(name: str, array: np.ndarray, dtype: np.dtype, rows: int | None = None, batch: int | None = None):
    """ValueError unless the array is a (rows, batch) matrix of this float dtype."""
    if array.ndim != 2 or rows not in (None, array.shape[0]) or batch not in (None, array.shape[1]):
        expected = ", ".join("any" if size is None else str(size) for size in (rows, batch))
        raise ValueError(f"{name} has shape {array.shape}, expected ({expected})")
    if array.dtype != dtype or dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} is {array.dtype} beside {dtype}: both must be float32 or both float64")


def cases(generator: np.random.Generator):
    """Calls with the longest sum of each: (function, arguments, terms a sum)."""
    for dtype, index in ((np.float32, np.int32), (np.float64, np.int64)):
        for o, i, n, density in ((1, 1, 1, 1.0), (5, 7, 3, 0.0), (16, 33, 20, 0.3), (4, 6, 0, 0.5), (9, 4, 130, 1.0)):
            mask = generator.random((o, i)) < density
            mask[o // 2] = False
            indptr = np.concatenate([[0], np.cumsum(mask.sum(1))]).astype(index)
            indices = np.nonzero(mask)[1].astype(index)
            values = generator.normal(size=len(indices)).astype(dtype)
            x, dy = generator.normal(size=(i, n)).astype(dtype), generator.normal(size=(o, n)).astype(dtype)
            yield "matmul", (indptr, indices, values, x), i
            yield "matmul", (indptr, indices, values, np.asfortranarray(x)), i
            yield "rmatmul", (indptr, indices, values, dy, i), o
            yield "sampled", (indptr, indices, dy, x), n
