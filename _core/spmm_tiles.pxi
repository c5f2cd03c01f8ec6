# A batch of more than a vector: panels of up to eight vectors of it, and tiles of columns of W, so that what a tile
# needs of a panel of x stays in a cache while all rows pass.

cdef enum:
    L1_BYTES = 32768   # of x in a tile where entries are many
    L2_BYTES = 524288  # of x in a tile where they are few:
    FEW = 5            # a row of a tile of L1_BYTES


cdef struct Tiling:
    int64_t panels
    int64_t tile      # columns of W in a tile
    const void *cuts  # entries of row o in tile t: from at(cuts, t next + o, wide) to at(cuts, t next + next + o, wide);
    int64_t next      # O, but 1 for a single tile, where cuts is indptr
    char *packed      # room for a tile of x a thread, where it lies together and no vector crosses a line; or NULL


cdef struct Tile:
    # some columns of W against a panel of x
    const char *x   # where column 0 would lie
    char *y
    const void *cuts
    int64_t begin   # entries of row o: from at(cuts, begin + o, wide) to at(cuts, end + o, wide)
    int64_t end
    int64_t stride  # bytes from row to row of x
    int64_t width   # bytes of the panel
    bint more       # add to y


cdef run_panels(Product *p, pattern, int64_t threads):
    """Panels and runs of rows, shared by the threads."""
    cdef Tiling tiling
    tiling.panels = (p.width + 8 * VECTOR_BYTES - 1) // (8 * VECTOR_BYTES)
    # as few runs of rows as give every thread the same number of tasks; the entries of a row of dw are one thread's
    cdef int64_t runs = threads if p.dw is not NULL else threads // gcd(threads, tiling.panels), i, panels, first
    cdef int64_t tasks = runs if p.dw is not NULL else runs * tiling.panels
    borders = pattern.parts(runs)
    cdef const int64_t *border = <const int64_t *>address(borders)
    held = cut(&tiling, p, pattern, threads)
    panels = tiling.panels if p.dw is not NULL else 1
    for i in prange(tasks, nogil=True, schedule="static", num_threads=threads):
        first = i // runs
        if p.itemsize == 4:
            task[vf32](p, &tiling, first, first + panels, border[i % runs], border[i % runs + 1], threadid(), zero_vf32)
        else:
            task[vf64](p, &tiling, first, first + panels, border[i % runs], border[i % runs + 1], threadid(), zero_vf64)


cdef cut(Tiling *tiling, Product *p, pattern, int64_t threads):
    """Choose the tiles; returns what the caller has to hold meanwhile."""
    cdef int64_t panel = min(p.width + VECTOR_BYTES, 8 * VECTOR_BYTES)
    tiling.tile = L1_BYTES // panel
    if <double>p.entries * tiling.tile < FEW * <double>p.rows * p.columns:
        tiling.tile = L2_BYTES // panel
    cuts = pattern.cuts(tiling.tile) if tiling.tile < p.columns else None
    if cuts is None:
        tiling.tile, tiling.cuts, tiling.next = max(p.columns, 1), p.indptr, 1
    else:
        tiling.cuts, tiling.next = address(cuts), p.rows
    packed, tiling.packed = None, NULL
    cdef bint crosses = (<size_t>p.x | <size_t>p.stride) % VECTOR_BYTES
    cdef int64_t often = p.entries // max(p.columns, 1) if p.width >= VECTOR_BYTES else 0
    if often >= 4 and tiling.panels > 1 or often >= 8 and crosses:
        packed = aligned(threads * tiling.tile, 8 * VECTOR_BYTES, np.dtype(np.uint8))
        tiling.packed = address(packed, PyBUF_WRITABLE)
    return cuts, packed


cdef int64_t gcd(int64_t a, int64_t b) noexcept:
    while b:
        a, b = b, a % b
    return a


cdef void task(const Product *p, const Tiling *tiling, int64_t panel, int64_t last_panel, int64_t first, int64_t last,
               int64_t thread, vector zero) noexcept nogil:
    """Rows first to last - 1 of some panels."""
    while panel < last_panel:
        tiles[vector](p, tiling, panel, first, last, thread, zero)
        panel += 1


cdef void tiles(const Product *p, const Tiling *tiling, int64_t panel, int64_t first, int64_t last, int64_t thread,
                vector zero) noexcept nogil:
    """Rows first to last - 1 of a panel, tile after tile."""
    cdef Tile tile
    cdef int64_t vectors = (p.width + VECTOR_BYTES - 1) // VECTOR_BYTES, t = 0, i, columns = tiling.tile
    cdef int64_t start = vectors * panel // tiling.panels, stop = vectors * (panel + 1) // tiling.panels
    cdef int64_t count = stop - start
    cdef char *buffer
    start *= VECTOR_BYTES
    # VECTOR_BYTES <= width, so the panel is within the row and holds a whole vector
    tile.width = min(stop * VECTOR_BYTES, p.width) - start
    tile.cuts, tile.y = tiling.cuts, p.y + start
    while t == 0 or t * columns < p.columns:
        tile.x, tile.stride = p.x + t * columns * p.stride + start, p.stride
        if tiling.packed is not NULL:
            buffer = tiling.packed + thread * columns * 8 * VECTOR_BYTES
            for i in range(min(columns, p.columns - t * columns)):
                memcpy(buffer + i * count * VECTOR_BYTES, tile.x + i * p.stride, tile.width)
            tile.x, tile.stride = buffer, count * VECTOR_BYTES
        tile.x -= t * columns * tile.stride
        tile.begin, tile.end, tile.more = t * tiling.next, (t + 1) * tiling.next, t > 0
        if p.dw is NULL:
            if p.wide:
                call[vector](p, &tile, count, first, last, True, zero)
            else:
                call[vector](p, &tile, count, first, last, False, zero)
        elif p.wide:
            sample[vector](p, &tile, count, first, last, True, zero)
        else:
            sample[vector](p, &tile, count, first, last, False, zero)
        t += 1
    finish(p, first, last, start, tile.width)
