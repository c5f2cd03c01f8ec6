"""Compiled twin of spmm_ref.py, which is its specification.

* each inner loop runs over contiguous batch vectors
* threads own rows of the result, or columns of the batch where rows collide, so no sum is split
"""

from cython cimport floating, integral
from cython.parallel cimport prange
from libc.stdint cimport int64_t

import numpy as np

from minisparse._core.spmm_ref import check_csr, check_operand

cdef enum:
    BLOCK = 64  # batch columns a thread takes at a time in rmatmul


def matmul(const integral[::1] indptr, const integral[::1] indices, const floating[::1] values, x):
    check_csr(np.asarray(indptr), np.asarray(indices), np.asarray(values), x.shape[0])
    check_operand("x", x, np.asarray(values).dtype)
    cdef const floating[:, ::1] operand = np.ascontiguousarray(x)
    out = np.zeros((indptr.shape[0] - 1, x.shape[1]), x.dtype)
    cdef floating[:, ::1] y = out
    cdef int64_t o
    # check_csr: 0 <= indptr[o] <= k < indptr[o + 1] <= K and 0 <= indices[k] < I
    for o in prange(y.shape[0], nogil=True, schedule="guided"):
        multiply_row(indptr, indices, values, operand, y, o)
    return out


cdef void multiply_row(const integral[::1] indptr, const integral[::1] indices, const floating[::1] values,
                       const floating[:, ::1] x, floating[:, ::1] y, int64_t o) noexcept nogil:
    cdef int64_t k, n
    cdef floating w
    for k in range(indptr[o], indptr[o + 1]):
        w = values[k]
        for n in range(x.shape[1]):
            y[o, n] += w * x[indices[k], n]


def rmatmul(const integral[::1] indptr, const integral[::1] indices, const floating[::1] values, dy, int64_t columns):
    check_csr(np.asarray(indptr), np.asarray(indices), np.asarray(values), columns)
    check_operand("dy", dy, np.asarray(values).dtype, rows=len(indptr) - 1)
    cdef const floating[:, ::1] operand = np.ascontiguousarray(dy)
    out = np.zeros((columns, dy.shape[1]), dy.dtype)
    cdef floating[:, ::1] dx = out
    cdef int64_t block
    # as above; the blocks part [0, N) without overlap
    for block in prange((operand.shape[1] + BLOCK - 1) // BLOCK, nogil=True, schedule="static"):
        scatter_block(indptr, indices, values, operand, dx, block * BLOCK)
    return out


cdef void scatter_block(const integral[::1] indptr, const integral[::1] indices, const floating[::1] values,
                        const floating[:, ::1] dy, floating[:, ::1] dx, int64_t first) noexcept nogil:
    cdef int64_t o, k, n, last = min(first + BLOCK, dy.shape[1])
    cdef floating w
    for o in range(dy.shape[0]):
        for k in range(indptr[o], indptr[o + 1]):
            w = values[k]
            for n in range(first, last):
                dx[indices[k], n] += w * dy[o, n]


def sampled(const integral[::1] indptr, const integral[::1] indices, dy, x):
    if dy.dtype == np.float64:
        return sampled_typed[integral, double](indptr, indices, dy, x)
    return sampled_typed[integral, float](indptr, indices, dy, x)


cdef sampled_typed(const integral[::1] indptr, const integral[::1] indices, dy, x, floating unused=0):
    check_csr(np.asarray(indptr), np.asarray(indices), np.broadcast_to(dy.dtype.type(0), len(indices)), x.shape[0])
    check_operand("dy", dy, dy.dtype, rows=len(indptr) - 1)
    check_operand("x", x, dy.dtype, batch=dy.shape[1])
    cdef const floating[:, ::1] left = np.ascontiguousarray(dy), right = np.ascontiguousarray(x)
    out = np.zeros(len(indices), dy.dtype)
    cdef floating[::1] dw = out
    cdef int64_t o
    for o in prange(left.shape[0], nogil=True, schedule="guided"):
        sample_row(indptr, indices, left, right, dw, o)
    return out


cdef void sample_row(const integral[::1] indptr, const integral[::1] indices, const floating[:, ::1] dy,
                     const floating[:, ::1] x, floating[::1] dw, int64_t o) noexcept nogil:
    cdef int64_t k, n
    cdef floating total
    for k in range(indptr[o], indptr[o + 1]):
        total = 0
        for n in range(x.shape[1]):
            total = total + dy[o, n] * x[indices[k], n]
        dw[k] = total
