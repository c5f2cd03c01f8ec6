/* The transforms of Winograd's convolution (winograd.py has their matrices), at the points 0, +-sqrt(1/2), +-sqrt(2)
 * and infinity. What even and odd powers of a point and of its opposite have in common is computed once.
 *
 * A square is transformed down its columns and then along its rows; its rows and columns stand as many vectors apart
 * as the caller says. */
#ifndef MINISPARSE_WINOGRAD_H
#define MINISPARSE_WINOGRAD_H

#include "lanes.h"

#define HALF_ROOT 0.70710678118654752440
#define ROOT 1.41421356237309504880
#define SQUARE_OF(vector) const vector *d, long long row, long long column, vector *v, long long to_row, long long to_column

/* v = B^T d, six of six; v = B d, its transpose; v = A d, the polynomial of n coefficients at the points; v = A^T d. */
#define TRANSFORMS(name, number, vector)                                                           \
    INLINED differences##name(int n, const vector *d, long long step, vector *v, long long to)     \
    {                                                                                              \
        const number a = HALF_ROOT, b = ROOT, half = 0.5, two = 2, both = 2.5;                     \
        const vector d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step];           \
        const vector even = d4 - two * d2, odd = a * (d3 - two * d1);                              \
        const vector even2 = d4 - half * d2, odd2 = b * (d3 - half * d1);                          \
        v[0] = d4 - both * d2 + d[0];                                                              \
        v[to] = even + odd;                                                                        \
        v[2 * to] = even - odd;                                                                    \
        v[3 * to] = even2 + odd2;                                                                  \
        v[4 * to] = even2 - odd2;                                                                  \
        v[5 * to] = d[5 * step] - both * d3 + d1;                                                  \
    }                                                                                              \
    INLINED spread##name(int n, const vector *d, long long step, vector *v, long long to)          \
    {                                                                                              \
        const number a = HALF_ROOT, b = ROOT, half = 0.5, two = 2, both = 2.5;                     \
        const vector even = d[step] + d[2 * step], odd = a * (d[step] - d[2 * step]);              \
        const vector even2 = d[3 * step] + d[4 * step], odd2 = b * (d[3 * step] - d[4 * step]);    \
        const vector last = d[5 * step];                                                           \
        v[0] = d[0];                                                                               \
        v[to] = last - (two * odd + half * odd2);                                                  \
        v[2 * to] = -both * d[0] - (two * even + half * even2);                                    \
        v[3 * to] = odd + odd2 - both * last;                                                      \
        v[4 * to] = d[0] + even + even2;                                                           \
        v[5 * to] = last;                                                                          \
    }                                                                                              \
    INLINED values##name(int n, const vector *d, long long step, vector *v, long long to)          \
    {                                                                                              \
        const number a = HALF_ROOT, b = ROOT, half = 0.5, two = 2;                                 \
        vector even = d[0], even2 = even, odd = d[step], odd2 = odd;                               \
        if (n > 2)                                                                                 \
            even += half * d[2 * step], even2 += two * d[2 * step];                                \
        if (n > 3)                                                                                 \
            odd += half * d[3 * step], odd2 += two * d[3 * step];                                  \
        if (n > 4)                                                                                 \
            even += half * half * d[4 * step], even2 += two * two * d[4 * step];                   \
        v[0] = d[0];                                                                               \
        v[to] = even + a * odd;                                                                    \
        v[2 * to] = even - a * odd;                                                                \
        v[3 * to] = even2 + b * odd2;                                                              \
        v[4 * to] = even2 - b * odd2;                                                              \
        v[5 * to] = d[(n - 1) * step];                                                             \
    }                                                                                              \
    INLINED sums##name(int n, const vector *d, long long step, vector *v, long long to)            \
    {                                                                                              \
        const number a = HALF_ROOT, b = ROOT, half = 0.5, two = 2;                                 \
        const vector even = d[step] + d[2 * step], odd = a * (d[step] - d[2 * step]);              \
        const vector even2 = d[3 * step] + d[4 * step], odd2 = b * (d[3 * step] - d[4 * step]);    \
        vector last = odd + odd2;                                                                  \
        v[0] = d[0] + even + even2;                                                                \
        if (n > 2)                                                                                 \
            v[to] = last, last = half * even + two * even2;                                        \
        if (n > 3)                                                                                 \
            v[2 * to] = last, last = half * odd + two * odd2;                                      \
        if (n > 4)                                                                                 \
            v[3 * to] = last, last = half * half * even + two * two * even2;                       \
        v[(n - 1) * to] = last + d[5 * step];                                                      \
    }                                                                                              \
    SQUARE(differences_square##name, differences##name, vector, 6, 6)                              \
    SQUARE(spread_square##name, spread##name, vector, 6, 6)                                        \
    SQUARE(values_square##name, values##name, vector, n, 6)                                        \
    SQUARE(sums_square##name, sums##name, vector, 6, n)                                            \
    OF_SIX(differences_square##name, vector)                                                       \
    OF_SIX(spread_square##name, vector)                                                            \
    OF_N(values_square##name, vector)                                                              \
    OF_N(sums_square##name, vector)

#define SQUARE(name, transform, vector, from, into)                                                \
    INLINED name##_of(int n, SQUARE_OF(vector))                                                    \
    {                                                                                              \
        vector t[36];                                                                              \
        UNROLLED for (int j = 0; j < from; j++)                                                    \
            transform(n, d + j * column, row, t + j, from);                                        \
        UNROLLED for (int i = 0; i < into; i++)                                                    \
            transform(n, t + i * from, 1, v + i * to_row, to_column);                              \
    }
#define OF_SIX(name, vector)                                                                       \
    __attribute__((noinline)) static void name(SQUARE_OF(vector))                                  \
    {                                                                                              \
        name##_of(6, d, row, column, v, to_row, to_column);                                        \
    }
#define OF_N(name, vector)                                                                         \
    __attribute__((noinline)) static void name(int n, SQUARE_OF(vector))                           \
    {                                                                                              \
        switch (n) {                                                                               \
        case 2: name##_of(2, d, row, column, v, to_row, to_column); break;                         \
        case 3: name##_of(3, d, row, column, v, to_row, to_column); break;                         \
        case 4: name##_of(4, d, row, column, v, to_row, to_column); break;                         \
        case 5: name##_of(5, d, row, column, v, to_row, to_column); break;                         \
        }                                                                                          \
    }
TRANSFORMS(32, float, vf32)
TRANSFORMS(64, double, vf64)

#endif
