"""Compiled twin of regen_ref.py, which is its specification.

* a tile of W is regenerated into the first cache, tracked entries laid over, used for the whole batch, and forgotten
* sixteen vector accumulators: four rows of the result times four vectors of the batch
* threads own blocks of rows of the result: rows of W, or columns of W for the transpose
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from cython.parallel cimport prange, threadid
from libc.math cimport sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

import numpy as np

from minisparse._core.regen_ref import KINDS, check
from minisparse._core.rng_ref import _mixed_halves
from minisparse._core.spmm_ref import check_operand

cdef extern from "team.h":
    int team(int worthwhile)

cdef extern from "vec.h":
    ctypedef float vf32
    ctypedef double vf64
    enum:
        VECTOR_BYTES
    vf32 splat_vf32(const void *values, int64_t k) nogil
    vf64 splat_vf64(const void *values, int64_t k) nogil
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


cdef product(kind, key, double scale, factor, pattern, values, x, bint transposed):
    cdef Weight w
    cdef int64_t itemsize = x.itemsize, lanes = VECTOR_BYTES // itemsize, n = x.shape[1]
    cdef int64_t wide = (n + lanes - 1) // lanes * lanes, i, blocks, threads = team(True)
    w.kind, w.factor, w.transposed = KINDS.index(kind), factor, transposed
    w.scale = scale if w.kind == CONSTANT else scale * sqrt(3.0) / 16777216.0 if w.kind == UNIFORM else (
        scale / sqrt(21845.0))
    w.k0, w.k1 = _mixed_halves(key)
    w.rows, w.columns = pattern.shape
    values = np.ascontiguousarray(values)
    w.indptr, w.indices = <int32_t *>address(pattern.indptr), <int32_t *>address(pattern.indices)
    w.values = address(values)
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
                call[vector](tile + j * jstep * sizeof(scalar), jstep, kstep, depth, x + start * stride + n,
                             y + (first + j) * stride + n, stride, (stride - n) // VECTOR_BYTES, zero)
            n += (4 if stride - n >= 4 * VECTOR_BYTES else 2 if stride - n >= 2 * VECTOR_BYTES else 1) * VECTOR_BYTES
        start += depth


cdef void regenerate(const Weight *w, int64_t row, int64_t first, int64_t count, scalar *out) noexcept nogil:
    """W[row, first:first + count], rounded to float32 as rng_ref.py does, tracked entries laid over."""
    cdef uint64_t at = <uint64_t>(row * w.columns + first)
    cdef int64_t i, low = w.indptr[row], high = w.indptr[row + 1], middle, end = w.indptr[row + 1]
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
    # the first entry with a column >= first
    while low < high:
        middle = (low + high) // 2
        if w.indices[middle] < first:
            low = middle + 1
        else:
            high = middle
    while low < end and w.indices[low] < first + count:
        out[w.indices[low] - first] = (<const scalar *>w.values)[low]
        low += 1


cdef void call(const char *tile, int64_t jstep, int64_t kstep, int64_t depth, const char *x, char *y, int64_t stride,
               int64_t left, vector zero) noexcept nogil:
    if left >= 4:
        micro[vector](tile, jstep, kstep, depth, x, y, stride, 4, zero)
    elif left >= 2:
        micro[vector](tile, jstep, kstep, depth, x, y, stride, 2, zero)
    else:
        micro[vector](tile, jstep, kstep, depth, x, y, stride, 1, zero)


cdef inline vector lane(const char *numbers, int64_t k, vector zero) noexcept nogil:
    """Number k in every lane."""
    if vector is vf32:
        return splat_vf32(numbers, k)
    else:
        return splat_vf64(numbers, k)


cdef inline void micro(const char *tile, int64_t jstep, int64_t kstep, int64_t depth, const char *x, char *y,
                       int64_t stride, int count, vector zero) noexcept nogil:
    """y[j] += sum_k tile[j jstep + k kstep] x[k] for four rows of `count` vectors, a constant at the call."""
    cdef vector a0, a1, a2, a3, b0, b1, b2, b3
    cdef vector c0, c1, c2, c3, d0, d1, d2, d3
    cdef vector v0, v1, v2, v3, w
    cdef const vector *v
    cdef int64_t k
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
    c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = zero
    for k in range(depth):
        v = <const vector *>(x + k * stride)
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
    add[vector](y + stride, b0, b1, b2, b3, count)
    add[vector](y + 2 * stride, c0, c1, c2, c3, count)
    add[vector](y + 3 * stride, d0, d1, d2, d3, count)


cdef inline void add(char *y, vector a, vector b, vector c, vector d, int count) noexcept nogil:
    cdef vector *to = <vector *>y
    to[0] = to[0] + a
    if count > 1:
        to[1] = to[1] + b
    if count > 2:
        to[2] = to[2] + c
        to[3] = to[3] + d
