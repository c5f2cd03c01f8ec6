# y[o, a, b] = start[o] + sum over k of w[o, k] x[at[k] from (a, b)]: for conv.pyx.

cdef extern from "tile.h" nogil:
    enum: OUTPUTS  # of a panel of weights: an entry k of all of them lies side by side
    enum: NARROW   # pixels of a tile of four outputs
    void tile32(int64_t, const vf32*, const int32_t*, const float*, int64_t, int64_t, int64_t, const float*,
                const vf32*, char*, int64_t, int64_t)
    void tile64(int64_t, const vf64*, const int32_t*, const double*, int64_t, int64_t, int64_t, const double*,
                const vf64*, char*, int64_t, int64_t)

cdef enum:
    SUMS = 2 * OUTPUTS  # vectors in registers, at most


cdef struct Taps:  # the k, in the order (chunk of channels, u, v, channel)
    const int32_t* at
    const int32_t* down   # from the place of an output pixel, in pixels: what stands outside the image is passed over
    const int32_t* right
    const void* start     # of each output's sums
    int64_t rows, columns, channels, chunk


cdef struct Range:
    int64_t begin, end


cdef multiply(w, tables, int64_t outputs, x, bias, y, Plan plan, x_winner=None, y_winner=None, size=(0, 0),
              normal=None):
    """y[o, a, b] = bias[o] + sum_k w[by_output o + places[k]] x[at[k] from (a, b)].

    With winners x or y is pooled, x from this size; with `normal` x is normalised.
    """
    at, places, by_output, down, right, chunk, step = tables
    if not y.size:
        return
    w, normal = np.ascontiguousarray(w), as_rows(normal)
    x, x_winner = as_packed(x, x_winner)
    cdef Image source = image_of(x), target = image_of(y)
    pooled_by(&source, x_winner, size)
    normalised_by(&source, normal)
    pooled_by(&target, y_winner, (2 * target.height, 2 * target.width))
    cdef int64_t panels = in_panels(outputs), rows = step
    if y_winner is not None:
        rows += rows % 2
    cdef Taps taps
    taps.rows, taps.columns, taps.channels, taps.chunk = len(down), len(right), source.channels, chunk
    taps.at, taps.down, taps.right = <int32_t*>address(at), <int32_t*>address(down), <int32_t*>address(right)
    cdef int64_t count = len(at)
    if not count:
        plan.span = 0  # nothing is read
    packed = empty_array((panels * (count + 1) * source.itemsize + CACHE_LINE,), np.dtype(np.int8))
    cdef char* weights = to_line(address(packed, PyBUF_WRITABLE))
    start_from(bias, panels, source.itemsize, weights + panels * count * source.itemsize)
    taps.start = weights + panels * count * source.itemsize
    if source.itemsize == sizeof(float):
        pack_weights[float](<const float*>address(w), <const int64_t*>address(places), count, by_output, outputs,
                            <float*>weights)
    else:
        pack_weights[double](<const double*>address(w), <const int64_t*>address(places), count, by_output, outputs,
                             <double*>weights)
    multiply_bands(&taps, weights, &source, &target, &plan, rows)


cdef multiply_bands(Taps* taps, const char* weights, Image* x, Image* y, Plan* plan, int64_t step):
    cdef int64_t task, failed = 0, blocks = blocks_of(y), band = band_of(blocks, y.height)
    cdef int64_t bands = (y.height + band - 1) // band
    cdef int64_t size = ((step - 1) * plan.stride + plan.span) * row_bytes(x, plan), sums = LINE * SUMS
    if taps.chunk < x.channels:
        sums *= (y.channels + OUTPUTS - 1) // OUTPUTS * step * (y.width + 1)
    cdef int64_t waiting = 2 * OUTPUTS * y.width * PIXEL if y.winner != NULL else 0
    cdef char* memory = NULL
    cdef int threads = team(True)
    # the tables of offsets name pixels of the packed rows only; w has whole panels
    with nogil, parallel(num_threads=threads):
        memory = <char*>malloc(sums + waiting + size + SLACK + CACHE_LINE)
        for task in prange(blocks * bands, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif x.itemsize == sizeof(float):
                multiply_band(<vf32*>(to_line(memory) + sums + waiting), taps, weights, x, y, plan, step,
                              task // bands * PIXEL, task % bands * band, min(task % bands * band + band, y.height),
                              <vf32*>to_line(memory), to_line(memory) + sums)
            else:
                multiply_band(<vf64*>(to_line(memory) + sums + waiting), taps, weights, x, y, plan, step,
                              task // bands * PIXEL, task % bands * band, min(task % bands * band + band, y.height),
                              <vf64*>to_line(memory), to_line(memory) + sums)
        free(memory)
    if failed:
        raise MemoryError("no memory for a packed block of the batch")


cdef void multiply_band(vector* packed, Taps* taps, const void* w, Image* x, Image* y, Plan* plan, int64_t step,
                        int64_t first, int64_t begin, int64_t end, vector* sums, char* waiting) noexcept nogil:
    """Output rows begin to end - 1, `step` at a time, of the block that starts at byte `first` of each pixel."""
    cdef int64_t i, last, kept = 0, nbytes = min(PIXEL, y.nbytes - first), row = row_bytes(x, plan)
    cdef char* rows = <char*>packed
    while begin < end:
        last = min(begin + step, end)
        for i in range(kept, (last - begin - 1) * plan.stride + plan.span):
            if i % plan.stride < plan.span:
                pack_row(rows + i * row, x, begin * plan.stride + plan.top + i, plan, first, nbytes)
        multiply_rows(packed, taps, w, x, y, plan, row, first, nbytes, begin, last, sums, waiting)
        kept = max(0, plan.span - plan.stride)  # of the rows that the next step meets
        memmove(rows, rows + (last - begin) * plan.stride * row, kept * row)
        begin = last
    fence()


cdef void multiply_rows(const vector* packed, Taps* taps, const void* w, Image* x, Image* y, Plan* plan, int64_t row,
                        int64_t first, int64_t nbytes, int64_t begin, int64_t end, vector* sums,
                        char* waiting) noexcept nogil:
    """A chunk of channels after the other; in one, a panel of weights stays near while it meets all pixels.

    Of a pooled y two rows of a panel wait for their windows.
    """
    cdef int64_t a, i, j, c, o, k, size = taps.rows * taps.columns
    cdef int64_t chunks = max(1, (taps.channels + taps.chunk - 1) // taps.chunk)
    cdef vector* slot
    cdef const char* panel
    cdef Taps part = taps[0]
    cdef Image two = y[0], to = y[0]
    to.data += first
    if y.winner != NULL:
        to.winner += first // y.itemsize
        two.winner, two.streamed = NULL, False
        two.by_pixel, two.by_row, two.by_channel = PIXEL, y.width * PIXEL, 2 * y.width * PIXEL
    for i in range(chunks):
        c = i * taps.chunk
        part.channels = min(taps.chunk, taps.channels - c)
        part.at = taps.at + c * size
        for j in range((y.channels + OUTPUTS - 1) // OUTPUTS):
            o = j * OUTPUTS
            k = o * taps.channels + panel_width(y.channels - o) * c
            panel = <const char*>w + k * size * (LINE // lanes(packed))
            for a in range(begin, end):
                slot = sums + (j * (end - begin) + a - begin) * (y.width + 1) * SUMS if chunks > 1 else sums
                multiply_row(<const vector*>(<const char*>packed + (a - begin) * plan.stride * row), &part, panel,
                             inside(taps.down, taps.rows, a * plan.stride, x.height), x.width, plan.stride, slot,
                             o, i == 0, i == chunks - 1, &to if y.winner == NULL else &two,
                             to.data + o * y.by_channel + a * y.by_row if y.winner == NULL
                             else waiting + a % 2 * two.by_row, y.channels - o, nbytes if y.winner == NULL else PIXEL)
                if y.winner != NULL and a % 2 and i == chunks - 1:
                    put_windows(packed, waiting, &two, &to, o, a // 2, nbytes)


cdef void put_windows(const vector* _, const char* waiting, Image* two, Image* y, int64_t o, int64_t a,
                      int64_t nbytes) noexcept nogil:
    """Row a of a pooled y, outputs of the panel at o, from the two rows that wait for it."""
    cdef int64_t i, b, below = two.by_row // LINE
    cdef const vector* p
    for i in range(min(OUTPUTS, y.channels - o)):
        p = <const vector*>(waiting + i * two.by_channel)
        for b in range(y.width // 2):
            put_largest(y.data + (o + i) * y.by_channel + a * y.by_row + b * y.by_pixel, y, p[0], p[1], p[2], p[3],
                        p[below], p[below + 1], p[below + 2], p[below + 3], nbytes)
            p += 4


cdef inline int64_t in_panels(int64_t outputs) noexcept nogil:
    """Outputs of whole panels that hold so many."""
    cdef int64_t last = outputs % OUTPUTS
    return outputs - last + panel_width(last) if last else outputs


cdef inline int64_t panel_width(int64_t outputs) noexcept nogil:
    """Outputs of a panel of weights when so many are left: a whole one's, or fewer fours."""
    return min(OUTPUTS, (outputs + 3) // 4 * 4)


cdef inline int64_t pixels_of(int64_t wide) noexcept nogil:
    """Of a tile of so many outputs."""
    return NARROW if wide == 4 else 1


cdef inline Range inside(const int32_t* offsets, int64_t count, int64_t place, int64_t size) noexcept nogil:
    """Which offsets from a place lie in [0, size); they are in order."""
    cdef Range found
    found.begin = 0
    while found.begin < count and not 0 <= place + offsets[found.begin] < size:
        found.begin += 1
    found.end = found.begin
    while found.end < count and 0 <= place + offsets[found.end] < size:
        found.end += 1
    return found


cdef void multiply_row(const vector* x, Taps* taps, const char* panel, Range u, int64_t width, int64_t stride,
                       vector* sums, int64_t o, bint zeroth, bint last, Image* y, char* target, int64_t outputs,
                       int64_t nbytes) noexcept nogil:
    """Adds the taps of a chunk to a row of the outputs of a panel.

    Sums wait in memory of their own between chunks: the target's pixels share few sets of a cache.
    """
    cdef int64_t b = 0, i, j, k, times, count, step = taps.columns * taps.channels
    cdef int64_t wide = panel_width(outputs), pixels = pixels_of(wide)
    # whole pixels of memory that is read again are written where they belong
    cdef bint there = last and outputs >= wide and nbytes == PIXEL and not y.streamed
    cdef const char* start = <const char*>taps.start + o * (LINE // lanes(x)) if zeroth else NULL
    cdef Range v, w
    while b < y.width:
        v = inside(taps.right, taps.columns, b * stride, width)
        w = inside(taps.right, taps.columns, (b + pixels - 1) * stride, width)
        v.begin, v.end = min(v.begin, w.begin), max(v.end, w.end)
        k = u.begin * step + v.begin * taps.channels
        count, times = (v.end - v.begin) * taps.channels, u.end - u.begin
        if count == step:
            count, times = count * times, 1
        if there and b + pixels <= y.width:
            tile_of(wide, x + 2 * b, taps.at + k, panel + k * wide * (LINE // lanes(x)), times, count, step, start,
                    sums, target, y.by_channel, y.by_pixel)
        else:
            tile_of(wide, x + 2 * b, taps.at + k, panel + k * wide * (LINE // lanes(x)), times, count, step, start,
                    sums, <char*>sums, pixels * PIXEL, PIXEL)
            for i in range(min(outputs, wide) if last else 0):
                for j in range(min(pixels, y.width - b)):
                    put(target + i * y.by_channel + j * y.by_pixel, sums[2 * (pixels * i + j)],
                        sums[2 * (pixels * i + j) + 1], nbytes, y.streamed)
        if not (zeroth and last):
            sums += SUMS
        target += pixels * y.by_pixel
        b += pixels


cdef inline void tile_of(int64_t wide, const vector* x, const int32_t* at, const char* w, int64_t times, int64_t count,
                         int64_t step, const char* start, const vector* sums, char* to, int64_t to_row,
                         int64_t to_pixel) noexcept nogil:
    """Adds to so many outputs' sums, `count` taps in each of `times` rows, and leaves them at `to`.

    They go on from `sums`, or begin at `start` where that is something.
    """
    if vector is vf32:
        tile32(wide, x, at, <const float*>w, times, count, step, <const float*>start, sums, to, to_row, to_pixel)
    else:
        tile64(wide, x, at, <const double*>w, times, count, step, <const double*>start, sums, to, to_row, to_pixel)


cdef void pack_weights(const floating* w, const int64_t* places, int64_t taps, int64_t by_output, int64_t outputs,
                       floating* packed) noexcept:
    """packed[panel, k, o] = w[by_output o + places[k]], zero for outputs that are not there."""
    cdef int64_t panel, i, k, o, wide
    # places are those of output 0 in w, panels end where packed does
    for panel in prange((outputs + OUTPUTS - 1) // OUTPUTS, schedule="static", nogil=True):
        o = panel * OUTPUTS
        wide = panel_width(outputs - o)
        for k in range(taps):
            for i in range(wide):
                packed[o * taps + wide * k + i] = w[(o + i) * by_output + places[k]] if o + i < outputs else 0
