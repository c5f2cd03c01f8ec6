"""Compiled twin of spconv_ref.py, which is its specification.

* no columns in memory: rows of a block of the batch are packed (blocks.pxi) and a weight is an offset into them
* what the loops need to know of a mask is worked out once for each geometry and kept with it (entries.pxi)
* four output pixels of a block, eight vectors, are summed in registers over all entries of a row; of many
  channels, over a chunk at a time for all rows, so that the input under four pixels stays near
* sums start from the bias; pixels of a large result go past the caches
* the four sums of a window are pooled where they stand; pooled gradients spread out as they are packed (pooled.pxi),
  and what is normalised is so as it is packed
* weights in the padding above and below an image are passed over, channels without entries not packed
* the gradient of x is the same loop over the transposed entries, all residues of a pixel modulo the stride from
  the same packed rows
* both gradients at once pack dy once: the gradient of w finds its pixels among those for the gradient of x
* the gradient of w goes over entries in the same order, dy of eight pixels in registers, and keeps a vector an
  entry: lanes are summed once a band of rows and a chunk; a dy that is read once is read where it lies, and asked
  for a tile ahead
* threads own blocks and bands of rows; the gradient of w is summed in parts that depend on shapes only
"""

import numpy as np

from minisparse._core.conv_ref import check_fit, check_windows
from minisparse._core.pattern import LIMIT
from minisparse._core.spconv_ref import (
    check_forward, check_gradients, check_input_gradient, check_weight_gradient,
)

include "blocks.pxi"
include "entries.pxi"
include "gather.pxi"
include "sample.pxi"
include "gradients.pxi"


def convolve(pattern, values, x, kernel_height, kernel_width, stride, padding, groups, bias=None, normal=None):
    kernel = kernel_height, kernel_width
    size = check_forward(pattern, values, x, kernel, stride, padding, groups, bias, normal)
    y = empty_array((pattern.shape[0], *size, x.shape[3]), x.dtype)
    entries = pattern.held(_forward, x.shape[:3], kernel, stride, padding, groups)
    gather(entries, values, x, bias, y, forward_plan(kernel, stride, padding, size), 1, None, None, (0, 0),
           normal)
    return y


def convolve_pooled(pattern, values, x, kernel_height, kernel_width, stride, padding, groups, bias=None):
    kernel = kernel_height, kernel_width
    size = check_forward(pattern, values, x, kernel, stride, padding, groups, bias)
    y = empty_array((pattern.shape[0], *check_windows(size), x.shape[3]), x.dtype)
    winner = empty_array(y.shape, np.dtype(np.uint8))
    entries = pattern.held(_forward, x.shape[:3], kernel, stride, padding, groups)
    gather(entries, values, x, bias, y, forward_plan(kernel, stride, padding, size), 1, None, winner)
    return y, winner


def _forward(pattern, shape, kernel, stride, padding, groups):
    """The entries as they meet x: bytes from an output pixel's place in packed rows."""
    size = check_fit(kernel, stride, padding, shape[1:])
    cdef Plan plan = forward_plan(kernel, stride, padding, size)
    row, c, u, v = _places(pattern, shape[0], kernel, groups)
    used, c = np.unique(c, return_inverse=True)
    packed = len(used), *shape[1:]
    at = forward_offsets((len(used), *kernel), packed, plan)[(c * kernel[0] + u) * kernel[1] + v]
    return arrange(0, row, c, u, at, 1, pattern.shape[0], used, plan, size[1])


def _places(pattern, channels, kernel, groups):
    """Row of W, channel of x and place in the kernel of each entry."""
    row = pattern.row_of.astype(np.int64)
    c, u, v = np.unravel_index(pattern.indices, (channels // groups, *kernel))
    return row, c + row // max(pattern.shape[0] // groups, 1) * (channels // groups), u, v


def input_gradient(
    pattern, values, dy, channels, height, width, kernel_height, kernel_width, stride, padding, groups, winner=None
):
    kernel = kernel_height, kernel_width
    size = check_input_gradient(pattern, values, dy, channels, height, width, kernel, stride, padding, groups, winner)
    dx = empty_array((channels, height, width, dy.shape[3]), dy.dtype)
    entries = pattern.held(_transposed, (channels, height, width), kernel, stride, padding, groups)
    gather(entries, values, dy, None, dx, transposed_plan(kernel, stride, padding, width), stride, winner, None, size)
    return dx


def _transposed(pattern, shape, kernel, stride, padding, groups):
    """The entries as they meet dy.

    x (s a + r) meets dy (a + (r + p - u) / s) through W[u], for the u that leave no remainder: r is the residue.
    """
    channels, height, width = shape
    cdef Plan plan = transposed_plan(kernel, stride, padding, width)
    row, c, u, v = _places(pattern, channels, kernel, groups)
    r, q = (u - padding) % stride, (v - padding) % stride
    down, right = (r + padding - u) // stride - plan.top, (q + padding - v) // stride - plan.left
    used, row = np.unique(row, return_inverse=True)
    at = offsets32((down * len(used) + row) * plan.width + right, plan, (len(used), *shape[1:]))
    return arrange(r * stride + q, c, row, down, at, stride**2, channels, used, plan, (width - 1) // stride + 1)


def weight_gradient(pattern, dy, x, kernel_height, kernel_width, stride, padding, groups, winner=None, normal=None):
    kernel = kernel_height, kernel_width
    size = check_weight_gradient(pattern, dy, x, kernel, stride, padding, groups, winner, normal)
    cdef Plan plan = forward_plan(kernel, stride, padding, size)
    dw = np.zeros(len(pattern.indices), dy.dtype)
    if dw.size and dy.size:
        entries = pattern.held(_forward, x.shape[:3], kernel, stride, padding, groups)
        sample(entries, dy, x, dw, plan, winner, size, normal)
    return dw


def gradients(
    pattern, values, dy, x, kernel_height, kernel_width, stride, padding, groups, winner=None, normal=None
):
    kernel = kernel_height, kernel_width
    size, shape = check_gradients(pattern, values, dy, x, kernel, stride, padding, groups, winner, normal), x.shape[:3]
    # with more padding than the kernel spans, dy has pixels that no pixel of x meets
    if padding >= min(kernel) or not values.size or not dy.size:
        setting = *kernel, stride, padding, groups, winner
        return weight_gradient(pattern, dy, x, *setting, normal), input_gradient(pattern, values, dy, *shape, *setting)
    dw, dx = np.empty(values.size, dy.dtype), empty_array(x.shape, dy.dtype)
    entries = pattern.held(_forward, shape, kernel, stride, padding, groups)
    turned = pattern.held(_transposed, shape, kernel, stride, padding, groups)
    gradients_of(entries, turned, values, dy, x, dw, dx, forward_plan(kernel, stride, padding, size),
                 transposed_plan(kernel, stride, padding, shape[2]), stride, winner, size, normal)
    return dw, dx
