/* What compilers offer beyond C for bits, and plain C for those that do not. */
#pragma once
#include <stdint.h>

/* Number of zeros below the lowest one; value > 0. */
static inline int trailing_zeros(uint64_t value) {
#ifdef __GNUC__
    return __builtin_ctzll(value);
#else
    int zeros = 0;
    while (!(value >> zeros & 1)) zeros++;
    return zeros;
#endif
}

/* Number of bits without leading zeros; 0 for 0. */
static inline int bit_length(uint64_t value) {
#ifdef __GNUC__
    return value ? 64 - __builtin_clzll(value) : 0;
#else
    int length = 0;
    for (; value; value >>= 1) length++;
    return length;
#endif
}
