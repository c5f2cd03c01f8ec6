"""Compiled twin of regen_ref.py, which is its specification.

* a tile of W is regenerated into the first cache, tracked entries laid over, used for the whole batch, and forgotten
* sixteen vector accumulators: four rows of the result times four vectors of the batch
* threads own blocks of rows of the result: rows of W, or columns of W for the transpose
* gradient: the same accumulators, four rows of dy times four vectors of x^T
* candidates: scores of part of a row are compared 64 at a time, and only where one of them passes one by one
"""

from cython.parallel cimport prange, threadid
from libc.math cimport fabs, sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

import numpy as np

from minisparse._core.regen_ref import KINDS, check, check_tile
from minisparse._core.rng_ref import _mixed_halves
from minisparse._core.spmm_ref import check_operand

include "team.pxi"

cdef extern from "vec.h":
    ctypedef float vf32
    ctypedef double vf64
    enum:
        VECTOR_BYTES
    vf32 splat_vf32(const void *values, int64_t k) nogil
    vf64 splat_vf64(const void *values, int64_t k) nogil
    vf32 held_vf32(vf32 x) nogil
    vf64 held_vf64(vf64 x) nogil
    const vf32 zero_vf32
    const vf64 zero_vf64

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
    SMALL = 64         # terms of the sums of as many parts of a gradient that one thread does sooner


include "regen_micro.pxi"


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
    padded = np.concatenate([x, np.zeros((lanes - len(x), n), x.dtype)]) if len(x) < lanes else x
    xt, four, y = np.ascontiguousarray(padded.T), aligned(rows, n, dy.dtype), aligned(rows, columns, dy.dtype)
    four[:len(dy)], four[len(dy):] = dy, 0
    cdef const char *left = address(four)
    cdef const char *right = address(xt)
    cdef char *to = address(y, PyBUF_WRITABLE)
    cdef int64_t across = (columns + PART - 1) // PART, tasks = across * ((rows + DOWN - 1) // DOWN)
    cdef int64_t stride = columns * itemsize, wide = PART * itemsize, threads = team(tasks * n > SMALL)
    for i in prange(tasks, nogil=True, schedule="static", num_threads=threads):
        if itemsize == 4:
            outer[vf32, float](left, right, to, rows, stride, n, i // across * DOWN, i % across * wide, zero_vf32, 0)
        else:
            outer[vf64, double](left, right, to, rows, stride, n, i // across * DOWN, i % across * wide, zero_vf64, 0)
    return y[:len(dy), :len(x)] if columns == len(x) else y[:len(dy), :len(x)].copy()


def candidates(kind, key, scale, factor, pattern, gradient, first, rate, threshold, place):
    key = check_tile(kind, key, pattern, gradient, first, rate, threshold, place)
    cdef Weight w = weight(kind, key, scale, factor, pattern)
    cdef int64_t start = first, rows = len(gradient), step = TASK // max(w.columns, 1) + 1, i
    cdef int64_t tasks = (rows + step - 1) // step if w.columns else 0, limit = place, itemsize = gradient.itemsize
    cdef int64_t threads = team(tasks > 1)
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
    for i in prange(tasks, nogil=True, schedule="dynamic", num_threads=threads):
        if itemsize == 4:
            choose[float](&w, start, i * step, min(rows, (i + 1) * step), <float *>g, <float>pace, <float>least, limit,
                          to_index, <float *>to_found, <float *>to_score, count + 2 * i)
        else:
            choose[double](&w, start, i * step, min(rows, (i + 1) * step), <double *>g, pace, least, limit, to_index,
                           <double *>to_found, <double *>to_score, count + 2 * i)
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
    cdef int64_t wide = (n + lanes - 1) // lanes * lanes, i, blocks, threads = team(True)
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


include "regen_gradient.pxi"
