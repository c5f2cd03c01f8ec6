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

include "address.pxi"
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
    twin.check_vectors(x, gain, bias)
    cdef int64_t channels = len(x), n = x.shape[1]
    cdef bint sums = added is not None
    x, y, mean, var = np.ascontiguousarray(x), empty_like(x), np.empty(channels), np.empty(channels)
    gain, bias = np.ascontiguousarray(gain, x.dtype), np.ascontiguousarray(bias, x.dtype)
    added = np.ascontiguousarray(added) if sums else None
    cdef char* others = address(added) if sums else NULL
    if x.itemsize == sizeof(float):
        forward_rows[float](<float*>address(x), channels, n, <float*>address(gain), <float*>address(bias), eps, rectified,
                            <float*>others, <float*>address(y), <double*>address(mean), <double*>address(var))
    else:
        forward_rows[double](<double*>address(x), channels, n, <double*>address(gain), <double*>address(bias), eps,
                             rectified, <double*>others, <double*>address(y), <double*>address(mean),
                             <double*>address(var))
    return y, mean, var


cdef void forward_rows(const floating* x, int64_t channels, int64_t n, const floating* gain, const floating* bias,
                       double eps, bint rectified, const floating* added, floating* y, double* mean, double* var):
    cdef int64_t c
    cdef bint sums = added != NULL, streamed = channels * n * sizeof(floating) >= STREAMED
    # n >= 1, and every vector has one entry a row of x: the twin's checks; so in all that follows
    for c in prange(channels, nogil=True, schedule="static", num_threads=team(channels * n > SMALL)):
        look_at(x + c * n, n, mean + c, var + c)
        if sums:
            add_row(x + c * n, added + c * n, n, <floating>mean[c], <floating>(1 / sqrt(var[c] + eps)), gain[c], bias[c],
                    rectified, streamed, y + c * n)
        else:
            normalise_row(x + c * n, n, <floating>mean[c], <floating>(1 / sqrt(var[c] + eps)), gain[c], bias[c],
                          rectified, y + c * n)


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
    cdef int64_t channels = len(x), n = x.shape[1]
    x, mean, var = np.ascontiguousarray(x), np.empty(channels), np.empty(channels)
    if x.itemsize == sizeof(float):
        look_at_rows[float](<float*>address(x), channels, n, <double*>address(mean), <double*>address(var))
    else:
        look_at_rows[double](<double*>address(x), channels, n, <double*>address(mean), <double*>address(var))
    return mean, var


cdef void look_at_rows(const floating* x, int64_t channels, int64_t n, double* mean, double* var):
    cdef int64_t c
    for c in prange(channels, nogil=True, schedule="static", num_threads=team(channels * n > SMALL)):
        look_at(x + c * n, n, mean + c, var + c)


def follow(mean, var, gain, bias, eps, n, momentum, running_mean, running_var):
    twin.check_moments(mean, var, gain, bias, n, running_mean, running_var)
    if mean.dtype.kind == "c" or gain.dtype.kind == "c":
        return twin.follow(mean, var, gain, bias, eps, n, momentum, running_mean, running_var)
    mean, var = np.ascontiguousarray(mean), np.ascontiguousarray(var)
    gain, bias = np.ascontiguousarray(gain), np.ascontiguousarray(bias)
    normal = np.empty((len(mean), 4), gain.dtype)
    cdef const double* m = <double*>address(mean)
    cdef const double* v = <double*>address(var)
    if running_mean.itemsize == sizeof(float):
        follow_batch[float](m, v, n, momentum, running_mean, running_var)
    else:
        follow_batch[double](m, v, n, momentum, running_mean, running_var)
    if gain.itemsize == sizeof(float):
        gather_normal[float](m, v, <float*>address(gain), <float*>address(bias), eps, len(mean), <float*>address(normal))
    else:
        gather_normal[double](m, v, <double*>address(gain), <double*>address(bias), eps, len(mean),
                              <double*>address(normal))
    return normal


cdef void follow_batch(const double* mean, const double* var, double n, double momentum, floating[:] running_mean,
                       floating[:] running_var):
    """Eq. 6."""
    cdef double unbiased = n / (n - 1)
    cdef int64_t c
    for c in range(running_mean.shape[0]):
        running_mean[c] = <floating>(running_mean[c] + momentum * (mean[c] - running_mean[c]))
        running_var[c] = <floating>(running_var[c] + momentum * (var[c] * unbiased - running_var[c]))


cdef void gather_normal(const double* mean, const double* var, const floating* gain, const floating* bias, double eps,
                        int64_t channels, floating* normal):
    """Eq. 2."""
    cdef int64_t c
    for c in range(channels):
        normal[0], normal[1], normal[2], normal[3] = (
            <floating>mean[c], <floating>(1 / sqrt(var[c] + eps)), gain[c], bias[c]
        )
        normal += 4


def normalise(x, normal, rectified):
    twin.check_rows(x)
    twin.check_normal(normal, x)
    if x.dtype.kind == "c":
        return twin.normalise(x, normal, rectified)
    cdef int64_t channels = len(x), n = x.shape[1]
    x, normal, y = np.ascontiguousarray(x), np.ascontiguousarray(normal), empty_like(x)
    if x.itemsize == sizeof(float):
        normalise_rows[float](<float*>address(x), channels, n, <float*>address(normal), rectified, <float*>address(y))
    else:
        normalise_rows[double](<double*>address(x), channels, n, <double*>address(normal), rectified,
                               <double*>address(y))
    return y


cdef void normalise_rows(const floating* x, int64_t channels, int64_t n, const floating* normal, bint rectified,
                         floating* y):
    cdef int64_t c
    for c in prange(channels, nogil=True, schedule="static", num_threads=team(channels * n > SMALL)):
        normalise_row(x + c * n, n, normal[4 * c], normal[4 * c + 1], normal[4 * c + 2], normal[4 * c + 3], rectified,
                      y + c * n)


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


def backward(dy, x, normal, batch, rectified):
    twin.check_rows(x)
    check_gradient(dy, x)
    twin.check_normal(normal, x)
    if x.dtype.kind == "c":
        return twin.backward(dy, x, normal, batch, rectified)
    cdef int64_t channels = len(x), n = x.shape[1]
    dy, x, normal = np.ascontiguousarray(dy), np.ascontiguousarray(x), np.ascontiguousarray(normal)
    dx, dgain, dbias = empty_like(x), np.empty(channels), np.empty(channels)
    if x.itemsize == sizeof(float):
        backward_rows[float](<float*>address(dy), <float*>address(x), channels, n, <float*>address(normal), batch,
                             rectified, <float*>address(dx), <double*>address(dgain), <double*>address(dbias))
    else:
        backward_rows[double](<double*>address(dy), <double*>address(x), channels, n, <double*>address(normal), batch,
                              rectified, <double*>address(dx), <double*>address(dgain), <double*>address(dbias))
    return dx, dgain, dbias


cdef void backward_rows(const floating* dy, const floating* x, int64_t channels, int64_t n, const floating* normal,
                        bint batch, bint rectified, floating* dx, double* dgain, double* dbias):
    cdef int64_t c
    cdef bint streamed = channels * n * sizeof(floating) >= STREAMED
    for c in prange(channels, nogil=True, schedule="static", num_threads=team(channels * n > SMALL)):
        backward_row(dy + c * n, x + c * n, n, normal + 4 * c, batch, rectified, streamed, dx + c * n, dgain + c,
                     dbias + c)


cdef void backward_row(const floating* dy, const floating* x, int64_t n, const floating* normal, bint batch,
                       bint rectified, bint streamed, floating* dx, double* dgain, double* dbias) noexcept nogil:
    cdef floating[BLOCK] result
    cdef floating mean = normal[0], inverse = normal[1], gain = normal[2], bias = normal[3], slope = 0, level = 0
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
