# distutils: extra_compile_args = -ffp-contract=off -fno-math-errno
"""Compiled twin of update_ref.py, which is its specification.

* one pass: each array goes through the caches once, what lies between them stays in a block of a thread's own memory
* no contraction to fused multiply-add: results are promised to the bit
* -fno-math-errno, so that square roots are taken in vectors
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport sqrt, sqrtf
from libc.stdint cimport int64_t

import numpy as np

from minisparse._core.update_ref import check_betas, check_state

include "team.pxi"

cdef enum:
    BLOCK = 512
    SMALL = 32768  # entries that are not worth a second thread


cdef inline floating root(floating v) noexcept nogil:
    if floating is float:
        return sqrtf(v)
    else:
        return sqrt(v)


def sgd(values, grad, rest, velocity, lr, decay, momentum, nesterov):
    check_state(values, grad, rest, velocity)
    w, g, r = _operands(values, grad, rest, decay)
    v = np.empty(0, w.dtype) if velocity is None else velocity.reshape(-1)
    if values.dtype == np.float32:
        sgd_step[float](w, g, r, v, lr, decay, momentum, nesterov)
    else:
        sgd_step[double](w, g, r, v, lr, decay, momentum, nesterov)


def adam(values, grad, rest, mean, square, lr, decay, betas, eps, t):
    check_state(values, grad, rest, mean, square)
    setting = lr, decay, 1 - betas[0], 1 - betas[1], *check_betas(betas, t), eps
    arrays = *_operands(values, grad, rest, decay), mean.reshape(-1), square.reshape(-1)
    if values.dtype == np.float32:
        adam_step[float](*arrays, *setting)
    else:
        adam_step[double](*arrays, *setting)


def _operands(values, grad, rest, decay):
    """w, g and the rest as vectors of one dtype, contiguous; no rest is an empty one."""
    if rest is None or not decay:
        rest = np.empty(0, values.dtype)
    rest = np.ascontiguousarray(rest, values.dtype)
    return values.reshape(-1), np.ascontiguousarray(grad).reshape(-1), rest.reshape(-1)


cdef void sgd_step(floating[::1] w, const floating[::1] g, const floating[::1] rest, floating[::1] v, floating lr,
                   floating decay, floating momentum, bint nesterov):
    cdef int64_t block, n = w.shape[0]
    # the blocks part [0, n), the length of every array that is not empty; so in `adam_step`
    for block in prange((n + BLOCK - 1) // BLOCK, nogil=True, schedule="static", num_threads=team(n > SMALL)):
        sgd_block(block * BLOCK, min(n - block * BLOCK, BLOCK), w, g, rest, v, lr, decay, momentum, nesterov)


cdef void sgd_block(int64_t first, int64_t size, floating[::1] w, const floating[::1] g, const floating[::1] rest,
                    floating[::1] v, floating lr, floating decay, floating momentum, bint nesterov) noexcept nogil:
    cdef floating step[BLOCK]
    cdef int64_t i
    pull(first, size, w, g, rest, decay, step)
    if v.shape[0]:
        # eq. 2
        for i in range(size):
            v[first + i] = momentum * v[first + i] + step[i]
            step[i] = step[i] + momentum * v[first + i] if nesterov else v[first + i]
    for i in range(size):
        w[first + i] -= lr * step[i]


cdef void adam_step(floating[::1] w, const floating[::1] g, const floating[::1] rest, floating[::1] m,
                    floating[::1] s, floating lr, floating decay, floating weight1, floating weight2,
                    floating unbiased1, floating unbiased2, floating eps):
    cdef int64_t block, n = w.shape[0]
    for block in prange((n + BLOCK - 1) // BLOCK, nogil=True, schedule="static", num_threads=team(n > SMALL)):
        adam_block(block * BLOCK, min(n - block * BLOCK, BLOCK), w, g, rest, m, s, lr, decay, weight1, weight2,
                   unbiased1, unbiased2, eps)


cdef void adam_block(int64_t first, int64_t size, floating[::1] w, const floating[::1] g, const floating[::1] rest,
                     floating[::1] m, floating[::1] s, floating lr, floating decay, floating weight1,
                     floating weight2, floating unbiased1, floating unbiased2, floating eps) noexcept nogil:
    cdef floating step[BLOCK]
    cdef int64_t i
    pull(first, size, w, g, rest, decay, step)
    # eq. 3
    for i in range(size):
        m[first + i] += weight1 * (step[i] - m[first + i])
        s[first + i] += weight2 * (step[i] * step[i] - s[first + i])
        step[i] = (m[first + i] / unbiased1) / (root(s[first + i] / unbiased2) + eps)
    for i in range(size):
        w[first + i] -= lr * step[i]


cdef void pull(int64_t first, int64_t size, floating[::1] w, const floating[::1] g, const floating[::1] rest,
               floating decay, floating* step) noexcept nogil:
    """Eq. 1."""
    cdef int64_t i
    for i in range(size):
        step[i] = g[first + i]
    if decay and rest.shape[0]:
        for i in range(size):
            step[i] += decay * (w[first + i] - rest[first + i])
    elif decay:
        for i in range(size):
            step[i] += decay * w[first + i]
