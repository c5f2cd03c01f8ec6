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

include "blocks.pxi"

cdef enum:
    CHUNK = 1 << 18    # bytes of packed input under four pixels that stay near the processor


def convolve(w, x, stride, padding, groups):
    check_weight(w)
    check_image("x", x, w.dtype)
    check_geometry(w.shape[2:], stride, padding, groups)
    check_channels(w.shape[0], w.shape[1], x.shape[0], groups)
    size = check_fit(w.shape[2:], stride, padding, x.shape[1:3])
    if groups > 1:
        return spconv.convolve(*_csr(w), x, w.shape[2], w.shape[3], stride, padding, groups)
    y = empty((len(w), *size, x.shape[3]), x.dtype)
    cdef Plan plan = forward_plan(w.shape[2:], stride, padding, size)
    at = forward_offsets(w.shape, x, plan)
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
        return spconv.input_gradient(*_csr(w), dy, channels, height, width, *kernel, stride, padding, groups)
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
            at = offsets32(table, plan, dy)
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
        indptr, indices, _ = _csr(np.broadcast_to(x.dtype.type(0), shape))
        return spconv.weight_gradient(indptr, indices, dy, x, *kernel, stride, padding, groups).reshape(shape)
    cdef Plan plan = forward_plan(kernel, stride, padding, size)
    at = forward_offsets(shape, x, plan)
    rows, tasks, parts = parts_of(dy, x, len(dy) * len(at), plan)
    partial = np.zeros((parts, *shape), dy.dtype)
    if partial.size and dy.size:
        _outer(at, with_contiguous_batch(dy), with_contiguous_batch(x), partial.reshape(parts, len(dy), -1), plan,
               rows, tasks)
    return partial.sum(axis=0) if parts > 1 else partial[0]


def _csr(w):
    """Every entry of w."""
    columns = w[:1].size
    indptr, indices = np.arange(len(w) + 1) * columns, np.tile(np.arange(columns), len(w))
    return indptr, indices, w.reshape(-1)


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


def _multiply(const int32_t[::1] at, const floating[:, :, ::1] w, const floating[:, :, :, :] x,
              floating[:, :, :, :] y, Plan plan, int64_t blocks, int64_t band, int64_t chunk):
    cdef Image source = image_of(x), target = image_of(y)
    cdef int64_t task, bands = (target.height + band - 1) // band, failed = 0, taps = at.shape[0]
    cdef int64_t size = ((band - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef const int32_t* offsets = &at[0] if taps else NULL
    cdef const floating* weights = &w[0, 0, 0] if taps else NULL
    cdef char* memory
    cdef Plan* p = &plan
    cdef Image* from_ = &source
    cdef Image* to = &target
    # the tables of offsets name pixels of the packed rows only; w has a row for each three outputs
    with nogil, parallel():
        memory = <char*>malloc(size + LINE)
        for task in prange(blocks * bands, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif floating is float:
                multiply_band(<vf32*>to_line(memory), offsets, weights, taps, chunk, from_, to, p,
                              task // bands * PIXEL, task % bands * band,
                              min(task % bands * band + band, to.height))
            else:
                multiply_band(<vf64*>to_line(memory), offsets, weights, taps, chunk, from_, to, p,
                              task // bands * PIXEL, task % bands * band,
                              min(task % bands * band + band, to.height))
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void multiply_band(vector* packed, const int32_t* at, const void* w, int64_t taps, int64_t chunk, Image* x,
                        Image* y, Plan* plan, int64_t first, int64_t begin, int64_t end) noexcept nogil:
    """Output rows begin to end - 1 of the block that starts at byte `first` of each pixel."""
    cdef int64_t a, b, k, filled = 0, nbytes = min(PIXEL, y.nbytes - first), row = row_bytes(x, plan)
    cdef const vector* at_row
    for a in range(begin, end):
        while filled < (a - begin) * plan.stride + plan.span:
            pack_row(<char*>packed + filled * row, x, begin * plan.stride + plan.top + filled, plan, first, nbytes)
            filled += 1
        at_row = <const vector*>(<char*>packed + (a - begin) * plan.stride * row)
        b = 0
        while b < y.width:
            k = 0
            while k < max(taps, 1):
                multiply_chunk(at_row + 2 * b, at, w, taps, k, min(taps, k + chunk), y,
                               y.data + a * y.by_row + b * y.by_pixel + first, min(4, y.width - b), nbytes)
                k += chunk
            b += 4


cdef void multiply_chunk(const vector* x, const int32_t* at, const void* w, int64_t taps, int64_t begin, int64_t end,
                         Image* y, char* target, int64_t pixels, int64_t nbytes) noexcept nogil:
    """Taps begin to end - 1 of all outputs, at up to four pixels."""
    cdef vector[24] sums
    cdef const char* weights
    cdef char* place
    cdef int64_t o, i, j
    for o in range(0, y.channels, 3):
        memset(sums, 0, 24 * LINE)
        for i in range(min(3, y.channels - o)):
            place = target + (o + i) * y.by_channel
            if begin:
                for j in range(pixels):
                    memcpy(&sums[8 * i + 2 * j], place + j * y.by_pixel, nbytes)
        weights = <const char*>w + (o * taps + 3 * begin) * (LINE // lanes(sums))
        if pixels == 4:
            three_by_four(x, at + begin, weights, end - begin, sums)
        else:
            for j in range(pixels):
                three_by_one(x + 2 * j, at + begin, weights, end - begin, &sums[2 * j])
        for i in range(min(3, y.channels - o)):
            place = target + (o + i) * y.by_channel
            for j in range(pixels):
                put(place + j * y.by_pixel, sums[8 * i + 2 * j], sums[8 * i + 2 * j + 1], nbytes)


cdef inline int64_t lanes(const vector* _) noexcept nogil:
    return 16 if vector is vf32 else 8


cdef void three_by_four(const vector* x, const int32_t* at, const void* w, int64_t taps, vector* sums) noexcept nogil:
    """Adds three outputs at four pixels, all in registers, to `sums` (3, 4, 2)."""
    cdef const vector* p
    cdef vector v, r, s, t
    cdef vector a0, a1, a2, a3, a4, a5, a6, a7
    cdef int64_t k
    cdef vector b0, b1, b2, b3, b4, b5, b6, b7
    cdef vector c0, c1, c2, c3, c4, c5, c6, c7
    a0 = sums[0]
    a1 = sums[1]
    a2 = sums[2]
    a3 = sums[3]
    a4 = sums[4]
    a5 = sums[5]
    a6 = sums[6]
    a7 = sums[7]
    b0 = sums[8]
    b1 = sums[9]
    b2 = sums[10]
    b3 = sums[11]
    b4 = sums[12]
    b5 = sums[13]
    b6 = sums[14]
    b7 = sums[15]
    c0 = sums[16]
    c1 = sums[17]
    c2 = sums[18]
    c3 = sums[19]
    c4 = sums[20]
    c5 = sums[21]
    c6 = sums[22]
    c7 = sums[23]
    for k in range(taps):
        if vector is vf32:
            r, s, t = splat32(w, 3 * k), splat32(w, 3 * k + 1), splat32(w, 3 * k + 2)
        else:
            r, s, t = splat64(w, 3 * k), splat64(w, 3 * k + 1), splat64(w, 3 * k + 2)
        p = <const vector*>(<const char*>x + at[k])
        v = p[0]
        a0 = a0 + r * v
        b0 = b0 + s * v
        c0 = c0 + t * v
        v = p[1]
        a1 = a1 + r * v
        b1 = b1 + s * v
        c1 = c1 + t * v
        v = p[2]
        a2 = a2 + r * v
        b2 = b2 + s * v
        c2 = c2 + t * v
        v = p[3]
        a3 = a3 + r * v
        b3 = b3 + s * v
        c3 = c3 + t * v
        v = p[4]
        a4 = a4 + r * v
        b4 = b4 + s * v
        c4 = c4 + t * v
        v = p[5]
        a5 = a5 + r * v
        b5 = b5 + s * v
        c5 = c5 + t * v
        v = p[6]
        a6 = a6 + r * v
        b6 = b6 + s * v
        c6 = c6 + t * v
        v = p[7]
        a7 = a7 + r * v
        b7 = b7 + s * v
        c7 = c7 + t * v
    sums[0] = a0
    sums[1] = a1
    sums[2] = a2
    sums[3] = a3
    sums[4] = a4
    sums[5] = a5
    sums[6] = a6
    sums[7] = a7
    sums[8] = b0
    sums[9] = b1
    sums[10] = b2
    sums[11] = b3
    sums[12] = b4
    sums[13] = b5
    sums[14] = b6
    sums[15] = b7
    sums[16] = c0
    sums[17] = c1
    sums[18] = c2
    sums[19] = c3
    sums[20] = c4
    sums[21] = c5
    sums[22] = c6
    sums[23] = c7


cdef void three_by_one(const vector* x, const int32_t* at, const void* w, int64_t taps, vector* sums) noexcept nogil:
    """Adds three outputs at one pixel to `sums` (3, 4, 2)."""
    cdef const vector* p
    cdef vector r, s, t, a0 = sums[0], a1 = sums[1], b0 = sums[8], b1 = sums[9], c0 = sums[16], c1 = sums[17]
    cdef int64_t k
    for k in range(taps):
        if vector is vf32:
            r, s, t = splat32(w, 3 * k), splat32(w, 3 * k + 1), splat32(w, 3 * k + 2)
        else:
            r, s, t = splat64(w, 3 * k), splat64(w, 3 * k + 1), splat64(w, 3 * k + 2)
        p = <const vector*>(<const char*>x + at[k])
        a0 = a0 + r * p[0]
        a1 = a1 + r * p[1]
        b0 = b0 + s * p[0]
        b1 = b1 + s * p[1]
        c0 = c0 + t * p[0]
        c1 = c1 + t * p[1]
    sums[0] = a0
    sums[1] = a1
    sums[8] = b0
    sums[9] = b1
    sums[16] = c0
    sums[17] = c1


def _outer(const int32_t[::1] at, const floating[:, :, :, :] dy, const floating[:, :, :, :] x,
           floating[:, :, ::1] partial, Plan plan, int64_t rows, int64_t tasks):
    cdef Image source = image_of(x), target = image_of(dy)
    cdef int64_t part, parts = partial.shape[0], failed = 0, taps = at.shape[0]
    cdef int64_t size = ((rows - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef int64_t strips = 4 * rows * target.width * PIXEL
    cdef char* memory
    cdef Plan* p = &plan
    cdef Image* from_ = &source
    cdef Image* to = &target
    # as above; each part of the tasks adds to a matrix (O, taps) of `partial` of its own
    with nogil, parallel():
        memory = <char*>malloc(size + strips + LINE)
        for part in prange(parts, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif floating is float:
                outer_part(<vf32*>to_line(memory), size, &at[0], taps, to, from_, &partial[part, 0, 0], p, rows,
                           part * tasks // parts, (part + 1) * tasks // parts)
            else:
                outer_part(<vf64*>to_line(memory), size, &at[0], taps, to, from_, &partial[part, 0, 0], p, rows,
                           part * tasks // parts, (part + 1) * tasks // parts)
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void outer_part(vector* packed, int64_t size, const int32_t* at, int64_t taps, Image* dy, Image* x, void* dw,
                     Plan* plan, int64_t rows, int64_t task, int64_t end) noexcept nogil:
    """Tasks are the bands of `rows` output rows of all blocks."""
    cdef int64_t i, j, o, k, first, begin, last, nbytes, bands = (dy.height + rows - 1) // rows
    cdef int64_t row = row_bytes(x, plan), strip = rows * dy.width * PIXEL
    cdef char* strips = <char*>packed + size
    cdef vector[16] sums
    while task < end:
        first, begin = task // bands * PIXEL, task % bands * rows
        last, nbytes = min(begin + rows, dy.height), min(PIXEL, x.nbytes - first)
        for i in range((last - begin - 1) * plan.stride + plan.span):
            pack_row(<char*>packed + i * row, x, begin * plan.stride + plan.top + i, plan, first, nbytes)
        for o in range(0, dy.channels, 4):
            for i in range(4):  # the last few outputs stand in for those that are not there
                pack_strip(strips + i * strip, dy, min(o + i, dy.channels - 1), begin, last, first, nbytes)
            for k in range(0, taps, 4):
                four_by_four(<const vector*>strips, strip, last - begin, dy.width, packed, at + k, taps - k, plan, row,
                             sums)
                for i in range(min(4, dy.channels - o)):
                    for j in range(min(4, taps - k)):
                        add_sum(dw, (o + i) * taps + k + j, sums[4 * i + j])
        task += 1


cdef void four_by_four(const vector* dy, int64_t strip, int64_t height, int64_t width, const vector* packed,
                       const int32_t* at, int64_t taps, Plan* plan, int64_t row, vector* sums) noexcept nogil:
    """dy of four outputs by the inputs of up to four taps, summed over the pixels, lanes apart."""
    cdef const char* p
    cdef const char* q = <const char*>dy
    cdef int64_t i, j, half, i0 = at[0], i1 = at[min(1, taps - 1)], i2 = at[min(2, taps - 1)], i3 = at[min(3, taps - 1)]
    cdef vector v, a, b, c, d
    cdef vector a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3
    cdef double zero = 0
    if vector is vf32:
        a0 = splat32(&zero, 0)
    else:
        a0 = splat64(&zero, 0)
    a1 = a2 = a3 = b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = a0
    for i in range(height):
        p = <const char*>packed + i * plan.stride * row
        for j in range(width):
            for half in range(2):
                a, b = (<const vector*>q)[half], (<const vector*>(q + strip))[half]
                c, d = (<const vector*>(q + 2 * strip))[half], (<const vector*>(q + 3 * strip))[half]
                v = (<const vector*>(p + i0))[half]
                a0 = a0 + a * v
                b0 = b0 + b * v
                c0 = c0 + c * v
                d0 = d0 + d * v
                v = (<const vector*>(p + i1))[half]
                a1 = a1 + a * v
                b1 = b1 + b * v
                c1 = c1 + c * v
                d1 = d1 + d * v
                v = (<const vector*>(p + i2))[half]
                a2 = a2 + a * v
                b2 = b2 + b * v
                c2 = c2 + c * v
                d2 = d2 + d * v
                v = (<const vector*>(p + i3))[half]
                a3 = a3 + a * v
                b3 = b3 + b * v
                c3 = c3 + c * v
                d3 = d3 + d * v
            p += PIXEL
            q += PIXEL
    sums[0] = a0
    sums[1] = a1
    sums[2] = a2
    sums[3] = a3
    sums[4] = b0
    sums[5] = b1
    sums[6] = b2
    sums[7] = b3
    sums[8] = c0
    sums[9] = c1
    sums[10] = c2
    sums[11] = c3
    sums[12] = d0
    sums[13] = d1
    sums[14] = d2
    sums[15] = d3
