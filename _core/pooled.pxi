# Images of which only the largest pixel of each window of k x k, side by side, is held: for blocks.pxi.
#
# A convolution writes such an image by way of rows that wait in the near caches, and its gradients read it, zero where
# a pixel is not the winner, as they pack it. Pixels beyond the last window are neither computed nor read.


cdef void pooled_by(Image* image, const uint8_t[:, :, :, ::1] winner, int64_t window, int64_t height,
                    int64_t width) noexcept:
    """An image of this size, of which the arrays hold the winners; as it is where there are none."""
    if winner is None:
        return
    image.height, image.width, image.window = height, width, window
    image.winner = <uint8_t*>&winner[0, 0, 0, 0]


cdef int64_t rows_waiting(Image* y, int64_t rows) noexcept:
    """Of so many rows, those of y that wait at a time: whole windows, that stay near."""
    cdef int64_t most = BUDGET // max(y.channels * y.width * PIXEL, 1), even = 2 * y.window
    return max(1, min(rows, most) // even) * even if y.winner != NULL else rows


cdef int64_t waiting_bytes(Image* y, int64_t rows) noexcept nogil:
    """Memory for rows of y that wait for their pooling."""
    return y.channels * rows * y.width * PIXEL if y.winner != NULL else 0


cdef Image waiting(Image* y, char* memory, int64_t begin, int64_t end) noexcept nogil:
    """Rows begin to end - 1 of y as they lie in memory, a block of the batch."""
    cdef Image rows = y[0]
    rows.winner, rows.window, rows.streamed = NULL, 1, False
    rows.by_pixel, rows.by_row, rows.by_channel = PIXEL, y.width * PIXEL, (end - begin) * y.width * PIXEL
    rows.data = memory - begin * rows.by_row
    return rows


cdef void pool_rows(const vector* _, Image* rows, Image* y, int64_t begin, int64_t end, int64_t first,
                    int64_t nbytes) noexcept nogil:
    """The largest of each window of waiting rows begin to end - 1, and its place, go to y."""
    cdef int64_t c, i, j, at, k = y.window
    cdef vector[2] best
    cdef uint8_t[PIXEL] winner
    cdef const char* corner
    cdef bint whole = nbytes == PIXEL
    for c in range(y.channels):
        for i in range(begin // k, end // k):
            for j in range(y.width // k):
                corner = rows.data + c * rows.by_channel + k * i * rows.by_row + k * j * PIXEL
                at = c * y.by_channel + i * y.by_row + j * y.by_pixel + first
                if vector is vf32:
                    largest32(corner, rows.by_row, k, best, y.winner + at // y.itemsize if whole else &winner[0])
                else:
                    largest64(corner, rows.by_row, k, best, y.winner + at // y.itemsize if whole else &winner[0])
                put(y.data + at, best[0], best[1], nbytes, y.streamed)
                if not whole:
                    memcpy(y.winner + at // y.itemsize, winner, nbytes // y.itemsize)


cdef void unpool(char* packed, Image* x, int64_t c, int64_t row, int64_t column, int64_t step, int64_t count,
                 int64_t first, int64_t nbytes) noexcept nogil:
    """Pixels of a row, `step` columns apart: that of the window where it was the winner, else zeros."""
    cdef int64_t i, at, k = x.window, place = row % k * k, j = column // k, v = column % k
    cdef char[PIXEL] pixel
    cdef uint8_t[PIXEL] winner
    for i in range(count):
        at = c * x.by_channel + row // k * x.by_row + j * x.by_pixel + first
        if row // k >= x.height // k or j >= x.width // k:
            memset(packed, 0, PIXEL)
        elif nbytes == PIXEL and x.itemsize == sizeof(float):
            keep32(packed, x.data + at, x.winner + at // sizeof(float), <int>(place + v))
        elif nbytes == PIXEL:
            keep64(packed, x.data + at, x.winner + at // sizeof(double), <int>(place + v))
        else:
            memset(winner, 0, PIXEL)
            copy_pixel(pixel, x.data + at, nbytes)
            memcpy(winner, x.winner + at // x.itemsize, nbytes // x.itemsize)
            if x.itemsize == sizeof(float):
                keep32(packed, pixel, winner, <int>(place + v))
            else:
                keep64(packed, pixel, winner, <int>(place + v))
        packed += PIXEL
        v += step
        while v >= k:
            v -= k
            j += 1
