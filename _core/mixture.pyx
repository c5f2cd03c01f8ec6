"""Compiled twin of mixture_ref.py, which is its specification.

* one pass over w: responsibilities stay in registers and the first-level cache
* lanes are weights; exp is a polynomial on vectors (exp.h)
* a component that no lane's weight is near, exp below e^-708 throughout, is passed over: after some training nearly all
* one logarithm for many weights: log sum_1 + log sum_2 + ... = log(sum_1 sum_2 ...), each sum between 1 and 256
* threads take whole chunks, whose sums are added in order
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport log
from libc.stdint cimport int64_t

import numpy as np

cdef extern from "exp.h" nogil:
    int VECTOR_BYTES
    ctypedef double vf64
    vf64 zero_vf64
    vf64 max_vf64(vf64 a, vf64 b)
    vf64 exp_vf64(vf64 x)
    bint any_above(vf64 x, double bound)
    double sum_vf64(vf64 x)

from minisparse._core.mixture_ref import check_mixture

include "team.pxi"

cdef enum:
    MOST = 256
    CHUNK = 4096
    BLOCK = 64  # weights; 256^64 is a double, and a vector has a divisor of as many lanes


def prior(w, mean, gamma, log_share):
    beta, constant = check_mixture(w, mean, gamma, log_share)
    dw = np.empty(w.shape, w.dtype)
    # N, D and Q of each component, and the loss
    sums = np.zeros(((w.size + CHUNK - 1) // CHUNK, 3 * len(mean) + 1))
    components = np.stack([mean, beta, constant])
    if w.dtype == np.float32:
        find[float](np.ascontiguousarray(w).reshape(-1), components, dw.reshape(-1), sums)
    else:
        find[double](np.ascontiguousarray(w).reshape(-1), components, dw.reshape(-1), sums)
    total = sums.sum(axis=0)
    return total[-1], dw, total[:-1].reshape(3, -1)


cdef void find(const floating[::1] w, const double[:, ::1] components, floating[::1] dw, double[:, ::1] sums):
    cdef int64_t chunk, n = w.shape[0], count = components.shape[1]
    # the chunks part [0, n) = [0, len(dw)) and are the rows of sums
    for chunk in prange(sums.shape[0], nogil=True, schedule="static", num_threads=team(n > CHUNK)):
        find_chunk(&w[chunk * CHUNK], min(n - chunk * CHUNK, CHUNK), &components[0, 0], count, &dw[chunk * CHUNK],
                   &sums[chunk, 0])


cdef void find_chunk(const floating* w, int64_t n, const double* components, int64_t count, floating* dw,
                     double* sums) noexcept nogil:
    cdef vf64 moments[3 * MOST]
    cdef double x[BLOCK]
    cdef double inside[BLOCK]
    cdef double gradient[BLOCK]
    cdef int64_t first = 0, i, size, j
    cdef double loss = 0
    # 3 count <= 3 MOST: check_mixture
    for j in range(3 * count):
        moments[j] = zero_vf64
    while first < n:
        size = min(n - first, BLOCK)
        for i in range(BLOCK):
            inside[i] = i < size
            x[i] = w[first + i] if i < size else 0
        loss += find_block(x, inside, components, count, gradient, moments)
        for i in range(size):
            dw[first + i] = <floating>gradient[i]
        first += size
    for j in range(3 * count):
        sums[j] = sum_vf64(moments[j])
    sums[3 * count] = loss


cdef double find_block(const double* x, const double* inside, const double* components, int64_t count,
                       double* gradient, vf64* moments) noexcept nogil:
    """Eqs. 1 to 5 of BLOCK weights, those that count have 1 in `inside`, else 0; their loss."""
    cdef vf64 terms[MOST]
    cdef int64_t near[MOST]
    cdef const double* mean = components
    cdef const double* beta = components + count
    cdef const double* constant = components + 2 * count
    cdef vf64 w, real, d, largest, total, scale, r, rd, dw, evidence = zero_vf64, product = zero_vf64 + 1
    cdef int64_t i, j, k, lane, found, lanes = VECTOR_BYTES // 8
    for i in range(BLOCK // lanes):
        lane = i * lanes
        w, real = (<const vf64*>(x + lane))[0], (<const vf64*>(inside + lane))[0]
        largest = zero_vf64 - 1e308
        for j in range(count):
            d = w - mean[j]
            terms[j] = constant[j] - 0.5 * beta[j] * d * d  # eq. 1
            largest = max_vf64(terms[j], largest)
        total, found = zero_vf64, 0
        for j in range(count):
            d = terms[j] - largest
            if any_above(d, -708):
                # found <= j
                terms[found], near[found] = exp_vf64(d), j
                total += terms[found]
                found += 1
        scale, dw = real / total, zero_vf64
        for k in range(found):
            j = near[k]
            r, d = terms[k] * scale, w - mean[j]  # eq. 3
            rd = r * d
            dw += rd * beta[j]  # eq. 4
            moments[j] += r  # eq. 5
            moments[count + j] += rd
            moments[2 * count + j] += rd * d
        (<vf64*>(gradient + lane))[0] = dw
        evidence += real * largest
        product *= real * total + (1 - real)
    # eq. 2
    return -(sum_vf64(evidence) + log_of(&product, lanes))


cdef inline double log_of(const vf64* product, int64_t lanes) noexcept nogil:
    """log of the product of the lanes."""
    cdef const double* lane = <const double*>product
    cdef double all = 1
    cdef int64_t i
    for i in range(lanes):
        all *= lane[i]
    return log(all)
