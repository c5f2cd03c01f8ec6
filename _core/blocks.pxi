# Batch blocks: what the two convolution kernels share.
#
# A thread copies a block of the batch of an image, 128 bytes (two vectors) a pixel, to rows of
# (channels, packed width) pixels, zero where the image ends. Then pixels lie side by side whatever N is, an
# offset in bytes names a weight's input under every output pixel alike, and blocks at the end of the batch need no
# care but in reading and writing. A row is copied just before the first output row that meets it.

from cython cimport floating
from cython.parallel cimport parallel, prange
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from "vec.h" nogil:
    ctypedef float vf32
    ctypedef double vf64
    vf32 splat32(const void*, int64_t)
    vf64 splat64(const void*, int64_t)
    float sum32(vf32)
    double sum64(vf64)

ctypedef fused vector:
    vf32
    vf64

cdef enum:
    LINE = 64     # bytes of a vector
    PIXEL = 128   # bytes of a packed pixel


cdef struct Image:  # (channels, height, width, N); strides in bytes, N contiguous
    char* data
    int64_t channels, height, width, by_channel, by_row, by_pixel, nbytes


cdef struct Plan:  # output pixel (a, b) meets input pixels (stride a + top + u, stride b + left + v)
    int64_t stride, top, left
    int64_t span, packed  # 0 <= u < span; width of a packed row


cdef Image image_of(const floating[:, :, :, :] array) noexcept:
    """The strides of an array (channels, height, width, N), N contiguous."""
    cdef Image image
    image.channels, image.height, image.width = array.shape[0], array.shape[1], array.shape[2]
    image.by_channel, image.by_row, image.by_pixel = array.strides[0], array.strides[1], array.strides[2]
    image.nbytes = array.shape[3] * sizeof(floating)
    image.data = NULL
    if image.channels and image.height and image.width and image.nbytes:
        image.data = <char*>&array[0, 0, 0, 0]
    return image


cdef inline char* to_line(char* p) noexcept nogil:
    """The next multiple of 64 bytes."""
    return <char*>((<size_t>p + LINE - 1) // LINE * LINE)


cdef void pack_row(char* packed, Image* x, int64_t row, Plan* plan, int64_t first, int64_t nbytes) noexcept nogil:
    """Row `row` of x, bytes [first, first + nbytes) of each pixel -> (channels, plan.packed) pixels."""
    cdef int64_t c, q, begin = max(0, -plan.left), end = min(plan.packed, x.width - plan.left)
    cdef const char* source
    if row < 0 or row >= x.height or end <= begin:
        memset(packed, 0, x.channels * plan.packed * PIXEL)
        return
    for c in range(x.channels):
        memset(packed, 0, begin * PIXEL)
        source = x.data + c * x.by_channel + row * x.by_row + (plan.left + begin) * x.by_pixel + first
        for q in range(begin, end):
            copy_pixel(packed + q * PIXEL, source, nbytes)
            source += x.by_pixel
        memset(packed + end * PIXEL, 0, (plan.packed - end) * PIXEL)
        packed += plan.packed * PIXEL


cdef inline void copy_pixel(char* packed, const char* source, int64_t nbytes) noexcept nogil:
    if nbytes == PIXEL:
        memcpy(packed, source, PIXEL)
    else:
        memcpy(packed, source, nbytes)
        memset(packed + nbytes, 0, PIXEL - nbytes)


cdef inline void put(char* target, vector a, vector b, int64_t nbytes) noexcept nogil:
    """The first nbytes of a pixel."""
    cdef vector[2] pixel
    pixel[0] = a
    pixel[1] = b
    if nbytes == PIXEL:
        memcpy(target, pixel, PIXEL)
    else:
        memcpy(target, pixel, nbytes)
