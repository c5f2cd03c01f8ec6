"""A bias b (C,) for all numbers of a row of y (C, n), and its gradient; alone, or rectified (relu_ref.py).

add       y += b;  where `rectified`, max(y + b, 0)                         (1)
sums      db = sum over n of dy                                             (2)
backward  dz = dy where y > 0, 0 elsewhere;  db = sum over n of dz          (3)
"""

import numpy as np

from minisparse._core import relu_ref
from minisparse._core.relu_ref import check_float, check_gradient

CHANGED = {"add": ("y",)}
"""What a call writes."""


def add(y: np.ndarray, b: np.ndarray, rectified: bool = False) -> None:
    """Eq. 1, in place.

    Parameters
    ----------
    y (C, n) : contiguous, float32, float64 or complex
    b (C,) : of the same dtype; of any, where y is complex (a gradient check's)

    Raises
    ------
    ValueError : dtypes or shapes that do not fit, or y cannot be written in place.
    """
    check_rows("y", y)
    check_bias(b, len(y), b.dtype if y.dtype.kind == "c" else y.dtype)
    if not y.flags.c_contiguous or not y.flags.writeable:
        raise ValueError("y is changed in place: it must be contiguous and writeable")
    y += b[:, None]
    if rectified:
        y[...] = relu_ref.forward(y)


def sums(dy: np.ndarray) -> np.ndarray:
    """db (C,), eq. 2, of the dtype of dy (C, n).

    Raises
    ------
    ValueError : dy is no matrix of floats.
    """
    check_rows("dy", dy)
    return dy.sum(axis=1)


def backward(dy: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dz (C, n) and db (C,), eq. 3, from dy and the result y of eq. 1, both (C, n) and of one dtype.

    Raises
    ------
    ValueError : dtypes or shapes that do not fit.
    """
    check_rows("dy", dy)
    check_gradient(dy, y)
    dz = relu_ref.backward(dy, y)
    return dz, dz.sum(axis=1)


def check_rows(name: str, array: np.ndarray) -> None:
    """ValueError unless this is a matrix of floats."""
    check_float(array)
    if array.ndim != 2:
        raise ValueError(f"{name} {array.shape} must be a matrix, a row a channel")


def check_bias(b: np.ndarray, rows: int, dtype: np.dtype) -> None:
    """ValueError unless there is a number of this dtype for each row."""
    if b.shape != (rows,) or b.dtype != dtype:
        raise ValueError(f"b is {b.dtype} {b.shape}: it must be {dtype}, one number for each of {rows} rows")


def cases(generator: np.random.Generator):
    """Calls, with the terms of a sum where there are any: (function, arguments, terms)."""
    for dtype in (np.float32, np.float64, np.complex128):
        for c, n in ((1, 1), (0, 3), (3, 0), (3, 70), (20, 5000)):
            y = generator.normal(size=(c, n)).astype(dtype)
            b, dy = generator.normal(size=c).astype(dtype), generator.normal(size=(c, n)).astype(dtype)
            terms = (max(n, 1),) if dtype != np.complex128 else ()
            yield "add", (y, b)
            yield "add", (y, b, True)
            yield "sums", (y,), *terms
            yield "backward", (dy, y), *terms
        strange = np.array([[0, -0.0, np.inf, -np.inf, np.nan, 1, -1]], dtype)
        yield "add", (strange, np.zeros(1, dtype), True)
