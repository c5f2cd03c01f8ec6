"""Compiled twin of conv_ref.py, which is its specification.

* no columns in memory: a block of the batch is packed (blocks.pxi) and a weight is an offset into it
* three outputs at four pixels of a block, 24 vectors, are summed in registers over a chunk of taps whose
  input stays near the processor
* the gradient of x is the same loop over the transposed weight, once for each residue of a pixel
  modulo the stride
* the gradient of w takes four outputs by four taps at a time
* groups are the sparse kernel's, every entry kept
* threads own blocks and bands of rows; the gradient of w is summed in parts that depend on shapes only
"""

import numpy as np

from minisparse._core import spconv
from minisparse._core.conv_ref import (
    check_channels, check_fit, check_geometry, check_image, check_output, check_size, check_weight,
)
from minisparse._core.pattern import Pattern

include "blocks.pxi"
include "multiply.pxi"
include "outer.pxi"

cdef enum:
    NEAR = 20 << 10   # bytes of weights in the nearest cache
    CHUNK = 448 << 10  # bytes of packed input in the next
    PIXELS = 64        # of dy transposed at a time


def convolve(w, x, stride, padding, groups):
    check_weight(w)
    check_image("x", x, w.dtype)
    check_geometry(w.shape[2:], stride, padding, groups)
    check_channels(w.shape[0], w.shape[1], x.shape[0], groups)
    size = check_fit(w.shape[2:], stride, padding, x.shape[1:3])
    if groups > 1:
        return spconv.convolve(*_every_entry(w), x, w.shape[2], w.shape[3], stride, padding, groups)
    y = empty((len(w), *size, x.shape[3]), x.dtype)
    cdef Plan plan = forward_plan(w.shape[2:], stride, padding, size)
    at = forward_offsets(w.shape, x, plan).reshape(w.shape[1:])
    places = np.arange(at.size).reshape(at.shape)
    down, right = (np.arange(k) - padding for k in w.shape[2:])
    multiply(w, places, at, at.size, len(w), down, right, x, y, plan)
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
        return spconv.input_gradient(*_every_entry(w), dy, channels, height, width, *kernel, stride, padding, groups)
    dx = empty((channels, height, width, dy.shape[3]), dy.dtype)
    # x (s a + r) meets dy (a + (r + p - u) / s) through W[u], for the u that leave no remainder: one pass for each r
    cdef Plan plan = transposed_plan(kernel, stride, padding, width)
    for r in range(min(stride, height)):
        for q in range(min(stride, width)):
            u, v = (np.arange((t + padding) % stride, k, stride) for t, k in zip((r, q), kernel))
            down, right = (r + padding - u) // stride - plan.top, (q + padding - v) // stride - plan.left
            o = np.arange(len(w))[:, None, None]
            table = (down[:, None] * len(w) + o) * plan.width + right
            at = offsets32(table, plan, dy).reshape(table.shape)
            places = o * w[0].size + u[:, None] * kernel[1] + v
            multiply(w, places, at, kernel[0] * kernel[1], channels, down + plan.top, right + plan.left, dy,
                     dx[:, r::stride, q::stride], plan)
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
    if groups > 1:
        pattern, _ = _every_entry(np.broadcast_to(x.dtype.type(0), shape))
        return spconv.weight_gradient(pattern, dy, x, *kernel, stride, padding, groups).reshape(shape)
    cdef Plan plan = forward_plan(kernel, stride, padding, size)
    dw = np.zeros(shape, dy.dtype)
    if not dw.size or not dy.size:
        return dw
    at = forward_offsets(shape, x, plan).reshape(shape[1:])
    places = in_chunks(np.arange(at.size).reshape(at.shape), TILE)
    tiles = -(-at.size // TILE)
    order = places[np.minimum(np.arange(tiles * TILE), at.size - 1)]  # the last tap stands in for those not there
    rows = max(1, min(PIXELS // dy.shape[2], dy.shape[1]))
    tasks = -(-dy.shape[3] * dy.itemsize // PIXEL) * -(-dy.shape[1] // rows)
    panels = -(-len(dy) * dy.itemsize // PIXEL)
    size = tiles * TILE * PIXEL // dy.itemsize
    parts = max(1, min(tasks, PARTS, (1 << 22) // (panels * size)))
    groups = min(panels, -(-2 * (os.cpu_count() or 1) // parts))
    partial = np.empty((parts, panels, size), dy.dtype)
    _outer(at.reshape(-1)[order].reshape(tiles, TILE), _fields(order, shape, x, dy, stride, padding),
           with_contiguous_batch(dy), with_contiguous_batch(x), partial, plan, rows, tasks, groups)
    _collect(partial, places, dw.reshape(len(dw), -1))
    return dw


cdef _fields(order, shape, x, dy, stride, padding):
    """(tiles, 4): the output rows [top, bottom) and columns [left, right) whose input some tap of a tile has."""
    fields = []
    for axis in 1, 2:
        tap = np.unravel_index(order, shape[1:])[axis].reshape(-1, TILE) - padding
        begin = -(tap.max(axis=1) // stride)
        end = (x.shape[axis] - 1 - tap.min(axis=1)) // stride + 1
        begin = np.clip(begin, 0, dy.shape[axis])
        fields += [begin, np.maximum(np.minimum(end, dy.shape[axis]), begin)]
    return np.stack(fields, axis=1)


def _every_entry(w):
    """Every entry of w."""
    columns = w[:1].size
    indptr, indices = np.arange(len(w) + 1) * columns, np.tile(np.arange(columns), len(w))
    return Pattern(indptr, indices, columns), w.reshape(-1)


cdef multiply(w, places, at, by_output, outputs, down, right, x, y, Plan plan):
    """y[o, a, b] = sum_k w[by_output o + places[k]] x[at[k] from (a, b)]; the k come as (channels, rows, columns)."""
    if not y.size:
        return
    channels, taps = len(at), at[:1].size
    chunk = max(1, NEAR // (max(taps, 1) * OUTPUTS * w.itemsize))
    row = plan.stride * plan.width * PIXEL
    chunk = max(1, min(chunk, CHUNK // (max(plan.span, 1) * row), channels))
    chunk = -(-channels // -(-channels // chunk)) if channels else 1
    step = max(1, min((CHUNK // (chunk * row) - plan.span) // plan.stride + 1, y.shape[1]))
    blocks, band = bands_of(y)
    places, at = in_chunks(places, chunk), in_chunks(at, chunk)
    whole = outputs // OUTPUTS * OUTPUTS
    packed = np.empty((whole + (panel_width(outputs - whole) if whole < outputs else 0)) * len(at), w.dtype)
    if w.size and packed.size:
        _panels(np.ascontiguousarray(w).reshape(-1), places, by_output, outputs, packed)
    _multiply(at, down.astype(np.int32), right.astype(np.int32), channels, chunk, packed, with_contiguous_batch(x), y, plan, blocks, min(band, y.shape[1]), step)


cdef in_chunks(table, chunk):
    """(channels, rows, columns) -> the same in the order (chunk of channels, row, column, channel)."""
    parts = [table[c:c + chunk].transpose(1, 2, 0).reshape(-1) for c in range(0, len(table), chunk)]
    return np.concatenate(parts).astype(np.int32) if parts else np.zeros(0, np.int32)


def _panels(const floating[::1] w, const int32_t[::1] places, int64_t by_output, int64_t outputs,
            floating[::1] packed):
    """packed[panel, k, o] = w[by_output o + places[k]], zero for outputs that are not there."""
    cdef int64_t panel, i, k, o, wide, taps = places.shape[0]
    cdef floating* to
    cdef const floating* from_
    for panel in prange((outputs + OUTPUTS - 1) // OUTPUTS, schedule="static", nogil=True):
        o = panel * OUTPUTS
        wide = panel_width(outputs - o)
        to = &packed[0] + o * taps
        from_ = &w[0] + o * by_output
        for k in range(taps):
            for i in range(wide):
                to[wide * k + i] = from_[i * by_output + places[k]] if o + i < outputs else 0
