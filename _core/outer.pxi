# dw[o, k] = sum over (a, b, n) of dy[o, a, b, n] x[at[k] from (a, b), n]: for conv.pyx.
#
# A tile is eight k by a panel of outputs, two vectors of them. So dy is transposed, outputs side by side, and no sum
# goes across lanes; an x stands for itself and is read as weights are in multiply.pxi.

cdef enum:
    TILE = 8  # taps


cdef struct Tiles:
    const int32_t* at      # (count, 8)
    const int64_t* fields  # (count, 4): output rows [top, bottom) and columns [left, right) that meet the image
    int64_t count, panels, groups, rows, tasks, parts


def _outer(const int32_t[:, ::1] at, const int64_t[:, ::1] fields, const floating[:, :, :, :] dy,
           const floating[:, :, :, :] x, floating[:, :, ::1] partial, Plan plan, int64_t rows, int64_t tasks,
           int64_t groups, const uint8_t[:, :, :, ::1] winner, int64_t height, int64_t width,
           const floating[:, ::1] normal):
    cdef Image source = image_of(x), target = image_of(dy)
    pooled_by(&target, winner, height, width)
    normalised_by(&source, normal)
    cdef int64_t job, failed = 0
    cdef int64_t size = ((rows - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef int64_t turned = rows * target.width * PIXEL * (PIXEL // sizeof(floating))
    cdef int64_t strips = (LINE // sizeof(floating)) * (rows * target.width + 1) * PIXEL
    cdef bint gaps = target.channels % (LINE // <int64_t>sizeof(floating)) > 0
    cdef char* memory = NULL
    cdef Tiles tiles
    tiles.at, tiles.fields, tiles.count = &at[0, 0], &fields[0, 0], at.shape[0]
    tiles.parts, tiles.panels, tiles.groups = partial.shape[0], partial.shape[1], groups
    tiles.rows, tiles.tasks = rows, tasks
    cdef Tiles* t = &tiles
    cdef Plan* p = &plan
    cdef Image* from_ = &source
    cdef Image* to = &target
    cdef int threads = team(True)
    # as above; a job adds to panels of its own, of its part of `partial`
    with nogil, parallel(num_threads=threads):
        memory = <char*>malloc(size + turned + strips + LINE)
        if memory != NULL and gaps:
            # lanes without an output: numbers of any memory may be slow ones
            memset(to_line(memory) + size + turned, 0, strips)
        for job in prange(tiles.parts * groups, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif floating is float:
                outer_part(<vf32*>to_line(memory), size, t, to, from_, &partial[job // groups, 0, 0], p,
                           job // groups, job % groups)
            else:
                outer_part(<vf64*>to_line(memory), size, t, to, from_, &partial[job // groups, 0, 0], p,
                           job // groups, job % groups)
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void outer_part(vector* packed, int64_t size, Tiles* tiles, Image* dy, Image* x, void* sums, Plan* plan,
                     int64_t part, int64_t group) noexcept nogil:
    """Tasks are the bands of `rows` output rows of all blocks."""
    cdef int64_t i, panel, task, first, begin, last, nbytes, bands = (dy.height + tiles.rows - 1) // tiles.rows
    cdef int64_t row = row_bytes(x, plan), kept = 0, start = part * tiles.tasks // tiles.parts
    cdef char* rows = <char*>packed
    cdef vector* turned = <vector*>(rows + size)
    cdef int64_t turned_bytes = tiles.rows * dy.width * PIXEL * 2 * lanes(packed)
    for task in range(start, (part + 1) * tiles.tasks // tiles.parts):
        first, begin = task // bands * PIXEL, task % bands * tiles.rows
        last, nbytes = min(begin + tiles.rows, dy.height), min(PIXEL, x.nbytes - first)
        if begin == 0:
            kept = 0
        for i in range(kept, (last - begin - 1) * plan.stride + plan.span):
            if i % plan.stride < plan.span:
                pack_row(rows + i * row, x, begin * plan.stride + plan.top + i, plan, first, nbytes)
        for panel in range(group * tiles.panels // tiles.groups, (group + 1) * tiles.panels // tiles.groups):
            turn(turned, rows + size + turned_bytes, dy, panel, begin, last, first, nbytes)
            outer_panel(packed, turned, tiles, dy, plan, row, panel, begin, last, nbytes, task == start,
                        <vector*>sums + panel * tiles.count * TILE * 2)
        kept = max(0, plan.span - plan.stride)  # of the rows that the next task meets
        memmove(rows, rows + (last - begin) * plan.stride * row, kept * row)


cdef inline int64_t vectors(const vector* _, int64_t outputs) noexcept nogil:
    """Of a panel when so many outputs are left."""
    return 2 if outputs > lanes(_) else 1


cdef void turn(vector* turned, char* strips, Image* dy, int64_t panel, int64_t begin, int64_t end, int64_t first,
               int64_t nbytes) noexcept nogil:
    """dy of a panel of outputs and rows begin to end - 1 -> (pixels, n, outputs), by way of contiguous strips."""
    cdef int64_t a, b, i, j, n, pixels = (end - begin) * dy.width, strip = (pixels | 1) * PIXEL
    cdef int64_t many = lanes(turned), wide = vectors(turned, dy.channels - 2 * many * panel)
    cdef const char* from_
    cdef char* to
    cdef Plan own
    own.stride, own.top, own.left, own.span, own.width = 1, 0, 0, 1, dy.width
    for i in range(wide):
        for j in range(min(many, dy.channels - (2 * panel + i) * many)):  # other lanes end where nobody looks
            to = strips + j * strip
            for a in range(begin, end):
                pack_channel(to, dy, (2 * panel + i) * many + j, a, &own, first, nbytes)
                to += dy.width * PIXEL
        to = <char*>(turned + i)
        for b in range(pixels):
            for n in range(2):
                from_ = strips + b * PIXEL + n * LINE
                if vector is vf32:
                    transpose32(from_, strip, to, wide * LINE)
                else:
                    transpose64(from_, strip, to, wide * LINE)
                to += many * wide * LINE


cdef void outer_panel(const vector* packed, const vector* turned, Tiles* tiles, Image* dy, Plan* plan, int64_t row,
                      int64_t panel, int64_t begin, int64_t end, int64_t nbytes, bint zeroth,
                      vector* sums) noexcept nogil:
    """All taps by the outputs of a panel, over what meets the image of rows begin to end - 1."""
    cdef int64_t i, top, wide = vectors(packed, dy.channels - 2 * lanes(packed) * panel)
    cdef int64_t images = nbytes // (LINE // lanes(packed))
    cdef const int64_t* field
    cdef const char* x
    cdef const vector* d
    for i in range(tiles.count):
        field = tiles.fields + 4 * i
        top = max(begin, field[0])
        x = <const char*>packed + (top - begin) * plan.stride * row + field[2] * PIXEL
        d = turned + ((top - begin) * dy.width + field[2]) * 2 * lanes(packed) * wide
        if zeroth:
            memset(sums, 0, TILE * wide * LINE)
        if wide == 2:
            eight_by_two(x, tiles.at + TILE * i, d, min(end, field[1]) - top, field[3] - field[2], images,
                         plan.stride * row, dy.width * 4 * lanes(packed), sums)
        else:
            eight_by_half(x, tiles.at + TILE * i, d, min(end, field[1]) - top, field[3] - field[2], images,
                          plan.stride * row, dy.width * 2 * lanes(packed), sums)
        sums += TILE * wide


cdef void eight_by_two(const char* x, const int32_t* at, const vector* dy, int64_t height, int64_t width,
                       int64_t images, int64_t x_row, int64_t dy_row, vector* sums) noexcept nogil:
    """Adds eight taps by two vectors of outputs to `sums` (8, 2), over a field of pixels."""
    cdef const char* p
    cdef const vector* q
    cdef int64_t i, j, n
    cdef int64_t i0 = at[0], i1 = at[1], i2 = at[2], i3 = at[3], i4 = at[4], i5 = at[5], i6 = at[6], i7 = at[7]
    cdef vector v, r, s
    cdef vector a0 = sums[0], b0 = sums[2], c0 = sums[4], d0 = sums[6]
    cdef vector e0 = sums[8], f0 = sums[10], g0 = sums[12], h0 = sums[14]
    cdef vector a1 = sums[1], b1 = sums[3], c1 = sums[5], d1 = sums[7]
    cdef vector e1 = sums[9], f1 = sums[11], g1 = sums[13], h1 = sums[15]
    for i in range(height):
        for j in range(width):
            p, q = x + i * x_row + j * PIXEL, dy + i * dy_row + 4 * lanes(dy) * j
            for n in range(images):
                r, s = q[0], q[1]
                v = splat(q, p + i0, n)
                a0 = a0 + v * r
                a1 = a1 + v * s
                v = splat(q, p + i1, n)
                b0 = b0 + v * r
                b1 = b1 + v * s
                v = splat(q, p + i2, n)
                c0 = c0 + v * r
                c1 = c1 + v * s
                v = splat(q, p + i3, n)
                d0 = d0 + v * r
                d1 = d1 + v * s
                v = splat(q, p + i4, n)
                e0 = e0 + v * r
                e1 = e1 + v * s
                v = splat(q, p + i5, n)
                f0 = f0 + v * r
                f1 = f1 + v * s
                v = splat(q, p + i6, n)
                g0 = g0 + v * r
                g1 = g1 + v * s
                v = splat(q, p + i7, n)
                h0 = h0 + v * r
                h1 = h1 + v * s
                q += 2
    sums[0], sums[2], sums[4], sums[6], sums[8], sums[10], sums[12], sums[14] = a0, b0, c0, d0, e0, f0, g0, h0
    sums[1], sums[3], sums[5], sums[7], sums[9], sums[11], sums[13], sums[15] = a1, b1, c1, d1, e1, f1, g1, h1


cdef void eight_by_half(const char* x, const int32_t* at, const vector* dy, int64_t height, int64_t width,
                        int64_t images, int64_t x_row, int64_t dy_row, vector* sums) noexcept nogil:
    """Eight taps by one vector of outputs, to `sums` (8,): even images and odd ones apart."""
    cdef const char* p
    cdef const vector* q
    cdef int64_t i, j, n
    cdef int64_t i0 = at[0], i1 = at[1], i2 = at[2], i3 = at[3], i4 = at[4], i5 = at[5], i6 = at[6], i7 = at[7]
    cdef vector r, s
    cdef vector a0 = sums[0], b0 = sums[1], c0 = sums[2], d0 = sums[3]
    cdef vector e0 = sums[4], f0 = sums[5], g0 = sums[6], h0 = sums[7]
    cdef vector a1 = zeros(sums), b1 = a1, c1 = a1, d1 = a1, e1 = a1, f1 = a1, g1 = a1, h1 = a1
    for i in range(height):
        for j in range(width):
            p, q = x + i * x_row + j * PIXEL, dy + i * dy_row + 2 * lanes(dy) * j
            for n in range((images + 1) // 2):
                r, s = q[0], q[1]
                a0 = a0 + splat(q, p + i0, 2 * n) * r
                a1 = a1 + splat(q, p + i0, 2 * n + 1) * s
                b0 = b0 + splat(q, p + i1, 2 * n) * r
                b1 = b1 + splat(q, p + i1, 2 * n + 1) * s
                c0 = c0 + splat(q, p + i2, 2 * n) * r
                c1 = c1 + splat(q, p + i2, 2 * n + 1) * s
                d0 = d0 + splat(q, p + i3, 2 * n) * r
                d1 = d1 + splat(q, p + i3, 2 * n + 1) * s
                e0 = e0 + splat(q, p + i4, 2 * n) * r
                e1 = e1 + splat(q, p + i4, 2 * n + 1) * s
                f0 = f0 + splat(q, p + i5, 2 * n) * r
                f1 = f1 + splat(q, p + i5, 2 * n + 1) * s
                g0 = g0 + splat(q, p + i6, 2 * n) * r
                g1 = g1 + splat(q, p + i6, 2 * n + 1) * s
                h0 = h0 + splat(q, p + i7, 2 * n) * r
                h1 = h1 + splat(q, p + i7, 2 * n + 1) * s
                q += 2
    sums[0], sums[1], sums[2], sums[3] = a0 + a1, b0 + b1, c0 + c1, d0 + d1
    sums[4], sums[5], sums[6], sums[7] = e0 + e1, f0 + f1, g0 + g1, h0 + h1


def _collect(floating[:, :, ::1] partial, const int64_t[::1] places, floating[:, ::1] dw):
    """dw[o, places[k]] = the sum of all parts of (panels, k, outputs of a panel)."""
    cdef int64_t panel, i, k, o, wide, left, part, taps = places.shape[0], half = LINE // sizeof(floating)
    cdef floating* total
    # a panel of one vector has no more than half the entries of a row of `partial`
    for panel in prange(partial.shape[1], schedule="static", nogil=True):
        o = 2 * half * panel
        left = dw.shape[0] - o
        wide = 2 * half if left > half else half
        total = &partial[0, panel, 0]
        for part in range(1, partial.shape[0]):
            for i in range(taps * wide):
                total[i] = total[i] + partial[part, panel, i]
        for k in range(taps):
            for i in range(min(left, wide)):
                dw[o + i, places[k]] = total[k * wide + i]
