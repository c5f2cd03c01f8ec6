"""Compiled twin of dense_ref.py, which is its specification.

* one product c = a b for all three, b's rows contiguous and in panels of two vectors (for eq. 3 x is transposed)
* eight rows of a panel, 16 vectors, are summed in registers over DEPTH numbers of each row of a; those of a, and of a
  panel of b, stay in the near caches
* a is read as it lies, row by row or column by column; the last panel of b is padded
* threads own rows of c: each sum is one thread's, in one order
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from minisparse._core.allocator import empty_array
from minisparse._core.dense_ref import check_product

include "team.pxi"

cdef extern from "wide.h" nogil:
    ctypedef float vf32
    ctypedef double vf64
    vf32 splat32(const void*, int64_t)
    vf64 splat64(const void*, int64_t)
    void transpose32(const char*, int64_t, char*, int64_t)
    void transpose64(const char*, int64_t, char*, int64_t)

ctypedef fused vector:
    vf32
    vf64

cdef enum:
    LINE = 64     # bytes of a vector
    ROWS = 8      # of a tile
    PANELS = 4    # of b that stay near while all rows of a pass
    DEPTH = 256   # terms of a sum before the next tile has its turn
    MANY = 1 << 20  # multiplications that are worth a second thread


cdef struct Product:  # c (rows, columns) = a (rows, depth) b (depth, columns); steps in bytes
    const char* a
    const char* b
    char* c
    int64_t rows, columns, depth, a_row, a_column, b_row, c_row, itemsize


def matmul(w, x):
    check_product("w", w, 1, "x", x, 0)
    return product(np.ascontiguousarray(w), False, np.ascontiguousarray(x))


def rmatmul(w, dy):
    check_product("w", w, 0, "dy", dy, 0)
    return product(np.ascontiguousarray(w), True, np.ascontiguousarray(dy))


def outer(dy, x):
    check_product("dy", dy, 1, "x", x, 1)
    return product(np.ascontiguousarray(dy), False, transposed(np.ascontiguousarray(x)))


cdef product(a, bint turned, b):
    """a b, or a^T b where `turned`."""
    c = empty_array((a.shape[1] if turned else a.shape[0], b.shape[1]), a.dtype)
    if not b.shape[0]:
        c.fill(0)
    elif c.size and c.dtype == np.float32:
        fill[float](a, turned, b, c)
    elif c.size:
        fill[double](a, turned, b, c)
    return c


cdef fill(const floating[:, ::1] a, bint turned, const floating[:, ::1] b, floating[:, ::1] c):
    cdef Product p
    cdef int64_t size = sizeof(floating)
    p.a, p.b, p.c, p.itemsize = <const char*>&a[0, 0], <const char*>&b[0, 0], <char*>&c[0, 0], size
    p.rows, p.columns, p.depth = c.shape[0], c.shape[1], b.shape[0]
    p.b_row = p.c_row = p.columns * size
    p.a_row, p.a_column = a.shape[1] * size, size
    if turned:
        p.a_row, p.a_column = p.a_column, p.a_row
    cdef int64_t tiles = (p.rows + ROWS - 1) // ROWS, panels = (p.columns * size + 2 * LINE - 1) // (2 * LINE)
    cdef int64_t padded = p.columns * size % (2 * LINE), failed = 0
    cdef int threads = team(p.rows * p.columns * p.depth > MANY)
    # a thread has columns of its own where there are many, else rows
    cdef int64_t part, groups = (panels + PANELS - 1) // PANELS, shares = 1 if groups >= 2 * threads else threads
    cdef Product* q = &p
    cdef char* last = NULL
    if padded:
        last = <char*>malloc(p.depth * 2 * LINE)
        if last == NULL:
            raise MemoryError("no memory for the last columns of an operand")
        pad(q, last, padded)
    # rows of a tile and depths lie in [0, rows) and [0, depth); panels are whole but for the last, which is `last`
    for part in prange(groups * shares, nogil=True, schedule="static", num_threads=threads):
        if floating is float:
            block_of(q, <const vf32*>last, panels, part // shares, tiles * (part % shares) // shares,
                     tiles * (part % shares + 1) // shares)
        else:
            block_of(q, <const vf64*>last, panels, part // shares, tiles * (part % shares) // shares,
                     tiles * (part % shares + 1) // shares)
    free(last)


cdef void pad(Product* p, char* last, int64_t nbytes) noexcept nogil:
    """The last columns of b, with zeros up to a panel."""
    cdef int64_t k
    for k in range(p.depth):
        memcpy(last + 2 * LINE * k, p.b + (k + 1) * p.b_row - nbytes, nbytes)
        memset(last + 2 * LINE * k + nbytes, 0, 2 * LINE - nbytes)


cdef void block_of(Product* p, const vector* last, int64_t panels, int64_t group, int64_t begin,
                   int64_t end) noexcept nogil:
    """Tiles of rows begin to end - 1 of a group of panels."""
    cdef int64_t first = 0, depth, tile, panel
    cdef const char* b
    while first < p.depth:
        depth = min(DEPTH, p.depth - first)
        for tile in range(begin, end):
            for panel in range(group * PANELS, min(panels, (group + 1) * PANELS)):
                if panel == panels - 1 and last != NULL:
                    tile_of(p, tile * ROWS, panel, first, depth, last + 2 * first, 2 * LINE)
                else:
                    b = p.b + first * p.b_row + panel * 2 * LINE
                    tile_of(p, tile * ROWS, panel, first, depth, <const vector*>b, p.b_row)
        first += DEPTH


cdef void tile_of(Product* p, int64_t row, int64_t panel, int64_t first, int64_t depth, const vector* b,
                  int64_t b_row) noexcept nogil:
    """Adds `depth` terms to up to eight rows of a panel of c, or sets these where the terms are the first."""
    cdef int64_t i, count = min(ROWS, p.rows - row), nbytes = min(2 * LINE, p.columns * p.itemsize - panel * 2 * LINE)
    cdef vector[2 * ROWS] sums
    cdef char* c = p.c + row * p.c_row + panel * 2 * LINE
    memset(sums, 0, sizeof(sums))
    if first:
        for i in range(count):
            memcpy(&sums[2 * i], c + i * p.c_row, nbytes)
    if count == ROWS:
        eight(p.a + row * p.a_row + first * p.a_column, p.a_row, p.a_column, b, b_row, depth, sums)
    else:
        for i in range(count):
            one(p.a + (row + i) * p.a_row + first * p.a_column, p.a_column, b, b_row, depth, &sums[2 * i])
    for i in range(count):
        memcpy(c + i * p.c_row, &sums[2 * i], nbytes)


cdef inline vector splat(const vector* _, const void* p) noexcept nogil:
    """The number in every lane."""
    if vector is vf32:
        return splat32(p, 0)
    else:
        return splat64(p, 0)


cdef void eight(const char* a, int64_t row, int64_t step, const vector* b, int64_t b_row, int64_t depth,
                vector* sums) noexcept nogil:
    """Adds eight rows by two vectors to `sums` (8, 2)."""
    cdef const vector* p
    cdef const char* q
    cdef vector v, r, s
    cdef vector a0 = sums[0], b0 = sums[2], c0 = sums[4], d0 = sums[6]
    cdef vector e0 = sums[8], f0 = sums[10], g0 = sums[12], h0 = sums[14]
    cdef vector a1 = sums[1], b1 = sums[3], c1 = sums[5], d1 = sums[7]
    cdef vector e1 = sums[9], f1 = sums[11], g1 = sums[13], h1 = sums[15]
    cdef int64_t k, row3 = 3 * row
    q = a + 4 * row
    p = b
    for k in range(depth):
        r, s = p[0], p[1]
        v = splat(b, a)
        a0 = a0 + v * r
        a1 = a1 + v * s
        v = splat(b, a + row)
        b0 = b0 + v * r
        b1 = b1 + v * s
        v = splat(b, a + 2 * row)
        c0 = c0 + v * r
        c1 = c1 + v * s
        v = splat(b, a + row3)
        d0 = d0 + v * r
        d1 = d1 + v * s
        v = splat(b, q)
        e0 = e0 + v * r
        e1 = e1 + v * s
        v = splat(b, q + row)
        f0 = f0 + v * r
        f1 = f1 + v * s
        v = splat(b, q + 2 * row)
        g0 = g0 + v * r
        g1 = g1 + v * s
        v = splat(b, q + row3)
        h0 = h0 + v * r
        h1 = h1 + v * s
        p = <const vector*>(<const char*>p + b_row)
        a += step
        q += step
    sums[0], sums[2], sums[4], sums[6], sums[8], sums[10], sums[12], sums[14] = a0, b0, c0, d0, e0, f0, g0, h0
    sums[1], sums[3], sums[5], sums[7], sums[9], sums[11], sums[13], sums[15] = a1, b1, c1, d1, e1, f1, g1, h1


cdef void one(const char* a, int64_t step, const vector* b, int64_t b_row, int64_t depth,
              vector* sums) noexcept nogil:
    """Adds a row by two vectors to `sums` (2,)."""
    cdef const vector* p = b
    cdef vector v, a0 = sums[0], a1 = sums[1]
    cdef int64_t k
    for k in range(depth):
        v = splat(b, a)
        a0 = a0 + v * p[0]
        a1 = a1 + v * p[1]
        p = <const vector*>(<const char*>p + b_row)
        a += step
    sums[0], sums[1] = a0, a1


cdef transposed(x):
    """x^T, contiguous."""
    y = empty_array((x.shape[1], x.shape[0]), x.dtype)
    if x.size and x.dtype == np.float32:
        turn[float](x, y)
    elif x.size:
        turn[double](x, y)
    return y


cdef turn(const floating[:, ::1] x, floating[:, ::1] y):
    cdef int64_t i, square = LINE // sizeof(floating), rows = x.shape[0], columns = x.shape[1]
    # squares end where rows and columns do; what is left over goes number by number
    for i in prange((rows + square - 1) // square, nogil=True, schedule="static",
                    num_threads=team(rows * columns > MANY // 16)):
        turn_rows(&x[0, 0], &y[0, 0], i * square, min((i + 1) * square, rows), rows, columns)


cdef void turn_rows(const floating* x, floating* y, int64_t begin, int64_t end, int64_t rows,
                    int64_t columns) noexcept nogil:
    cdef int64_t i, j = 0, size = sizeof(floating), square = LINE // size
    if end - begin == square:
        while j + square <= columns:
            if floating is float:
                transpose32(<const char*>(x + begin * columns + j), columns * size, <char*>(y + j * rows + begin),
                            rows * size)
            else:
                transpose64(<const char*>(x + begin * columns + j), columns * size, <char*>(y + j * rows + begin),
                            rows * size)
            j += square
    while j < columns:
        for i in range(begin, end):
            y[j * rows + i] = x[i * columns + j]
        j += 1
