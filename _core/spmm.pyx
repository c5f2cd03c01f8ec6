"""Compiled twin of spmm_ref.py, which is its specification.

* each inner loop runs over contiguous batch vectors
* threads own rows of the result, or columns of the batch where rows collide, so no sum is split
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t

import numpy as np

from minisparse._core.spmm_ref import check_columns, check_csr, check_operand

ctypedef fused integer:
    int32_t
    int64_t

cdef enum:
    BLOCK = 64  # batch columns a thread takes at a time in rmatmul


def matmul(indptr, indices, values, x):
    check_csr(indptr, indices, values)
    check_operand("x", x, values.dtype)
    check_columns(indices, x.shape[0])
    y = np.zeros((len(indptr) - 1, x.shape[1]), x.dtype)
    _matmul(*map(np.ascontiguousarray, (indptr, indices, values, x)), y)
    return y


def _matmul(const integer[::1] indptr, const integer[::1] indices, const floating[::1] values,
            const floating[:, ::1] x, floating[:, ::1] y):
    cdef int64_t o
    # check_csr, check_columns: 0 <= indptr[o] <= k < indptr[o + 1] <= K and 0 <= indices[k] < I
    for o in prange(y.shape[0], nogil=True, schedule="guided"):
        multiply_row(indptr, indices, values, x, y, o)


cdef void multiply_row(const integer[::1] indptr, const integer[::1] indices, const floating[::1] values,
                       const floating[:, ::1] x, floating[:, ::1] y, int64_t o) noexcept nogil:
    cdef int64_t k, n
    cdef floating w
    for k in range(indptr[o], indptr[o + 1]):
        w = values[k]
        for n in range(x.shape[1]):
            y[o, n] += w * x[indices[k], n]


def rmatmul(indptr, indices, values, dy, columns):
    check_csr(indptr, indices, values)
    check_operand("dy", dy, values.dtype, rows=len(indptr) - 1)
    check_columns(indices, columns)
    dx = np.zeros((columns, dy.shape[1]), dy.dtype)
    _rmatmul(*map(np.ascontiguousarray, (indptr, indices, values, dy)), dx)
    return dx


def _rmatmul(const integer[::1] indptr, const integer[::1] indices, const floating[::1] values,
             const floating[:, ::1] dy, floating[:, ::1] dx):
    cdef int64_t block
    # as above; the blocks part [0, N) without overlap
    for block in prange((dy.shape[1] + BLOCK - 1) // BLOCK, nogil=True, schedule="static"):
        scatter_block(indptr, indices, values, dy, dx, block * BLOCK)


cdef void scatter_block(const integer[::1] indptr, const integer[::1] indices, const floating[::1] values,
                        const floating[:, ::1] dy, floating[:, ::1] dx, int64_t first) noexcept nogil:
    cdef int64_t o, k, n, last = min(first + BLOCK, dy.shape[1])
    cdef floating w
    for o in range(dy.shape[0]):
        for k in range(indptr[o], indptr[o + 1]):
            w = values[k]
            for n in range(first, last):
                dx[indices[k], n] += w * dy[o, n]


def sampled(indptr, indices, dy, x):
    check_csr(indptr, indices)
    check_operand("dy", dy, dy.dtype, rows=len(indptr) - 1)
    check_operand("x", x, dy.dtype, batch=dy.shape[1])
    check_columns(indices, x.shape[0])
    dw = np.zeros(len(indices), dy.dtype)
    _sampled(*map(np.ascontiguousarray, (indptr, indices, dy, x)), dw)
    return dw


def _sampled(const integer[::1] indptr, const integer[::1] indices, const floating[:, ::1] dy,
             const floating[:, ::1] x, floating[::1] dw):
    cdef int64_t o
    # as above; rows of dw do not overlap
    for o in prange(dy.shape[0], nogil=True, schedule="guided"):
        sample_row(indptr, indices, dy, x, dw, o)


cdef void sample_row(const integer[::1] indptr, const integer[::1] indices, const floating[:, ::1] dy,
                     const floating[:, ::1] x, floating[::1] dw, int64_t o) noexcept nogil:
    cdef int64_t k, n
    cdef floating total
    for k in range(indptr[o], indptr[o + 1]):
        total = 0
        for n in range(x.shape[1]):
            total = total + dy[o, n] * x[indices[k], n]
        dw[k] = total
