# A row of numbers and its bias: for bias.pyx, and for the products that add one.

from cython cimport floating
from libc.stdint cimport int64_t


cdef inline void add_bias(char* y, int64_t nbytes, const char* bias, int64_t row, bint single,
                          bint rectified) noexcept nogil:
    """Part of a row of y, float32 where `single`, else float64; `bias` has a number for each row."""
    if single:
        add_row(<float*>y, nbytes // <int64_t>sizeof(float), (<const float*>bias)[row], rectified)
    else:
        add_row(<double*>y, nbytes // <int64_t>sizeof(double), (<const double*>bias)[row], rectified)


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
