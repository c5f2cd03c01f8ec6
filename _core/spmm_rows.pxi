# Rows of y = W x over one tile: every accumulator is a named vector, so that it stays in a register.


cdef inline void call(const Product *p, const Tile *tile, int64_t count, int64_t first, int64_t last, bint wide,
                      vector zero) noexcept nogil:
    """The rows of a tile, compiled for either width of index and for the number of the tile's vectors."""
    if count == 1:
        rows[vector](p, tile, first, last, 1, wide, zero)
    elif count == 2:
        rows[vector](p, tile, first, last, 2, wide, zero)
    elif count == 3:
        rows[vector](p, tile, first, last, 3, wide, zero)
    elif count == 4:
        rows[vector](p, tile, first, last, 4, wide, zero)
    elif count == 5:
        rows[vector](p, tile, first, last, 5, wide, zero)
    elif count == 6:
        rows[vector](p, tile, first, last, 6, wide, zero)
    elif count == 7:
        rows[vector](p, tile, first, last, 7, wide, zero)
    else:
        rows[vector](p, tile, first, last, 8, wide, zero)


cdef inline void rows(const Product *p, const Tile *tile, int64_t first, int64_t last, int count, bint wide,
                      vector zero) noexcept nogil:
    """Rows of a panel of `count` vectors, a constant where this is called."""
    if p.order is NULL:
        rows_of[vector](p, NULL, tile, first, last, count, wide, zero)
    else:
        rows_of[vector](p, p.order, tile, first, last, count, wide, zero)


cdef inline void rows_of(const Product *p, const void *order, const Tile *tile, int64_t first, int64_t last, int count,
                         bint wide, vector zero) noexcept nogil:
    cdef int64_t o, k
    cdef vector a0, a1, a2, a3, a4, a5, a6, z, w
    cdef const vector *v
    cdef vector *y
    cdef const void *cuts = tile.cuts
    cdef const void *indices = p.indices
    cdef const char *values = p.values
    cdef const char *x = tile.x
    cdef int64_t stride = tile.stride
    cdef int64_t at_last = tile.width - VECTOR_BYTES
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
            z = (<vector *>(<char *>y + at_last))[0]
        for k in range(at(cuts, tile.begin + o, wide), at(cuts, tile.end + o, wide)):
            if vector is vf32:
                w = splat_vf32(values, at(order, k, wide))
            else:
                w = splat_vf64(values, at(order, k, wide))
            v = <const vector *>(x + at(indices, k, wide) * stride)
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
            z = z + w * (<const vector *>(<const char *>v + at_last))[0]
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
        (<vector *>(<char *>y + at_last))[0] = z
