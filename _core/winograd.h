/* The transforms of Winograd's convolution (winograd.py has their matrices), of squares of six or eight. Their points
 * are 0, two or three pairs of opposites, and infinity: what even and odd powers of a pair have in common is computed
 * once.
 *
 * A square is transformed down its columns and then along its rows; its rows and columns stand as many vectors apart
 * as the caller says. */
#ifndef MINISPARSE_WINOGRAD_H
#define MINISPARSE_WINOGRAD_H

#include "lanes.h"

#define HALF_ROOT 0.70710678118654752440
#define ROOT 1.41421356237309504880
#define OF(side) (((side) - 6) / 2) /* where in tables */
#define PAIRS(side) ((side) / 2 - 1)

/* D, which turns A into G. */
static const double scales[2][8] = {{1, -2. / 3, -2. / 3, 1. / 6, 1. / 6, 1},
                                    {-1, 32. / 45, 32. / 45, -2. / 9, -2. / 9, 1. / 90, 1. / 90, 1}};

/* Of each pair its point and its square; polynomials of squares, lowest coefficient first, that vanish at those of the
 * other pairs, and at all. The highest coefficient is 1. */
#define TABLES(name, number)                                                                             \
    static const number points##name[2][3] = {{HALF_ROOT, ROOT}, {0.5, 1, 2}};                           \
    static const number squares##name[2][3] = {{0.5, 2}, {0.25, 1, 4}};                                  \
    static const number others##name[2][3][2] = {{{-2}, {-0.5}}, {{4, -5}, {1, -4.25}, {0.25, -1.25}}};  \
    static const number all##name[2][3] = {{1, -2.5}, {-1, 5.25, -5.25}};

/* v = B^T d, and v = B d, its transpose; v = A d, the polynomial of n coefficients at the points, and v = A^T d. */
#define TRANSFORMS(name, number, vector)                                                                 \
    INLINED differences##name(int side, int n, const vector *d, int64_t step, vector *v, int64_t to)     \
    {                                                                                                    \
        const int pairs = PAIRS(side);                                                                   \
        vector x[8], even, odd;                                                                          \
        UNROLLED for (int i = 0; i < side; i++)                                                          \
            x[i] = d[i * step];                                                                          \
        even = x[side - 2], odd = x[side - 1];                                                           \
        UNROLLED for (int j = 0; j < pairs; j++)                                                         \
            even += all##name[OF(side)][j] * x[2 * j], odd += all##name[OF(side)][j] * x[2 * j + 1];     \
        v[0] = even, x[side - 1] = odd;                                                                  \
        UNROLLED for (int i = 0; i < pairs; i++) {                                                       \
            even = x[side - 2], odd = x[side - 3];                                                       \
            UNROLLED for (int j = 0; j < pairs - 1; j++)                                                 \
                even += others##name[OF(side)][i][j] * x[2 * j + 2],                                     \
                odd += others##name[OF(side)][i][j] * x[2 * j + 1];                                      \
            odd *= points##name[OF(side)][i];                                                            \
            v[(2 * i + 1) * to] = even + odd, v[(2 * i + 2) * to] = even - odd;                          \
        }                                                                                                \
        v[(side - 1) * to] = x[side - 1];                                                                \
    }                                                                                                    \
    INLINED spread##name(int side, int n, const vector *d, int64_t step, vector *v, int64_t to)          \
    {                                                                                                    \
        const int pairs = PAIRS(side);                                                                   \
        vector y[8], even[3], odd[3];                                                                    \
        const vector zero = d[0], infinity = d[(side - 1) * step];                                       \
        UNROLLED for (int i = 0; i < pairs; i++) {                                                       \
            even[i] = d[(2 * i + 1) * step] + d[(2 * i + 2) * step];                                     \
            odd[i] = points##name[OF(side)][i] * (d[(2 * i + 1) * step] - d[(2 * i + 2) * step]);        \
        }                                                                                                \
        y[side - 2] = zero, y[side - 1] = infinity;                                                      \
        UNROLLED for (int j = 0; j < pairs; j++)                                                         \
            y[2 * j] = all##name[OF(side)][j] * zero, y[2 * j + 1] = all##name[OF(side)][j] * infinity;  \
        UNROLLED for (int i = 0; i < pairs; i++) {                                                       \
            UNROLLED for (int j = 0; j < pairs - 1; j++)                                                 \
                y[2 * j + 2] += others##name[OF(side)][i][j] * even[i],                                  \
                y[2 * j + 1] += others##name[OF(side)][i][j] * odd[i];                                   \
            y[side - 2] += even[i], y[side - 3] += odd[i];                                               \
        }                                                                                                \
        UNROLLED for (int i = 0; i < side; i++)                                                          \
            v[i * to] = y[i];                                                                            \
    }                                                                                                    \
    INLINED values##name(int side, int n, const vector *d, int64_t step, vector *v, int64_t to)          \
    {                                                                                                    \
        vector x[5], even, odd;                                                                          \
        UNROLLED for (int j = 0; j < n; j++)                                                             \
            x[j] = d[j * step];                                                                          \
        v[0] = x[0], v[(side - 1) * to] = x[n - 1];                                                      \
        UNROLLED for (int i = 0; i < PAIRS(side); i++) {                                                 \
            number power = squares##name[OF(side)][i];                                                   \
            even = x[0], odd = x[1];                                                                     \
            UNROLLED for (int j = 2; j < n; j++) {                                                       \
                if (j % 2)                                                                               \
                    odd += power * x[j], power *= squares##name[OF(side)][i];                            \
                else                                                                                     \
                    even += power * x[j];                                                                \
            }                                                                                            \
            odd *= points##name[OF(side)][i];                                                            \
            v[(2 * i + 1) * to] = even + odd, v[(2 * i + 2) * to] = even - odd;                          \
        }                                                                                                \
    }                                                                                                    \
    INLINED sums##name(int side, int n, const vector *d, int64_t step, vector *v, int64_t to)            \
    {                                                                                                    \
        vector y[5], even, odd;                                                                          \
        UNROLLED for (int i = 0; i < PAIRS(side); i++) {                                                 \
            number power = 1;                                                                            \
            even = d[(2 * i + 1) * step] + d[(2 * i + 2) * step];                                        \
            odd = points##name[OF(side)][i] * (d[(2 * i + 1) * step] - d[(2 * i + 2) * step]);           \
            UNROLLED for (int j = 0; j < n; j++) {                                                       \
                if (i == 0)                                                                              \
                    y[j] = power * (j % 2 ? odd : even);                                                 \
                else                                                                                     \
                    y[j] += power * (j % 2 ? odd : even);                                                \
                power *= j % 2 ? squares##name[OF(side)][i] : 1;                                         \
            }                                                                                            \
        }                                                                                                \
        y[0] += d[0], y[n - 1] += d[(side - 1) * step];                                                  \
        UNROLLED for (int j = 0; j < n; j++)                                                             \
            v[j * to] = y[j];                                                                            \
    }                                                                                                    \
    SQUARE(differences_square##name, differences##name, vector, side, side)                              \
    SQUARE(spread_square##name, spread##name, vector, side, side)                                        \
    SQUARE(values_square##name, values##name, vector, n, side)                                           \
    SQUARE(sums_square##name, sums##name, vector, side, n)

#define SQUARE_OF(vector)                                                                                \
    const vector *d, int64_t row, int64_t column, vector *v, int64_t to_row, int64_t to_column
#define SQUARE(name, transform, vector, from, into)                                                      \
    INLINED name##_of(int side, int n, SQUARE_OF(vector))                                                \
    {                                                                                                    \
        vector t[64];                                                                                    \
        UNROLLED for (int j = 0; j < from; j++)                                                          \
            transform(side, n, d, row, t + j, from), d += column;                                        \
        UNROLLED for (int i = 0; i < into; i++)                                                          \
            transform(side, n, t + i * from, 1, v, to_column), v += to_row;                              \
    }                                                                                                    \
    WHOLE_SQUARE(name, 6, 3, vector) WHOLE_SQUARE(name, 6, 4, vector)                                    \
    WHOLE_SQUARE(name, 8, 4, vector) WHOLE_SQUARE(name, 8, 5, vector)                                    \
    static inline void name(int side, int n, SQUARE_OF(vector))                                          \
    {                                                                                                    \
        if (side == 6 && n == 3)                                                                         \
            name##_6_3(d, row, column, v, to_row, to_column);                                            \
        else if (side == 6)                                                                              \
            name##_6_4(d, row, column, v, to_row, to_column);                                            \
        else if (n == 4)                                                                                 \
            name##_8_4(d, row, column, v, to_row, to_column);                                            \
        else                                                                                             \
            name##_8_5(d, row, column, v, to_row, to_column);                                            \
    }
#define WHOLE_SQUARE(name, side, n, vector)                                                              \
    __attribute__((noinline, unused)) static void name##_##side##_##n(SQUARE_OF(vector))                 \
    {                                                                                                    \
        name##_of(side, n, d, row, column, v, to_row, to_column);                                        \
    }
TABLES(32, float)
TABLES(64, double)
TRANSFORMS(32, float, vf32)
TRANSFORMS(64, double, vf64)

#endif
