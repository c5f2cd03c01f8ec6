# Winograd's convolution of stride 1, in tiles of m x m pixels of y or r x r weights, m + r = 7: for conv.pyx.
#
#     y = A^T [sum over c of (G w G^T) * (B^T x B)] A       36 products a tile instead of m^2 r^2 (winograd.py)
#
# Lanes are images of a block of the batch, as everywhere. A row of tiles of x is transformed channel by channel, a
# group of tiles at a time, so that what comes of it stays near; the products at each of the 36 points are those of a
# convolution of 1 x 1 (multiply.pxi).

cdef extern from "winograd.h" nogil:
    void differences_square32(int, const vf32*, int64_t, int64_t, vf32*, int64_t, int64_t)
    void differences_square64(int, const vf64*, int64_t, int64_t, vf64*, int64_t, int64_t)
    void values_square32(int, const vf32*, int64_t, int64_t, vf32*, int64_t, int64_t)
    void values_square64(int, const vf64*, int64_t, int64_t, vf64*, int64_t, int64_t)
    void sums_square32(int, const vf32*, int64_t, int64_t, vf32*, int64_t, int64_t)
    void sums_square64(int, const vf64*, int64_t, int64_t, vf64*, int64_t, int64_t)

cdef enum:
    SIDE = 6
    POINTS = 36
    GROUP = 384 << 10  # bytes of transformed x


cdef struct Tiling:
    int64_t pixels, padding, across  # m, and tiles side by side
    int64_t group          # tiles that are transformed at a time
    int64_t point, sums    # bytes of all channels of a group at a point, and of a panel's sums
    const int32_t* at      # (channels,): where each lies at a point
    const char* weights    # (panels, POINTS, channels, outputs of a panel)
    const char* bias
    const char* zeros


cdef convolve_tiles(w, x, int64_t padding, bias, y, x_winner=None, y_winner=None, size=(0, 0), normal=None):
    """y[o, a, b] = bias[o] + sum_{c, u, v} w[o, c, u, v] x[c, a + u - padding, b + v - padding]; w has any strides.

    With winners x or y is pooled, x from this size; with `normal` x is normalised.
    """
    if not y.size:
        return
    normal, (x, x_winner) = as_rows(normal), as_packed(x, x_winner)
    cdef Image source = image_of(x), target = image_of(y)
    pooled_by(&source, x_winner, size)
    normalised_by(&source, normal)
    pooled_by(&target, y_winner, (2 * target.height, 2 * target.width))
    cdef int64_t outputs = target.channels, channels = source.channels, most
    cdef Tiling tiling
    tiling.pixels, tiling.padding = SIDE + 1 - w.shape[2], padding
    tiling.across = (target.width + tiling.pixels - 1) // tiling.pixels
    most = max(1, GROUP // (POINTS * channels * PIXEL))
    most = (tiling.across + most - 1) // most
    tiling.group = (tiling.across + most - 1) // most
    tiling.point, tiling.sums = (channels * tiling.group + 1) * PIXEL, (OUTPUTS * (tiling.group + 1) + 1) * PIXEL
    at = (np.arange(channels) * (tiling.group * PIXEL)).astype(np.int32)
    cdef int64_t panels = outputs // OUTPUTS * OUTPUTS
    if panels < outputs:
        panels += panel_width(outputs - panels)
    packed = empty_array((panels * (POINTS * channels + 1) * source.itemsize + LINE,), np.dtype(np.int8))
    cdef char* weights = to_line(address(packed, PyBUF_WRITABLE))
    cdef char* start = weights + panels * POINTS * channels * source.itemsize
    start_from(bias, panels, source.itemsize, start)
    tiling.at, tiling.weights, tiling.bias = <const int32_t*>address(at), weights, start
    zero = np.zeros(OUTPUTS, x.dtype)
    tiling.zeros = address(zero)
    cdef Image kernels = image_of(w.transpose(1, 2, 3, 0)[..., :1])
    if source.itemsize == sizeof(float):
        transform_weights[vf32](<vf32*>start, &kernels, w.strides[0], outputs, weights)
    else:
        transform_weights[vf64](<vf64*>start, &kernels, w.strides[0], outputs, weights)
    multiply_tiles(&tiling, &source, &target)


cdef void transform_weights(const vector* _, Image* w, int64_t by_output, int64_t outputs, char* packed) noexcept:
    """G w G^T of all outputs and channels, as Tiling has them; lanes are outputs."""
    cdef int64_t panel, c
    # w is read within its strides and shape; panels end where packed does
    for panel in prange((outputs + OUTPUTS - 1) // OUTPUTS, schedule="static", nogil=True):
        for c in range(w.channels):
            transform_panel(_, w, by_output, panel * OUTPUTS, c, outputs - panel * OUTPUTS, packed)


cdef void transform_panel(const vector* _, Image* w, int64_t by_output, int64_t o, int64_t c, int64_t outputs,
                          char* packed) noexcept nogil:
    cdef vector[25] taps
    cdef vector[POINTS] points
    cdef int64_t wide = panel_width(outputs), n = lanes(_), size = w.itemsize, i, j, u, v, k, count
    cdef const char* tap
    cdef double[SIDE] scale
    scale[0], scale[1], scale[2], scale[3], scale[4], scale[5] = 1, -1.5, -1.5, 6, 6, 1
    for i in range(0, wide, 8):
        count = min(n, wide - i)
        if i % n == 0:
            for u in range(w.height):
                for v in range(w.width):
                    taps[u * w.width + v] = zeros(_)
                    for j in range(min(n, outputs - i)):
                        tap = w.data + (o + i + j) * by_output + c * w.by_channel + u * w.by_row + v * w.by_pixel
                        memcpy(<char*>&taps[u * w.width + v] + j * size, tap, size)
            if vector is vf32:
                values_square32(<int>w.width, taps, w.width, 1, points, SIDE, 1)
            else:
                values_square64(<int>w.width, taps, w.width, 1, points, SIDE, 1)
            for k in range(POINTS):
                if vector is vf32:
                    points[k] = points[k] * <float>(1 / (scale[k // SIDE] * scale[k % SIDE]))
                else:
                    points[k] = points[k] * (1 / (scale[k // SIDE] * scale[k % SIDE]))
                memcpy(packed + ((o * POINTS + k * wide) * w.channels + c * wide + i) * size, &points[k], count * size)


cdef multiply_tiles(Tiling* tiling, Image* x, Image* y):
    cdef int64_t task, failed = 0, down = (y.height + tiling.pixels - 1) // tiling.pixels
    cdef int64_t blocks = blocks_of(y), band = band_of(blocks, down)
    cdef int64_t bands = (down + band - 1) // band
    cdef int64_t rows = SIDE * ((tiling.group - 1) * tiling.pixels + SIDE) * PIXEL
    cdef int64_t points = POINTS * tiling.point + SLACK
    cdef char* memory = NULL
    cdef int threads = team(True)
    # the table of offsets names channels of a group only; weights have whole panels
    with nogil, parallel(num_threads=threads):
        memory = <char*>malloc(rows + points + POINTS * tiling.sums + LINE)
        for task in prange(blocks * bands, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif x.itemsize == sizeof(float):
                tile_band(<vf32*>to_line(memory), to_line(memory) + rows, to_line(memory) + rows + points, tiling, x, y,
                          task // bands * PIXEL, task % bands * band, min(task % bands * band + band, down))
            else:
                tile_band(<vf64*>to_line(memory), to_line(memory) + rows, to_line(memory) + rows + points, tiling, x, y,
                          task // bands * PIXEL, task % bands * band, min(task % bands * band + band, down))
        free(memory)
    if failed:
        raise MemoryError("no memory for a transformed block of the batch")


cdef void tile_band(vector* rows, char* points, char* sums, Tiling* tiling, Image* x, Image* y, int64_t first,
                    int64_t begin, int64_t end) noexcept nogil:
    """Rows of tiles begin to end - 1 of the block that starts at byte `first` of each pixel."""
    cdef int64_t i, j, c, o, tile, count
    cdef Image to = y[0]
    to.data += first
    if y.winner != NULL:
        to.winner += first // y.itemsize
    to.nbytes = min(PIXEL, y.nbytes - first)
    for i in range(begin, end):
        for j in range((tiling.across + tiling.group - 1) // tiling.group):
            tile = j * tiling.group
            count = min(tiling.group, tiling.across - tile)
            for c in range(x.channels):
                transform_channel(rows, points + tiling.at[c], tiling.point, x, c, i * tiling.pixels - tiling.padding,
                                  tile * tiling.pixels - tiling.padding, count, SIDE, tiling.pixels, first, to.nbytes)
            for o in range(0, y.channels, 12):
                multiply_panel(rows, points, sums, tiling, x.channels, o, y.channels - o, count)
                put_panel(rows, sums, tiling, &to, o, i, tile, count)
    fence()


cdef void transform_channel(vector* rows, char* points, int64_t point, Image* x, int64_t c, int64_t top, int64_t left,
                            int64_t count, int64_t side, int64_t step, int64_t first, int64_t nbytes) noexcept nogil:
    """`count` squares of a channel, `side` pixels wide, the first at (top, left), others `step` pixels to the right.

    B^T x B of squares of six, else A x A^T; each of the 36 numbers `point` bytes from the one before.
    """
    cdef Plan plan
    plan.stride, plan.top, plan.span, plan.left, plan.width = 1, top, side, left, (count - 1) * step + side
    cdef int64_t k
    cdef vector* square
    cdef vector* to
    for k in range(side):
        if 0 <= top + k < x.height:
            pack_channel(<char*>rows + k * plan.width * PIXEL, x, c, top + k, &plan, first, nbytes)
        else:
            memset(<char*>rows + k * plan.width * PIXEL, 0, plan.width * PIXEL)
    point //= LINE
    for k in range(2 * count):
        square, to = rows + k // 2 * 2 * step + k % 2, <vector*>points + k
        if vector is vf32:
            if side == SIDE:
                differences_square32(2, square, 2 * plan.width, 2, to, SIDE * point, point)
            else:
                values_square32(<int>side, square, 2 * plan.width, 2, to, SIDE * point, point)
        else:
            if side == SIDE:
                differences_square64(2, square, 2 * plan.width, 2, to, SIDE * point, point)
            else:
                values_square64(<int>side, square, 2 * plan.width, 2, to, SIDE * point, point)


cdef void multiply_panel(const vector* _, const char* points, char* sums, Tiling* tiling, int64_t channels, int64_t o,
                         int64_t outputs, int64_t count) noexcept nogil:
    """At each point the products of a panel of weights with all tiles of a group."""
    cdef int64_t i, k, tile, wide = panel_width(outputs), pixels = 2 if wide == 4 else 1
    cdef const char* panel = tiling.weights + o * POINTS * channels * (LINE // lanes(_))
    for k in range(POINTS):
        for i in range((count + pixels - 1) // pixels):
            tile = i * pixels
            tile_of(wide, <const vector*>(points + tile * PIXEL), tiling.at, panel, 1, channels, channels,
                    tiling.zeros, _, sums + tile * PIXEL, (tiling.group + 1) * PIXEL, PIXEL)
        panel += wide * channels * (LINE // lanes(_))
        points += tiling.point
        sums += tiling.sums


cdef void put_panel(const vector* _, const char* sums, Tiling* tiling, Image* y, int64_t o, int64_t i, int64_t tile,
                    int64_t count) noexcept nogil:
    """A^T sums A of the outputs of a panel, with their biases, to a group of tiles of y."""
    cdef vector[32] pixels
    cdef vector bias
    cdef int64_t output, t, k, m = tiling.pixels, point = tiling.sums // LINE
    cdef const vector* square
    for output in range(o, min(o + OUTPUTS, y.channels)):
        bias = splat(_, tiling.bias, output)
        for t in range(count):
            for k in range(2):
                square = <const vector*>sums + ((output - o) * (tiling.group + 1) + t) * 2 + k
                if vector is vf32:
                    sums_square32(<int>m, square, SIDE * point, point, &pixels[k], 2 * m, 2)
                else:
                    sums_square64(<int>m, square, SIDE * point, point, &pixels[k], 2 * m, 2)
            for k in range(2 * m * m):
                pixels[k] = pixels[k] + bias
            if y.winner == NULL:
                put_tile(pixels, y, output, i * m, (tile + t) * m, m)
            else:
                put_largest_of_tile(pixels, y, output, i * m, (tile + t) * m, m)


cdef inline void put_tile(const vector* pixels, Image* y, int64_t o, int64_t a, int64_t b, int64_t m) noexcept nogil:
    """Its pixels within the image, the first at (a, b)."""
    cdef int64_t i, j
    for i in range(min(m, y.height - a)):
        for j in range(min(m, y.width - b)):
            put(y.data + o * y.by_channel + (a + i) * y.by_row + (b + j) * y.by_pixel, pixels[2 * (i * m + j)],
                pixels[2 * (i * m + j) + 1], y.nbytes, y.streamed)


cdef inline void put_largest_of_tile(const vector* pixels, Image* y, int64_t o, int64_t a, int64_t b,
                                     int64_t m) noexcept nogil:
    """Of each window of 2 x 2."""
    cdef int64_t i, j, k
    for i in range(0, min(m, y.height - a), 2):
        for j in range(0, min(m, y.width - b), 2):
            k = 2 * (i * m + j)
            put_largest(y.data + o * y.by_channel + (a + i) // 2 * y.by_row + (b + j) // 2 * y.by_pixel, y, pixels[k],
                        pixels[k + 1], pixels[k + 2], pixels[k + 3], pixels[k + 2 * m], pixels[k + 2 * m + 1],
                        pixels[k + 2 * m + 2], pixels[k + 2 * m + 3], y.nbytes)


cdef enum:
    TOGETHER = 8  # tiles whose products are summed in registers


cdef struct Fields:  # of a gradient: what each of its tiles of dy, from all blocks, meets in x
    int64_t pixels, padding, down, across, count  # m, and tiles
    int64_t parts, groups, panels, fives, chunk   # fives of channels that are transformed at a time
    int64_t x_point, dy_point, entries
    const int32_t* at


cdef weight_gradient_tiles(dy, x, dw, int64_t padding, size, winner, normal):
    """dw of stride 1, dy of this size or pooled from it."""
    (dy, winner), x, normal = as_packed(dy, winner), with_contiguous_batch(x), as_rows(normal)
    cdef Image source = image_of(x), target = image_of(dy)
    pooled_by(&target, winner, size)
    normalised_by(&source, normal)
    cdef Fields f
    f.pixels, f.padding = SIDE + 1 - dw.shape[2], padding
    f.down, f.across = (target.height + f.pixels - 1) // f.pixels, (target.width + f.pixels - 1) // f.pixels
    f.count = blocks_of(&target) * f.down * f.across
    f.panels, f.fives = (target.channels + ACROSS - 1) // ACROSS, (source.channels + TILE - 1) // TILE
    f.entries = f.panels * f.fives * TILE * ACROSS
    f.parts = max(1, min((f.count + TOGETHER - 1) // TOGETHER, PARTS, ENTRIES // (POINTS * f.entries)))
    f.groups = min(f.panels, (2 * omp_get_max_threads() + f.parts - 1) // f.parts)
    f.chunk = max(1, GROUP // (POINTS * TOGETHER * TILE * PIXEL))
    f.x_point = (f.chunk * TILE * TOGETHER + 1) * PIXEL
    f.dy_point = ((f.panels + f.groups - 1) // f.groups * ACROSS * TOGETHER + 1) * PIXEL
    at = (np.arange(f.chunk * TILE) * (TOGETHER * PIXEL)).astype(np.int32)
    f.at = <const int32_t*>address(at)
    partial = np.zeros(f.parts * POINTS * f.entries + LINE, dy.dtype)
    found = empty_array((dw.shape[2] * dw.shape[3], f.entries + LINE), dy.dtype)
    gather_fields(&f, &target, &source, address(partial, PyBUF_WRITABLE))
    if source.itemsize == sizeof(float):
        collect_fields[vf32](<vf32*>address(partial, PyBUF_WRITABLE), &f, <int>dw.shape[2], address(found, PyBUF_WRITABLE))
    else:
        collect_fields[vf64](<vf64*>address(partial, PyBUF_WRITABLE), &f, <int>dw.shape[2], address(found, PyBUF_WRITABLE))
    found = found[:, :f.entries].reshape(*dw.shape[2:], f.panels, f.fives, TILE, ACROSS).transpose(2, 5, 3, 4, 0, 1)
    found = found.reshape(f.panels * ACROSS, f.fives * TILE, *dw.shape[2:])
    dw[...] = found[:len(dw), :dw.shape[1]]


cdef gather_fields(Fields* f, Image* dy, Image* x, char* partial):
    cdef int64_t job, failed = 0
    cdef int64_t rows = SIDE * ((TOGETHER - 1) * f.pixels + SIDE) * PIXEL
    cdef int64_t points = POINTS * f.x_point, grads = POINTS * f.dy_point
    cdef char* memory = NULL
    cdef int threads = team(True)
    # a job adds to panels of its own, of its part of `partial`
    with nogil, parallel(num_threads=threads):
        memory = <char*>malloc(rows + points + grads + LINE)
        for job in prange(f.parts * f.groups, schedule="dynamic"):
            if memory == NULL:
                failed += 1
            elif x.itemsize == sizeof(float):
                gather_part(<vf32*>to_line(memory), to_line(memory) + rows, to_line(memory) + rows + points, f, dy, x,
                            partial + job // f.groups * POINTS * f.entries * <int64_t>sizeof(float), job // f.groups, job % f.groups)
            else:
                gather_part(<vf64*>to_line(memory), to_line(memory) + rows, to_line(memory) + rows + points, f, dy, x,
                            partial + job // f.groups * POINTS * f.entries * <int64_t>sizeof(double), job // f.groups, job % f.groups)
        free(memory)
    if failed:
        raise MemoryError("no memory for a transformed block of the batch")


cdef void gather_part(vector* rows, char* points, char* grads, Fields* f, Image* dy, Image* x, char* sums,
                      int64_t part, int64_t group) noexcept nogil:
    cdef int64_t tasks = (f.count + TOGETHER - 1) // TOGETHER, task, begin, end, o, c, k, five, fives, panel
    cdef int64_t low = group * f.panels // f.groups, high = (group + 1) * f.panels // f.groups
    for task in range(part * tasks // f.parts, (part + 1) * tasks // f.parts):
        begin, end = task * TOGETHER, min((task + 1) * TOGETHER, f.count)
        for o in range(low * ACROSS, high * ACROSS):
            transform_field(rows, grads + (o - low * ACROSS) * TOGETHER * PIXEL, f.dy_point, f, dy, o, begin, end,
                            f.pixels, 0)
        for five in range(0, f.fives, 1):
            if five % f.chunk:
                continue
            fives = min(f.chunk, f.fives - five)
            for c in range(five * TILE, (five + fives) * TILE):
                transform_field(rows, points + (c - five * TILE) * TOGETHER * PIXEL, f.x_point, f, x, c, begin, end,
                                SIDE, f.padding)
            for k in range(POINTS):
                for panel in range(low, high):
                    for c in range(fives):
                        five_by_four(<const vector*>rows, points + k * f.x_point + c * TILE * TOGETHER * PIXEL, f.at,
                                     grads + k * f.dy_point + (panel - low) * ACROSS * TOGETHER * PIXEL, 1, 1,
                                     2 * (end - begin), 0, 0, TOGETHER * PIXEL, 0,
                                     sums + (k * f.entries + (panel * f.fives + five + c) * TILE * ACROSS) * x.itemsize)


cdef void transform_field(vector* rows, char* points, int64_t point, Fields* f, Image* x, int64_t c, int64_t begin,
                          int64_t end, int64_t side, int64_t padding) noexcept nogil:
    """A channel's squares of tiles begin to end - 1; zeros of a channel that is not there."""
    cdef int64_t count, row, column, first, k
    if c >= x.channels:
        for k in range(POINTS):
            memset(points + k * point, 0, (end - begin) * PIXEL)
        return
    while begin < end:
        column, row, first = begin % f.across, begin // f.across % f.down, begin // (f.across * f.down) * PIXEL
        count = min(end - begin, f.across - column)
        transform_channel(rows, points, point, x, c, row * f.pixels - padding, column * f.pixels - padding, count,
                          side, f.pixels, first, bytes_left(x, first))
        points += count * PIXEL
        begin += count


cdef void collect_fields(const vector* partial, Fields* f, int kernel, char* found) noexcept:
    """G^T sums G."""
    cdef vector[POINTS] points
    cdef vector[25] taps
    cdef int64_t i, k, part, n = lanes(partial), size = LINE // n
    cdef double[SIDE] scale
    scale[0], scale[1], scale[2], scale[3], scale[4], scale[5] = 1, -1.5, -1.5, 6, 6, 1
    for i in range((f.entries + n - 1) // n):
        for k in range(POINTS):
            points[k] = (<const vector*>(<const char*>partial + (k * f.entries + i * n) * size))[0]
            for part in range(1, f.parts):
                points[k] = points[k] + (<const vector*>(<const char*>partial + ((part * POINTS + k) * f.entries + i * n) * size))[0]
            if vector is vf32:
                points[k] = points[k] * <float>(1 / (scale[k // SIDE] * scale[k % SIDE]))
            else:
                points[k] = points[k] * (1 / (scale[k // SIDE] * scale[k % SIDE]))
        if vector is vf32:
            sums_square32(kernel, points, SIDE, 1, taps, kernel, 1)
        else:
            sums_square64(kernel, points, SIDE, 1, taps, kernel, 1)
        for k in range(kernel * kernel):
            memcpy(found + (k * (f.entries + LINE) + i * n) * size, &taps[k], LINE)
