# dw[k] = sum over (a, b, n) of dy[o, a, b] x[at[k] from (a, b)] for the entries k of row o: for spconv.pyx.

cdef enum:
    COLUMNS = REGISTERS // 8  # of dy by two rows in registers: four, or two


cdef struct Shares:  # of the work: bands of rows are tasks, runs of tasks parts, of which each has its own sums
    int64_t band, tasks, parts
    int64_t nbytes           # of the sums of all parts
    int64_t chunks, longest  # of the entries


cdef sample(entries, dy, x, dw, Plan plan, winner, size, normal):
    """Tasks are the bands of rows of all blocks; each part of them sums to a row of partial sums of its own."""
    (dy, winner), x, normal = as_packed(dy, winner), with_contiguous_batch(x), as_rows(normal)
    cdef Image source = image_of(x), target = image_of(dy)
    pooled_by(&target, winner, size)
    normalised_by(&source, normal)
    cdef Shares shares = shares_of(entries, &source, &target, &plan)
    source.channels = len(entries[3])
    # sums of one chunk stay from group to group of rows
    cdef int64_t group = group_of(&source, &plan, shares.band) if shares.chunks == 1 else shares.band
    if winner is not None and shares.chunks == 1:
        group = near_rows(&target, group)
    cdef int64_t tables = loaded_bytes(entries, target.channels, target.itemsize)
    cdef int64_t grads = ((group - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef int64_t sums = grads + group * target.channels * target.width * PIXEL
    cdef int64_t each = sums + shares.longest * LINE
    cdef Scratch memory = Scratch(tables + shares.nbytes + omp_get_max_threads() * each)
    cdef Entries e
    cdef char* partial = load(&e, entries, target.channels, plan.span, memory.first())
    place_all(&e)
    sample_parts(&e, &target, &source, &plan, group, &shares, partial, partial + shares.nbytes, grads, sums, each)
    add_up(&e, partial, shares.parts, dw)


cdef Shares shares_of(entries, Image* x, Image* dy, Plan* plan) except *:
    """They depend on shapes only, as do the sums."""
    cdef Shares shares
    _, at, _, _, shares.chunks, shares.longest = entries
    cdef int64_t count = len(at)
    shares.band = band_from_shapes(x, dy, plan, BAND if shares.chunks > 1 else 4 * BAND)
    shares.tasks = blocks_of(dy) * ((dy.height + shares.band - 1) // shares.band)
    shares.parts = max(1, min(shares.tasks, PARTS, SUMMED // max(count, 1)))
    shares.nbytes = in_lines(shares.parts * count * dy.itemsize)
    return shares


cdef int64_t band_from_shapes(Image* x, Image* dy, Plan* plan, int64_t least) noexcept:
    """Rows of dy a task, on which results depend."""
    cdef int64_t rows = min((BUDGET // max(row_bytes(x, plan), 1) - plan.span) // plan.stride + 1, 1024 // dy.width)
    return min(dy.height, max(least, rows))


cdef void sample_parts(Entries* e, Image* dy, Image* x, Plan* plan, int64_t group, Shares* shares, char* partial,
                       char* room, int64_t grads, int64_t sums, int64_t each):
    """Each thread has `each` bytes of the room: packed x, from `grads` on dy, from `sums` on those of a chunk."""
    cdef int64_t part, size = e.count * dy.itemsize
    # Pattern and the tables of offsets: entries of row o lie in [0, K), offsets in the packed rows
    for part in prange(shares.parts, nogil=True, schedule="dynamic", num_threads=team(True)):
        if dy.itemsize == sizeof(float):
            sample_part(<vf32*>(room + threadid() * each), grads, sums, e, dy, x, partial + part * size, plan, group,
                        shares.band, part * shares.tasks // shares.parts, (part + 1) * shares.tasks // shares.parts)
        else:
            sample_part(<vf64*>(room + threadid() * each), grads, sums, e, dy, x, partial + part * size, plan, group,
                        shares.band, part * shares.tasks // shares.parts, (part + 1) * shares.tasks // shares.parts)


cdef add_up(Entries* e, const char* partial, int64_t parts, dw):
    """The partial sums (parts, K) to those of all entries."""
    if dw.itemsize == sizeof(float):
        add_parts[float](<const float*>partial, parts, e.order, e.count, <float*>address(dw, PyBUF_WRITABLE))
    else:
        add_parts[double](<const double*>partial, parts, e.order, e.count, <double*>address(dw, PyBUF_WRITABLE))


cdef void add_parts(const floating* partial, int64_t parts, const int32_t* order, int64_t count,
                    floating* dw) noexcept:
    """dw[order[k]] = the sum of all parts of entry k."""
    cdef int64_t k
    # order is a permutation
    for k in prange(count, nogil=True, schedule="static", use_threads_if=count * parts > MANY):
        dw[order[k]] = column_sum(partial + k, parts, count)


cdef floating column_sum(const floating* first, int64_t count, int64_t step) noexcept nogil:
    cdef floating total = 0
    cdef int64_t i
    for i in range(count):
        total += first[i * step]
    return total


cdef void sample_part(vector* packed, int64_t grads, int64_t sums, Entries* entries, Image* dy, Image* x, void* dw,
                      Plan* plan, int64_t group, int64_t band, int64_t task, int64_t end) noexcept nogil:
    cdef int64_t first, begin, last, bands = (dy.height + band - 1) // band
    cdef bint more
    memset(dw, 0, entries.starts[entries.chunks * entries.rows * entries.span] * (4 if vector is vf32 else 8))
    while task < end:
        first, begin, more = task // bands * PIXEL, task % bands * band, False
        last = min(begin + band, dy.height)
        while begin < last:
            sample_group(packed, grads, sums, entries, dy, x, dw, plan, group, first, begin,
                         min(begin + group, last), more, begin + group >= last)
            begin, more = begin + group, True
        task += 1


cdef void sample_group(vector* packed, int64_t grads, int64_t sums, Entries* entries, Image* dy, Image* x, void* dw,
                       Plan* plan, int64_t group, int64_t first, int64_t begin, int64_t end, bint more,
                       bint last) noexcept nogil:
    """Adds rows begin to end - 1 to the sums of all entries; lanes are summed with the last group of a band."""
    cdef int64_t i, nbytes = min(PIXEL, x.nbytes - first)
    cdef char* images = <char*>packed
    cdef Image seen = dy[0]
    cdef Plan own
    own.stride, own.top, own.left, own.span, own.width = 1, 0, 0, 1, dy.width
    pack_rows(images, x, begin, end, more, group, plan, first, nbytes, entries.used)
    if nbytes == PIXEL and entries.chunks == 1 and dy.winner == NULL:
        # read only once: not worth packing
        seen.data = dy.data + begin * dy.by_row + first
    else:
        for i in range((end - begin) * dy.channels):
            if meets(entries, i % dy.channels):
                pack_channel(images + grads + i * dy.width * PIXEL, dy, i % dy.channels, begin + i // dy.channels, &own,
                             first, nbytes)
        seen.data, seen.by_pixel, seen.by_channel = images + grads, PIXEL, dy.width * PIXEL
        seen.by_row = dy.channels * seen.by_channel
    sample_chunks(packed, entries, &seen, x, dw, plan, begin, end, <vector*>(images + sums), more, last)


cdef void sample_chunks(const vector* packed, Entries* entries, Image* dy, Image* x, void* dw, Plan* plan,
                        int64_t begin, int64_t end, vector* sums, bint more, bint last) noexcept nogil:
    """Those of a packed x and of a dy that begins with row `begin`."""
    cdef int64_t c, i, k, count, bins = entries.rows * entries.span
    cdef Entries chunk = entries[0]
    for c in range(entries.chunks):
        chunk.starts = entries.starts + c * bins
        k, count = chunk.starts[0], chunk.starts[bins] - chunk.starts[0]
        if not more:
            memset(sums, 0, count * LINE)
        sample_rows(packed, &chunk, dy, x, plan, begin, end, sums - k)
        if last:
            for i in range(count):
                add_sum(dw, k + i, sums[i])


cdef bint meets(Entries* entries, int64_t o) noexcept nogil:
    """Whether an output has entries."""
    cdef int64_t c
    cdef const int32_t* starts
    for c in range(entries.chunks):
        starts = entries.starts + (c * entries.rows + o) * entries.span
        if starts[0] < starts[entries.span]:
            return True
    return False


cdef void sample_rows(const vector* x, Entries* entries, Image* dy, Image* image, Plan* plan, int64_t begin,
                      int64_t end, vector* sums) noexcept nogil:
    """Rows two by two and COLUMNS, or two, at a time; where the number is odd, the last ones pixel by pixel.

    In an order that does not depend on which even number of rows are a group.
    """
    cdef int64_t a, b, i, even
    cdef int64_t down = plan.stride * row_bytes(image, plan)
    cdef const char* d = dy.data
    cdef Meet upper, lower
    for a in range(0, end - begin, 2):
        upper, lower = meeting(image, plan, begin + a), meeting(image, plan, begin + a + 1)
        even = dy.width // 2 * 2 if a + 1 < end - begin else 0
        for i in range((even + COLUMNS - 1) // COLUMNS):
            b = i * COLUMNS
            # the next tile is beside this one, or at the beginning of the next two rows
            sample_tile(x + 2 * b, down, d + b * dy.by_pixel,
                        COLUMNS * dy.by_pixel if b + COLUMNS < even else 2 * dy.by_row - b * dy.by_pixel, dy, entries,
                        upper, lower, sums, COLUMNS == 4 and b + 4 <= even)
        for b in range(even, dy.width):
            sample_pixel(x + 2 * b, d + b * dy.by_pixel, dy, entries, upper, sums)
            if a + 1 < end - begin:
                sample_pixel(<const vector*>(<const char*>x + down) + 2 * b, d + dy.by_row + b * dy.by_pixel, dy, entries,
                             lower, sums)
        x, d = <const vector*>(<const char*>x + 2 * down), d + 2 * dy.by_row


cdef void sample_pixel(const vector* x, const char* first, Image* dy, Entries* entries, Meet meet,
                       vector* sums) noexcept nogil:
    """Adds this pixel of dy to the sums of all entries."""
    cdef const int32_t* starts = entries.starts
    cdef int64_t o
    for o in range(entries.rows):
        sample_one(x, <const vector*>(first + entries.place[o] * dy.by_channel), entries.at, starts[meet.begin],
                   starts[meet.end], sums)
        starts += entries.span


cdef apart sample_tile(const vector* x, int64_t down, const char* first, int64_t ahead, Image* dy, Entries* entries,
                       Meet upper, Meet lower, vector* sums, bint wide) noexcept nogil:
    """Adds two by two or, `wide`, by four pixels, from these of dy on, to the sums of all entries.

    What the next tile reads, so many bytes ahead, is asked for where dy was not packed.
    """
    cdef const int32_t* starts = entries.starts
    cdef const char* pixel
    cdef int64_t o, i
    for o in range(entries.rows):
        pixel = first + entries.place[o] * dy.by_channel
        if starts[0] != starts[entries.span]:
            for i in range(COLUMNS if dy.by_pixel > PIXEL else 0):
                ask_for(pixel + ahead + i * dy.by_pixel)
                ask_for(pixel + ahead + dy.by_row + i * dy.by_pixel)
            if wide:
                sample_pixels(x, down, pixel, dy, entries.at, starts, upper, lower, sums, True)
            else:
                sample_pixels(x, down, pixel, dy, entries.at, starts, upper, lower, sums, False)
        starts += entries.span


cdef inline void sample_pixels(const vector* x, int64_t down, const char* pixel, Image* dy, const int32_t* at,
                               const int32_t* starts, Meet upper, Meet lower, vector* sums, bint wide) noexcept nogil:
    """Those of one output."""
    cdef const vector* p
    cdef const vector* q
    cdef vector u, v
    cdef int64_t k
    cdef int64_t step = dy.by_pixel
    cdef const vector* d = <const vector*>pixel
    cdef const vector* f = <const vector*>(pixel + step)
    cdef vector d0 = d[0], d1 = d[1], d2 = f[0], d3 = f[1], d4 = d0, d5 = d0, d6 = d0, d7 = d0
    d, f = <const vector*>(pixel + dy.by_row), <const vector*>(pixel + dy.by_row + step)
    cdef vector e0 = d[0], e1 = d[1], e2 = f[0], e3 = f[1], e4 = d0, e5 = d0, e6 = d0, e7 = d0
    if wide:
        d, f = <const vector*>(pixel + 2 * step), <const vector*>(pixel + 3 * step)
        d4, d5, d6, d7 = d[0], d[1], f[0], f[1]
        d, f = <const vector*>(pixel + dy.by_row + 2 * step), <const vector*>(pixel + dy.by_row + 3 * step)
        e4, e5, e6, e7 = d[0], d[1], f[0], f[1]
    # entries that only the lower pixels meet
    for k in range(starts[lower.begin], starts[min(lower.end, upper.begin)]):
        q = <const vector*>(<const char*>x + at[k] + down)
        u = sums[k] + dot(q, e0, e1, e2, e3)
        if wide:
            u = u + dot(q + 4, e4, e5, e6, e7)
        sums[k] = u
    for k in range(starts[max(lower.begin, upper.begin)], starts[min(lower.end, upper.end)]):
        p = <const vector*>(<const char*>x + at[k])
        q = <const vector*>(<const char*>p + down)
        u = sums[k] + dot(p, d0, d1, d2, d3)
        v = dot(q, e0, e1, e2, e3)
        if wide:
            u = u + dot(p + 4, d4, d5, d6, d7)
            v = v + dot(q + 4, e4, e5, e6, e7)
        sums[k] = u + v
    # and only the upper ones
    for k in range(starts[max(lower.end, upper.begin)], starts[upper.end]):
        p = <const vector*>(<const char*>x + at[k])
        u = sums[k] + dot(p, d0, d1, d2, d3)
        if wide:
            u = u + dot(p + 4, d4, d5, d6, d7)
        sums[k] = u


cdef inline vector dot(const vector* p, vector d0, vector d1, vector d2, vector d3) noexcept nogil:
    return d0 * p[0] + d1 * p[1] + d2 * p[2] + d3 * p[3]


cdef inline void sample_one(const vector* x, const vector* d, const int32_t* at, int64_t k, int64_t end,
                            vector* sums) noexcept nogil:
    cdef const vector* p
    cdef vector d0 = d[0], d1 = d[1]
    while k < end:
        p = <const vector*>(<const char*>x + at[k])
        sums[k] = sums[k] + d0 * p[0] + d1 * p[1]
        k += 1
