"""Batch normalisation and the rectifier behind it: x (C, n), n the batch and pixels of a channel.

    mean = sum x / n,   var = sum (x - mean)^2 / n                             (1)
    xhat = (x - mean) inverse,   inverse = 1 / sqrt(var + eps)                 (2)
    y = gain xhat + bias;   where `rectified`, max(y, 0), NaN stays NaN        (3)
    dgain = sum dy xhat,   dbias = sum dy                                      (4)
    dx = gain inverse (dy - (dbias / n + xhat dgain / n))                      (5)
    running <- running + momentum (batch - running), of mean and of n / (n - 1) var    (6)

mean, var, inverse, gain, bias, dgain and dbias are vectors (C,); `normal` (C, 4) has the mean, inverse, gain and bias
of each channel, in the dtype of x. Sums are given in float64, exact to the rounding of the dtype of x; inverse is taken
in float64, all else in the dtype of x, in the order that is written. xhat is computed anew in each pass: reading it
would take as long as reading x.
`forward_pooled` keeps the largest y of each window of 2 x 2 pixels, rectified, and `backward_pooled` begins there
(pool_ref.py). Where `rectified`, dy counts in eqs. 4 and 5 where eq. 3 is > 0 before the rectifier, and is 0 elsewhere.

Source: Ioffe and Szegedy (2015), arXiv 1502.03167, algorithm 1.
"""

import math

import numpy as np

from minisparse._core import pool_ref
from minisparse._core.relu_ref import REAL, add, check_float, check_gradient

WIDE = np.dtype(np.float64), np.dtype(np.complex128)
"""In which moments are given."""

CHANGED = {"follow": ("running_mean", "running_var")}
"""Operands that a call writes."""


def forward(
    x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float, rectified: bool, added: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, mean and var, eqs. 1 to 3: (C, n) of the dtype of x, (C,) and (C,) float64.

    `added` (C, n), of the dtype of x, is added to y before it is rectified.

    A complex x (a gradient check's) makes mean and var complex128.

    Raises
    ------
    ValueError : x is no matrix of float32 or float64, has no columns, or a vector has another shape.
    """
    check_added(added, x)
    mean, var = statistics(x)
    check_vectors(x, gain, bias)
    with np.errstate(all="ignore"):
        normal = np.stack([mean, 1 / np.sqrt(var + eps), gain, bias], axis=1).astype(x.dtype)
        y = normalise(x, normal, rectified and added is None)
        return y if added is None else add(y, added, rectified), mean, var


def statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """mean and var, eq. 1, as of `forward`.

    Raises
    ------
    ValueError : as there.
    """
    check_rows(x)
    with np.errstate(all="ignore"):
        mean = x.mean(axis=1, dtype=_wide(x))
        centred = x - mean[:, None]
        return mean, (centred * centred).mean(axis=1)


def normalise(x: np.ndarray, normal: np.ndarray, rectified: bool) -> np.ndarray:
    """y, eq. 3, of any mean and inverse.

    Raises
    ------
    ValueError : as there, or `normal` (C, 4) has another dtype than x.
    """
    check_rows(x)
    check_normal(normal, x)
    mean, inverse, gain, bias = normal.T[:, :, None]
    with np.errstate(all="ignore"):
        y = gain * ((x - mean) * inverse) + bias
        return np.where(y.real <= 0, x.dtype.type(0), y) if rectified else y


def follow(
    mean: np.ndarray,
    var: np.ndarray,
    gain: np.ndarray,
    bias: np.ndarray,
    eps: float,
    n: int,
    momentum: float,
    running_mean: np.ndarray,
    running_var: np.ndarray,
) -> np.ndarray:
    """`normal` (C, 4) of a batch, with eq. 2, of the dtype of gain; in place eq. 6, of the real parts.

    Parameters
    ----------
    mean, var : (C,) as of `forward`, of n >= 2 columns; complex ones make all complex128
    gain, bias : (C,) of one dtype
    running_mean, running_var : (C,) float32 or float64: written

    Raises
    ------
    ValueError : n < 2, or vectors of another shape or dtype, or read-only.
    """
    check_moments(mean, var, gain, bias, n, running_mean, running_var)
    with np.errstate(all="ignore"):
        for running, batch in (running_mean, mean.real), (running_var, var.real * (n / (n - 1))):
            running += momentum * (batch - running)
        normal = np.stack([mean, 1 / np.sqrt(var + eps), gain, bias], axis=1)
        return normal.astype(np.complex128 if mean.dtype.kind == "c" else gain.dtype)


def backward(
    dy: np.ndarray, x: np.ndarray, normal: np.ndarray, batch: bool, rectified: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx, dgain and dbias, eqs. 4 and 5: (C, n) of the dtype of x, (C,) and (C,) float64.

    Parameters
    ----------
    batch : mean and inverse come from x; else they do not depend on it, and dx is eq. 5 with dgain = dbias = 0

    Raises
    ------
    ValueError : as there, or dy has not the shape and dtype of x.
    """
    check_rows(x)
    check_gradient(dy, x)
    check_normal(normal, x)
    n = x.shape[1]
    mean, inverse, scale, bias = normal.T[:, :, None]
    with np.errstate(all="ignore"):
        xhat = (x - mean) * inverse
        if rectified:
            dy = np.where((scale * xhat + bias).real > 0, dy, dy.dtype.type(0))
        dgain, dbias = (dy.astype(_wide(x)) * xhat).sum(axis=1), dy.sum(axis=1, dtype=_wide(x))
        slope, level = ((total * bool(batch) / n).astype(x.dtype)[:, None] for total in (dgain, dbias))
        return scale * inverse * (dy - (level + xhat * slope)), dgain, dbias


def forward_pooled(
    x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The largest y of each window, its place 2 u + v, mean and var: x (C, H, W, N) -> two (C, H // 2, W // 2, N),
    of the dtype of x and uint8, two (C,) float64.

    Raises
    ------
    ValueError : as for `forward`, or no window fits.
    """
    check_images(x)
    y, mean, var = forward(x.reshape(len(x), math.prod(x.shape[1:])), gain, bias, eps, True)
    largest, winner = pool_ref.maximum(y.reshape(x.shape), 2, 2)
    return largest, winner.astype(np.uint8), mean, var


def backward_pooled(
    dy: np.ndarray, winner: np.ndarray, x: np.ndarray, normal: np.ndarray, batch: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx (C, H, W, N), dgain and dbias of dy (C, H // 2, W // 2, N), as for `backward`.

    Raises
    ------
    ValueError : as there, or winners that do not fit dy.
    """
    check_images(x)
    check_winner(dy, winner, x)
    dy = pool_ref.maximum_backward(dy, winner.astype(np.int32), 2, 2, *x.shape[1:3])
    rows = len(x), math.prod(x.shape[1:])
    dx, dgain, dbias = backward(dy.reshape(rows), x.reshape(rows), normal, batch, True)
    return dx.reshape(x.shape), dgain, dbias


def check_images(x: np.ndarray) -> None:
    """ValueError unless x is (C, H, W, N) with windows of 2 x 2."""
    check_float(x)
    if x.ndim != 4 or min(x.shape[1:3]) < 2 or not x.shape[3]:
        raise ValueError(f"x {x.shape} must be images (C, H, W, N) of at least 2 x 2, N >= 1")


def check_winner(dy: np.ndarray, winner: np.ndarray, x: np.ndarray) -> None:
    """ValueError unless dy has a number, and winner a place, for each window of x."""
    shape = len(x), x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
    if dy.shape != shape or dy.dtype != x.dtype:
        raise ValueError(f"dy is {dy.dtype} {dy.shape}, expected {x.dtype} {shape}")
    if winner.shape != shape or winner.dtype != np.uint8:
        raise ValueError(f"winner is {winner.dtype} {winner.shape}, expected uint8 {shape}")


def check_rows(x: np.ndarray) -> None:
    """ValueError unless x is a matrix with columns."""
    check_float(x)
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(f"x {x.shape} must be a matrix (C, n) with n >= 1")


def check_added(added: np.ndarray | None, x: np.ndarray) -> None:
    """ValueError unless there is none, or it is of the shape and dtype of x."""
    if added is not None and (added.shape != x.shape or added.dtype != x.dtype):
        raise ValueError(f"added is {added.dtype} {added.shape}, expected {x.dtype} {x.shape}")


def check_moments(mean, var, gain, bias, n: int, running_mean, running_var) -> None:
    """ValueError unless the running vectors can follow these moments, and gain and bias stand beside them."""
    if n < 2:
        raise ValueError("BatchNorm cannot train on one value a channel: use a batch of at least 2 samples")
    if mean.ndim != 1 or var.shape != mean.shape or var.dtype != mean.dtype or mean.dtype not in WIDE:
        raise ValueError(f"mean is {mean.dtype} {mean.shape} and var {var.dtype} {var.shape}: expected float64, (C,)")
    check_float(gain)
    if not gain.shape == bias.shape == mean.shape or gain.dtype != bias.dtype:
        raise ValueError(f"gain is {gain.dtype} {gain.shape}, bias {bias.dtype} {bias.shape}: expected {mean.shape}")
    if not running_mean.shape == running_var.shape == mean.shape:
        raise ValueError(f"running vectors {running_mean.shape} and {running_var.shape} must have shape {mean.shape}")
    if running_mean.dtype != running_var.dtype or running_mean.dtype not in REAL:
        raise ValueError(f"running vectors are {running_mean.dtype} and {running_var.dtype}: both must be float32")
    if not (running_mean.flags.writeable and running_var.flags.writeable):
        raise ValueError("running vectors must be writeable: pass copies, and keep them")


def check_normal(normal: np.ndarray, x: np.ndarray) -> None:
    """ValueError unless there are four numbers of x's dtype for each channel."""
    if normal.shape != (len(x), 4) or normal.dtype != x.dtype:
        raise ValueError(f"normal is {normal.dtype} {normal.shape}: it must be {x.dtype}, ({len(x)}, 4)")


def check_vectors(x: np.ndarray, *vectors: np.ndarray) -> None:
    """ValueError unless each has a float for a channel of x."""
    for vector in vectors:
        if vector.shape != x.shape[:1] or vector.dtype.kind not in "fc":
            raise ValueError(f"{vector.dtype} {vector.shape} must be floats of shape {x.shape[:1]}, one a channel")


def _wide(x: np.ndarray) -> type:
    """The dtype of sums."""
    return np.complex128 if x.dtype.kind == "c" else np.float64


def magnitudes(function: str, *arguments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """sum |terms| of each sum of a call, float64; of y and dx what their sums' errors and their own steps come to."""
    if function in ("forward", "statistics"):
        x = np.abs(arguments[0]).astype(np.float64)
        mean = x.mean(axis=1)
        var = np.square(x + mean[:, None]).mean(axis=1)
        sums = _coarse(arguments[0]) * mean, _coarse(arguments[0]) * var
        if function == "statistics":
            return sums
        _, gain, bias, eps, _, *added = arguments
        exact = np.asarray(arguments[0], np.float64).var(axis=1) + eps
        # d inverse / inverse = d var / (2 (var + eps))
        spread = (np.abs(gain) / np.sqrt(exact) * (1 + var / exact))[:, None]
        return spread * (x + mean[:, None]) + np.abs(bias)[:, None] + sum(np.abs(z) for z in added), *sums
    if function == "forward_pooled":
        x, *vectors = arguments
        y, mean, var = magnitudes("forward", x.reshape(len(x), math.prod(x.shape[1:])), *vectors, True)
        return pool_ref.maximum(y.reshape(x.shape), 2, 2)[0], None, mean, var
    if function == "backward_pooled":
        dy, winner, x, normal, batch = arguments
        dy = pool_ref.maximum_backward(dy, winner.astype(np.int32), 2, 2, *x.shape[1:3])
        rows = len(x), math.prod(x.shape[1:])
        dx, dgain, dbias = magnitudes("backward", dy.reshape(rows), x.reshape(rows), normal, batch, True)
        return dx.reshape(x.shape), dgain, dbias
    dy, x, normal, batch, _ = arguments
    mean, inverse, gain, _ = normal.astype(np.float64).T[:, :, None]
    dy, xhat = np.abs(dy).astype(np.float64), (np.abs(x) + np.abs(mean)) * np.abs(inverse)
    dgain, dbias = (dy * xhat).sum(axis=1), dy.sum(axis=1)
    n = x.shape[1]
    pull = (dbias[:, None] + xhat * dgain[:, None]) * bool(batch) / n
    return np.abs(gain * inverse) * (dy + pull), _coarse(x) * dgain, _coarse(x) * dbias


def _coarse(x: np.ndarray) -> float:
    """How much coarser the dtype of x is than that in which sums are given."""
    return np.finfo(x.dtype).eps / np.finfo(np.float64).eps


def cases(generator: np.random.Generator):
    """Calls with the longest sum of each, none where results agree to the bit: (function, arguments, terms)."""
    for dtype in (np.float32, np.float64):
        for c, n in ((1, 1), (0, 3), (3, 0), (2, 5), (3, 16), (5, 33), (2, 70_001), (40, 1000)):
            x, dy = (generator.normal(size=(c, n)).astype(dtype) for _ in range(2))
            gain, bias = generator.normal(size=(2, c))
            normal = generator.normal([3, 0, 0, 0], size=(c, 4)).astype(dtype)
            x += 3
            yield "statistics", (x,), n + 8
            for rectified in (False, True):
                # besides the n terms: centring, squaring or multiplying, dividing, scaling, shifting
                yield "forward", (x, gain.astype(dtype), bias, 1e-5, rectified), n + 8
                yield "forward", (x, gain.astype(dtype), bias, 1e-5, rectified, dy), n + 8
                yield "normalise", (x, normal, rectified)
                for batch in (False, True):
                    yield "backward", (dy, x, normal, batch, rectified), n + 8
        yield from _extremes(generator, dtype)
        for shape in ((2, 4, 6, 3), (3, 5, 7, 40), (1, 2, 2, 1), (0, 2, 2, 1), (2, 1, 4, 3), (20, 16, 16, 33)):
            x, (gain, bias) = 3 + generator.normal(size=shape), generator.normal(size=(2, shape[0]))
            normal = generator.normal([3, 0, 0, 0], size=(shape[0], 4)).astype(dtype)
            dy = generator.normal(size=(shape[0], shape[1] // 2, shape[2] // 2, shape[3])).astype(dtype)
            winner, n = generator.integers(5, size=dy.shape).astype(np.uint8), math.prod(shape[1:])
            yield "forward_pooled", (x.astype(dtype), gain, bias, 1e-5), n + 8
            for batch in (False, True):
                yield "backward_pooled", (dy, winner, x.astype(dtype), normal, batch), n + 8
        for c in (0, 1, 20):
            mean, var, *running = generator.random((4, c)) + 0.1
            vectors = [vector.astype(dtype) for vector in running]
            yield "follow", (mean, var, *vectors, 1e-5, 2, 0.1, *vectors[::-1])
            # gain and bias, and what runs with the batches, need not be of one dtype
            vectors = mean.astype(np.float32), var.astype(np.float32)[::-1], 1e-5, 1000, 1.0, *vectors
            yield "follow", (mean[::-1], var, *vectors)
        strange = np.array([0, np.inf, np.nan, 1e300, -1])
        yield "follow", (strange, strange, *np.ones((2, 5), dtype), 0.0, 7, 0.5, *np.ones((2, 5), dtype))
    x = generator.normal(size=(2, 3)) + 1j
    vector = x[:, 0].copy()
    normal = np.stack([vector] * 4, axis=1)
    yield "follow", (vector, vector, vector, vector, 1e-5, 3, 0.1, *np.ones((2, 2), np.float32))
    yield "statistics", (x,)
    yield "forward", (x, vector, vector, 1e-5, True)
    yield "normalise", (x, normal, True)
    yield "backward", (x[::-1], x, normal, True, True)


def _extremes(generator: np.random.Generator, dtype: type):
    """Rows of one value, far from zero, with one number far from the others, and at the ends of float32's range."""
    flat, rows = np.full((1, 5000), 0.1, dtype), generator.normal(size=(4, 5000))
    rows[0] += 1e4
    rows[1, 0], rows[2, 3000] = 1e5, -1e5
    rows[3] *= 1e-12
    vectors = np.ones(4, dtype), np.zeros(4)
    yield "statistics", (flat,), 64
    yield "statistics", (rows.astype(dtype),), 64
    yield "statistics", ((rows[:1] - 1e4).astype(dtype) * dtype(3e37),), 64
    yield "forward", (rows.astype(dtype), *vectors, 1e-5, True), 64
    normal = np.tile(np.array([0, 1, 1, 0], dtype), (4, 1))
    yield "backward", (rows.astype(dtype), rows.astype(dtype), normal, True, False), 64
