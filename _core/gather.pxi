# y[o, a, b] = start[o] + sum of values[k] x[at[k] from (a, b)] over the entries k of row o: for spconv.pyx.

cdef gather(entries, values, x, bias, y, Plan plan, int64_t residues, x_winner=None, y_winner=None, size=(0, 0),
            normal=None):
    """Entries are those of `arrange`, a list of bins for each (r, q) of y[:, r::residues, q::residues].

    With winners x or y is pooled, x from this size; with `normal` x is normalised.
    """
    if not y.size:
        return
    x, x_winner = as_packed(x, x_winner)
    normal = as_rows(normal)
    cdef Image source = image_of(x), target = image_of(y)
    pooled_by(&source, x_winner, size)
    normalised_by(&source, normal)
    pooled_by(&target, y_winner, (2 * target.height, 2 * target.width))
    cdef int64_t threads = omp_get_max_threads(), tables = loaded_bytes(entries, target.channels, source.itemsize)
    cdef int64_t rows = (target.height + residues - 1) // residues
    cdef int64_t blocks = blocks_of(&target), band = band_of(blocks, rows)
    cdef Entries e
    source.channels = len(entries[3])
    cdef int64_t group = group_of(&source, &plan, band)
    cdef int64_t nbytes = ((group - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    cdef int64_t each = nbytes + 4 * PIXEL * target.channels
    cdef Scratch memory = Scratch(tables + threads * each)
    cdef char* room = load(&e, entries, target.channels, plan.span, memory.first())
    room = load_values(&e, values, bias, room)
    gather_bands(&e, &source, &target, &plan, residues, group, rows, blocks, band, room, each, nbytes)


cdef void gather_bands(Entries* e, Image* x, Image* y, Plan* plan, int64_t residues, int64_t group, int64_t rows,
                       int64_t blocks, int64_t band, char* room, int64_t each, int64_t nbytes):
    cdef int64_t task, bands = (rows + band - 1) // band
    # Pattern and the tables of offsets: entries of row o lie in [0, K), offsets in the packed rows
    for task in prange(blocks * bands, nogil=True, schedule="dynamic", num_threads=team(True)):
        if x.itemsize == sizeof(float):
            gather_band(<vf32*>(room + threadid() * each), nbytes, e, x, y, plan, residues, group,
                        task // bands * PIXEL, task % bands * band, min(task % bands * band + band, rows))
        else:
            gather_band(<vf64*>(room + threadid() * each), nbytes, e, x, y, plan, residues, group,
                        task // bands * PIXEL, task % bands * band, min(task % bands * band + band, rows))


cdef void gather_band(vector* packed, int64_t size, Entries* entries, Image* x, Image* y, Plan* plan,
                      int64_t residues, int64_t group, int64_t first, int64_t begin, int64_t end) noexcept nogil:
    """Rows begin to end - 1 of each residue of the block that starts at byte `first` of each pixel."""
    cdef int64_t last
    cdef bint more = False
    while begin < end:
        last = min(begin + group, end)
        pack_rows(<char*>packed, x, begin, last, more, group, plan, first, min(PIXEL, y.nbytes - first), entries.used)
        gather_group(packed, entries, x, y, plan, residues, first, begin, last, <vector*>(<char*>packed + size))
        begin, more = last, True
    fence()


cdef void gather_group(const vector* packed, Entries* entries, Image* x, Image* y, Plan* plan, int64_t residues,
                       int64_t first, int64_t begin, int64_t end, vector* sums) noexcept nogil:
    """Those whose input is packed."""
    cdef int64_t r, q, bins = entries.chunks * entries.rows * entries.span
    cdef Entries own = entries[0]
    cdef Image part = y[0]
    part.by_row, part.by_pixel = residues * y.by_row, residues * y.by_pixel
    for r in range(min(residues, y.height)):
        for q in range(min(residues, y.width)):
            part.data = y.data + r * y.by_row + q * y.by_pixel + first
            part.winner = y.winner + first // y.itemsize if y.winner != NULL else NULL
            part.height = (y.height - r + residues - 1) // residues
            part.width = (y.width - q + residues - 1) // residues
            own.starts = entries.starts + (r * residues + q) * bins
            gather_rows(packed, &own, x, &part, plan, begin, min(end, part.height), min(PIXEL, y.nbytes - first), sums)


cdef struct Tile:  # two pixels of y, and the two below them or beside
    Entries* entries
    Image* y
    char* target
    const char* x  # packed input under the first
    Meet upper, lower
    int64_t down, right, below, beside  # bytes from the first to the others, in x and in y
    int64_t nbytes


cdef void gather_rows(const vector* packed, Entries* entries, Image* x, Image* y, Plan* plan, int64_t begin,
                      int64_t end, int64_t nbytes, vector* sums) noexcept nogil:
    """Four pixels of a row at a time, or two by two of a narrow image and of windows. The last ones overlap those
    before where the number does not come out even, as that of windows does; a single one is done as if it were two.
    """
    cdef bint pooled = y.winner != NULL, flat = not pooled and (y.width % 4 == 0 or y.width > 16)
    cdef int64_t tall = not flat and end - begin > 1, wide = y.width > 1, across = 4 if flat else 1 + wide
    cdef int64_t a, b, i, j, c, step = plan.stride * row_bytes(x, plan)
    cdef const int32_t* starts
    cdef Tile tile
    tile.entries, tile.y, tile.nbytes = entries, y, nbytes
    tile.down, tile.right = 2 * PIXEL if flat else tall * step, wide * PIXEL
    tile.below, tile.beside = 2 * y.by_pixel if flat else tall * y.by_row, wide * y.by_pixel
    for i in range((end - begin + tall) // (1 + tall)):
        a = min(begin + (1 + tall) * i, end - 1 - tall)
        tile.upper, tile.lower = meeting(x, plan, a), meeting(x, plan, a + tall)
        for j in range((y.width + across - 1) // across):
            b = min(across * j, y.width - across)
            tile.x = <const char*>packed + (a - begin) * step + b * PIXEL
            tile.target = y.data + (a * y.by_row + b * y.by_pixel) // (1 + pooled)
            starts = entries.starts
            for c in range(entries.chunks):
                gather_tile(&tile, starts, sums, c == 0, c == entries.chunks - 1)
                starts += entries.rows * entries.span


cdef apart gather_tile(Tile* tile, const int32_t* starts, vector* sums, bint first, bint last) noexcept nogil:
    """The entries of a chunk, which start there."""
    cdef int64_t o
    for o in range(tile.entries.rows):
        gather_four(tile, starts, o, sums, first, last)
        starts += tile.entries.span
        sums += 8


cdef inline void gather_four(Tile* tile, const int32_t* starts, int64_t o, vector* sums, bint first,
                             bint last) noexcept nogil:
    """Those of an output.

    They go on from `sums` (4, 2) unless these entries are the first, and to the target with the last.
    """
    cdef Meet upper = tile.upper, lower = tile.lower
    cdef const int32_t* at = tile.entries.at
    cdef const void* values = tile.entries.values
    cdef const char* x = tile.x
    cdef const char* p
    cdef char* target
    cdef vector w, a0, a1, b0, b1, c0, c1, d0, d1
    cdef int64_t k, down = tile.down, right = tile.right
    if not first:
        a0, a1, b0, b1, c0, c1, d0, d1 = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]
    else:
        a0 = a1 = b0 = b1 = c0 = c1 = d0 = d1 = splat(sums, tile.entries.start, o)
    # entries that only the lower two pixels meet
    for k in range(starts[lower.begin], starts[min(lower.end, upper.begin)]):
        w = splat(sums, values, k)
        p = x + at[k] + down
        c0 = c0 + w * (<const vector*>p)[0]
        c1 = c1 + w * (<const vector*>p)[1]
        d0 = d0 + w * (<const vector*>(p + right))[0]
        d1 = d1 + w * (<const vector*>(p + right))[1]
    for k in range(starts[max(lower.begin, upper.begin)], starts[min(lower.end, upper.end)]):
        w = splat(sums, values, k)
        p = x + at[k]
        a0 = a0 + w * (<const vector*>p)[0]
        a1 = a1 + w * (<const vector*>p)[1]
        b0 = b0 + w * (<const vector*>(p + right))[0]
        b1 = b1 + w * (<const vector*>(p + right))[1]
        p = p + down
        c0 = c0 + w * (<const vector*>p)[0]
        c1 = c1 + w * (<const vector*>p)[1]
        d0 = d0 + w * (<const vector*>(p + right))[0]
        d1 = d1 + w * (<const vector*>(p + right))[1]
    # and only the upper two
    for k in range(starts[max(lower.end, upper.begin)], starts[upper.end]):
        w = splat(sums, values, k)
        p = x + at[k]
        a0 = a0 + w * (<const vector*>p)[0]
        a1 = a1 + w * (<const vector*>p)[1]
        b0 = b0 + w * (<const vector*>(p + right))[0]
        b1 = b1 + w * (<const vector*>(p + right))[1]
    target = tile.target + o * tile.y.by_channel
    if not last:
        sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7] = a0, a1, b0, b1, c0, c1, d0, d1
    elif tile.y.winner != NULL:
        put_largest(target, tile.y, a0, a1, b0, b1, c0, c1, d0, d1, tile.nbytes)
    else:
        put(target, a0, a1, tile.nbytes, tile.y.streamed)
        put(target + tile.beside, b0, b1, tile.nbytes, tile.y.streamed)
        put(target + tile.below, c0, c1, tile.nbytes, tile.y.streamed)
        put(target + tile.below + tile.beside, d0, d1, tile.nbytes, tile.y.streamed)
