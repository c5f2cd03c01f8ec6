# y[o, a, b] = sum over k of w[o, k] x[at[k] from (a, b)]: for conv.pyx.

def _multiply(const int32_t[::1] at, const floating[:, :, ::1] w, const floating[:, :, :, :] x,
              floating[:, :, :, :] y, Plan plan, int64_t blocks, int64_t band, int64_t chunk):
    cdef Image source = image_of(x), target = image_of(y)
    cdef int64_t task, bands = (target.height + band - 1) // band, failed = 0, taps = at.shape[0]
    cdef int64_t size = ((band - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef const int32_t* offsets = &at[0] if taps else NULL
    cdef const floating* weights = &w[0, 0, 0] if taps else NULL
    cdef char* memory = NULL
    cdef Plan* p = &plan
    cdef Image* from_ = &source
    cdef Image* to = &target
    # the tables of offsets name pixels of the packed rows only; w has a row for each three outputs
    with nogil, parallel():
        memory = <char*>malloc(size + LINE)
        for task in prange(blocks * bands, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif floating is float:
                multiply_band(<vf32*>to_line(memory), offsets, weights, taps, chunk, from_, to, p,
                              task // bands * PIXEL, task % bands * band,
                              min(task % bands * band + band, to.height))
            else:
                multiply_band(<vf64*>to_line(memory), offsets, weights, taps, chunk, from_, to, p,
                              task // bands * PIXEL, task % bands * band,
                              min(task % bands * band + band, to.height))
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void multiply_band(vector* packed, const int32_t* at, const void* w, int64_t taps, int64_t chunk, Image* x,
                        Image* y, Plan* plan, int64_t first, int64_t begin, int64_t end) noexcept nogil:
    """Output rows begin to end - 1 of the block that starts at byte `first` of each pixel."""
    cdef int64_t a, b, k, filled = 0, nbytes = min(PIXEL, y.nbytes - first), row = row_bytes(x, plan)
    cdef const vector* at_row
    for a in range(begin, end):
        while filled < (a - begin) * plan.stride + plan.span:
            pack_row(<char*>packed + filled * row, x, begin * plan.stride + plan.top + filled, plan, first, nbytes)
            filled += 1
        at_row = <const vector*>(<char*>packed + (a - begin) * plan.stride * row)
        b = 0
        while b < y.width:
            k = 0
            while k < max(taps, 1):
                multiply_chunk(at_row + 2 * b, at, w, taps, k, min(taps, k + chunk), y,
                               y.data + a * y.by_row + b * y.by_pixel + first, min(4, y.width - b), nbytes)
                k += chunk
            b += 4


cdef void multiply_chunk(const vector* x, const int32_t* at, const void* w, int64_t taps, int64_t begin, int64_t end,
                         Image* y, char* target, int64_t pixels, int64_t nbytes) noexcept nogil:
    """Taps begin to end - 1 of all outputs, at up to four pixels."""
    cdef vector[24] sums
    cdef const char* weights
    cdef char* place
    cdef int64_t o, i, j
    for o in range(0, y.channels, 3):
        memset(sums, 0, 24 * LINE)
        for i in range(min(3, y.channels - o)):
            place = target + (o + i) * y.by_channel
            if begin:
                for j in range(pixels):
                    memcpy(&sums[8 * i + 2 * j], place + j * y.by_pixel, nbytes)
        weights = <const char*>w + (o * taps + 3 * begin) * (LINE // lanes(sums))
        if pixels == 4:
            three_by_four(x, at + begin, weights, end - begin, sums)
        else:
            for j in range(pixels):
                three_by_one(x + 2 * j, at + begin, weights, end - begin, &sums[2 * j])
        for i in range(min(3, y.channels - o)):
            place = target + (o + i) * y.by_channel
            for j in range(pixels):
                put(place + j * y.by_pixel, sums[8 * i + 2 * j], sums[8 * i + 2 * j + 1], nbytes)


cdef inline int64_t lanes(const vector* _) noexcept nogil:
    return 16 if vector is vf32 else 8


cdef void three_by_four(const vector* x, const int32_t* at, const void* w, int64_t taps, vector* sums) noexcept nogil:
    """Adds three outputs at four pixels, all in registers, to `sums` (3, 4, 2)."""
    cdef const vector* p
    cdef vector v, r, s, t
    cdef vector a0, a1, a2, a3, a4, a5, a6, a7
    cdef int64_t k
    cdef vector b0, b1, b2, b3, b4, b5, b6, b7
    cdef vector c0, c1, c2, c3, c4, c5, c6, c7
    a0 = sums[0]
    a1 = sums[1]
    a2 = sums[2]
    a3 = sums[3]
    a4 = sums[4]
    a5 = sums[5]
    a6 = sums[6]
    a7 = sums[7]
    b0 = sums[8]
    b1 = sums[9]
    b2 = sums[10]
    b3 = sums[11]
    b4 = sums[12]
    b5 = sums[13]
    b6 = sums[14]
    b7 = sums[15]
    c0 = sums[16]
    c1 = sums[17]
    c2 = sums[18]
    c3 = sums[19]
    c4 = sums[20]
    c5 = sums[21]
    c6 = sums[22]
    c7 = sums[23]
    for k in range(taps):
        if vector is vf32:
            r, s, t = splat32(w, 3 * k), splat32(w, 3 * k + 1), splat32(w, 3 * k + 2)
        else:
            r, s, t = splat64(w, 3 * k), splat64(w, 3 * k + 1), splat64(w, 3 * k + 2)
        p = <const vector*>(<const char*>x + at[k])
        v = p[0]
        a0 = a0 + r * v
        b0 = b0 + s * v
        c0 = c0 + t * v
        v = p[1]
        a1 = a1 + r * v
        b1 = b1 + s * v
        c1 = c1 + t * v
        v = p[2]
        a2 = a2 + r * v
        b2 = b2 + s * v
        c2 = c2 + t * v
        v = p[3]
        a3 = a3 + r * v
        b3 = b3 + s * v
        c3 = c3 + t * v
        v = p[4]
        a4 = a4 + r * v
        b4 = b4 + s * v
        c4 = c4 + t * v
        v = p[5]
        a5 = a5 + r * v
        b5 = b5 + s * v
        c5 = c5 + t * v
        v = p[6]
        a6 = a6 + r * v
        b6 = b6 + s * v
        c6 = c6 + t * v
        v = p[7]
        a7 = a7 + r * v
        b7 = b7 + s * v
        c7 = c7 + t * v
    sums[0] = a0
    sums[1] = a1
    sums[2] = a2
    sums[3] = a3
    sums[4] = a4
    sums[5] = a5
    sums[6] = a6
    sums[7] = a7
    sums[8] = b0
    sums[9] = b1
    sums[10] = b2
    sums[11] = b3
    sums[12] = b4
    sums[13] = b5
    sums[14] = b6
    sums[15] = b7
    sums[16] = c0
    sums[17] = c1
    sums[18] = c2
    sums[19] = c3
    sums[20] = c4
    sums[21] = c5
    sums[22] = c6
    sums[23] = c7


cdef void three_by_one(const vector* x, const int32_t* at, const void* w, int64_t taps, vector* sums) noexcept nogil:
    """Adds three outputs at one pixel to `sums` (3, 4, 2)."""
    cdef const vector* p
    cdef vector r, s, t, a0 = sums[0], a1 = sums[1], b0 = sums[8], b1 = sums[9], c0 = sums[16], c1 = sums[17]
    cdef int64_t k
    for k in range(taps):
        if vector is vf32:
            r, s, t = splat32(w, 3 * k), splat32(w, 3 * k + 1), splat32(w, 3 * k + 2)
        else:
            r, s, t = splat64(w, 3 * k), splat64(w, 3 * k + 1), splat64(w, 3 * k + 2)
        p = <const vector*>(<const char*>x + at[k])
        a0 = a0 + r * p[0]
        a1 = a1 + r * p[1]
        b0 = b0 + s * p[0]
        b1 = b1 + s * p[1]
        c0 = c0 + t * p[0]
        c1 = c1 + t * p[1]
    sums[0] = a0
    sums[1] = a1
    sums[8] = b0
    sums[9] = b1
    sums[16] = c0
    sums[17] = c1
