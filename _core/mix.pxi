# The hash and its two scalings, for every kernel that regenerates.

cdef inline uint32_t mix(uint32_t k0, uint32_t k1, uint64_t index) noexcept nogil:
    cdef uint32_t low = <uint32_t>index, high = <uint32_t>(index >> 32)
    cdef uint32_t x = low * <uint32_t>0x9E3779B9 + high * <uint32_t>0x7FEB352D + k0
    x ^= x >> 16
    x *= <uint32_t>0x85EBCA6B
    x ^= x >> 13
    x += high * <uint32_t>0x846CA68B + k1
    x *= <uint32_t>0xC2B2AE35
    x ^= x >> 16
    return x


cdef inline float to_normal(uint32_t x, float constant) noexcept nogil:
    cdef int32_t total = <int32_t>((x & 0xFF) + ((x >> 8) & 0xFF) + ((x >> 16) & 0xFF) + (x >> 24))
    return <float>(total - 510) * constant


cdef inline float to_uniform(uint32_t x, float constant) noexcept nogil:
    return <float>(2 * <int32_t>(x >> 8) + (1 - 16777216)) * constant
