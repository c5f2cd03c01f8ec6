"""Memory that results lie in, kept for the next ones.

A training step asks for the same arrays again and again, and the system hands out fresh memory a page at a time:
filling new pages takes longer than most sparse products. So the memory of a large result that nobody holds any more
waits here for the next result of its size.
"""

import math

import numpy as np

LINE = 64
"""Bytes of a cache line."""
LEAST = 1 << 18
"""Bytes from which an array is worth keeping."""
MOST = 1 << 28
"""Bytes that may wait; of more, the size that was used longest ago goes back to the system."""

_waiting: dict[int, list[np.ndarray]] = {}
_bound = [0]
"""No fewer bytes than wait: those of the last count, and all that came back since."""


def empty(nbytes: int) -> np.ndarray:
    """Uninitialised bytes: (nbytes,) uint8, the caller's alone as long as an array on them lives."""
    return np.asarray(_Loan(nbytes)) if nbytes >= LEAST else np.empty(nbytes, np.uint8)


def empty_like(array: np.ndarray) -> np.ndarray:
    """An uninitialised array of this shape and dtype, contiguous."""
    return empty_array(array.shape, array.dtype)


def empty_array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array, contiguous, on a cache line where it is large."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < LEAST:
        return np.empty(shape, dtype)
    memory = empty(nbytes + LINE)
    first = -memory.ctypes.data % LINE
    return memory[first : first + nbytes].view(dtype).reshape(shape)


def waiting() -> int:
    """Bytes that wait for a result."""
    return sum(size * len(stack) for size, stack in list(_waiting.items()))


def _settle() -> None:
    """Give sizes back to the system, those used longest ago first, until no more than MOST bytes wait."""
    for size in list(_waiting):
        if waiting() <= MOST:
            break
        _waiting.pop(size, None)


class _Loan:
    """What arrays on a piece of memory hold on to; the end of the last one gives it back."""

    __slots__ = ("memory",)

    def __init__(self, nbytes: int):
        # `pop` is atomic, so nothing is lent twice
        stack = _waiting.get(nbytes, [])
        try:
            self.memory = stack.pop()
        except IndexError:
            self.memory = np.empty(nbytes, np.uint8)

    @property
    def __array_interface__(self) -> dict:
        return self.memory.__array_interface__

    def __del__(self):
        # a thread that comes between these lines may lose memory that waits, which is then free
        stack = _waiting.pop(self.memory.nbytes, [])
        stack.append(self.memory)
        _waiting[self.memory.nbytes] = stack
        # counting what waits takes long, so it is done only when it can have become too much
        _bound[0] += self.memory.nbytes
        if _bound[0] > MOST:
            _settle()
            _bound[0] = waiting()
