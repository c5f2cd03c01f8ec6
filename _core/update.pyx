# distutils: extra_compile_args = -ffp-contract=off -fno-math-errno
"""Compiled twin of update_ref.py, which is its specification.

* one pass: each array goes through the caches once, what lies between them stays in a block of a thread's own memory
* no contraction to fused multiply-add: results are promised to the bit
* -fno-math-errno, so that square roots are taken in vectors
"""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport sqrt, sqrtf
from libc.stdint cimport int64_t

import numpy as np

from minisparse._core.update_ref import check_betas, check_state

include "team.pxi"

cdef enum:
    BLOCK = 512
    SMALL = 16384  # entries that are not worth a second thread


cdef struct Entries:  # of one parameter, contiguous and of one dtype and shape; NULL where there are none
    void* w
    void* g
    void* rest
    void* first   # v, or m
    void* second  # s
    int64_t count
    bint single   # float32, else float64


cdef inline floating root(floating v) noexcept nogil:
    if floating is float:
        return sqrtf(v)
    else:
        return sqrt(v)


def sgd(values, grad, rest, velocity, lr, decay, momentum, nesterov):
    cdef Entries e
    operands = held(&e, values, grad, rest, velocity, None, decay)
    if e.single:
        sgd_step[float](&e, lr, decay, momentum, nesterov)
    else:
        sgd_step[double](&e, lr, decay, momentum, nesterov)


def adam(values, grad, rest, mean, square, lr, decay, betas, eps, t):
    cdef Entries e
    operands = held(&e, values, grad, rest, mean, square, decay)
    unbiased1, unbiased2 = check_betas(betas, t)
    if e.single:
        adam_step[float](&e, lr, decay, 1 - betas[0], 1 - betas[1], unbiased1, unbiased2, eps)
    else:
        adam_step[double](&e, lr, decay, 1 - betas[0], 1 - betas[1], unbiased1, unbiased2, eps)


cdef held(Entries* e, values, grad, rest, first, second, decay):
    """Looks the arrays up; the caller holds on to what it returns. ValueError if they do not fit."""
    if rest is None and find(e, values, grad, None, first, second):
        return None
    check_state(values, grad, rest, *(state for state in (first, second) if state is not None))
    grad, rest = np.ascontiguousarray(grad), None if rest is None or not decay else np.ascontiguousarray(rest, values.dtype)
    find(e, values.reshape(-1), grad.reshape(-1), None if rest is None else rest.reshape(-1),
         None if first is None else first.reshape(-1), None if second is None else second.reshape(-1))
    return grad, rest


cdef bint find(Entries* e, values, grad, rest, first, second) except -1:
    """Whether the arrays are alike and contiguous, and those that are written can be."""
    cdef Py_buffer view
    try:
        PyObject_GetBuffer(values, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)
    except (BufferError, TypeError, ValueError):
        return False
    cdef bint fits = view.format[0] in (b"f", b"d")
    e.w, e.single, e.count = view.buf, view.format[0] == b"f", view.len // view.itemsize
    e.g = like(&view, grad, 0, &fits)
    e.rest = like(&view, rest, 0, &fits)
    e.first = like(&view, first, PyBUF_WRITABLE, &fits)
    e.second = like(&view, second, PyBUF_WRITABLE, &fits)
    PyBuffer_Release(&view)
    return fits


cdef void* like(const Py_buffer* one, array, int flags, bint* fits) except? NULL:
    """Where the numbers of an array lie, NULL without one; no longer `fits` unless it is of the shape and dtype of `one`."""
    cdef Py_buffer view
    cdef int i
    if array is None or not fits[0]:
        return NULL
    try:
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags)
    except (BufferError, TypeError, ValueError):
        fits[0] = False
        return NULL
    fits[0] = view.ndim == one.ndim and view.format[0] == one.format[0]
    for i in range(view.ndim if fits[0] else 0):
        fits[0] = fits[0] and view.shape[i] == one.shape[i]
    PyBuffer_Release(&view)
    return view.buf


cdef void sgd_step(Entries* e, floating lr, floating decay, floating momentum, bint nesterov):
    cdef int64_t block
    # the blocks part [0, count), the length of every array; so in `adam_step`
    for block in prange((e.count + BLOCK - 1) // BLOCK, nogil=True, schedule="static",
                        num_threads=team(e.count > SMALL)):
        sgd_block(e, block * BLOCK, min(e.count - block * BLOCK, BLOCK), lr, decay, momentum, nesterov)


cdef void sgd_block(Entries* e, int64_t first, int64_t size, floating lr, floating decay, floating momentum,
                    bint nesterov) noexcept nogil:
    cdef floating step[BLOCK]
    cdef floating* w = <floating*>e.w + first
    cdef floating* v = <floating*>e.first + first
    cdef int64_t i
    pull(e, first, size, decay, step)
    if e.first != NULL:
        # eq. 2
        for i in range(size):
            v[i] = momentum * v[i] + step[i]
            step[i] = step[i] + momentum * v[i] if nesterov else v[i]
    for i in range(size):
        w[i] -= lr * step[i]


cdef void adam_step(Entries* e, floating lr, floating decay, floating weight1, floating weight2,
                    floating unbiased1, floating unbiased2, floating eps):
    cdef int64_t block
    for block in prange((e.count + BLOCK - 1) // BLOCK, nogil=True, schedule="static",
                        num_threads=team(e.count > SMALL)):
        adam_block(e, block * BLOCK, min(e.count - block * BLOCK, BLOCK), lr, decay, weight1, weight2, unbiased1,
                   unbiased2, eps)


cdef void adam_block(Entries* e, int64_t first, int64_t size, floating lr, floating decay, floating weight1,
                     floating weight2, floating unbiased1, floating unbiased2, floating eps) noexcept nogil:
    cdef floating step[BLOCK]
    cdef floating* w = <floating*>e.w + first
    cdef floating* m = <floating*>e.first + first
    cdef floating* s = <floating*>e.second + first
    cdef int64_t i
    pull(e, first, size, decay, step)
    # eq. 3
    for i in range(size):
        m[i] += weight1 * (step[i] - m[i])
        s[i] += weight2 * (step[i] * step[i] - s[i])
        step[i] = (m[i] / unbiased1) / (root(s[i] / unbiased2) + eps)
    for i in range(size):
        w[i] -= lr * step[i]


cdef void pull(Entries* e, int64_t first, int64_t size, floating decay, floating* step) noexcept nogil:
    """Eq. 1."""
    cdef const floating* w = <floating*>e.w + first
    cdef const floating* g = <floating*>e.g + first
    cdef const floating* rest = <floating*>e.rest + first
    cdef int64_t i
    for i in range(size):
        step[i] = g[i]
    if decay and e.rest != NULL:
        for i in range(size):
            step[i] += decay * (w[i] - rest[i])
    elif decay:
        for i in range(size):
            step[i] += decay * w[i]
