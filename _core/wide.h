/* Vectors of 64 bytes whatever the processor: two of them are a batch block of one pixel. They may stand at any
 * address of a float or double; the compiler keeps them in registers and lowers them to what there is. */
#ifndef MINISPARSE_WIDE_H
#define MINISPARSE_WIDE_H

typedef float vf32 __attribute__((vector_size(64), aligned(4), may_alias));
typedef double vf64 __attribute__((vector_size(64), aligned(8), may_alias));

/* Entry k in every lane. */
static inline vf32 splat32(const void *p, long long k) { return ((const float *)p)[k] - (vf32){0}; }
static inline vf64 splat64(const void *p, long long k) { return ((const double *)p)[k] - (vf64){0}; }

/* The sum of the lanes, by halves. */
static inline float sum32(vf32 a)
{
    typedef float half __attribute__((vector_size(32), aligned(4), may_alias));
    typedef float quarter __attribute__((vector_size(16), aligned(4), may_alias));
    half h = ((half *)&a)[0] + ((half *)&a)[1];
    quarter q = ((quarter *)&h)[0] + ((quarter *)&h)[1];
    return (q[0] + q[1]) + (q[2] + q[3]);
}

static inline double sum64(vf64 a)
{
    typedef double half __attribute__((vector_size(32), aligned(8), may_alias));
    half h = ((half *)&a)[0] + ((half *)&a)[1];
    return (h[0] + h[1]) + (h[2] + h[3]);
}

/* Asks for a cache line that is soon read. */
static inline void prefetch(const void *p) { __builtin_prefetch(p); }

#endif
