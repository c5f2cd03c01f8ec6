# y[o, a, b] = sum of values[k] x[at[k] from (a, b)] over the entries k of row o: for spconv.pyx.

def _gather(const int64_t[::1] indptr, const int32_t[::1] at, const floating[::1] values,
            const floating[:, :, :, :] x, floating[:, :, :, :] y, Plan plan, int64_t blocks, int64_t band,
            int64_t chunks):
    cdef Image source = image_of(x), target = image_of(y)
    cdef int64_t task, bands = (target.height + band - 1) // band, failed = 0
    cdef int64_t size = ((band - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef int64_t sums = 4 * PIXEL * target.channels
    cdef const int32_t* offsets = &at[0] if at.shape[0] else NULL
    cdef const floating* weights = &values[0] if at.shape[0] else NULL
    cdef char* memory = NULL
    cdef Plan* p = &plan
    cdef Image* from_ = &source
    cdef Image* to = &target
    # Pattern and the tables of offsets: entries of row o lie in [0, K), offsets in the packed rows
    with nogil, parallel():
        memory = <char*>malloc(size + sums + LINE)
        for task in prange(blocks * bands, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif floating is float:
                gather_band(<vf32*>to_line(memory), size, &indptr[0], chunks, offsets, weights, from_, to, p,
                            task // bands * PIXEL, task % bands * band,
                            min(task % bands * band + band, to.height))
            else:
                gather_band(<vf64*>to_line(memory), size, &indptr[0], chunks, offsets, weights, from_, to, p,
                            task // bands * PIXEL, task % bands * band,
                            min(task % bands * band + band, to.height))
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void gather_band(vector* packed, int64_t size, const int64_t* indptr, int64_t chunks, const int32_t* at,
                      const void* values, Image* x, Image* y, Plan* plan, int64_t first, int64_t begin,
                      int64_t end) noexcept nogil:
    """Output rows begin to end - 1 of the block that starts at byte `first` of each pixel."""
    cdef int64_t a, filled = 0, nbytes = min(PIXEL, y.nbytes - first)
    cdef int64_t row = row_bytes(x, plan)
    for a in range(begin, end):
        while filled < (a - begin) * plan.stride + plan.span:
            pack_row(<char*>packed + filled * row, x, begin * plan.stride + plan.top + filled, plan, first, nbytes)
            filled += 1
        gather_row(<vector*>(<char*>packed + (a - begin) * plan.stride * row), indptr, chunks, at, values, y,
                   y.data + a * y.by_row + first, nbytes, <vector*>(<char*>packed + size))


cdef void gather_row(const vector* packed, const int64_t* indptr, int64_t chunks, const int32_t* at,
                     const void* values, Image* y, char* target, int64_t nbytes, vector* sums) noexcept nogil:
    cdef int64_t o, c, b = 0
    cdef bint last
    while b < y.width:
        for c in range(chunks * y.channels):
            o, last = c % y.channels, c >= (chunks - 1) * y.channels
            if b + 4 <= y.width:
                gather_four(packed + 2 * b, at, values, indptr[c], indptr[c + 1], &sums[8 * o], c < y.channels, last,
                            target + o * y.by_channel, y.by_pixel, nbytes)
            else:
                gather_tail(packed + 2 * b, at, values, indptr[c], indptr[c + 1], &sums[8 * o], c < y.channels, last,
                            target + o * y.by_channel, y.by_pixel, nbytes, y.width - b)
        target += 4 * y.by_pixel
        b += 4


cdef inline void gather_four(const vector* x, const int32_t* at, const void* values, int64_t k, int64_t end,
                             vector* sums, bint first, bint last, char* target, int64_t by_pixel,
                             int64_t nbytes) noexcept nogil:
    """Four pixels, on from `sums` (4, 2) unless these entries are the first, and to the target with the last."""
    cdef const vector* p
    cdef vector w, a0, a1, b0, b1, c0, c1, d0, d1
    cdef double zero = 0
    if not first:
        a0, a1, b0, b1, c0, c1, d0, d1 = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]
    else:
        if vector is vf32:
            a0 = splat32(&zero, 0)
        else:
            a0 = splat64(&zero, 0)
        a1 = b0 = b1 = c0 = c1 = d0 = d1 = a0
    while k < end:
        if vector is vf32:
            w = splat32(values, k)
        else:
            w = splat64(values, k)
        p = <const vector*>(<const char*>x + at[k])
        a0 = a0 + w * p[0]
        a1 = a1 + w * p[1]
        b0 = b0 + w * p[2]
        b1 = b1 + w * p[3]
        c0 = c0 + w * p[4]
        c1 = c1 + w * p[5]
        d0 = d0 + w * p[6]
        d1 = d1 + w * p[7]
        k += 1
    if not last:
        sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7] = a0, a1, b0, b1, c0, c1, d0, d1
        return
    put(target, a0, a1, nbytes)
    put(target + by_pixel, b0, b1, nbytes)
    put(target + 2 * by_pixel, c0, c1, nbytes)
    put(target + 3 * by_pixel, d0, d1, nbytes)


cdef inline void gather_tail(const vector* x, const int32_t* at, const void* values, int64_t begin, int64_t end,
                             vector* sums, bint first, bint last, char* target, int64_t by_pixel, int64_t nbytes,
                             int64_t pixels) noexcept nogil:
    """The same for fewer than four, one at a time."""
    cdef const vector* p
    cdef vector w, a0, a1
    cdef int64_t k, b
    if first:
        memset(sums, 0, 4 * PIXEL)
    for b in range(pixels):
        a0, a1 = sums[2 * b], sums[2 * b + 1]
        for k in range(begin, end):
            if vector is vf32:
                w = splat32(values, k)
            else:
                w = splat64(values, k)
            p = <const vector*>(<const char*>x + at[k]) + 2 * b
            a0 = a0 + w * p[0]
            a1 = a1 + w * p[1]
        sums[2 * b], sums[2 * b + 1] = a0, a1
        if last:
            put(target + b * by_pixel, a0, a1, nbytes)
