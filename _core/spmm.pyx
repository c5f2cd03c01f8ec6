"""Compiled twin of spmm_ref.py, which is its specification.

* a batch of one: four entries at a time along the row; small matrices call in a microsecond (spmm_column.pxi)
* a batch of up to a vector: four entries at a time, each with a vector of sums (spmm_short.pxi)
* else panels of up to eight vectors of the batch: one broadcast an entry, a named accumulator a vector (spmm_rows.pxi)
* tiles of few columns, so that x stays in the first cache while all rows pass, where a row has enough entries
  (spmm_tiles.pxi)
* the sampled product takes four entries at a time and sums their lanes together (spmm_sampled.pxi)
* a bias is added to rows, and what is negative set to zero, by the thread that has just summed them
* the transposed product gathers over the transposed pattern, so that nothing is scattered
* indices of 32 or 64 bits, as the pattern has them: every loop is compiled for both (pick.h)
* threads take panels and runs of rows of equal work; each sum is one thread's
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport int64_t
from libc.string cimport memcpy

import numpy as np

from minisparse._core.allocator import empty_array
from minisparse._core.bias_ref import check_bias
from minisparse._core.spmm_ref import check_operand, check_pattern, check_values

include "team.pxi"

cdef extern from "vec.h":
    ctypedef float vf32
    ctypedef double vf64
    enum:
        VECTOR_BYTES
    vf32 splat_vf32(const void *values, int64_t k) nogil
    vf64 splat_vf64(const void *values, int64_t k) nogil
    vf32 last_vf32(const vf32 *x, int64_t n) nogil
    vf64 last_vf64(const vf64 *x, int64_t n) nogil
    const vf32 zero_vf32
    const vf64 zero_vf64

cdef extern from "pick.h":
    ctypedef float vf32x4
    ctypedef double vf64x4
    int64_t at(const void *index, int64_t k, bint wide) nogil
    vf32x4 one_vf32x4(const void *values, const void *index, int64_t k, bint wide) nogil
    vf64x4 one_vf64x4(const void *values, const void *index, int64_t k, bint wide) nogil
    vf32x4 four_vf32x4(const void *values, const void *index, int64_t k, bint wide) nogil
    vf64x4 four_vf64x4(const void *values, const void *index, int64_t k, bint wide) nogil
    void put_sum_vf32x4(void *values, int64_t k, vf32x4 a) nogil
    void put_sum_vf64x4(void *values, int64_t k, vf64x4 a) nogil
    void add_vf32x4(void *values, int64_t k, vf32x4 a, int64_t n) nogil
    void add_vf64x4(void *values, int64_t k, vf64x4 a, int64_t n) nogil
    vf32x4 totals_vf32(vf32 a, vf32 b, vf32 c, vf32 d) nogil
    vf64x4 totals_vf64(vf64 a, vf64 b, vf64 c, vf64 d) nogil
    const vf32x4 zero_vf32x4
    const vf64x4 zero_vf64x4

cdef enum:
    # products of two numbers, from which on threads pay, an entry itself counting for 16: some 10 microseconds of one
    # thread's time. Waking a thread that sleeps takes 30, one that still spins 2
    MANY = 524288

include "memory.pxi"
include "bias_row.pxi"

ctypedef fused vector:
    vf32
    vf64

ctypedef fused four:
    vf32x4
    vf64x4


cdef struct Product:
    # y = W x, W (O, I); numbers of bytes where nothing else is said. Entry k stands in column at(indices, k, wide) of
    # [0, I), those of row o are at(indptr, o, wide) <= k < at(indptr, o + 1, wide): Pattern has checked both.
    const void *indptr
    const void *indices
    const void *order  # where each entry's value stands, or NULL
    bint wide          # the three are int64, else int32
    const char *values
    const char *x
    char *y
    char *dw           # NULL, or the result: then y is dy, an operand
    int64_t rows       # O
    int64_t columns    # I
    int64_t entries    # K
    int64_t stride     # from row to row of x
    int64_t width      # of a row of y
    int64_t itemsize
    const char *bias   # NULL, or of each row of y
    bint rectified     # whether what is negative with its bias becomes zero


def matmul(pattern, values, x):
    check_values(values, pattern)
    check_operand("x", x, values.dtype, pattern.columns)
    return product(pattern, None, values, x)


def affine(pattern, values, x, b, rectified=False):
    check_values(values, pattern)
    check_operand("x", x, values.dtype, pattern.columns)
    check_bias(b, pattern.shape[0], x.dtype)
    return product(pattern, None, values, x, np.ascontiguousarray(b), rectified)


def rmatmul(pattern, values, dy):
    check_values(values, pattern)
    check_operand("dy", dy, values.dtype, pattern.shape[0])
    return product(pattern.transpose, pattern.order, values, dy)


def sampled(pattern, dy, x):
    check_pattern(pattern)
    check_operand("dy", dy, dy.dtype, pattern.shape[0])
    check_operand("x", x, dy.dtype, pattern.columns, dy.shape[1])
    cdef Product p
    dy, x = np.ascontiguousarray(dy), np.ascontiguousarray(x)
    dw = np.zeros(len(pattern.indices), x.dtype)
    places(&p, pattern)
    p.order = p.values = NULL
    p.itemsize = x.itemsize
    p.stride = p.width = x.shape[1] * p.itemsize
    cdef int64_t before = VECTOR_BYTES if 0 < p.width < VECTOR_BYTES and p.width > p.itemsize else 0
    if before:
        # rows of less than a vector: whole vectors are read, that end where the row ends
        dy, x = (np.concatenate([np.zeros(before // p.itemsize, a.dtype), a.reshape(-1)]) for a in (dy, x))
    p.x, p.y, p.dw = address(x) + before, address(dy) + before, address(dw, PyBUF_WRITABLE)
    if p.entries and p.width:
        run(&p, pattern)
    return dw


cdef product(pattern, order, values, x, bias=None, bint rectified=False):
    """W x, the entries of W in this order, or as they come; and a bias, contiguous."""
    cdef Product p
    cdef int64_t columns = x.shape[1]
    places(&p, pattern)
    x, values = np.ascontiguousarray(x), np.ascontiguousarray(values)
    p.itemsize = x.itemsize
    p.stride = p.width = columns * p.itemsize
    if p.itemsize < p.width < VECTOR_BYTES:
        # rows of less than a vector: whole vectors are read, up to one past the end
        x = np.concatenate([x.reshape(-1), np.zeros(VECTOR_BYTES // p.itemsize, x.dtype)])
    y = empty_array((p.rows, columns), x.dtype)
    p.order = NULL if order is None else address(order)
    p.values, p.x, p.y, p.dw = address(values), address(x), address(y, PyBUF_WRITABLE), NULL
    p.bias, p.rectified = NULL if bias is None else address(bias), rectified
    if columns and p.rows:
        run(&p, pattern)
    return y


cdef places(Product *p, pattern):
    p.indptr, p.indices, p.wide = address(pattern.indptr), address(pattern.indices), pattern.wide
    p.rows, p.columns = pattern.shape
    p.entries = len(pattern.indices)


cdef run(Product *p, pattern):
    """Rows shared by the threads, in the way that suits the width of the batch."""
    cdef int64_t threads = team(p.entries * (p.width + 16 * p.itemsize) > MANY * p.itemsize), i
    if p.width > VECTOR_BYTES or p.dw is not NULL and p.width > p.itemsize:
        return run_panels(p, pattern, threads)
    if threads == 1:
        narrow(p, 0, p.rows)
        return
    borders = pattern.parts(threads)
    cdef const int64_t *border = <const int64_t *>address(borders)
    for i in prange(threads, nogil=True, schedule="static", num_threads=threads):
        narrow(p, border[i], border[i + 1])


cdef void narrow(const Product *p, int64_t first, int64_t last) noexcept nogil:
    """Rows first to last - 1 for a batch of at most a vector."""
    if p.width > p.itemsize:
        if p.itemsize == 4:
            short_rows[vf32](p, first, last, zero_vf32)
        else:
            short_rows[vf64](p, first, last, zero_vf64)
    elif p.itemsize == 4:
        column[vf32x4](p, first, last, zero_vf32x4)
    else:
        column[vf64x4](p, first, last, zero_vf64x4)
    finish(p, first, last, 0, p.width)


cdef void finish(const Product *p, int64_t first, int64_t last, int64_t begin, int64_t nbytes) noexcept nogil:
    """Adds the bias to bytes [begin, begin + nbytes) of rows first to last - 1 of y."""
    cdef int64_t o
    if p.dw is not NULL or p.bias is NULL:
        return
    for o in range(first, last):
        add_bias(p.y + o * p.width + begin, nbytes, p.bias, o, p.itemsize == 4, p.rectified)


include "spmm_column.pxi"
include "spmm_short.pxi"
include "spmm_tiles.pxi"
include "spmm_rows.pxi"
include "spmm_sampled.pxi"
