# dw[o, k] = sum over (a, b, n) of dy[o, a, b, n] x[at[k] from (a, b), n]: for conv.pyx.
#
# A tile is some k by a panel of four outputs, whose vectors of sums meet all pixels of a field before their lanes are
# summed. Both x and dy are packed, so that what lies outside the image or beyond the batch is zero.

cdef extern from "tile.h" nogil:
    enum: TILE    # taps
    enum: ACROSS  # outputs
    void meet32(const char*, const int32_t*, const char*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                int64_t, float*)
    void meet64(const char*, const int32_t*, const char*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                int64_t, double*)


cdef struct Tiles:
    const int32_t* at      # (count, TILE)
    const int64_t* fields  # (count, 4): output rows [top, bottom) and columns [left, right) that meet the image
    int64_t count, panels, groups, rows, blocks, tasks, parts


cdef outer(dy, x, dw, stride, padding, Plan plan, size, winner, normal):
    """dw[o, k] = sum over (a, b, n) of dy[o, a, b, n] x[at[k] from (a, b), n], dy of this size or pooled from it."""
    at, places, meets = _tiles(dw.shape[1:], x.shape[:3], size, stride, padding)
    (dy, winner), x, normal = as_packed(dy, winner), with_contiguous_batch(x), as_rows(normal)
    cdef Image source = image_of(x), target = image_of(dy)
    pooled_by(&target, winner, size)
    normalised_by(&source, normal)
    cdef int64_t bands = (target.height + max(1, FIELD // target.width) - 1) // max(1, FIELD // target.width)
    cdef int64_t blocks = blocks_of(&target), taps = len(places), entries
    cdef Tiles tiles
    tiles.at, tiles.fields, tiles.count = <const int32_t*>address(at), <const int64_t*>address(meets), len(at)
    tiles.rows, tiles.blocks = (target.height + bands - 1) // bands, 1
    if bands == 1:
        tiles.blocks = min(blocks, (FEWEST + target.height * target.width - 1) // (target.height * target.width))
    tiles.tasks = (blocks + tiles.blocks - 1) // tiles.blocks * bands
    tiles.panels, entries = (target.channels + ACROSS - 1) // ACROSS, tiles.count * TILE * ACROSS
    tiles.parts = max(1, min(tiles.tasks, PARTS, ENTRIES // (tiles.panels * entries)))
    # results do not depend on groups
    tiles.groups = min(tiles.panels, (2 * omp_get_max_threads() + tiles.parts - 1) // tiles.parts)
    partial = empty_array((tiles.parts, tiles.panels, entries), dy.dtype)
    outer_parts(&tiles, &target, &source, &plan, address(partial, PyBUF_WRITABLE))
    if source.itemsize == sizeof(float):
        collect[float](<float*>address(partial, PyBUF_WRITABLE), &tiles, <const int64_t*>address(places), taps,
                       <float*>address(dw, PyBUF_WRITABLE), target.channels)
    else:
        collect[double](<double*>address(partial, PyBUF_WRITABLE), &tiles, <const int64_t*>address(places), taps,
                        <double*>address(dw, PyBUF_WRITABLE), target.channels)


cdef outer_parts(Tiles* tiles, Image* dy, Image* x, Plan* plan, char* partial):
    cdef int64_t job, failed = 0, size = ((tiles.rows - 1) * plan.stride + plan.span) * row_bytes(x, plan)
    cdef int64_t field = tiles.blocks * tiles.rows * dy.width * PIXEL
    cdef int64_t sums = tiles.panels * tiles.count * TILE * ACROSS * dy.itemsize
    cdef char* memory = NULL
    cdef int threads = team(True)
    # offsets name pixels of the packed rows only; a job adds to panels of its own, of its part of `partial`
    with nogil, parallel(num_threads=threads):
        memory = <char*>malloc(tiles.blocks * size + ACROSS * field + CACHE_LINE)
        for job in prange(tiles.parts * tiles.groups, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif dy.itemsize == sizeof(float):
                outer_part(<vf32*>to_line(memory), size, tiles, dy, x, partial + job // tiles.groups * sums, plan,
                           job // tiles.groups, job % tiles.groups)
            else:
                outer_part(<vf64*>to_line(memory), size, tiles, dy, x, partial + job // tiles.groups * sums, plan,
                           job // tiles.groups, job % tiles.groups)
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void outer_part(vector* packed, int64_t size, Tiles* tiles, Image* dy, Image* x, void* sums, Plan* plan,
                     int64_t part, int64_t group) noexcept nogil:
    """Tasks are the bands of `rows` output rows of all blocks, or all rows of several blocks."""
    cdef int64_t i, block, panel, task, first, begin, last, row = row_bytes(x, plan), kept = 0
    cdef int64_t bands = (dy.height + tiles.rows - 1) // tiles.rows, start = part * tiles.tasks // tiles.parts
    cdef char* images = <char*>packed
    cdef char* grads = images + tiles.blocks * size
    for task in range(start, (part + 1) * tiles.tasks // tiles.parts):
        first, begin = task // bands * tiles.blocks * PIXEL, task % bands * tiles.rows
        last = min(begin + tiles.rows, dy.height)
        if begin == 0:
            kept = 0
        for block in range(tiles.blocks):
            for i in range(kept, (last - begin - 1) * plan.stride + plan.span):
                if i % plan.stride < plan.span:
                    pack_row(images + block * size + i * row, x, begin * plan.stride + plan.top + i, plan,
                             first + block * PIXEL, bytes_left(x, first + block * PIXEL))
        for panel in range(group * tiles.panels // tiles.groups, (group + 1) * tiles.panels // tiles.groups):
            pack_panel(grads, dy, panel, begin, last, first, tiles.blocks)
            outer_panel(packed, grads, tiles, dy, plan, size, row, begin, last, task == start,
                        <char*>sums + panel * tiles.count * TILE * ACROSS * dy.itemsize)
        kept = max(0, plan.span - plan.stride)  # of the rows that the next task meets
        memmove(images, images + (last - begin) * plan.stride * row, kept * row)


cdef inline int64_t bytes_left(Image* image, int64_t first) noexcept nogil:
    """Of each pixel, in the block that begins at this byte."""
    return max(0, min(PIXEL, image.nbytes - first))


cdef void pack_panel(char* packed, Image* dy, int64_t panel, int64_t begin, int64_t end, int64_t first,
                     int64_t blocks) noexcept nogil:
    """Rows begin to end - 1 of four outputs of dy -> (outputs, blocks, rows, columns); zeros for those not there."""
    cdef int64_t o, block, a, row = dy.width * PIXEL
    cdef Plan own
    own.stride, own.top, own.left, own.span, own.width = 1, 0, 0, 1, dy.width
    for o in range(ACROSS * panel, ACROSS * (panel + 1)):
        for block in range(blocks):
            for a in range(begin, end):
                if o < dy.channels:
                    pack_channel(packed, dy, o, a, &own, first + block * PIXEL, bytes_left(dy, first + block * PIXEL))
                else:
                    memset(packed, 0, row)
                packed += row


cdef void outer_panel(const vector* packed, const char* grads, Tiles* tiles, Image* dy, Plan* plan, int64_t size,
                      int64_t row, int64_t begin, int64_t end, bint zeroth, char* sums) noexcept nogil:
    """All taps by the outputs of a panel, over what meets the image of rows begin to end - 1."""
    cdef int64_t i, top, d_row = dy.width * PIXEL
    cdef const int64_t* field
    cdef const char* x
    cdef const char* d
    for i in range(tiles.count):
        field = tiles.fields + 4 * i
        top = max(begin, field[0])
        x = <const char*>packed + (top - begin) * plan.stride * row + field[2] * PIXEL
        d = grads + (top - begin) * d_row + field[2] * PIXEL
        if zeroth:
            memset(sums, 0, TILE * ACROSS * dy.itemsize)
        meet(packed, x, tiles.at + TILE * i, d, tiles.blocks, min(end, field[1]) - top,
             (field[3] - field[2]) * (PIXEL // LINE), size, plan.stride * row, (end - begin) * d_row, d_row, sums)
        sums += TILE * ACROSS * dy.itemsize


cdef inline void meet(const vector* _, const char* x, const int32_t* at, const char* dy, int64_t blocks, int64_t height,
                      int64_t width, int64_t x_block, int64_t x_row, int64_t dy_block, int64_t dy_row,
                      char* sums) noexcept nogil:
    """Adds TILE taps by ACROSS outputs to `sums`, over the vectors of a field of blocks, rows and columns."""
    if vector is vf32:
        meet32(x, at, dy, blocks * dy_block, blocks, height, width, x_block, x_row, dy_block, dy_row, <float*>sums)
    else:
        meet64(x, at, dy, blocks * dy_block, blocks, height, width, x_block, x_row, dy_block, dy_row, <double*>sums)


cdef void collect(floating* partial, Tiles* tiles, const int64_t* places, int64_t taps, floating* dw,
                  int64_t outputs) noexcept:
    """dw[o, places[k]] = the sum of all parts of (panels, k, outputs of a panel)."""
    cdef int64_t panel, i, k, o, part, entries = tiles.count * TILE * ACROSS
    cdef floating* total
    cdef const floating* other
    # outputs of the last panel end where dw does
    for panel in prange(tiles.panels, schedule="static", nogil=True):
        o = ACROSS * panel
        total = partial + panel * entries
        for part in range(1, tiles.parts):
            other = total + part * tiles.panels * entries
            for i in range(ACROSS * taps):
                total[i] = total[i] + other[i]
        for i in range(min(ACROSS, outputs - o)):
            for k in range(taps):
                dw[(o + i) * taps + places[k]] = total[ACROSS * k + i]
