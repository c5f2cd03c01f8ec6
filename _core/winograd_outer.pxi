# dw = G^T [sum over tiles of (A dy A^T) * (B^T x B)] G (winograd.py): for conv.pyx.
#
# A field is some tiles of whatever rows and blocks. At each point TILE channels of x by four outputs of dy meet in its
# vectors, as in outer.pxi, before the lanes are summed. So many channels of x are transformed at a time that those at a
# point stay in the nearest cache while panels of dy meet them. These are transformed all at once, and x comes from far
# but once; or, where all points of all channels stay near, some at a time.

cdef enum:
    CHANNEL = 36 << 10  # bytes of a channel of a field, transformed
    MET = 48 << 10      # of channels at a point
    ROOM = 5 << 18      # of x and dy that are transformed at a time, where that is not all of dy


cdef struct Fields:
    int64_t square, points                      # pixels on each side of what a tile meets, and of all
    int64_t padding, down, across, tiles        # the tiles of a block and of all
    int64_t count, parts, groups                # fields, partial sums, and jobs that share one
    int64_t together                            # tiles of a field
    int64_t panels, bunches                     # of outputs and of channels
    int64_t some, chunk                         # of these, how many are transformed at a time
    int64_t x_point, dy_point                   # bytes of a point
    int64_t entries                             # of the sums at a point: (panels, bunches, TILE, ACROSS)
    const int32_t* at                           # (TILE,): where at a point the channels of a bunch lie


cdef outer_by_tiles(dy, x, dw, int64_t padding, size, winner, normal):
    """dw of a kernel of r x r and stride 1, dy of this size or pooled from it."""
    (dy, winner), x, normal = as_packed(dy, winner), with_contiguous_batch(x), as_rows(normal)
    cdef Image source = image_of(x), target = image_of(dy)
    pooled_by(&target, winner, size)
    normalised_by(&source, normal)
    cdef int64_t kernel = dw.shape[2], chunks, panel, room
    cdef Fields fields
    fields.square, fields.padding = SIDE + kernel - 1, padding
    fields.points = fields.square**2
    fields.down = (target.height + SIDE - 1) // SIDE
    fields.across = (target.width + SIDE - 1) // SIDE
    fields.tiles = blocks_of(&target) * fields.down * fields.across
    fields.panels = (target.channels + ACROSS - 1) // ACROSS
    fields.bunches = (source.channels + TILE - 1) // TILE
    fields.together = max(1, CHANNEL // (fields.points * PIXEL))
    chunks = (fields.bunches * TILE * fields.together * PIXEL + MET - 1) // MET
    fields.chunk = (fields.bunches + chunks - 1) // chunks
    fields.entries = fields.panels * fields.bunches * TILE * ACROSS
    fields.count = (fields.tiles + fields.together - 1) // fields.together
    fields.parts = max(1, min(fields.count, PARTS, ENTRIES // (fields.points * fields.entries)))
    # results do not depend on groups
    fields.groups = min(fields.panels, (omp_get_max_threads() + fields.parts - 1) // fields.parts)
    fields.x_point = (fields.chunk * TILE * fields.together + 1) * PIXEL
    panel = fields.points * ACROSS * fields.together * PIXEL
    room = ROOM - fields.points * fields.x_point
    fields.some = (fields.panels + fields.groups - 1) // fields.groups
    if chunks == 1 and room >= panel:
        fields.some = min(fields.some, room // panel)
    fields.dy_point = (fields.some * ACROSS * fields.together + 1) * PIXEL
    at = (np.arange(TILE) * (fields.together * PIXEL)).astype(np.int32)
    fields.at = <const int32_t*>address(at)
    partial = empty_array((fields.parts * fields.points * fields.entries + CACHE_LINE,), dy.dtype)
    outer_fields(&fields, &target, &source, address(partial, PyBUF_WRITABLE))
    if source.itemsize == sizeof(float):
        collect_points[vf32](<vf32*>address(partial), &fields, kernel, target.channels, source.channels,
                             address(dw, PyBUF_WRITABLE))
    else:
        collect_points[vf64](<vf64*>address(partial), &fields, kernel, target.channels, source.channels,
                             address(dw, PyBUF_WRITABLE))


cdef outer_fields(Fields* fields, Image* dy, Image* x, char* partial):
    cdef int64_t job, failed = 0, rows = fields.square * ((fields.together - 1) * SIDE + fields.square) * PIXEL
    cdef int64_t images = fields.points * fields.x_point, grads = fields.points * fields.dy_point
    cdef int64_t sums = fields.points * fields.entries * dy.itemsize
    cdef char* memory = NULL
    cdef int threads = team(True)
    # a job adds to panels of its own, of its part of `partial`
    with nogil, parallel(num_threads=threads):
        memory = <char*>malloc(rows + images + grads + CACHE_LINE)
        for job in prange(fields.parts * fields.groups, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif dy.itemsize == sizeof(float):
                outer_fields_of(<vf32*>to_line(memory), to_line(memory) + rows, to_line(memory) + rows + images, fields,
                                dy, x, partial + job // fields.groups * sums, job // fields.groups, job % fields.groups)
            else:
                outer_fields_of(<vf64*>to_line(memory), to_line(memory) + rows, to_line(memory) + rows + images, fields,
                                dy, x, partial + job // fields.groups * sums, job // fields.groups, job % fields.groups)
        free(memory)
    if failed:
        raise MemoryError("no memory for a transformed block of the batch")


cdef void outer_fields_of(vector* rows, char* images, char* grads, Fields* fields, Image* dy, Image* x, char* sums,
                          int64_t part, int64_t group) noexcept nogil:
    """The fields of a part, the panels of a group."""
    cdef int64_t field, begin, end, bunch, bunches, o, panels, start = part * fields.count // fields.parts
    cdef int64_t panel = group * fields.panels // fields.groups, last = (group + 1) * fields.panels // fields.groups
    for field in range(start, (part + 1) * fields.count // fields.parts):
        begin, end = field * fields.together, min((field + 1) * fields.together, fields.tiles)
        bunch = 0
        while bunch < fields.bunches:
            bunches, o = min(fields.chunk, fields.bunches - bunch), panel
            transform_channels(rows, images, fields.x_point, fields, x, bunch * TILE, bunches * TILE, begin, end,
                               fields.square, fields.padding)
            while o < last:
                panels = min(fields.some, last - o)
                if bunch == 0:
                    transform_channels(rows, grads, fields.dy_point, fields, dy, o * ACROSS, panels * ACROSS, begin,
                                       end, SIDE, 0)
                outer_points(rows, images, grads, fields, o, panels, bunch, bunches, end - begin, field == start, sums,
                             dy.itemsize)
                o += panels
            bunch += bunches


cdef void transform_channels(vector* rows, char* points, int64_t point, Fields* fields, Image* image, int64_t c,
                             int64_t count, int64_t begin, int64_t end, int64_t side, int64_t padding) noexcept nogil:
    """So many channels from c on, at tiles begin to end - 1."""
    cdef int64_t i
    for i in range(count):
        transform_field(rows, points + i * fields.together * PIXEL, point, fields, image, c + i, begin, end, side,
                        padding)


cdef void transform_field(vector* rows, char* points, int64_t point, Fields* fields, Image* x, int64_t c,
                          int64_t begin, int64_t end, int64_t side, int64_t padding) noexcept nogil:
    """A channel's squares at tiles begin to end - 1.

    Zeros for a channel that is not there: nobody reads its sums, but tiny numbers that nobody has set are slow.
    """
    cdef int64_t k, count, row, column, first
    if c >= x.channels:
        for k in range(fields.points):
            memset(points + k * point, 0, (end - begin) * PIXEL)
        return
    while begin < end:
        first = begin // (fields.down * fields.across) * PIXEL
        row, column = begin // fields.across % fields.down, begin % fields.across
        count = min(end - begin, fields.across - column)
        transform_squares(rows, points, point, x, c, row * SIDE - padding, column * SIDE - padding, count, side,
                          fields.square, first, bytes_left(x, first))
        points += count * PIXEL
        begin += count


cdef void outer_points(const vector* _, const char* images, const char* grads, Fields* fields, int64_t panel,
                       int64_t panels, int64_t bunch, int64_t bunches, int64_t tiles, bint zeroth, char* sums,
                       int64_t itemsize) noexcept nogil:
    """At each point some bunches of channels by some panels of outputs."""
    cdef int64_t i, j, k, channel = fields.together * PIXEL
    cdef char* to
    for k in range(fields.points):
        for j in range(panels):
            for i in range(bunches):
                to = sums + (k * fields.entries + ((panel + j) * fields.bunches + bunch + i) * TILE * ACROSS) * itemsize
                if zeroth:
                    memset(to, 0, TILE * ACROSS * itemsize)
                meet(_, images + i * TILE * channel, fields.at, grads + j * ACROSS * channel, 1, 1,
                     tiles * (PIXEL // LINE), 0, 0, channel, 0, to)
        images += fields.x_point
        grads += fields.dy_point


cdef void collect_points(const vector* partial, Fields* fields, int64_t kernel, int64_t outputs, int64_t channels,
                         char* dw) noexcept:
    """dw = G^T sums G of the sums of all parts; lanes are entries."""
    cdef int64_t i, count = (fields.entries + lanes(partial) - 1) // lanes(partial)
    # what is read beyond the last entry is within `partial`; only entries that dw has are written
    for i in prange(count, schedule="static", nogil=True):
        collect_entries(partial, fields, kernel, outputs, channels, i * lanes(partial), dw)


cdef void collect_entries(const vector* partial, Fields* fields, int64_t kernel, int64_t outputs, int64_t channels,
                          int64_t entry, char* dw) noexcept nogil:
    cdef vector[POINTS] points
    cdef vector[TAPS] taps
    cdef int64_t k, part, i, o, c, size = LINE // lanes(partial), area = kernel * kernel
    cdef const char* p = <const char*>partial + entry * size
    for k in range(fields.points):
        points[k] = (<const vector*>(p + k * fields.entries * size))[0]
        for part in range(1, fields.parts):
            points[k] = points[k] + (<const vector*>(p + (part * fields.points + k) * fields.entries * size))[0]
    scale(fields.square, points)
    sums_of(fields.square, kernel, points, 1, taps, 1)
    for i in range(min(lanes(partial), fields.entries - entry)):
        o = (entry + i) // (TILE * ACROSS * fields.bunches) * ACROSS + (entry + i) % ACROSS
        c = (entry + i) // ACROSS % (TILE * fields.bunches)
        if o < outputs and c < channels:
            for k in range(area):
                memcpy(dw + ((o * channels + c) * area + k) * size, <char*>&taps[k] + i * size, size)
