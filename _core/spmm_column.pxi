# A batch of one: y[o] = sum_k w[k] x[k], and dw[k] = dy[o] x[k], along the rows. Each loop is compiled for either
# width of index, with and without an order of values.


cdef void column(const Product *p, int64_t first, int64_t last, four zero) noexcept nogil:
    """Rows first to last - 1."""
    if p.dw is not NULL:
        if p.wide:
            scaled[four](p, first, last, True, zero)
        else:
            scaled[four](p, first, last, False, zero)
    elif p.order is NULL:
        if p.wide:
            dots[four](p, NULL, first, last, True, zero)
        else:
            dots[four](p, NULL, first, last, False, zero)
    elif p.wide:
        dots[four](p, p.order, first, last, True, zero)
    else:
        dots[four](p, p.order, first, last, False, zero)


cdef inline four pick(const void *numbers, const void *index, int64_t k, bint wide, four zero) noexcept nogil:
    """Numbers of entries k to k + 3."""
    if four is vf32x4:
        return four_vf32x4(numbers, index, k, wide)
    else:
        return four_vf64x4(numbers, index, k, wide)


cdef inline four pick_one(const void *numbers, const void *index, int64_t k, bint wide, four zero) noexcept nogil:
    """The number of entry k, then zeros."""
    if four is vf32x4:
        return one_vf32x4(numbers, index, k, wide)
    else:
        return one_vf64x4(numbers, index, k, wide)


cdef inline void dots(const Product *p, const void *order, int64_t first, int64_t last, bint wide,
                      four zero) noexcept nogil:
    """y[o] = sum_k w[k] x[k]."""
    cdef const void *indptr = p.indptr
    cdef const void *indices = p.indices
    cdef const char *w = p.values
    cdef const char *x = p.x
    cdef char *y = p.y
    cdef int64_t o, end, k = at(indptr, first, wide)
    cdef four a, b
    for o in range(first, last):
        end = at(indptr, o + 1, wide)
        a = b = zero
        while k + 8 <= end:
            a = a + pick[four](w, order, k, wide, zero) * pick[four](x, indices, k, wide, zero)
            b = b + pick[four](w, order, k + 4, wide, zero) * pick[four](x, indices, k + 4, wide, zero)
            k += 8
        if k + 4 <= end:
            a = a + pick[four](w, order, k, wide, zero) * pick[four](x, indices, k, wide, zero)
            k += 4
        while k < end:
            b = b + pick_one[four](w, order, k, wide, zero) * pick_one[four](x, indices, k, wide, zero)
            k += 1
        if four is vf32x4:
            put_sum_vf32x4(y, o, a + b)
        else:
            put_sum_vf64x4(y, o, a + b)


cdef inline void scaled(const Product *p, int64_t first, int64_t last, bint wide, four zero) noexcept nogil:
    """dw[k] = dy[o] x[k]: dw is zero before."""
    cdef int64_t o, k = at(p.indptr, first, wide), end
    cdef four dy
    for o in range(first, last):
        end = at(p.indptr, o + 1, wide)
        if four is vf32x4:
            dy = (<float *>p.y)[o] - zero
        else:
            dy = (<double *>p.y)[o] - zero
        while k + 4 <= end:
            add[four](p.dw, k, dy * pick[four](p.x, p.indices, k, wide, zero), 4)
            k += 4
        while k < end:
            add[four](p.dw, k, dy * pick_one[four](p.x, p.indices, k, wide, zero), 1)
            k += 1


cdef inline void add(char *dw, int64_t k, four sums, int64_t count) noexcept nogil:
    """dw[k:k + count] += sums."""
    if four is vf32x4:
        add_vf32x4(dw, k, sums, count)
    else:
        add_vf64x4(dw, k, sums, count)
