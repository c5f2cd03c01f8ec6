"""Compiled twin of pool_ref.py, which is its specification.

* vectors over the batch; a window's result stays near the processor while its pixels are compared, a channel of dx
  while all windows are
* where windows tile the image, each pixel of dx is written once, past the caches where dx is large
* threads take whole channels, so that results do not depend on their number
* complex arrays take the twin
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t
from libc.math cimport INFINITY
from libc.string cimport memset

import numpy as np

from minisparse._core import pool_ref as twin
from minisparse._core.allocator import empty_array

include "team.pxi"

cdef extern from "stream.h" nogil:
    enum: STREAMED
    void put(void *to, const void *block, int64_t nbytes, bint streamed)
    void fence()

cdef enum:
    SMALL = 8192        # results that are not worth a second thread
    BLOCK = 512         # numbers of a result that leave together


def maximum(x, kernel, stride):
    kernel, stride, height, width = twin.check_window(x, kernel, stride)
    if x.dtype.kind == "c":
        return twin.maximum(x, kernel, stride)
    y = empty_array((len(x), height, width, x.shape[3]), x.dtype)
    winner = empty_array(y.shape, np.dtype(np.int32))
    threads = team(y.size > SMALL)
    if x.dtype == np.float32:
        take_largest[float](np.ascontiguousarray(x), kernel, stride, y, winner, threads)
    else:
        take_largest[double](np.ascontiguousarray(x), kernel, stride, y, winner, threads)
    return y, winner


cdef void take_largest(const floating[:, :, :, ::1] x, int64_t kernel, int64_t stride, floating[:, :, :, ::1] y,
                       int32_t[:, :, :, ::1] winner, int threads):
    cdef int64_t c
    if y.shape[3]:
        for c in prange(y.shape[0], nogil=True, schedule="static", num_threads=threads):
            largest_of_channel(c, x, kernel, stride, y, winner)


cdef void largest_of_channel(int64_t c, const floating[:, :, :, ::1] x, int64_t kernel, int64_t stride,
                             floating[:, :, :, ::1] y, int32_t[:, :, :, ::1] winner) noexcept nogil:
    cdef int64_t i, j, place, k
    # stride i + kernel <= H for i < Ho, and for columns alike: check_image; so in `pull_back_channel`
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            for k in range(y.shape[3]):
                y[c, i, j, k] = -INFINITY
                winner[c, i, j, k] = 0
            for place in range(kernel * kernel):
                challenge(&x[c, stride * i + place // kernel, stride * j + place % kernel, 0], y.shape[3],
                          <int32_t>place, &y[c, i, j, 0], &winner[c, i, j, 0])


cdef void challenge(const floating* x, int64_t n, int32_t place, floating* y, int32_t* winner) noexcept nogil:
    """Eq. 1, one pixel of the window."""
    cdef int64_t k
    cdef bint better
    for k in range(n):
        # a NaN is not equal to itself
        better = (x[k] > y[k]) | (x[k] != x[k])
        y[k] = x[k] if better else y[k]
        winner[k] = place if better else winner[k]


def maximum_backward(dy, winner, kernel, stride, height, width):
    kernel, stride, height, width = twin.check_winner(dy, winner, kernel, stride, height, width)
    if dy.dtype.kind == "c":
        return twin.maximum_backward(dy, winner, kernel, stride, height, width)
    dx = empty_array((len(dy), height, width, dy.shape[3]), dy.dtype)
    winner, threads = np.ascontiguousarray(winner), team(dy.size > SMALL)
    if dy.dtype == np.float32:
        pull_back[float](np.ascontiguousarray(dy), winner, kernel, stride, dx, threads)
    else:
        pull_back[double](np.ascontiguousarray(dy), winner, kernel, stride, dx, threads)
    return dx


cdef void pull_back(const floating[:, :, :, ::1] dy, const int32_t[:, :, :, ::1] winner, int64_t kernel,
                    int64_t stride, floating[:, :, :, ::1] dx, int threads):
    cdef int64_t c
    cdef bint tiled = kernel == stride and stride * dy.shape[1] == dx.shape[1] and stride * dy.shape[2] == dx.shape[2]
    cdef bint streamed = dx.shape[0] * dx.shape[1] * dx.shape[2] * dx.shape[3] * sizeof(floating) >= STREAMED
    if dx.shape[1] and dx.shape[2] and dx.shape[3]:
        for c in prange(dy.shape[0], nogil=True, schedule="static", num_threads=threads):
            if not tiled:
                memset(&dx[c, 0, 0, 0], 0, dx.shape[1] * dx.shape[2] * dx.shape[3] * sizeof(floating))
            pull_back_channel(c, dy, winner, kernel, stride, tiled, streamed, dx)


cdef void pull_back_channel(int64_t c, const floating[:, :, :, ::1] dy, const int32_t[:, :, :, ::1] winner,
                            int64_t kernel, int64_t stride, bint tiled, bint streamed,
                            floating[:, :, :, ::1] dx) noexcept nogil:
    cdef int64_t i, j, place
    # the last window first: so a pixel of many windows is their winner at its places in rising order, as in the twin
    for i in range(dy.shape[1] - 1, -1, -1):
        for j in range(dy.shape[2] - 1, -1, -1):
            for place in range(kernel * kernel):
                if tiled:
                    reward_once(&dy[c, i, j, 0], &winner[c, i, j, 0], dy.shape[3], <int32_t>place, streamed,
                                &dx[c, stride * i + place // kernel, stride * j + place % kernel, 0])
                else:
                    reward(&dy[c, i, j, 0], &winner[c, i, j, 0], dy.shape[3], <int32_t>place,
                           &dx[c, stride * i + place // kernel, stride * j + place % kernel, 0])
    fence()


cdef void reward(const floating* dy, const int32_t* winner, int64_t n, int32_t place, floating* dx) noexcept nogil:
    """Eq. 2, one pixel of the window."""
    cdef floating zero = 0
    cdef int64_t k
    for k in range(n):
        dx[k] += dy[k] if winner[k] == place else zero


cdef void reward_once(const floating* dy, const int32_t* winner, int64_t n, int32_t place, bint streamed,
                      floating* dx) noexcept nogil:
    """The same of a pixel that is in no other window."""
    cdef floating[BLOCK] result
    cdef floating zero = 0
    cdef int64_t k, size, first = 0
    while first < n:
        size = min(n - first, BLOCK)
        for k in range(size):
            result[k] = zero + (dy[first + k] if winner[first + k] == place else zero)
        put(dx + first, result, size * sizeof(floating), streamed)
        first += size
