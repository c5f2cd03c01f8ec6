/* Sums along a row in float64, whatever the row's own precision: four vectors of sums, so that none waits for another.

   Each macro makes a function for float and one for double. Terms are computed in the row's precision where the
   specification says so, then widened. */
#ifndef MINISPARSE_SUMS_H
#define MINISPARSE_SUMS_H

#include <stdint.h>

typedef double sums_wide __attribute__((vector_size(64)));
typedef float sums_f32 __attribute__((vector_size(32), aligned(4), may_alias));
typedef double sums_f64 __attribute__((vector_size(64), aligned(8), may_alias));
typedef int32_t sums_i32 __attribute__((vector_size(32)));
typedef int64_t sums_i64 __attribute__((vector_size(64)));
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

/* d, or 0 where a rectifier of gain xhat + bias lets nothing through */
#define THROUGH(d, xhat, vector, integers)                                                                           \
    (rectified ? (vector)((integers)(d) & (integers)(gain * (xhat) + bias > 0)) : (d))

/* sum x;  sum (x - mean)^2 in float64;  and of dy and x, sum d and sum d xhat, xhat = (x - mean) inverse, d what a
   rectifier lets through of dy, or dy */
#define SUMS(name, number, vector, integers)                                                                                   \
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
    static inline __attribute__((always_inline)) void slopes_##name(                                                 \
        const number *dy, const number *x, int64_t n, number mean, number inverse, number gain, number bias,         \
        const int rectified, double *dgain, double *dbias)                                                           \
    {                                                                                                                \
        const sums_wide zero = {0};                                                                                  \
        sums_wide a = zero, b = zero, e = zero, f = zero, v;                                                         \
        vector d, xhat;                                                                                              \
        double gains = 0, biases = 0;                                                                                \
        int64_t i = 0;                                                                                               \
        for (; i + 2 * SUMS_LANES <= n; i += 2 * SUMS_LANES) {                                                       \
            const vector *p = (const vector *)(dy + i), *q = (const vector *)(x + i);                                \
            xhat = (q[0] - mean) * inverse, d = THROUGH(p[0], xhat, vector, integers);                               \
            v = WIDEN(d), a += v, e += v * WIDEN(xhat);                                                              \
            xhat = (q[1] - mean) * inverse, d = THROUGH(p[1], xhat, vector, integers);                               \
            v = WIDEN(d), b += v, f += v * WIDEN(xhat);                                                              \
        }                                                                                                            \
        for (; i < n; i++) {                                                                                         \
            const number h = (x[i] - mean) * inverse, g = !rectified || gain * h + bias > 0 ? dy[i] : 0;             \
            biases += g, gains += (double)g * (double)h;                                                             \
        }                                                                                                            \
        *dbias = sums_total(a, b, zero, zero) + biases;                                                              \
        *dgain = sums_total(e, f, zero, zero) + gains;                                                               \
    }

SUMS(f32, float, sums_f32, sums_i32)
SUMS(f64, double, sums_f64, sums_i64)
#endif
