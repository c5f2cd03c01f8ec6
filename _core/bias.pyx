"""Compiled twin of bias_ref.py, which is its specification.

* one pass, in vectors; threads take whole rows; complex arrays take the twin
* a row of dz is summed while it is in the nearest cache
* sums go in the precision of dy over a block, the blocks in float64 (sums.h)
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t

import numpy as np

from minisparse._core import bias_ref as twin
from minisparse._core.allocator import empty_like

include "address.pxi"
include "bias_row.pxi"
include "team.pxi"

cdef extern from "sums.h" nogil:
    double sum_f32(const float*, int64_t)
    double sum_f64(const double*, int64_t)

cdef enum:
    SMALL = 65536  # numbers that are not worth a second thread


def add(y, b, rectified=False):
    if y.dtype.kind == "c" or not y.size or not y.flags.c_contiguous or not y.flags.writeable:
        return twin.add(y, b, rectified)
    twin.check_rows("y", y)
    twin.check_bias(b, len(y), y.dtype)
    b = np.ascontiguousarray(b)
    if y.dtype == np.float32:
        add_rows[float](<float*>address(y, PyBUF_WRITABLE), <const float*>address(b), y.shape[0], y.shape[1],
                        rectified)
    else:
        add_rows[double](<double*>address(y, PyBUF_WRITABLE), <const double*>address(b), y.shape[0], y.shape[1],
                         rectified)


cdef void add_rows(floating* y, const floating* b, int64_t rows, int64_t n, bint rectified):
    cdef int64_t c
    # y has `rows` rows of n numbers; so in the others
    for c in prange(rows, nogil=True, schedule="static", num_threads=team(rows * n > SMALL)):
        add_row(y + c * n, n, b[c], rectified)


def sums(dy):
    twin.check_rows("dy", dy)
    if dy.dtype.kind == "c" or not dy.size:
        return twin.sums(dy)
    db = np.empty(len(dy), dy.dtype)
    dy = np.ascontiguousarray(dy)
    if dy.dtype == np.float32:
        sum_rows[float](<const float*>address(dy), dy.shape[0], dy.shape[1], <float*>address(db, PyBUF_WRITABLE))
    else:
        sum_rows[double](<const double*>address(dy), dy.shape[0], dy.shape[1], <double*>address(db, PyBUF_WRITABLE))
    return db


cdef void sum_rows(const floating* dy, int64_t rows, int64_t n, floating* db):
    cdef int64_t c
    for c in prange(rows, nogil=True, schedule="static", num_threads=team(rows * n > SMALL)):
        db[c] = sum_row(dy + c * n, n)


cdef floating sum_row(const floating* row, int64_t n) noexcept nogil:
    if floating is float:
        return <float>sum_f32(row, n)
    else:
        return sum_f64(row, n)


def backward(dy, y):
    twin.check_rows("dy", dy)
    twin.check_gradient(dy, y)
    if dy.dtype.kind == "c" or not dy.size:
        return twin.backward(dy, y)
    dz, db = empty_like(dy), np.empty(len(dy), dy.dtype)
    dy, y = np.ascontiguousarray(dy), np.ascontiguousarray(y)
    if dy.dtype == np.float32:
        pull_back[float](<const float*>address(dy), <const float*>address(y), dy.shape[0], dy.shape[1],
                         <float*>address(dz, PyBUF_WRITABLE), <float*>address(db, PyBUF_WRITABLE))
    else:
        pull_back[double](<const double*>address(dy), <const double*>address(y), dy.shape[0], dy.shape[1],
                          <double*>address(dz, PyBUF_WRITABLE), <double*>address(db, PyBUF_WRITABLE))
    return dz, db


cdef void pull_back(const floating* dy, const floating* y, int64_t rows, int64_t n, floating* dz, floating* db):
    cdef int64_t c
    for c in prange(rows, nogil=True, schedule="static", num_threads=team(rows * n > SMALL)):
        db[c] = pull_back_row(dy + c * n, y + c * n, n, dz + c * n)


cdef floating pull_back_row(const floating* dy, const floating* y, int64_t n, floating* dz) noexcept nogil:
    """The row's sum."""
    cdef floating zero = 0
    cdef int64_t i
    for i in range(n):
        dz[i] = dy[i] if y[i] > 0 else zero
    return sum_row(dz, n)
