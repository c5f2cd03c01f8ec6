/* Vector types for the kernels: arithmetic on them is plain C, so that named accumulators stay in registers.

   As wide as the target's registers, so that sixteen of them fit (vectors.h). */

#ifndef MINISPARSE_VEC_H
#define MINISPARSE_VEC_H

#include "vectors.h"

static const vf32 zero_vf32 = {0};
static const vf64 zero_vf64 = {0};

/* A number in every lane; x - 0 is x, for -0 too, and costs nothing. */
static inline vf32 splat_vf32(const void *values, int64_t k) { return ((const float *)values)[k] - zero_vf32; }
static inline vf64 splat_vf64(const void *values, int64_t k) { return ((const double *)values)[k] - zero_vf64; }

static inline vf32 held_vf32(vf32 x) { HOLD(x); return x; }
static inline vf64 held_vf64(vf64 x) { HOLD(x); return x; }

static const int32_t masks_vi32[2 * VECTOR_BYTES / 4] = {[VECTOR_BYTES / 4 ... 2 * VECTOR_BYTES / 4 - 1] = -1};
static const int64_t masks_vi64[2 * VECTOR_BYTES / 8] = {[VECTOR_BYTES / 8 ... 2 * VECTOR_BYTES / 8 - 1] = -1};

/* The last n lanes of the vector at x, 0 in the others. */
static inline vf32 last_vf32(const vf32 *x, int64_t n) { return (vf32)(*(const vi32 *)x & *(const vi32 *)(masks_vi32 + n)); }
static inline vf64 last_vf64(const vf64 *x, int64_t n) { return (vf64)(*(const vi64 *)x & *(const vi64 *)(masks_vi64 + n)); }

/* A function of constant arguments is specialised where it is called. */
#undef CYTHON_INLINE
#define CYTHON_INLINE inline __attribute__((always_inline))

#ifdef _OPENMP
#include <omp.h>
#else
#define omp_get_max_threads() 1
#endif

#endif
