"""Compiled twin of bias_ref.py, which is its specification.

* one pass, in vectors; threads take whole rows; complex arrays take the twin
* sums are taken in float64 (sums.h)
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t

import numpy as np

from minisparse._core import bias_ref as twin

include "team.pxi"

cdef extern from "sums.h" nogil:
    double sum_f32(const float*, int64_t)
    double sum_f64(const double*, int64_t)

cdef enum:
    SMALL = 65536  # numbers that are not worth a second thread


def add(y, b):
    if y.dtype.kind == "c" or not y.size or not y.flags.c_contiguous or not y.flags.writeable:
        return twin.add(y, b)
    twin.check_rows("y", y)
    if b.shape != y.shape[:1] or b.dtype != y.dtype:
        return twin.add(y, b)
    if y.dtype == np.float32:
        add_rows[float](y, np.ascontiguousarray(b))
    else:
        add_rows[double](y, np.ascontiguousarray(b))


cdef void add_rows(floating[:, ::1] y, const floating[::1] b):
    cdef int64_t c
    # y has a row a number of b, and at least one column; so in `sum_rows`
    for c in prange(y.shape[0], nogil=True, schedule="static", num_threads=team(y.shape[0] * y.shape[1] > SMALL)):
        add_row(&y[c, 0], y.shape[1], b[c])


cdef void add_row(floating* y, int64_t n, floating b) noexcept nogil:
    cdef int64_t i
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
        if floating is float:
            db[c] = <float>sum_f32(&dy[c, 0], dy.shape[1])
        else:
            db[c] = sum_f64(&dy[c, 0], dy.shape[1])
