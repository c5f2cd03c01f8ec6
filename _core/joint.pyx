# distutils: extra_compile_args = -ffp-contract=off
"""Compiled twin of joint_ref.py, which is its specification.

* one pass from operands to results, in vectors without branches; threads take whole chunks, whose sums are added in order
* no contraction to fused multiply-add: results are promised to the bit
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport copysign, copysignf, fabs, fabsf, rint, rintf
from libc.stdint cimport int64_t, uint8_t

import numpy as np

from minisparse._core.joint_ref import check

include "team.pxi"

cdef enum:
    LANES = 16
    CHUNK = 65536
    BLOCK = 512  # terms in a thread's own memory; a multiple of LANES


cdef inline floating to_integer(floating v) noexcept nogil:
    """Halves to even."""
    if floating is float:
        return rintf(v)
    else:
        return rint(v)


cdef inline floating size_of(floating v) noexcept nogil:
    if floating is float:
        return fabsf(v)
    else:
        return fabs(v)


cdef inline floating with_sign(floating size, floating v) noexcept nogil:
    if floating is float:
        return copysignf(size, v)
    else:
        return copysign(size, v)


cdef inline floating level(floating u, floating levels) noexcept nogil:
    """k, eq. 1."""
    cdef floating k = to_integer(u), one = 1
    k = one if k < one else k
    return levels if k > levels else k


def quantise(w, on, step, levels):
    step, levels = check(w, on, step, levels)
    out = np.empty(w.shape, w.dtype)
    w, on = np.ascontiguousarray(w), np.ascontiguousarray(on).view(np.uint8)
    if w.dtype == np.float32:
        forward[float](w, on, step, levels, out)
    else:
        forward[double](w, on, step, levels, out)
    return out


cdef void forward(const floating[::1] w, const uint8_t[::1] on, floating step, floating levels, floating[::1] q):
    cdef int64_t chunk, n = w.shape[0]
    # the chunks part [0, n) = [0, len(on)) = [0, len(q)); so in `backward`
    for chunk in prange((n + CHUNK - 1) // CHUNK, nogil=True, schedule="static", num_threads=team(n > CHUNK)):
        forward_chunk(&w[chunk * CHUNK], &on[chunk * CHUNK], min(n - chunk * CHUNK, CHUNK), step, levels,
                      &q[chunk * CHUNK])


cdef void forward_chunk(const floating* w, const uint8_t* on, int64_t n, floating step, floating levels,
                        floating* q) noexcept nogil:
    """Eq. 1."""
    cdef int64_t i
    cdef floating v, zero = 0
    for i in range(n):
        v = with_sign(level(size_of(w[i]) / step, levels) * step, w[i])
        q[i] = v if on[i] else zero


def quantise_backward(dy, w, on, step, levels):
    step, levels = check(w, on, step, levels)
    if dy.dtype != w.dtype or dy.shape != w.shape:
        raise ValueError(f"dy is {dy.dtype} {dy.shape}, expected {w.dtype} {w.shape}")
    dw, sums = np.empty(w.shape, w.dtype), np.zeros((w.size + CHUNK - 1) // CHUNK)
    dy, w, on = np.ascontiguousarray(dy), np.ascontiguousarray(w), np.ascontiguousarray(on).view(np.uint8)
    if w.dtype == np.float32:
        backward[float](dy, w, on, step, levels, dw, sums)
    else:
        backward[double](dy, w, on, step, levels, dw, sums)
    total = np.float64(0)
    for part in sums:
        total += part
    return dw, total


cdef void backward(const floating[::1] dy, const floating[::1] w, const uint8_t[::1] on, floating step,
                   floating levels, floating[::1] dw, double[::1] sums):
    cdef int64_t chunk, n = w.shape[0]
    for chunk in prange((n + CHUNK - 1) // CHUNK, nogil=True, schedule="static", num_threads=team(n > CHUNK)):
        sums[chunk] = backward_chunk(&dy[chunk * CHUNK], &w[chunk * CHUNK], &on[chunk * CHUNK],
                                     min(n - chunk * CHUNK, CHUNK), step, levels, &dw[chunk * CHUNK])


cdef double backward_chunk(const floating* dy, const floating* w, const uint8_t* on, int64_t n, floating step,
                           floating levels, floating* dw) noexcept nogil:
    cdef double lanes[LANES]
    cdef double terms[BLOCK]
    cdef double total = 0
    cdef int64_t i, j, first = 0, size, rows
    for j in range(LANES):
        lanes[j] = 0
    while first < n:
        size = min(n - first, BLOCK)
        pull_back(dy + first, w + first, on + first, size, step, levels, dw + first, terms)
        # i * LANES + j < size <= BLOCK
        rows = size // LANES
        for i in range(rows):
            for j in range(LANES):
                lanes[j] += terms[i * LANES + j]
        for j in range(size - rows * LANES):
            lanes[j] += terms[rows * LANES + j]
        first += size
    for j in range(LANES):
        total += lanes[j]
    return total


cdef void pull_back(const floating* dy, const floating* w, const uint8_t* on, int64_t n, floating step,
                    floating levels, floating* dw, double* terms) noexcept nogil:
    """Eq. 2, and the terms of eq. 3."""
    cdef int64_t i
    cdef floating u, k, e, sign, zero = 0, one = 1, half = 0.5
    for i in range(n):
        u = size_of(w[i]) / step
        k = level(u, levels)
        sign = with_sign(one, w[i])
        e = k - u if (u >= half) & (u < levels) else k
        dw[i] = zero if (on[i] != 0) & (u >= levels) & (sign * dy[i] < zero) else dy[i]
        terms[i] = <double>dy[i] * <double>(sign * e) if on[i] else 0
