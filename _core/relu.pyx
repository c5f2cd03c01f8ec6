"""Compiled twin of relu_ref.py, which is its specification.

* one pass, in vectors; complex arrays take the twin
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t

import numpy as np

from minisparse._core import relu_ref as twin
from minisparse._core.allocator import empty_like

include "team.pxi"

cdef enum:
    CHUNK = 8192


def forward(x):
    twin.check_float(x)
    if x.dtype.kind == "c":
        return twin.forward(x)
    y = empty_like(x)
    if x.dtype == np.float32:
        rectify[float](np.ascontiguousarray(x).reshape(-1), y.reshape(-1))
    else:
        rectify[double](np.ascontiguousarray(x).reshape(-1), y.reshape(-1))
    return y


cdef void rectify(const floating[::1] x, floating[::1] y):
    cdef int64_t chunk, n = x.shape[0]
    # the chunks part [0, n) = [0, len(y)); so in `pull_back`
    for chunk in prange((n + CHUNK - 1) // CHUNK, nogil=True, schedule="static", num_threads=team(n > 4 * CHUNK)):
        rectify_chunk(&x[chunk * CHUNK], min(n - chunk * CHUNK, CHUNK), &y[chunk * CHUNK])


cdef void rectify_chunk(const floating* x, int64_t n, floating* y) noexcept nogil:
    cdef floating zero = 0
    cdef int64_t i
    for i in range(n):
        # false for NaN, which stays
        y[i] = zero if x[i] <= 0 else x[i]


def backward(dy, y):
    twin.check_gradient(dy, y)
    if dy.dtype.kind == "c":
        return twin.backward(dy, y)
    dx = empty_like(dy)
    if dy.dtype == np.float32:
        pull_back[float](np.ascontiguousarray(dy).reshape(-1), np.ascontiguousarray(y).reshape(-1), dx.reshape(-1))
    else:
        pull_back[double](np.ascontiguousarray(dy).reshape(-1), np.ascontiguousarray(y).reshape(-1), dx.reshape(-1))
    return dx


cdef void pull_back(const floating[::1] dy, const floating[::1] y, floating[::1] dx):
    cdef int64_t chunk, n = dy.shape[0]
    for chunk in prange((n + CHUNK - 1) // CHUNK, nogil=True, schedule="static", num_threads=team(n > 4 * CHUNK)):
        pull_back_chunk(&dy[chunk * CHUNK], &y[chunk * CHUNK], min(n - chunk * CHUNK, CHUNK), &dx[chunk * CHUNK])


cdef void pull_back_chunk(const floating* dy, const floating* y, int64_t n, floating* dx) noexcept nogil:
    cdef floating zero = 0
    cdef int64_t i
    for i in range(n):
        dx[i] = dy[i] if y[i] > 0 else zero


def add(a, b, rectified):
    twin.check_gradient(a, b)
    if a.dtype.kind == "c":
        return twin.add(a, b, rectified)
    y = empty_like(a)
    if a.dtype == np.float32:
        add_up[float](np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1), rectified, y.reshape(-1))
    else:
        add_up[double](np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1), rectified,
                       y.reshape(-1))
    return y


cdef void add_up(const floating[::1] a, const floating[::1] b, bint rectified, floating[::1] y):
    cdef int64_t chunk, n = a.shape[0]
    for chunk in prange((n + CHUNK - 1) // CHUNK, nogil=True, schedule="static", num_threads=team(n > 4 * CHUNK)):
        add_chunk(&a[chunk * CHUNK], &b[chunk * CHUNK], min(n - chunk * CHUNK, CHUNK), rectified, &y[chunk * CHUNK])


cdef void add_chunk(const floating* a, const floating* b, int64_t n, bint rectified, floating* y) noexcept nogil:
    cdef floating sum, zero = 0
    cdef int64_t i
    if rectified:
        for i in range(n):
            sum = a[i] + b[i]
            y[i] = zero if sum <= 0 else sum
    else:
        for i in range(n):
            y[i] = a[i] + b[i]
