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
    CHUNK = 1 << 18    # bytes of packed input under four pixels that stay near the processor


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
    at = forward_offsets(w.shape[1:], x.shape, plan)
    multiply(w.reshape(len(w), len(at)), at, x, y, plan)
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
            part = w[:, :, u[:, None], v].swapaxes(0, 1)
            at = offsets32(table, plan, dy.shape)
            multiply(part.reshape(channels, len(at)), at, dy, dx[:, r::stride, q::stride], plan)
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
    at = forward_offsets(shape[1:], x.shape, plan)
    rows, tasks, parts = parts_of(dy, x, len(dy) * len(at), plan)
    partial = np.zeros((parts, *shape), dy.dtype)
    if partial.size and dy.size:
        _outer(at, with_contiguous_batch(dy), with_contiguous_batch(x), partial.reshape(parts, len(dy), -1), plan,
               rows, tasks)
    return partial.sum(axis=0) if parts > 1 else partial[0]


def _every_entry(w):
    """Every entry of w."""
    columns = w[:1].size
    indptr, indices = np.arange(len(w) + 1) * columns, np.tile(np.arange(columns), len(w))
    return Pattern(indptr, indices, columns), w.reshape(-1)


cdef multiply(w, at, x, y, Plan plan):
    """y[o, a, b] = sum_k w[o, k] x[at[k] from (a, b)]."""
    if not y.size:
        return
    outputs, taps = w.shape
    packed = np.zeros((-(-outputs // 3) * 3, taps), w.dtype)
    packed[:outputs] = w
    packed = np.ascontiguousarray(packed.reshape(len(packed) // 3, 3, taps).swapaxes(1, 2))
    # taps run over channels before all else: a chunk of them is a band of channels, at least one
    chunk = max(1, CHUNK // (max(plan.span, 1) * (4 + plan.width - y.shape[2]) * PIXEL))
    chunk = max(1, min(taps, chunk * taps // max(x.shape[0], 1)))
    blocks, band = bands_of(y)
    _multiply(at, packed, with_contiguous_batch(x), y, plan, blocks, band, chunk)
