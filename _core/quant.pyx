# distutils: extra_compile_args = -ffp-contract=off
"""Compiled twin of quant_ref.py, which is its specification.

* one pass from operands to results, in vectors; threads take whole chunks, whose sums are added in order
* results leave a block at a time, past the caches where they are larger than these and their memory is there (new
  memory is in the caches, since the system has just cleared it)
* no contraction to fused multiply-add: results are promised to the bit
* assign: a binary search without branches over midpoints filled up to a power of two
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport INFINITY, rint, rintf
from libc.stdint cimport int64_t, uint32_t

import numpy as np

cdef extern from "stream.h" nogil:
    void put(void *to, const void *block, int64_t nbytes, bint streamed)
    void fence()

from minisparse._core.quant_ref import check_codebook, check_gradient, check_index, check_out, check_quantiser

include "team.pxi"

cdef enum:
    LANES = 16
    CHUNK = 65536
    SMALL = 4096  # values whose levels are not worth a second thread to find
    BLOCK = 512  # terms in a thread's own memory; a multiple of LANES
    STREAMED = 1 << 25  # bytes of a result which caches do not hold until it is read


cdef inline floating to_integer(floating v) noexcept nogil:
    """Halves to even."""
    if floating is float:
        return rintf(v)
    else:
        return rint(v)


def fake_quantise(x, step, low, high, out=None):
    step, low, high = check_quantiser(x, step, low, high)
    streamed = out is not None and x.nbytes > STREAMED
    out = check_out(out, x)
    if x.dtype == np.float32:
        forward[float](np.ascontiguousarray(x).reshape(-1), step, low, high, out.reshape(-1), streamed)
    else:
        forward[double](np.ascontiguousarray(x).reshape(-1), step, low, high, out.reshape(-1), streamed)
    return out


cdef void forward(const floating[::1] x, floating step, floating low, floating high, floating[::1] q,
                  bint streamed):
    cdef int64_t chunk, n = x.shape[0]
    # the chunks part [0, n) = [0, len(q)); so in `backward`
    for chunk in prange((n + CHUNK - 1) // CHUNK, nogil=True, schedule="static", num_threads=team(n > CHUNK)):
        forward_chunk(&x[chunk * CHUNK], min(n - chunk * CHUNK, CHUNK), step, low, high, &q[chunk * CHUNK], streamed)


cdef void forward_chunk(const floating* x, int64_t n, floating step, floating low, floating high, floating* q,
                        bint streamed) noexcept nogil:
    cdef floating result[BLOCK]
    cdef int64_t first = 0, size
    while first < n:
        size = min(n - first, BLOCK)
        round_and_clip(x + first, size, step, low, high, result)
        put(q + first, result, size * sizeof(floating), streamed)
        first += size
    fence()


cdef void round_and_clip(const floating* x, int64_t n, floating step, floating low, floating high,
                         floating* q) noexcept nogil:
    """Eq. 1."""
    cdef int64_t i
    cdef floating v
    for i in range(n):
        v = to_integer(x[i] / step)
        # comparisons with NaN are false, so it stays
        v = low if v < low else v
        v = high if v > high else v
        q[i] = (v + 0) * step


def fake_quantise_backward(dy, x, step, low, high, out=None):
    step, low, high = check_quantiser(x, step, low, high)
    check_gradient(dy, x)
    streamed = out is not None and x.nbytes > STREAMED
    out = check_out(out, x, dy)
    sums = np.zeros((x.size + CHUNK - 1) // CHUNK)
    flat, dy = np.ascontiguousarray(x).reshape(-1), np.ascontiguousarray(dy).reshape(-1)
    if x.dtype == np.float32:
        backward[float](dy, flat, step, low, high, out.reshape(-1), sums, streamed)
    else:
        backward[double](dy, flat, step, low, high, out.reshape(-1), sums, streamed)
    total = np.float64(0)
    for part in sums:
        total += part
    return out, total


cdef void backward(const floating[::1] dy, const floating[::1] x, floating step, floating low, floating high,
                   floating[::1] dx, double[::1] sums, bint streamed):
    cdef int64_t chunk, n = x.shape[0]
    for chunk in prange((n + CHUNK - 1) // CHUNK, nogil=True, schedule="static", num_threads=team(n > CHUNK)):
        sums[chunk] = backward_chunk(&dy[chunk * CHUNK], &x[chunk * CHUNK], min(n - chunk * CHUNK, CHUNK),
                                     step, low, high, &dx[chunk * CHUNK], streamed)


cdef double backward_chunk(const floating* dy, const floating* x, int64_t n, floating step, floating low,
                           floating high, floating* dx, bint streamed) noexcept nogil:
    cdef double lanes[LANES]
    cdef floating e[BLOCK]
    cdef floating result[BLOCK]
    cdef double total = 0
    cdef int64_t i, j, first = 0, size, rows
    for j in range(LANES):
        lanes[j] = 0
    while first < n:
        size = min(n - first, BLOCK)
        pull_back(dy + first, x + first, size, step, low, high, result, e)
        # i * LANES + j < size <= BLOCK
        rows = size // LANES
        for i in range(rows):
            for j in range(LANES):
                lanes[j] += <double>dy[first + i * LANES + j] * <double>e[i * LANES + j]
        for j in range(size - rows * LANES):
            lanes[j] += <double>dy[first + rows * LANES + j] * <double>e[rows * LANES + j]
        # dy and x of this block are done with: dx may take the place of either
        put(dx + first, result, size * sizeof(floating), streamed)
        first += size
    fence()
    for j in range(LANES):
        total += lanes[j]
    return total


cdef void pull_back(const floating* dy, const floating* x, int64_t n, floating step, floating low, floating high,
                    floating* dx, floating* e) noexcept nogil:
    """The gradients of some x, eq. 2, and their e, eq. 3."""
    cdef floating v, a, zero = 0
    cdef int64_t i
    for i in range(n):
        v = x[i] / step
        a = to_integer(v) - v
        # a NaN is in neither interval
        a = low if v <= low else a
        a = high if v >= high else a
        e[i] = a if v == v else zero
        dx[i] = (dy[i] if v < high else zero) if v > low else zero


def assign(x, codebook):
    midpoints = check_codebook(x, codebook)
    size = 1 << len(midpoints).bit_length()
    cdef double[::1] border = np.append(midpoints, np.full(size - len(midpoints), INFINITY))
    index = np.empty(len(x), np.uint32)
    if x.dtype == np.float32:
        search[float](np.ascontiguousarray(x), border, index)
    else:
        search[double](np.ascontiguousarray(x), border, index)
    return index


cdef void search(const floating[::1] x, const double[::1] border, uint32_t[::1] index):
    cdef int64_t i
    for i in prange(x.shape[0], nogil=True, schedule="static", num_threads=team(x.shape[0] > SMALL)):
        index[i] = borders_below(x[i], &border[0], border.shape[0])


cdef inline uint32_t borders_below(double x, const double* border, int64_t size) noexcept nogil:
    """How many of `size` borders, a power of two, increasing, the last infinite, lie below x."""
    cdef int64_t place = 0, half = size // 2
    # place + half <= size - 1 throughout
    while half > 0:
        place += half if border[place + half - 1] < x else 0
        half //= 2
    return <uint32_t>place


def centroid_sums(x, index, levels):
    levels = check_index(x, index, levels)
    index = np.ascontiguousarray(index)
    counts = np.bincount(index, minlength=levels)
    sums, chunk = np.zeros(levels), np.empty(levels)
    if x.dtype == np.float32:
        add_chunks[float](np.ascontiguousarray(x), index, sums, chunk)
    else:
        add_chunks[double](np.ascontiguousarray(x), index, sums, chunk)
    return sums, counts


cdef void add_chunks(const floating[::1] x, const uint32_t[::1] index, double[::1] sums, double[::1] part) noexcept:
    cdef int64_t i, first = 0, n = x.shape[0], last
    with nogil:
        # check_index: every index lies below len(sums)
        while first < n:
            last = min(first + CHUNK, n)
            part[:] = 0
            for i in range(first, last):
                part[index[i]] += x[i]
            for i in range(sums.shape[0]):
                sums[i] += part[i]
            first = last
