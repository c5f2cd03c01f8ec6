"""Compiled twin of spmm_ref.py, which is its specification.

* one broadcast an entry, up to eight vector accumulators over the batch: a panel of batch columns a pass
* a panel's last vector ends where the panel ends, over the one before if need be: no tail, no masks
* the transposed product gathers over the transposed pattern, so that nothing is scattered
* the sampled product takes four entries at a time and sums their lanes together
* a tile of x is copied to where it lies together and no vector crosses a cache line, if it is used often enough
* tiles of few columns, so that x stays in the first cache while all rows pass, where a row has enough entries
* threads take panels and runs of rows of equal work; each sum is one thread's
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

import numpy as np

from minisparse._core.spmm_ref import check_operand, check_pattern, check_values

cdef extern from "team.h":
    int team(int worthwhile)

cdef extern from "vec.h":
    ctypedef float vf32
    ctypedef double vf64
    enum:
        VECTOR_BYTES
    vf32 splat_vf32(const void *values, int64_t k) nogil
    vf64 splat_vf64(const void *values, int64_t k) nogil
    vf32 last_vf32(const vf32 *x, int64_t n) nogil
    vf64 last_vf64(const vf64 *x, int64_t n) nogil
    void totals_vf32(float *t, vf32 a, vf32 b, vf32 c, vf32 d) nogil
    void totals_vf64(double *t, vf64 a, vf64 b, vf64 c, vf64 d) nogil
    const vf32 zero_vf32
    const vf64 zero_vf64

cdef enum:
    MANY = 262144      # products of two numbers, from which on threads pay; an entry itself counts for 16
    L1_BYTES = 32768   # of x in a tile where entries are many
    L2_BYTES = 524288  # of x in a tile where they are few:
    FEW = 5            # a row of a tile of L1_BYTES

include "memory.pxi"

ctypedef fused vector:
    vf32
    vf64

ctypedef fused scalar:
    float
    double


cdef struct Product:
    # y = W x, W (O, I); numbers of bytes where nothing else is said
    const int32_t *indptr
    const int32_t *indices
    const int32_t *order  # where each entry's value stands, or NULL
    const int32_t *cuts   # entries of row o in tile t: cuts[t next + o] to cuts[t next + next + o] - 1, next = O;
    int64_t next          # for a single tile cuts is indptr, next = 1
    const char *values
    const char *x
    char *y
    char *dw          # NULL, or the result: then y is dy, an operand
    char *packed      # room for a tile of x a thread, or NULL
    int64_t rows      # O
    int64_t columns   # I
    int64_t entries   # K
    int64_t panels
    int64_t tile      # columns of W
    int64_t stride    # from row to row of x
    int64_t width     # of a row of y


cdef struct Tile:
    # some columns of W against a panel of x
    const char *x   # where column 0 would lie
    char *y
    const int32_t *begin  # entries of each row in the tile
    const int32_t *end
    int64_t stride  # bytes from row to row of x
    int64_t width   # bytes of the panel
    bint more       # add to y


def matmul(pattern, values, x):
    check_values(values, pattern)
    check_operand("x", x, values.dtype, pattern.columns)
    return product(pattern, None, values, x)


def rmatmul(pattern, values, dy):
    check_values(values, pattern)
    check_operand("dy", dy, values.dtype, len(pattern.indptr) - 1)
    return product(pattern.transpose, pattern.order, values, dy)


def sampled(pattern, dy, x):
    check_pattern(pattern)
    check_operand("dy", dy, dy.dtype, len(pattern.indptr) - 1)
    check_operand("x", x, dy.dtype, pattern.columns, dy.shape[1])
    cdef Product p
    p.packed, p.order, p.values = NULL, NULL, NULL
    cdef int64_t n = x.shape[1], itemsize = x.itemsize, lanes = VECTOR_BYTES // itemsize
    cdef int64_t entries = len(pattern.indices)
    if 0 < n < lanes:
        dy, x = (np.concatenate([a, np.zeros((len(a), lanes - n), a.dtype)], 1) for a in (dy, x))
    dy, x = np.ascontiguousarray(dy), np.ascontiguousarray(x)
    dw = np.zeros(entries, x.dtype)
    p.indptr, p.indices = <int32_t *>address(pattern.indptr), <int32_t *>address(pattern.indices)
    p.x, p.y, p.dw = address(x), address(dy), address(dw, PyBUF_WRITABLE)
    p.rows, p.columns, p.entries, p.stride = len(dy), len(x), entries, x.shape[1] * itemsize
    p.width = p.stride
    p.panels = (p.width + 8 * VECTOR_BYTES - 1) // (8 * VECTOR_BYTES)
    if entries and n:
        run(&p, pattern, itemsize)
    return dw


cdef product(pattern, order, values, x):
    """W x, the entries of W in this order, or as they come."""
    cdef Product p
    p.packed = p.dw = NULL
    cdef int64_t columns = x.shape[1], itemsize = x.itemsize, lanes = VECTOR_BYTES // itemsize
    cdef bint short = 1 < columns < lanes
    p.rows, p.columns, p.entries, p.stride = len(pattern.indptr) - 1, len(x), len(values), columns * itemsize
    x, values = np.ascontiguousarray(x), np.ascontiguousarray(values)
    if short:
        # rows of less than a vector: whole vectors are read, up to one past the end, and written
        x = np.concatenate([x.reshape(-1), np.zeros(lanes, x.dtype)])
    y = np.empty((p.rows, lanes if short else columns), x.dtype)
    p.indptr, p.indices = <int32_t *>address(pattern.indptr), <int32_t *>address(pattern.indices)
    p.order = NULL if order is None else <int32_t *>address(order)
    p.values, p.x, p.y = address(values), address(x), address(y, PyBUF_WRITABLE)
    p.width = y.shape[1] * itemsize
    p.panels = (p.width + 8 * VECTOR_BYTES - 1) // (8 * VECTOR_BYTES)
    if columns and p.rows:
        run(&p, pattern, itemsize)
    return y[:, :columns].copy() if short else y


cdef run(Product *p, pattern, int64_t itemsize):
    """Panels and runs of rows, shared by the threads."""
    cdef int64_t threads = team(p.entries * (p.width + 16 * itemsize) > MANY * itemsize)
    # as few runs of rows as give every thread the same number of tasks
    cdef int64_t runs = threads if p.dw is not NULL else threads // gcd(threads, p.panels), i
    borders = pattern.parts(runs)
    cdef int32_t *border = <int32_t *>address(borders)
    if p.width == itemsize and p.dw is NULL:
        for i in prange(runs, nogil=True, schedule="static", num_threads=threads):
            if itemsize == 4:
                column[float](p, border[i], border[i + 1], 0)
            else:
                column[double](p, border[i], border[i + 1], 0)
        return
    held = cut(p, pattern, threads)
    if p.dw is not NULL:
        for i in prange(runs, nogil=True, schedule="static", num_threads=threads):
            if itemsize == 4:
                tasks[vf32](p, 0, p.panels, border[i], border[i + 1], threadid(), zero_vf32)
            else:
                tasks[vf64](p, 0, p.panels, border[i], border[i + 1], threadid(), zero_vf64)
        return
    for i in prange(runs * p.panels, nogil=True, schedule="static", num_threads=threads):
        if itemsize == 4:
            tasks[vf32](p, i // runs, i // runs + 1, border[i % runs], border[i % runs + 1], threadid(), zero_vf32)
        else:
            tasks[vf64](p, i // runs, i // runs + 1, border[i % runs], border[i % runs + 1], threadid(), zero_vf64)


cdef cut(Product *p, pattern, int64_t threads):
    """Choose the tiles; returns what the caller has to hold meanwhile."""
    cdef int64_t panel = min(p.width + VECTOR_BYTES, 8 * VECTOR_BYTES)
    p.tile = L1_BYTES // panel
    if p.entries * p.tile < FEW * p.rows * p.columns:
        p.tile = L2_BYTES // panel
    cuts = pattern.cuts(p.tile) if p.tile < p.columns else None
    if cuts is None:
        p.tile, p.cuts, p.next = max(p.columns, 1), p.indptr, 1
    else:
        p.cuts, p.next = <int32_t *>address(cuts), p.rows
    packed = None
    cdef bint crosses = (<size_t>p.x | <size_t>p.stride) % VECTOR_BYTES
    if p.entries > 4 * p.columns and p.panels > 1 or p.entries > 8 * p.columns and crosses:
        packed = aligned(threads * p.tile, 8 * VECTOR_BYTES, np.dtype(np.uint8))
        p.packed = address(packed, PyBUF_WRITABLE)
    return cuts, packed


cdef int64_t gcd(int64_t a, int64_t b) noexcept:
    while b:
        a, b = b, a % b
    return a


cdef void column(const Product *p, int64_t first, int64_t last, scalar zero) noexcept nogil:
    """y[first:last] for a batch of one."""
    cdef int64_t o, k, end
    cdef scalar a, b, c, d
    cdef const scalar *w = <const scalar *>p.values
    cdef const scalar *x = <const scalar *>p.x
    for o in range(first, last):
        a = b = c = d = zero
        k, end = p.indptr[o], p.indptr[o + 1]
        if p.order is NULL:
            while k + 4 <= end:
                a = a + w[k] * x[p.indices[k]]
                b = b + w[k + 1] * x[p.indices[k + 1]]
                c = c + w[k + 2] * x[p.indices[k + 2]]
                d = d + w[k + 3] * x[p.indices[k + 3]]
                k += 4
            while k < end:
                a = a + w[k] * x[p.indices[k]]
                k += 1
        else:
            while k < end:
                a = a + w[p.order[k]] * x[p.indices[k]]
                k += 1
        (<scalar *>p.y)[o] = (a + b) + (c + d)


cdef void tasks(const Product *p, int64_t panel, int64_t end, int64_t first, int64_t last, int64_t thread,
                vector zero) noexcept nogil:
    """Rows first to last - 1 of panels `panel` to end - 1."""
    while panel < end:
        task[vector](p, panel, first, last, thread, zero)
        panel += 1


cdef void task(const Product *p, int64_t panel, int64_t first, int64_t last, int64_t thread,
               vector zero) noexcept nogil:
    """Rows first to last - 1 of a panel, tile after tile."""
    cdef Tile tile
    cdef int64_t vectors = (p.width + VECTOR_BYTES - 1) // VECTOR_BYTES, t = 0, i
    cdef int64_t start = vectors * panel // p.panels, stop = vectors * (panel + 1) // p.panels
    cdef int64_t count = stop - start
    cdef char *buffer
    start *= VECTOR_BYTES
    # VECTOR_BYTES <= width, so the panel is within the row and holds a whole vector
    tile.width = min(stop * VECTOR_BYTES, p.width) - start
    while t == 0 or t * p.tile < p.columns:
        tile.x, tile.stride = p.x + t * p.tile * p.stride + start, p.stride
        if p.packed is not NULL:
            buffer = p.packed + thread * p.tile * 8 * VECTOR_BYTES
            for i in range(min(p.tile, p.columns - t * p.tile)):
                memcpy(buffer + i * count * VECTOR_BYTES, tile.x + i * p.stride, tile.width)
            tile.x, tile.stride = buffer, count * VECTOR_BYTES
        tile.x -= t * p.tile * tile.stride
        tile.y, tile.more = p.y + start, t > 0
        tile.begin, tile.end = p.cuts + t * p.next, p.cuts + (t + 1) * p.next
        if p.dw is not NULL:
            sample[vector](p, &tile, first, last, zero)
        else:
            call[vector](p, &tile, count, first, last, zero)
        t += 1


include "spmm_rows.pxi"
include "spmm_sampled.pxi"
