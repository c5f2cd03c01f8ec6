# Images of which only the largest pixel of each window of 2 x 2, side by side, is held: for blocks.pxi.
#
# A convolution writes such an image from the four sums of a window, and its gradients read it, zero where a pixel is
# not the winner, as they pack it. Pixels beyond the last window are neither computed nor read.

cdef enum:
    SPREAD = 1 << 17  # bytes of a gradient spread out that stay near


cdef pooled_by(Image* image, winner, size):
    """An image of this size, of which the arrays, which the caller holds, have the winners; as it is without these."""
    if winner is not None:
        image.height, image.width = size
        image.winner = <uint8_t*>address(winner)


cdef int64_t near_rows(Image* dy, int64_t rows) noexcept:
    """Of so many rows, those of a gradient that are spread out at a time."""
    return min(rows, max(2, SPREAD // max(dy.channels * dy.width * PIXEL, 1) // 2 * 2))


cdef inline void put_largest(char* target, Image* y, vector a0, vector a1, vector b0, vector b1, vector c0, vector c1,
                             vector d0, vector d1, int64_t nbytes) noexcept nogil:
    """Of the four pixels of a window, and which it was."""
    cdef uint8_t[2 * LINE] places
    cdef uint8_t* winner = y.winner + (target - y.data) // (LINE // lanes(&a0))
    cdef uint8_t* to = winner if nbytes == PIXEL else &places[0]
    if vector is vf32:
        a0 = largest32(a0, b0, c0, d0, to)
        a1 = largest32(a1, b1, c1, d1, to + lanes(&a0))
    else:
        a0 = largest64(a0, b0, c0, d0, to)
        a1 = largest64(a1, b1, c1, d1, to + lanes(&a0))
    put(target, a0, a1, nbytes, y.streamed)
    if nbytes < PIXEL:
        memcpy(winner, places, nbytes // (LINE // lanes(&a0)))


cdef void unpool(char* packed, Image* x, int64_t c, int64_t row, int64_t column, int64_t step, int64_t count,
                 int64_t first, int64_t nbytes) noexcept nogil:
    """Pixels of a row, `step` columns apart: that of the window where it was the winner, else zeros."""
    cdef int64_t i, j, size = x.itemsize, end = x.width // 2 if row < x.height // 2 * 2 else 0
    cdef int64_t winners = x.by_pixel // size, ahead = x.by_row // size
    cdef int place
    cdef const char* data = x.data + c * x.by_channel + row // 2 * x.by_row + first
    cdef const uint8_t* winner = x.winner + (data - x.data) // size
    for i in range(count):
        j = (column + i * step) >> 1
        if j >= end:
            memset(packed, 0, (count - i) * PIXEL)
            return
        place = <int>(2 * (row & 1) + ((column + i * step) & 1))
        ask_for(data + j * x.by_pixel + x.by_row)
        prefetch(winner + j * winners + ahead)
        if nbytes < PIXEL:
            keep_part(packed, data + j * x.by_pixel, winner + j * winners, place, nbytes, size)
        elif size == sizeof(float):
            keep32(packed, data + j * x.by_pixel, winner + j * winners, place)
        else:
            keep64(packed, data + j * x.by_pixel, winner + j * winners, place)
        packed += PIXEL


cdef void keep_part(char* packed, const char* source, const uint8_t* winner, int place, int64_t nbytes,
                    int64_t itemsize) noexcept nogil:
    """The first nbytes of a pixel, and zeros."""
    cdef char[PIXEL] pixel
    cdef uint8_t[PIXEL] its_winner
    memset(its_winner, 0, PIXEL)
    copy_pixel(pixel, source, nbytes)
    memcpy(its_winner, winner, nbytes // itemsize)
    if itemsize == sizeof(float):
        keep32(packed, pixel, its_winner, place)
    else:
        keep64(packed, pixel, its_winner, place)
