/* What goes on between lanes, and where they differ: sums, transposes, choices. */
#ifndef MINISPARSE_LANES_H
#define MINISPARSE_LANES_H

#include "vectors.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if VECTOR_BYTES == 64
static const vi32 each_lane32 = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const vi64 each_lane64 = {0, 1, 2, 3, 4, 5, 6, 7};
#elif VECTOR_BYTES == 32
static const vi32 each_lane32 = {0, 1, 2, 3, 4, 5, 6, 7};
static const vi64 each_lane64 = {0, 1, 2, 3};
#else
static const vi32 each_lane32 = {0, 1, 2, 3};
static const vi64 each_lane64 = {0, 1};
#endif
enum { LANES32 = VECTOR_BYTES / 4, LANES64 = VECTOR_BYTES / 8 };

#define UNROLLED _Pragma("GCC unroll 16")
#define INLINED static inline __attribute__((always_inline)) void

/* Entry k in every lane. */
static inline vf32 splat32(const void *p, long long k) { return ((const float *)p)[k] - (vf32){0}; }
static inline vf64 splat64(const void *p, long long k) { return ((const double *)p)[k] - (vf64){0}; }

/* The sum of the lanes, 16 bytes of them at a time. */
static inline float sum32(vf32 a)
{
    typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
    four sum = *(four *)&a;
    for (int i = 1; i < LANES32 / 4; i++)
        sum += ((four *)&a)[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static inline double sum64(vf64 a)
{
    typedef double two __attribute__((vector_size(16), aligned(8), may_alias));
    two sum = *(two *)&a;
    for (int i = 1; i < LANES64 / 2; i++)
        sum += ((two *)&a)[i];
    return sum[0] + sum[1];
}

/* A square of lanes, row i `step` bytes after row i - 1, becomes its transpose, row i i `to_step` after row i - 1.
 * Squares of w lanes off the diagonal of squares of 2 w change places, for w = 1, 2, 4, ... */
#ifdef __clang__
#define TRANSPOSE(name, number, vector, integers, lanes, each_lane)                                \
    static inline void name(const char *from, long long step, char *to, long long to_step)         \
    {                                                                                              \
        for (int i = 0; i < lanes; i++)                                                            \
            for (int j = 0; j < lanes; j++)                                                        \
                ((number *)(to + j * to_step))[i] = ((const number *)(from + i * step))[j];        \
    }
#else
#define TRANSPOSE(name, number, vector, integers, lanes, each_lane)                                \
    static inline void name(const char *from, long long step, char *to, long long to_step)         \
    {                                                                                              \
        const integers lane = each_lane;                                                           \
        vector row[lanes];                                                                         \
        for (int i = 0; i < lanes; i++)                                                            \
            row[i] = *(const vector *)(from + i * step);                                           \
        _Pragma("GCC unroll 8") for (int w = 1; w < lanes; w *= 2)                                 \
        {                                                                                          \
            const integers odd = (lane & w) == w;                                                  \
            _Pragma("GCC unroll 16") for (int i = 0; i < lanes; i++)                               \
                if (!(i & w)) {                                                                    \
                    const vector a = row[i], b = row[i + w];                                       \
                    row[i] = __builtin_shuffle(a, b, lane + (odd & (lanes - w)));                  \
                    row[i + w] = __builtin_shuffle(a, b, lane + w + (odd & (lanes - w)));          \
                }                                                                                  \
        }                                                                                          \
        for (int i = 0; i < lanes; i++)                                                            \
            *(vector *)(to + i * to_step) = row[i];                                                \
    }
#endif
TRANSPOSE(transpose32, float, vf32, vi32, LANES32, each_lane32)
TRANSPOSE(transpose64, double, vf64, vi64, LANES64, each_lane64)

/* Adds the sums of the lanes of four vectors to four numbers: pairs of lanes and of vectors change places as above,
 * and what stands in one place of both is added. */
#if defined(__clang__) || VECTOR_BYTES == 16
#define ADD_SUMS(name, number, vector, integers, lanes, sum, each_lane)                            \
    static inline void name(number *to, vector a, vector b, vector c, vector d)                    \
    {                                                                                              \
        to[0] += sum(a), to[1] += sum(b), to[2] += sum(c), to[3] += sum(d);                        \
    }
#else
#define ADDED(a, b, w)                                                                             \
    (__builtin_shuffle(a, b, lane + (((lane & w) == w) & (lanes_of - w)))                          \
     + __builtin_shuffle(a, b, lane + w + (((lane & w) == w) & (lanes_of - w))))
#define ADD_SUMS(name, number, vector, integers, lanes, sum, each_lane)                            \
    static inline void name(number *to, vector a, vector b, vector c, vector d)                    \
    {                                                                                              \
        typedef number four __attribute__((vector_size(4 * sizeof(number)), aligned(sizeof(number)), may_alias)); \
        const integers lane = each_lane;                                                           \
        enum { lanes_of = lanes };                                                                 \
        const vector ab = ADDED(a, b, 1), cd = ADDED(c, d, 1), all = ADDED(ab, cd, 2);             \
        four total = *(four *)to;                                                                  \
        _Pragma("GCC unroll 4") for (int i = 0; i < lanes / 4; i++)                                \
            total += ((const four *)&all)[i];                                                      \
        *(four *)to = total;                                                                       \
    }
#endif
ADD_SUMS(add_sums32, float, vf32, vi32, LANES32, sum32, each_lane32)
ADD_SUMS(add_sums64, double, vf64, vi64, LANES64, sum64, each_lane64)

typedef unsigned char vu8of32 __attribute__((vector_size(LANES32), aligned(1), may_alias));
typedef unsigned char vu8of64 __attribute__((vector_size(LANES64), aligned(1), may_alias));

/* A byte for each lane, as integers of its size; compilers convert some of these number by number. */
#if VECTOR_BYTES == 64 && defined(__AVX512F__)
#define WIDENED32(bytes) (vi32)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(bytes)))
#define WIDENED64(bytes) (vi64)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(bytes)))
#elif VECTOR_BYTES == 32 && defined(__AVX2__)
#define WIDENED32(bytes) (vi32)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(bytes)))
#define WIDENED64(bytes) (vi64)_mm256_cvtepu8_epi64(_mm_loadu_si32(bytes))
#else
#define WIDENED32(bytes) __builtin_convertvector(*(const vu8of32 *)(bytes), vi32)
#define WIDENED64(bytes) __builtin_convertvector(*(const vu8of64 *)(bytes), vi64)
#endif

/* Two vectors, +0 in the lanes whose winner is another place and for -0. */
#define KEEP(name, vector, integers, lanes, widened)                                                           \
    static inline void name(void *to, const void *from, const unsigned char *winner, int place)                \
    {                                                                                                          \
        for (int i = 0; i < 2; i++)                                                                            \
            ((vector *)to)[i] =                                                                                \
                (vector)(((const integers *)from)[i] & (widened(winner + i * lanes) == place)) + (vector){0};  \
    }
KEEP(keep32, vf32, vi32, LANES32, WIDENED32)
KEEP(keep64, vf64, vi64, LANES64, WIDENED64)

/* One of two by a mask of all ones and all zeros; and the largest of four and, in each lane, which it was: of equal
 * ones the first, and the last NaN. */
#define CHALLENGE(name, place, x)                                                                  \
    better = (x > most) | (x != x);                                                                \
    most = chosen##name(better, x, most);                                                          \
    won = (place & better) | (won & ~better);
#define LARGEST(name, vector, integers, bytes)                                                     \
    static inline vector chosen##name(integers mask, vector a, vector b)                           \
    {                                                                                              \
        return (vector)(((integers)a & mask) | ((integers)b & ~mask));                             \
    }                                                                                              \
    static inline vector largest##name(vector a, vector b, vector c, vector d, unsigned char *winner) \
    {                                                                                              \
        vector most = a;                                                                           \
        integers better, won = {0};                                                                \
        CHALLENGE(name, 1, b)                                                                      \
        CHALLENGE(name, 2, c)                                                                      \
        CHALLENGE(name, 3, d)                                                                      \
        *(bytes *)winner = __builtin_convertvector(won, bytes);                                    \
        return most;                                                                               \
    }
LARGEST(32, vf32, vi32, vu8of32)
LARGEST(64, vf64, vi64, vu8of64)

/* max(gain ((x - mean) inverse) + bias, 0) in place, p = (mean, inverse, gain, bias); NaN stays. Rounded after each
 * operation, as norm.pyx does. */
#ifdef __clang__
#define NORMALISE_ROUNDED _Pragma("STDC FP_CONTRACT OFF")
#define NORMALISE_ATTRIBUTES
#else
#define NORMALISE_ROUNDED
#define NORMALISE_ATTRIBUTES __attribute__((noinline, optimize("O3", "fp-contract=off")))
#endif
#define NORMALISE(name, number)                                                                    \
    NORMALISE_ATTRIBUTES static void name(number *x, long long n, const number *p)                 \
    {                                                                                              \
        NORMALISE_ROUNDED                                                                          \
        const number mean = p[0], inverse = p[1], gain = p[2], bias = p[3];                        \
        for (long long i = 0; i < n; i++) {                                                        \
            const number y = gain * ((x[i] - mean) * inverse) + bias;                              \
            x[i] = y <= 0 ? 0 : y;                                                                 \
        }                                                                                          \
    }
NORMALISE(normalise32, float)
NORMALISE(normalise64, double)

/* A function of its own, whose loops have all registers to themselves. */
#define APART __attribute__((noinline)) void

/* Asks for a cache line that is read soon: into the second cache, since the first may be full until then. */
static inline void prefetch(const void *p) { __builtin_prefetch(p, 0, 2); }

#endif
