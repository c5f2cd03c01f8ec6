"""Batch normalisation: the four passes over x (C, n), n the batch and pixels of a channel.

    mean = sum x / n,   var = sum (x - mean)^2 / n                             (1)
    xhat = (x - mean) inverse,   y = gain xhat + bias                          (2)
    dgain = sum dy xhat,   dbias = sum dy                                      (3)
    dx = gain inverse (dy - (dbias / n + xhat dgain / n))                      (4)

mean, inverse, gain, bias, dgain and dbias are vectors (C,). Sums are taken in float64, all else in the dtype of x, in
the order that is written. xhat is computed anew in each pass: reading it would take as long as reading x.

Source: Ioffe and Szegedy (2015), arXiv 1502.03167, algorithm 1.
"""

import numpy as np

from minisparse._core.relu_ref import check_float, check_gradient


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """mean and var, eq. 1: (C,) float64; complex128 of a complex x (a gradient check's).

    Raises
    ------
    ValueError : x is no matrix of float32 or float64, or has no columns.
    """
    check_rows(x)
    with np.errstate(all="ignore"):
        mean = x.mean(axis=1, dtype=_wide(x))
        centred = x - mean[:, None]
        return mean, (centred * centred).mean(axis=1)


def normalise(x: np.ndarray, mean: np.ndarray, inverse: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """y, eq. 2.

    Parameters
    ----------
    mean, inverse, gain, bias : (C,), rounded to the dtype of x

    Raises
    ------
    ValueError : as there, or a vector of another shape.
    """
    check_rows(x)
    mean, inverse, gain, bias = check_columns(x, mean, inverse, gain, bias)
    with np.errstate(all="ignore"):
        return gain * ((x - mean) * inverse) + bias


def slopes(dy: np.ndarray, x: np.ndarray, mean: np.ndarray, inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dgain and dbias, eq. 3: (C,) float64.

    Raises
    ------
    ValueError : as there, or dy has not the shape and dtype of x.
    """
    check_rows(x)
    check_gradient(dy, x)
    mean, inverse = check_columns(x, mean, inverse)
    with np.errstate(all="ignore"):
        xhat = (x - mean) * inverse
        return (dy.astype(_wide(x)) * xhat).sum(axis=1), dy.sum(axis=1, dtype=_wide(x))


def backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    inverse: np.ndarray,
    gain: np.ndarray,
    dgain: np.ndarray,
    dbias: np.ndarray,
) -> np.ndarray:
    """dx, eq. 4; where mean and inverse do not come from x, eq. 4 with dgain = dbias = 0.

    Raises
    ------
    ValueError : as there.
    """
    check_rows(x)
    check_gradient(dy, x)
    n = x.shape[1]
    with np.errstate(all="ignore"):
        mean, inverse, slope, level = check_columns(x, mean, inverse, dgain / n, dbias / n)
        scale = check_columns(x, gain)[0] * inverse
        return scale * (dy - (level + (x - mean) * inverse * slope))


def check_rows(x: np.ndarray) -> None:
    """ValueError unless x is a matrix with columns."""
    check_float(x)
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(f"x {x.shape} must be a matrix (C, n) with n >= 1")


def check_columns(x: np.ndarray, *vectors: np.ndarray) -> list[np.ndarray]:
    """Vectors (C,) as (C, 1) of the dtype of x; ValueError for another shape."""
    for vector in vectors:
        if vector.shape != x.shape[:1] or vector.dtype.kind not in "fc":
            raise ValueError(f"{vector.dtype} {vector.shape} must be floats of shape {x.shape[:1]}, one a channel")
    return [vector.astype(x.dtype)[:, None] for vector in vectors]


def _wide(x: np.ndarray) -> type:
    """The dtype of sums."""
    return np.complex128 if x.dtype.kind == "c" else np.float64


def magnitudes(function: str, *arguments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum |terms| of each sum of a call, float64: the two of `moments` or of `slopes`."""
    if function == "moments":
        (x,) = (np.abs(a).astype(np.float64) for a in arguments)
        mean = x.mean(axis=1)
        return mean, np.square(x + mean[:, None]).mean(axis=1)
    dy, x, mean, inverse = arguments
    mean, inverse = check_columns(x, mean, inverse)
    xhat = np.abs((x - mean) * inverse).astype(np.float64)
    return (np.abs(dy) * xhat).sum(axis=1), np.abs(dy).sum(axis=1, dtype=np.float64)


def cases(generator: np.random.Generator):
    """Calls with the longest sum of each, none where results agree to the bit: (function, arguments, terms)."""
    for dtype in (np.float32, np.float64):
        for c, n in ((1, 1), (0, 3), (3, 0), (2, 5), (3, 16), (5, 33), (2, 70_001), (40, 1000)):
            x, dy = (generator.normal(size=(c, n)).astype(dtype) for _ in range(2))
            mean, inverse, gain, bias, dgain, dbias = generator.normal(size=(6, c))
            x += 3
            # besides the n terms: centring, squaring or multiplying, dividing
            yield "moments", (x,), n + 4
            yield "slopes", (dy, x, mean.astype(dtype), inverse), n + 2
            yield "normalise", (x, mean, inverse.astype(np.float32), gain.astype(dtype), bias)
            yield "backward", (dy, x, mean, inverse, gain.astype(dtype), dgain, dbias)
    x = generator.normal(size=(2, 3)) + 1j
    vector = x[:, 0].copy()
    yield "moments", (x,)
    yield "slopes", (x[::-1], x, vector, vector)
    yield "normalise", (x, vector, vector, vector, vector)
    yield "backward", (x[::-1], x, vector, vector, vector, vector, vector)
