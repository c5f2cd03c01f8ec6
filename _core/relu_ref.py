"""The rectifier and its gradient, entry by entry, for arrays of any shape.

    y = x where x > 0, +0 where x <= 0; NaN stays NaN                          (1)
    dx = dy, or dy + added, where y > 0, 0 elsewhere                           (2)
    y = a + b;   where `rectified`, eq. 1 of it                                (3)

What was positive is read off y, which the layer above keeps anyway, so that forward has no mask to write.
"""

import numpy as np

REAL = np.dtype(np.float32), np.dtype(np.float64)
FLOATS = *REAL, np.dtype(np.complex64), np.dtype(np.complex128)
"""What layers compute with; complex where a derivative is taken by a complex step."""


def forward(x: np.ndarray) -> np.ndarray:
    """y, eq. 1: contiguous.

    Parameters
    ----------
    x : float32 or float64; complex (a complex step's), of which the real part decides

    Raises
    ------
    ValueError : x is of another dtype.
    """
    check_float(x)
    # + 0 makes -0 to 0
    return (np.maximum(np.ascontiguousarray(x), 0) + x.dtype.type(0)).reshape(x.shape)


def backward(dy: np.ndarray, y: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
    """dx, eq. 2: contiguous, of the dtype of dy; `added` is what came to y on another way.

    Raises
    ------
    ValueError : dtypes or shapes that do not fit.
    """
    check_gradient(dy, y)
    if added is not None:
        dy = add(dy, added, False)
    return np.where(y.real > 0, np.ascontiguousarray(dy), dy.dtype.type(0)).reshape(dy.shape)


def add(a: np.ndarray, b: np.ndarray, rectified: bool) -> np.ndarray:
    """y, eq. 3: contiguous.

    Raises
    ------
    ValueError : dtypes or shapes that do not fit.
    """
    check_gradient(a, b)
    with np.errstate(all="ignore"):
        y = np.ascontiguousarray(a + b).reshape(a.shape)
        return np.where(y.real <= 0, y.dtype.type(0), y) if rectified else y


def check_float(x: np.ndarray) -> None:
    """ValueError unless x is of a dtype that the layers compute with."""
    if x.dtype not in FLOATS:
        raise ValueError(f"x is {x.dtype}, expected float32 or float64")


def check_gradient(dy: np.ndarray, y: np.ndarray) -> None:
    """ValueError unless dy can be a gradient of y."""
    check_float(y)
    if dy.dtype != y.dtype or dy.shape != y.shape:
        raise ValueError(f"dy is {dy.dtype} {dy.shape}, expected {y.dtype} {y.shape}")


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for dtype in (np.float32, np.float64):
        strange = np.array([0, -0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).tiny, -np.finfo(dtype).tiny])
        shapes = ((), (0,), (1,), (7, 5), (3, 2, 4, 5), (70_001,))
        for x in (*(generator.normal(size=shape) for shape in shapes), strange):
            x = np.asarray(x, dtype)
            yield "forward", (x,)
            other = np.asarray(generator.normal(size=x.shape), dtype)
            yield "backward", (other, x)
            yield "backward", (other, x, np.asarray(generator.normal(size=x.shape), dtype))
            yield "backward", (other, other, x)
            yield "add", (other, x, False)
            yield "add", (other, x, True)
    x = generator.normal(size=(3, 4)) + 1j
    yield "forward", (x,)
    yield "backward", (x[::-1], x)
    yield "backward", (x[::-1], x, x)
    yield "add", (x[::-1], x, True)
