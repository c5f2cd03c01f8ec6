# distutils: extra_compile_args = -ffp-contract=off
"""Compiled twin of batch_ref.py, which is its specification.

* gather: one pass; some rows of x at a time are asked for at once, converted in vectors and turned in squares
* crop: rows of images, of which the border is set to zero
* no contraction to fused multiply-add: results are promised to the bit
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

import numpy as np

from minisparse._core.allocator import empty_array
from minisparse._core.batch_ref import check_images, check_samples

include "team.pxi"

cdef extern from "lanes.h" nogil:
    enum: LANES32
    void transpose32(const char*, int64_t, char*, int64_t)
    void prefetch(const void*)

ctypedef fused number:
    uint8_t
    float

cdef enum:
    SAMPLES = 16    # whose rows are turned together, squares of LANES32 in registers
    FEATURES = 256  # of a sample that are converted at a time
    SMALL = 65536   # numbers that are not worth a second thread


def gather(x, index, shift, scale):
    check_samples(x, index, shift, scale)
    x, index = np.ascontiguousarray(x), np.ascontiguousarray(index)
    shift, scale = np.ascontiguousarray(shift), np.ascontiguousarray(scale)
    y = empty_array((x.shape[1], len(index)), np.dtype(np.float32))
    if y.size and x.dtype == np.uint8:
        fill[uint8_t](x, index, shift, scale, y)
    elif y.size:
        fill[float](x, index, shift, scale, y)
    return y


cdef void fill(const number[:, ::1] x, const int64_t[::1] index, const float[::1] shift, const float[::1] scale,
               float[:, ::1] y):
    cdef int64_t block, n = index.shape[0]
    # 0 <= index < rows of x: check_samples; blocks part [0, n)
    for block in prange((n + SAMPLES - 1) // SAMPLES, nogil=True, schedule="static",
                        num_threads=team(y.shape[0] * n > SMALL)):
        fill_block(&x[0, 0], &index[block * SAMPLES], min(n - block * SAMPLES, <int64_t>SAMPLES), x.shape[1], n,
                   &shift[0], &scale[0], &y[0, block * SAMPLES])


cdef void fill_block(const number* x, const int64_t* index, int64_t count, int64_t features, int64_t n,
                     const float* shift, const float* scale, float* y) noexcept nogil:
    """`count` columns of y."""
    cdef float[SAMPLES * FEATURES] rows
    cdef int64_t first = 0, size, j
    for j in range(count):
        fetch(<const char*>(x + index[j] * features), features * <int64_t>sizeof(number))
    while first < features:
        size = min(features - first, <int64_t>FEATURES)
        for j in range(count):
            normalise(x + index[j] * features + first, size, shift + first, scale + first, rows + j * FEATURES)
        turn(rows, count, size, y + first * n, n)
        first += size


cdef void fetch(const char* row, int64_t nbytes) noexcept nogil:
    cdef int64_t i
    for i in range(0, nbytes, 64):
        prefetch(row + i)


cdef void normalise(const number* x, int64_t n, const float* shift, const float* scale, float* y) noexcept nogil:
    """Eq. 1 for a row."""
    cdef int64_t f
    for f in range(n):
        y[f] = (<float>x[f] - shift[f]) * scale[f]


cdef void turn(const float* rows, int64_t count, int64_t size, float* y, int64_t n) noexcept nogil:
    """The transpose of `count` rows of this size, which begin FEATURES numbers apart."""
    cdef int64_t f, i, j, squares = size // LANES32 if count == SAMPLES else 0
    for i in range(squares * (SAMPLES // LANES32)):
        f, j = i % squares * LANES32, i // squares * LANES32
        transpose32(<const char*>(rows + j * FEATURES + f), FEATURES * sizeof(float), <char*>(y + f * n + j),
                    n * sizeof(float))
    for f in range(squares * LANES32, size):
        for j in range(count):
            y[f * n + j] = rows[j * FEATURES + f]


def crop(x, top, left, mirrored):
    check_images(x, top, left, mirrored)
    x, z = np.ascontiguousarray(x), empty_array(x.shape, x.dtype)
    # beyond an image's size there is nothing to see, and sums with less do not overflow
    top, left = (np.clip(by, -size, size) for by, size in zip((top, left), x.shape[2:]))
    if z.size and x.dtype == np.uint8:
        move[uint8_t](x, top, left, np.ascontiguousarray(mirrored).view(np.uint8), z)
    elif z.size:
        move[float](x, top, left, np.ascontiguousarray(mirrored).view(np.uint8), z)
    return z


cdef void move(const number[:, :, :, ::1] x, const int64_t[::1] top, const int64_t[::1] left,
               const uint8_t[::1] mirrored, number[:, :, :, ::1] z):
    cdef int64_t j, c, a, b, first, last, height = x.shape[2], width = x.shape[3]
    cdef const number* source
    cdef number* row
    # |top| <= height and |left| <= width: so a row in [0, height) is of the image, and so are columns first to last - 1
    with nogil:
        for j in range(x.shape[0]):
            first, last = max(0, -left[j]), min(width, width - left[j])
            for c in range(x.shape[1]):
                for a in range(height):
                    row = &z[j, c, a, 0]
                    memset(row, 0, width * sizeof(number))
                    if not 0 <= a + top[j] < height:
                        continue
                    source = &x[j, c, a + top[j], 0]
                    if mirrored[j]:
                        for b in range(first, last):
                            row[width - 1 - b] = source[b + left[j]]
                    else:
                        for b in range(first, last):
                            row[b] = source[b + left[j]]
