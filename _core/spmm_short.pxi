# A batch of two numbers to a vector: rows of y = W x four entries at a time, so that the additions of one need not
# wait for those of another. Up to a vector less a number is read past the end of a row of x: product() makes room.


cdef void short_rows(const Product *p, int64_t first, int64_t last, vector zero) noexcept nogil:
    """Rows first to last - 1, compiled for either width of index, with and without an order of values."""
    if p.order is NULL:
        if p.wide:
            short_rows_of[vector](p, NULL, first, last, True, zero)
        else:
            short_rows_of[vector](p, NULL, first, last, False, zero)
    elif p.wide:
        short_rows_of[vector](p, p.order, first, last, True, zero)
    else:
        short_rows_of[vector](p, p.order, first, last, False, zero)


cdef inline vector term(const Product *p, const void *order, int64_t k, bint wide, vector zero) noexcept nogil:
    """w[k] x[k]."""
    cdef const vector *x = <const vector *>(p.x + at(p.indices, k, wide) * p.stride)
    if vector is vf32:
        return splat_vf32(p.values, at(order, k, wide)) * x[0]
    else:
        return splat_vf64(p.values, at(order, k, wide)) * x[0]


cdef inline void short_rows_of(const Product *p, const void *order, int64_t first, int64_t last, bint wide,
                               vector zero) noexcept nogil:
    cdef int64_t o, end, k = at(p.indptr, first, wide)
    cdef vector a, b, c, d
    for o in range(first, last):
        end = at(p.indptr, o + 1, wide)
        a = b = c = d = zero
        while k + 4 <= end:
            a = a + term[vector](p, order, k, wide, zero)
            b = b + term[vector](p, order, k + 1, wide, zero)
            c = c + term[vector](p, order, k + 2, wide, zero)
            d = d + term[vector](p, order, k + 3, wide, zero)
            k += 4
        while k < end:
            a = a + term[vector](p, order, k, wide, zero)
            k += 1
        a = (a + b) + (c + d)
        memcpy(p.y + o * p.width, &a, p.width)
