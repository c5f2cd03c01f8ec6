"""Compiled twin of spconv_ref.py, which is its specification.

* no columns in memory: a block of the batch is packed (blocks.pxi) and a weight is an offset into it
* four output pixels of a block, eight vectors, are summed in registers over all entries of a row; of many
  channels, over a chunk at a time for all rows, so that the input under four pixels stays near
* the gradient of x is the same loop over the transposed entries, once for each residue of a pixel
  modulo the stride
* the gradient of w goes over entries in the same order, dy of four pixels in registers, and keeps a vector an
  entry: lanes are summed once a chunk
* threads own blocks and bands of rows; the gradient of w is summed in parts that depend on shapes only
"""

import numpy as np

from minisparse._core.conv_ref import check_fit, check_image, check_output, check_size
from minisparse._core.spconv_ref import check_mask
from minisparse._core.spmm_ref import check_pattern, check_values

include "blocks.pxi"
include "gather.pxi"
include "sample.pxi"

cdef enum:
    NEAR = 36 << 10  # bytes in the nearest cache, about
    ENTRIES = 14     # of a sum that pay for keeping it


def convolve(pattern, values, x, kernel_height, kernel_width, stride, padding, groups):
    kernel = kernel_height, kernel_width
    check_values(values, pattern)
    indptr, indices = pattern.indptr, pattern.indices
    check_image("x", x, values.dtype)
    check_mask(pattern, x.shape[0], kernel, stride, padding, groups)
    size = check_fit(kernel, stride, padding, x.shape[1:3])
    y = empty((len(indptr) - 1, *size, x.shape[3]), x.dtype)
    cdef Plan plan = forward_plan(kernel, stride, padding, size)
    at = offsets_of(indptr, indices, x, kernel, groups, plan)
    gather(indptr, at, values, x, y, plan)
    return y


cdef offsets_of(indptr, indices, x, kernel, groups, Plan plan):
    """Where in packed rows of x each entry reads: bytes from an output pixel's place."""
    channels = x.shape[0]
    at = forward_offsets((0, channels // groups, *kernel), x, plan)[indices]
    if groups > 1:
        group = np.arange(len(indptr) - 1) // max((len(indptr) - 1) // groups, 1)
        step = channels // groups * plan.stride * plan.width * PIXEL
        at += np.repeat((group * step).astype(np.int32), np.diff(indptr))
    return at


def input_gradient(
    pattern, values, dy, channels, height, width, kernel_height, kernel_width, stride, padding, groups
):
    kernel = kernel_height, kernel_width
    check_values(values, pattern)
    indptr, indices = pattern.indptr, pattern.indices
    check_image("dy", dy, values.dtype)
    check_size(height, width, channels)
    check_mask(pattern, channels, kernel, stride, padding, groups)
    check_output(dy, len(indptr) - 1, check_fit(kernel, stride, padding, (height, width)))
    dx = empty((channels, height, width, dy.shape[3]), dy.dtype)
    # x (s a + r) meets dy (a + (r + p - u) / s) through W[u], for the u that leave no remainder: one pass for each r
    cdef Plan plan = transposed_plan(kernel, stride, padding, width)
    bins, at = transposed_offsets(indptr, indices, dy, channels, kernel, stride, padding, groups, plan)
    starts, order = _sort(bins, channels * stride * stride)
    at, values = at[order], values[order]
    for r in range(min(stride, height)):
        for q in range(min(stride, width)):
            first = (r * stride + q) * channels
            gather(starts[first:first + channels + 1], at, values, dy, dx[:, r::stride, q::stride], plan)
    return dx


cdef transposed_offsets(indptr, indices, dy, channels, kernel, stride, padding, groups, Plan plan):
    """Of each entry: (r, q, channel) of the x that it reaches, as one number, and where in packed dy it reads."""
    (kh, kw), outputs = kernel, dy.shape[0]
    c, u, v = (a.reshape(-1) for a in np.indices((channels // groups, kh, kw)))
    r, q = (u - padding) % stride, (v - padding) % stride
    down, right = (r + padding - u) // stride - plan.top, (q + padding - v) // stride - plan.left
    bins = ((r * stride + q) * channels + c).astype(np.int32)[indices]
    table = down * outputs * plan.width + right
    row = np.repeat(np.arange(outputs, dtype=np.int32), np.diff(indptr))
    at = offsets32(table, plan, dy)[indices] + row * np.int32(plan.width * PIXEL)
    if groups > 1:
        bins += row // max(outputs // groups, 1) * (channels // groups)
    return bins, at


def weight_gradient(pattern, dy, x, kernel_height, kernel_width, stride, padding, groups):
    kernel = kernel_height, kernel_width
    check_pattern(pattern)
    indptr, indices = pattern.indptr, pattern.indices
    check_image("dy", dy, dy.dtype)
    check_image("x", x, dy.dtype, dy.shape[3])
    check_mask(pattern, x.shape[0], kernel, stride, padding, groups)
    size = check_fit(kernel, stride, padding, x.shape[1:3])
    check_output(dy, len(indptr) - 1, size)
    cdef Plan plan = forward_plan(kernel, stride, padding, size)
    at = offsets_of(indptr, indices, x, kernel, groups, plan)
    dw = np.zeros(len(at), dy.dtype)
    if dw.size and dy.size:
        starts, order, chunks = by_chunks(np.ascontiguousarray(indptr, np.int64), at, x, dy, plan)
        rows, tasks, parts = parts_of(dy, x, len(at), plan, BAND)
        partial = np.zeros((parts, len(at)), dy.dtype)
        x, dy = with_contiguous_batch(x), with_contiguous_batch(dy)
        longest = np.diff(starts[::len(dy)]).max()
        _sample(starts, at[order], dy, x, partial, plan, rows, tasks, chunks, longest)
        dw[order] = partial.sum(axis=0)
    return dw


cdef gather(indptr, at, values, x, y, Plan plan):
    """y[o, a, b] = sum of values[k] x[at[k] from (a, b)] over the entries k of row o."""
    if not y.size:
        return
    starts, values, x = np.ascontiguousarray(indptr, np.int64), np.ascontiguousarray(values), with_contiguous_batch(x)
    blocks, band = bands_of(y)
    entries = slice(starts[0], starts[len(y)])
    starts, order, chunks = by_chunks(starts - starts[0], at[entries], x, y, plan)
    _gather(starts, at[entries][order], values[entries][order], x, y, plan, blocks, band, chunks)


cdef by_chunks(starts, at, x, y, Plan plan):
    """(starts, order, chunks): entries of one chunk of channels together, and of one row of W within it.

    So many chunks that the input under four pixels stays near, if sums of a chunk have entries to speak of.
    """
    near = len(x) * plan.span * plan.stride * (4 + plan.width - y.shape[2]) * PIXEL // NEAR
    chunks = max(1, min(near, len(x), len(at) // (ENTRIES * len(y))))
    if chunks == 1:
        return starts, slice(None), 1
    channel = at // (plan.stride * plan.width * PIXEL) % len(x)
    bins = channel // -(-len(x) // chunks) * len(y) + np.repeat(np.arange(len(y)), np.diff(starts))
    return *_sort(bins.astype(np.int32), chunks * len(y)), chunks


def _sort(const int32_t[::1] bins, int64_t count):
    """(starts, order): the entries of bin b are order[starts[b]:starts[b + 1]], in their old order."""
    starts, order = np.zeros(count + 2, np.int64), np.empty(bins.shape[0], np.int64)
    cdef int64_t[::1] place = starts, to = order
    cdef int64_t k
    with nogil:
        # 0 <= bins[k] < count
        for k in range(bins.shape[0]):
            place[bins[k] + 2] += 1
        for k in range(count):
            place[k + 2] += place[k + 1]
        for k in range(bins.shape[0]):
            to[place[bins[k] + 1]] = k
            place[bins[k] + 1] += 1
    return starts[:count + 1], order
