/* Windows of 2 x 2 pixels of a normalised channel, a row of windows at a time: pixels of `images` numbers lie side by
   side, rows of them `row` numbers apart. p = (mean, inverse, gain, bias). Macros make functions for float and for
   double.

   The last vector of a pixel ends where the pixel does and takes up some numbers of the one before again; pixels of
   less than a vector go number by number. */
#ifndef MINISPARSE_WINDOWS_H
#define MINISPARSE_WINDOWS_H

#include "stream.h"
#include "sums.h"
#include "lanes.h"

#define WINDOWS_ROOM 2048 /* numbers of a result that leave together */
#define NORMAL(x) (gain * XHAT(x) + bias)
#define PULLED(d, x) (scale * ((d) - (level + XHAT(x) * slope)))

/* The places in a window of a vector of winners; and a mask of the lanes from `taken` on. */
#define WINDOW_VECTORS(name, integers, integer, lanes, each_lane)                                              \
    static inline integers places_##name(const uint8_t *winner)                                                \
    {                                                                                                          \
        integer place[lanes];                                                                                  \
        integers result;                                                                                       \
        for (int i = 0; i < lanes; i++)                                                                        \
            place[i] = winner[i];                                                                              \
        memcpy(&result, place, sizeof(result));                                                                \
        return result;                                                                                         \
    }                                                                                                          \
    static inline integers fresh_##name(integer taken)                                                         \
    {                                                                                                          \
        const integers lane = each_lane;                                                                       \
        return lane >= taken;                                                                                  \
    }

/* The largest of each window, normalised and rectified, and its place: of equal ones the first, and the last NaN. */
#define POOL(name, number, vector, integers, largest, lanes)                                                   \
    static inline vector rectified_##name(const number *x, const number *p)                                    \
    {                                                                                                          \
        const number mean = p[0], inverse = p[1], gain = p[2], bias = p[3];                                    \
        const vector y = NORMAL(*(const vector *)x);                                                           \
        return (vector)((integers)y & ~(integers)(y <= 0));                                                    \
    }                                                                                                          \
    static void pool_##name(const number *x, int64_t row, int64_t images, int64_t windows, const number *p,    \
                            number *y, uint8_t *winner)                                                        \
    {                                                                                                          \
        const number mean = p[0], inverse = p[1], gain = p[2], bias = p[3];                                    \
        for (int64_t j = 0; j < windows; j++, x += 2 * images, y += images, winner += images) {                \
            for (int64_t k = 0; k < images && images >= lanes; k += lanes) {                                   \
                const int64_t i = k + lanes > images ? images - lanes : k;                                     \
                const number *a = x + i, *c = x + row + i;                                                     \
                *(vector *)(y + i) = largest(rectified_##name(a, p), rectified_##name(a + images, p),          \
                                             rectified_##name(c, p), rectified_##name(c + images, p),          \
                                             winner + i);                                                      \
            }                                                                                                  \
            for (int64_t k = 0; k < images && images < lanes; k++)                                             \
                for (int place = 0; place < 4; place++) {                                                      \
                    number z = NORMAL(x[place / 2 * row + place % 2 * images + k]);                            \
                    z = z <= 0 ? 0 : z;                                                                        \
                    if (!place || z > y[k] || z != z)                                                          \
                        y[k] = z, winner[k] = place;                                                           \
                }                                                                                              \
        }                                                                                                      \
    }

/* Adds to sum d and sum d xhat: d is what reaches the winners from dy, xhat theirs. */
#define POOLED_SLOPES(name, number, vector, integers, chosen, lanes)                                           \
    static void pooled_slopes_##name(const number *dy, const uint8_t *winner, const number *x, int64_t row,    \
                                     int64_t images, int64_t windows, const number *p, double *dgain,          \
                                     double *dbias)                                                            \
    {                                                                                                          \
        const number mean = p[0], inverse = p[1], gain = p[2], bias = p[3];                                    \
        const int64_t each = images < SUMS_BLOCK ? SUMS_BLOCK / images : 1;                                    \
        for (int64_t begin = 0; begin < windows; begin += each) {                                              \
            const int64_t end = windows - begin < each ? windows : begin + each;                               \
            vector a = {0}, b = a;                                                                             \
            for (int64_t j = begin; j < end && images >= lanes; j++)                                           \
                for (int64_t k = 0; k < images; k += lanes) {                                                  \
                    const int64_t i = k + lanes > images ? images - lanes : k;                                 \
                    const number *from = x + 2 * j * images + i, *below = from + row;                          \
                    const integers place = places_##name(winner + j * images + i), odd = (place & 1) != 0;     \
                    const vector upper = chosen(odd, *(const vector *)(from + images), *(const vector *)from); \
                    const vector lower = chosen(odd, *(const vector *)(below + images), *(const vector *)below); \
                    const vector xhat = XHAT(chosen((place & 2) != 0, lower, upper));                          \
                    const integers through = (place < 4) & (integers)(gain * xhat + bias > 0)                  \
                                             & fresh_##name(k - i);                                            \
                    const vector d = (vector)((integers)*(const vector *)(dy + j * images + i) & through);     \
                    a += d, b += d * xhat;                                                                     \
                }                                                                                              \
            double sum = sums_total(sums_widened_##name(a)), slope = sums_total(sums_widened_##name(b));       \
            if (images < lanes || !isfinite(sum + slope)) {                                                    \
                sum = slope = 0;                                                                               \
                for (int64_t k = begin * images; k < end * images; k++) {                                      \
                    const number *from = x + k + k / images * images;                                          \
                    const number xhat = XHAT(from[(winner[k] & 1) * images + (winner[k] >> 1 & 1) * row]);     \
                    if (winner[k] < 4 && gain * xhat + bias > 0)                                               \
                        sum += dy[k], slope += (double)dy[k] * (double)xhat;                                   \
                }                                                                                              \
            }                                                                                                  \
            *dbias += sum, *dgain += slope;                                                                    \
        }                                                                                                      \
    }

/* The gradient of a row of pixels: every other one is at `place` of its window, the next at place + 1, and those
   beyond the windows are nobody's. q = (scale, level, slope). */
#define POOLED_GRADIENT(name, number, vector, integers, lanes)                                                 \
    static void pooled_gradient_##name(const number *dy, const uint8_t *winner, const number *x,               \
                                       int64_t images, int64_t pixels, int64_t windows, int place,             \
                                       const number *p, const number *q, int streamed, number *dx)             \
    {                                                                                                          \
        const number mean = p[0], inverse = p[1], gain = p[2], bias = p[3];                                    \
        const number scale = q[0], level = q[1], slope = q[2];                                                 \
        number room[WINDOWS_ROOM];                                                                             \
        const int64_t most = WINDOWS_ROOM / images;                                                            \
        for (int64_t j = 0, filled = 0; j < pixels; j++) {                                                     \
            number *to = most && streamed ? room + filled * images : dx + j * images;                          \
            const number *from = x + j * images, *its = dy + j / 2 * images;                                   \
            const uint8_t *who = winner + j / 2 * images, me = place + (j & 1);                                \
            const int met = j / 2 < windows;                                                                   \
            for (int64_t k = 0; k < images && images >= lanes; k += lanes) {                                   \
                const int64_t i = k + lanes > images ? images - lanes : k;                                     \
                const vector here = *(const vector *)(from + i);                                               \
                vector d = {0};                                                                                \
                if (met)                                                                                       \
                    d += (vector)((integers)*(const vector *)(its + i) & (places_##name(who + i) == me)        \
                                  & (integers)(NORMAL(here) > 0));                                             \
                *(vector *)(to + i) = PULLED(d, here);                                                         \
            }                                                                                                  \
            for (int64_t k = 0; k < images && images < lanes; k++)                                             \
                to[k] = PULLED(0 + (met && who[k] == me && NORMAL(from[k]) > 0 ? its[k] : 0), from[k]);        \
            if (most && streamed && (++filled == most || j == pixels - 1)) {                                   \
                put(dx + (j + 1 - filled) * images, room, filled * images * sizeof(number), 1);                \
                filled = 0;                                                                                    \
            }                                                                                                  \
        }                                                                                                      \
    }

#define WINDOWS(name, number, vector, integers, integer, chosen, largest, lanes, each_lane)                    \
    WINDOW_VECTORS(name, integers, integer, lanes, each_lane)                                                  \
    POOL(name, number, vector, integers, largest, lanes)                                                       \
    POOLED_SLOPES(name, number, vector, integers, chosen, lanes)                                               \
    POOLED_GRADIENT(name, number, vector, integers, lanes)

WINDOWS(f32, float, vf32, vi32, int32_t, chosen32, largest32, LANES32, each_lane32)
WINDOWS(f64, double, vf64, vi64, int64_t, chosen64, largest64, LANES64, each_lane64)
#endif
