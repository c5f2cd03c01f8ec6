# distutils: extra_compile_args = -ffp-contract=off -fno-math-errno
"""Compiled twin of norm_ref.py, which is its specification.

* channel after channel: all passes over one find it near the processor, memory is read and written once; a large
  gradient goes past the caches
* threads take whole channels, so that results do not depend on their number
* sums go in the precision of x over a block, the blocks in float64; mean and variance in one pass (sums.h)
* no contraction to fused multiply-add: what is no sum is promised to the bit
* pooled, windows are normalised in registers, and the sums of their gradient look at the winners alone (windows.h)
* complex arrays take the twin
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.stdint cimport int64_t, uint8_t

import numpy as np

from minisparse._core import norm_ref as twin
from minisparse._core.allocator import empty_array, empty_like
from minisparse._core.relu_ref import check_gradient

include "team.pxi"

cdef extern from "sums.h" nogil:
    void moments_f32(const float*, int64_t, double*, double*)
    void moments_f64(const double*, int64_t, double*, double*)
    void slopes_f32(const float*, const float*, int64_t, float, float, float, float, bint, double*, double*)
    void slopes_f64(const double*, const double*, int64_t, double, double, double, double, bint, double*, double*)

cdef extern from "windows.h" nogil:
    void pool_f32(const float*, int64_t, int64_t, int64_t, const float*, float*, uint8_t*)
    void pool_f64(const double*, int64_t, int64_t, int64_t, const double*, double*, uint8_t*)
    void pooled_slopes_f32(const float*, const uint8_t*, const float*, int64_t, int64_t, int64_t, const float*,
                           double*, double*)
    void pooled_slopes_f64(const double*, const uint8_t*, const double*, int64_t, int64_t, int64_t, const double*,
                           double*, double*)
    void pooled_gradient_f32(const float*, const uint8_t*, const float*, int64_t, int64_t, int64_t, int, const float*,
                             const float*, bint, float*)
    void pooled_gradient_f64(const double*, const uint8_t*, const double*, int64_t, int64_t, int64_t, int,
                             const double*, const double*, bint, double*)

cdef extern from "stream.h" nogil:
    enum: STREAMED
    void put(void *to, const void *block, int64_t nbytes, bint streamed)
    void fence()

cdef enum:
    SMALL = 16384       # numbers that are not worth a second thread
    BLOCK = 1024        # numbers of a result that leave together


def forward(x, gain, bias, eps, rectified, added=None):
    twin.check_rows(x)
    twin.check_added(added, x)
    if x.dtype.kind == "c":
        return twin.forward(x, gain, bias, eps, rectified, added)
    added = None if added is None else np.ascontiguousarray(added)
    vectors, y = _vectors(x, gain, bias), empty_like(x)
    mean, var = np.empty(len(x)), np.empty(len(x))
    if x.dtype == np.float32:
        forward_rows[float](np.ascontiguousarray(x), vectors, eps, rectified, added, y, mean, var)
    else:
        forward_rows[double](np.ascontiguousarray(x), vectors, eps, rectified, added, y, mean, var)
    return y, mean, var


cdef void forward_rows(const floating[:, ::1] x, const floating[:, ::1] vectors, double eps, bint rectified,
                       const floating[:, ::1] added, floating[:, ::1] y, double[::1] mean, double[::1] var):
    cdef int64_t c, n = x.shape[1]
    cdef bint sums = added is not None, streamed = x.shape[0] * n * sizeof(floating) >= STREAMED
    cdef const floating* others = &added[0, 0] if sums and added.shape[0] else NULL
    # n >= 1, and every vector has one entry a row of x: check_rows and check_vectors; so in all that follows
    for c in prange(x.shape[0], nogil=True, schedule="static", num_threads=team(x.shape[0] * n > SMALL)):
        look_at(&x[c, 0], n, &mean[c], &var[c])
        if sums:
            add_row(&x[c, 0], others + c * n, n, <floating>mean[c], <floating>(1 / sqrt(var[c] + eps)), vectors[0, c],
                    vectors[1, c], rectified, streamed, &y[c, 0])
        else:
            normalise_row(&x[c, 0], n, <floating>mean[c], <floating>(1 / sqrt(var[c] + eps)), vectors[0, c],
                          vectors[1, c], rectified, &y[c, 0])


cdef void add_row(const floating* x, const floating* added, int64_t n, floating mean, floating inverse, floating gain,
                  floating bias, bint rectified, bint streamed, floating* y) noexcept nogil:
    """Eq. 3 with a further term."""
    cdef floating[BLOCK] result
    cdef floating value, zero = 0
    cdef int64_t i, size, first = 0
    while first < n:
        size = min(n - first, BLOCK)
        if rectified:
            for i in range(size):
                value = (gain * ((x[first + i] - mean) * inverse) + bias) + added[first + i]
                result[i] = zero if value <= 0 else value
        else:
            for i in range(size):
                result[i] = (gain * ((x[first + i] - mean) * inverse) + bias) + added[first + i]
        put(y + first, result, size * sizeof(floating), streamed)
        first += size
    fence()


cdef inline void look_at(const floating* x, int64_t n, double* mean, double* var) noexcept nogil:
    """Eq. 1."""
    if floating is float:
        moments_f32(x, n, mean, var)
    else:
        moments_f64(x, n, mean, var)


def statistics(x):
    twin.check_rows(x)
    if x.dtype.kind == "c":
        return twin.statistics(x)
    mean, var = np.empty(len(x)), np.empty(len(x))
    if x.dtype == np.float32:
        look_at_rows[float](np.ascontiguousarray(x), mean, var)
    else:
        look_at_rows[double](np.ascontiguousarray(x), mean, var)
    return mean, var


cdef void look_at_rows(const floating[:, ::1] x, double[::1] mean, double[::1] var):
    cdef int64_t c, n = x.shape[1]
    for c in prange(x.shape[0], nogil=True, schedule="static", num_threads=team(x.shape[0] * n > SMALL)):
        look_at(&x[c, 0], n, &mean[c], &var[c])


def follow(mean, var, eps, n, momentum, running_mean, running_var):
    twin.check_moments(mean, var, n, running_mean, running_var)
    if mean.dtype.kind == "c":
        return twin.follow(mean, var, eps, n, momentum, running_mean, running_var)
    inverse = np.empty(len(mean))
    if running_mean.dtype == np.float32:
        follow_batch[float](mean, var, eps, n, momentum, running_mean, running_var, inverse)
    else:
        follow_batch[double](mean, var, eps, n, momentum, running_mean, running_var, inverse)
    return inverse


cdef void follow_batch(const double[:] mean, const double[:] var, double eps, double n, double momentum,
                       floating[:] running_mean, floating[:] running_var, double[::1] inverse):
    """Eqs. 2 and 6."""
    cdef double unbiased = n / (n - 1)
    cdef int64_t c
    for c in range(mean.shape[0]):
        running_mean[c] = <floating>(running_mean[c] + momentum * (mean[c] - running_mean[c]))
        running_var[c] = <floating>(running_var[c] + momentum * (var[c] * unbiased - running_var[c]))
        inverse[c] = 1 / sqrt(var[c] + eps)


def normalise(x, mean, inverse, gain, bias, rectified):
    twin.check_rows(x)
    if x.dtype.kind == "c":
        return twin.normalise(x, mean, inverse, gain, bias, rectified)
    vectors, y = _vectors(x, mean, inverse, gain, bias), empty_like(x)
    if x.dtype == np.float32:
        normalise_rows[float](np.ascontiguousarray(x), vectors, rectified, y)
    else:
        normalise_rows[double](np.ascontiguousarray(x), vectors, rectified, y)
    return y


def _vectors(x, *vectors):
    """Vectors one a row, of the dtype of x."""
    twin.check_vectors(x, *vectors)
    rows = np.empty((len(vectors), len(x)), x.dtype)
    for row, vector in zip(rows, vectors):
        row[:] = vector
    return rows


cdef void normalise_rows(const floating[:, ::1] x, const floating[:, ::1] vectors, bint rectified,
                         floating[:, ::1] y):
    cdef int64_t c, n = x.shape[1]
    for c in prange(x.shape[0], nogil=True, schedule="static", num_threads=team(x.shape[0] * n > SMALL)):
        normalise_row(&x[c, 0], n, vectors[0, c], vectors[1, c], vectors[2, c], vectors[3, c], rectified, &y[c, 0])


cdef void normalise_row(const floating* x, int64_t n, floating mean, floating inverse, floating gain, floating bias,
                        bint rectified, floating* y) noexcept nogil:
    """Eq. 3."""
    cdef floating value, zero = 0
    cdef int64_t i
    if rectified:
        for i in range(n):
            value = gain * ((x[i] - mean) * inverse) + bias
            # false for NaN, which stays
            y[i] = zero if value <= 0 else value
    else:
        for i in range(n):
            y[i] = gain * ((x[i] - mean) * inverse) + bias


def backward(dy, x, mean, inverse, gain, bias, batch, rectified):
    twin.check_rows(x)
    check_gradient(dy, x)
    if x.dtype.kind == "c":
        return twin.backward(dy, x, mean, inverse, gain, bias, batch, rectified)
    vectors, dx = _vectors(x, mean, inverse, gain, bias), empty_like(x)
    dgain, dbias = np.empty(len(x)), np.empty(len(x))
    dy, x = np.ascontiguousarray(dy), np.ascontiguousarray(x)
    if x.dtype == np.float32:
        backward_rows[float](dy, x, vectors, batch, rectified, dx, dgain, dbias)
    else:
        backward_rows[double](dy, x, vectors, batch, rectified, dx, dgain, dbias)
    return dx, dgain, dbias


cdef void backward_rows(const floating[:, ::1] dy, const floating[:, ::1] x, const floating[:, ::1] vectors,
                        bint batch, bint rectified, floating[:, ::1] dx, double[::1] dgain, double[::1] dbias):
    cdef int64_t c, n = x.shape[1]
    cdef bint streamed = x.shape[0] * n * sizeof(floating) >= STREAMED
    for c in prange(x.shape[0], nogil=True, schedule="static", num_threads=team(x.shape[0] * n > SMALL)):
        backward_row(&dy[c, 0], &x[c, 0], n, vectors[0, c], vectors[1, c], vectors[2, c], vectors[3, c], batch,
                     rectified, streamed, &dx[c, 0], &dgain[c], &dbias[c])


cdef void backward_row(const floating* dy, const floating* x, int64_t n, floating mean, floating inverse,
                       floating gain, floating bias, bint batch, bint rectified, bint streamed, floating* dx,
                       double* dgain, double* dbias) noexcept nogil:
    cdef floating[BLOCK] result
    cdef floating slope = 0, level = 0
    cdef int64_t size, first = 0
    # eq. 4
    if rectified:
        slopes(dy, x, n, mean, inverse, gain, bias, True, dgain, dbias)
    else:
        slopes(dy, x, n, mean, inverse, gain, bias, False, dgain, dbias)
    if batch:
        slope, level = <floating>(dgain[0] / n), <floating>(dbias[0] / n)
    while first < n:
        size = min(n - first, BLOCK)
        pull_back(dy + first, x + first, size, mean, inverse, gain, bias, slope, level, rectified,
                  &result[0] if streamed else dx + first)
        if streamed:
            put(dx + first, result, size * sizeof(floating), True)
        first += size
    fence()


cdef inline void slopes(const floating* dy, const floating* x, int64_t n, floating mean, floating inverse,
                        floating gain, floating bias, bint rectified, double* dgain, double* dbias) noexcept nogil:
    if floating is float:
        slopes_f32(dy, x, n, mean, inverse, gain, bias, rectified, dgain, dbias)
    else:
        slopes_f64(dy, x, n, mean, inverse, gain, bias, rectified, dgain, dbias)


cdef void pull_back(const floating* dy, const floating* x, int64_t n, floating mean, floating inverse, floating gain,
                    floating bias, floating slope, floating level, bint rectified, floating* dx) noexcept nogil:
    """Eq. 5."""
    cdef floating scale = gain * inverse, zero = 0, xhat
    cdef int64_t i
    if rectified:
        for i in range(n):
            xhat = (x[i] - mean) * inverse
            dx[i] = scale * ((dy[i] if gain * xhat + bias > 0 else zero) - (level + xhat * slope))
    else:
        for i in range(n):
            dx[i] = scale * (dy[i] - (level + (x[i] - mean) * inverse * slope))


include "norm_images.pxi"
