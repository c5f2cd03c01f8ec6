# A product of four rows: every accumulator is a named vector, so that it stays in a register. For regen.pyx.

cdef void call(const char *tile, int64_t jstep, int64_t kstep, int64_t depth, const char *x, int64_t xstep, char *y,
               int64_t ystep, int64_t left, vector zero) noexcept nogil:
    if left >= 4:
        micro[vector](tile, jstep, kstep, depth, x, xstep, y, ystep, 4, zero)
    elif left >= 2:
        micro[vector](tile, jstep, kstep, depth, x, xstep, y, ystep, 2, zero)
    else:
        micro[vector](tile, jstep, kstep, depth, x, xstep, y, ystep, 1, zero)


cdef inline vector lane(const char *numbers, int64_t k, vector zero) noexcept nogil:
    """Number k in every lane."""
    if vector is vf32:
        return splat_vf32(numbers, k)
    else:
        return splat_vf64(numbers, k)


cdef inline vector held(vector x) noexcept nogil:
    """The same, in a register."""
    if vector is vf32:
        return held_vf32(x)
    else:
        return held_vf64(x)


cdef inline void micro(const char *tile, int64_t jstep, int64_t kstep, int64_t depth, const char *x, int64_t xstep,
                       char *y, int64_t ystep, int count, vector zero) noexcept nogil:
    """y[j] += sum_k tile[j jstep + k kstep] x[k] for four rows of `count` vectors, a constant at the call.

    jstep and kstep count numbers, xstep and ystep bytes.
    """
    cdef vector a0, a1, a2, a3, b0, b1, b2, b3
    cdef vector c0, c1, c2, c3, d0, d1, d2, d3
    cdef vector v0, v1, v2, v3, w
    cdef const vector *v
    cdef int64_t k
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
    c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = zero
    for k in range(depth):
        v = <const vector *>(x + k * xstep)
        v0 = held[vector](v[0])
        if count > 1:
            v1 = held[vector](v[1])
        if count > 2:
            v2 = held[vector](v[2])
            v3 = held[vector](v[3])
        w = lane[vector](tile, k * kstep, zero)
        a0 = a0 + w * v0
        if count > 1:
            a1 = a1 + w * v1
        if count > 2:
            a2 = a2 + w * v2
            a3 = a3 + w * v3
        w = lane[vector](tile, k * kstep + jstep, zero)
        b0 = b0 + w * v0
        if count > 1:
            b1 = b1 + w * v1
        if count > 2:
            b2 = b2 + w * v2
            b3 = b3 + w * v3
        w = lane[vector](tile, k * kstep + 2 * jstep, zero)
        c0 = c0 + w * v0
        if count > 1:
            c1 = c1 + w * v1
        if count > 2:
            c2 = c2 + w * v2
            c3 = c3 + w * v3
        w = lane[vector](tile, k * kstep + 3 * jstep, zero)
        d0 = d0 + w * v0
        if count > 1:
            d1 = d1 + w * v1
        if count > 2:
            d2 = d2 + w * v2
            d3 = d3 + w * v3
    add[vector](y, a0, a1, a2, a3, count)
    add[vector](y + ystep, b0, b1, b2, b3, count)
    add[vector](y + 2 * ystep, c0, c1, c2, c3, count)
    add[vector](y + 3 * ystep, d0, d1, d2, d3, count)


cdef inline void add(char *y, vector a, vector b, vector c, vector d, int count) noexcept nogil:
    cdef vector *to = <vector *>y
    to[0] = to[0] + a
    if count > 1:
        to[1] = to[1] + b
    if count > 2:
        to[2] = to[2] + c
        to[3] = to[3] + d
