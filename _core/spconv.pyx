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
            const floating[:, :, :, :] x, floating[:, ::1] partial, Plan plan, int64_t rows, int64_t tasks,
            int64_t chunks, int64_t longest):
    cdef Image source = image_of(x), target = image_of(dy)
    cdef int64_t part, parts = partial.shape[0], failed = 0
    cdef int64_t size = ((rows - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef int64_t grads = rows * target.channels * target.width * PIXEL, sums = longest * LINE
    cdef char* memory
    cdef Plan* p = &plan
    cdef Image* from_ = &source
    cdef Image* to = &target
    # as above; each part of the tasks adds to a row of `partial` of its own
    with nogil, parallel():
        memory = <char*>malloc(size + grads + sums + LINE)
        for part in prange(parts, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif floating is float:
                sample_part(<vf32*>to_line(memory), size, size + grads, &indptr[0], chunks, &at[0], to, from_,
                            &partial[part, 0], p, rows, part * tasks // parts, (part + 1) * tasks // parts)
            else:
                sample_part(<vf64*>to_line(memory), size, size + grads, &indptr[0], chunks, &at[0], to, from_,
                            &partial[part, 0], p, rows, part * tasks // parts, (part + 1) * tasks // parts)
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void sample_part(vector* packed, int64_t grads, int64_t sums, const int64_t* indptr, int64_t chunks,
                      const int32_t* at, Image* dy, Image* x, void* dw, Plan* plan, int64_t rows, int64_t task,
                      int64_t end) noexcept nogil:
    """Tasks are the bands of `rows` output rows of all blocks; lanes are summed once a chunk."""
    cdef int64_t i, c, k, first, begin, last, nbytes, bands = (dy.height + rows - 1) // rows
    cdef int64_t count, row = row_bytes(x, plan)
    cdef char* images = <char*>packed
    cdef const int64_t* starts
    cdef Plan own
    own.stride, own.top, own.left, own.span, own.width = 1, 0, 0, 1, dy.width
    while task < end:
        first, begin = task // bands * PIXEL, task % bands * rows
        last, nbytes = min(begin + rows, dy.height), min(PIXEL, x.nbytes - first)
        for i in range((last - begin - 1) * plan.stride + plan.span):
            pack_row(images + i * row, x, begin * plan.stride + plan.top + i, plan, first, nbytes)
        for i in range(last - begin):
            pack_row(images + grads + i * row_bytes(dy, &own), dy, begin + i, &own, first, nbytes)
        for c in range(chunks):
            starts = indptr + c * dy.channels
            k, count = starts[0], starts[dy.channels] - starts[0]
            memset(images + sums, 0, count * LINE)
            for i in range(last - begin):
                sample_row(<vector*>(images + i * plan.stride * row),
                           <vector*>(images + grads + i * row_bytes(dy, &own)), starts, at, dy,
                           <vector*>(images + sums))
            for i in range(count):
                add_sum(dw, k + i, (<vector*>(images + sums))[i])
        task += 1


cdef void sample_row(const vector* x, const vector* grads, const int64_t* indptr, const int32_t* at, Image* dy,
                     vector* sums) noexcept nogil:
    cdef int64_t o, b, k, zeroth = indptr[0]
    cdef const vector* d
    cdef const vector* p
    for b in range(0, dy.width - 3, 4):
        for o in range(dy.channels):
            sample_four(x + 2 * b, grads + 2 * (o * dy.width + b), at + indptr[o], indptr[o + 1] - indptr[o],
                        sums + indptr[o] - zeroth)
    for b in range(dy.width // 4 * 4, dy.width):
        for o in range(dy.channels):
            d = grads + 2 * (o * dy.width + b)
            for k in range(indptr[o], indptr[o + 1]):
                p = <const vector*>(<const char*>(x + 2 * b) + at[k])
                sums[k - zeroth] = sums[k - zeroth] + d[0] * p[0] + d[1] * p[1]


cdef inline void sample_four(const vector* x, const vector* d, const int32_t* at, int64_t count,
                             vector* sums) noexcept nogil:
    """Adds four pixels to the sums of all entries of an output."""
    cdef const vector* p
    cdef vector u, v
    cdef int64_t k
    cdef vector d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3], d4 = d[4], d5 = d[5], d6 = d[6], d7 = d[7]
    for k in range(count):
        p = <const vector*>(<const char*>x + at[k])
        u = sums[k] + d0 * p[0]
        v = d1 * p[1]
        u = u + d2 * p[2]
        v = v + d3 * p[3]
        u = u + d4 * p[4]
        v = v + d5 * p[5]
        u = u + d6 * p[6]
        v = v + d7 * p[7]
        sums[k] = u + v


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
