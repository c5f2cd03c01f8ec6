"""Compiled twin of bias_ref.py, which is its specification.

* one pass, in vectors; threads take whole rows; complex arrays take the twin
* a row of dz is summed while it is in the nearest cache
* sums go in the precision of dy over a block, the blocks in float64 (sums.h)
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t

import numpy as np

from minisparse._core import bias_ref as twin
from minisparse._core.allocator import empty_like

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
    if b.shape != y.shape[:1] or b.dtype != y.dtype:
        return twin.add(y, b, rectified)
    if y.dtype == np.float32:
        add_rows[float](y, np.ascontiguousarray(b), rectified)
    else:
        add_rows[double](y, np.ascontiguousarray(b), rectified)


cdef void add_rows(floating[:, ::1] y, const floating[::1] b, bint rectified):
    cdef int64_t c
    # y has a row a number of b, and at least one column; so in the others
    for c in prange(y.shape[0], nogil=True, schedule="static", num_threads=team(y.shape[0] * y.shape[1] > SMALL)):
        add_row(&y[c, 0], y.shape[1], b[c], rectified)


cdef void add_row(floating* y, int64_t n, floating b, bint rectified) noexcept nogil:
    cdef floating sum, zero = 0
    cdef int64_t i
    if rectified:
        for i in range(n):
            sum = y[i] + b
            # false for NaN, which stays
            y[i] = zero if sum <= 0 else sum
    else:
        for i in range(n):
            y[i] += b


def sums(dy):
    twin.check_rows("dy", dy)
    if dy.dtype.kind == "c" or not dy.size:
        return twin.sums(dy)
    db = np.empty(len(dy), dy.dtype)
    if dy.dtype == np.float32:
        sum_rows[float](np.ascontiguousarray(dy), db)
    else:
        sum_rows[double](np.ascontiguousarray(dy), db)
    return db


cdef void sum_rows(const floating[:, ::1] dy, floating[::1] db):
    cdef int64_t c
    for c in prange(dy.shape[0], nogil=True, schedule="static", num_threads=team(dy.shape[0] * dy.shape[1] > SMALL)):
        db[c] = sum_row(&dy[c, 0], dy.shape[1])


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
    if dy.dtype == np.float32:
        pull_back[float](np.ascontiguousarray(dy), np.ascontiguousarray(y), dz, db)
    else:
        pull_back[double](np.ascontiguousarray(dy), np.ascontiguousarray(y), dz, db)
    return dz, db


cdef void pull_back(const floating[:, ::1] dy, const floating[:, ::1] y, floating[:, ::1] dz, floating[::1] db):
    cdef int64_t c
    for c in prange(dy.shape[0], nogil=True, schedule="static", num_threads=team(dy.shape[0] * dy.shape[1] > SMALL)):
        db[c] = pull_back_row(&dy[c, 0], &y[c, 0], dy.shape[1], &dz[c, 0])


cdef floating pull_back_row(const floating* dy, const floating* y, int64_t n, floating* dz) noexcept nogil:
    """The row's sum."""
    cdef floating zero = 0
    cdef int64_t i
    for i in range(n):
        dz[i] = dy[i] if y[i] > 0 else zero
    return sum_row(dz, n)
