# y[o, a, b] = bias[o] + sum over c, u, v of w[o, c, u, v] x[c, a + u - padding, b + v - padding] by tiles of 4 x 4
# pixels, as many products each for a channel and an output as they meet pixels of x, 6 x 6 or 8 x 8 (winograd.py): for
# conv.pyx.
#
# Lanes are images of a block of the batch, as everywhere. Tiles side by side are transformed channel by channel, a
# group of them at a time, so that what comes of it stays near. The products at each of these points are then those
# of a convolution of 1 x 1 (multiply.pxi).
#
# The gradient of x is a y of the taps in reverse; or what tiles of dy give is spread to the pixels of x that each has
# met, where there are fewer of these: an image of C channels waits until it is complete.

cdef extern from "winograd.h" nogil:
    const double[2][8] scales
    void differences_square32(int, int, const vf32*, int64_t, int64_t, vf32*, int64_t, int64_t)
    void differences_square64(int, int, const vf64*, int64_t, int64_t, vf64*, int64_t, int64_t)
    void spread_square32(int, int, const vf32*, int64_t, int64_t, vf32*, int64_t, int64_t)
    void spread_square64(int, int, const vf64*, int64_t, int64_t, vf64*, int64_t, int64_t)
    void values_square32(int, int, const vf32*, int64_t, int64_t, vf32*, int64_t, int64_t)
    void values_square64(int, int, const vf64*, int64_t, int64_t, vf64*, int64_t, int64_t)
    void sums_square32(int, int, const vf32*, int64_t, int64_t, vf32*, int64_t, int64_t)
    void sums_square64(int, int, const vf64*, int64_t, int64_t, vf64*, int64_t, int64_t)

cdef enum:
    SIDE = 4            # pixels on each side of a tile
    POINTS = 64         # where products are taken, at most
    TAPS = 25           # of a kernel, at most
    GROUP = 384 << 10   # bytes of transformed x


cdef struct Tiling:
    bint spreads                   # x is made of tiles of y, as its gradient is
    int64_t square, points         # pixels on each side of what a tile meets, and of all
    int64_t padding
    int64_t down, across           # tiles of a block
    int64_t group                  # of these that are transformed at a time
    int64_t point, sums            # bytes of all channels at a point, and of a panel's sums
    const int32_t* at              # (channels,): where at a point each channel lies
    const char* weights            # (panels, points, channels, outputs of a panel)
    const char* bias               # (outputs,)
    const char* zeros              # (OUTPUTS,)


cdef multiply_by_tiles(w, x, int64_t padding, bias, y, x_winner=None, y_winner=None, size=(0, 0), normal=None,
                       bint spreads=False):
    """The strides of w are any. With winners x or y is pooled, x from this size; with `normal` x is normalised.

    Or, where it `spreads`, y[o] is the gradient of an image through w[o, c], x[c] that of what w made of it.
    """
    if not y.size:
        return
    normal, (x, x_winner) = as_rows(normal), as_packed(x, x_winner)
    cdef Image source = image_of(x), target = image_of(y), kernels = image_of(w.transpose(1, 2, 3, 0)[..., :1])
    pooled_by(&source, x_winner, size)
    normalised_by(&source, normal)
    pooled_by(&target, y_winner, (2 * target.height, 2 * target.width))
    cdef int64_t outputs = target.channels, channels = source.channels, panels = in_panels(outputs)
    cdef Tiling tiling
    tiling.spreads, tiling.square, tiling.padding = spreads, SIDE + kernels.width - 1, padding
    tiling.points = tiling.square**2
    part(&tiling, &source if spreads else &target, channels)
    at = (np.arange(channels) * (tiling.group * PIXEL)).astype(np.int32)
    tiling.at = <const int32_t*>address(at)
    packed = empty_array((panels * (tiling.points * channels + 1) * source.itemsize + OUTPUTS * 8 + CACHE_LINE,),
                         np.dtype(np.int8))
    cdef char* weights = to_line(address(packed, PyBUF_WRITABLE))
    cdef char* start = weights + panels * tiling.points * channels * source.itemsize
    cdef char* zero = start + panels * source.itemsize
    start_from(bias, panels, source.itemsize, start)
    memset(zero, 0, OUTPUTS * 8)
    tiling.weights, tiling.bias, tiling.zeros = weights, start, zero
    if source.itemsize == sizeof(float):
        transform_weights[vf32](<vf32*>weights, &kernels, w.strides[0], outputs)
    else:
        transform_weights[vf64](<vf64*>weights, &kernels, w.strides[0], outputs)
    multiply_tiles(&tiling, &source, &target)


cdef void part(Tiling* tiling, Image* tiled, int64_t channels) noexcept:
    """Part an image into tiles, and rows of tiles into groups of about one size, `channels` of which stay near."""
    cdef int64_t groups, most = max(1, GROUP // (tiling.points * channels * PIXEL))
    tiling.down = (tiled.height + SIDE - 1) // SIDE
    tiling.across = (tiled.width + SIDE - 1) // SIDE
    groups = (tiling.across + most - 1) // most
    tiling.group = (tiling.across + groups - 1) // groups
    # a pixel more, or all points would share few sets of a cache; and room for the second of two pixels
    tiling.point, tiling.sums = (channels * tiling.group + 1) * PIXEL, (OUTPUTS * (tiling.group + 1) + 1) * PIXEL


cdef multiply_tiles(Tiling* tiling, Image* x, Image* y):
    cdef int64_t task, failed = 0, blocks = blocks_of(y), bands = 1, threads_wanted = omp_get_max_threads()
    cdef int64_t rows = tiling.square * ((tiling.group - 1) * SIDE + tiling.square) * PIXEL
    cdef int64_t points = tiling.points * tiling.point + SLACK
    cdef int64_t spread = y.channels * spread_row(tiling) * spread_height(tiling) if tiling.spreads else 0
    if blocks % threads_wanted and not tiling.spreads:
        bands = max(1, min(4 * threads_wanted // blocks, tiling.down))
    cdef char* memory = NULL
    cdef int threads = team(True)
    # offsets name channels of a group only; weights have whole panels
    with nogil, parallel(num_threads=threads):
        memory = <char*>malloc(rows + points + tiling.points * tiling.sums + spread + CACHE_LINE)
        for task in prange(blocks * bands, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif x.itemsize == sizeof(float):
                multiply_tile_rows(<vf32*>to_line(memory), to_line(memory) + rows, to_line(memory) + rows + points,
                                   tiling, x, y, task // bands * PIXEL, task % bands * tiling.down // bands,
                                   (task % bands + 1) * tiling.down // bands)
            else:
                multiply_tile_rows(<vf64*>to_line(memory), to_line(memory) + rows, to_line(memory) + rows + points,
                                   tiling, x, y, task // bands * PIXEL, task % bands * tiling.down // bands,
                                   (task % bands + 1) * tiling.down // bands)
        free(memory)
    if failed:
        raise MemoryError("no memory for a transformed block of the batch")


cdef inline int64_t spread_row(Tiling* tiling) noexcept nogil:
    """Bytes of a row of a channel of the image that waits."""
    return ((tiling.across - 1) * SIDE + tiling.square) * PIXEL


cdef inline int64_t spread_height(Tiling* tiling) noexcept nogil:
    return (tiling.down - 1) * SIDE + tiling.square


cdef void multiply_tile_rows(vector* rows, char* points, char* sums, Tiling* tiling, Image* x, Image* y, int64_t first,
                             int64_t begin, int64_t end) noexcept nogil:
    """Rows of tiles begin to end - 1 of the block that starts at byte `first` of each pixel."""
    cdef int64_t i, group, c, panel, tile, count
    cdef int64_t side = SIDE if tiling.spreads else tiling.square, padding = 0 if tiling.spreads else tiling.padding
    cdef vector* spread = <vector*>(sums + tiling.points * tiling.sums)
    cdef Image to = y[0]
    to.data += first
    to.nbytes = min(PIXEL, y.nbytes - first)
    if y.winner != NULL:
        to.winner += first // y.itemsize
    # the second of two pixels may be the last one of a point, and tiny numbers that nobody has set are slow
    for i in range(tiling.points):
        memset(points + (i + 1) * tiling.point - PIXEL, 0, PIXEL)
    if tiling.spreads:
        memset(spread, 0, y.channels * spread_row(tiling) * spread_height(tiling))
    for i in range(begin, end):
        for group in range((tiling.across + tiling.group - 1) // tiling.group):
            tile = group * tiling.group
            count = min(tiling.group, tiling.across - tile)
            for c in range(x.channels):
                transform_squares(rows, points + tiling.at[c], tiling.point, x, c, i * SIDE - padding,
                                  tile * SIDE - padding, count, side, tiling.square, first, to.nbytes)
            for panel in range((y.channels + OUTPUTS - 1) // OUTPUTS):
                multiply_points(rows, points, sums, tiling, x.channels, panel * OUTPUTS, y.channels - panel * OUTPUTS,
                                count)
                if tiling.spreads:
                    spread_tiles(spread, sums, tiling, panel * OUTPUTS, y.channels, i * SIDE, tile * SIDE, count)
                else:
                    put_tiles(rows, sums, tiling, &to, panel * OUTPUTS, i * SIDE, tile * SIDE, count)
    if tiling.spreads:
        put_spread(spread, tiling, &to)
    fence()


cdef void transform_squares(vector* rows, char* points, int64_t point, Image* x, int64_t c, int64_t top, int64_t left,
                            int64_t count, int64_t side, int64_t square, int64_t first, int64_t nbytes) noexcept nogil:
    """`count` pieces of a channel, `side` pixels wide, the first at (top, left), others SIDE pixels to the right.

    Of whole squares B^T x B, of tiles A x A^T; each number lies `point` bytes after the one before.
    """
    cdef Plan plan
    plan.stride, plan.top, plan.span, plan.left, plan.width = 1, top, side, left, (count - 1) * SIDE + side
    cdef int64_t i, row = plan.width * PIXEL
    for i in range(side):
        if 0 <= top + i < x.height:
            pack_channel(<char*>rows + i * row, x, c, top + i, &plan, first, nbytes)
        else:
            memset(<char*>rows + i * row, 0, row)
    for i in range(2 * count):
        if side == square:
            differences(square, rows + i // 2 * 2 * SIDE + i % 2, row // LINE, 2, <vector*>points + i, point // LINE)
        else:
            values(square, side, rows + i // 2 * 2 * SIDE + i % 2, row // LINE, 2, <vector*>points + i, point // LINE)


cdef void multiply_points(const vector* _, const char* points, char* sums, Tiling* tiling, int64_t channels, int64_t o,
                          int64_t outputs, int64_t count) noexcept nogil:
    """At each point the products of a panel of weights with the tiles of a group."""
    cdef int64_t i, k, wide = panel_width(outputs), pixels = pixels_of(wide)
    cdef const char* panel = tiling.weights + o * tiling.points * channels * (LINE // lanes(_))
    for k in range(tiling.points):
        for i in range((count + pixels - 1) // pixels):
            tile_of(wide, <const vector*>(points + i * pixels * PIXEL), tiling.at, panel, 1, channels, channels,
                    tiling.zeros, _, sums + i * pixels * PIXEL, (tiling.group + 1) * PIXEL, PIXEL)
        panel += wide * channels * (LINE // lanes(_))
        points += tiling.point
        sums += tiling.sums


cdef void put_tiles(const vector* _, const char* sums, Tiling* tiling, Image* y, int64_t o, int64_t a, int64_t b,
                    int64_t count) noexcept nogil:
    """A^T sums A and the bias, to tiles side by side of the outputs of a panel, the first at pixel (a, b)."""
    cdef vector[2 * SIDE * SIDE] pixels
    cdef vector bias
    cdef int64_t i, k, output, tile
    for output in range(o, min(o + OUTPUTS, y.channels)):
        bias = splat(_, tiling.bias, output)
        for tile in range(count):
            for i in range(2):
                k = 2 * ((output - o) * (tiling.group + 1) + tile) + i
                sums_of(tiling.square, SIDE, <const vector*>sums + k, tiling.sums // LINE, &pixels[i], 2)
            for i in range(2 * SIDE * SIDE):
                pixels[i] = pixels[i] + bias
            if y.winner == NULL:
                put_tile(pixels, y, output, a, b + tile * SIDE)
            else:
                put_tile_pooled(pixels, y, output, a, b + tile * SIDE)


cdef void spread_tiles(vector* spread, const char* sums, Tiling* tiling, int64_t o, int64_t outputs, int64_t a,
                       int64_t b, int64_t count) noexcept nogil:
    """Adds B sums B^T of the outputs of a panel to the pixels of their squares, of which the first is at (a, b)."""
    cdef vector[2 * POINTS] pixels
    cdef vector* to
    cdef int64_t i, j, k, output, tile, row = spread_row(tiling) // LINE, height = spread_height(tiling)
    for output in range(o, min(o + OUTPUTS, outputs)):
        for tile in range(count):
            for i in range(2):
                k = 2 * ((output - o) * (tiling.group + 1) + tile) + i
                spread_of(tiling.square, <const vector*>sums + k, tiling.sums // LINE, &pixels[i])
            for i in range(tiling.square):
                to = spread + (output * height + a + i) * row + 2 * (b + tile * SIDE)
                for j in range(2 * tiling.square):
                    to[j] = to[j] + pixels[2 * tiling.square * i + j]


cdef void put_spread(const vector* spread, Tiling* tiling, Image* y) noexcept nogil:
    """The image that has waited, without its padding."""
    cdef int64_t o, i, j, row = spread_row(tiling) // LINE, height = spread_height(tiling)
    cdef const vector* p
    for o in range(y.channels):
        for i in range(y.height):
            p = spread + (o * height + i + tiling.padding) * row + 2 * tiling.padding
            for j in range(y.width):
                put(y.data + o * y.by_channel + i * y.by_row + j * y.by_pixel, p[2 * j], p[2 * j + 1], y.nbytes,
                    y.streamed)


cdef inline void put_tile(const vector* pixels, Image* y, int64_t o, int64_t a, int64_t b) noexcept nogil:
    """Those of its pixels that the image has."""
    cdef int64_t i, j
    for i in range(min(SIDE, y.height - a)):
        for j in range(min(SIDE, y.width - b)):
            put(y.data + o * y.by_channel + (a + i) * y.by_row + (b + j) * y.by_pixel, pixels[2 * (i * SIDE + j)],
                pixels[2 * (i * SIDE + j) + 1], y.nbytes, y.streamed)


cdef inline void put_tile_pooled(const vector* pixels, Image* y, int64_t o, int64_t a, int64_t b) noexcept nogil:
    """The largest of each of its windows, none of which reaches into another tile."""
    cdef int64_t i, j
    cdef const vector* p
    cdef const vector* q
    for i in range(0, min(SIDE, y.height - a), 2):
        for j in range(0, min(SIDE, y.width - b), 2):
            p, q = pixels + 2 * (i * SIDE + j), pixels + 2 * ((i + 1) * SIDE + j)
            put_largest(y.data + o * y.by_channel + (a + i) // 2 * y.by_row + (b + j) // 2 * y.by_pixel, y,
                        p[0], p[1], p[2], p[3], q[0], q[1], q[2], q[3], y.nbytes)


cdef void transform_weights(vector* packed, Image* w, int64_t by_output, int64_t outputs) noexcept:
    """G w G^T of all outputs and channels, as `Tiling.weights` are."""
    cdef int64_t panel, i, o, wide, by_lane = lanes(packed), size = LINE // lanes(packed)
    cdef int64_t points = (SIDE + w.width - 1) ** 2
    # w is read within its shape and strides; panels end where packed does
    for panel in prange((outputs + OUTPUTS - 1) // OUTPUTS, schedule="static", nogil=True):
        o = panel * OUTPUTS
        wide = panel_width(outputs - o)
        for i in range((wide + by_lane - 1) // by_lane):
            transform_panel(packed, w, by_output, o + i * by_lane, min(by_lane, outputs - o - i * by_lane),
                            <char*>packed + (o * points * w.channels + i * by_lane) * size, wide,
                            min(by_lane, wide - i * by_lane) * size)


cdef void transform_panel(const vector* _, Image* w, int64_t by_output, int64_t o, int64_t outputs, char* to,
                          int64_t wide, int64_t nbytes) noexcept nogil:
    """So many outputs from o on, which are the lanes; nbytes of a point and channel go to a panel that is `wide`."""
    cdef vector[TAPS] taps
    cdef vector[POINTS] points
    cdef int64_t c, i, k, size = LINE // lanes(_), square = SIDE + w.width - 1
    for c in range(w.channels):
        for k in range(w.height * w.width):
            taps[k] = zeros(_)
            for i in range(outputs):
                memcpy(<char*>&taps[k] + i * size, w.data + (o + i) * by_output + c * w.by_channel
                       + k // w.width * w.by_row + k % w.width * w.by_pixel, size)
        values(square, w.width, taps, w.width, 1, points, 1)
        scale(square, points)
        for k in range(square * square):
            memcpy(to + (k * w.channels + c) * wide * size, &points[k], nbytes)


cdef inline void scale(int64_t square, vector* points) noexcept nogil:
    """D points D, which turns A into G."""
    cdef int64_t k
    cdef const double* d = scales[(square - 6) // 2]
    for k in range(square * square):
        if vector is vf32:
            points[k] = points[k] * <float>(d[k // square] * d[k % square])
        else:
            points[k] = points[k] * (d[k // square] * d[k % square])


cdef inline void differences(int64_t square, const vector* d, int64_t row, int64_t column, vector* points,
                             int64_t point) noexcept nogil:
    """B^T d B."""
    if vector is vf32:
        differences_square32(square, SIDE, d, row, column, points, square * point, point)
    else:
        differences_square64(square, SIDE, d, row, column, points, square * point, point)


cdef inline void spread_of(int64_t square, const vector* points, int64_t point, vector* d) noexcept nogil:
    """B points B^T, two vectors to a pixel."""
    if vector is vf32:
        spread_square32(square, SIDE, points, square * point, point, d, 2 * square, 2)
    else:
        spread_square64(square, SIDE, points, square * point, point, d, 2 * square, 2)


cdef inline void values(int64_t square, int64_t n, const vector* d, int64_t row, int64_t column, vector* points,
                        int64_t point) noexcept nogil:
    """A d A^T of n x n."""
    if vector is vf32:
        values_square32(square, n, d, row, column, points, square * point, point)
    else:
        values_square64(square, n, d, row, column, points, square * point, point)


cdef inline void sums_of(int64_t square, int64_t n, const vector* points, int64_t point, vector* d,
                         int64_t column) noexcept nogil:
    """A^T points A, n x n."""
    if vector is vf32:
        sums_square32(square, n, points, square * point, point, d, n * column, column)
    else:
        sums_square64(square, n, points, square * point, point, d, n * column, column)
