/* Sums along a row in float64, whatever the row's own precision: four vectors of sums, so that none waits for another.

   Each macro makes a function for float and one for double. Terms are computed in the row's precision where the
   specification says so, then widened. */
#ifndef MINISPARSE_SUMS_H
#define MINISPARSE_SUMS_H

#include <stdint.h>

typedef double sums_wide __attribute__((vector_size(64)));
typedef float sums_f32 __attribute__((vector_size(32), aligned(4), may_alias));
typedef double sums_f64 __attribute__((vector_size(64), aligned(8), may_alias));
#define SUMS_LANES 8
#define SUMS_STEP (4 * SUMS_LANES)
#define WIDEN(v) __builtin_convertvector(v, sums_wide)

static inline double sums_total(sums_wide a, sums_wide b, sums_wide c, sums_wide d)
{
    double sum = 0;
    a = (a + b) + (c + d);
    for (int i = 0; i < SUMS_LANES; i++)
        sum += a[i];
    return sum;
}

/* sum x;  sum (x - mean)^2 in float64;  and of dy and x, sum dy and sum dy xhat, xhat = (x - mean) inverse */
#define SUMS(name, number, vector)                                                                                   \
    static inline double sum_##name(const number *x, int64_t n)                                                     \
    {                                                                                                                \
        const sums_wide zero = {0};                                                                                  \
        sums_wide a = zero, b = zero, c = zero, d = zero;                                                            \
        double rest = 0;                                                                                             \
        int64_t i = 0;                                                                                               \
        for (; i + SUMS_STEP <= n; i += SUMS_STEP) {                                                                 \
            const vector *p = (const vector *)(x + i);                                                               \
            a += WIDEN(p[0]);                                                                                        \
            b += WIDEN(p[1]);                                                                                        \
            c += WIDEN(p[2]);                                                                                        \
            d += WIDEN(p[3]);                                                                                        \
        }                                                                                                            \
        for (; i < n; i++)                                                                                           \
            rest += x[i];                                                                                            \
        return sums_total(a, b, c, d) + rest;                                                                        \
    }                                                                                                                \
    static inline double squares_##name(const number *x, int64_t n, double mean)                                    \
    {                                                                                                                \
        const sums_wide zero = {0}, m = zero + mean;                                                                 \
        sums_wide a = zero, b = zero, c = zero, d = zero, off;                                                       \
        double rest = 0;                                                                                             \
        int64_t i = 0;                                                                                               \
        for (; i + SUMS_STEP <= n; i += SUMS_STEP) {                                                                 \
            const vector *p = (const vector *)(x + i);                                                               \
            off = WIDEN(p[0]) - m, a += off * off;                                                                   \
            off = WIDEN(p[1]) - m, b += off * off;                                                                   \
            off = WIDEN(p[2]) - m, c += off * off;                                                                   \
            off = WIDEN(p[3]) - m, d += off * off;                                                                   \
        }                                                                                                            \
        for (; i < n; i++)                                                                                           \
            rest += (x[i] - mean) * (x[i] - mean);                                                                   \
        return sums_total(a, b, c, d) + rest;                                                                        \
    }                                                                                                                \
    static inline void slopes_##name(const number *dy, const number *x, int64_t n, number mean, number inverse,     \
                                     double *dgain, double *dbias)                                                   \
    {                                                                                                                \
        const sums_wide zero = {0};                                                                                  \
        sums_wide a = zero, b = zero, e = zero, f = zero, v;                                                         \
        double gain = 0, bias = 0;                                                                                   \
        int64_t i = 0;                                                                                               \
        for (; i + 2 * SUMS_LANES <= n; i += 2 * SUMS_LANES) {                                                       \
            const vector *p = (const vector *)(dy + i), *q = (const vector *)(x + i);                                \
            v = WIDEN(p[0]), a += v, e += v * WIDEN((q[0] - mean) * inverse);                                        \
            v = WIDEN(p[1]), b += v, f += v * WIDEN((q[1] - mean) * inverse);                                        \
        }                                                                                                            \
        for (; i < n; i++)                                                                                           \
            bias += dy[i], gain += (double)dy[i] * (double)((x[i] - mean) * inverse);                                \
        *dbias = sums_total(a, b, zero, zero) + bias;                                                                \
        *dgain = sums_total(e, f, zero, zero) + gain;                                                                \
    }

SUMS(f32, float, sums_f32)
SUMS(f64, double, sums_f64)
#endif
