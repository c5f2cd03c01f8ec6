"""Compiled twin of rng_ref.py, which is its specification.

* one pass from index to float, nothing of integers in memory
* 32-bit arithmetic throughout, so that the compiler can put sixteen indices in a vector
"""

from libc.math cimport sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

import numpy as np

from minisparse._core.rng_ref import _mixed_halves, check_index, check_range


include "mix.pxi"


def bits(key, start, count):
    key, start, count = check_range(key, start, count)
    out = np.empty(count, np.uint32)
    cdef uint32_t[::1] y = out
    cdef uint32_t k0, k1
    k0, k1 = _mixed_halves(key)
    cdef uint64_t first = start
    cdef int64_t i, n = count
    # i < n = len(out) in each loop of this file
    with nogil:
        for i in range(n):
            y[i] = mix(k0, k1, first + <uint64_t>i)
    return out


def bits_at(key, index):
    key, index = check_index(key, index)
    cdef const int64_t[:] at = index
    out = np.empty(at.shape[0], np.uint32)
    cdef uint32_t[::1] y = out
    cdef uint32_t k0, k1
    k0, k1 = _mixed_halves(key)
    cdef int64_t i
    with nogil:
        for i in range(at.shape[0]):
            y[i] = mix(k0, k1, <uint64_t>at[i])
    return out


def normal(key, start, count, double scale):
    key, start, count = check_range(key, start, count)
    out = np.empty(count, np.float32)
    cdef float[::1] y = out
    cdef float constant = <float>(scale / sqrt(21845.0))
    cdef uint32_t k0, k1
    k0, k1 = _mixed_halves(key)
    cdef uint64_t first = start
    cdef int64_t i, n = count
    with nogil:
        for i in range(n):
            y[i] = to_normal(mix(k0, k1, first + <uint64_t>i), constant)
    return out


def normal_at(key, index, double scale):
    key, index = check_index(key, index)
    cdef const int64_t[:] at = index
    out = np.empty(at.shape[0], np.float32)
    cdef float[::1] y = out
    cdef float constant = <float>(scale / sqrt(21845.0))
    cdef uint32_t k0, k1
    k0, k1 = _mixed_halves(key)
    cdef int64_t i
    with nogil:
        for i in range(at.shape[0]):
            y[i] = to_normal(mix(k0, k1, <uint64_t>at[i]), constant)
    return out


def uniform(key, start, count, double scale):
    key, start, count = check_range(key, start, count)
    out = np.empty(count, np.float32)
    cdef float[::1] y = out
    cdef float constant = <float>(scale * sqrt(3.0) / 16777216.0)
    cdef uint32_t k0, k1
    k0, k1 = _mixed_halves(key)
    cdef uint64_t first = start
    cdef int64_t i, n = count
    with nogil:
        for i in range(n):
            y[i] = to_uniform(mix(k0, k1, first + <uint64_t>i), constant)
    return out


def uniform_at(key, index, double scale):
    key, index = check_index(key, index)
    cdef const int64_t[:] at = index
    out = np.empty(at.shape[0], np.float32)
    cdef float[::1] y = out
    cdef float constant = <float>(scale * sqrt(3.0) / 16777216.0)
    cdef uint32_t k0, k1
    k0, k1 = _mixed_halves(key)
    cdef int64_t i
    with nogil:
        for i in range(at.shape[0]):
            y[i] = to_uniform(mix(k0, k1, <uint64_t>at[i]), constant)
    return out
