"""Compiled twin of conv_ref.py, which is its specification.

* no columns in memory: a block of the batch is packed (blocks.pxi) and a weight is an offset into it
* eight outputs at a pixel of a block, 16 vectors, are summed in registers; weights and packed input of a chunk
  of channels stay in the near caches; taps outside the image are passed over, not multiplied by zero
* the gradient of x is the same loop over the transposed weight, once for each residue of a pixel
  modulo the stride
* the gradient of w takes eight taps by two vectors of outputs at a time, dy transposed for it
* groups and images of few channels are the sparse kernel's, every entry kept: it writes an output at a time
* threads own blocks and bands of rows; the gradient of w is summed in parts that depend on shapes only
"""

from functools import lru_cache

import numpy as np

from minisparse._core import spconv
from minisparse._core.conv_ref import (
    check_bias, check_channels, check_fit, check_geometry, check_image, check_output, check_size, check_weight,
)
from minisparse._core.pattern import Pattern

include "blocks.pxi"
include "multiply.pxi"
include "outer.pxi"

cdef enum:
    PANEL = 20 << 10    # bytes of weights in the nearest cache
    CHUNK = 448 << 10   # bytes of packed input in the next
    TURNED = 64         # pixels of dy transposed at a time
    ENTRIES = 1 << 22   # of all partial sums of a gradient, about
    KEPT = 16           # patterns of weights
    FEW = 4             # channels of x that do not keep the loops here busy between pixels


def convolve(w, x, stride, padding, groups, bias=None):
    check_weight(w)
    check_image("x", x, w.dtype)
    check_geometry(w.shape[2:], stride, padding, groups)
    check_channels(w.shape[0], w.shape[1], x.shape[0], groups)
    check_bias(bias, len(w), w.dtype)
    size = check_fit(w.shape[2:], stride, padding, x.shape[1:3])
    if groups > 1 or len(x) <= FEW:
        return spconv.convolve(_every_entry(w.shape), w.reshape(-1), x, *w.shape[2:], stride, padding, groups,
                               bias)
    y = empty_array((len(w), *size, x.shape[3]), x.dtype)
    cdef Plan plan = forward_plan(w.shape[2:], stride, padding, size)
    at = forward_offsets(w.shape[1:], x.shape, plan).reshape(w.shape[1:])
    places = np.arange(at.size).reshape(at.shape)
    down, right = (np.arange(k) - padding for k in w.shape[2:])
    multiply(w, places, at, at.size, len(w), down, right, x, bias, y, plan)
    return y


def input_gradient(w, dy, height, width, stride, padding, groups):
    kernel = w.shape[2:]
    check_weight(w)
    check_image("dy", dy, w.dtype)
    check_geometry(kernel, stride, padding, groups)
    check_size(height, width)
    channels = w.shape[1] * groups
    check_channels(w.shape[0], w.shape[1], channels, groups)
    check_output(dy, len(w), check_fit(kernel, stride, padding, (height, width)))
    if groups > 1:
        return spconv.input_gradient(_every_entry(w.shape), w.reshape(-1), dy, channels, height, width, *kernel,
                                     stride, padding, groups)
    dx = empty_array((channels, height, width, dy.shape[3]), dy.dtype)
    # x (s a + r) meets dy (a + (r + p - u) / s) through W[u], for the u that leave no remainder: one pass for each r
    cdef Plan plan = transposed_plan(kernel, stride, padding, width)
    for r in range(min(stride, height)):
        for q in range(min(stride, width)):
            u, v = (np.arange((t + padding) % stride, k, stride) for t, k in zip((r, q), kernel))
            down, right = (r + padding - u) // stride - plan.top, (q + padding - v) // stride - plan.left
            o = np.arange(len(w))[:, None, None]
            table = (down[:, None] * len(w) + o) * plan.width + right
            at = offsets32(table, plan, dy.shape).reshape(table.shape)
            places = o * math.prod(w.shape[1:]) + u[:, None] * kernel[1] + v
            multiply(w, places, at, kernel[0] * kernel[1], channels, down + plan.top, right + plan.left, dy,
                     None, dx[:, r::stride, q::stride], plan)
    return dx


def weight_gradient(dy, x, kernel_height, kernel_width, stride, padding, groups):
    kernel = kernel_height, kernel_width
    check_image("dy", dy, dy.dtype)
    check_image("x", x, dy.dtype, dy.shape[3])
    check_geometry(kernel, stride, padding, groups)
    check_channels(dy.shape[0], x.shape[0] // groups, x.shape[0], groups)
    size = check_fit(kernel, stride, padding, x.shape[1:3])
    check_output(dy, dy.shape[0], size)
    shape = len(dy), x.shape[0] // groups, *kernel
    if groups > 1 or len(x) <= FEW:
        return spconv.weight_gradient(_every_entry(shape), dy, x, *kernel, stride, padding, groups).reshape(shape)
    cdef Plan plan = forward_plan(kernel, stride, padding, size)
    dw = np.zeros(shape, dy.dtype)
    if dw.size and dy.size:
        outer(dy, x, dw, stride, padding, plan)
    return dw


@lru_cache(maxsize=KEPT)
def _every_entry(shape):
    """The places of all entries of a weight; the same pattern each time, with what it has worked out."""
    columns = math.prod(shape[1:])
    return Pattern(np.arange(shape[0] + 1) * columns, np.tile(np.arange(columns), shape[0]), columns)


cdef multiply(w, places, at, by_output, outputs, down, right, x, bias, y, Plan plan):
    """y[o, a, b] = bias[o] + sum_k w[by_output o + places[k]] x[at[k] from (a, b)]; the k come as (channels, rows, columns)."""
    if not y.size:
        return
    if not at.size:
        plan.span = 0  # nothing is read
    chunk, step = near(len(at), at[:1].size * w.itemsize, y.shape[1], plan)
    places, at = in_chunks(places, chunk), in_chunks(at, chunk)
    panels = outputs // OUTPUTS * OUTPUTS
    if panels < outputs:
        panels += panel_width(outputs - panels)
    packed = np.empty(panels * len(at), w.dtype)
    if packed.size:
        _pack_weights(np.ascontiguousarray(w).reshape(-1), places, by_output, outputs, packed)
    blocks, band = bands_of(y)
    _multiply(at, down.astype(np.int32), right.astype(np.int32), chunk, packed, with_contiguous_batch(x),
              starts_of(bias, panels, y.dtype), y, plan, blocks, band, step)


cdef near(channels, nbytes, height, Plan plan):
    """(channels a chunk, output rows a step): so many that the weights of a panel and packed input stay near.

    `nbytes` of weights are one output's from one channel.
    """
    row = plan.stride * plan.width * PIXEL
    most = max(1, min(PANEL // (OUTPUTS * max(nbytes, 1)), CHUNK // (max(plan.span, 1) * row)))
    chunk = -(-channels // max(1, -(-channels // most)))
    step = (CHUNK // (max(chunk, 1) * row) - plan.span) // plan.stride + 1
    return max(1, chunk), max(1, min(step, height))


cdef in_chunks(table, chunk):
    """(channels, rows, columns) -> the same in the order (chunk of channels, row, column, channel)."""
    parts = [table[c:c + chunk].transpose(1, 2, 0).reshape(-1) for c in range(0, len(table), chunk)]
    return np.concatenate(parts or [table.reshape(-1)])


cdef outer(dy, x, dw, stride, padding, Plan plan):
    """dw[o, k] = sum over (a, b, n) of dy[o, a, b, n] x[at[k] from (a, b), n]."""
    at = forward_offsets(dw.shape[1:], x.shape, plan).reshape(dw.shape[1:])
    places = in_chunks(np.arange(at.size).reshape(at.shape), TILE)
    tiles = -(-at.size // TILE)
    # the last one stands in for those of the last tile that are not there
    order = places[np.minimum(np.arange(tiles * TILE), at.size - 1)].reshape(tiles, TILE)
    panels, size = -(-len(dy) * dy.itemsize // PIXEL), tiles * TILE * PIXEL // dy.itemsize
    rows = max(1, min(TURNED // dy.shape[2], dy.shape[1]))
    tasks = -(-dy.shape[3] * dy.itemsize // PIXEL) * -(-dy.shape[1] // rows)
    parts = max(1, min(tasks, PARTS, ENTRIES // (panels * size)))
    groups = min(panels, -(-2 * (os.cpu_count() or 1) // parts))  # results do not depend on them
    partial = empty_array((parts, panels, size), dy.dtype)
    _outer(at.reshape(-1)[order], fields(order, dw.shape[1:], x, dy, stride, padding), with_contiguous_batch(dy),
           with_contiguous_batch(x), partial, plan, rows, tasks, groups)
    _collect(partial, places, dw.reshape(len(dw), -1))


cdef fields(order, shape, x, dy, stride, padding):
    """(tiles, 4): the output rows [top, bottom) and columns [left, right) that meet the image through a tile's taps."""
    found = []
    for axis in 1, 2:
        tap = np.unravel_index(order, shape)[axis] - padding
        begin = np.clip(-(tap.max(axis=1) // stride), 0, dy.shape[axis])
        end = np.clip((x.shape[axis] - 1 - tap.min(axis=1)) // stride + 1, begin, dy.shape[axis])
        found += begin, end
    return np.stack(found, axis=1)
