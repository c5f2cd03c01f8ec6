"""Convolution of a dense weight W (O, C / groups, kh, kw) and its two gradients, batch last.

    convolve         y[o, i, j] = b[o] + sum_{c, u, v} W[o, c, u, v] x[c, s i + u - p, s j + v - p]  (1)
    input_gradient   dx, the transpose of eq. 1 in x
    weight_gradient  dw[o, c, u, v] = sum_{i, j, n} dy[o, i, j, n] x[c, s i + u - p, s j + v - p, n]  (2)
    convolve_pooled  the largest y of each window of 2 x 2 pixels, side by side, and its place (pool_ref.py)

with stride s, x zero outside the image, p pixels of padding on each side, and c over the channels of o's
group. x is (C, H, W, N), y is (O, Ho, Wo, N) with Ho = floor((H + 2 p - kh) / s) + 1. Operands
share float32 or float64. Every result is the same whatever the number of threads.

The compiled twin may compute by tiles (winograd.py), where rounding errors, and what is not finite, of one pixel are
those of its tile.

The gradients take a dy of all y or, with the winners of pooling, of the pooled ones: then that of all others is zero.
Where x stands for what a batch normalisation and its rectifier make of it, `normal` (C, 4) are each channel's mean,
inverse, gain and bias (norm_ref.py, eq. 3), and it is normalised while it is read.
"""

import math
from functools import lru_cache

import numpy as np

from minisparse._core import norm_ref, pool_ref, winograd
from minisparse._core.relu_ref import REAL


def convolve(
    w: np.ndarray,
    x: np.ndarray,
    stride: int,
    padding: int,
    groups: int,
    bias: np.ndarray | None = None,
    normal: np.ndarray | None = None,
) -> np.ndarray:
    """y (O, Ho, Wo, N), eq. 1; bias is b (O,), None for none.

    Raises
    ------
    ValueError : shapes that do not fit, other dtypes, or a kernel larger than the padded image.
    """
    ho, wo = check_forward(w, x, stride, padding, groups, bias, normal)
    columns = _unfold(_normalised(x, normal), w.shape[2:], stride, padding)
    y = np.matmul(_by_group(w, groups), _by_group(columns, groups)).reshape(len(w), ho, wo, x.shape[3])
    return y if bias is None else y + bias[:, None, None, None]


def convolve_pooled(
    w: np.ndarray, x: np.ndarray, stride: int, padding: int, groups: int, bias: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each window of 2 x 2, (O, Ho // 2, Wo // 2, N), and its place 2 u + v, uint8 of that shape.

    Raises
    ------
    ValueError : as for convolve, or y is smaller than a window.
    """
    y = convolve(w, x, stride, padding, groups, bias)
    return _pooled(y)


def input_gradient(
    w: np.ndarray,
    dy: np.ndarray,
    height: int,
    width: int,
    stride: int,
    padding: int,
    groups: int,
    winner: np.ndarray | None = None,
) -> np.ndarray:
    """dx (C, height, width, N) of dy (O, Ho, Wo, N) or, with its winners, (O, Ho // 2, Wo // 2, N).

    Raises
    ------
    ValueError : as for convolve.
    """
    size = check_input_gradient(w, dy, height, width, stride, padding, groups, winner)
    dy = _unpooled(dy, size, winner)
    columns = np.matmul(_by_group(w, groups).swapaxes(1, 2), _by_group(dy, groups))
    return _fold(columns, (groups * w.shape[1], height, width, dy.shape[3]), w.shape[2:], stride, padding)


def weight_gradient(
    dy: np.ndarray,
    x: np.ndarray,
    kernel_height: int,
    kernel_width: int,
    stride: int,
    padding: int,
    groups: int,
    winner: np.ndarray | None = None,
    normal: np.ndarray | None = None,
) -> np.ndarray:
    """dw (O, C / groups, kh, kw), eq. 2: dy as for input_gradient, x (C, H, W, N).

    Raises
    ------
    ValueError : as for convolve.
    """
    kernel = kernel_height, kernel_width
    size = check_weight_gradient(dy, x, kernel, stride, padding, groups, winner, normal)
    dy = _unpooled(dy, size, winner)
    columns = _unfold(_normalised(x, normal), kernel, stride, padding)
    dw = np.matmul(_by_group(dy, groups), _by_group(columns, groups).swapaxes(1, 2))
    return dw.reshape(len(dy), x.shape[0] // groups, *kernel)


def _pooled(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each window and their places."""
    check_windows(y.shape[1:3])
    largest, winner = pool_ref.maximum(y, WINDOW, WINDOW)
    return largest, winner.astype(np.uint8)


def _unpooled(dy: np.ndarray, size: tuple[int, int], winner: np.ndarray | None) -> np.ndarray:
    """The gradient of all pixels from that of the winners; dy itself without any."""
    if winner is None:
        return dy
    return pool_ref.maximum_backward(dy, winner.astype(np.int32), WINDOW, WINDOW, *size)


def _normalised(x: np.ndarray, normal: np.ndarray | None) -> np.ndarray:
    """What `normal` makes of x; x itself without one."""
    if normal is None or not x.size:
        return x
    return norm_ref.normalise(x.reshape(len(x), -1), normal, rectified=True).reshape(x.shape)


def _by_group(array: np.ndarray, groups: int) -> np.ndarray:
    """(rows, ...) -> (groups, rows of a group, columns)."""
    return array.reshape(groups, len(array) // groups, math.prod(array.shape[1:]))


def _unfold(x: np.ndarray, kernel: tuple[int, int], stride: int, padding: int) -> np.ndarray:
    """The inputs under the kernel at each output pixel: (C, H, W, N) -> (C kh kw, Ho Wo N)."""
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))[:, ::stride, ::stride]
    c, ho, wo, n, kh, kw = windows.shape
    return windows.transpose(0, 4, 5, 1, 2, 3).reshape(c * kh * kw, ho * wo * n)


def _fold(columns: np.ndarray, shape: tuple[int, ...], kernel, stride: int, padding: int) -> np.ndarray:
    """The transpose of _unfold: sums columns back onto an image of this shape (C, H, W, N)."""
    (c, h, w, n), (kh, kw), p = shape, kernel, padding
    ho, wo = check_fit(kernel, stride, padding, (h, w))
    columns = columns.reshape(c, kh, kw, ho, wo, n)
    image = np.zeros((c, h + 2 * p, w + 2 * p, n), columns.dtype)
    for u in range(kh):
        for v in range(kw):
            image[:, u : u + stride * ho : stride, v : v + stride * wo : stride] += columns[:, u, v]
    return np.ascontiguousarray(image[:, p : p + h, p : p + w])


def check_forward(w, x, stride, padding, groups, bias, normal=None) -> tuple[int, int]:
    """(Ho, Wo); ValueError unless all fits."""
    check_weight(w)
    check_image("x", x, w.dtype)
    check_geometry(w.shape[2:], stride, padding, groups)
    check_channels(w.shape[0], w.shape[1], x.shape[0], groups)
    check_bias(bias, len(w), w.dtype)
    check_normal(normal, x)
    return check_fit(w.shape[2:], stride, padding, x.shape[1:3])


def check_input_gradient(w, dy, height, width, stride, padding, groups, winner) -> tuple[int, int]:
    """(Ho, Wo); ValueError unless all fits."""
    check_weight(w)
    check_image("dy", dy, w.dtype)
    check_geometry(w.shape[2:], stride, padding, groups)
    check_size(height, width)
    check_channels(w.shape[0], w.shape[1], w.shape[1] * groups, groups)
    size = check_fit(w.shape[2:], stride, padding, (height, width))
    check_output(dy, len(w), size, winner)
    return size


def check_weight_gradient(dy, x, kernel, stride, padding, groups, winner, normal) -> tuple[int, int]:
    """(Ho, Wo); ValueError unless all fits."""
    check_image("dy", dy, dy.dtype)
    check_image("x", x, dy.dtype, dy.shape[3])
    check_geometry(kernel, stride, padding, groups)
    check_channels(dy.shape[0], x.shape[0] // groups, x.shape[0], groups)
    size = check_fit(kernel, stride, padding, x.shape[1:3])
    check_output(dy, dy.shape[0], size, winner)
    check_normal(normal, x)
    return size


LARGEST = 2**31 - 1
"""Bound of every size of a geometry."""


def check_geometry(kernel, stride: int, padding: int, groups: int) -> None:
    """ValueError unless these are whole numbers of a geometry."""
    _check_numbers(*kernel, stride, padding, groups)


@lru_cache(maxsize=256, typed=True)
def _check_numbers(height: int, width: int, stride: int, padding: int, groups: int) -> None:
    for name, least, value in (
        ("kernel", 1, height), ("kernel", 1, width), ("stride", 1, stride), ("padding", 0, padding),
        ("groups", 1, groups),
    ):
        _check_integer(name, value, least)


@lru_cache(maxsize=256, typed=True)
def check_size(height: int, width: int, channels: int = 0) -> None:
    """ValueError unless these are whole numbers."""
    _check_integer("height", height, 0)
    _check_integer("width", width, 0)
    _check_integer("channels", channels, 0)


def _check_integer(name: str, value: int, least: int) -> None:
    if not isinstance(value, int | np.integer) or not least <= value <= LARGEST:
        raise ValueError(f"{name}={value!r} must be a whole number from {least} to {LARGEST}")


def check_weight(w: np.ndarray) -> None:
    """ValueError unless w is (O, C / groups, kh, kw) of float32 or float64."""
    if w.ndim != 4 or w.dtype not in REAL:
        raise ValueError(f"w is {w.dtype} of shape {w.shape}: expected float32 or float64, (O, C / groups, kh, kw)")


def check_bias(bias: np.ndarray | None, outputs: int, dtype: np.dtype) -> None:
    """ValueError unless the bias, if there is one, is a number of this dtype for each output."""
    if bias is not None and (bias.shape != (outputs,) or bias.dtype != dtype):
        raise ValueError(f"bias is {bias.dtype} {bias.shape}: it must be {dtype}, ({outputs},)")


def check_normal(normal: np.ndarray | None, x: np.ndarray) -> None:
    """ValueError unless there is none, or four numbers of x's dtype for each channel."""
    if normal is not None:
        norm_ref.check_normal(normal, x)


def check_image(name: str, image: np.ndarray, dtype: np.dtype, batch: int | None = None) -> None:
    """ValueError unless the array is (channels, height, width, N) of this float dtype."""
    if image.ndim != 4 or batch not in (None, image.shape[-1]):
        raise ValueError(f"{name} has shape {image.shape}, expected (channels, height, width, {batch or 'N'})")
    if image.dtype != dtype or dtype not in REAL:
        raise ValueError(f"{name} is {image.dtype} beside {dtype}: both must be float32 or both float64")


def check_channels(outputs: int, inputs: int, channels: int, groups: int) -> None:
    """ValueError unless the groups part outputs and channels evenly, `inputs` channels each."""
    if outputs % groups or inputs * groups != channels:
        raise ValueError(f"{groups} groups do not part {outputs} outputs and {channels} channels, {inputs} to a group")


@lru_cache(maxsize=256)
def check_fit(kernel, stride: int, padding: int, size) -> tuple[int, int]:
    """(Ho, Wo); ValueError if the kernel does not fit the padded image."""
    sizes = tuple((int(s) + 2 * int(padding) - int(k)) // int(stride) + 1 for s, k in zip(size, kernel, strict=True))
    if min(sizes) < 1:
        raise ValueError(f"kernel {tuple(kernel)} with padding {padding} does not fit a {size[0]} x {size[1]} image")
    return sizes


WINDOW = 2
"""Side of a window whose largest pixel is kept; what an odd image has more belongs to none."""


def check_windows(size: tuple[int, int]) -> tuple[int, int]:
    """How many windows fit; ValueError if none does."""
    if min(size) < WINDOW:
        raise ValueError(f"a window of {WINDOW} x {WINDOW} does not fit the {size[0]} x {size[1]} result")
    return size[0] // WINDOW, size[1] // WINDOW


def check_output(dy: np.ndarray, outputs: int, size: tuple[int, int], winner: np.ndarray | None = None) -> None:
    """ValueError unless dy has this many channels and pixels, or a number for each winner among them."""
    if winner is not None:
        size = check_windows(size)
        if winner.shape != dy.shape or winner.dtype != np.uint8:
            raise ValueError(f"winner is {winner.dtype} {winner.shape}, expected uint8 {dy.shape}: one a number of dy")
    if dy.shape[:3] != (outputs, *size):
        raise ValueError(f"dy has shape {dy.shape}, expected ({outputs}, {size[0]}, {size[1]}, N)")


GEOMETRIES = (  # (O, C, H, W, N), (kh, kw), stride, padding, groups
    ((4, 3, 5, 4, 3), (3, 3), 1, 1, 1),
    ((5, 2, 7, 9, 33), (3, 3), 1, 1, 1),
    ((7, 4, 6, 6, 70), (3, 3), 2, 1, 1),
    ((6, 4, 6, 7, 32), (3, 2), 1, 0, 2),
    ((3, 3, 8, 8, 16), (5, 5), 1, 2, 3),
    ((4, 6, 9, 5, 31), (2, 3), 3, 3, 2),
    ((2, 5, 4, 4, 1), (1, 1), 2, 0, 1),
    ((3, 2, 1, 2, 32), (1, 1), 1, 2, 1),
    ((2, 2, 3, 3, 0), (3, 3), 1, 1, 1),
    ((0, 2, 3, 3, 2), (3, 3), 1, 1, 1),
    ((0, 2, 3, 3, 2), (3, 3), 1, 1, 2),
    ((2, 0, 3, 3, 2), (2, 2), 1, 0, 1),
    ((18, 6, 5, 6, 33), (3, 3), 1, 1, 1),  # a panel of eight outputs, two of them missing
    ((13, 200, 6, 5, 9), (4, 4), 1, 2, 1),  # chunks of channels, whose sums wait, by panels of outputs
    ((37, 90, 14, 4, 17), (3, 3), 1, 1, 1),  # steps of rows, panels of outputs
    ((12, 1, 140, 130, 2), (3, 3), 2, 1, 1),  # more bands of rows than partial sums
    ((27, 20, 7, 8, 5), (3, 3), 1, 1, 1),  # tiles that end beyond the image, panels of twelve and of four outputs
    ((12, 17, 8, 9, 3), (5, 5), 1, 0, 1),
    ((20, 12, 11, 7, 64), (5, 5), 1, 2, 1),
    ((50, 28, 9, 12, 3), (5, 5), 1, 0, 1),  # gradients of fewer tiles, spread, which overlap both ways
    ((50, 30, 6, 6, 3), (5, 5), 1, 1, 1),
    ((20, 64, 4, 8, 40), (3, 3), 1, 1, 1),  # channels that are transformed in two chunks
)


def magnitudes(function: str, *arguments):
    """sum |terms| of a result: of the terms of eq. 1 or 2, or of those of tiles where the compiled twin takes these."""
    arguments = [
        np.abs(a).astype(np.float64) if isinstance(a, np.ndarray) and a.dtype in REAL else a for a in arguments
    ]
    if function == "input_gradient":
        w, dy, height, width, stride, padding, groups, winner = (*arguments, None)[:8]
        size = check_fit(w.shape[2:], stride, padding, (height, width))
        if groups > 1 or not winograd.back(w.shape, stride, padding, size):
            return input_gradient(*arguments)
        return winograd.input_gradient(w, _unpooled(dy, size, winner), padding, absolute=True)
    if function == "weight_gradient":
        dy, x, *kernel, stride, padding, groups, winner, normal = (*arguments, None, None)[:9]
        size = check_fit(tuple(kernel), stride, padding, x.shape[1:3])
        if groups > 1 or not winograd.pays((len(dy), len(x), *kernel), stride, padding, size):
            return weight_gradient(*arguments)
        dy = _unpooled(dy, size, winner)
        return winograd.weight_gradient(dy, _normalised(x, normal), kernel[0], padding, absolute=True)
    w, x, stride, padding, groups, bias, normal = (*arguments, None, None)[:7]
    size = check_fit(w.shape[2:], stride, padding, x.shape[1:3])
    if groups > 1 or not winograd.pays(w.shape, stride, padding, size):
        y = convolve(w, x, stride, padding, groups, bias, normal)
    else:
        y = winograd.convolve(w, _normalised(x, normal), padding, absolute=True)
        y = y if bias is None else y + bias[:, None, None, None]
    return y if function == "convolve" else _pooled(y)


def cases(generator: np.random.Generator):
    """Calls with the longest sum of each: (function, arguments, terms a sum)."""
    for dtype in (np.float32, np.float64):
        for (o, c, h, wd, n), kernel, *geometry in GEOMETRIES:
            stride, padding, groups = geometry
            ho, wo = check_fit(kernel, stride, padding, (h, wd))
            w = generator.normal(size=(o, c // groups, *kernel)).astype(dtype)
            tiled = groups == 1 and winograd.pays(w.shape, stride, padding, (ho, wo))
            back = groups == 1 and winograd.back(w.shape, stride, padding, (ho, wo)) != ""
            by_tiles, back_by_tiles = tiled * winograd.ROUNDINGS, back * (winograd.ROUNDINGS + winograd.OVERLAPS)
            x, dy = (generator.normal(size=s).astype(dtype) for s in ((c, h, wd, n), (o, ho, wo, n)))
            terms = math.prod(w.shape[1:]) + by_tiles
            yield "convolve", (w, x, *geometry), terms
            b = generator.normal(size=o).astype(dtype)
            yield "convolve", (w, np.repeat(x, 2, axis=3)[..., ::2], *geometry, b), terms + 1
            yield "input_gradient", (w, dy, h, wd, *geometry), w.size + back_by_tiles
            yield "weight_gradient", (dy, x, *kernel, *geometry), max(ho * wo * n, 1) + by_tiles
            # a mean of 0, without which absolute values would not bound the terms
            normal = (generator.normal(size=(c, 4)) * [0, 1, 1, 1]).astype(dtype)
            yield "convolve", (w, x, *geometry, b, normal), terms + 4
            yield "weight_gradient", (dy, x, *kernel, *geometry, None, normal), max(ho * wo * n, 1) + by_tiles + 4
            if by_tiles:
                yield "convolve_pooled", (w, x, *geometry, b), terms + 1
            else:  # whole numbers, whose sums have ties and no rounding
                w, x, b = (np.rint(array) for array in (w, x, b))
                yield "convolve_pooled", (w, x, *geometry, b), 1
            part = np.ascontiguousarray(dy[:, : ho // 2, : wo // 2])
            winner = generator.integers(5, size=part.shape).astype(np.uint8)
            yield "input_gradient", (w, part, h, wd, *geometry, winner), w.size + back_by_tiles
            yield "weight_gradient", (part, x, *kernel, *geometry, winner), max(ho * wo * n, 1) + by_tiles
