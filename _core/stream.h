/* Results that leave a block at a time, and where they are larger than the caches, past these: an ordinary store
   first reads the line that it is about to overwrite. */

#ifndef MINISPARSE_STREAM_H
#define MINISPARSE_STREAM_H

#include <stdint.h>
#include <string.h>

#define STREAM_LINE 64
#define STREAMED (1 << 20)  /* bytes of a result which the near caches do not hold until it is read */

#if defined(__SSE2__)
#include <immintrin.h>

/* 64 bytes to a cache line. */
static inline void stream_line(void *to, const void *from)
{
#if defined(__AVX512F__)
    _mm512_stream_si512((__m512i *)to, _mm512_loadu_si512(from));
#elif defined(__AVX__)
    for (int i = 0; i < 2; i++)
        _mm256_stream_si256((__m256i *)to + i, _mm256_loadu_si256((const __m256i *)from + i));
#else
    for (int i = 0; i < 4; i++)
        _mm_stream_si128((__m128i *)to + i, _mm_loadu_si128((const __m128i *)from + i));
#endif
}

/* What was streamed is there for other threads. */
static inline void fence(void) { _mm_sfence(); }
#else
static inline void stream_line(void *to, const void *from) { memcpy(to, from, STREAM_LINE); }
static inline void fence(void) {}
#endif

static inline void put(void *to, const void *block, int64_t nbytes, int streamed)
{
    char *target = to;
    const char *source = block;
    int64_t head = -(uintptr_t)target & (STREAM_LINE - 1);
    if (!streamed || nbytes < head + STREAM_LINE) {
        memcpy(target, source, nbytes);
        return;
    }
    memcpy(target, source, head);
    for (; head + STREAM_LINE <= nbytes; head += STREAM_LINE)
        stream_line(target + head, source + head);
    memcpy(target + head, source + head, nbytes - head);
}

#endif
