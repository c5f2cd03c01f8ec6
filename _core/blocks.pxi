# Batch blocks: what the two convolution kernels share.
#
# A thread copies a block of the batch of an image, two vectors a pixel, to rows of
# (channels, packed width) pixels, zero where the image ends. Then pixels lie side by side whatever N is, an
# offset in bytes names a weight's input under every output pixel alike, and blocks at the end of the batch need no
# care but in reading and writing. A row is copied just before the first output row that meets it, while the next one
# of its channel is asked for: pixels of a block are too far apart for a processor to foresee.
#
# An image may be pooled (pooled.pxi): then its arrays hold the largest pixel of each window of 2 x 2 only.

from cpython.buffer cimport PyBUF_STRIDES
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

import math

import numpy as np

from minisparse._core.allocator import empty_array

include "address.pxi"
include "team.pxi"

cdef extern from "lanes.h" nogil:
    enum: VECTOR_BYTES
    enum: REGISTERS
    ctypedef void apart "APART"
    ctypedef float vf32
    ctypedef double vf64
    vf32 splat32(const void*, int64_t)
    vf64 splat64(const void*, int64_t)
    float sum32(vf32)
    double sum64(vf64)
    void add_sums32(float*, vf32, vf32, vf32, vf32)
    void add_sums64(double*, vf64, vf64, vf64, vf64)
    void prefetch(const void*)
    void normalise32(float*, int64_t, const float*)
    void normalise64(double*, int64_t, const double*)
    void keep32(void*, const void*, const uint8_t*, int)
    void keep64(void*, const void*, const uint8_t*, int)
    vf32 largest32(vf32, vf32, vf32, vf32, uint8_t*)
    vf64 largest64(vf64, vf64, vf64, vf64, uint8_t*)

cdef extern from "scratch.h" nogil:
    char* borrow(size_t)
    void give_back(char*)

cdef extern from "stream.h" nogil:
    enum: STREAMED
    void stream_line(void*, const void*)
    void fence()

cdef extern from "<omp.h>" nogil:
    int omp_get_max_threads()

ctypedef fused vector:
    vf32
    vf64

cdef enum:
    LINE = VECTOR_BYTES
    PIXEL = 2 * LINE   # bytes of a packed pixel
    SLACK = PIXEL      # bytes that may be read after the last one
    CACHE_LINE = 64
    BAND = 4           # fewest rows of output worth a thread of their own
    PARTS = 64         # most partial sums of a gradient
    BUDGET = 1 << 19   # bytes of packed input that stay near the processor


cdef struct Image:  # (channels, height, width, N); strides in bytes, N contiguous
    char* data
    int64_t channels, height, width, by_channel, by_row, by_pixel, nbytes
    bint streamed  # whether its pixels are written past the caches
    int64_t itemsize
    const char* normal  # NULL, or of each channel four numbers: it is normalised and rectified as it is read
    uint8_t* winner  # NULL, or pooled: the place of the largest pixel of each window; data and strides are of these


cdef struct Plan:  # output pixel (a, b) meets input pixels (stride a + top + u, stride b + left + v)
    int64_t stride, top, left
    int64_t span, width  # 0 <= u < span; a packed row is `stride` parts of this width


cdef Image image_of(array) except *:
    """The strides of an array (channels, height, width, N), N contiguous; the array is the caller's to hold."""
    cdef Image image
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES)
    image.channels, image.height, image.width = view.shape[0], view.shape[1], view.shape[2]
    image.by_channel, image.by_row, image.by_pixel = view.strides[0], view.strides[1], view.strides[2]
    image.itemsize, image.nbytes = view.itemsize, view.shape[3] * view.itemsize
    image.data, image.streamed, image.normal, image.winner = NULL, False, NULL, NULL
    if image.channels and image.height and image.width and image.nbytes:
        image.data = <char*>view.buf
        image.streamed = (
            image.channels * image.height * image.width * image.nbytes >= STREAMED
            and PIXEL >= CACHE_LINE
            and (<size_t>image.data | image.by_channel | image.by_row | image.by_pixel) % CACHE_LINE == 0
        )
    PyBuffer_Release(&view)
    return image


cdef Plan forward_plan(kernel, int64_t stride, int64_t padding, size) except *:
    """Of y from x."""
    cdef int64_t height, width
    cdef Plan plan
    height, width = kernel
    plan.stride, plan.top, plan.left = stride, -padding, -padding
    plan.span, plan.width = height, <int64_t>size[1] + (width - 1) // stride
    return plan


cdef Plan transposed_plan(kernel, int64_t stride, int64_t padding, int64_t width) except *:
    """Of the x of one residue from dy."""
    cdef int64_t kernel_height, kernel_width, last = (stride - 1 + padding) // stride
    cdef Plan plan
    kernel_height, kernel_width = kernel
    plan.stride = 1
    # a quotient below zero may be rounded to either side: then a row more is packed
    plan.top, plan.left = -((kernel_height - 1 - padding) // stride), -((kernel_width - 1 - padding) // stride)
    plan.span = last - plan.top + 1
    plan.width = (width - 1) // stride + 1 + last - plan.left
    return plan


cdef forward_offsets(kernel, shape, Plan plan):
    """Where in packed rows of x, of this shape, each weight (C, kh, kw) of an output reads, from a pixel's place."""
    c, u, v = np.indices(kernel)
    table = ((u * shape[0] + c) * plan.stride + v % plan.stride) * plan.width + v // plan.stride
    return offsets32(table, plan, shape)


cdef offsets32(pixels, Plan plan, shape):
    """Bytes of this many pixels."""
    if plan.span * shape[0] * plan.stride * plan.width * PIXEL >= 2**31:
        raise ValueError(f"an image of shape {shape} is too wide for a kernel of this size")
    return (pixels * PIXEL).astype(np.int32).reshape(-1)


cdef int64_t blocks_of(Image* image) noexcept:
    """Of the batch."""
    return (image.nbytes + PIXEL - 1) // PIXEL


cdef int64_t band_of(int64_t blocks, int64_t rows) noexcept:
    """Rows of y a task, an even number; results do not depend on it."""
    cdef int64_t wanted = omp_get_max_threads()
    cdef int64_t bands = 1 if blocks % wanted == 0 else max(1, min(4 * wanted // blocks, rows // BAND))
    return (rows + 2 * bands - 1) // (2 * bands) * 2


cdef with_contiguous_batch(array):
    """The array, or a copy in which pixels of one image lie side by side."""
    return array if array.strides[3] == array.itemsize else np.ascontiguousarray(array)


cdef as_packed(dy, winner):
    """Both as `pack_row` takes them: in memory alike, where there are winners."""
    if winner is None or not dy.size:
        return with_contiguous_batch(dy), None
    return np.ascontiguousarray(dy), np.ascontiguousarray(winner)


cdef normalised_by(Image* image, normal):
    """Contiguous rows of four numbers, which the caller holds, or None."""
    if normal is not None:
        image.normal = address(normal)


cdef as_rows(normal):
    return None if normal is None else np.ascontiguousarray(normal)


cdef start_from(bias, int64_t outputs, int64_t itemsize, char* to):
    """What the sums of so many outputs start from; those beyond the bias from zero."""
    memset(to, 0, outputs * itemsize)
    if bias is not None:
        bias = np.ascontiguousarray(bias)
        memcpy(to, address(bias), len(bias) * itemsize)


cdef inline int64_t lanes(const vector* _) noexcept nogil:
    return LINE // <int64_t>sizeof(float) if vector is vf32 else LINE // <int64_t>sizeof(double)


cdef inline vector splat(const vector* _, const void* p, int64_t k) noexcept nogil:
    """Entry k in every lane."""
    if vector is vf32:
        return splat32(p, k)
    else:
        return splat64(p, k)


cdef inline vector zeros(const vector* _) noexcept nogil:
    cdef double zero = 0
    return splat(_, &zero, 0)


cdef inline char* to_line(char* p) noexcept nogil:
    """The next multiple of 64 bytes."""
    return <char*>((<size_t>p + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE)


cdef inline int64_t row_bytes(Image* x, Plan* plan) noexcept nogil:
    return x.channels * plan.stride * plan.width * PIXEL


cdef void pack_row(char* packed, Image* x, int64_t row, Plan* plan, int64_t first, int64_t nbytes) noexcept nogil:
    """Row `row` of x, bytes [first, first + nbytes) of each pixel -> (channels, stride, width) pixels; zeros beyond."""
    cdef int64_t c
    if row < 0 or row >= x.height:
        memset(packed, 0, row_bytes(x, plan))
        return
    for c in range(x.channels):
        pack_channel(packed, x, c, row, plan, first, nbytes)
        packed += plan.stride * plan.width * PIXEL


cdef void pack_channel(char* packed, Image* x, int64_t c, int64_t row, Plan* plan, int64_t first,
                       int64_t nbytes) noexcept nogil:
    """A row of one channel.

    Columns of one residue modulo the stride lie side by side, as the output pixels that meet them do.
    """
    cdef int64_t residue, begin, end, column
    cdef const char* source
    for residue in range(plan.stride):
        begin = clipped(-plan.left - residue, plan)
        end = max(begin, clipped(x.width - plan.left - residue, plan))
        column = plan.left + residue + begin * plan.stride
        memset(packed, 0, begin * PIXEL)
        if x.winner != NULL:
            unpool(packed + begin * PIXEL, x, c, row, column, plan.stride, end - begin, first, nbytes)
        else:
            source = x.data + c * x.by_channel + row * x.by_row + column * x.by_pixel + first
            copy_pixels(packed + begin * PIXEL, source, plan.stride * x.by_pixel, end - begin, nbytes, x.by_row)
            if x.normal != NULL:
                normalise(packed + begin * PIXEL, x, c, end - begin, nbytes)
        memset(packed + end * PIXEL, 0, (plan.width - end) * PIXEL)
        packed += plan.width * PIXEL


cdef inline int64_t clipped(int64_t column, Plan* plan) noexcept nogil:
    """The first packed pixel at or after a column."""
    return min(max(0, (column + plan.stride - 1) // plan.stride) if column > 0 else 0, plan.width)


cdef void normalise(char* packed, Image* x, int64_t c, int64_t count, int64_t nbytes) noexcept nogil:
    """Packed pixels of a channel, in place; what is beyond the batch stays zero."""
    cdef const char* normal = x.normal + 4 * c * x.itemsize
    cdef int64_t i
    if x.itemsize == sizeof(float):
        normalise32(<float*>packed, count * PIXEL // sizeof(float), <const float*>normal)
    else:
        normalise64(<double*>packed, count * PIXEL // sizeof(double), <const double*>normal)
    for i in range(count if nbytes < PIXEL else 0):
        memset(packed + i * PIXEL + nbytes, 0, PIXEL - nbytes)


cdef inline void copy_pixels(char* packed, const char* source, int64_t step, int64_t count,
                             int64_t nbytes, int64_t ahead) noexcept nogil:
    """Pixels `step` bytes apart; those `ahead` are asked for."""
    cdef int64_t i
    for i in range(count):
        ask_for(source + ahead)
        copy_pixel(packed + i * PIXEL, source, nbytes)
        source += step


cdef inline void ask_for(const char* pixel) noexcept nogil:
    """Its part of a block, which is read soon."""
    prefetch(pixel)
    if PIXEL > CACHE_LINE:
        prefetch(pixel + CACHE_LINE)


cdef inline void copy_pixel(char* packed, const char* source, int64_t nbytes) noexcept nogil:
    if nbytes == PIXEL:
        memcpy(packed, source, PIXEL)
    else:
        memcpy(packed, source, nbytes)
        memset(packed + nbytes, 0, PIXEL - nbytes)


cdef inline void put(char* target, vector a, vector b, int64_t nbytes, bint streamed) noexcept nogil:
    """The first nbytes of a pixel."""
    cdef vector[2] pixel
    pixel[0] = a
    pixel[1] = b
    if streamed and nbytes == PIXEL:
        stream_line(target, pixel)
        if PIXEL > CACHE_LINE:
            stream_line(target + CACHE_LINE, <char*>pixel + CACHE_LINE)
    elif nbytes == PIXEL:
        memcpy(target, pixel, PIXEL)
    else:
        memcpy(target, pixel, nbytes)


cdef inline void add_sum(void* dw, int64_t k, vector a) noexcept nogil:
    if vector is vf32:
        (<float*>dw)[k] += sum32(a)
    else:
        (<double*>dw)[k] += sum64(a)


include "pooled.pxi"
