/* e^x and its like on vectors of double (vec.h). */

#ifndef MINISPARSE_EXP_H
#define MINISPARSE_EXP_H

#include "vec.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

static inline vf64 where_vf64(vi64 mask, vf64 a, vf64 b) { return (vf64)(((vi64)a & mask) | ((vi64)b & ~mask)); }
static inline vf64 max_vf64(vf64 a, vf64 b) { return where_vf64(a > b, a, b); }

/* Whether a lane is above the bound, or NaN. */
static inline int any_above(vf64 x, double bound) {
#if defined(__AVX512F__)
    return _mm512_cmp_pd_mask((__m512d)x, _mm512_set1_pd(bound), _CMP_NLE_UQ) != 0;
#else
    const vi64 above = ~(x <= bound);
    int64_t any = 0;
    for (unsigned i = 0; i < VECTOR_BYTES / 8; i++) any |= above[i];
    return any != 0;
#endif
}

static inline double sum_vf64(vf64 x) {
    double sum = 0;
    for (unsigned i = 0; i < VECTOR_BYTES / 8; i++) sum += x[i];
    return sum;
}

/* e^x for x <= 0, within two units in the last place; 0 below -708, NaN of NaN.
   x = k log 2 + r with a whole k and |r| <= log(2) / 2; e^r by its series up to r^13 / 13!, the rest is below 2^-57;
   2^k by its exponent. k log 2 is exact in its first part, whose last 21 bits are 0. */
static inline vf64 exp_vf64(vf64 x) {
    const double to_whole = 0x1.8p52;
    vf64 k = x * 0x1.71547652b82fep0 + to_whole;
    const vi64 power = ((vi64)k + 1023) << 52;
    k -= to_whole;
    const vf64 r = x - k * 0x1.62e42feep-1 - k * 0x1.a39ef35793c76p-33;
    const vf64 r2 = r * r, r4 = r2 * r2;
    /* sums of two, then of four neighbouring terms: short chains */
    const vf64 low = (r + 1) + r2 * (r * (1 / 6.0) + 0.5);
    const vf64 middle = (r * (1 / 120.0) + 1 / 24.0) + r2 * (r * (1 / 5040.0) + 1 / 720.0);
    const vf64 high = (r * (1 / 362880.0) + 1 / 40320.0) + r2 * (r * (1 / 39916800.0) + 1 / 3628800.0);
    const vf64 top = r * (1 / 6227020800.0) + 1 / 479001600.0;
    const vf64 p = low + r4 * (middle + r4 * (high + r4 * top));
    return where_vf64(x < -708, zero_vf64, p * (vf64)power);
}

#endif
