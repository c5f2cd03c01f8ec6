/* Numbers picked by an index of 32 or 64 bits, and sums of lanes: four numbers at a time.

   Four loads make a vector; instructions that gather are slower, by half on Zen 5. */

#ifndef MINISPARSE_PICK_H
#define MINISPARSE_PICK_H

#include "vec.h"

/* Nothing here is called from elsewhere, so that how vectors are passed does not matter. */
#pragma GCC diagnostic ignored "-Wpsabi"

typedef float vf32x4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef double vf64x4 __attribute__((vector_size(32), aligned(8), may_alias));
typedef double vf64x2 __attribute__((vector_size(16), aligned(8), may_alias));
static const vf32x4 zero_vf32x4 = {0};
static const vf64x4 zero_vf64x4 = {0};

/* index[k], or k itself without an index. */
static CYTHON_INLINE int64_t at(const void *index, int64_t k, int wide)
{
    return !index ? k : wide ? ((const int64_t *)index)[k] : ((const int32_t *)index)[k];
}

/* values[index[k]] and three zeros. */
#define ONE(values, index, k, wide) {values[at(index, k, wide)]}
/* values[index[k]] to values[index[k + 3]]. */
#define FOUR(values, index, k, wide) \
    {values[at(index, k, wide)], values[at(index, k + 1, wide)], values[at(index, k + 2, wide)], \
     values[at(index, k + 3, wide)]}

static CYTHON_INLINE vf32x4 one_vf32x4(const void *values, const void *index, int64_t k, int wide)
{
    return (vf32x4)ONE(((const float *)values), index, k, wide);
}
static CYTHON_INLINE vf64x4 one_vf64x4(const void *values, const void *index, int64_t k, int wide)
{
    return (vf64x4)ONE(((const double *)values), index, k, wide);
}
static CYTHON_INLINE vf32x4 four_vf32x4(const void *values, const void *index, int64_t k, int wide)
{
    return index ? (vf32x4)FOUR(((const float *)values), index, k, wide) : *(const vf32x4 *)((const float *)values + k);
}
static CYTHON_INLINE vf64x4 four_vf64x4(const void *values, const void *index, int64_t k, int wide)
{
    return index ? (vf64x4)FOUR(((const double *)values), index, k, wide) : *(const vf64x4 *)((const double *)values + k);
}

/* values[k] = the sum of the lanes. */
static inline void put_sum_vf32x4(void *values, int64_t k, vf32x4 a) { ((float *)values)[k] = (a[0] + a[1]) + (a[2] + a[3]); }
static inline void put_sum_vf64x4(void *values, int64_t k, vf64x4 a) { ((double *)values)[k] = (a[0] + a[1]) + (a[2] + a[3]); }

/* values[k:k + n] += the first n lanes, n <= 4. */
static inline void add_vf32x4(void *values, int64_t k, vf32x4 a, int64_t n)
{
    float *to = (float *)values + k;
    if (n == 4)
        *(vf32x4 *)to += a;
    else
        for (int j = 0; j < n; j++)
            to[j] += a[j];
}
static inline void add_vf64x4(void *values, int64_t k, vf64x4 a, int64_t n)
{
    double *to = (double *)values + k;
    if (n == 4)
        *(vf64x4 *)to += a;
    else
        for (int j = 0; j < n; j++)
            to[j] += a[j];
}

/* Lanes of two vectors of n, 16 bytes from each in turn. */
#define LOW32(i, n) i, n + i, i + 1, n + i + 1
#define HIGH32(i, n) i + 2, n + i + 2, i + 3, n + i + 3
#define LOW_PAIRS(i, n) i, i + 1, n + i, n + i + 1
#define HIGH_PAIRS(i, n) i + 2, i + 3, n + i + 2, n + i + 3
#define LOW64(i, n) i, n + i
#define HIGH64(i, n) i + 1, n + i + 1
#if VECTOR_BYTES == 64
#define EACH32(lanes) lanes(0, 16), lanes(4, 16), lanes(8, 16), lanes(12, 16)
#define EACH64(lanes) lanes(0, 8), lanes(2, 8), lanes(4, 8), lanes(6, 8)
#elif VECTOR_BYTES == 32
#define EACH32(lanes) lanes(0, 8), lanes(4, 8)
#define EACH64(lanes) lanes(0, 4), lanes(2, 4)
#else
#define EACH32(lanes) lanes(0, 4)
#define EACH64(lanes) lanes(0, 2)
#endif

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE(a, b, mask, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef SHUFFLE
#define SHUFFLE(a, b, mask, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif

/* The sums of the lanes of a, b, c and d. */
static inline vf32x4 totals_vf32(vf32 a, vf32 b, vf32 c, vf32 d)
{
    vf32 ab = SHUFFLE(a, b, vi32, EACH32(LOW32)) + SHUFFLE(a, b, vi32, EACH32(HIGH32));
    vf32 cd = SHUFFLE(c, d, vi32, EACH32(LOW32)) + SHUFFLE(c, d, vi32, EACH32(HIGH32));
    vf32 s = SHUFFLE(ab, cd, vi32, EACH32(LOW_PAIRS)) + SHUFFLE(ab, cd, vi32, EACH32(HIGH_PAIRS));
    vf32x4 t = zero_vf32x4;
    for (int j = 0; j < VECTOR_BYTES / 16; j++)
        t += ((vf32x4 *)&s)[j];
    return t;
}
static inline vf64x4 totals_vf64(vf64 a, vf64 b, vf64 c, vf64 d)
{
    vf64 ab = SHUFFLE(a, b, vi64, EACH64(LOW64)) + SHUFFLE(a, b, vi64, EACH64(HIGH64));
    vf64 cd = SHUFFLE(c, d, vi64, EACH64(LOW64)) + SHUFFLE(c, d, vi64, EACH64(HIGH64));
    vf64x2 t = {0}, u = {0};
    for (int j = 0; j < VECTOR_BYTES / 16; j++)
        t += ((vf64x2 *)&ab)[j], u += ((vf64x2 *)&cd)[j];
    return (vf64x4){t[0], t[1], u[0], u[1]};
}

#endif
