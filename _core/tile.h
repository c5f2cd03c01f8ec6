/* Tiles of sums in registers, as large as these allow: arrays, of which each index is a constant once loops are
 * unrolled. Each tile is a function of its own, which has all registers to itself. */
#ifndef MINISPARSE_TILE_H
#define MINISPARSE_TILE_H

#include "wide.h"

/* OUTPUTS, or rows, by two vectors; four outputs by two vectors of NARROW pixels; TILE taps by ACROSS outputs. */
#if REGISTERS == 32
enum { OUTPUTS = 12, NARROW = 2, TILE = 5, ACROSS = 4 };
#else
enum { OUTPUTS = 6, NARROW = 1, TILE = 3, ACROSS = 4 };
#endif

#define APART_TILE static __attribute__((noinline, unused)) void
#define EACH(i, n) UNROLLED for (int i = 0; i < (n); i++)

/* To the sums of so many outputs, by two vectors of each pixel, adds w[k, i] x[at[k]], `count` terms k in each of
 * `times` rows that are `step` terms apart. They go on from `sums`, or begin at `start` where that is something. */
#define TILE_ARGUMENTS(number, vector)                                                                     \
    const vector *x, const int32_t *at, const number *w, int64_t times, int64_t count, int64_t step,       \
        const number *start, const vector *sums, char *to, int64_t to_row, int64_t to_pixel
#define TILE_PASSED x, at, w, times, count, step, start, sums, to, to_row, to_pixel
#define MULTIPLY(name, number, vector)                                                                     \
    INLINED multiply##name(const int outputs, const int pixels, TILE_ARGUMENTS(number, vector))            \
    {                                                                                                      \
        vector s[12][4];                                                                                   \
        if (start)                                                                                         \
            EACH(i, outputs) EACH(j, 2 * pixels) s[i][j] = start[i] - (vector){0};                         \
        else                                                                                               \
            EACH(i, outputs) EACH(j, 2 * pixels) s[i][j] = sums[2 * pixels * i + j];                       \
        for (; times > 0; times--, at += step, w += outputs * step)                                        \
            for (int64_t k = 0; k < count; k++) {                                                          \
                const vector *p = (const vector *)((const char *)x + at[k]);                               \
                EACH(i, outputs) EACH(j, 2 * pixels) s[i][j] += w[outputs * k + i] * p[j];                 \
            }                                                                                              \
        EACH(i, outputs) EACH(j, 2 * pixels)                                                               \
            ((vector *)(to + i * to_row + j / 2 * to_pixel))[j % 2] = s[i][j];                             \
    }                                                                                                      \
    SIZE(twelve##name, multiply##name, 12, 1, number, vector)                                              \
    SIZE(eight##name, multiply##name, 8, 1, number, vector)                                                \
    SIZE(six##name, multiply##name, 6, 1, number, vector)                                                  \
    SIZE(four##name, multiply##name, 4, NARROW, number, vector)                                            \
    static inline void tile##name(int64_t wide, TILE_ARGUMENTS(number, vector))                            \
    {                                                                                                      \
        if (wide == 4)                                                                                     \
            four##name(TILE_PASSED);                                                                       \
        else if (wide == 8)                                                                                \
            eight##name(TILE_PASSED);                                                                      \
        else if (OUTPUTS == 12)                                                                            \
            twelve##name(TILE_PASSED);                                                                     \
        else                                                                                               \
            six##name(TILE_PASSED);                                                                        \
    }
#define SIZE(name, multiply, outputs, pixels, number, vector)                                              \
    APART_TILE name(TILE_ARGUMENTS(number, vector)) { multiply(outputs, pixels, TILE_PASSED); }

/* Two vectors of so many rows of c = a b, steps in bytes; the sums go on from c where there is `more`. */
#define MULTIPLY_ROWS(name, number, vector)                                                                \
    APART_TILE rows##name(const char *a, int64_t row, int64_t step, const char *b, int64_t b_row, int64_t depth, \
                          char *c, int64_t c_row, int more)                                                \
    {                                                                                                      \
        const char *q[OUTPUTS / 3]; /* of every third row */                                               \
        vector s[OUTPUTS][2];                                                                              \
        EACH(i, OUTPUTS / 3) q[i] = a + 3 * i * row;                                                       \
        EACH(i, OUTPUTS) EACH(j, 2) s[i][j] = (vector){0};                                                 \
        if (more)                                                                                          \
            EACH(i, OUTPUTS) EACH(j, 2) s[i][j] = ((const vector *)(c + i * c_row))[j];                    \
        for (int64_t k = 0; k < depth; k++, b += b_row) {                                                  \
            const vector *p = (const vector *)b;                                                           \
            EACH(i, OUTPUTS) EACH(j, 2) s[i][j] += *(const number *)(q[i / 3] + i % 3 * row) * p[j];       \
            EACH(i, OUTPUTS / 3) q[i] += step;                                                             \
        }                                                                                                  \
        EACH(i, OUTPUTS) EACH(j, 2) ((vector *)(c + i * c_row))[j] = s[i][j];                              \
    }

/* The same of a tile of taps by four outputs, before their lanes are summed: over the vectors of a field of blocks,
 * rows and columns, x[at[i]] dy[o], `output` bytes from one o to the next. */
#define MEET(name, number, vector)                                                                         \
    APART_TILE meet##name(const char *x, const int32_t *at, const char *dy, int64_t output, int64_t blocks, \
                          int64_t height, int64_t width, int64_t x_block, int64_t x_row, int64_t dy_block, \
                          int64_t dy_row, number *sums)                                                    \
    {                                                                                                      \
        vector s[TILE][ACROSS];                                                                            \
        int64_t place[TILE];                                                                               \
        EACH(i, TILE) place[i] = at[i];                                                                    \
        EACH(i, TILE) EACH(j, ACROSS) s[i][j] = (vector){0};                                               \
        for (int64_t block = 0; block < blocks; block++)                                                   \
            for (int64_t a = 0; a < height; a++) {                                                         \
                const char *p = x + block * x_block + a * x_row, *q = dy + block * dy_block + a * dy_row;  \
                for (int64_t b = 0; b < width; b++, p += sizeof(vector), q += sizeof(vector))              \
                    EACH(i, TILE) EACH(j, ACROSS)                                                          \
                        s[i][j] += *(const vector *)(p + place[i]) * *(const vector *)(q + j * output);    \
            }                                                                                              \
        EACH(i, TILE) add_sums##name(sums + 4 * i, s[i][0], s[i][1], s[i][2], s[i][3]);                    \
    }
#define TILES(name, number, vector)                                                                        \
    MULTIPLY(name, number, vector)                                                                         \
    MULTIPLY_ROWS(name, number, vector)                                                                    \
    MEET(name, number, vector)
TILES(32, float, vf32)
TILES(64, double, vf64)

#endif
