/* Vectors as wide as the target's registers, and how many of these there are. They may stand at any address of a number
   and alias the arrays that hold it. GCC and Clang. */

#ifndef MINISPARSE_VECTORS_H
#define MINISPARSE_VECTORS_H

#include <stdint.h>

/* CFLAGS="-DVECTOR_BYTES=64 -DREGISTERS=32" tests, slowly, what another processor runs. */
#ifndef VECTOR_BYTES
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#endif

#ifndef REGISTERS
#if defined(__AVX512F__) || defined(__aarch64__)
#define REGISTERS 32
#else
#define REGISTERS 16
#endif
#endif

typedef float vf32 __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef double vf64 __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
typedef int32_t vi32 __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef int64_t vi64 __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));

/* x, the same vector, from now on in a register: or it would be loaded again for each product that it enters. */
#if defined(__AVX512F__)
#define HOLD(x) __asm__("" : "+v"(x))
#elif defined(__SSE2__) && VECTOR_BYTES == 16 || defined(__AVX__) && VECTOR_BYTES == 32
#define HOLD(x) __asm__("" : "+x"(x))
#else
#define HOLD(x)
#endif

#endif
