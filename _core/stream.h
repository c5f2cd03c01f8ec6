/* Results that leave a block at a time, and where they are larger than the caches, past these: an ordinary store
   first reads the line that it is about to overwrite. */

#ifndef MINISPARSE_STREAM_H
#define MINISPARSE_STREAM_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>

static inline void fence(void) { _mm_sfence(); }

static inline void put(void *to, const void *block, int64_t nbytes, int streamed)
{
    char *target = to;
    const char *source = block;
    int64_t head = -(uintptr_t)target & 15;
    if (!streamed || nbytes < 32) {
        memcpy(target, source, nbytes);
        return;
    }
    memcpy(target, source, head);
    for (; head + 16 <= nbytes; head += 16)
        _mm_stream_si128((__m128i *)(target + head), _mm_loadu_si128((const __m128i *)(source + head)));
    memcpy(target + head, source + head, nbytes - head);
}
#else
static inline void fence(void) {}
static inline void put(void *to, const void *block, int64_t nbytes, int streamed) { memcpy(to, block, nbytes); }
#endif

#endif
