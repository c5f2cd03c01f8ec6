# dw += dy x^T at the entries of one tile, over one panel of the batch. The entries of a row are one thread's.


cdef void sample(const Product *p, const Tile *tile, int64_t first, int64_t last, vector zero) noexcept nogil:
    """dw += a panel's share, for the entries of a tile; compiled for either width of index and for whole panels."""
    cdef int64_t vectors = tile.width // VECTOR_BYTES, rest = tile.width % VECTOR_BYTES
    if p.wide:
        sample_rows[vector](p, tile, first, last, vectors, rest, True, zero)
    elif vectors == 8 and rest == 0:
        sample_rows[vector](p, tile, first, last, 8, 0, False, zero)
    elif vectors == 4 and rest == 0:
        sample_rows[vector](p, tile, first, last, 4, 0, False, zero)
    else:
        sample_rows[vector](p, tile, first, last, vectors, rest, False, zero)


cdef inline void sample_rows(const Product *p, const Tile *tile, int64_t first, int64_t last, int64_t vectors,
                             int64_t rest, bint wide, vector zero) noexcept nogil:
    cdef int64_t o, k, left, end
    cdef const vector *dy
    for o in range(first, last):
        dy = <const vector *>(tile.y + o * p.width)
        end = at(tile.cuts, tile.end + o, wide)
        for k in range(at(tile.cuts, tile.begin + o, wide), end, 4):
            left = min(end - k, 4)
            # the last group repeats its last entry
            sample_four[vector](
                p.dw, k, left, dy, vectors, rest, zero,
                <const vector *>(tile.x + at(p.indices, k, wide) * tile.stride),
                <const vector *>(tile.x + at(p.indices, k + min(left, 2) - 1, wide) * tile.stride),
                <const vector *>(tile.x + at(p.indices, k + min(left, 3) - 1, wide) * tile.stride),
                <const vector *>(tile.x + at(p.indices, k + left - 1, wide) * tile.stride))


cdef inline void sample_four(char *dw, int64_t k, int64_t left, const vector *dy, int64_t vectors, int64_t rest,
                             vector zero, const vector *x0, const vector *x1, const vector *x2,
                             const vector *x3) noexcept nogil:
    """dw[k:k + left] += dy x0, dy x1, dy x2, dy x3 over a panel of whole vectors and a rest."""
    cdef int64_t j
    cdef vector a, b, c, d, v
    a = b = c = d = zero
    for j in range(vectors):
        v = dy[j]
        a = a + v * x0[j]
        b = b + v * x1[j]
        c = c + v * x2[j]
        d = d + v * x3[j]
    if rest:
        # the vector that ends where the panel ends, without what came before
        v = ending[vector](dy, vectors, rest)
        a = a + v * ending[vector](x0, vectors, rest)
        b = b + v * ending[vector](x1, vectors, rest)
        c = c + v * ending[vector](x2, vectors, rest)
        d = d + v * ending[vector](x3, vectors, rest)
    if vector is vf32:
        add_vf32x4(dw, k, totals_vf32(a, b, c, d), left)
    else:
        add_vf64x4(dw, k, totals_vf64(a, b, c, d), left)


cdef inline vector ending(const vector *x, int64_t vectors, int64_t rest) noexcept nogil:
    cdef const char *start = <const char *>(x + vectors) + rest - VECTOR_BYTES
    if vector is vf32:
        return last_vf32(<const vf32 *>start, rest // 4)
    else:
        return last_vf64(<const vf64 *>start, rest // 8)
