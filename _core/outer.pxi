# dw[o, k] = sum over (a, b, n) of dy[o, a, b] x[at[k] from (a, b)]: for conv.pyx.

def _outer(const int32_t[::1] at, const floating[:, :, :, :] dy, const floating[:, :, :, :] x,
           floating[:, :, ::1] partial, Plan plan, int64_t rows, int64_t tasks):
    cdef Image source = image_of(x), target = image_of(dy)
    cdef int64_t part, parts = partial.shape[0], failed = 0, taps = at.shape[0]
    cdef int64_t size = ((rows - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef int64_t strips = 4 * rows * target.width * PIXEL
    cdef char* memory = NULL
    cdef Plan* p = &plan
    cdef Image* from_ = &source
    cdef Image* to = &target
    # as above; each part of the tasks adds to a matrix (O, taps) of `partial` of its own
    with nogil, parallel():
        memory = <char*>malloc(size + strips + LINE)
        for part in prange(parts, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif floating is float:
                outer_part(<vf32*>to_line(memory), size, &at[0], taps, to, from_, &partial[part, 0, 0], p, rows,
                           part * tasks // parts, (part + 1) * tasks // parts)
            else:
                outer_part(<vf64*>to_line(memory), size, &at[0], taps, to, from_, &partial[part, 0, 0], p, rows,
                           part * tasks // parts, (part + 1) * tasks // parts)
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void outer_part(vector* packed, int64_t size, const int32_t* at, int64_t taps, Image* dy, Image* x, void* dw,
                     Plan* plan, int64_t rows, int64_t task, int64_t end) noexcept nogil:
    """Tasks are the bands of `rows` output rows of all blocks."""
    cdef int64_t i, j, o, k, first, begin, last, nbytes, bands = (dy.height + rows - 1) // rows
    cdef int64_t row = row_bytes(x, plan), strip = rows * dy.width * PIXEL
    cdef char* strips = <char*>packed + size
    cdef vector[16] sums
    while task < end:
        first, begin = task // bands * PIXEL, task % bands * rows
        last, nbytes = min(begin + rows, dy.height), min(PIXEL, x.nbytes - first)
        for i in range((last - begin - 1) * plan.stride + plan.span):
            pack_row(<char*>packed + i * row, x, begin * plan.stride + plan.top + i, plan, first, nbytes)
        for o in range(0, dy.channels, 4):
            for i in range(4):  # the last few outputs stand in for those that are not there
                pack_strip(strips + i * strip, dy, min(o + i, dy.channels - 1), begin, last, first, nbytes)
            for k in range(0, taps, 4):
                four_by_four(<const vector*>strips, strip, last - begin, dy.width, packed, at + k, taps - k, plan, row,
                             sums)
                for i in range(min(4, dy.channels - o)):
                    for j in range(min(4, taps - k)):
                        add_sum(dw, (o + i) * taps + k + j, sums[4 * i + j])
        task += 1


cdef void four_by_four(const vector* dy, int64_t strip, int64_t height, int64_t width, const vector* packed,
                       const int32_t* at, int64_t taps, Plan* plan, int64_t row, vector* sums) noexcept nogil:
    """dy of four outputs by the inputs of up to four taps, summed over the pixels, lanes apart."""
    cdef const char* p
    cdef const char* q = <const char*>dy
    cdef int64_t i, j, half, i0 = at[0], i1 = at[min(1, taps - 1)], i2 = at[min(2, taps - 1)], i3 = at[min(3, taps - 1)]
    cdef vector v, a, b, c, d
    cdef vector a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3
    cdef double zero = 0
    if vector is vf32:
        a0 = splat32(&zero, 0)
    else:
        a0 = splat64(&zero, 0)
    a1 = a2 = a3 = b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = a0
    for i in range(height):
        p = <const char*>packed + i * plan.stride * row
        for j in range(width):
            for half in range(2):
                a, b = (<const vector*>q)[half], (<const vector*>(q + strip))[half]
                c, d = (<const vector*>(q + 2 * strip))[half], (<const vector*>(q + 3 * strip))[half]
                v = (<const vector*>(p + i0))[half]
                a0 = a0 + a * v
                b0 = b0 + b * v
                c0 = c0 + c * v
                d0 = d0 + d * v
                v = (<const vector*>(p + i1))[half]
                a1 = a1 + a * v
                b1 = b1 + b * v
                c1 = c1 + c * v
                d1 = d1 + d * v
                v = (<const vector*>(p + i2))[half]
                a2 = a2 + a * v
                b2 = b2 + b * v
                c2 = c2 + c * v
                d2 = d2 + d * v
                v = (<const vector*>(p + i3))[half]
                a3 = a3 + a * v
                b3 = b3 + b * v
                c3 = c3 + c * v
                d3 = d3 + d * v
            p += PIXEL
            q += PIXEL
    sums[0] = a0
    sums[1] = a1
    sums[2] = a2
    sums[3] = a3
    sums[4] = b0
    sums[5] = b1
    sums[6] = b2
    sums[7] = b3
    sums[8] = c0
    sums[9] = c1
    sums[10] = c2
    sums[11] = c3
    sums[12] = d0
    sums[13] = d1
    sums[14] = d2
    sums[15] = d3


cdef void pack_strip(char* strip, Image* dy, int64_t o, int64_t begin, int64_t end, int64_t first,
                     int64_t nbytes) noexcept nogil:
    """Rows begin to end - 1 of channel o."""
    cdef int64_t a, b
    cdef const char* source
    for a in range(begin, end):
        source = dy.data + o * dy.by_channel + a * dy.by_row + first
        for b in range(dy.width):
            copy_pixel(strip, source, nbytes)
            strip += PIXEL
            source += dy.by_pixel
