/* Tiles of sums in registers, as large as these allow. Each sum has a name, and a list spells out what is done with
 * all: of sums in an array compilers copy some from register to register. Each tile is a function of its own, which has
 * all registers to itself. */
#ifndef MINISPARSE_TILE_H
#define MINISPARSE_TILE_H

#include "lanes.h"

/* OUTPUTS, or rows, by two vectors; four outputs by two vectors of NARROW pixels; TILE taps by ACROSS outputs. */
#if REGISTERS == 32
enum { OUTPUTS = 12, NARROW = 2, TILE = 5, ACROSS = 4 };
#define OF_OUTPUTS(F) EIGHT(F) F(8) F(9) F(10) F(11)
#define OF_TAPS(F) FOUR(F) F(4)
#else
enum { OUTPUTS = 6, NARROW = 1, TILE = 3, ACROSS = 4 };
#define OF_OUTPUTS(F) FOUR(F) F(4) F(5)
#define OF_TAPS(F) F(0) F(1) F(2)
#endif
#define FOUR(F) F(0) F(1) F(2) F(3)
#define EIGHT(F) FOUR(F) F(4) F(5) F(6) F(7)
#define APART_TILE static __attribute__((noinline, unused)) void
#define VECTORS_AT(p) ((vector *)(p))

/* To the sums of so many outputs, by two vectors of each pixel, adds w[k, i] x[at[k]], `count` terms k in each of
 * `times` rows that are `step` terms apart. They go on from `sums`, or begin at `start` where that is something. */
#define TILE_ARGUMENTS(number, vector)                                                                         \
    const vector *x, const int32_t *at, const number *w, int64_t times, int64_t count, int64_t step,           \
        const number *start, const vector *sums, char *to, int64_t to_row, int64_t to_pixel
#define TILE_PASSED x, at, w, times, count, step, start, sums, to, to_row, to_pixel
#define MULTIPLY(name, outputs, each, pixels, number_type, vector_type)                                        \
    APART_TILE name(TILE_ARGUMENTS(number_type, vector_type))                                                  \
    {                                                                                                          \
        typedef vector_type vector;                                                                            \
        enum { wide = outputs };                                                                               \
        const vector *p;                                                                                       \
        vector u, v0, v1, v2, v3;                                                                              \
        each(TILE_DECLARE)                                                                                     \
        if (start) {                                                                                           \
            each(TILE_START)                                                                                   \
        } else if (pixels == 1) {                                                                              \
            each(TILE_GO_ON)                                                                                   \
        } else {                                                                                               \
            each(TILE_GO_ON_2)                                                                                 \
        }                                                                                                      \
        for (int64_t time = 0; time < times; time++) {                                                         \
            for (int64_t k = 0; k < count; k++) {                                                              \
                p = (const vector *)((const char *)x + at[k]);                                                 \
                v0 = p[0], v1 = p[1];                                                                          \
                if (pixels == 1) {                                                                             \
                    each(TILE_ADD)                                                                             \
                } else {                                                                                       \
                    v2 = p[2], v3 = p[3];                                                                      \
                    each(TILE_ADD_2)                                                                           \
                }                                                                                              \
            }                                                                                                  \
            at += step, w += wide * step;                                                                      \
        }                                                                                                      \
        each(TILE_LEAVE)                                                                                       \
        if (pixels == 2) {                                                                                     \
            each(TILE_LEAVE_2)                                                                                 \
        }                                                                                                      \
    }
#define TILE_DECLARE(i) vector a##i, b##i, c##i, d##i;
#define TILE_START(i) a##i = b##i = c##i = d##i = start[i] - (vector){0};
#define TILE_GO_ON(i) a##i = sums[2 * i], b##i = sums[2 * i + 1];
#define TILE_GO_ON_2(i) a##i = sums[4 * i], b##i = sums[4 * i + 1], c##i = sums[4 * i + 2], d##i = sums[4 * i + 3];
#define TILE_ADD(i) u = w[wide * k + i] - (vector){0}, a##i += u * v0, b##i += u * v1;
#define TILE_ADD_2(i) TILE_ADD(i) c##i += u * v2, d##i += u * v3;
#define TILE_LEAVE(i) VECTORS_AT(to + i * to_row)[0] = a##i, VECTORS_AT(to + i * to_row)[1] = b##i;
#define TILE_LEAVE_2(i)                                                                                        \
    VECTORS_AT(to + i * to_row + to_pixel)[0] = c##i, VECTORS_AT(to + i * to_row + to_pixel)[1] = d##i;

/* Of a panel of OUTPUTS, or of the last eight or four. */
#define MULTIPLY_PANEL(name, number, vector)                                                                   \
    MULTIPLY(whole##name, OUTPUTS, OF_OUTPUTS, 1, number, vector)                                              \
    MULTIPLY(eight##name, 8, EIGHT, 1, number, vector)                                                         \
    MULTIPLY(four##name, 4, FOUR, NARROW, number, vector)                                                      \
    static inline void tile##name(int64_t wide, TILE_ARGUMENTS(number, vector))                                \
    {                                                                                                          \
        if (wide == OUTPUTS)                                                                                   \
            whole##name(TILE_PASSED);                                                                          \
        else if (wide == 8)                                                                                    \
            eight##name(TILE_PASSED);                                                                          \
        else                                                                                                   \
            four##name(TILE_PASSED);                                                                           \
    }

/* Two vectors of OUTPUTS rows of c = a b, steps in bytes; the sums go on from c where there is `more`. */
#define MULTIPLY_ROWS(name, number_type, vector_type)                                                          \
    APART_TILE rows##name(const char *a, int64_t row, int64_t step, const char *b, int64_t b_row, int64_t depth, \
                          char *c, int64_t c_row, int more)                                                    \
    {                                                                                                          \
        typedef number_type number;                                                                            \
        typedef vector_type vector;                                                                            \
        const char *q[OUTPUTS / 3]; /* of every third row */                                                   \
        vector u, v0, v1;                                                                                      \
        UNROLLED for (int i = 0; i < OUTPUTS / 3; i++)                                                         \
            q[i] = a + 3 * i * row;                                                                            \
        OF_OUTPUTS(ROW_DECLARE)                                                                                \
        if (more) {                                                                                            \
            OF_OUTPUTS(ROW_GO_ON)                                                                              \
        }                                                                                                      \
        for (int64_t k = 0; k < depth; k++, b += b_row) {                                                      \
            v0 = VECTORS_AT(b)[0], v1 = VECTORS_AT(b)[1];                                                      \
            OF_OUTPUTS(ROW_ADD)                                                                                \
            UNROLLED for (int i = 0; i < OUTPUTS / 3; i++)                                                     \
                q[i] += step;                                                                                  \
        }                                                                                                      \
        OF_OUTPUTS(ROW_LEAVE)                                                                                  \
    }
#define ROW_DECLARE(i) vector a##i = {0}, b##i = a##i;
#define ROW_GO_ON(i) a##i = VECTORS_AT(c + i * c_row)[0], b##i = VECTORS_AT(c + i * c_row)[1];
#define ROW_ADD(i) u = *(const number *)(q[i / 3] + i % 3 * row) - (vector){0}, a##i += u * v0, b##i += u * v1;
#define ROW_LEAVE(i) VECTORS_AT(c + i * c_row)[0] = a##i, VECTORS_AT(c + i * c_row)[1] = b##i;

/* Adds TILE taps by four outputs to `sums`, x[at[i]] dy[o] over the vectors of a field of blocks, rows and columns;
 * `output` bytes from one o to the next. */
#define MEET(name, number, vector_type)                                                                        \
    APART_TILE meet##name(const char *x, const int32_t *at, const char *dy, int64_t output, int64_t blocks,    \
                          int64_t height, int64_t width, int64_t x_block, int64_t x_row, int64_t dy_block,     \
                          int64_t dy_row, number *sums)                                                        \
    {                                                                                                          \
        typedef vector_type vector;                                                                            \
        void (*const add_sums)(number *, vector, vector, vector, vector) = add_sums##name;                     \
        const char *p, *q;                                                                                     \
        vector d;                                                                                              \
        OF_TAPS(MEET_DECLARE)                                                                                  \
        for (int64_t block = 0; block < blocks; block++)                                                       \
            for (int64_t row = 0; row < height; row++) {                                                       \
                p = x + block * x_block + row * x_row, q = dy + block * dy_block + row * dy_row;               \
                for (int64_t k = 0; k < width; k++, p += sizeof(vector), q += sizeof(vector)) {                \
                    OF_TAPS(MEET_LOAD)                                                                         \
                    d = *VECTORS_AT(q);                                                                        \
                    HOLD(d);                                                                                   \
                    OF_TAPS(MEET_FIRST)                                                                        \
                    d = *VECTORS_AT(q + output);                                                               \
                    HOLD(d);                                                                                   \
                    OF_TAPS(MEET_SECOND)                                                                       \
                    d = *VECTORS_AT(q + 2 * output);                                                           \
                    HOLD(d);                                                                                   \
                    OF_TAPS(MEET_THIRD)                                                                        \
                    d = *VECTORS_AT(q + 3 * output);                                                           \
                    HOLD(d);                                                                                   \
                    OF_TAPS(MEET_FOURTH)                                                                       \
                }                                                                                              \
            }                                                                                                  \
        OF_TAPS(MEET_LEAVE)                                                                                    \
    }
#define MEET_DECLARE(i) const int64_t at##i = at[i]; vector x##i, a##i = {0}, b##i = a##i, c##i = a##i, e##i = a##i;
#define MEET_LOAD(i) x##i = *VECTORS_AT(p + at##i); HOLD(x##i);
#define MEET_FIRST(i) a##i += x##i * d;
#define MEET_SECOND(i) b##i += x##i * d;
#define MEET_THIRD(i) c##i += x##i * d;
#define MEET_FOURTH(i) e##i += x##i * d;
#define MEET_LEAVE(i) add_sums(sums + 4 * i, a##i, b##i, c##i, e##i);

#define TILES(name, number, vector)                                                                            \
    MULTIPLY_PANEL(name, number, vector)                                                                       \
    MULTIPLY_ROWS(name, number, vector)                                                                        \
    MEET(name, number, vector)
TILES(32, float, vf32)
TILES(64, double, vf64)

#endif
