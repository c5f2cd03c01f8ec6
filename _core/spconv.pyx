"""Compiled twin of spconv_ref.py, which is its specification.

* no columns in memory: a block of the batch is packed (blocks.pxi) and a weight is an offset into it
* four output pixels of a block, eight vectors, are summed in registers over all entries of a row; of many
  channels, over a chunk at a time for all rows, so that the input under four pixels stays near
* the gradient of x is the same loop over the transposed entries, once for each residue of a pixel
  modulo the stride
* the gradient of w takes eight entries of a row at a time, so that dy is loaded once for all eight
* threads own blocks and bands of rows; the gradient of w is summed in parts that depend on shapes only
"""

import numpy as np

from minisparse._core.conv_ref import check_fit, check_image, check_output, check_size
from minisparse._core.spconv_ref import check_mask
from minisparse._core.spmm_ref import check_csr

include "blocks.pxi"

cdef enum:
    NEAR = 36 << 10  # bytes in the nearest cache, about
    ENTRIES = 14     # of a sum that pay for keeping it

def convolve(indptr, indices, values, x, kernel_height, kernel_width, stride, padding, groups):
    kernel = kernel_height, kernel_width
    check_csr(indptr, indices, values)
    check_image("x", x, values.dtype)
    check_mask(indptr, indices, x.shape[0], kernel, stride, padding, groups)
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
    indptr, indices, values, dy, channels, height, width, kernel_height, kernel_width, stride, padding, groups
):
    kernel = kernel_height, kernel_width
    check_csr(indptr, indices, values)
    check_image("dy", dy, values.dtype)
    check_size(height, width, channels)
    check_mask(indptr, indices, channels, kernel, stride, padding, groups)
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


def weight_gradient(indptr, indices, dy, x, kernel_height, kernel_width, stride, padding, groups):
    kernel = kernel_height, kernel_width
    check_csr(indptr, indices)
    check_image("dy", dy, dy.dtype)
    check_image("x", x, dy.dtype, dy.shape[3])
    check_mask(indptr, indices, x.shape[0], kernel, stride, padding, groups)
    size = check_fit(kernel, stride, padding, x.shape[1:3])
    check_output(dy, len(indptr) - 1, size)
    cdef Plan plan = forward_plan(kernel, stride, padding, size)
    at = offsets_of(indptr, indices, x, kernel, groups, plan)
    starts = np.ascontiguousarray(indptr, np.int64)
    x, dy = with_contiguous_batch(x), with_contiguous_batch(dy)
    rows, tasks, parts = parts_of(dy, x, len(at), plan)
    partial = np.zeros((parts, len(at)), dy.dtype)
    if partial.size and dy.size:
        _sample(starts, at, dy, x, partial, plan, rows, tasks)
    return partial.sum(axis=0)


cdef gather(indptr, at, values, x, y, Plan plan):
    """y[o, a, b] = sum of values[k] x[at[k] from (a, b)] over the entries k of row o."""
    if not y.size:
        return
    starts, values, x = np.ascontiguousarray(indptr, np.int64), np.ascontiguousarray(values), with_contiguous_batch(x)
    blocks, band = bands_of(y)
    chunks = chunks_of(x, y, starts[len(y)] - starts[0], plan)
    if chunks > 1:  # entries of a chunk of channels together, and of an output in it
        entries = slice(starts[0], starts[len(y)])
        at, values = at[entries], values[entries]
        channel = at // (plan.stride * plan.width * PIXEL) % len(x)
        bins = channel // -(-len(x) // chunks) * len(y) + np.repeat(np.arange(len(y)), np.diff(starts))
        starts, order = _sort(bins.astype(np.int32), chunks * len(y))
        at, values = at[order], values[order]
    _gather(starts, at, values, x, y, plan, blocks, band, chunks)


cdef chunks_of(x, y, entries, Plan plan):
    """Chunks of channels whose input under four pixels stays near, if sums of a chunk have entries to speak of."""
    near = len(x) * plan.span * plan.stride * (4 + plan.width - y.shape[2]) * PIXEL // NEAR
    return max(1, min(near, len(x), entries // (ENTRIES * len(y))))


def _gather(const int64_t[::1] indptr, const int32_t[::1] at, const floating[::1] values,
            const floating[:, :, :, :] x, floating[:, :, :, :] y, Plan plan, int64_t blocks, int64_t band,
            int64_t chunks):
    cdef Image source = image_of(x), target = image_of(y)
    cdef int64_t task, bands = (target.height + band - 1) // band, failed = 0
    cdef int64_t size = ((band - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef int64_t sums = 4 * PIXEL * target.channels
    cdef const int32_t* offsets = &at[0] if at.shape[0] else NULL
    cdef const floating* weights = &values[0] if at.shape[0] else NULL
    cdef char* memory
    cdef Plan* p = &plan
    cdef Image* from_ = &source
    cdef Image* to = &target
    # check_csr and the tables of offsets: entries of row o lie in [0, K), offsets in the packed rows
    with nogil, parallel():
        memory = <char*>malloc(size + sums + LINE)
        for task in prange(blocks * bands, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif floating is float:
                gather_band(<vf32*>to_line(memory), size, &indptr[0], chunks, offsets, weights, from_, to, p,
                            task // bands * PIXEL, task % bands * band,
                            min(task % bands * band + band, to.height))
            else:
                gather_band(<vf64*>to_line(memory), size, &indptr[0], chunks, offsets, weights, from_, to, p,
                            task // bands * PIXEL, task % bands * band,
                            min(task % bands * band + band, to.height))
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void gather_band(vector* packed, int64_t size, const int64_t* indptr, int64_t chunks, const int32_t* at,
                      const void* values, Image* x, Image* y, Plan* plan, int64_t first, int64_t begin, int64_t end) noexcept nogil:
    """Output rows begin to end - 1 of the block that starts at byte `first` of each pixel."""
    cdef int64_t a, filled = 0, nbytes = min(PIXEL, y.nbytes - first)
    cdef int64_t row = row_bytes(x, plan)
    for a in range(begin, end):
        while filled < (a - begin) * plan.stride + plan.span:
            pack_row(<char*>packed + filled * row, x, begin * plan.stride + plan.top + filled, plan, first, nbytes)
            filled += 1
        gather_row(<vector*>(<char*>packed + (a - begin) * plan.stride * row), indptr, chunks, at, values, y,
                   y.data + a * y.by_row + first, nbytes, <vector*>(<char*>packed + size))


cdef void gather_row(const vector* packed, const int64_t* indptr, int64_t chunks, const int32_t* at,
                     const void* values, Image* y, char* target, int64_t nbytes, vector* sums) noexcept nogil:
    cdef int64_t o, c, b = 0
    cdef bint last
    while b < y.width:
        for c in range(chunks * y.channels):
            o, last = c % y.channels, c >= (chunks - 1) * y.channels
            if b + 4 <= y.width:
                gather_four(packed + 2 * b, at, values, indptr[c], indptr[c + 1], &sums[8 * o], c < y.channels, last,
                            target + o * y.by_channel, y.by_pixel, nbytes)
            else:
                gather_tail(packed + 2 * b, at, values, indptr[c], indptr[c + 1], &sums[8 * o], c < y.channels, last,
                            target + o * y.by_channel, y.by_pixel, nbytes, y.width - b)
        target += 4 * y.by_pixel
        b += 4


cdef inline void gather_four(const vector* x, const int32_t* at, const void* values, int64_t k, int64_t end,
                             vector* sums, bint first, bint last, char* target, int64_t by_pixel,
                             int64_t nbytes) noexcept nogil:
    """Four pixels, on from `sums` (4, 2) unless these entries are the first, and to the target with the last."""
    cdef const vector* p
    cdef vector w, a0, a1, b0, b1, c0, c1, d0, d1
    cdef double zero = 0
    if not first:
        a0, a1, b0, b1, c0, c1, d0, d1 = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]
    else:
        if vector is vf32:
            a0 = splat32(&zero, 0)
        else:
            a0 = splat64(&zero, 0)
        a1 = b0 = b1 = c0 = c1 = d0 = d1 = a0
    while k < end:
        if vector is vf32:
            w = splat32(values, k)
        else:
            w = splat64(values, k)
        p = <const vector*>(<const char*>x + at[k])
        a0 = a0 + w * p[0]
        a1 = a1 + w * p[1]
        b0 = b0 + w * p[2]
        b1 = b1 + w * p[3]
        c0 = c0 + w * p[4]
        c1 = c1 + w * p[5]
        d0 = d0 + w * p[6]
        d1 = d1 + w * p[7]
        k += 1
    if not last:
        sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7] = a0, a1, b0, b1, c0, c1, d0, d1
        return
    put(target, a0, a1, nbytes)
    put(target + by_pixel, b0, b1, nbytes)
    put(target + 2 * by_pixel, c0, c1, nbytes)
    put(target + 3 * by_pixel, d0, d1, nbytes)


cdef inline void gather_tail(const vector* x, const int32_t* at, const void* values, int64_t begin, int64_t end,
                             vector* sums, bint first, bint last, char* target, int64_t by_pixel, int64_t nbytes,
                             int64_t pixels) noexcept nogil:
    """The same for fewer than four, one at a time."""
    cdef const vector* p
    cdef vector w, a0, a1
    cdef int64_t k, b
    if first:
        memset(sums, 0, 4 * PIXEL)
    for b in range(pixels):
        a0, a1 = sums[2 * b], sums[2 * b + 1]
        for k in range(begin, end):
            if vector is vf32:
                w = splat32(values, k)
            else:
                w = splat64(values, k)
            p = <const vector*>(<const char*>x + at[k]) + 2 * b
            a0 = a0 + w * p[0]
            a1 = a1 + w * p[1]
        sums[2 * b], sums[2 * b + 1] = a0, a1
        if last:
            put(target + b * by_pixel, a0, a1, nbytes)


def _sample(const int64_t[::1] indptr, const int32_t[::1] at, const floating[:, :, :, :] dy,
            const floating[:, :, :, :] x, floating[:, ::1] partial, Plan plan, int64_t rows, int64_t tasks):
    cdef Image source = image_of(x), target = image_of(dy)
    cdef int64_t part, parts = partial.shape[0], failed = 0
    cdef int64_t size = ((rows - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef int64_t strip = rows * target.width * PIXEL
    cdef char* memory
    cdef Plan* p = &plan
    cdef Image* from_ = &source
    cdef Image* to = &target
    # as above; each part of the tasks adds to a row of `partial` of its own
    with nogil, parallel():
        memory = <char*>malloc(size + strip + LINE)
        for part in prange(parts, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif floating is float:
                sample_part(<vf32*>to_line(memory), size, &indptr[0], &at[0], to, from_, &partial[part, 0], p, rows,
                            part * tasks // parts, (part + 1) * tasks // parts)
            else:
                sample_part(<vf64*>to_line(memory), size, &indptr[0], &at[0], to, from_, &partial[part, 0], p, rows,
                            part * tasks // parts, (part + 1) * tasks // parts)
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void sample_part(vector* packed, int64_t size, const int64_t* indptr, const int32_t* at, Image* dy, Image* x,
                      void* dw, Plan* plan, int64_t rows, int64_t task, int64_t end) noexcept nogil:
    """Tasks are the bands of `rows` output rows of all blocks."""
    cdef int64_t i, o, k, first, begin, last, nbytes, bands = (dy.height + rows - 1) // rows
    cdef int64_t row = row_bytes(x, plan)
    cdef vector* strip = <vector*>(<char*>packed + size)
    while task < end:
        first, begin = task // bands * PIXEL, task % bands * rows
        last, nbytes = min(begin + rows, dy.height), min(PIXEL, x.nbytes - first)
        for i in range((last - begin - 1) * plan.stride + plan.span):
            pack_row(<char*>packed + i * row, x, begin * plan.stride + plan.top + i, plan, first, nbytes)
        for o in range(dy.channels):
            if indptr[o] == indptr[o + 1]:
                continue
            pack_strip(<char*>strip, dy, o, begin, last, first, nbytes)
            k = indptr[o]
            while k + 8 <= indptr[o + 1]:
                sample_eight(strip, last - begin, dy.width, packed, at + k, plan, row, dw, k)
                k += 8
            while k < indptr[o + 1]:
                sample_one(strip, last - begin, dy.width, packed, at + k, plan, row, dw, k)
                k += 1
        task += 1


cdef void sample_eight(const vector* dy, int64_t height, int64_t width, const vector* packed, const int32_t* at,
                       Plan* plan, int64_t row, void* dw, int64_t k) noexcept nogil:
    cdef const char* p = <const char*>packed
    cdef const vector* x
    cdef vector d, a0, a1, a2, a3, a4, a5, a6, a7
    cdef int64_t a, b, half, i0 = at[0], i1 = at[1], i2 = at[2], i3 = at[3], i4 = at[4], i5 = at[5], i6 = at[6], i7 = at[7]
    cdef double zero = 0
    if vector is vf32:
        a0 = splat32(&zero, 0)
    else:
        a0 = splat64(&zero, 0)
    a1 = a2 = a3 = a4 = a5 = a6 = a7 = a0
    for a in range(height):
        p = <const char*>packed + a * plan.stride * row
        for b in range(width):
            for half in range(2):
                d = dy[half]
                a0 = a0 + d * (<const vector*>(p + i0))[half]
                a1 = a1 + d * (<const vector*>(p + i1))[half]
                a2 = a2 + d * (<const vector*>(p + i2))[half]
                a3 = a3 + d * (<const vector*>(p + i3))[half]
                a4 = a4 + d * (<const vector*>(p + i4))[half]
                a5 = a5 + d * (<const vector*>(p + i5))[half]
                a6 = a6 + d * (<const vector*>(p + i6))[half]
                a7 = a7 + d * (<const vector*>(p + i7))[half]
            dy += 2
            p += PIXEL
    add_sum(dw, k, a0)
    add_sum(dw, k + 1, a1)
    add_sum(dw, k + 2, a2)
    add_sum(dw, k + 3, a3)
    add_sum(dw, k + 4, a4)
    add_sum(dw, k + 5, a5)
    add_sum(dw, k + 6, a6)
    add_sum(dw, k + 7, a7)


cdef void sample_one(const vector* dy, int64_t height, int64_t width, const vector* packed, const int32_t* at,
                     Plan* plan, int64_t row, void* dw, int64_t k) noexcept nogil:
    cdef const char* p
    cdef vector a0, a1
    cdef int64_t a, b
    cdef double zero = 0
    if vector is vf32:
        a0 = splat32(&zero, 0)
    else:
        a0 = splat64(&zero, 0)
    a1 = a0
    for a in range(height):
        p = <const char*>packed + a * plan.stride * row + at[0]
        for b in range(width):
            a0 = a0 + dy[0] * (<const vector*>p)[0]
            a1 = a1 + dy[1] * (<const vector*>p)[1]
            dy += 2
            p += PIXEL
    add_sum(dw, k, a0 + a1)


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
