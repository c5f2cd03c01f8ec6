# Memory for every kernel on vectors. A vector that crosses a cache line takes twice as long to load.

include "address.pxi"


cdef aligned(int64_t rows, int64_t columns, dtype):
    """An uninitialised matrix that begins at a cache line."""
    cdef int64_t nbytes = rows * columns * dtype.itemsize
    buffer = np.empty(nbytes + VECTOR_BYTES, np.uint8)
    cdef int64_t start = VECTOR_BYTES - <int64_t>(<size_t>address(buffer, PyBUF_WRITABLE) % VECTOR_BYTES)
    return buffer[start : start + nbytes].view(dtype).reshape(rows, columns)
