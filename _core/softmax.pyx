"""Compiled twin of softmax_ref.py, which is its specification.

* one pass over blocks of columns, a sample a lane; exp is a polynomial on vectors (exp.h)
* labels are looked at where they are used
"""

from cython cimport floating
from libc.math cimport log
from libc.stdint cimport int64_t

import numpy as np

from minisparse._core.allocator import empty_array
from minisparse._core.softmax_ref import check_labels, check_logits

cdef extern from "exp.h" nogil:
    int VECTOR_BYTES
    ctypedef double vf64
    vf64 zero_vf64
    vf64 splat_vf64(const void*, int64_t)
    vf64 max_vf64(vf64 a, vf64 b)
    vf64 exp_vf64(vf64 x)

cdef enum:
    LANES = 8  # room for those of any vector


def cross_entropy(logits, labels, smoothing):
    check_logits(logits, labels, smoothing)
    dlogits = empty_array(logits.shape, logits.dtype)
    # an unsigned label that does not fit becomes negative
    places = np.ascontiguousarray(labels).astype(np.int64, copy=False)
    cdef double loss
    if logits.dtype == np.float32:
        loss = find[float](np.ascontiguousarray(logits), places, smoothing, dlogits)
    else:
        loss = find[double](np.ascontiguousarray(logits), places, smoothing, dlogits)
    if loss < 0:
        check_labels(labels, len(logits))
    return np.float64(loss), dlogits


cdef double find(const floating[:, ::1] z, const int64_t[::1] labels, double smoothing, floating[:, ::1] dz) except? -1:
    """The loss; less than 0 for a label that is no class."""
    cdef int64_t lanes = VECTOR_BYTES // sizeof(double), classes = z.shape[0], n = z.shape[1], first = 0
    # for each lane z less the largest of its column, and exp of that
    cdef double[:, ::1] room = np.empty((2 * classes, LANES))
    cdef double loss = 0, part
    while first < n:
        part = block(&z[0, first], classes, n, min(lanes, n - first), &labels[first], smoothing, &room[0, 0],
                     &dz[0, first])
        if part < 0:
            return -1
        loss += part
        first += lanes
    return loss / n


cdef double block(const floating* z, int64_t classes, int64_t n, int64_t count, const int64_t* labels,
                  double smoothing, double* room, floating* dz) noexcept nogil:
    """N times the loss of `count` columns, -1 for a label that is no class."""
    cdef double* shifted = room
    cdef double* p = room + classes * LANES
    cdef double loss = 0, log_total, all_of_them, target = smoothing / classes
    cdef vf64 top, total = zero_vf64
    cdef int64_t c, i
    for i in range(count):
        if not 0 <= labels[i] < classes:
            return -1
    for c in range(classes):
        for i in range(LANES):
            shifted[c * LANES + i] = z[c * n + i] if i < count else 0
    top = (<vf64*>shifted)[0]
    for c in range(1, classes):
        top = max_vf64((<vf64*>(shifted + c * LANES))[0], top)
    for c in range(classes):
        (<vf64*>(shifted + c * LANES))[0] = (<vf64*>(shifted + c * LANES))[0] - top
        (<vf64*>(p + c * LANES))[0] = exp_vf64((<vf64*>(shifted + c * LANES))[0])
        total = total + (<vf64*>(p + c * LANES))[0]
    for i in range(count):
        # eq. 4, 1
        log_total = log((<double*>&total)[i])
        loss += (1 - smoothing) * (log_total - shifted[labels[i] * LANES + i])
        if smoothing:
            all_of_them = 0
            for c in range(classes):
                all_of_them += log_total - shifted[c * LANES + i]
            loss += target * all_of_them
    for c in range(classes):
        # eq. 2
        (<vf64*>(p + c * LANES))[0] = (<vf64*>(p + c * LANES))[0] / total
        for i in range(count):
            dz[c * n + i] = <floating>((p[c * LANES + i] - target - (1 - smoothing if c == labels[i] else 0)) / n)
    return loss
