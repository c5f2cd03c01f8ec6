# dw[k] = sum over (a, b, n) of dy[o, a, b] x[at[k] from (a, b)] for the entries k of row o: for spconv.pyx.

def _sample(const int64_t[::1] indptr, const int32_t[::1] at, const floating[:, :, :, :] dy,
            const floating[:, :, :, :] x, floating[:, ::1] partial, Plan plan, int64_t rows, int64_t tasks,
            int64_t chunks, int64_t longest):
    cdef Image source = image_of(x), target = image_of(dy)
    cdef int64_t part, parts = partial.shape[0], failed = 0
    cdef int64_t size = ((rows - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef int64_t grads = rows * target.channels * target.width * PIXEL, sums = longest * LINE
    cdef char* memory = NULL
    cdef Plan* p = &plan
    cdef Image* from_ = &source
    cdef Image* to = &target
    # as above; each part of the tasks adds to a row of `partial` of its own
    with nogil, parallel():
        memory = <char*>malloc(size + grads + sums + LINE)
        for part in prange(parts, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif floating is float:
                sample_part(<vf32*>to_line(memory), size, size + grads, &indptr[0], chunks, &at[0], to, from_,
                            &partial[part, 0], p, rows, part * tasks // parts, (part + 1) * tasks // parts)
            else:
                sample_part(<vf64*>to_line(memory), size, size + grads, &indptr[0], chunks, &at[0], to, from_,
                            &partial[part, 0], p, rows, part * tasks // parts, (part + 1) * tasks // parts)
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void sample_part(vector* packed, int64_t grads, int64_t sums, const int64_t* indptr, int64_t chunks,
                      const int32_t* at, Image* dy, Image* x, void* dw, Plan* plan, int64_t rows, int64_t task,
                      int64_t end) noexcept nogil:
    """Tasks are the bands of `rows` output rows of all blocks; lanes are summed once a chunk."""
    cdef int64_t i, c, k, first, begin, last, nbytes, bands = (dy.height + rows - 1) // rows
    cdef int64_t count, row = row_bytes(x, plan)
    cdef char* images = <char*>packed
    cdef const int64_t* starts
    cdef Plan own
    own.stride, own.top, own.left, own.span, own.width = 1, 0, 0, 1, dy.width
    while task < end:
        first, begin = task // bands * PIXEL, task % bands * rows
        last, nbytes = min(begin + rows, dy.height), min(PIXEL, x.nbytes - first)
        for i in range((last - begin - 1) * plan.stride + plan.span):
            pack_row(images + i * row, x, begin * plan.stride + plan.top + i, plan, first, nbytes)
        for i in range(last - begin):
            pack_row(images + grads + i * row_bytes(dy, &own), dy, begin + i, &own, first, nbytes)
        for c in range(chunks):
            starts = indptr + c * dy.channels
            k, count = starts[0], starts[dy.channels] - starts[0]
            memset(images + sums, 0, count * LINE)
            for i in range(last - begin):
                sample_row(<vector*>(images + i * plan.stride * row),
                           <vector*>(images + grads + i * row_bytes(dy, &own)), starts, at, dy,
                           <vector*>(images + sums))
            for i in range(count):
                add_sum(dw, k + i, (<vector*>(images + sums))[i])
        task += 1


cdef void sample_row(const vector* x, const vector* grads, const int64_t* indptr, const int32_t* at, Image* dy,
                     vector* sums) noexcept nogil:
    cdef int64_t o, b, k, zeroth = indptr[0]
    cdef const vector* d
    cdef const vector* p
    for b in range(0, dy.width - 3, 4):
        for o in range(dy.channels):
            sample_four(x + 2 * b, grads + 2 * (o * dy.width + b), at + indptr[o], indptr[o + 1] - indptr[o],
                        sums + indptr[o] - zeroth)
    for b in range(dy.width // 4 * 4, dy.width):
        for o in range(dy.channels):
            d = grads + 2 * (o * dy.width + b)
            for k in range(indptr[o], indptr[o + 1]):
                p = <const vector*>(<const char*>(x + 2 * b) + at[k])
                sums[k - zeroth] = sums[k - zeroth] + d[0] * p[0] + d[1] * p[1]


cdef inline void sample_four(const vector* x, const vector* d, const int32_t* at, int64_t count,
                             vector* sums) noexcept nogil:
    """Adds four pixels to the sums of all entries of an output."""
    cdef const vector* p
    cdef vector u, v
    cdef int64_t k
    cdef vector d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3], d4 = d[4], d5 = d[5], d6 = d[6], d7 = d[7]
    for k in range(count):
        p = <const vector*>(<const char*>x + at[k])
        u = sums[k] + d0 * p[0]
        v = d1 * p[1]
        u = u + d2 * p[2]
        v = v + d3 * p[3]
        u = u + d4 * p[4]
        v = v + d5 * p[5]
        u = u + d6 * p[6]
        v = v + d7 * p[7]
        sums[k] = u + v
