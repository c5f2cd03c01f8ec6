# Rows of y = W x over one tile: every accumulator is a named vector, so that it stays in a register.
# begin[o] <= k < end[o] are entries of row o, whose column is one of W's: Pattern.


cdef void call(const Product *p, const Tile *tile, int64_t count, int64_t first, int64_t last,
               vector zero) noexcept nogil:
    """The rows of a tile, specialised for the number of its vectors."""
    if count == 1:
        rows[vector](p, tile, first, last, 1, zero)
    elif count == 2:
        rows[vector](p, tile, first, last, 2, zero)
    elif count == 3:
        rows[vector](p, tile, first, last, 3, zero)
    elif count == 4:
        rows[vector](p, tile, first, last, 4, zero)
    elif count == 5:
        rows[vector](p, tile, first, last, 5, zero)
    elif count == 6:
        rows[vector](p, tile, first, last, 6, zero)
    elif count == 7:
        rows[vector](p, tile, first, last, 7, zero)
    else:
        rows[vector](p, tile, first, last, 8, zero)


cdef inline void rows(const Product *p, const Tile *tile, int64_t first, int64_t last, int count,
                      vector zero) noexcept nogil:
    """Rows of a panel of `count` vectors, a constant where this is called."""
    if p.order is NULL:
        rows_of[vector](p, tile, first, last, count, False, zero)
    else:
        rows_of[vector](p, tile, first, last, count, True, zero)


cdef inline void rows_of(const Product *p, const Tile *tile, int64_t first, int64_t last, int count,
                         bint ordered, vector zero) noexcept nogil:
    cdef int64_t o, k
    cdef vector a0, a1, a2, a3, a4, a5, a6, z, w
    cdef const vector *v
    cdef vector *y
    cdef const int32_t *begin = tile.begin
    cdef const int32_t *end = tile.end
    cdef const int32_t *indices = p.indices
    cdef const int32_t *order = p.order
    cdef const char *values = p.values
    cdef const char *x = tile.x
    cdef int64_t stride = tile.stride
    cdef int64_t at = tile.width - VECTOR_BYTES
    for o in range(first, last):
        y = <vector *>(tile.y + o * p.width)
        a0 = a1 = a2 = a3 = a4 = a5 = a6 = z = zero
        if tile.more:
            if count > 1:
                a0 = y[0]
            if count > 2:
                a1 = y[1]
            if count > 3:
                a2 = y[2]
            if count > 4:
                a3 = y[3]
            if count > 5:
                a4 = y[4]
            if count > 6:
                a5 = y[5]
            if count > 7:
                a6 = y[6]
            z = (<vector *>(<char *>y + at))[0]
        for k in range(begin[o], end[o]):
            if vector is vf32:
                w = splat_vf32(values, order[k] if ordered else k)
            else:
                w = splat_vf64(values, order[k] if ordered else k)
            v = <const vector *>(x + indices[k] * stride)
            if count > 1:
                a0 = a0 + w * v[0]
            if count > 2:
                a1 = a1 + w * v[1]
            if count > 3:
                a2 = a2 + w * v[2]
            if count > 4:
                a3 = a3 + w * v[3]
            if count > 5:
                a4 = a4 + w * v[4]
            if count > 6:
                a5 = a5 + w * v[5]
            if count > 7:
                a6 = a6 + w * v[6]
            z = z + w * (<const vector *>(<const char *>v + at))[0]
        if count > 1:
            y[0] = a0
        if count > 2:
            y[1] = a1
        if count > 3:
            y[2] = a2
        if count > 4:
            y[3] = a3
        if count > 5:
            y[4] = a4
        if count > 6:
            y[5] = a5
        if count > 7:
            y[6] = a6
        (<vector *>(<char *>y + at))[0] = z
