"""Memory that results of the compiled kernels lie in, kept for the next ones.

A training step asks for the same arrays again and again, and the system hands out fresh memory a page at a time:
filling new pages takes longer than most sparse products. So the memory of a large result that nobody holds any more
waits here for the next result of its size.
"""

from cpython.buffer cimport PyBuffer_FillInfo

import math

import numpy as np

cdef enum:
    LINE = 64      # bytes of a cache line
    SHORT = 1024   # bytes of an array whose place does not matter

LEAST = 1 << 18
"""Bytes from which an array is worth keeping."""
MOST = 1 << 28
"""Bytes that may wait; of more, the size that was used longest ago goes back to the system."""

_waiting = {}
"""Size -> pieces of it."""
_bound = [0]
"""No fewer bytes than wait: those of the last count, and all that came back since."""


def empty_like(array):
    """An uninitialised array of this shape and dtype, contiguous."""
    return empty_array(array.shape, array.dtype)


def empty_array(shape, dtype):
    """An uninitialised array, contiguous, the caller's alone as long as it lives; on a cache line unless it is short."""
    cdef Py_ssize_t nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < SHORT:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, Piece(nbytes) if nbytes < LEAST else Loan(nbytes))


def waiting():
    """Bytes that wait for a result."""
    return sum(size * len(stack) for size, stack in list(_waiting.items()))


cdef settle():
    """Give sizes back to the system, those used longest ago first, until no more than MOST bytes wait."""
    for size in list(_waiting):
        if waiting() <= MOST:
            break
        _waiting.pop(size, None)


cdef class Piece:
    """Memory from a cache line on; NumPy asks the system for it, in large pages where there are any."""
    cdef char[::1] memory
    cdef Py_ssize_t nbytes

    def __cinit__(self, Py_ssize_t nbytes):
        self.memory, self.nbytes = np.empty(nbytes + LINE, np.int8), nbytes

    cdef void* first(self):
        return <void*>((<size_t>&self.memory[0] + LINE - 1) // LINE * LINE)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.first(), self.nbytes, False, flags)


cdef class Loan:
    """What arrays on a piece of memory hold on to; the end of the last one gives it back."""
    cdef Piece piece

    def __cinit__(self, nbytes):
        # `pop` is atomic, so nothing is lent twice
        try:
            self.piece = _waiting[nbytes].pop()
        except (KeyError, IndexError):
            self.piece = Piece(nbytes)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.piece.first(), self.piece.nbytes, False, flags)

    def __del__(self):
        # a thread that comes between these lines may lose memory that waits, which is then free
        stack = _waiting.pop(self.piece.nbytes, None) or []
        stack.append(self.piece)
        _waiting[self.piece.nbytes] = stack
        # counting what waits takes long, so it is done only when it can have become too much
        _bound[0] += self.piece.nbytes
        if _bound[0] > MOST:
            settle()
            _bound[0] = waiting()
