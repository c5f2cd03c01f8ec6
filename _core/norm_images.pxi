# Pooled rows of norm.pyx: the largest of each window of 2 x 2, which alone is written; its gradient is never spread
# out in memory.

def forward_pooled(x, gain, bias, eps):
    twin.check_images(x)
    if x.dtype.kind == "c":
        return twin.forward_pooled(x, gain, bias, eps)
    twin.check_vectors(x, gain, bias)
    channels, height, width, images = x.shape
    y = empty_array((channels, height // 2, width // 2, images), x.dtype)
    winner, mean, var = empty_array(y.shape, np.dtype(np.uint8)), np.empty(channels), np.empty(channels)
    x, gain, bias = np.ascontiguousarray(x), np.ascontiguousarray(gain, x.dtype), np.ascontiguousarray(bias, x.dtype)
    if x.itemsize == sizeof(float):
        forward_images[float](<float*>address(x), channels, height, width, images, <float*>address(gain),
                              <float*>address(bias), eps, <float*>address(y), <uint8_t*>address(winner),
                              <double*>address(mean), <double*>address(var))
    else:
        forward_images[double](<double*>address(x), channels, height, width, images, <double*>address(gain),
                               <double*>address(bias), eps, <double*>address(y), <uint8_t*>address(winner),
                               <double*>address(mean), <double*>address(var))
    return y, winner, mean, var


cdef void forward_images(const floating* x, int64_t channels, int64_t height, int64_t width, int64_t images,
                         const floating* gain, const floating* bias, double eps, floating* y, uint8_t* winner,
                         double* mean, double* var):
    cdef int64_t c, n = height * width * images, part = height // 2 * (width // 2) * images
    # x has images of at least 2 x 2: check_images; so in `backward_images`
    for c in prange(channels, nogil=True, schedule="static", num_threads=team(channels * n > SMALL)):
        look_at(x + c * n, n, mean + c, var + c)
        pool(x + c * n, height, width, images, <floating>mean[c], <floating>(1 / sqrt(var[c] + eps)), gain[c], bias[c],
             y + c * part, winner + c * part)


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


def backward_pooled(dy, winner, x, normal, batch):
    twin.check_images(x)
    twin.check_winner(dy, winner, x)
    twin.check_normal(normal, x)
    if x.dtype.kind == "c":
        return twin.backward_pooled(dy, winner, x, normal, batch)
    channels, height, width, images = x.shape
    dx, dgain, dbias = empty_like(x), np.empty(channels), np.empty(channels)
    dy, winner, x = np.ascontiguousarray(dy), np.ascontiguousarray(winner), np.ascontiguousarray(x)
    normal = np.ascontiguousarray(normal)
    if x.itemsize == sizeof(float):
        backward_images[float](<float*>address(dy), <uint8_t*>address(winner), <float*>address(x), channels, height,
                               width, images, <float*>address(normal), batch, <float*>address(dx),
                               <double*>address(dgain), <double*>address(dbias))
    else:
        backward_images[double](<double*>address(dy), <uint8_t*>address(winner), <double*>address(x), channels, height,
                                width, images, <double*>address(normal), batch, <double*>address(dx),
                                <double*>address(dgain), <double*>address(dbias))
    return dx, dgain, dbias


cdef void backward_images(const floating* dy, const uint8_t* winner, const floating* x, int64_t channels,
                          int64_t height, int64_t width, int64_t images, const floating* normal, bint batch,
                          floating* dx, double* dgain, double* dbias):
    cdef int64_t c, n = height * width * images, part = height // 2 * (width // 2) * images
    cdef bint streamed = channels * n * sizeof(floating) >= STREAMED
    for c in prange(channels, nogil=True, schedule="static", num_threads=team(channels * n > SMALL)):
        backward_image(dy + c * part, winner + c * part, x + c * n, height, width, images, normal + 4 * c, batch,
                       streamed, dx + c * n, dgain + c, dbias + c)


cdef void backward_image(const floating* dy, const uint8_t* winner, const floating* x, int64_t height, int64_t width,
                         int64_t images, const floating* normal, bint batch, bint streamed, floating* dx,
                         double* dgain, double* dbias) noexcept nogil:
    """Of a channel: eqs. 4 and 5."""
    cdef floating[3] pull
    cdef int64_t i, n = height * width * images, row = width * images, part = width // 2 * images
    dgain[0] = dbias[0] = 0
    for i in range(height // 2):
        if floating is float:
            pooled_slopes_f32(dy + i * part, winner + i * part, x + 2 * i * row, row, images, width // 2, normal,
                              dgain, dbias)
        else:
            pooled_slopes_f64(dy + i * part, winner + i * part, x + 2 * i * row, row, images, width // 2, normal,
                              dgain, dbias)
    pull[0] = normal[2] * normal[1]
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
