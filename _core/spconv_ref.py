"""Convolution of a sparse weight and its two gradients, batch last.

The mask over (O, C / groups, kh, kw) is the Pattern of a matrix (O, I), I = C / groups kh kw, as in spmm_ref.py. With
columns (C kh kw, Ho Wo N) the inputs under the kernel at each output pixel,

    convolve         y  = W columns + b                     (C, H, W, N) -> (O, Ho, Wo, N)
    input_gradient   dx = columns' places of W^T dy, summed  (O, Ho, Wo, N) -> (C, H, W, N)
    weight_gradient  dw = dy columns^T, at the entries of W only
    convolve_pooled  the largest y of each window of 2 x 2 pixels, and its place
    gradients        both gradients, dw and dx

in which columns are the specification; the compiled twin forms none. Geometry as in conv_ref.py. Every result
is the same whatever the number of threads.
"""

import math
from functools import lru_cache

import numpy as np

from minisparse._core import spmm_ref
from minisparse._core.conv_ref import (
    GEOMETRIES,
    _fold,
    _normalised,
    _pooled,
    _unfold,
    _unpooled,
    check_bias,
    check_channels,
    check_fit,
    check_geometry,
    check_image,
    check_normal,
    check_output,
    check_size,
)
from minisparse._core.pattern import Pattern
from minisparse._core.spmm_ref import check_pattern, check_values


def convolve(
    pattern: Pattern,
    values: np.ndarray,
    x: np.ndarray,
    kernel_height: int,
    kernel_width: int,
    stride: int,
    padding: int,
    groups: int,
    bias: np.ndarray | None = None,
    normal: np.ndarray | None = None,
) -> np.ndarray:
    """y (O, Ho, Wo, N) of x (C, H, W, N); bias is b (O,), None for none.

    Parameters
    ----------
    pattern : of shape (O, I) with K entries;  values (K,), x : float32 or float64

    Raises
    ------
    ValueError : no Pattern, shapes that do not fit or dtypes that differ.
    """
    kernel = kernel_height, kernel_width
    size = check_forward(pattern, values, x, kernel, stride, padding, groups, bias, normal)
    columns = _unfold(_normalised(x, normal), kernel, stride, padding)
    y = spmm_ref.matmul(_grouped(pattern, len(columns), groups), values, columns)
    y = y.reshape(pattern.shape[0], *size, x.shape[3])
    return y if bias is None else y + bias[:, None, None, None]


def convolve_pooled(
    pattern: Pattern,
    values: np.ndarray,
    x: np.ndarray,
    kernel_height: int,
    kernel_width: int,
    stride: int,
    padding: int,
    groups: int,
    bias: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each window of 2 x 2, (O, Ho // 2, Wo // 2, N), and its place 2 u + v, uint8 of that shape.

    Raises
    ------
    ValueError : as for convolve, or y is smaller than a window.
    """
    y = convolve(pattern, values, x, kernel_height, kernel_width, stride, padding, groups, bias)
    return _pooled(y)


def input_gradient(
    pattern: Pattern,
    values: np.ndarray,
    dy: np.ndarray,
    channels: int,
    height: int,
    width: int,
    kernel_height: int,
    kernel_width: int,
    stride: int,
    padding: int,
    groups: int,
    winner: np.ndarray | None = None,
) -> np.ndarray:
    """dx (channels, height, width, N) of dy (O, Ho, Wo, N) or, with its winners, (O, Ho // 2, Wo // 2, N).

    Raises
    ------
    ValueError : as for convolve.
    """
    kernel = kernel_height, kernel_width
    size = check_input_gradient(pattern, values, dy, channels, height, width, kernel, stride, padding, groups, winner)
    dy = _unpooled(dy, size, winner)
    rows, flat = channels * kernel_height * kernel_width, dy.reshape(len(dy), math.prod(dy.shape[1:]))
    columns = spmm_ref.rmatmul(_grouped(pattern, rows, groups), values, flat)
    return _fold(columns, (channels, height, width, dy.shape[3]), kernel, stride, padding)


def weight_gradient(
    pattern: Pattern,
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
    """dw (K,), the gradient on the mask: dy as for input_gradient, x (C, H, W, N).

    Raises
    ------
    ValueError : as for convolve.
    """
    kernel = kernel_height, kernel_width
    size = check_weight_gradient(pattern, dy, x, kernel, stride, padding, groups, winner, normal)
    dy = _unpooled(dy, size, winner)
    columns = _unfold(_normalised(x, normal), kernel, stride, padding)
    flat = dy.reshape(len(dy), columns.shape[1])
    return spmm_ref.sampled(_grouped(pattern, len(columns), groups), flat, columns)


def gradients(
    pattern: Pattern,
    values: np.ndarray,
    dy: np.ndarray,
    x: np.ndarray,
    kernel_height: int,
    kernel_width: int,
    stride: int,
    padding: int,
    groups: int,
    winner: np.ndarray | None = None,
    normal: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """dw (K,) and dx (C, H, W, N): what weight_gradient and input_gradient give, to the bit.

    Raises
    ------
    ValueError : as there.
    """
    setting = kernel_height, kernel_width, stride, padding, groups, winner
    dx = input_gradient(pattern, values, dy, *x.shape[:3], *setting)
    return weight_gradient(pattern, dy, x, *setting, normal), dx


def _grouped(pattern: Pattern, rows: int, groups: int) -> Pattern:
    """The pattern with each group's columns moved to where its rows of all columns stand."""
    group = pattern.row_of // max(pattern.shape[0] // groups, 1)
    indices = pattern.indices + group * (rows // groups)
    return Pattern(pattern.indptr.astype(np.int64), indices.astype(np.int64), rows)


def check_forward(pattern, values, x, kernel, stride, padding, groups, bias, normal=None) -> tuple[int, int]:
    """(Ho, Wo); ValueError unless all fits."""
    check_values(values, pattern)
    check_image("x", x, values.dtype)
    check_bias(bias, pattern.shape[0], values.dtype)
    check_normal(normal, x)
    return check_mask(pattern, *x.shape[:3], kernel, stride, padding, groups)


def check_input_gradient(
    pattern, values, dy, channels, height, width, kernel, stride, padding, groups, winner
) -> tuple[int, int]:
    """(Ho, Wo); ValueError unless all fits."""
    check_values(values, pattern)
    check_image("dy", dy, values.dtype)
    size = check_mask(pattern, channels, height, width, kernel, stride, padding, groups)
    check_output(dy, pattern.shape[0], size, winner)
    return size


def check_weight_gradient(pattern, dy, x, kernel, stride, padding, groups, winner, normal) -> tuple[int, int]:
    """(Ho, Wo); ValueError unless all fits."""
    check_pattern(pattern)
    check_image("dy", dy, dy.dtype)
    check_image("x", x, dy.dtype, dy.shape[3])
    size = check_mask(pattern, *x.shape[:3], kernel, stride, padding, groups)
    check_output(dy, pattern.shape[0], size, winner)
    check_normal(normal, x)
    return size


def check_gradients(pattern, values, dy, x, kernel, stride, padding, groups, winner, normal) -> tuple[int, int]:
    """(Ho, Wo); ValueError unless all fits."""
    check_values(values, pattern)
    check_image("dy", dy, values.dtype)
    return check_weight_gradient(pattern, dy, x, kernel, stride, padding, groups, winner, normal)


def check_mask(pattern: Pattern, channels, height, width, kernel, stride, padding, groups) -> tuple[int, int]:
    """(Ho, Wo); ValueError unless the pattern is that of a kernel of this geometry, and the kernel fits the image."""
    return _check_mask(*pattern.shape, channels, height, width, *kernel, stride, padding, groups)


@lru_cache(maxsize=256, typed=True)
def _check_mask(
    rows: int, columns: int, channels, height, width, kernel_height, kernel_width, stride, padding, groups
) -> tuple[int, int]:
    kernel = kernel_height, kernel_width
    check_size(height, width, channels)
    check_geometry(kernel, stride, padding, groups)
    check_channels(rows, channels // groups, channels, groups)
    expected = channels // groups * int(kernel_height) * int(kernel_width)
    if columns != expected:
        raise ValueError(f"pattern has {columns} columns, the kernel {expected}: C / groups kh kw")
    return check_fit(kernel, stride, padding, (height, width))


def cases(generator: np.random.Generator):
    """Calls with the longest sum of each: (function, arguments, terms a sum)."""
    f, d, i, q = np.float32, np.float64, np.int32, np.int64
    for dtype, index, density in ((f, i, 0.3), (d, q, 0.4), (f, q, 1.0), (f, i, 0.0)):
        for (o, c, h, w, n), kernel, *geometry in GEOMETRIES:
            stride, padding, groups = geometry
            mask = generator.random((o, c // groups * kernel[0] * kernel[1])) < density
            mask[o // 2 : o // 2 + 1] = False
            indptr = np.concatenate([[0], np.cumsum(mask.sum(1))]).astype(index)
            indices = np.nonzero(mask)[1].astype(index)
            pattern = Pattern(indptr, indices, mask.shape[1])
            values = generator.normal(size=len(indices)).astype(dtype)
            ho, wo = check_fit(kernel, stride, padding, (h, w))
            x, dy = (generator.normal(size=s).astype(dtype) for s in ((c, h, w, n), (o, ho, wo, n)))
            yield "convolve", (pattern, values, x, *kernel, *geometry), mask.shape[1]
            x, b = np.repeat(x, 2, axis=3)[..., ::2], generator.normal(size=o).astype(dtype)
            yield "convolve", (pattern, values, x, *kernel, *geometry, b), mask.shape[1] + 1
            yield "input_gradient", (pattern, values, dy, c, h, w, *kernel, *geometry), mask.size
            yield "weight_gradient", (pattern, dy, x, *kernel, *geometry), max(ho * wo * n, 1)
            # a mean of 0, without which absolute values would not bound the terms
            normal = (generator.normal(size=(c, 4)) * [0, 1, 1, 1]).astype(dtype)
            yield "convolve", (pattern, values, x, *kernel, *geometry, b, normal), mask.shape[1] + 4
            yield "weight_gradient", (pattern, dy, x, *kernel, *geometry, None, normal), max(ho * wo * n, 1) + 4
            terms = max(ho * wo * n, mask.size, 1) + 4
            yield "gradients", (pattern, values, dy, x, *kernel, *geometry), terms
            yield "gradients", (pattern, values, dy, x, *kernel, *geometry, None, normal), terms
            # whole numbers, whose sums have ties and no rounding
            values, x, b = (np.rint(array) for array in (values, x, b))
            yield "convolve_pooled", (pattern, values, x, *kernel, *geometry, b), 1
            part = np.ascontiguousarray(dy[:, : ho // 2, : wo // 2])
            winner = generator.integers(5, size=part.shape).astype(np.uint8)
            yield "input_gradient", (pattern, values, part, c, h, w, *kernel, *geometry, winner), mask.size
            yield "weight_gradient", (pattern, part, x, *kernel, *geometry, winner), max(ho * wo * n, 1)
            yield "gradients", (pattern, values, part, x, *kernel, *geometry, winner), terms
