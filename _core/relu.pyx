"""Compiled twin of relu_ref.py, which is its specification.

* one pass, in vectors; large results go past the caches; complex arrays take the twin
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t

import numpy as np

from minisparse._core import relu_ref as twin
from minisparse._core.allocator import empty_like

include "team.pxi"

cdef extern from "stream.h" nogil:
    enum: STREAMED
    void put(void *to, const void *block, int64_t nbytes, bint streamed)
    void fence()

cdef enum:
    CHUNK = 8192
    BLOCK = 1024        # numbers of a result that leave together


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
    cdef bint streamed = n * sizeof(floating) >= STREAMED
    # the chunks part [0, n) = [0, len(y)), and blocks a chunk; so in `pull_back`
    for chunk in prange((n + CHUNK - 1) // CHUNK, nogil=True, schedule="static", num_threads=team(n > 4 * CHUNK)):
        rectify_chunk(&x[chunk * CHUNK], min(n - chunk * CHUNK, CHUNK), streamed, &y[chunk * CHUNK])


cdef void rectify_chunk(const floating* x, int64_t n, bint streamed, floating* y) noexcept nogil:
    cdef floating[BLOCK] result
    cdef floating* to
    cdef floating zero = 0
    cdef int64_t i, size, first = 0
    while first < n:
        size = min(n - first, BLOCK)
        to = &result[0] if streamed else y + first
        for i in range(size):
            # false for NaN, which stays
            to[i] = zero if x[first + i] <= 0 else x[first + i]
        if streamed:
            put(y + first, result, size * sizeof(floating), True)
        first += size
    fence()


def backward(dy, y, added=None):
    twin.check_gradient(dy, y)
    if added is not None:
        twin.check_gradient(added, y)
    if dy.dtype.kind == "c":
        return twin.backward(dy, y, added)
    dx = empty_like(dy)
    dy, y = (np.ascontiguousarray(array).reshape(-1) for array in (dy, y))
    added = None if added is None else np.ascontiguousarray(added).reshape(-1)
    if dx.dtype == np.float32:
        pull_back[float](dy, y, added, dx.reshape(-1))
    else:
        pull_back[double](dy, y, added, dx.reshape(-1))
    return dx


cdef void pull_back(const floating[::1] dy, const floating[::1] y, const floating[::1] added, floating[::1] dx):
    cdef int64_t chunk, n = dy.shape[0]
    cdef bint streamed = n * sizeof(floating) >= STREAMED
    cdef const floating* others = &added[0] if n and added is not None else NULL
    for chunk in prange((n + CHUNK - 1) // CHUNK, nogil=True, schedule="static", num_threads=team(n > 4 * CHUNK)):
        pull_back_chunk(&dy[chunk * CHUNK], &y[chunk * CHUNK], others + chunk * CHUNK if others != NULL else NULL,
                        min(n - chunk * CHUNK, CHUNK), streamed, &dx[chunk * CHUNK])


cdef void pull_back_chunk(const floating* dy, const floating* y, const floating* added, int64_t n, bint streamed,
                          floating* dx) noexcept nogil:
    cdef floating[BLOCK] result
    cdef floating* to
    cdef floating zero = 0
    cdef int64_t i, size, first = 0
    while first < n:
        size = min(n - first, BLOCK)
        to = &result[0] if streamed else dx + first
        if added != NULL:
            # in two loops, of which compilers make vectors on every processor
            for i in range(size):
                to[i] = dy[first + i] + added[first + i]
            for i in range(size):
                to[i] = to[i] if y[first + i] > 0 else zero
        else:
            for i in range(size):
                to[i] = dy[first + i] if y[first + i] > 0 else zero
        if streamed:
            put(dx + first, result, size * sizeof(floating), True)
        first += size
    fence()


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
    cdef bint streamed = n * sizeof(floating) >= STREAMED
    for chunk in prange((n + CHUNK - 1) // CHUNK, nogil=True, schedule="static", num_threads=team(n > 4 * CHUNK)):
        add_chunk(&a[chunk * CHUNK], &b[chunk * CHUNK], min(n - chunk * CHUNK, CHUNK), rectified, streamed,
                  &y[chunk * CHUNK])


cdef void add_chunk(const floating* a, const floating* b, int64_t n, bint rectified, bint streamed,
                    floating* y) noexcept nogil:
    cdef floating[BLOCK] result
    cdef floating* to
    cdef floating sum, zero = 0
    cdef int64_t i, size, first = 0
    while first < n:
        size = min(n - first, BLOCK)
        to = &result[0] if streamed else y + first
        if rectified:
            for i in range(size):
                sum = a[first + i] + b[first + i]
                to[i] = zero if sum <= 0 else sum
        else:
            for i in range(size):
                to[i] = a[first + i] + b[first + i]
        if streamed:
            put(y + first, result, size * sizeof(floating), True)
        first += size
    fence()
