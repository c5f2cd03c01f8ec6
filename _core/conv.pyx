"""Compiled twin of conv_ref.py, which is its specification.

* no columns in memory: a block of the batch is packed (blocks.pxi) and a weight is an offset into it
* as many outputs at a pixel of a block as registers allow are summed there (tile.h); weights and packed input of a
  chunk of channels stay in the near caches; taps outside the image are passed over, not multiplied by zero
* of 3 x 3 and 5 x 5 taps at stride 1, by tiles where that takes fewer products (winograd.pxi, winograd_outer.pxi)
* the gradient of x is the same loop over the transposed weight, once for each residue of a pixel
  modulo the stride
* the gradient of w takes some taps by four outputs at a time over a field of pixels, the batch in lanes, which are
  summed at its end
* sums start from the bias; pixels of a large result go past the caches
* of a pooled result two rows of a panel wait near the processor; pooled gradients spread out as they are packed
  (pooled.pxi), and what is normalised is so as it is packed
* groups are the sparse kernel's, every entry kept: it writes an output at a time
* threads own blocks and bands of rows; the gradient of w is summed in parts that depend on shapes only
"""

from functools import lru_cache

import numpy as np

from minisparse._core import spconv, winograd
from minisparse._core.conv_ref import (
    check_fit, check_forward, check_input_gradient, check_weight_gradient, check_windows,
)
from minisparse._core.pattern import Pattern

include "blocks.pxi"
include "multiply.pxi"
include "outer.pxi"
include "winograd.pxi"
include "winograd_outer.pxi"

cdef enum:
    PANEL = 30 << 10    # bytes of weights in the nearest cache
    CHUNK = 448 << 10   # bytes of packed input in the next
    FIELD = 6144 // PIXEL   # pixels of dy that a tile of its gradient meets at a time, about
    FEWEST = 2048 // PIXEL  # pixels, or several blocks are one field
    ENTRIES = 1 << 22   # of all partial sums of a gradient, about
    KEPT = 64           # geometries, with what the loops need to know of them


def convolve(w, x, stride, padding, groups, bias=None, normal=None):
    size = check_forward(w, x, stride, padding, groups, bias, normal)
    if groups > 1:
        return spconv.convolve(_every_entry(w.shape), w.reshape(-1), x, *w.shape[2:], stride, padding, groups,
                               bias, normal)
    y = empty_array((len(w), *size, x.shape[3]), x.dtype)
    if winograd.pays(w.shape, stride, padding, size):
        multiply_by_tiles(w, x, padding, bias, y, None, None, (0, 0), normal)
        return y
    tables = _forward(w.shape[1:], x.shape[:3], stride, padding, w.itemsize)
    multiply(w, tables, len(w), x, bias, y, forward_plan(w.shape[2:], stride, padding, size), None, None, (0, 0),
             normal)
    return y


def convolve_pooled(w, x, stride, padding, groups, bias=None):
    size = check_forward(w, x, stride, padding, groups, bias)
    pooled = check_windows(size)
    if groups > 1:
        return spconv.convolve_pooled(_every_entry(w.shape), w.reshape(-1), x, *w.shape[2:], stride, padding, groups,
                                      bias)
    y = empty_array((len(w), *pooled, x.shape[3]), x.dtype)
    winner = empty_array(y.shape, np.dtype(np.uint8))
    if winograd.pays(w.shape, stride, padding, size):
        multiply_by_tiles(w, x, padding, bias, y, None, winner)
        return y, winner
    tables = _forward(w.shape[1:], x.shape[:3], stride, padding, w.itemsize)
    multiply(w, tables, len(w), x, bias, y, forward_plan(w.shape[2:], stride, padding, size), None, winner)
    return y, winner


@lru_cache(maxsize=KEPT)
def _forward(kernel, shape, stride, padding, itemsize):
    """The tables of `multiply` for y from an x of this shape."""
    size = check_fit(kernel[1:], stride, padding, shape[1:])
    cdef Plan plan = forward_plan(kernel[1:], stride, padding, size)
    at = forward_offsets(kernel, shape, plan).reshape(kernel)
    down, right = (np.arange(k) - padding for k in kernel[1:])
    return tables_of(at, np.arange(at.size).reshape(at.shape), at.size, down, right, size[0], itemsize, plan)


def input_gradient(w, dy, height, width, stride, padding, groups, winner=None):
    size = check_input_gradient(w, dy, height, width, stride, padding, groups, winner)
    kernel, channels = w.shape[2:], w.shape[1] * groups
    if groups > 1:
        return spconv.input_gradient(_every_entry(w.shape), w.reshape(-1), dy, channels, height, width, *kernel,
                                     stride, padding, groups, winner)
    dx, way = empty_array((channels, height, width, dy.shape[3]), dy.dtype), winograd.back(w.shape, stride, padding, size)
    if way == "spread":
        multiply_by_tiles(w.transpose(1, 0, 2, 3), dy, padding, None, dx, winner, None, size, None, True)
        return dx
    if way == "reversed":
        flipped = w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        multiply_by_tiles(flipped, dy, kernel[0] - 1 - padding, None, dx, winner, None, size)
        return dx
    cdef Plan plan = transposed_plan(kernel, stride, padding, width)
    for r, q, tables in _transposed(w.shape, (len(dy), *size), height, width, stride, padding, w.itemsize):
        multiply(w, tables, channels, dy, None, dx[:, r::stride, q::stride], plan, winner, None, size)
    return dx


@lru_cache(maxsize=KEPT)
def _transposed(weight, shape, height, width, stride, padding, itemsize):
    """Residues of a pixel modulo the stride, with the tables of `multiply` for their x from a dy of this shape.

    x (s a + r) meets dy (a + (r + p - u) / s) through W[u], for the u that leave no remainder: one pass for each r.
    """
    cdef Plan plan = transposed_plan(weight[2:], stride, padding, width)
    found, o = [], np.arange(weight[0])[:, None, None]
    for r in range(min(stride, height)):
        for q in range(min(stride, width)):
            u, v = (np.arange((t + padding) % stride, k, stride) for t, k in zip((r, q), weight[2:]))
            down, right = (r + padding - u) // stride - plan.top, (q + padding - v) // stride - plan.left
            table = (down[:, None] * weight[0] + o) * plan.width + right
            at = offsets32(table, plan, shape).reshape(table.shape)
            places = o * math.prod(weight[1:]) + u[:, None] * weight[3] + v
            rows = (height - r + stride - 1) // stride
            found.append((r, q, tables_of(at, places, weight[2] * weight[3], down + plan.top, right + plan.left, rows,
                                          itemsize, plan)))
    return found


def weight_gradient(dy, x, kernel_height, kernel_width, stride, padding, groups, winner=None, normal=None):
    kernel = kernel_height, kernel_width
    size = check_weight_gradient(dy, x, kernel, stride, padding, groups, winner, normal)
    shape = len(dy), len(x) // groups, *kernel
    if groups > 1:
        found = spconv.weight_gradient(_every_entry(shape), dy, x, *kernel, stride, padding, groups, winner, normal)
        return found.reshape(shape)
    dw = np.zeros(shape, dy.dtype)
    if not dw.size or not dy.size:
        return dw
    if winograd.pays(shape, stride, padding, size):
        outer_by_tiles(dy, x, dw, padding, size, winner, normal)
    else:
        outer(dy, x, dw, stride, padding, forward_plan(kernel, stride, padding, size), size, winner, normal)
    return dw


@lru_cache(maxsize=KEPT)
def _every_entry(shape):
    """The places of all entries of a weight; the same pattern each time, with what it has worked out."""
    columns = math.prod(shape[1:])
    return Pattern(np.arange(shape[0] + 1) * columns, np.tile(np.arange(columns), shape[0]), columns)


cdef tables_of(at, places, by_output, down, right, rows, itemsize, Plan plan):
    """What `multiply` has to know of a geometry; `at` and `places` come as (channels, rows, columns)."""
    if not at.size:
        plan.span = 0  # nothing is read
    chunk, step = near(len(at), at[:1].size * itemsize, rows, plan)
    places, at = in_chunks(places, chunk), in_chunks(at, chunk)
    return at, places, by_output, down.astype(np.int32), right.astype(np.int32), chunk, step


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


@lru_cache(maxsize=KEPT)
def _tiles(kernel, shape, size, stride, padding):
    """Taps in tiles: where each reads (tiles, TILE), where in an output's weights (taps,), and `fields`."""
    cdef Plan plan = forward_plan(kernel[1:], stride, padding, size)
    at = forward_offsets(kernel, shape, plan)
    places = in_chunks(np.arange(at.size).reshape(kernel), TILE)
    tiles = -(-at.size // TILE)
    # the last one stands in for those of the last tile that are not there
    order = places[np.minimum(np.arange(tiles * TILE), at.size - 1)].reshape(tiles, TILE)
    return at[order], places, fields(order, kernel, shape, size, stride, padding)


cdef fields(order, kernel, shape, size, stride, padding):
    """(tiles, 4): the output rows [top, bottom) and columns [left, right) that meet the image through a tile's taps."""
    found = []
    for axis in 1, 2:
        tap = np.unravel_index(order, kernel)[axis] - padding
        begin = np.clip(-(tap.max(axis=1) // stride), 0, size[axis - 1])
        end = np.clip((shape[axis] - 1 - tap.min(axis=1)) // stride + 1, begin, size[axis - 1])
        found += begin, end
    return np.stack(found, axis=1)
