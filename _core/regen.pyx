"""Compiled twin of regen_ref.py, which is its specification.

* a tile of W is regenerated into the first cache, tracked entries laid over, used for the whole batch, and forgotten
* sixteen vector accumulators: four rows of the result times four vectors of the batch
* threads own blocks of rows of the result: rows of W, or columns of W for the transpose
* gradient: the same accumulators, four rows of dy times four vectors of x^T
* candidates: scores of part of a row are compared 64 at a time, and only where one of them passes one by one
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from cython.parallel cimport prange, threadid
from libc.math cimport fabs, sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

import numpy as np

from minisparse._core.regen_ref import KINDS, check, check_tile
from minisparse._core.rng_ref import _mixed_halves
from minisparse._core.spmm_ref import check_operand

cdef extern from "vec.h":
    ctypedef float vf32
    ctypedef double vf64
    enum:
        VECTOR_BYTES
    vf32 splat_vf32(const void *values, int64_t k) nogil
    vf64 splat_vf64(const void *values, int64_t k) nogil
    const vf32 zero_vf32
    const vf64 zero_vf64
    int omp_get_max_threads() nogil

include "memory.pxi"
include "mix.pxi"

ctypedef fused vector:
    vf32
    vf64

ctypedef fused scalar:
    float
    double

cdef enum:
    CONSTANT = 0
    UNIFORM = 1
    PART = 512         # columns of a gradient, or scores of a row, at a time
    DOWN = 64          # rows of a gradient at a time, a multiple of four
    DEEP = 256         # terms of its sums at a time
    GROUP = 64         # scores compared at once
    TASK = 1 << 14     # scores of a thread's rows at a time, at least


cdef struct Weight:
    int kind
    uint32_t k0
    uint32_t k1
    float scale   # the constant that an integer is multiplied by
    float factor
    bint transposed
    const int32_t *indptr
    const int32_t *indices
    const char *values
    int64_t rows
    int64_t columns
    int64_t block  # rows of the result in a tile, a multiple of four
    int64_t depth  # terms of each sum in a tile


def matmul(kind, key, scale, factor, pattern, values, x):
    key = check(kind, key, pattern, values)
    check_operand("x", x, values.dtype, pattern.columns)
    return product(kind, key, scale, factor, pattern, values, x, False)


def rmatmul(kind, key, scale, factor, pattern, values, dy):
    key = check(kind, key, pattern, values)
    check_operand("dy", dy, values.dtype, pattern.shape[0])
    return product(kind, key, scale, factor, pattern, values, dy, True)


def gradient(dy, x):
    check_operand("dy", dy, dy.dtype)
    check_operand("x", x, dy.dtype, None, dy.shape[1])
    cdef int64_t itemsize = dy.itemsize, lanes = VECTOR_BYTES // itemsize, n = dy.shape[1], i
    cdef int64_t rows = (len(dy) + 3) // 4 * 4, columns = max(len(x), lanes)
    if len(x) < lanes:
        wide = np.zeros((lanes, n), x.dtype)
        wide[:len(x)] = x
    else:
        wide = x
    xt, four, y = np.ascontiguousarray(wide.T), aligned(rows, n, dy.dtype), aligned(rows, columns, dy.dtype)
    four[:len(dy)], four[len(dy):] = dy, 0
    cdef const char *left = address(four)
    cdef const char *right = address(xt)
    cdef char *to = address(y, PyBUF_WRITABLE)
    cdef int64_t across = (columns + PART - 1) // PART, tasks = across * ((rows + DOWN - 1) // DOWN)
    for i in prange(tasks, nogil=True, schedule="static"):
        if itemsize == 4:
            outer[vf32, float](left, right, to, rows, columns * 4, n, i // across * DOWN, i % across * PART * 4, zero_vf32, 0)
        else:
            outer[vf64, double](left, right, to, rows, columns * 8, n, i // across * DOWN, i % across * PART * 8, zero_vf64, 0)
    return y[:len(dy), :len(x)] if columns == len(x) else y[:len(dy), :len(x)].copy()


cdef void outer(const char *dy, const char *xt, char *y, int64_t rows, int64_t stride, int64_t n, int64_t row,
                int64_t at, vector zero, scalar none) noexcept nogil:
    """DOWN rows from `row` on, PART columns from byte `at` of a row on; strides in bytes, rows a multiple of four."""
    cdef int64_t end = min(stride, at + PART * <int64_t>sizeof(scalar)), last = min(rows, row + DOWN)
    cdef int64_t first, depth, width, vectors, j, k, column
    cdef vector edge[4]
    while at < end:
        vectors = min(4, (end - at) // VECTOR_BYTES)
        vectors = 2 if vectors == 3 else vectors
        width = vectors * VECTOR_BYTES if vectors else end - at
        for j in range(row, last):
            memset(y + j * stride + at, 0, width)
        first = 0
        while first < n:
            depth = min(DEEP, n - first)
            for j in range(row, last, 4):
                if vectors:
                    call[vector](dy + (j * n + first) * <int64_t>sizeof(scalar), n, 1, depth, xt + first * stride + at,
                                 stride, y + j * stride + at, stride, vectors, zero)
                    continue
                # a vector that ends with the row, of which the lanes are taken that no other vector has had
                edge[0] = edge[1] = edge[2] = edge[3] = zero
                call[vector](dy + (j * n + first) * <int64_t>sizeof(scalar), n, 1, depth,
                             xt + first * stride + stride - VECTOR_BYTES, stride, <char *>edge, VECTOR_BYTES, 1, zero)
                for k in range(4):
                    for column in range(-width // <int64_t>sizeof(scalar), 0):
                        (<scalar *>(y + (j + k + 1) * stride))[column] += (<scalar *>(edge + k + 1))[column]
            first += depth
        at += width


def candidates(kind, key, scale, factor, pattern, gradient, first, rate, threshold, place):
    key = check_tile(kind, key, pattern, gradient, first, rate, threshold, place)
    cdef Weight w = weight(kind, key, scale, factor, pattern)
    cdef int64_t start = first, rows = len(gradient), step = TASK // max(w.columns, 1) + 1, i
    cdef int64_t tasks = (rows + step - 1) // step if w.columns else 0, limit = place, double_width = gradient.itemsize == 8
    cdef double pace = rate, least = threshold
    gradient = np.ascontiguousarray(gradient)
    # places for all; memory that nothing is written to is none
    index, found, score = (np.empty(gradient.size, dtype) for dtype in (np.int64, gradient.dtype, gradient.dtype))
    counts = np.zeros((tasks, 2), np.int64)
    cdef const char *g = address(gradient)
    cdef int64_t *to_index = <int64_t *>address(index, PyBUF_WRITABLE)
    cdef char *to_found = address(found, PyBUF_WRITABLE)
    cdef char *to_score = address(score, PyBUF_WRITABLE)
    cdef int64_t *count = <int64_t *>address(counts, PyBUF_WRITABLE)
    for i in prange(tasks, nogil=True, schedule="dynamic"):
        if double_width:
            choose[double](&w, start, i * step, min(rows, (i + 1) * step), <double *>g, pace, least, limit, to_index,
                           <double *>to_found, <double *>to_score, count + 2 * i)
        else:
            choose[float](&w, start, i * step, min(rows, (i + 1) * step), <float *>g, <float>pace, <float>least, limit,
                          to_index, <float *>to_found, <float *>to_score, count + 2 * i)
    chosen, nans = counts[:, 0], counts[:, 1].sum()
    if nans:
        raise ValueError(f"scores hold {nans} NaN: a NaN has no rank")
    begin = np.arange(tasks) * (step * w.columns)
    parts = [slice(a, b) for a, b in zip(begin, begin + chosen)] or [slice(0)]
    return tuple(np.concatenate([array[part] for part in parts]) for array in (index, found, score))


cdef Weight weight(kind, key, double scale, factor, pattern):
    """The entries at rest and the places of the others, which the caller holds."""
    cdef Weight w
    w.kind, w.factor = KINDS.index(kind), factor
    w.scale = scale if w.kind == CONSTANT else scale * sqrt(3.0) / 16777216.0 if w.kind == UNIFORM else (
        scale / sqrt(21845.0))
    w.k0, w.k1 = _mixed_halves(key)
    w.rows, w.columns = pattern.shape
    w.indptr, w.indices = <int32_t *>address(pattern.indptr), <int32_t *>address(pattern.indices)
    return w


cdef product(kind, key, double scale, factor, pattern, values, x, bint transposed):
    cdef Weight w = weight(kind, key, scale, factor, pattern)
    cdef int64_t itemsize = x.itemsize, lanes = VECTOR_BYTES // itemsize, n = x.shape[1]
    cdef int64_t wide = (n + lanes - 1) // lanes * lanes, i, blocks, threads = omp_get_max_threads()
    values = np.ascontiguousarray(values)
    w.transposed, w.values = transposed, address(values)
    if wide > n or not x.flags.c_contiguous or <size_t>address(x) % VECTOR_BYTES:
        copy = aligned(len(x), wide, x.dtype)
        copy[:, :n], copy[:, n:] = x, 0
        x = copy
    w.block, w.depth = (128, 64) if transposed else (32, 256)
    results = w.columns if transposed else w.rows
    blocks = (results + w.block - 1) // w.block
    y = aligned(blocks * w.block, wide, x.dtype)
    y[:] = 0
    tiles = aligned(threads, w.block * w.depth, x.dtype)
    cdef char *to = address(y, PyBUF_WRITABLE)
    cdef char *tile = address(tiles, PyBUF_WRITABLE)
    cdef const char *operand = address(x)
    cdef int64_t stride = wide * itemsize, room = w.block * w.depth * itemsize
    for i in prange(blocks, nogil=True, schedule="static", num_threads=threads):
        if itemsize == 4:
            block[vf32, float](&w, i * w.block, tile + threadid() * room, operand, to, stride, zero_vf32, 0)
        else:
            block[vf64, double](&w, i * w.block, tile + threadid() * room, operand, to, stride, zero_vf64, 0)
    return y if y.shape == (results, n) else y[:results, :n].copy()


cdef void block(const Weight *w, int64_t first, char *tile, const char *x, char *y, int64_t stride, vector zero,
                scalar none) noexcept nogil:
    """Rows first to first + w.block - 1 of the result; y has room for all of them."""
    cdef int64_t deep = w.rows if w.transposed else w.columns, top = w.columns if w.transposed else w.rows
    cdef int64_t start = 0, depth, j, n, jstep, kstep, count = min(w.block, top - first)
    while start < deep:
        depth = min(w.depth, deep - start)
        if w.transposed:
            jstep, kstep = 1, w.block
            for j in range(depth):
                regenerate[scalar](w, start + j, first, count, <scalar *>tile + j * w.block)
        else:
            jstep, kstep = w.depth, 1
            for j in range(count):
                regenerate[scalar](w, first + j, start, depth, <scalar *>tile + j * w.depth)
        n = 0
        while n < stride:
            for j in range(0, count, 4):
                call[vector](tile + j * jstep * sizeof(scalar), jstep, kstep, depth, x + start * stride + n, stride,
                             y + (first + j) * stride + n, stride, (stride - n) // VECTOR_BYTES, zero)
            n += (4 if stride - n >= 4 * VECTOR_BYTES else 2 if stride - n >= 2 * VECTOR_BYTES else 1) * VECTOR_BYTES
        start += depth


cdef void regenerate(const Weight *w, int64_t row, int64_t first, int64_t count, scalar *out) noexcept nogil:
    """W[row, first:first + count], tracked entries laid over those at rest."""
    cdef int64_t k = entry_from(w, row, first), end = w.indptr[row + 1]
    at_rest[scalar](w, row, first, count, out)
    while k < end and w.indices[k] < first + count:
        out[w.indices[k] - first] = (<const scalar *>w.values)[k]
        k += 1


cdef inline int64_t entry_from(const Weight *w, int64_t row, int64_t first) noexcept nogil:
    """The first entry of a row with a column >= first, or the row's end."""
    cdef int64_t low = w.indptr[row], high = w.indptr[row + 1], middle
    while low < high:
        middle = (low + high) // 2
        if w.indices[middle] < first:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline void at_rest(const Weight *w, int64_t row, int64_t first, int64_t count, scalar *out) noexcept nogil:
    """Entries first to first + count - 1 of a row were all at rest, rounded to float32 as rng_ref.py does."""
    cdef uint64_t at = <uint64_t>(row * w.columns + first)
    cdef int64_t i
    cdef float scale = w.scale, factor = w.factor
    cdef uint32_t k0 = w.k0, k1 = w.k1
    if w.kind == CONSTANT:
        for i in range(count):
            out[i] = scale * factor
    elif w.kind == UNIFORM:
        for i in range(count):
            out[i] = to_uniform(mix(k0, k1, at + <uint64_t>i), scale) * factor
    else:
        for i in range(count):
            out[i] = to_normal(mix(k0, k1, at + <uint64_t>i), scale) * factor


cdef void choose(const Weight *w, int64_t first, int64_t row, int64_t last, const scalar *gradient, scalar rate,
                 scalar threshold, int64_t place, int64_t *index, scalar *found, scalar *score,
                 int64_t *counts) noexcept nogil:
    """Candidates of rows row to last - 1 of a tile that begins at row `first`; counts: those found, and NaN.

    They go to where the first of these rows has its place, which has room for all entries of them.
    """
    cdef scalar rest[PART]
    cdef scalar s[PART]
    cdef const scalar *g
    cdef int64_t at = row * w.columns, column, width, i, j, k, end, group, begin, stop, flat
    cdef int passes, strange
    while row < last:
        column, end = 0, w.indptr[first + row + 1]
        while column < w.columns:
            width, g = min(PART, w.columns - column), gradient + row * w.columns + column
            at_rest[scalar](w, first + row, column, width, rest)
            # two loops, so that no product is contracted into a difference: each operation is rounded
            for i in range(width):
                s[i] = rate * g[i]
            for i in range(width):
                s[i] = fabs((rest[i] - s[i]) - rest[i])
            k = entry_from(w, first + row, column)
            while k < end and w.indices[k] < column + width:
                s[w.indices[k] - column] = -1
                k += 1
            for group in range((width + GROUP - 1) // GROUP):
                passes = strange = 0
                begin, stop = group * GROUP, min((group + 1) * GROUP, width)
                for i in range(begin, stop):
                    passes += s[i] >= threshold
                    strange += s[i] != s[i]
                counts[1] += strange
                if passes == 0:
                    continue
                for i in range(begin, stop):
                    flat = (first + row) * w.columns + column + i
                    if s[i] > threshold or (s[i] == threshold and flat < place):
                        # at most one a look at an entry, so within the room
                        j = at + counts[0]
                        index[j], found[j], score[j] = flat, g[i], s[i]
                        counts[0] += 1
            column += width
        row += 1


cdef void call(const char *tile, int64_t jstep, int64_t kstep, int64_t depth, const char *x, int64_t xstep, char *y,
               int64_t ystep, int64_t left, vector zero) noexcept nogil:
    if left >= 4:
        micro[vector](tile, jstep, kstep, depth, x, xstep, y, ystep, 4, zero)
    elif left >= 2:
        micro[vector](tile, jstep, kstep, depth, x, xstep, y, ystep, 2, zero)
    else:
        micro[vector](tile, jstep, kstep, depth, x, xstep, y, ystep, 1, zero)


cdef inline vector lane(const char *numbers, int64_t k, vector zero) noexcept nogil:
    """Number k in every lane."""
    if vector is vf32:
        return splat_vf32(numbers, k)
    else:
        return splat_vf64(numbers, k)


cdef inline void micro(const char *tile, int64_t jstep, int64_t kstep, int64_t depth, const char *x, int64_t xstep,
                       char *y, int64_t ystep, int count, vector zero) noexcept nogil:
    """y[j] += sum_k tile[j jstep + k kstep] x[k] for four rows of `count` vectors, a constant at the call.

    jstep and kstep count numbers, xstep and ystep bytes.
    """
    cdef vector a0, a1, a2, a3, b0, b1, b2, b3
    cdef vector c0, c1, c2, c3, d0, d1, d2, d3
    cdef vector v0, v1, v2, v3, w
    cdef const vector *v
    cdef int64_t k
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
    c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = zero
    for k in range(depth):
        v = <const vector *>(x + k * xstep)
        v0 = v[0]
        if count > 1:
            v1 = v[1]
        if count > 2:
            v2 = v[2]
            v3 = v[3]
        w = lane[vector](tile, k * kstep, zero)
        a0 = a0 + w * v0
        if count > 1:
            a1 = a1 + w * v1
        if count > 2:
            a2 = a2 + w * v2
            a3 = a3 + w * v3
        w = lane[vector](tile, k * kstep + jstep, zero)
        b0 = b0 + w * v0
        if count > 1:
            b1 = b1 + w * v1
        if count > 2:
            b2 = b2 + w * v2
            b3 = b3 + w * v3
        w = lane[vector](tile, k * kstep + 2 * jstep, zero)
        c0 = c0 + w * v0
        if count > 1:
            c1 = c1 + w * v1
        if count > 2:
            c2 = c2 + w * v2
            c3 = c3 + w * v3
        w = lane[vector](tile, k * kstep + 3 * jstep, zero)
        d0 = d0 + w * v0
        if count > 1:
            d1 = d1 + w * v1
        if count > 2:
            d2 = d2 + w * v2
            d3 = d3 + w * v3
    add[vector](y, a0, a1, a2, a3, count)
    add[vector](y + ystep, b0, b1, b2, b3, count)
    add[vector](y + 2 * ystep, c0, c1, c2, c3, count)
    add[vector](y + 3 * ystep, d0, d1, d2, d3, count)


cdef inline void add(char *y, vector a, vector b, vector c, vector d, int count) noexcept nogil:
    cdef vector *to = <vector *>y
    to[0] = to[0] + a
    if count > 1:
        to[1] = to[1] + b
    if count > 2:
        to[2] = to[2] + c
        to[3] = to[3] + d
