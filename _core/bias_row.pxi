# A row of numbers and its bias: for dense.pyx and bias.pyx.

from cython cimport floating


cdef inline void add_row(floating* y, int64_t n, floating b, bint rectified) noexcept nogil:
    """y += b; where `rectified`, max(y + b, 0)."""
    cdef floating sum, zero = 0
    cdef int64_t i
    if rectified:
        for i in range(n):
            sum = y[i] + b
            # false for NaN, which stays
            y[i] = zero if sum <= 0 else sum
    else:
        for i in range(n):
            y[i] += b
