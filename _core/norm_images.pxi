# Pooled rows of norm.pyx: the largest of each window of 2 x 2, which alone is written; its gradient is never spread
# out in memory.

def forward_pooled(x, gain, bias, eps):
    twin.check_images(x)
    if x.dtype.kind == "c":
        return twin.forward_pooled(x, gain, bias, eps)
    vectors, (channels, height, width, images) = _vectors(x, gain, bias), x.shape
    y = empty_array((channels, height // 2, width // 2, images), x.dtype)
    winner, mean, var = empty_array(y.shape, np.dtype(np.uint8)), np.empty(channels), np.empty(channels)
    if x.dtype == np.float32:
        forward_images[float](np.ascontiguousarray(x), vectors, eps, y, winner, mean, var)
    else:
        forward_images[double](np.ascontiguousarray(x), vectors, eps, y, winner, mean, var)
    return y, winner, mean, var


cdef void forward_images(const floating[:, :, :, ::1] x, const floating[:, ::1] vectors, double eps,
                         floating[:, :, :, ::1] y, uint8_t[:, :, :, ::1] winner, double[::1] mean, double[::1] var):
    cdef int64_t c, n = x.shape[1] * x.shape[2] * x.shape[3]
    # x has images of at least 2 x 2: check_images; so in `backward_images`
    for c in prange(x.shape[0], nogil=True, schedule="static", num_threads=team(x.shape[0] * n > SMALL)):
        look_at(&x[c, 0, 0, 0], n, &mean[c], &var[c])
        pool(&x[c, 0, 0, 0], x.shape[1], x.shape[2], x.shape[3], <floating>mean[c],
             <floating>(1 / sqrt(var[c] + eps)), vectors[0, c], vectors[1, c], &y[c, 0, 0, 0], &winner[c, 0, 0, 0])


cdef void pool(const floating* x, int64_t height, int64_t width, int64_t images, floating mean, floating inverse,
               floating gain, floating bias, floating* y, uint8_t* winner) noexcept nogil:
    """Of a channel."""
    cdef floating[4] normal
    cdef int64_t i, row = width * images, part = width // 2 * images
    normal[0], normal[1], normal[2], normal[3] = mean, inverse, gain, bias
    for i in range(height // 2):
        if floating is float:
            pool_f32(x + 2 * i * row, row, images, width // 2, normal, y + i * part, winner + i * part)
        else:
            pool_f64(x + 2 * i * row, row, images, width // 2, normal, y + i * part, winner + i * part)


def backward_pooled(dy, winner, x, mean, inverse, gain, bias, batch):
    twin.check_images(x)
    twin.check_winner(dy, winner, x)
    if x.dtype.kind == "c":
        return twin.backward_pooled(dy, winner, x, mean, inverse, gain, bias, batch)
    vectors, dx = _vectors(x, mean, inverse, gain, bias), empty_like(x)
    dgain, dbias = np.empty(len(x)), np.empty(len(x))
    dy, winner, x = np.ascontiguousarray(dy), np.ascontiguousarray(winner), np.ascontiguousarray(x)
    if x.dtype == np.float32:
        backward_images[float](dy, winner, x, vectors, batch, dx, dgain, dbias)
    else:
        backward_images[double](dy, winner, x, vectors, batch, dx, dgain, dbias)
    return dx, dgain, dbias


cdef void backward_images(const floating[:, :, :, ::1] dy, const uint8_t[:, :, :, ::1] winner,
                          const floating[:, :, :, ::1] x, const floating[:, ::1] vectors, bint batch,
                          floating[:, :, :, ::1] dx, double[::1] dgain, double[::1] dbias):
    cdef int64_t c, n = x.shape[1] * x.shape[2] * x.shape[3]
    cdef bint streamed = x.shape[0] * n * sizeof(floating) >= STREAMED
    for c in prange(x.shape[0], nogil=True, schedule="static", num_threads=team(x.shape[0] * n > SMALL)):
        backward_image(&dy[c, 0, 0, 0], &winner[c, 0, 0, 0], &x[c, 0, 0, 0], x.shape[1], x.shape[2], x.shape[3],
                       vectors[0, c], vectors[1, c], vectors[2, c], vectors[3, c], batch, streamed, &dx[c, 0, 0, 0],
                       &dgain[c], &dbias[c])


cdef void backward_image(const floating* dy, const uint8_t* winner, const floating* x, int64_t height, int64_t width,
                         int64_t images, floating mean, floating inverse, floating gain, floating bias, bint batch,
                         bint streamed, floating* dx, double* dgain, double* dbias) noexcept nogil:
    """Of a channel: eqs. 4 and 5."""
    cdef floating[4] normal
    cdef floating[3] pull
    cdef int64_t i, n = height * width * images, row = width * images, part = width // 2 * images
    normal[0], normal[1], normal[2], normal[3] = mean, inverse, gain, bias
    dgain[0] = dbias[0] = 0
    for i in range(height // 2):
        if floating is float:
            pooled_slopes_f32(dy + i * part, winner + i * part, x + 2 * i * row, row, images, width // 2, normal,
                              dgain, dbias)
        else:
            pooled_slopes_f64(dy + i * part, winner + i * part, x + 2 * i * row, row, images, width // 2, normal,
                              dgain, dbias)
    pull[0] = gain * inverse
    pull[1] = <floating>(dbias[0] / n) if batch else 0
    pull[2] = <floating>(dgain[0] / n) if batch else 0
    for i in range(height):
        if floating is float:
            pooled_gradient_f32(dy + i // 2 * part, winner + i // 2 * part, x + i * row, images, width,
                                width // 2 if i // 2 < height // 2 else 0, 2 * (i % 2), normal, pull, streamed,
                                dx + i * row)
        else:
            pooled_gradient_f64(dy + i // 2 * part, winner + i // 2 * part, x + i * row, images, width,
                                width // 2 if i // 2 < height // 2 else 0, 2 * (i % 2), normal, pull, streamed,
                                dx + i * row)
    fence()
