"""Largest pixel of each window, and its gradient.

x is (C, H, W, N), y (C, Ho, Wo, N) with Ho = floor((H - k) / s) + 1:

    y[c, i, j] = max x[c, s i + u, s j + v],   0 <= u, v < k                   (1)
    winner[c, i, j] = k u + v of the pixel that y is: the first of equal ones, the last NaN if there is one
    dx[c, s i + u, s j + v] += dy[c, i, j] where winner[c, i, j] = k u + v     (2)
"""

import operator
from collections.abc import Iterator

import numpy as np

from minisparse._core.relu_ref import FLOATS


def maximum(x: np.ndarray, kernel: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """y, eq. 1, and winner, int32 of its shape.

    Parameters
    ----------
    x : float32 or float64; complex (a complex step's), of which the real part decides
    kernel, stride : k and s, >= 1

    Raises
    ------
    ValueError : x of another dtype, or no window fits.
    """
    kernel, stride, height, width = check_window(x, kernel, stride)
    y = np.full((len(x), height, width, x.shape[3]), -np.inf, x.dtype)
    winner = np.zeros(y.shape, np.int32)
    for place, tap in enumerate(_taps(x, kernel, stride, height, width)):
        better = (tap.real > y.real) | np.isnan(tap)
        np.copyto(winner, place, where=better)
        np.copyto(y, tap, where=better)
    return y, winner


def maximum_backward(
    dy: np.ndarray, winner: np.ndarray, kernel: int, stride: int, height: int, width: int
) -> np.ndarray:
    """dx (C, height, width, N), eq. 2, added in the order of u, v.

    Parameters
    ----------
    height, width : H and W

    Raises
    ------
    ValueError : as there, or dy and winner that do not fit the image.
    """
    kernel, stride, height, width = check_winner(dy, winner, kernel, stride, height, width)
    dx = np.zeros((len(dy), height, width, dy.shape[3]), dy.dtype)
    for place, tap in enumerate(_taps(dx, kernel, stride, *dy.shape[1:3])):
        tap += np.where(winner == place, dy, dy.dtype.type(0))
    return dx


def _taps(x: np.ndarray, kernel: int, stride: int, height: int, width: int) -> Iterator[np.ndarray]:
    """For each place in the window, the pixels there: kernel^2 views (C, Ho, Wo, N)."""
    for u in range(kernel):
        for v in range(kernel):
            yield x[:, u : u + stride * height : stride, v : v + stride * width : stride]


def check_window(x: np.ndarray, kernel: int, stride: int) -> tuple[int, int, int, int]:
    """kernel, stride, Ho and Wo, or ValueError."""
    if x.ndim != 4 or x.dtype not in FLOATS:
        raise ValueError(f"x is {x.dtype} {x.shape}, expected float32 or float64 (C, H, W, N)")
    return check_image(kernel, stride, *x.shape[1:3])


def check_image(kernel: int, stride: int, height: int, width: int) -> tuple[int, int, int, int]:
    """kernel, stride, Ho and Wo, or ValueError."""
    kernel, stride, height, width = map(operator.index, (kernel, stride, height, width))
    if not (1 <= kernel <= min(height, width) and 1 <= stride < 2**31):
        raise ValueError(f"kernel={kernel}, stride={stride} must be >= 1 and fit a {height} x {width} image")
    return kernel, stride, (height - kernel) // stride + 1, (width - kernel) // stride + 1


def check_winner(dy: np.ndarray, winner: np.ndarray, kernel: int, stride: int, height: int, width: int):
    """kernel, stride, H and W as integers, or ValueError."""
    height, width = operator.index(height), operator.index(width)
    kernel, stride, *size = check_image(kernel, stride, height, width)
    if dy.ndim != 4 or dy.dtype not in FLOATS or list(dy.shape[1:3]) != size:
        raise ValueError(f"dy is {dy.dtype} {dy.shape}, expected float32 or float64 (C, {size[0]}, {size[1]}, N)")
    if winner.dtype != np.int32 or winner.shape != dy.shape:
        raise ValueError(f"winner is {winner.dtype} {winner.shape}, expected int32 {dy.shape}")
    return kernel, stride, height, width


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for dtype in (np.float32, np.float64):
        for shape, kernel, stride in (
            ((2, 4, 6, 5), 2, 2),
            ((1, 5, 7, 33), 2, 2),
            ((3, 7, 6, 16), 3, 2),
            ((2, 4, 5, 3), 3, 1),
            ((2, 5, 5, 2), 1, 2),
            ((20, 24, 24, 70), 2, 2),
            ((0, 2, 2, 3), 2, 2),
            ((3, 2, 2, 0), 2, 2),
            ((1, 2, 1, 3), 2, 2),
        ):
            # ties, and all kinds of values
            x = generator.choice(np.array([-1, 0, -0.0, 2, np.inf, -np.inf, np.nan]), shape).astype(dtype)
            for image in (x, generator.normal(size=shape).astype(dtype)):
                yield "maximum", (image, kernel, stride)
            size = [max(0, (extent - kernel) // stride + 1) for extent in shape[1:3]]
            dy = generator.normal(size=(shape[0], *size, shape[3])).astype(dtype)
            winner = generator.integers(-1, kernel**2 + 1, dy.shape, np.int32)
            yield "maximum_backward", (dy, winner, kernel, stride, *shape[1:3])
    z = generator.normal(size=(1, 4, 4, 3)) + 1j
    yield "maximum", (z, 2, 2)
    yield "maximum_backward", (z[:, :2, :2], np.zeros((1, 2, 2, 3), np.int32), 2, 2, 4, 4)
