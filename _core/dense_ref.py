"""The products of a dense weight W (O, I) with matrices whose columns are the batch.

    matmul   y = W x                                                            (1)
    rmatmul  dx = W^T dy                                                        (2)
    outer    dw = dy x^T                                                        (3)
    affine   y = W x + b, and what is negative of it zero where `rectified`     (4)

Operands share float32 or float64. Every result is the same whatever the number of threads.
"""

import numpy as np

from minisparse._core import bias_ref


def matmul(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """y (O, N), eq. 1: w (O, I), x (I, N).

    Raises
    ------
    ValueError : dtypes or shapes that do not fit.
    """
    check_product("w", w, 1, "x", x, 0)
    return np.matmul(w, x)


def rmatmul(w: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """dx (I, N), eq. 2: w (O, I), dy (O, N).

    Raises
    ------
    ValueError : as for matmul.
    """
    check_product("w", w, 0, "dy", dy, 0)
    return np.matmul(w.T, dy)


def outer(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dw (O, I), eq. 3: dy (O, N), x (I, N).

    Raises
    ------
    ValueError : as for matmul.
    """
    check_product("dy", dy, 1, "x", x, 1)
    return np.matmul(dy, x.T)


def affine(w: np.ndarray, x: np.ndarray, b: np.ndarray, rectified: bool = False) -> np.ndarray:
    """y (O, N), eq. 4: w (O, I), x (I, N), b (O,).

    Raises
    ------
    ValueError : as for matmul.
    """
    y = matmul(w, x)
    bias_ref.add(y, b, rectified)
    return y


def check_product(first: str, a: np.ndarray, a_axis: int, second: str, b: np.ndarray, b_axis: int) -> None:
    """ValueError unless the two are matrices of one float dtype that agree along these axes."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[a_axis] != b.shape[b_axis]:
        raise ValueError(f"{first} {a.shape} and {second} {b.shape} must be matrices that fit")
    if a.dtype != b.dtype or a.dtype not in (np.float32, np.float64):
        raise ValueError(f"{first} is {a.dtype}, {second} {b.dtype}: both must be float32 or both float64")


SIZES = (  # O, I, N
    (1, 1, 1), (0, 3, 2), (3, 0, 2), (3, 2, 0), (9, 5, 7), (8, 300, 32), (17, 33, 33), (10, 7, 128), (40, 600, 70),
    (300, 30, 64),
)  # fmt: skip


def cases(generator: np.random.Generator):
    """Calls with the longest sum of each: (function, arguments, terms a sum)."""
    for dtype in (np.float32, np.float64):
        for o, i, n in SIZES:
            w, x, dy, b = (generator.normal(size=s).astype(dtype) for s in ((o, i), (i, n), (o, n), (o,)))
            yield "matmul", (w, x), max(i, 1)
            yield "rmatmul", (w, dy), max(o, 1)
            yield "outer", (dy, x), max(n, 1)
            yield "affine", (w, x, b), max(i, 1)
            yield "affine", (w, x, b, True), max(i, 1)
        strange = np.array([[0, -0.0, np.inf, -np.inf, np.nan, 1, -1]], dtype)
        yield "affine", (np.ones((1, 1), dtype), strange, np.zeros(1, dtype), True)
