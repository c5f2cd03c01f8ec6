# distutils: extra_compile_args = -ffp-contract=off
"""Compiled twin of norm_ref.py, which is its specification.

* each pass reads its operands once and writes its result once, in vectors; threads take whole channels, so that results
  do not depend on their number
* sums go to LANES float64 accumulators, each over every LANES-th term
* no contraction to fused multiply-add: what is no sum is promised to the bit
* complex arrays take the twin
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t

import numpy as np

from minisparse._core import norm_ref as twin
from minisparse._core.relu_ref import check_gradient

include "team.pxi"

cdef enum:
    LANES = 16
    SMALL = 32768  # numbers that are not worth a second thread


def moments(x):
    twin.check_rows(x)
    if x.dtype.kind == "c":
        return twin.moments(x)
    mean, var = np.empty(len(x)), np.empty(len(x))
    if x.dtype == np.float32:
        find_moments[float](np.ascontiguousarray(x), mean, var)
    else:
        find_moments[double](np.ascontiguousarray(x), mean, var)
    return mean, var


cdef void find_moments(const floating[:, ::1] x, double[::1] mean, double[::1] var):
    cdef int64_t c, n = x.shape[1]
    # n >= 1, and every vector has one entry a row of x: check_rows and check_columns; so in all that follows
    for c in prange(x.shape[0], nogil=True, schedule="static", num_threads=team(x.shape[0] * n > SMALL)):
        mean[c] = sum_of(&x[c, 0], n) / n
        var[c] = sum_of_squares(&x[c, 0], n, mean[c]) / n


cdef double sum_of(const floating* x, int64_t n) noexcept nogil:
    cdef double lanes[LANES]
    cdef int64_t i, j
    for j in range(LANES):
        lanes[j] = 0
    for i in range(n // LANES):
        for j in range(LANES):
            lanes[j] += x[i * LANES + j]
    for i in range(n - n % LANES, n):
        lanes[0] += x[i]
    return total(lanes)


cdef double sum_of_squares(const floating* x, int64_t n, double mean) noexcept nogil:
    cdef double lanes[LANES]
    cdef double off
    cdef int64_t i, j
    for j in range(LANES):
        lanes[j] = 0
    for i in range(n // LANES):
        for j in range(LANES):
            off = x[i * LANES + j] - mean
            lanes[j] += off * off
    for i in range(n - n % LANES, n):
        off = x[i] - mean
        lanes[0] += off * off
    return total(lanes)


cdef double total(const double* lanes) noexcept nogil:
    cdef double sum = 0
    cdef int64_t j
    for j in range(LANES):
        sum += lanes[j]
    return sum


def normalise(x, mean, inverse, gain, bias):
    twin.check_rows(x)
    if x.dtype.kind == "c":
        return twin.normalise(x, mean, inverse, gain, bias)
    vectors = _vectors(x, mean, inverse, gain, bias)
    y = np.empty(x.shape, x.dtype)
    if x.dtype == np.float32:
        scale_and_shift[float](np.ascontiguousarray(x), vectors, y)
    else:
        scale_and_shift[double](np.ascontiguousarray(x), vectors, y)
    return y


def _vectors(x, *vectors):
    """Vectors one a row, of the dtype of x."""
    return np.concatenate([column.T for column in twin.check_columns(x, *vectors)])


cdef void scale_and_shift(const floating[:, ::1] x, const floating[:, ::1] vectors, floating[:, ::1] y):
    cdef int64_t c, n = x.shape[1]
    for c in prange(x.shape[0], nogil=True, schedule="static", num_threads=team(x.shape[0] * n > SMALL)):
        normalise_row(&x[c, 0], n, vectors[0, c], vectors[1, c], vectors[2, c], vectors[3, c], &y[c, 0])


cdef void normalise_row(const floating* x, int64_t n, floating mean, floating inverse, floating gain, floating bias,
                        floating* y) noexcept nogil:
    """Eq. 2."""
    cdef int64_t i
    for i in range(n):
        y[i] = gain * ((x[i] - mean) * inverse) + bias


def slopes(dy, x, mean, inverse):
    twin.check_rows(x)
    check_gradient(dy, x)
    if x.dtype.kind == "c":
        return twin.slopes(dy, x, mean, inverse)
    vectors = _vectors(x, mean, inverse)
    dgain, dbias = np.empty(len(x)), np.empty(len(x))
    if x.dtype == np.float32:
        find_slopes[float](np.ascontiguousarray(dy), np.ascontiguousarray(x), vectors, dgain, dbias)
    else:
        find_slopes[double](np.ascontiguousarray(dy), np.ascontiguousarray(x), vectors, dgain, dbias)
    return dgain, dbias


cdef void find_slopes(const floating[:, ::1] dy, const floating[:, ::1] x, const floating[:, ::1] vectors,
                      double[::1] dgain, double[::1] dbias):
    cdef int64_t c, n = x.shape[1]
    for c in prange(x.shape[0], nogil=True, schedule="static", num_threads=team(x.shape[0] * n > SMALL)):
        dbias[c] = sum_of(&dy[c, 0], n)
        dgain[c] = sum_of_products(&dy[c, 0], &x[c, 0], n, vectors[0, c], vectors[1, c])


cdef double sum_of_products(const floating* dy, const floating* x, int64_t n, floating mean,
                            floating inverse) noexcept nogil:
    """sum dy xhat."""
    cdef double lanes[LANES]
    cdef int64_t i, j
    for j in range(LANES):
        lanes[j] = 0
    for i in range(n // LANES):
        for j in range(LANES):
            lanes[j] += <double>dy[i * LANES + j] * <double>((x[i * LANES + j] - mean) * inverse)
    for i in range(n - n % LANES, n):
        lanes[0] += <double>dy[i] * <double>((x[i] - mean) * inverse)
    return total(lanes)


def backward(dy, x, mean, inverse, gain, dgain, dbias):
    twin.check_rows(x)
    check_gradient(dy, x)
    if x.dtype.kind == "c":
        return twin.backward(dy, x, mean, inverse, gain, dgain, dbias)
    vectors = _vectors(x, mean, inverse, gain, dgain / x.shape[1], dbias / x.shape[1])
    dx = np.empty(x.shape, x.dtype)
    if x.dtype == np.float32:
        pull_back[float](np.ascontiguousarray(dy), np.ascontiguousarray(x), vectors, dx)
    else:
        pull_back[double](np.ascontiguousarray(dy), np.ascontiguousarray(x), vectors, dx)
    return dx


cdef void pull_back(const floating[:, ::1] dy, const floating[:, ::1] x, const floating[:, ::1] vectors,
                    floating[:, ::1] dx):
    cdef int64_t c, n = x.shape[1]
    for c in prange(x.shape[0], nogil=True, schedule="static", num_threads=team(x.shape[0] * n > SMALL)):
        pull_back_row(&dy[c, 0], &x[c, 0], n, vectors[0, c], vectors[1, c], vectors[2, c], vectors[3, c],
                      vectors[4, c], &dx[c, 0])


cdef void pull_back_row(const floating* dy, const floating* x, int64_t n, floating mean, floating inverse,
                        floating gain, floating slope, floating level, floating* dx) noexcept nogil:
    """Eq. 4."""
    cdef floating scale = gain * inverse
    cdef int64_t i
    for i in range(n):
        dx[i] = scale * (dy[i] - (level + (x[i] - mean) * inverse * slope))
