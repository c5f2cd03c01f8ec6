# dw += dy x^T at the entries of one tile, over one panel of the batch.
# k and column[k] are in range as in spmm_rows.pxi; the entries of a row are one thread's.


cdef void sample(const Product *p, const Tile *tile, int64_t first, int64_t last, vector zero) noexcept nogil:
    """dw += a panel's share, for the entries of a tile."""
    cdef int64_t o
    for o in range(first, last):
        sample_row[vector](p, tile, o, tile.width // VECTOR_BYTES, tile.width % VECTOR_BYTES, zero)


cdef inline void sample_row(const Product *p, const Tile *tile, int64_t o, int64_t vectors, int64_t rest,
                            vector zero) noexcept nogil:
    cdef int64_t k, j, left, at = (vectors - 1) * VECTOR_BYTES + rest, end = tile.end[o]
    cdef const int32_t *column = p.indices
    cdef const char *x = tile.x
    cdef const vector *dy = <const vector *>(tile.y + o * p.width)
    cdef const vector *x0
    cdef const vector *x1
    cdef const vector *x2
    cdef const vector *x3
    cdef vector a, b, c, d, v
    cdef float total32[4]
    cdef double total64[4]
    for k in range(tile.begin[o], end, 4):
        # the last group repeats its last entry
        left = end - k
        x0 = <const vector *>(x + column[k] * tile.stride)
        x1 = <const vector *>(x + column[k + min(left, 2) - 1] * tile.stride)
        x2 = <const vector *>(x + column[k + min(left, 3) - 1] * tile.stride)
        x3 = <const vector *>(x + column[k + min(left, 4) - 1] * tile.stride)
        a = b = c = d = zero
        for j in range(vectors):
            v = dy[j]
            a = a + v * x0[j]
            b = b + v * x1[j]
            c = c + v * x2[j]
            d = d + v * x3[j]
        if rest:
            if vector is vf32:
                v = last_vf32(<const vf32 *>(<const char *>dy + at), rest // 4)
                a = a + v * last_vf32(<const vf32 *>(<const char *>x0 + at), rest // 4)
                b = b + v * last_vf32(<const vf32 *>(<const char *>x1 + at), rest // 4)
                c = c + v * last_vf32(<const vf32 *>(<const char *>x2 + at), rest // 4)
                d = d + v * last_vf32(<const vf32 *>(<const char *>x3 + at), rest // 4)
            else:
                v = last_vf64(<const vf64 *>(<const char *>dy + at), rest // 8)
                a = a + v * last_vf64(<const vf64 *>(<const char *>x0 + at), rest // 8)
                b = b + v * last_vf64(<const vf64 *>(<const char *>x1 + at), rest // 8)
                c = c + v * last_vf64(<const vf64 *>(<const char *>x2 + at), rest // 8)
                d = d + v * last_vf64(<const vf64 *>(<const char *>x3 + at), rest // 8)
        if vector is vf32:
            totals_vf32(total32, a, b, c, d)
            for j in range(min(left, 4)):
                (<float *>p.dw)[k + j] += total32[j]
        else:
            totals_vf64(total64, a, b, c, d)
            for j in range(min(left, 4)):
                (<double *>p.dw)[k + j] += total64[j]
