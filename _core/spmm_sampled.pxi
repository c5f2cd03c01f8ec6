# dw += dy x^T at the entries of one tile, over one panel of the batch: dy's vectors stay in registers while the
# entries of its row pass, four at a time. The entries of a row are one thread's.


cdef inline void sample(const Product *p, const Tile *tile, int64_t count, int64_t first, int64_t last, bint wide,
                        vector zero) noexcept nogil:
    """dw += a panel's share, compiled for either width of index and for the number of the panel's vectors."""
    if count == 1:
        sample_rows[vector](p, tile, first, last, 1, wide, zero)
    elif count == 2:
        sample_rows[vector](p, tile, first, last, 2, wide, zero)
    elif count == 3:
        sample_rows[vector](p, tile, first, last, 3, wide, zero)
    elif count == 4:
        sample_rows[vector](p, tile, first, last, 4, wide, zero)
    elif count == 5:
        sample_rows[vector](p, tile, first, last, 5, wide, zero)
    elif count == 6:
        sample_rows[vector](p, tile, first, last, 6, wide, zero)
    elif count == 7:
        sample_rows[vector](p, tile, first, last, 7, wide, zero)
    else:
        sample_rows[vector](p, tile, first, last, 8, wide, zero)


cdef inline void sample_rows(const Product *p, const Tile *tile, int64_t first, int64_t last, int count, bint wide,
                             vector zero) noexcept nogil:
    cdef int64_t o, k, end, left, at_last = tile.width - VECTOR_BYTES, rest = tile.width % VECTOR_BYTES
    cdef int64_t stride = tile.stride
    cdef const void *indices = p.indices
    cdef const char *x = tile.x
    cdef char *dw = p.dw
    cdef const vector *dy
    cdef vector d0, d1, d2, d3, d4, d5, d6, z, a, b, c, d
    d0 = d1 = d2 = d3 = d4 = d5 = d6 = zero
    for o in range(first, last):
        dy = <const vector *>(tile.y + o * p.width)
        if count > 1:
            d0 = dy[0]
        if count > 2:
            d1 = dy[1]
        if count > 3:
            d2 = dy[2]
        if count > 4:
            d3 = dy[3]
        if count > 5:
            d4 = dy[4]
        if count > 6:
            d5 = dy[5]
        if count > 7:
            d6 = dy[6]
        z = final[vector](<const char *>dy + at_last, rest, zero)
        end = at(tile.cuts, tile.end + o, wide)
        for k in range(at(tile.cuts, tile.begin + o, wide), end, 4):
            # the last group repeats its last entry
            left = min(end - k, 4)
            a = lanes[vector](x + at(indices, k, wide) * stride, at_last, rest, count, d0, d1, d2, d3, d4, d5, d6, z)
            b = lanes[vector](x + at(indices, k + min(left, 2) - 1, wide) * stride, at_last, rest, count,
                              d0, d1, d2, d3, d4, d5, d6, z)
            c = lanes[vector](x + at(indices, k + min(left, 3) - 1, wide) * stride, at_last, rest, count,
                              d0, d1, d2, d3, d4, d5, d6, z)
            d = lanes[vector](x + at(indices, k + left - 1, wide) * stride, at_last, rest, count,
                              d0, d1, d2, d3, d4, d5, d6, z)
            if vector is vf32:
                add_vf32x4(dw, k, totals_vf32(a, b, c, d), left)
            else:
                add_vf64x4(dw, k, totals_vf64(a, b, c, d), left)


cdef inline vector lanes(const char *row, int64_t at_last, int64_t rest, int count, vector d0, vector d1, vector d2,
                         vector d3, vector d4, vector d5, vector d6, vector z) noexcept nogil:
    """Sums of dy x, lane by lane, over a panel of `count` vectors."""
    cdef const vector *x = <const vector *>row
    cdef vector a = z * final[vector](row + at_last, rest, z)
    if count > 1:
        a = a + d0 * x[0]
    if count > 2:
        a = a + d1 * x[1]
    if count > 3:
        a = a + d2 * x[2]
    if count > 4:
        a = a + d3 * x[3]
    if count > 5:
        a = a + d4 * x[4]
    if count > 6:
        a = a + d5 * x[5]
    if count > 7:
        a = a + d6 * x[6]
    return a


cdef inline vector final(const char *x, int64_t rest, vector zero) noexcept nogil:
    """The vector that ends where the panel ends, without what the one before holds of it."""
    if rest == 0:
        return (<const vector *>x)[0]
    if vector is vf32:
        return last_vf32(<const vf32 *>x, rest // 4)
    else:
        return last_vf64(<const vf64 *>x, rest // 8)
