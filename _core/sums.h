/* Sums along a row: in the row's precision over a block, the blocks in float64.

   A block is a few lines a lane, so that its sums lose next to nothing, and lies in the nearest cache, so that it may
   be read twice. Where they pass the range of float32, all is summed again in float64. Each macro makes functions for
   float and for double. */
#ifndef MINISPARSE_SUMS_H
#define MINISPARSE_SUMS_H

#include <math.h>

#include "vectors.h"

#define SUMS_BLOCK 2048  /* numbers */

static inline vf64 sums_widened_f32(vf32 v)
{
    typedef float sums_half __attribute__((vector_size(VECTOR_BYTES / 2), aligned(4), may_alias));
    const sums_half *half = (const sums_half *)&v;
    return __builtin_convertvector(half[0], vf64) + __builtin_convertvector(half[1], vf64);
}

static inline vf64 sums_widened_f64(vf64 v) { return v; }

/* By halves. */
static inline double sums_total(vf64 v)
{
    for (int n = VECTOR_BYTES / 16; n; n /= 2)
        for (int i = 0; i < n; i++)
            v[i] += v[i + n];
    return v[0];
}

#define XHAT(x) (((x) - mean) * inverse)

/* d, or 0 where a rectifier of gain xhat + bias lets nothing through */
#define THROUGH(d, xhat, vector, integers)                                                                     \
    (rectified ? (vector)((integers)(d) & (integers)(gain * (xhat) + bias > 0)) : (d))

/* sum x */
#define SUM(name, number, vector)                                                                              \
    static inline double block_##name(const number *x, int64_t n)                                              \
    {                                                                                                          \
        const int64_t lanes = VECTOR_BYTES / sizeof(number);                                                   \
        vector a = {0}, b = a, c = a, d = a; /* so that none waits for another */                              \
        double rest = 0;                                                                                       \
        int64_t i = 0;                                                                                         \
        for (; i + 4 * lanes <= n; i += 4 * lanes) {                                                           \
            const vector *p = (const vector *)(x + i);                                                         \
            a += p[0], b += p[1], c += p[2], d += p[3];                                                        \
        }                                                                                                      \
        for (; i < n; i++)                                                                                     \
            rest += x[i];                                                                                      \
        return sums_total(sums_widened_##name((a + b) + (c + d))) + rest;                                      \
    }                                                                                                          \
    static inline double sum_##name(const number *x, int64_t n)                                                \
    {                                                                                                          \
        double sum = 0;                                                                                        \
        for (int64_t i = 0; i < n; i += SUMS_BLOCK)                                                            \
            sum += block_##name(x + i, n - i < SUMS_BLOCK ? n - i : SUMS_BLOCK);                               \
        if (!isfinite(sum)) {                                                                                  \
            sum = 0;                                                                                           \
            for (int64_t i = 0; i < n; i++)                                                                    \
                sum += x[i];                                                                                   \
        }                                                                                                      \
        return sum;                                                                                            \
    }

/* Mean and variance, divisor n. A block's mean and squares are those about a number near its mean, corrected, and
   join those of the blocks before it (Chan, Golub, LeVeque, 1979, eqs. 1.7 and 2.1). While it is read for the second
   time, the next one comes from memory. */
#define MOMENTS(name, number, vector)                                                                          \
    static inline void off_##name(const number *x, int64_t n, number about, double *sum, double *squares)      \
    {                                                                                                          \
        const int64_t lanes = VECTOR_BYTES / sizeof(number);                                                   \
        vector a = {0}, b = a, e = a, f = a, off;                                                              \
        double rest = 0, its_squares = 0;                                                                      \
        int64_t i = 0;                                                                                         \
        for (; i + 2 * lanes <= n; i += 2 * lanes) {                                                           \
            const vector *p = (const vector *)(x + i);                                                         \
            off = p[0] - about, a += off, e += off * off;                                                      \
            off = p[1] - about, b += off, f += off * off;                                                      \
            __builtin_prefetch(p + SUMS_BLOCK / lanes), __builtin_prefetch(p + SUMS_BLOCK / lanes + 1);        \
        }                                                                                                      \
        for (; i < n; i++) {                                                                                   \
            const double d = (double)x[i] - about;                                                             \
            rest += d, its_squares += d * d;                                                                   \
        }                                                                                                      \
        *sum = sums_total(sums_widened_##name(a + b)) + rest;                                                  \
        *squares = sums_total(sums_widened_##name(e + f)) + its_squares;                                       \
    }                                                                                                          \
    static inline void moments_##name(const number *x, int64_t n, double *mean, double *var)                   \
    {                                                                                                          \
        double so_far = 0, total = 0, sum, squares;                                                            \
        for (int64_t i = 0; i < n; i += SUMS_BLOCK) {                                                          \
            const int64_t size = n - i < SUMS_BLOCK ? n - i : SUMS_BLOCK;                                      \
            const number about = (number)(block_##name(x + i, size) / size);                                   \
            off_##name(x + i, size, about, &sum, &squares);                                                    \
            const double step = about + sum / size - so_far;                                                   \
            squares -= sum / size * sum;                                                                       \
            total += (squares > 0 || squares != squares ? squares : 0) + step * step * ((double)i / (i + size) * size); \
            so_far += step * ((double)size / (i + size));                                                      \
        }                                                                                                      \
        if (!isfinite(total)) {                                                                                \
            so_far = sum_##name(x, n) / n, total = 0;                                                          \
            for (int64_t i = 0; i < n; i++)                                                                    \
                total += (x[i] - so_far) * (x[i] - so_far);                                                    \
        }                                                                                                      \
        *mean = so_far, *var = total / n;                                                                      \
    }

/* Of dy and x, sum d and sum d xhat: xhat = (x - mean) inverse, d what a rectifier lets through of dy, or dy */
#define SLOPES(name, number, vector, integers)                                                                 \
    static inline __attribute__((always_inline)) void slopes_##name(                                           \
        const number *dy, const number *x, int64_t n, number mean, number inverse, number gain, number bias,   \
        const int rectified, double *dgain, double *dbias)                                                     \
    {                                                                                                          \
        const int64_t lanes = VECTOR_BYTES / sizeof(number);                                                   \
        vf64 biases = {0}, gains = biases;                                                                     \
        double rest = 0, slope = 0;                                                                            \
        int64_t i = 0;                                                                                         \
        while (i + 2 * lanes <= n) {                                                                           \
            const int64_t end = n - i < SUMS_BLOCK ? n : i + SUMS_BLOCK;                                       \
            vector a = {0}, b = a, e = a, f = a, d, xhat;                                                      \
            for (; i + 2 * lanes <= end; i += 2 * lanes) {                                                     \
                const vector *p = (const vector *)(dy + i), *q = (const vector *)(x + i);                      \
                xhat = XHAT(q[0]), d = THROUGH(p[0], xhat, vector, integers);                                  \
                a += d, e += d * xhat;                                                                         \
                xhat = XHAT(q[1]), d = THROUGH(p[1], xhat, vector, integers);                                  \
                b += d, f += d * xhat;                                                                         \
            }                                                                                                  \
            biases += sums_widened_##name(a + b), gains += sums_widened_##name(e + f);                         \
        }                                                                                                      \
        if (!isfinite(sums_total(biases) + sums_total(gains)))                                                 \
            i = 0, biases = gains = (vf64){0};                                                                 \
        for (; i < n; i++) {                                                                                   \
            const number h = XHAT(x[i]), g = !rectified || gain * h + bias > 0 ? dy[i] : 0;                    \
            rest += g, slope += (double)g * (double)h;                                                         \
        }                                                                                                      \
        *dbias = sums_total(biases) + rest, *dgain = sums_total(gains) + slope;                                \
    }

#define SUMS(name, number, vector, integers)                                                                   \
    SUM(name, number, vector)                                                                                  \
    MOMENTS(name, number, vector)                                                                              \
    SLOPES(name, number, vector, integers)

SUMS(f32, float, vf32, vi32)
SUMS(f64, double, vf64, vi64)
#endif
